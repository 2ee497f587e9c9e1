"""Risk as notes arrive: how well a finished run on notes tells readmissions after each day of the stay.

Example (MIMIC's tables, a run of run_readmission.py on notes of --mode=early):
  python run_scripts/run_risk_by_day.py data/mimic3 --run_dir=checkpoints/early --days=1,2,3,5,7 \\
    --output_dir=evaluation/by_day

Scores the patients of the run's own test split with the notes known by each day, and writes AUROC, AUPRC, RP80, Brier
score and calibration error with intervals: by_day.html, .png, .csv, .json and restricted/predictions.csv. With
--min_cell=11, what rests on 1 to 10 patients is withheld in all but the last.
"""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.notes.preprocess import NotesInput  # noqa: E402
from medtop.readmission.by_day import DaySettings, risk_by_day  # noqa: E402
from medtop.sources.dates import DateRules  # noqa: E402

flags.define(DaySettings, NotesInput, DateRules, shifted_dates=True)  # as MIMIC's are


def main(arguments):
    """Flags in, one library call, a table out."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    settings = flags.read(DaySettings)
    source = flags.read(NotesInput, data_dir=arguments[1], dates=flags.read(DateRules))
    for row in risk_by_day(settings, source):
        if row["metric"] == "roc_auc" and row["value"] is not None:
            span = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
            print(
                f"day {row['day']}, {row['population']}: AUROC {row['value']:.3f}{span}, "
                f"{row['n']} admissions, {row['positives']} readmitted"
            )
    print(f"report: {settings.output_dir}/by_day.html")


if __name__ == "__main__":
    commands.run(main, ["data_dir"])
