"""Evaluates a model on labelled data that it never saw: another hospital, another year, or any predictions file.

Examples:
  python run_scripts/run_evaluation.py --run_dir=runs/first --input_file=data/other_hospital.test.tfrecord \\
    --subgroups=sex,age_band,year --alert_rates=0.05,0.1 --recalibrate=platt --output_dir=evaluation/other_hospital
  python run_scripts/run_evaluation.py --predictions=runs/first/predictions.csv --thresholds=0.1,0.2 \\
    --groups_file=sites.csv --subgroups=site --min_cell=11 --output_dir=evaluation/sites

Writes evaluation.html, evaluation.json, clinical.csv and predictions.csv into a new folder; the run is not touched.
"""

import logging
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands  # noqa: E402

flags.DEFINE_string("output_dir", None, "New folder for the results.", required=True)
flags.DEFINE_string("run_dir", "", "Run directory of a trained model.")
flags.DEFINE_string("input_file", "", "Labelled TFRecord files: a name, glob or comma list.")
flags.DEFINE_string("predictions", "", "A predictions.csv with targets, in place of --run_dir and --input_file.")
flags.DEFINE_string("compare_predictions", "", "predictions.csv of another model on the same examples.")
flags.DEFINE_string("groups_file", "", "CSV: patient_id, perhaps prediction_time, and columns of groups.")
flags.DEFINE_list("subgroups", [], "sex, age_band (from the records), year, or columns of --groups_file.")
flags.DEFINE_list("thresholds", [], "Risks at or above which people are alerted.")
flags.DEFINE_list("alert_rates", [], "Shares of people to alert, those of highest risk.")
flags.DEFINE_string("recalibrate", "none", "none, intercept or platt: fitted on some patients, judged on the rest.")
flags.DEFINE_float("recalibration_share", 0.5, "Share of the patients that the recalibration is fitted on.")
flags.DEFINE_integer("min_cell", 0, "Smallest count of people that is shown; 0 = all.", lower_bound=0)
flags.DEFINE_integer("num_bootstrap", 1000, "Resamples of patients for intervals.", lower_bound=0)
flags.DEFINE_integer("seed", 0, "Of the resamples and of the recalibration's part.", lower_bound=0)
flags.DEFINE_integer("batch_size", 64, "Patients in a batch.", lower_bound=1)
flags.DEFINE_bool("overwrite", False, "Replace an earlier evaluation in --output_dir.")


def main(_):
    """Checks, evaluates, says the main numbers and where the page lies."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    values = flags.FLAGS
    from medtop.reporting.evaluation_page import NAMES, entry_text
    from medtop.runs import evaluate

    settings = evaluate.EvaluationSettings(
        output_dir=values.output_dir,
        run_dir=values.run_dir,
        input_file=values.input_file,
        predictions=values.predictions,
        compare_predictions=values.compare_predictions,
        groups_file=values.groups_file,
        subgroups=tuple(values.subgroups),
        thresholds=commands.numbers("thresholds", values.thresholds),
        alert_rates=commands.numbers("alert_rates", values.alert_rates),
        recalibrate=values.recalibrate,
        recalibration_share=values.recalibration_share,
        min_cell=values.min_cell,
        num_bootstrap=values.num_bootstrap,
        seed=values.seed,
        batch_size=values.batch_size,
        overwrite=values.overwrite,
    )
    for task, labels in evaluate.evaluate_model(settings).items():
        for label, entry in labels.items():
            shown = ", ".join(f"{NAMES[name]} {entry_text(value)}" for name, value in entry["measures"].items())
            print(f"{task} {label}: {shown}")
    print(f"report: {values.output_dir}/evaluation.html")


if __name__ == "__main__":
    commands.run(main)
