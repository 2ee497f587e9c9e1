"""Does training on notes learn what is there to learn, and does aggregation find the one window that tells?

Generated sets of notes with known true risk: `planted` (the telling phrase everywhere), `one_window` (in one place of
long notes), `mixed` (the strongest in one place of long notes that otherwise speak as other people's do), `random`
(labels that nothing explains); --scenarios chooses. For each: tables, preprocessing, a vocabulary of the training
split, training, and one line per way of joining windows: ROC AUC on the test split with its 95% interval over
patients, the best reachable one, the share of the way from 0.5 to it, and the paired difference (model minus that
way). Half of the patients are for testing, so that small differences show. Every step is kept in --work_dir and not
done again.

Example:
  python benchmarks/notes_quality.py --work_dir=checkpoints/notes_quality --num_patients=3000
"""

import csv
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from medtop.cli import commands, flags  # noqa: E402
from medtop.evaluation.tables import share_of_way  # noqa: E402
from medtop.files.atomic import write_json, write_text  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.files.options import REQUIRED, option  # noqa: E402

SCENARIOS = {
    "planted": ("--signal=everywhere",),
    "one_window": ("--signal=one_window", "--min_words=100", "--max_words=800"),
    "mixed": ("--signal=mixed", "--min_words=100", "--max_words=800"),
    "random": ("--random_labels",),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which notes, and how they are trained on."""

    work_dir: str = option(REQUIRED, "Folder for notes and runs.")
    num_patients: int = option(3000, "Patients of each set.")
    seed: int = option(1, "Seed of notes and training.")
    scenarios: tuple = option(tuple(SCENARIOS), f"Which of {', '.join(SCENARIOS)}.")
    bert_config_file: str = option(str(ROOT / "medtop/configs/notes_small.json"), "Model configuration.")
    max_seq_length: int = option(64, "Tokens of a window.")
    trainer_flag: tuple = option(
        (), "A further flag of run_readmission.py, such as --num_train_epochs=5.", repeated=True
    )


flags.define(Options)


SPLITS = ("train",) * 4 + ("valid",) + ("test",) * 5  # of each ten patients
TRAINER = (
    "--train_batch_size=32",
    "--learning_rate=1e-3",
    "--num_train_epochs=6",
    "--early_stopping=roc_auc:2",
    "--aggregation_c=0",
)


def call(script, *arguments):
    """Runs one of the project's scripts; its output goes to standard error."""
    subprocess.run([sys.executable, str(ROOT / script), *map(str, arguments)], check=True, stdout=sys.stderr)


def prepare(folder, scenario, values):
    """Generates tables, texts and vocabulary; the scripts themselves skip what is done."""
    made = (*SCENARIOS[scenario], "--nodaily_notes", f"--num_patients={values.num_patients}", f"--seed={values.seed}")
    call("preprocessing/make_synthetic_notes.py", f"--output_dir={folder / 'tables'}", *made)
    if not (folder / "splits.csv").is_file():  # a file written anew is another input to whatever has read it
        with open(folder / "tables/PATIENTS.csv", newline="") as file:
            names = [row["SUBJECT_ID"] for row in csv.DictReader(file)]
        lines = [f"{name},{SPLITS[number % len(SPLITS)]}" for number, name in enumerate(names)]
        write_text(folder / "splits.csv", "\n".join(["patient_id,split", *lines]) + "\n")
    call(
        "preprocessing/preprocess_notes.py",
        folder / "tables",
        folder / "texts",
        "--mode=discharge",
        f"--splits={folder / 'splits.csv'}",
    )
    if not (folder / "vocab.txt").is_file():
        call(
            "preprocessing/learn_wordpiece_vocab.py",
            f"--input_file={folder / 'texts'}.notes.train.parquet",
            f"--output_file={folder / 'vocab.txt'}",
            "--vocab_size=2000",
        )


def train(folder, values):
    """Trains and evaluates; wall-clock seconds of the run that did the work, None where nobody measured them."""
    run = folder / "run"
    if not (run / "metrics.json").is_file():
        started = time.perf_counter()
        call(
            "run_scripts/run_readmission.py",
            f"--data_dir={folder / 'texts'}",
            "--readmission_mode=discharge",
            f"--vocab_file={folder / 'vocab.txt'}",
            f"--bert_config_file={values.bert_config_file}",
            f"--max_seq_length={values.max_seq_length}",
            f"--output_dir={run}",
            f"--seed={values.seed}",
            f"--true_risk_file={folder / 'tables' / 'true_risk.csv'}",
            "--do_train",
            "--do_eval",
            *TRAINER,
            *values.trainer_flag,
        )
        write_json(folder / "seconds.json", time.perf_counter() - started)
    seconds = folder / "seconds.json"
    return json.loads(seconds.read_text()) if seconds.is_file() else None


def rows_of(run):
    """(way, AUROC, low, high, best reachable, paired difference or None) on the test split."""
    metrics = json.loads((run / "metrics.json").read_text())["test"]["readmission"]["readmission"]
    comparison = json.loads((run / "comparison.json").read_text())["test"]
    best = comparison["best_reachable"]["readmission"]["readmission"]["roc_auc"]
    aggregation = json.loads((run / "aggregation.json").read_text())
    entry = metrics["roc_auc"]
    yield f"{aggregation['method']}, c = {aggregation['c']:g}", entry["value"], entry["low"], entry["high"], best, None
    for name, tasks in comparison["baselines"].items():
        entry = tasks["readmission"]["readmission"]["roc_auc"]
        paired = comparison["differences"][name]["readmission"]["readmission"]
        yield name, entry["value"], entry["low"], entry["high"], best, paired


def main(_):
    """Prints the table."""
    values = flags.read(Options)
    if unknown := [name for name in values.scenarios if name not in SCENARIOS]:
        raise DataError(f"--scenarios: expected {', '.join(SCENARIOS)}, received {unknown[0]!r}")
    lines = []
    for scenario in values.scenarios:
        folder = Path(values.work_dir) / f"{scenario}_patients{values.num_patients}_seed{values.seed}"
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder, scenario, values)
        seconds = train(folder, values)
        for way, value, low, high, best, paired in rows_of(folder / "run"):
            share = share_of_way(value, best) if scenario != "random" else None
            text = f"{scenario:11} {way:22} {value:.4f} [{low:.4f}, {high:.4f}] {best:.4f} "
            text += "      -" if share is None else f"{100 * share:6.1f}%"
            if paired is not None:
                text += f"  {paired['difference']:+.4f} [{paired['low']:+.4f}, {paired['high']:+.4f}]"
            lines.append(text)
        lines.append(f"{scenario:11} seconds {'unknown' if seconds is None else round(seconds)}")
    print("scenario    way                    AUROC  [95%]            best     share  difference [95%]")
    print("\n".join(lines))


if __name__ == "__main__":
    commands.run(main)
