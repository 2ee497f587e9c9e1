"""Platt scaling of one label's logits.

It is fitted on standardised logits, with a prior worth a stated number of observations: how far apart the logits lie,
and around which number, changes no calibrated probability.

Letters: N examples.
"""

import numpy as np
from scipy import optimize

from medtop.evaluation.predictions import sigmoid

SMALLEST_SLOPE = 0.01
"""What the calibrated log odds gain at least for each standard deviation of the logits: the order stays."""
PRIOR_OBSERVATIONS = 1.0
"""Worth of the prior; docs/evaluation.md shows what other values would do."""
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

    def loss(parameters):
        scores = parameters[0] * points + parameters[1]
        pull = parts * (sigmoid(scores) - shares)
        return parts @ (np.logaddexp(0, scores) - shares * scores), np.array([pull @ points, pull.sum()])

    fitted = optimize.minimize(
        loss,
        np.array([1.0, 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(SMALLEST_SLOPE, SMALLEST_SLOPE if equal else None), (None, None) if fit_intercept else (0.0, 0.0)],
        options={"maxiter": 500, "ftol": 1e-15, "gtol": 1e-9},
    )
    slope, intercept = map(float, fitted.x)
    reason = None
    if equal:
        reason = "slope held: all validation scores are equal"
    elif slope <= SMALLEST_SLOPE * (1 + 1e-9):
        reason = (
            f"slope held at {SMALLEST_SLOPE} per standard deviation: validation scores do not rank positives above "
            "negatives"
        )
    return slope / scale, intercept - slope * centre / scale, reason
