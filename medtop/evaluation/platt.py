"""Platt scaling of one label's logits.

It is fitted on standardised logits, with a prior worth a stated number of observations: how far apart the logits lie,
and around which number, changes no calibrated probability.

Letters: N examples.
"""

import numpy as np

from medtop.evaluation.predictions import sigmoid

SMALLEST_SLOPE = 0.01
"""What the calibrated log odds gain at least for each standard deviation of the logits: the order stays."""
PRIOR_OBSERVATIONS = 1.0
"""Worth of the prior; docs/evaluation.md shows what other values would do."""
_CLOSE = 1e-10
"""A step that promises so little of the loss is taken whole and is the last: Newton's method squares what is missing,
and over many examples a comparison of losses would see nothing but their rounding."""
_SPREAD = 1e-9  # relative to the largest logit: below, all logits are equal but for rounding


def fit_platt(logits, targets, weights=None, *, prior=PRIOR_OBSERVATIONS, fit_intercept=True):
    """Slope a > 0 and intercept b of least log loss of sigmoid(a z + b) (Platt 1999), with a prior.

    The prior is `prior` additional observations, half of them one standard deviation below the mean logit and half
    one above, whose share of positives is that of the data on both sides: they say that scores tell nothing. So its
    worth is literal (appending such observations and fitting without prior gives the same), it keeps separable data
    finite, it vanishes as data grow, and it moves with the logits: for any c > 0 and d, logits c z + d give the
    calibrated probabilities that z gives.

    Args:
        logits: float [N].
        targets: [N], 1 or 0; both occur where an intercept is fitted.
        weights: float [N] >= 0, or None for ones.
        prior: observations that the prior is worth; 0 is plain logistic regression.
        fit_intercept: False keeps b = 0: temperature scaling with T = 1 / a. The logits' zero then counts: the prior's
            observations lie at plus and minus their root mean square, with as many positives as negatives.

    Returns:
        (a, b, reason). a is at least `SMALLEST_SLOPE` per standard deviation of the logits: where the fit wants less
        (scores rank validation positives no higher than negatives), it stays there, b is fitted beside it, and `reason`
        says so; otherwise it is None. Where all logits are equal, a is `SMALLEST_SLOPE` too.
    """
    logits, positive = np.asarray(logits, np.float64), np.asarray(targets) > 0
    weights = np.ones(len(logits)) if weights is None else np.asarray(weights, np.float64)
    total = weights.sum()
    centre = float(weights @ logits / total) if fit_intercept else 0.0
    scale = float(np.sqrt(weights @ (logits - centre) ** 2 / total))
    equal = scale <= _SPREAD * np.abs(logits).max()
    scale = 1.0 if equal else scale
    share = float(weights @ positive / total) if fit_intercept else 0.5
    points = np.concatenate([(logits - centre) / scale, [-1.0, 1.0]])
    parts = np.concatenate([weights, [prior / 2, prior / 2]])
    shares = np.concatenate([positive, [share, share]])

    slope, intercept = 0.0 if equal else 1.0, 0.0
    if not equal:
        slope, intercept = _newton(points, parts, shares, slope, intercept, free=(True, fit_intercept))
    held = slope <= SMALLEST_SLOPE
    if held:  # the loss is convex: where its minimum lies below the bound, the best allowed point lies on it
        slope, intercept = _newton(points, parts, shares, SMALLEST_SLOPE, 0.0, free=(False, fit_intercept))
    reason = None
    if equal:
        reason = "slope held: all validation scores are equal"
    elif held:
        reason = (
            f"slope held at {SMALLEST_SLOPE} per standard deviation: validation scores do not rank positives above "
            "negatives"
        )
    return slope / scale, intercept - slope * centre / scale, reason


def _newton(points, parts, shares, slope, intercept, free, most=100):
    """Newton's method with halved steps on the (convex) weighted log loss; parameters that are not `free` stay.

    Returns:
        (slope, intercept). On separable data without a prior there is no minimum: it stops after `most` steps.
    """
    columns = np.stack([points, np.ones_like(points)])[list(free)]
    fixed = np.where(free[0], 0.0, slope * points) + (0.0 if free[1] else intercept)
    values = np.array([slope, intercept])[list(free)]

    def loss(values):
        scores = fixed + values @ columns
        return parts @ (np.logaddexp(0, scores) - shares * scores)

    best = loss(values)
    for _ in range(most if len(values) else 0):
        chances = sigmoid(fixed + values @ columns)
        gradient = columns @ (parts * (chances - shares))
        curvature = (columns * (parts * chances * (1 - chances))) @ columns.T
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        if gradient @ step <= _CLOSE * (1 + abs(best)):
            values = values - step
            break
        length = 1.0
        while (candidate := loss(values - length * step)) > best and length > 1e-10:
            length /= 2
        if length <= 1e-10:
            break
        values, best = values - length * step, candidate
    parameters = iter(values)
    return (float(next(parameters)) if free[0] else slope), (float(next(parameters)) if free[1] else intercept)
