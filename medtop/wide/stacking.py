"""Wide and deep logits together: a wide + c deep + b, with a and c of 0 or more, one pair for the labels of a task.

Fitted by log loss on examples that neither part was fitted to. What the encoder adds must show on patients that the
scales were not fitted to either: its c is 0 unless cross-validation over these patients finds a mean gain of more than
one standard error.

Letters: N examples, K labels of a task.
"""

import dataclasses

import numpy as np
from scipy import optimize
from scipy.special import expit

from medtop.wide.cross_validation import folds_of

FEWEST = 50
"""Known labels of the rarer class, over a task's labels, below which there is nothing to choose by."""


@dataclasses.dataclass(frozen=True)
class Scales:
    """How a task's logits are put together.

    Attributes:
        wide_scale, deep_scale: a and c.
        offset: float64 [K], b.
        reason: a sentence on how they were found.
    """

    wide_scale: float
    deep_scale: float
    offset: np.ndarray
    reason: str

    def to_dict(self):
        """Plain JSON values, K numbers of each."""
        count = len(self.offset)
        return {
            "wide_scale": [self.wide_scale] * count,
            "deep_scale": [self.deep_scale] * count,
            "offset": [float(value) for value in self.offset],
            "reason": self.reason,
        }


def alone(count, reason):
    """The wide part's own logits."""
    return Scales(1.0, 0.0, np.zeros(count), reason)


def fit_scales(wide, deep, targets, weights):
    """(a, c, b [K]) of the lowest log loss; b is 0 for a label of one class.

    Args:
        wide, deep: float64 [N, K] logits; deep None: without it.
        targets, weights: [N, K]; weight 0 = unknown.
    """
    positives, known = (weights * targets).sum(axis=0), weights.sum(axis=0)
    usable = (positives > 0) & (positives < known)
    parts = [part[:, usable] for part in (wide, deep) if part is not None]
    y, w = targets[:, usable], weights[:, usable]

    def loss(parameters):
        scales, offsets = parameters[: len(parts)], parameters[len(parts) :]
        logits = sum(scale * part for scale, part in zip(scales, parts, strict=True)) + offsets
        slope = w * (expit(logits) - y)
        value = (w * (np.logaddexp(0, logits) - y * logits)).sum()
        return value, np.concatenate([[(slope * part).sum() for part in parts], slope.sum(axis=0)])

    start = np.concatenate([[1.0, *[0.0] * (len(parts) - 1)], np.zeros(usable.sum())])
    bounds = [(0, None)] * len(parts) + [(None, None)] * int(usable.sum())
    minimum = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500}).x
    offset = np.zeros(targets.shape[1])
    offset[usable] = minimum[len(parts) :]
    return float(minimum[0]), float(minimum[1]) if deep is not None else 0.0, offset


def _losses(scales, wide, deep, targets, weights):
    """float64 [N]: log loss of each example, summed over its known labels."""
    a, c, b = scales
    logits = a * wide + b + (0.0 if deep is None else c * deep)
    return (weights * (np.logaddexp(0, logits) - targets * logits)).sum(axis=1)


def choose_scales(wide, deep, targets, weights, patient_ids):
    """`Scales` of one task, on examples that neither part was fitted to.

    Args:
        wide, deep: [N, K] logits.
        targets, weights: [N, K]; weight 0 = unknown, whatever the target.
        patient_ids: str [N].
    """
    weights = (np.asarray(weights) > 0).astype(np.float64)
    targets = np.where(weights > 0, targets, 0.0).astype(np.float64)
    wide, deep = np.asarray(wide, np.float64), np.asarray(deep, np.float64)
    positives = (weights * targets).sum()
    rarer = min(positives, weights.sum() - positives)
    if rarer < FEWEST:
        return alone(wide.shape[1], f"{rarer:.0f} known labels of the rarer class: too few to choose by")
    folds, gains = folds_of(patient_ids), np.zeros(len(wide))
    for fold in range(folds.max() + 1):
        inside, outside = folds != fold, folds == fold
        fitted = [wide[inside], deep[inside], targets[inside], weights[inside]]
        tested = [wide[outside], deep[outside], targets[outside], weights[outside]]
        both, without = fit_scales(*fitted), fit_scales(fitted[0], None, *fitted[2:])
        gains[outside] = _losses(without, *tested) - _losses(both, *tested)
    _, place = np.unique(np.asarray(patient_ids, str), return_inverse=True)
    gains = np.bincount(place, gains)  # by patient: examples of one patient are not independent
    mean, error = gains.mean(), gains.std(ddof=1) / np.sqrt(len(gains))
    about = f"cross-validated gain of log loss by the encoder {mean:.5f}, standard error {error:.5f}, a patient"
    a, c, b = fit_scales(wide, deep, targets, weights)
    if not mean > error or c == 0:
        return alone(wide.shape[1], f"{about}: not enough, it takes no part")
    return Scales(a, c, b, about)
