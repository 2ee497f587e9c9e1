"""From a trained model to what a paper prints: calibration, metrics with intervals, comparisons, predictions, report.

The test split is scored here, once. Thresholds and calibration come from validation.
"""

import dataclasses
import logging

import numpy as np

from medtop.data import tfrecord
from medtop.data.batch_options import batch_options
from medtop.evaluation.baselines import fit_baselines
from medtop.evaluation.calibration import Calibration, fit_calibration, read_calibrations, write_calibrations
from medtop.evaluation.count_features import features_from_records
from medtop.evaluation.metrics import compare, evaluate, masked_metrics, results_table, write_metrics
from medtop.evaluation.predictions import write_predictions
from medtop.evaluation.scoring import Scorer
from medtop.files.atomic import write_json, write_text
from medtop.readmission.results import Windows, choose_aggregation, rivals, write_admission_files

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class Results:
    """What an evaluation found.

    Attributes:
        metrics: split -> task -> label -> metric values, as in metrics.json.
        predictions: split -> task -> `Predictions`.
        probabilities: split -> task -> float64 [N, K], calibrated.
        comparison: split -> what `metrics.compare` gives: baselines, paired differences, best reachable.
        calibrations: task -> `Calibration`.
        baselines: split -> baseline -> task -> (`Predictions`, calibrated probabilities).
        baseline_reasons: sentences on the baselines: constant predictions, default settings, how windows were joined.
    """

    metrics: dict
    predictions: dict
    probabilities: dict
    comparison: dict
    calibrations: dict
    baselines: dict = dataclasses.field(default_factory=dict)
    baseline_reasons: list = dataclasses.field(default_factory=list)

    @property
    def split(self):
        """The split that results are reported on: test where it is there."""
        return "test" if "test" in self.metrics else next(iter(self.metrics))

    @property
    def table(self):
        """The results of the reported split as text."""
        return results_table(self.metrics[self.split], self.comparison[self.split])


def _score(model, plan):
    """By split: task -> `Predictions` of the records; task -> masked measures; `Admissions` or None."""
    predictions, masked, admissions = {}, {}, {}
    options = batch_options(plan, plan.options.eval_batch_size)
    for split, info in (("valid", plan.valid), ("test", plan.test)):
        if info is not None:
            scorer = Scorer(model, info, plan.config, plan.tasks, options, plan.options.seed)
            predictions[split], masked[split] = scorer.predictions(), scorer.exclusive_measures()
            admissions[split] = scorer.admissions
            logger.info("%s split scored: %d examples", split, info.num_examples)
    return predictions, masked, admissions


def _calibrations(plan, run, predictions):
    """Calibration per patient-level task: fitted on validation; else the run's stored one; else none."""
    patient = [task for task in plan.tasks if task.level == "patient"]
    if "valid" in predictions:
        found = {
            task.name: fit_calibration(predictions["valid"][task.name], class_weights=task.positive_weights)
            for task in patient
        }
        write_calibrations(run.calibration_file, found)
        return found
    if run.calibration_file.is_file():
        return read_calibrations(run.calibration_file)
    return {
        task.name: Calibration.identity(task.name, task.labels, class_weights=task.positive_weights) for task in patient
    }


def _evaluate_all(predictions, calibrations, options):
    """(task -> label -> metrics, task -> probabilities) of one split's predictions."""
    metrics, probabilities = {}, {}
    for task, one in predictions.items():
        calibration = calibrations[task]
        probabilities[task] = calibration.apply(one)
        metrics[task] = evaluate(
            one,
            probabilities[task],
            thresholds=calibration.thresholds,
            uncalibrated=calibration.uncalibrated(one),
            num_bootstrap=options.num_bootstrap,
            seed=options.seed,
        )
    return metrics, probabilities


