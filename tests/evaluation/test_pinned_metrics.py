"""Edges of the metrics under resampling, by hand: what comparisons on random data never meet."""

import numpy as np
import pytest

from medtop.evaluation import bootstrap
from medtop.evaluation.bootstrap import DECISIONS, LabelStatistics, calibration_bins


def test_a_precision_of_exactly_eighty_percent_counts():
    """Four positives of the five highest scores: recall 4/5 at a precision of 0.8."""
    targets = [1, 1, 1, 1, 0, 0, 0, 1]
    scores = [0.9, 0.8, 0.7, 0.5, 0.6, 0.3, 0.2, 0.1]  # the last of the four comes at the fifth place
    point = LabelStatistics(scores, targets, range(8), 8).point()
    assert point["recall_at_precision_80"] == pytest.approx(4 / 5)
    targets[1] = 0
    assert LabelStatistics(scores, targets, range(8), 8).point()["recall_at_precision_80"] == pytest.approx(1 / 4)


def test_one_positive_or_one_negative_in_a_resample_is_enough():
    """Precision, recall and F1 are undefined only where a class is missing."""
    targets, decisions = np.array([1, 0, 0, 1]), np.array([True, True, False, False])
    statistics = LabelStatistics([0.9, 0.8, 0.2, 0.1], targets, range(4), 4, decisions, DECISIONS)
    counts = np.array([[1, 2, 1, 0], [1, 0, 1, 1], [2, 0, 0, 1], [0, 1, 1, 0]], float).T  # [P, R]
    values = statistics.values(counts)
    assert values["precision"].tolist()[:2] == [1 / 3, 1.0] and values["recall"].tolist()[:2] == [1.0, 0.5]
    assert np.isnan([values[name][2] for name in DECISIONS]).all()  # no negative drawn
    assert np.isnan([values[name][3] for name in DECISIONS]).all()
    assert values["f1"].tolist()[:2] == pytest.approx([0.5, 2 / 3])


def test_bins_of_calibration_by_hand():
    """Equal scores share a bin; at least ten in each; the highest score lies in the last."""
    assert calibration_bins(np.arange(30) / 30, bins=3).tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert calibration_bins(np.arange(29) / 29, bins=3).tolist() == [0] * 14 + [1] * 15  # only two fit
    assert calibration_bins(np.zeros(40), bins=4).tolist() == [2] * 40
    assert calibration_bins(np.arange(9)).tolist() == [0] * 9
    assert calibration_bins(np.array([])).tolist() == []


def test_nobody_and_no_resample():
    """No patients, or none asked for: no replicates, and no draw from nothing."""
    item = LabelStatistics([0.5, 0.4], [1, 0], [0, 1], 2)
    for patients, resamples in ((2, 0), (0, 5)):
        (none,) = bootstrap.resampled([item], patients, resamples, 1)
        assert none.keys() == set(item.metrics) and all(len(values) == 0 for values in none.values())


def test_the_draws_are_numpys_own():
    """Patients are drawn with replacement by `default_rng(seed).integers`, a resample after the other."""
    generator = np.random.default_rng(7)
    wanted = [np.bincount(generator.integers(5, size=5), minlength=5) for _ in range(3)]
    (counts,) = bootstrap.resample_counts(5, 3, 7)
    assert counts.T.tolist() == [row.tolist() for row in wanted]
