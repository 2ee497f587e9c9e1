"""A model at a new site: its risks shifted or stretched to fit there, learned on one part of the patients, judged on
the rest.
"""

import numpy as np

from medtop.evaluation.logistic import fit_logistic
from medtop.evaluation.platt import fit_platt
from medtop.evaluation.predictions import logit, sigmoid
from medtop.files.errors import DataError

METHODS = ("none", "intercept", "platt")
MINIMUM_PER_CLASS = 10


def fitting_part(patient_ids, share=0.5, seed=0):
    """Which examples the recalibration is fitted on: a seeded draw of patients, all examples of a patient together.

    Args:
        patient_ids: str [N].
        share: of the patients.
        seed: of `numpy.random.default_rng`.

    Returns:
        bool [N]: True = fitted on, False = judged on.
    """
    names, number = np.unique(np.asarray(patient_ids, str), return_inverse=True)
    chosen = np.zeros(len(names), bool)
    chosen[np.random.default_rng(seed).permutation(len(names))[: round(share * len(names))]] = True
    return chosen[number.reshape(-1)]


def recalibrate(probabilities, targets, known, fit_on, method):
    """Risks of one label, recalibrated.

    `intercept` fits b of `sigmoid(logit(p) + b)`, for another prevalence; `platt` fits a and b of
    `sigmoid(a logit(p) + b)` (Steyerberg 2004, methods 2 and 3).

    Args:
        probabilities: float [N].
        targets: [N], 0 or 1 where known.
        known, fit_on: bool [N].
        method: one of `METHODS`.

    Returns:
        (float64 [N], the recalibrated risks of all examples; dict of slope, intercept, n, positives, reason). With
        fewer than `MINIMUM_PER_CLASS` known positives or negatives to fit on, the risks stay, and `reason` says so.
    """
    if method not in METHODS:
        raise DataError(f"--recalibrate: expected one of {', '.join(METHODS)}, received {method!r}")
    chosen = np.asarray(known) & np.asarray(fit_on)
    x = logit(probabilities)
    y = np.asarray(targets)[chosen] > 0
    about = {"method": method, "slope": 1.0, "intercept": 0.0, "n": int(len(y)), "positives": int(y.sum())}
    about["reason"] = None
    if method == "none":
        return np.asarray(probabilities, np.float64), about
    if min(y.sum(), (~y).sum()) < MINIMUM_PER_CLASS:
        about["reason"] = (
            f"not recalibrated: {about['positives']} positives among {about['n']} known labels to fit on, "
            f"at least {MINIMUM_PER_CLASS} of each class needed"
        )
        return np.asarray(probabilities, np.float64), about
    if method == "intercept":
        ones = np.ones((len(y), 1))
        about["intercept"] = float(fit_logistic(ones, y, ones, offset=x[chosen])[0, 0])
    else:
        about["slope"], about["intercept"], about["reason"] = fit_platt(x[chosen], y)
    return sigmoid(about["slope"] * x + about["intercept"]), about
