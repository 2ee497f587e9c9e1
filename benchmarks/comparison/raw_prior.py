"""Platt scaling as it was, with a prior on the raw slope, beside today's: what it cost on logits close together."""

import numpy as np
from scipy.optimize import minimize

from medtop.evaluation.bootstrap import LabelStatistics, interval, resampled
from medtop.evaluation.platt import fit_platt
from medtop.evaluation.predictions import sigmoid


def fit_raw(logits, targets, worth=0.1):
    """(slope, intercept) with the prior of before: on the raw slope and intercept."""
    signs = np.where(targets > 0, 1.0, -1.0)

    def loss(values):
        margins = signs * (values[0] * logits + values[1])
        pull = -signs * sigmoid(-margins)
        off = values - np.array([1.0, 0.0])
        return np.logaddexp(0, -margins).sum() + worth / 2 * off @ off, [
            pull @ logits + worth * off[0],
            pull.sum() + worth * off[1],
        ]

    return minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(0.01, None), (None, None)]).x


def errors(valid, test, targets, test_targets, patients, num_bootstrap):
    """[(calibration error, low, high)] on the test split: with the prior of before, with today's."""
    people, statistics = int(patients.max()) + 1, []
    for slope, intercept in (fit_raw(valid, targets), fit_platt(valid, targets)[:2]):
        p = sigmoid(slope * test + intercept)
        statistics.append(LabelStatistics(p, test_targets, patients, people, metrics=("calibration_error",)))
    drawn = resampled(statistics, people, num_bootstrap, seed=0)
    points = [of.point()["calibration_error"] for of in statistics]
    return [
        (point, *interval(point, of["calibration_error"], centred=True))
        for point, of in zip(points, drawn, strict=True)
    ]
