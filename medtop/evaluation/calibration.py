"""Calibration and thresholds, fitted on the validation split and stored in the run directory as calibration.json.

Per label, three steps lead from a logit z to a probability:
1. class weights are taken back: a positive weight w in the loss moves the best logit by log w, so z <- z - log w;
2. Platt scaling z <- a z + b with a > 0 (or temperature: z <- z / T), so that the order within a label stays;
3. sigmoid.
A label whose validation data are too few keeps step 2 as the identity, with the reason.
"""

import dataclasses
import math

import numpy as np

from medtop.evaluation.platt import fit_platt
from medtop.evaluation.predictions import sigmoid
from medtop.evaluation.small_cells import hide_in_sentence, is_small
from medtop.files.atomic import write_json
from medtop.files.bounded import read_json
from medtop.files.errors import DataError

METHODS = ("platt", "temperature", "identity")
MINIMUM_PER_CLASS = 10
"""Known validation positives, and negatives, that a fit needs: below, its error would exceed what it corrects."""
DEFAULT_THRESHOLD = 0.5
_FORMAT, _VERSION = "medtop calibration", 1


@dataclasses.dataclass
class LabelCalibration:
    """How one label's logits become probabilities and decisions.

    Attributes:
        slope, intercept: a > 0 and b of `a z + b`; temperature scaling is a = 1 / T, b = 0.
        class_weight: the positive weight that the loss had.
        threshold: probabilities at or above it are predicted positive.
        n, positives: known validation targets that the fit saw.
        reason: why slope and intercept are not, or not freely, fitted; None when they are.
        threshold_reason: why the threshold is the default; None when it was chosen.
    """

    slope: float = 1.0
    intercept: float = 0.0
    class_weight: float = 1.0
    threshold: float = DEFAULT_THRESHOLD
    n: int = 0
    positives: int = 0
    reason: str | None = None
    threshold_reason: str | None = None


@dataclasses.dataclass
class Calibration:
    """Calibration and thresholds of one task.

    Attributes:
        task: name of the task.
        method: "platt", "temperature" or "identity".
        labels: dict label -> `LabelCalibration`, in the task's order.
    """

    task: str
    method: str
    labels: dict

    @classmethod
    def identity(cls, task, labels, *, class_weights=None, reason="no validation split"):
        """The calibration of a run without validation data: class weights taken back, thresholds of 0.5."""
        weights = check_class_weights(task, labels, class_weights)
        return cls(
            task,
            "identity",
            {
                label: LabelCalibration(class_weight=weight, reason=reason, threshold_reason=reason)
                for label, weight in zip(labels, weights, strict=True)
            },
        )

    @property
    def thresholds(self):
        """dict label -> threshold, as `evaluation.evaluate` takes it."""
        return {label: entry.threshold for label, entry in self.labels.items()}

    def _column(self, name, predictions):
        if tuple(self.labels) != tuple(predictions.labels):
            raise DataError(
                f"calibration of {self.task}: expected labels {', '.join(self.labels)}, "
                f"received {', '.join(predictions.labels)}"
            )
        return np.array([getattr(entry, name) for entry in self.labels.values()], np.float64)

    def logits(self, predictions):
        """float64 [N, K]: the logits with the class weights taken back, not calibrated."""
        return predictions.logits.astype(np.float64) - np.log(self._column("class_weight", predictions))

    def uncalibrated(self, predictions):
        """float64 [N, K]: probabilities with the class weights taken back, not calibrated."""
        return sigmoid(self.logits(predictions))

    def apply(self, predictions):
        """float64 [N, K]: calibrated probabilities of any split.

        Raises:
            DataError: when the predictions have other labels.
        """
        slope, intercept = self._column("slope", predictions), self._column("intercept", predictions)
        return sigmoid(slope * self.logits(predictions) + intercept)

    def of_labels(self, labels):
        """The calibration of some of its labels, in the order of `labels`."""
        return dataclasses.replace(self, labels={label: self.labels[label] for label in labels})

    def shown(self, least, people=None):
        """A copy whose counts of 1 to `least` - 1 validation labels, or of so few people, are None; what it does to
        logits stays.

        Args:
            least: smallest count that is shown.
            people: dict label -> counts of people beside its own counts, where patients have several examples.
        """
        labels = {}
        for label, entry in self.labels.items():
            counts = (entry.n, entry.positives, None if entry.positives is None else entry.n - entry.positives)
            counts += tuple((people or {}).get(label, ()))
            hidden = {"n": None, "positives": None} if any(is_small(count, least) for count in counts) else {}
            reasons = {
                name: getattr(entry, name) and hide_in_sentence(getattr(entry, name), least)
                for name in ("reason", "threshold_reason")
            }
            labels[label] = dataclasses.replace(entry, **hidden, **reasons)
        return dataclasses.replace(self, labels=labels)

    def to_dict(self):
        """Builtin values only, for JSON."""
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "task": self.task,
            "method": self.method,
            "labels": {label: dataclasses.asdict(entry) for label, entry in self.labels.items()},
        }

    @classmethod
    def from_dict(cls, plain, where="calibration"):
        """The inverse of `to_dict`; `where` names the place in errors."""
        if not isinstance(plain, dict) or plain.get("format") != _FORMAT or plain.get("version") != _VERSION:
            raise DataError(f"{where}: expected a calibration of version {_VERSION}, received another content")
        try:
            labels = {label: LabelCalibration(**entry) for label, entry in plain["labels"].items()}
            for label, entry in labels.items():
                if not (entry.slope > 0 and entry.class_weight > 0 and math.isfinite(entry.intercept)):
                    raise DataError(
                        f"{where}: label {label}: expected slope and class_weight above 0, received "
                        f"{entry.slope} and {entry.class_weight}"
                    )
            return cls(plain["task"], plain["method"], labels)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{where}: expected a calibration, received another content ({error})") from None


