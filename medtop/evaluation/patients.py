"""An evaluation in which every record is an example of its own: patients at a prediction time, beside count baselines.

What `medtop.runs.results.evaluate_run` asks of an evaluation. Another one says otherwise what the examples are and whom
they are compared with, such as admissions made of windows (`medtop.readmission.evaluation`); scripts hand it in.
"""

import dataclasses
import logging

from medtop.data import tfrecord
from medtop.evaluation.aggregation import Admissions
from medtop.evaluation.baselines import BASELINES, XGBOOST, fit_baselines
from medtop.evaluation.calibration import fit_calibration
from medtop.evaluation.count_features import features_from_records
from medtop.evaluation.xgboost_baseline import require_xgboost

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class RecordScores:
    """The records of one split, scored.

    Attributes:
        predictions: dict task -> `Predictions`, one per record.
        masked: dict task -> measures of masked codes.
        admissions: `Admissions` that the records belong to, where they are windows of notes; else None.
    """

    predictions: dict
    masked: dict
    admissions: Admissions | None = None


class PatientEvaluation:
    """Records are the examples.

    Args:
        plan: `medtop.training.options.TrainingPlan`.
        run: `RunDirectory`.
        scores: dict split -> `RecordScores`.

    Attributes:
        predictions: dict split -> task -> `Predictions` of the examples.
    """

    def __init__(self, plan, run, scores):
        self.plan, self.run = plan, run
        self.predictions = {split: scored.predictions for split, scored in scores.items()}

    @staticmethod
    def check(options):
        """Refuses options that ask for another evaluation than this one."""
        if options.aggregation != "none":
            raise ValueError(
                f"evaluation: expected that of admissions with aggregation={options.aggregation}, "
                "received that of patients"
            )
        if options.xgboost and options.baselines:
            require_xgboost()

    def rivals(self):
        """Simpler ways on the same examples.

        Returns:
            (dict split -> name -> task -> (`Predictions`, probabilities), dict name -> task -> thresholds, sentences
            that a reader needs, such as labels that could not be fitted as the others).
        """
        plan = self.plan
        patient = {task.name: list(task.labels) for task in plan.tasks if task.level == "patient"}
        can_compare = plan.train is not None and plan.valid is not None and plan.train.layout.can_count
        if not (plan.options.baselines and can_compare and patient):
            return {}, {}, []
        infos = {"train": plan.train, "valid": plan.valid, "test": plan.test}
        features = {
            split: features_from_records(tfrecord.read_examples(info), len(plan.vocabulary), list(patient))
            for split, info in infos.items()
            if info is not None
        }
        names = (*BASELINES, XGBOOST) if plan.options.xgboost else BASELINES
        fitted = fit_baselines(features, patient, names=names, seed=plan.options.seed)
        rivals, thresholds = {split: {} for split in self.predictions}, {}
        for name, of_split in fitted.predictions.items():
            calibrations = {task: fit_calibration(valid) for task, valid in of_split["valid"].items()}
            thresholds[name] = {task: calibration.thresholds for task, calibration in calibrations.items()}
            for split, of_name in rivals.items():
                of_name[name] = {task: (made, calibrations[task].apply(made)) for task, made in of_split[split].items()}
        logger.info("baselines fitted: %s", ", ".join(fitted.predictions))
        reasons = [
            f"Baseline {name}, {task} {label}: {reason}."
            for name, tasks in fitted.reasons.items()
            for task, labels in tasks.items()
            for label, reason in labels.items()
        ]
        return rivals, thresholds, reasons

    def write_files(self, results):
        """Writes what this evaluation adds to the run directory; `results` are complete."""
