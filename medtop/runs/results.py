"""From a trained model to what a paper prints: calibration, metrics with intervals, comparisons, predictions, report.

The test split is scored here, once. Thresholds and calibration come from validation.
"""

import dataclasses
import logging

import numpy as np

from medtop.data.batch_options import batch_options
from medtop.evaluation.calibration import Calibration, fit_calibration, read_calibrations, write_calibrations
from medtop.evaluation.marks import add_marks
from medtop.evaluation.metrics import compare, evaluate, masked_metrics, write_metrics
from medtop.evaluation.patients import PatientEvaluation, RecordScores
from medtop.evaluation.predictions import write_predictions
from medtop.evaluation.scoring import Scorer
from medtop.evaluation.small_cells import hide_in_sentence, leave_out_of_comparison, leave_out_small
from medtop.evaluation.tables import results_table
from medtop.files.atomic import write_json, write_text

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

    def uncalibrated(self, scores):
        """float64 [N, K]: probabilities before calibration of `scores` (`Predictions`), which may lack labels."""
        return self.calibrations[scores.task].of_labels(scores.labels).uncalibrated(scores)

    def shown(self, least):
        """What may leave the house: without labels of 1 to `least` - 1 people with or without them, and their counts.

        Predictions of other splits than the reported one are left out. 0 and 1 hide nothing.
        """
        if least <= 1:
            return self
        metrics, comparison, gone = {}, {}, {}
        for split, tasks in self.metrics.items():
            metrics[split], gone[split] = leave_out_small(tasks, least)
            comparison[split] = leave_out_of_comparison(self.comparison[split], gone[split], least)
        split = self.split
        scored = {task: (scores, self.probabilities[split][task]) for task, scores in self.predictions[split].items()}
        scored = _kept_labels(scored, gone[split])
        return dataclasses.replace(
            self,
            metrics=metrics,
            comparison=comparison,
            predictions={split: {task: pair[0] for task, pair in scored.items()}},
            probabilities={split: {task: pair[1] for task, pair in scored.items()}},
            calibrations={
                task: calibration.shown(least, people_of(self.predictions.get("valid", {}).get(task)))
                for task, calibration in self.calibrations.items()
            },
            baselines={
                split: {name: _kept_labels(tasks, gone[split]) for name, tasks in self.baselines.get(split, {}).items()}
            },
            baseline_reasons=[hide_in_sentence(sentence, least) for sentence in self.baseline_reasons],
        )

    @property
    def table(self):
        """The results of the reported split as text."""
        return results_table(self.metrics[self.split], self.comparison[self.split])


def people_of(predictions):
    """dict label -> counts of patients with it and without it; {} where examples are people, or for no predictions."""
    if predictions is None:
        return {}
    counts = {label: predictions.patient_counts([place]) for place, label in enumerate(predictions.labels)}
    return {label: (own["positive_patients"], own["negative_patients"]) for label, own in counts.items() if own}


def _kept_labels(scored, gone):
    """dict task -> (Predictions, probabilities) without the labels `gone` ("task label"), and without empty tasks."""
    kept = {}
    for task, (predictions, probabilities) in scored.items():
        places = [place for place, label in enumerate(predictions.labels) if f"{task} {label}" not in gone]
        if places:
            kept[task] = predictions.of_labels(places), probabilities[:, places]
    return kept


def _score(model, plan, scorers):
    """dict split -> `RecordScores`; `scorers` are those that training has made."""
    scores = {}
    options = batch_options(plan, plan.options.eval_batch_size)
    for split, info in (("valid", plan.valid), ("test", plan.test)):
        if info is not None:
            scorer = scorers.get(split)
            if scorer is None:
                scorer = Scorer(model, info, plan.config, plan.tasks, options, plan.options.seed)
            scores[split] = RecordScores(scorer.record_predictions(), scorer.exclusive_measures(), scorer.admissions)
            logger.info("%s split scored: %d examples", split, info.num_examples)
    return scores


def _calibrations(plan, run, predictions):
    """Calibration per patient-level task: fitted on validation; else the run's stored one; else none."""
    patient = [task for task in plan.tasks if task.level == "patient"]
    if "valid" in predictions:
        fitted = {
            task.name: fit_calibration(predictions["valid"][task.name], class_weights=task.positive_weights)
            for task in patient
        }
        people = {task: people_of(predictions["valid"][task]) for task in fitted}
        write_calibrations(run.calibration_file, fitted, plan.options.min_cell, people)
        return fitted
    if run.calibration_file.is_file():
        return read_calibrations(run.calibration_file)
    return {
        task.name: Calibration.identity(task.name, task.labels, class_weights=task.positive_weights) for task in patient
    }


def _evaluate_all(predictions, calibrations, options):
    """(task -> label -> metrics, task -> probabilities) of one split's predictions."""
    metrics, probabilities = {}, {}
    for task, scored in predictions.items():
        calibration = calibrations[task]
        probabilities[task] = calibration.apply(scored)
        metrics[task] = evaluate(
            scored,
            probabilities[task],
            thresholds=calibration.thresholds,
            uncalibrated=calibration.uncalibrated(scored),
            num_bootstrap=options.num_bootstrap,
            seed=options.seed,
        )
    return metrics, probabilities


def evaluate_run(model, plan, run, step, evaluation=PatientEvaluation, scorers=None):
    """Evaluates a model on the plan's validation and test splits and writes the run directory's result files.

    Args:
        model: with the best weights set.
        plan: `medtop.training.options.TrainingPlan`.
        run: `RunDirectory`.
        step: the training step of the weights.
        evaluation: class that says what the examples are and what they are compared with, such as `PatientEvaluation`.
        scorers: dict split -> `Scorer` of this very model, where training has made one.

    Returns:
        `Results`.
    """
    options = plan.options
    scores = _score(model, plan, scorers or {})
    made = evaluation(plan, run, scores)
    results = Results({}, made.predictions, {}, {}, _calibrations(plan, run, made.predictions))
    results.baselines, thresholds, results.baseline_reasons = made.rivals()
    for split, predictions in made.predictions.items():
        results.metrics[split], results.probabilities[split] = _evaluate_all(predictions, results.calibrations, options)
        for task, measures in scores[split].masked.items():
            values = {name: measures[name] for name in ("loss", "accuracy", "top10_accuracy")}
            results.metrics[split][task] = {task: masked_metrics(measures["n"], **values)}
        results.comparison[split] = compare(
            {task: (scored, results.probabilities[split][task]) for task, scored in predictions.items()},
            results.baselines.get(split, {}),
            thresholds=thresholds,
            true_risk=options.true_risk_file or None,
            num_bootstrap=options.num_bootstrap,
            seed=options.seed,
        )
    add_marks(results.metrics, results.calibrations)
    reported = results.split
    write_predictions(
        run.predictions_file,
        [(scored, results.probabilities[reported][task]) for task, scored in results.predictions[reported].items()],
    )
    shown = results.shown(options.min_cell)
    write_json(run.comparison_file, shown.comparison, shared=True)
    write_text(run.eval_results_file, eval_results(shown, step), shared=True)
    made.write_files(results)
    write_metrics(run.metrics_file, shown.metrics)
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
