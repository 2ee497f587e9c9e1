"""How well probabilities agree with what happened, as clinical papers state it: slope, intercept, observed : expected,
integrated calibration index, and the smooth curve behind it.

Letters: E known elements, P patients, R resamples, Q columns of a spline.
"""

import numpy as np

from medtop.evaluation.logistic import fit_logistic
from medtop.evaluation.predictions import logit, sigmoid

CALIBRATION = (
    "calibration_slope",
    "calibration_intercept",
    "observed_expected",
    "integrated_calibration_index",
)
KNOTS = (0.05, 0.35, 0.65, 0.95)
"""Quantiles of the logits at which the spline's pieces meet (Harrell 2015, section 2.4.6, four knots)."""

_RIDGE = 1e-3  # observations; keeps the curve finite where a bend has next to no events
_CELLS = 2_000_000


def spline_columns(x, knots):
    """Restricted cubic spline: linear beyond the outer knots (Harrell 2015, equation 2.25).

    Args:
        x: float [E].
        knots: float [k], rising, k >= 3.

    Returns:
        float64 [E, k - 1]: x itself, then k - 2 bends, scaled by the square of the knots' range.
    """
    x, knots = np.asarray(x, np.float64), np.asarray(knots, np.float64)

    def cube(place):
        return np.maximum(x - knots[place], 0) ** 3

    last, before = len(knots) - 1, len(knots) - 2
    gap = knots[last] - knots[before]
    columns = [x]
    for place in range(len(knots) - 2):
        bend = cube(place) - cube(before) * (knots[last] - knots[place]) / gap
        bend += cube(last) * (knots[before] - knots[place]) / gap
        columns.append(bend / (knots[last] - knots[0]) ** 2)
    return np.stack(columns, 1)


class SmoothCalibration:
    """The smooth calibration curve: observed risk as a function of the predicted one.

    A logistic regression of the outcome on a restricted cubic spline of the prediction's logit (Austin, Harrell and
    van Klaveren 2020); with few distinct predictions, on the logit alone.

    Args:
        probabilities: float [E].
    """

    def __init__(self, probabilities):
        x = logit(probabilities, 1e-6)
        self._centre, self._scale = (float(np.mean(x)), float(np.std(x)) or 1.0) if len(x) else (0.0, 1.0)
        standard = (x - self._centre) / self._scale
        knots = np.quantile(standard, KNOTS) if len(x) else np.zeros(0)
        self._knots = knots if len(knots) and np.diff(knots).min() > 1e-3 else None
        self.columns = self._of(standard)

    def _of(self, standard):
        ones = np.ones((len(standard), 1))
        if self._knots is None:
            return np.concatenate([ones, standard[:, None]], 1)
        return np.concatenate([ones, spline_columns(standard, self._knots)], 1)

    def fit(self, targets, counts, tolerance=1e-10):
        """Coefficients float64 [Q, R] under each resample `counts` [E, R]."""
        return fit_logistic(self.columns, targets, counts, ridge=_RIDGE, tolerance=tolerance)

    def curve(self, coefficients, grid):
        """Observed risk at the probabilities `grid` [G]: float64 [G, R]."""
        standard = (logit(grid, 1e-6) - self._centre) / self._scale
        return sigmoid(self._of(standard) @ coefficients)


class CalibrationStatistics:
    """The calibration measures of one label, ready to be computed under any resample; an item for `resampled`.

    - `calibration_slope`: b of `logit P(y) = a + b logit(p)`; 1 is right, below 1 the risks are too extreme.
    - `calibration_intercept`: a of `logit P(y) = a + logit(p)` (calibration in the large); 0 is right, above 0 the
      risks are too low.
    - `observed_expected`: events that happened over the sum of the risks.
    - `integrated_calibration_index`: mean over elements of |smooth curve at p - p| (Austin and Steyerberg 2019).

    Args:
        scores: float [E], probabilities of the known elements.
        targets: [E], 0 or 1.
        patients: int [E], number of each element's patient, below P.
        num_patients: P.
        metrics: some of `CALIBRATION`; the index, which needs the curve, takes most of the time.
        refit: `medtop.evaluation.recalibration.Refit` where the scores were recalibrated on other patients, or None:
            under a resample the scores are then those of that resample's recalibration.
    """

    def __init__(self, scores, targets, patients, num_patients, metrics=CALIBRATION, refit=None):
        self.refit = refit
        self.metrics = tuple(metrics)
        self.scores = np.asarray(scores, np.float64)
        self.positives = np.asarray(targets) > 0
        self.patients, self.num_patients = np.asarray(patients, np.int64), num_patients
        self.smooth = SmoothCalibration(self.scores)

    @property
    def rows(self):
        """Length of the longest array made per resample."""
        return max(self.num_patients, len(self.scores) * 8)

    def values(self, counts):
        """All measures under each resample: counts float64 [P, R] -> dict measure -> float64 [R]; NaN: undefined."""
        size = max(1, _CELLS // max(len(self.scores), 1))
        blocks = [counts[:, start : start + size] for start in range(0, counts.shape[1], size)]
        parts = [self._block(block[self.patients], self.refit and self._recalibrated(block)) for block in blocks]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.metrics}

    def _recalibrated(self, counts):
        """(logits [E, R] of each resample's recalibration, how much steeper they are [R]); NaN: the scores' own."""
        x = logit(self.scores, 1e-9)
        again, steeper = self.refit.again(x, counts)
        lost = ~np.isfinite(again).all(0)
        return np.where(lost, x[:, None], again), np.where(lost, np.nan, steeper)

    def _block(self, counts, recalibrated=None):
        x = logit(self.scores, 1e-9)
        again, steeper = (x, 1.0) if recalibrated is None else recalibrated
        scores = self.scores[:, None] if recalibrated is None else sigmoid(again)
        ones = np.ones((len(x), 1))
        near = 1e-10 if counts.shape[1] == 1 else 1e-5  # resampling noise is a thousand times larger
        slope = fit_logistic(np.concatenate([ones, x[:, None]], 1), self.positives, counts, tolerance=near)[1]
        intercept = fit_logistic(ones, self.positives, counts, offset=again, tolerance=near)[0]
        lost = np.where(np.isfinite(steeper), 0.0, np.nan)  # a resample without a recalibration has no measure
        expected = (scores * counts).sum(0) + lost
        observed = self.positives.astype(np.float64) @ counts
        missing = np.full(counts.shape[1], np.nan)
        result = {
            "calibration_slope": slope / steeper,
            "calibration_intercept": intercept + lost,
            "observed_expected": np.divide(observed, expected, out=missing.copy(), where=expected > 0),
        }
        # The smooth curve as a function of the logit is the same for any recalibration, which is a straight line of it.
        if "integrated_calibration_index" not in self.metrics:
            return result
        smooth = sigmoid(self.smooth.columns @ self.smooth.fit(self.positives, counts, near))
        total = counts.sum(0)
        gap = (np.abs(smooth - scores) * counts).sum(0) + lost
        index = np.divide(gap, total, out=missing, where=total > 0)
        return result | {"integrated_calibration_index": index}

    def point(self):
        """The measures on the data themselves: dict measure -> float (NaN where undefined)."""
        return {name: float(value[0]) for name, value in self._block(np.ones((len(self.scores), 1))).items()}
