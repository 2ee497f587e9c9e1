"""Evaluates a model on labelled data that it never saw: another hospital, another year, or any predictions file.

Examples:
  python run_scripts/run_evaluation.py --run_dir=runs/first --input_file=data/other_hospital.test.tfrecord \\
    --subgroups=sex,age_band,year --alert_rates=0.05,0.1 --recalibrate=platt --output_dir=evaluation/other_hospital
  python run_scripts/run_evaluation.py --predictions=runs/first/restricted/predictions.csv --thresholds=0.1,0.2 \\
    --groups_file=sites.csv --subgroups=site --min_cell=11 --output_dir=evaluation/sites

Writes evaluation.html, evaluation.json, clinical.csv and restricted/predictions.csv into a new folder; the run is not
touched.
"""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.reporting.evaluation_page import NAMES, entry_text  # noqa: E402
from medtop.runs.evaluate import EvaluationSettings, evaluate_model  # noqa: E402

flags.define(EvaluationSettings)


def main(_):
    """Checks, evaluates, says the main numbers and where the page lies."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    settings = flags.read(EvaluationSettings)
    for task, labels in evaluate_model(settings).items():
        for label, entry in labels.items():
            shown = ", ".join(f"{NAMES[name]} {entry_text(value)}" for name, value in entry["measures"].items())
            print(f"{task} {label}: {shown}")
    print(f"report: {settings.output_dir}/evaluation.html")


if __name__ == "__main__":
    commands.run(main)
