"""What acting on a risk would mean: sensitivity, predictive values and alerts at thresholds, net benefit.

Letters: E known elements, P patients, R resamples, T thresholds.
"""

import dataclasses

import numpy as np
from scipy import sparse

AT_THRESHOLD = (
    "sensitivity",
    "specificity",
    "positive_predictive_value",
    "negative_predictive_value",
    "alerts_per_1000",
    "net_benefit",
)


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """A place at which risks become alerts.

    Attributes:
        threshold: probabilities at or above it alert.
        alert_rate: share of the elements that it was chosen to alert; None where the threshold was given.
    """

    threshold: float
    alert_rate: float | None = None


def operating_points(scores, thresholds=(), alert_rates=()):
    """The points for given thresholds, and those that alert the given shares of the scores.

    Of equal scores at the border all alert, so a share may be exceeded; the measured one is `alerts_per_1000`.

    Args:
        scores: float [E].
        thresholds, alert_rates: numbers in (0, 1).

    Returns:
        list of `OperatingPoint`, in the order of the arguments.

    >>> operating_points(np.arange(10) / 10, alert_rates=[0.2])
    [OperatingPoint(threshold=0.8, alert_rate=0.2)]
    """
    points = [OperatingPoint(float(threshold)) for threshold in thresholds]
    falling = np.sort(np.asarray(scores, np.float64))[::-1]
    for rate in alert_rates if len(falling) else ():
        last = max(int(np.ceil(rate * len(falling) - 1e-9)), 1) - 1
        points.append(OperatingPoint(float(falling[last]), float(rate)))
    return points


class DecisionStatistics:
    """Measures at each of T thresholds, ready to be computed under any resample; an item for `resampled`.

    Net benefit (Vickers and Elkin 2006): `TP / n - FP / n * t / (1 - t)`, in true positives per person.
    `treat_all` is the same with everybody alerted; that of alerting nobody is 0.

    Args:
        scores: float [E], probabilities of the known elements.
        targets: [E], 0 or 1.
        patients: int [E], number of each element's patient, below P.
        num_patients: P.
        thresholds: float [T], in [0, 1).
    """

    def __init__(self, scores, targets, patients, num_patients, thresholds):
        self.thresholds = np.asarray(thresholds, np.float64)
        self.num_patients = num_patients
        self.metrics = tuple(
            (name, place) for place in range(len(self.thresholds)) for name in (*AT_THRESHOLD, "treat_all")
        )
        positive = np.asarray(targets) > 0
        scores = np.asarray(scores, np.float64)
        sums = [np.ones(len(scores)), positive]
        for threshold in self.thresholds:
            alert = scores >= threshold
            sums += [alert & positive, alert & ~positive]
        self._sums = sparse.csr_array(
            np.stack([np.bincount(patients, np.asarray(values, np.float64), num_patients) for values in sums])
        )

    @property
    def rows(self):
        """Length of the longest array made per resample."""
        return max(self.num_patients, 2 + 2 * len(self.thresholds))

    def values(self, counts):
        """counts float64 [P, R] -> dict (measure, number of the threshold) -> float64 [R]; NaN where undefined."""
        n, positives, *pairs = self._sums @ counts
        negatives = n - positives
        result = {}
        for place, threshold in enumerate(self.thresholds):
            true, false = pairs[2 * place], pairs[2 * place + 1]
            odds = threshold / (1 - threshold)
            values = {
                "sensitivity": _ratio(true, positives),
                "specificity": _ratio(negatives - false, negatives),
                "positive_predictive_value": _ratio(true, true + false),
                "negative_predictive_value": _ratio(negatives - false, n - true - false),
                "alerts_per_1000": 1000 * _ratio(true + false, n),
                "net_benefit": _ratio(true - false * odds, n),
                "treat_all": _ratio(positives - negatives * odds, n),
            }
            result |= {(name, place): value for name, value in values.items()}
        return result

    def point(self):
        """The measures on the data themselves: dict (measure, number of the threshold) -> float."""
        return {name: float(value[0]) for name, value in self.values(np.ones((self.num_patients, 1))).items()}


def _ratio(above, below):
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