def write_calibrations(path, calibrations, min_cell=0, people=None):
    """Writes dict task -> `Calibration` as calibration.json, whole or not at all, without counts under `min_cell`.

    `people`: dict task -> what `Calibration.shown` takes.
    """
    content = {
        task: calibration.shown(min_cell, (people or {}).get(task)).to_dict()
        for task, calibration in calibrations.items()
    }
    write_json(path, content, shared=True)


def read_calibrations(path):
    """Reads calibration.json: dict task -> `Calibration`; a DataError for a missing or damaged file."""
    try:
        plain = read_json(path)
    except FileNotFoundError:
        raise DataError(f"{path}: expected the calibration of a finished run, received no such file") from None
    if not isinstance(plain, dict):
        raise DataError(f"{path}: expected a calibration for each task, received a {type(plain).__name__}")
    return {task: Calibration.from_dict(entry, f"{path}: {task}") for task, entry in plain.items()}


def check_class_weights(task, labels, class_weights):
    """`class_weights` (None, dict label -> weight, or K numbers) as a list of K positive floats."""
    where = f"class weights of {task}"
    if class_weights is None:
        return [1.0] * len(labels)
    if isinstance(class_weights, dict):
        unknown = sorted(set(class_weights) - set(labels))
        if unknown:
            raise DataError(f"{where}: expected labels among {', '.join(labels)}, received {unknown[0]!r}")
        class_weights = [class_weights.get(label, 1.0) for label in labels]
    weights = [float(weight) for weight in class_weights]
    if len(weights) != len(labels):
        raise DataError(f"{where}: expected {len(labels)} ({', '.join(labels)}), received {len(weights)}")
    if not all(weight > 0 and math.isfinite(weight) for weight in weights):
        raise DataError(f"{where}: expected numbers above 0, received {weights}")
    return weights


def fit_calibration(predictions, *, method="platt", class_weights=None):
    """Fits calibration and thresholds of every label on validation predictions.

    Args:
        predictions: `Predictions` of the validation split, never of test.
        method: "platt" (slope and intercept), "temperature" (slope) or "identity".
        class_weights: positive weights that the loss had: dict label -> weight, K numbers, or None.

    Returns:
        `Calibration`.
    """
    if method not in METHODS:
        raise DataError(f"calibration of {predictions.task}: expected one of {', '.join(METHODS)}, received {method!r}")
    calibration = Calibration.identity(predictions.task, predictions.labels, class_weights=class_weights, reason=None)
    calibration.method = method
    logits = calibration.logits(predictions)
    for place, entry in enumerate(calibration.labels.values()):
        known = predictions.known[:, place]
        targets = predictions.targets[known, place] > 0
        entry.n, entry.positives = len(targets), int(targets.sum())
        fewest = min(entry.positives, entry.n - entry.positives)
        if method != "identity" and fewest < MINIMUM_PER_CLASS:
            entry.reason = (
                f"not calibrated: {entry.positives} positives among {entry.n} known validation labels, "
                f"at least {MINIMUM_PER_CLASS} of each class needed"
            )
        elif method != "identity":
            entry.slope, entry.intercept, entry.reason = fit_platt(
                logits[known, place], targets, fit_intercept=method == "platt"
            )
        if fewest == 0:
            entry.threshold_reason = f"{DEFAULT_THRESHOLD}: validation has no known labels of both classes"
            continue
        scores = sigmoid(entry.slope * logits[known, place] + entry.intercept)
        entry.threshold = choose_threshold(scores, targets)
    return calibration


def choose_threshold(scores, targets):
    """The threshold of highest F1 on validation, predicting positive at or above it.

    Every cut between two distinct scores is tried, and the one below all; among equal F1 the highest threshold is taken
    (fewest alarms). The threshold lies halfway between the two scores of the cut, so that rounding of a score flips
    nothing.

    Args:
        scores: float [N].
        targets: [N], 1 or 0; both must occur.

    >>> choose_threshold(np.array([0.1, 0.4, 0.6, 0.8]), np.array([0, 0, 1, 1]))
    0.5
    """
    targets = np.asarray(targets) > 0
    if not targets.any() or targets.all():
        raise ValueError("choose_threshold: expected targets of both classes, received one")
    distinct, group = np.unique(-np.asarray(scores, np.float64), return_inverse=True)  # falling scores
    distinct = -distinct
    hits = np.cumsum(np.bincount(group, targets))
    predicted = np.cumsum(np.bincount(group))
    best = int(np.argmax(2 * hits / (predicted + targets.sum())))  # first of equals: highest score
    upper, lower = distinct[best], distinct[best + 1] if best + 1 < len(distinct) else 0.0
    middle = (upper + lower) / 2
    return float(middle if middle > lower else upper)
