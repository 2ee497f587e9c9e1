"""A model at a new site: its risks shifted or stretched to fit there, learned on one part of the patients, judged on
the rest, with intervals that hold the error of what was learned.

Letters: N examples; F elements fitted on, E elements judged, P patients of both parts, R resamples.
"""

import numpy as np

from medtop.evaluation.logistic import fit_logistic
from medtop.evaluation.platt import PRIOR_OBSERVATIONS, SMALLEST_SLOPE, fit_platt
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


class Refit:
    """A recalibration fitted anew in each resample of the patients that it was fitted on.

    What is judged on other patients depends on this fit: an interval over the judged patients alone is too narrow,
    with equal parts by a factor of about 1.4.

    Args:
        about: what `recalibrate` says of the fit; without a `reason`.
        logits: float [F], of the risks before recalibration.
        targets: [F], 0 or 1.
        patients: int [F], number of each element's patient, below P.
    """

    def __init__(self, about, logits, targets, patients):
        self.method, self.slope, self.intercept = about["method"], about["slope"], about["intercept"]
        self.patients, self.positives = np.asarray(patients, np.int64), np.asarray(targets) > 0
        self.logits = np.asarray(logits, np.float64)

    def fits(self, counts):
        """(slopes, intercepts) float64 [R] under each resample, counts float64 [P, R]; NaN where there is none."""
        drawn = counts[self.patients]
        ones = np.ones((len(self.logits), 1))
        if self.method == "intercept":
            fitted = fit_logistic(ones, self.positives, drawn, offset=self.logits, tolerance=1e-5)
            return np.ones(counts.shape[1]), fitted[0]
        # As `fit_platt`, with the prior's observations where they lie for the data themselves.
        centre, scale = self.logits.mean(), self.logits.std()
        share = self.positives.mean()
        places = np.concatenate([(self.logits - centre) / scale, [-1, -1, 1, 1]])
        targets = np.concatenate([self.positives, [True, False, True, False]])
        prior = np.tile(PRIOR_OBSERVATIONS / 2 * np.array([share, 1 - share]), 2)
        weights = np.concatenate([drawn, np.repeat(prior[:, None], counts.shape[1], 1)])
        columns = np.stack([np.ones(len(places)), places], 1)
        intercepts, slopes = fit_logistic(columns, targets, weights, tolerance=1e-5)
        slopes = np.maximum(slopes, SMALLEST_SLOPE) / scale
        return slopes, intercepts - slopes * centre

    def again(self, logits, counts):
        """Logits as each resample's fit would have recalibrated them.

        Args:
            logits: float [E], recalibrated by the fit itself.
            counts: float64 [P, R].

        Returns:
            (float64 [E, R]; float64 [R], how much steeper they are than `logits`); NaN where there is no fit.
        """
        slopes, intercepts = self.fits(counts)
        steeper = slopes / self.slope
        return (np.asarray(logits)[:, None] - self.intercept) * steeper + intercepts, steeper


def refits_of(predictions, probabilities, abouts, first_patient):
    """The `Refit` of each label, and how many patients they were fitted on.

    Args:
        predictions: `Predictions` of the examples fitted on.
        probabilities: float [N, K], before recalibration.
        abouts: dict label -> what `recalibrate` says of the fit.
        first_patient: number of the first of these patients: how many others are judged.

    Returns:
        (dict label -> `Refit`; labels that were not recalibrated have none; int).
    """
    names, number = np.unique(np.asarray(predictions.patient_ids, str), return_inverse=True)
    number = number.reshape(-1) + first_patient
    refits = {}
    for place, label in enumerate(predictions.labels):
        about = abouts[label]
        if about["method"] == "none" or about["reason"]:
            continue
        rows = np.flatnonzero(predictions.known[:, place])
        parts = logit(probabilities[rows, place]), predictions.targets[rows, place], number[rows]
        refits[label] = Refit(about, *parts)
    return refits, len(names)
