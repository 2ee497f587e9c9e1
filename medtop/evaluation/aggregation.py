"""From one probability per window to one per admission.

ClinicalBERT (Huang, Altosaar, Ranganath 2019, equation 4) takes `(max + mean * n / c) / (1 + n / c)` of the n windows'
probabilities: the more windows there are, the more their mean counts beside the highest one; c says how fast.

Letters: S windows, N admissions, K labels of a task.
"""

import dataclasses
import math

import numpy as np

from medtop.evaluation.bootstrap import LabelStatistics
from medtop.evaluation.predictions import Predictions, logit
from medtop.files.atomic import write_json
from medtop.files.bounded import read_json
from medtop.files.errors import DataError

MAX_MEAN, MEAN, MAX = METHODS = ("max_mean", "mean", "max")
DEFAULT_C = 2.0
_VERSION = 1
C_GRID = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""What is tried when validation chooses c."""


@dataclasses.dataclass(frozen=True)
class Aggregation:
    """How windows become an admission.

    Attributes:
        method: "max_mean" (ClinicalBERT's), "mean" or "max".
        c: of "max_mean": with n = c windows, highest and mean weigh the same.

    Raises:
        DataError: for another method, or a c that is not above 0.
    """

    method: str = MAX_MEAN
    c: float = DEFAULT_C

    def __post_init__(self):
        if self.method not in METHODS:
            raise DataError(f"aggregation: expected one of {', '.join(METHODS)}, received {self.method!r}")
        if not 0 < self.c < math.inf:
            raise DataError(f"aggregation: expected c above 0, received {self.c!r}")

    @property
    def name(self):
        """For tables."""
        return {MAX_MEAN: f"max and mean (c = {self.c:g})", MEAN: "mean", MAX: "max"}[self.method]

    def combine(self, probabilities, groups, count):
        """One probability for each admission.

        Args:
            probabilities: float [S, K], in [0, 1].
            groups: int [S], the admission of each window, below N; every admission has a window.
            count: N.

        Returns:
            float64 [N, K].

        >>> Aggregation(c=2).combine([[0.2], [0.6], [0.1]], [0, 0, 1], 2).ravel().round(12).tolist()
        [0.5, 0.1]
        """
        highest, mean, sizes = _summaries(probabilities, groups, count)
        if self.method == MEAN:
            return mean
        if self.method == MAX:
            return highest
        weight = sizes[:, None] / self.c
        return (highest + mean * weight) / (1 + weight)

    def shares(self, probabilities, groups, count):
        """What each window adds to its admission's probability: float64 [S, K]; their sum per admission is `combine`.

        The highest window gets the maximum's part too; of several equally high ones each the same.
        """
        probabilities, groups = np.asarray(probabilities, np.float64), np.asarray(groups, np.int64)
        highest, _, sizes = _summaries(probabilities, groups, count)
        top = (probabilities == highest[groups]).astype(np.float64)
        at_top = np.zeros_like(highest)
        np.add.at(at_top, groups, top)
        of_max, of_mean = probabilities * top / at_top[groups], probabilities / sizes[groups][:, None]
        if self.method == MEAN:
            return of_mean
        if self.method == MAX:
            return of_max
        weight = (sizes / self.c)[groups][:, None]
        return (of_max + of_mean * weight) / (1 + weight)


def _summaries(probabilities, groups, count):
    """(highest [N, K], mean [N, K], number of windows [N]), float64."""
    probabilities, groups = np.asarray(probabilities, np.float64), np.asarray(groups, np.int64)
    sizes = np.bincount(groups, minlength=count).astype(np.float64)
    if len(sizes) != count or not sizes.all():
        raise DataError(f"aggregation: expected windows of each of {count} admissions, received other groups")
    highest = np.full((count, probabilities.shape[1]), -np.inf)
    np.maximum.at(highest, groups, probabilities)
    sums = np.stack([np.bincount(groups, column, count) for column in probabilities.T], axis=1)
    return highest, np.minimum(sums / sizes[:, None], highest), sizes  # rounding lifts no mean above its maximum


@dataclasses.dataclass
class Admissions:
    """Which windows belong together: an admission (of a patient) at one prediction time.

    Attributes:
        groups: int64 [S], place of each window's admission.
        first: int64 [N], the first window of each.
        counts: int64 [N], windows of each.
        patient_ids, admission_ids: str [N].
        prediction_times: int64 [N].
    """

    groups: np.ndarray
    first: np.ndarray
    counts: np.ndarray
    patient_ids: np.ndarray
    admission_ids: np.ndarray
    prediction_times: np.ndarray

    def __len__(self):
        return len(self.first)

    @classmethod
    def of(cls, patient_ids, admission_ids, prediction_times):
        """Groups windows; admissions come in order of their first window.

        Args:
            patient_ids, admission_ids: str [S].
            prediction_times: int64 [S].
        """
        patient_ids, admission_ids = np.asarray(patient_ids, str), np.asarray(admission_ids, str)
        prediction_times = np.asarray(prediction_times, np.int64)
        keys = np.stack(
            [
                np.unique(part, return_inverse=True)[1].reshape(-1)
                for part in (patient_ids, admission_ids, prediction_times)
            ]
        )
        _, first, groups, counts = np.unique(keys, axis=1, return_index=True, return_inverse=True, return_counts=True)
        order = np.argsort(first)  # by first appearance
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        first = first[order]
        return cls(
            place[groups.reshape(-1)],
            first,
            counts[order],
            patient_ids[first],
            admission_ids[first],
            prediction_times[first],
        )

    def aggregate(self, windows, aggregation):
        """`Predictions` of the admissions out of those of their windows; the logits are of the joint probabilities.

        Args:
            windows: `Predictions` with S rows.
            aggregation: `Aggregation`.

        Raises:
            DataError: when two windows of an admission have different labels.
        """
        for name in ("targets", "weights"):
            values = np.where(windows.weights > 0, getattr(windows, name), 0)
            if not (values == values[self.first][self.groups]).all():
                raise DataError(
                    f"records: expected one label of {windows.task} for all windows of an admission, "
                    "received different ones"
                )
        joint = aggregation.combine(windows.probabilities, self.groups, len(self))
        return Predictions(
            windows.task,
            windows.labels,
            self.patient_ids,
            self.prediction_times,
            windows.targets[self.first],
            windows.weights[self.first],
            logit(joint),
            admission_ids=self.admission_ids,
        )


def tune_c(windows, admissions, grid=C_GRID):
    """The c of "max_mean" with the highest mean ROC AUC over the labels, on validation.

    Among equal ones, that which is nearest to the default (as a ratio); the default where no label has both classes.

    Args:
        windows: `Predictions` of the validation split's windows.
        admissions: their `Admissions`.
        grid: what is tried.

    Returns:
        (c, dict of tried c -> mean ROC AUC).
    """
    tried = {}
    for c in sorted(grid, key=lambda c: abs(math.log(c / DEFAULT_C))):
        areas = _areas(admissions.aggregate(windows, Aggregation(MAX_MEAN, c)))
        if not areas:
            return DEFAULT_C, {}
        tried[c] = float(np.mean(areas))
    return max(tried, key=tried.get), tried  # the first of equals


def _areas(predictions):
    """ROC AUC of each label that has both classes."""
    areas = []
    for place in range(len(predictions.labels)):
        known = predictions.known[:, place]
        statistics = LabelStatistics(
            predictions.probabilities[known, place],
            predictions.targets[known, place],
            np.arange(known.sum()),
            int(known.sum()),
            metrics=("roc_auc",),
        )
        areas.append(statistics.point()["roc_auc"] if known.any() else math.nan)
    return [area for area in areas if math.isfinite(area)]


def write_aggregation(path, aggregation, tried=None):
    """Writes aggregation.json: method, c, and the validation ROC AUC of each c that was tried."""
    write_json(
        path,
        {
            "version": _VERSION,
            "method": aggregation.method,
            "c": aggregation.c,
            "validation_roc_auc": {f"{c:g}": area for c, area in (tried or {}).items()},
        },
    )


def read_aggregation(path):
    """The `Aggregation` of a run; a DataError for a missing or foreign file."""
    try:
        content = read_json(path)
        if content["version"] != _VERSION:
            raise DataError(f"{path}: expected version {_VERSION}, received {content['version']!r}")
        return Aggregation(content["method"], float(content["c"]))
    except FileNotFoundError:
        raise DataError(f"{path}: expected the aggregation of an evaluated run, found no such file") from None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected an aggregation, received another content ({error!r:.100})") from error