def _baselines(plan, splits):
    """Count baselines on the model's splits: split -> baseline -> task -> (Predictions, probabilities); thresholds;
    sentences about labels that could not be fitted as the others."""
    patient = {task.name: list(task.labels) for task in plan.tasks if task.level == "patient"}
    infos = {"train": plan.train, "valid": plan.valid, "test": plan.test}
    features = {
        split: features_from_records(tfrecord.read_examples(info), len(plan.vocabulary), list(patient))
        for split, info in infos.items()
        if info is not None
    }
    fitted = fit_baselines(features, patient, seed=plan.options.seed)
    found, thresholds = {split: {} for split in splits}, {}
    for name, of_split in fitted.predictions.items():
        calibrations = {task: fit_calibration(one) for task, one in of_split["valid"].items()}
        thresholds[name] = {task: calibration.thresholds for task, calibration in calibrations.items()}
        for split in splits:
            found[split][name] = {task: (one, calibrations[task].apply(one)) for task, one in of_split[split].items()}
    logger.info("baselines fitted: %s", ", ".join(fitted.predictions))
    reasons = [
        f"Baseline {name}, {task} {label}: {reason}."
        for name, tasks in fitted.reasons.items()
        for task, labels in tasks.items()
        for label, reason in labels.items()
    ]
    return found, thresholds, reasons


def evaluate_run(model, plan, run, step):
    """Evaluates a model on the plan's validation and test splits and writes the run directory's result files.

    Args:
        model: with the best weights set.
        plan: `medtop.training.options.Plan`.
        run: `RunDirectory`.
        step: the training step of the weights.

    Returns:
        `Results`.
    """
    options = plan.options
    predictions, masked, admissions = _score(model, plan)
    windows = {}
    if options.aggregation != "none":
        windows = {split: Windows(one, admissions[split]) for split, one in predictions.items()}
        aggregation = choose_aggregation(options, run, windows)
        predictions = {split: one.aggregate(aggregation) for split, one in windows.items()}
    results = Results({}, predictions, {}, {}, _calibrations(plan, run, predictions))
    can_compare = plan.train is not None and plan.valid is not None and plan.train.layout.can_count
    thresholds = {}
    if options.baselines and can_compare and any(task.level == "patient" for task in plan.tasks):
        results.baselines, thresholds, results.baseline_reasons = _baselines(plan, list(predictions))
    if windows:
        found = rivals(plan, windows, aggregation, predictions)
        results.baselines, thresholds, results.baseline_reasons = found
    for split, one in predictions.items():
        results.metrics[split], results.probabilities[split] = _evaluate_all(one, results.calibrations, options)
        for task, found in masked[split].items():
            results.metrics[split][task] = {
                task: masked_metrics(
                    found["n"], loss=found["loss"], accuracy=found["accuracy"], top10_accuracy=found["top10_accuracy"]
                )
            }
        results.comparison[split] = compare(
            {task: (one[task], results.probabilities[split][task]) for task in one},
            results.baselines.get(split, {}),
            thresholds=thresholds,
            true_risk=options.true_risk_file or None,
            num_bootstrap=options.num_bootstrap,
            seed=options.seed,
        )
    reported = results.split
    write_predictions(
        run.predictions_file,
        [(one, results.probabilities[reported][task]) for task, one in predictions[reported].items()],
    )
    write_json(run.comparison_file, results.comparison)
    write_text(run.eval_results_file, eval_results(results, step))
    if windows:
        write_admission_files(run, results, windows)
    write_metrics(run.metrics_file, results.metrics)
    return results


def eval_results(results, step):
    """The lineage's `eval_results.txt`: one `key = value` a line, sorted; point values of the reported split."""
    lines = {"global_step": step}
    for task, labels in results.metrics[results.split].items():
        for label, entry in labels.items():
            for metric, value in entry.items():
                if isinstance(value, dict) and value["value"] is not None:
                    lines[f"{task}_{metric}" if label == task else f"{task}_{label}_{metric}"] = value["value"]
    return f"***** Eval results ({results.split}) *****\n" + "".join(
        f"{key} = {value:.6f}\n" if isinstance(value, float | np.floating) else f"{key} = {value}\n"
        for key, value in sorted(lines.items())
    )
