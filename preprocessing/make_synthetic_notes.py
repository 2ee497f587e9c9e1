r"""Generates clinical notes whose true readmission risk is known, as MIMIC-III's tables, for trying and measuring.

Example:

  python preprocessing/make_synthetic_notes.py --output_dir=data/notes --num_patients=4000 --seed=1

It writes ADMISSIONS.csv, PATIENTS.csv and NOTEEVENTS.csv, true_risk.csv (the risk of each admission given its notes)
and generator.json, and prints the best AUROC that any model can reach. --signal=one_window: the phrase that tells
stands in one place of each text (with --max_words=1500, in one window of many); mixed: so does the strongest one, in
texts whose every stretch holds what other people's hold there. --random_labels: nothing tells.
--identifiers: instead notes full of made-up identifiers of 17 classes, their places known, with a roster, for trying
and measuring deidentify_notes.py (docs/deidentification.md); of the other flags --num_patients and --seed hold.
--cohort=<prefix> takes patients and stays of make_synthetic_cohort.py: codes and notes then speak of the same people.
"""

import dataclasses
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.deidentification.generated import TruthSettings, write_truth
from medtop.files.errors import DataError
from medtop.files.options import REQUIRED, option
from medtop.synthetic import notes


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScriptOptions:
    """Where the tables go."""

    output_dir: str = option(REQUIRED, "Folder of the tables.")
    overwrite: bool = option(False, "Replace files that other flags made.")
    identifiers: bool = option(False, "Notes with identifiers, tables of their places, and a roster.")


flags.define(ScriptOptions, notes.GeneratorSettings)


def _identifiers(script):
    """Notes with identifiers."""
    allowed = ("num_patients", "seed")
    if wrong := flags.given(*(name for name in flags.names(notes.GeneratorSettings) if name not in allowed)):
        raise DataError(f"--{wrong[0]} has no effect with --identifiers: leave it out")
    settings = flags.read(notes.GeneratorSettings)
    summary = write_truth(script.output_dir, TruthSettings(settings.num_patients, settings.seed), script.overwrite)
    for split, entry in summary["splits"].items():
        spans = sum(entry["spans"].values())
        print(f"{split}: {entry['patients']:,} patients, {entry['documents']:,} notes, {spans:,} spans")
    folder = shlex.quote(script.output_dir)
    print(
        f"next: python run_scripts/deidentify_notes.py --input={folder}/identifiers.documents.test.parquet "
        f"--roster={folder}/roster.csv --gold={folder}/identifiers --output={folder}/safe --verify"
    )


def main(_):
    """Flags in, one library call, files out."""
    script = flags.read(ScriptOptions)
    if script.identifiers:
        return _identifiers(script)
    summary = notes.write_notes(script.output_dir, flags.read(notes.GeneratorSettings), script.overwrite)
    prevalence = "-" if summary["prevalence"] is None else f"{summary['prevalence']:.3f}"
    print(
        f"{script.output_dir}: {summary['patients']} patients, {summary['admissions']} admissions, {summary['notes']} "
        f"notes; {summary['examples']} examples, {summary['known']} with a known label, prevalence {prevalence}"
    )
    print(f"best reachable AUROC: {summary['best_roc_auc']:.4f}")
    folder = shlex.quote(script.output_dir)
    print(f"next: python preprocessing/preprocess_notes.py {folder} {folder}/notes --mode=discharge")


if __name__ == "__main__":
    commands.run(main)
