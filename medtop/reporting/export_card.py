"""The model card of an export, `README.md`, out of what the run directory says.

Tasks and labels, where the data came from, who may have the weights, metrics with intervals, configuration, commands.
"""

import json
import re

from medtop.data.description import read_dataset
from medtop.files.atomic import write_text
from medtop.files.errors import DataError

RESTRICTIONS = (
    "**Restrictions.** The weights were trained on the data named below and carry information from them. Pass them on "
    "only to people who may have those data."
)
COLUMNS = ("roc_auc", "average_precision", "brier", "calibration_error")


def write_export_card(path, run, *, title, summary, usage, tasks, config=None, notes=(), tags=(), command=""):
    """Writes the card.

    Args:
        path: the file.
        run: `RunDirectory` that is exported.
        title: heading.
        summary: one paragraph: what this folder is.
        usage: lines of Markdown that show how it is used.
        tasks: list of `Task` that the export holds.
        config: `BertConfig` of the export; None = the run's.
        notes: sentences on what was left out or changed, and how well the export agrees with the run.
        tags: words for model hubs; without any the card has no front matter.
        command: the command line that made the export.
    """
    lines = []
    if tags:
        lines += ["---", "library_name: transformers", "tags:", *(f"- {tag}" for tag in tags), "---", ""]
    lines += [
        f"# {title}",
        "",
        summary,
        "",
        *restrictions(card_lines(run.card_file)),
        "",
        "## Use",
        "",
        *usage,
        "",
        "## Tasks",
        "",
    ]
    lines += [f"- `{task.name}`: {', '.join(task.labels) or 'masked codes'}" for task in tasks] or [
        "- none: the encoder"
    ]
    lines += ["", "## Data", "", *_data(run), "", *_results(run, tasks), ""]
    if notes:
        lines += ["## This export", "", *(f"- {note}" for note in notes), ""]
    values = json.loads(run.config_file.read_text(encoding="utf-8")) if config is None else config.to_dict()
    lines += ["## Configuration", "", "```json", json.dumps(values, indent=1), "```", "", "## Commands", ""]
    trained = section(card_lines(run.card_file), "Command") or ["- trained: not recorded in the run directory"]
    lines += [*trained, "", *(["```", command, "```"] if command else [])]
    write_text(path, "\n".join(lines).rstrip("\n") + "\n")


def card_lines(path):
    """Lines of a card; empty without the file."""
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def section(card, heading):
    """Lines of one section of a card, without its heading and the empty lines around it.

    Args:
        card: list of lines.
        heading: such as "Data".
    """
    lines, found = [], False
    for line in card:
        if found and re.match(r"#{1,2} ", line):
            break
        if found:
            lines.append(line)
        found = found or line.strip() == f"## {heading}"
    return "\n".join(lines).strip("\n").splitlines()


def restrictions(lines):
    """What a card says on who may have the weights; our own words where it says nothing."""
    start = next((place for place, line in enumerate(lines) if line.startswith("**Restrictions.**")), None)
    if start is None:
        return [RESTRICTIONS]
    end = next((place for place in range(start, len(lines)) if not lines[place].strip()), len(lines))
    return lines[start:end]


def _data(run):
    """Provenance: the run's card, else the description of its training records, else the patients of its splits."""
    if found := section(card_lines(run.card_file), "Data"):
        return found
    settings = run.settings()
    lines = [f"- {split}: {len(ids)} patients" for split, ids in _splits(run).items()]
    try:
        manifest = next(iter(read_dataset(settings["input_file"]).source_manifests), {})
    except (DataError, KeyError, OSError):
        return [*lines, "- where the data came from is not recorded in the run directory"]
    return [
        *lines,
        f"- source: {(manifest.get('source') or {}).get('name')}",
        f"- prediction times: {(manifest.get('prediction_times') or {}).get('index')}",
        *(f"- {statement}" for statement in manifest.get("statements") or ()),
    ]


def _splits(run):
    return run.read_splits() if run.splits_file.is_file() else {}


def _results(run, tasks):
    """The metrics of the export's tasks, on the test split where there is one."""
    if not run.metrics_file.is_file():
        return ["## Results", "", "The run was not evaluated."]
    metrics = json.loads(run.metrics_file.read_text(encoding="utf-8"))
    split = "test" if "test" in metrics else next(iter(metrics))
    named = [task.name for task in tasks] or list(metrics[split])
    lines = [f"## Results ({split} split, 95% intervals by bootstrap over patients)", ""]
    lines += ["| task | label | ROC AUC | average precision | Brier | calibration error | known | positives |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    masked = []
    for task, labels in metrics[split].items():
        only_one = len(set(labels) - {"micro", "macro"}) == 1  # its averages would repeat it
        for label, entry in labels.items() if task in named else ():
            if only_one and label in ("micro", "macro"):
                continue
            if "roc_auc" in entry:
                shown = " | ".join(_shown(entry.get(name)) for name in COLUMNS)
                lines.append(f"| {task} | {label} | {shown} | {entry['n']} | {entry['positives']} |")
            elif "accuracy" in entry:
                parts = [f"{name} {_shown(entry[name])}" for name in ("accuracy", "top10_accuracy", "perplexity")]
                masked += ["", f"`{task}`: {', '.join(parts)} on {entry['n']} masked codes."]
    return [
        *(lines if len(lines) > 4 else lines[:1]),
        *masked,
        "",
        "Probabilities behind these numbers are calibrated. Not evaluated: other hospitals, other periods, "
        "subgroups. Not a medical device.",
    ]


def _shown(value):
    if not value or value["value"] is None:
        return "undefined"
    interval = "" if value["low"] is None else f" [{value['low']:.3f}, {value['high']:.3f}]"
    return f"{value['value']:.3f}{interval}"
