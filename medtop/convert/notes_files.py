"""What an exported folder of a run on notes needs so that it gives an admission's risk: how windows become one."""

import json
import shutil
from pathlib import Path

from medtop.files.atomic import write_json

EXAMPLE = "admission_risk.py"
FORMULA = {
    "max_mean": "p = (max + mean n / {c:g}) / (1 + n / {c:g}) of its n windows' probabilities",
    "mean": "p = the mean of its windows' probabilities",
    "max": "p = the highest of its windows' probabilities",
}


def has_risk(run, calibration, heads):
    """Whether a run is one on notes whose admissions' risks the exported heads can give.

    Args:
        run: `RunDirectory`.
        calibration: the exported tasks' part of calibration.json.
        heads: dict `Task` -> kind of head.
    """
    single = len(heads) == 1 and next(iter(heads)).num_outputs == 1
    return single and bool(calibration) and run.notes_file.is_file() and run.aggregation_file.is_file()


def write_notes_files(folder, run, with_example):
    """Writes notes.json (with `max_seq_length`) and aggregation.json, and admission_risk.py where it can read the rest.

    Args:
        folder: the export.
        run: `RunDirectory`.
        with_example: whether transformers reads the folder.
    """
    notes = json.loads(run.notes_file.read_text(encoding="utf-8"))
    write_json(folder / "notes.json", {**notes, "max_seq_length": run.settings()["max_seq_length"]})
    shutil.copyfile(run.aggregation_file, folder / "aggregation.json")
    if with_example:
        shutil.copyfile(Path(__file__).with_name(EXAMPLE), folder / EXAMPLE)


def risk_formula(run, with_example):
    """Sentences: from windows to an admission's risk."""
    notes = json.loads(run.notes_file.read_text(encoding="utf-8"))
    joining = json.loads(run.aggregation_file.read_text(encoding="utf-8"))
    case = "lower-cased" if notes["lower_case"] else "with its letters as they are"
    cut = "its first window of" if notes["legacy"] else "windows, equal in length to within one piece, of"
    lines = [
        f"an admission's text ({notes['cleaning']} cleaning, {case}) is cut into {cut} at most "
        f"{run.settings()['max_seq_length']} tokens with [CLS] and [SEP] (`notes.json`)",
        f"an admission's risk is not a window's: {FORMULA[joining['method']].format(c=joining['c'])} "
        "(`aggregation.json`), then sigmoid(slope (log(p / (1 - p)) - log class_weight) + intercept) "
        "(`calibration.json`)",
    ]
    return lines + ([f"`{EXAMPLE}` does it, without medtop: `admission_risk(folder, text)`"] if with_example else [])
