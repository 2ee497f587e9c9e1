r"""Generates clinical notes whose true readmission risk is known, as MIMIC-III's tables, for trying and measuring.

Example:

  python preprocessing/make_synthetic_notes.py --output_dir=data/notes --num_patients=4000 --seed=1

It writes ADMISSIONS.csv, PATIENTS.csv and NOTEEVENTS.csv, true_risk.csv (the risk of each admission given its notes)
and generator.json, and prints the best AUROC that any model can reach. --signal=one_window: the phrase that tells
stands in one place of each text (with --max_words=1500, in one window of many); mixed: so does the strongest one, in
texts whose every stretch holds what other people's hold there. --random_labels: nothing tells.
--cohort=<prefix> takes patients and stays of make_synthetic_cohort.py: codes and notes then speak of the same people.
"""

import shlex
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands
from medtop.synthetic import notes
from medtop.synthetic.notes_texts import SIGNALS

FLAGS = flags.FLAGS

flags.DEFINE_string("output_dir", None, "Folder of the tables.")
flags.DEFINE_integer("num_patients", 2000, "Number of patients; with --cohort the most that are taken of it, 0 = all.")
flags.DEFINE_integer("seed", 1, "Seed; the same seed gives the same bytes.")
flags.DEFINE_float("prevalence", 0.3, "Share of admissions that a readmission follows (not with --cohort).")
flags.DEFINE_enum(
    "signal",
    "everywhere",
    SIGNALS,
    "The telling phrase in every stretch of a note, in one place only, mixed, or without a bearing on the label.",
)
flags.DEFINE_bool("random_labels", False, "Draw phrases without looking at labels.")
flags.DEFINE_integer("min_words", 60, "Shortest discharge summary, in words.")
flags.DEFINE_integer("max_words", 240, "Longest discharge summary, in words.")
flags.DEFINE_bool("daily_notes", True, "A note for each day of the stay, beside the discharge summary.")
flags.DEFINE_string("cohort", "", "Prefix of a cohort of make_synthetic_cohort.py (--layout=stays).")
flags.DEFINE_bool("overwrite", False, "Replace files that other flags made.")


def main(_):
    """Flags in, one library call, files out."""
    names = [field.name for field in notes.dataclasses.fields(notes.GeneratorSettings)]
    settings = notes.GeneratorSettings(**{name: FLAGS[name].value for name in names})
    summary = notes.write_notes(FLAGS.output_dir, settings, FLAGS.overwrite)
    prevalence = "-" if summary["prevalence"] is None else f"{summary['prevalence']:.3f}"
    print(
        f"{FLAGS.output_dir}: {summary['patients']} patients, {summary['admissions']} admissions, {summary['notes']} "
        f"notes; {summary['examples']} examples, {summary['known']} with a known label, prevalence {prevalence}"
    )
    print(f"best reachable AUROC: {summary['best_roc_auc']:.4f}")
    folder = shlex.quote(FLAGS.output_dir)
    print(f"next: python preprocessing/preprocess_notes.py {folder} {folder}/notes --mode=discharge")


if __name__ == "__main__":
    flags.mark_flags_as_required(["output_dir"])
    commands.run(main)
