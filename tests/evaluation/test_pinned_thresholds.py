"""Thresholds and minimum counts of calibration, by hand."""

import numpy as np
import pytest

from medtop.evaluation.calibration import Calibration, choose_threshold, fit_calibration
from medtop.evaluation.predictions import Predictions, sigmoid


def predictions_of(logits, targets):
    """One label of as many patients."""
    count = len(logits)
    logits, targets = (np.asarray(values, float)[:, None] for values in (logits, targets))
    return Predictions(
        "t", ("a",), [str(n) for n in range(count)], np.zeros(count), targets, np.ones((count, 1)), logits
    )


def test_the_threshold_is_one_of_calibrated_probabilities():
    """Slope and intercept both: half of the patients with a logit of -3 or more are positive, far above sigmoid(-3)."""
    generator = np.random.default_rng(0)
    logits = generator.normal(-4, 1.5, 3000)
    targets = generator.random(3000) < sigmoid(1.3 * logits + 4)
    predictions = predictions_of(logits, targets)
    calibration = fit_calibration(predictions)
    entry = calibration.labels["a"]
    assert entry.intercept > 2 and entry.reason is None
    scores = calibration.apply(predictions)[:, 0]
    assert entry.threshold == pytest.approx(choose_threshold(scores, targets), rel=1e-12)

    def f1(threshold):
        called = scores >= threshold
        return 2 * (called & targets).sum() / (called.sum() + targets.sum())

    assert f1(entry.threshold) == max(f1(cut) for cut in [0.0, *np.unique(scores)])


@pytest.mark.parametrize("positives, negatives, calibrated", [(10, 10, True), (9, 40, False), (40, 9, False)])
def test_ten_of_each_class_are_needed(positives, negatives, calibrated):
    generator = np.random.default_rng(1)
    targets = np.array([1] * positives + [0] * negatives)
    entry = fit_calibration(predictions_of(generator.normal(targets, 1), targets)).labels["a"]
    assert (entry.positives, entry.n) == (positives, positives + negatives)
    if calibrated:
        assert entry.reason is None and (entry.slope, entry.intercept) != (1.0, 0.0)
    else:
        assert "at least 10 of each class" in entry.reason and (entry.slope, entry.intercept) == (1.0, 0.0)


def test_a_threshold_below_all_scores_and_between_two():
    assert choose_threshold([0.2, 0.4, 0.6], [1, 0, 0]) == pytest.approx(0.1)  # half of the lowest score
    assert choose_threshold([0.2, 0.4, 0.6, 0.9], [0, 0, 1, 1]) == pytest.approx(0.5)
    assert choose_threshold([0.5, 0.5, 0.1], [1, 0, 0]) == pytest.approx(0.3)


def test_class_weights_are_taken_back():
    """A loss that weighs positives by 4 raises the log odds by log 4."""
    calibration = Calibration.identity("t", ("a",), class_weights=[4.0], reason=None)
    assert calibration.logits(predictions_of([0.0, 2.0], [0, 1]))[:, 0] == pytest.approx(np.array([0, 2]) - np.log(4))
