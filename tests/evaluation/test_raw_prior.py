"""benchmarks/comparison/raw_prior.py: the calibration of before, with the slopes that it was found to give."""

import sys

import numpy as np
import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))

from comparison.raw_prior import errors, fit_raw  # noqa: E402

from medtop.evaluation.platt import fit_platt  # noqa: E402
from medtop.evaluation.predictions import sigmoid  # noqa: E402


def drawn(seed, count=2000):
    """(t standard normal, targets drawn from sigmoid(2 t - 1))."""
    generator = np.random.default_rng(seed)
    t = generator.normal(size=count)
    return t, (generator.random(count) < sigmoid(2 * t - 1)).astype(float)


@pytest.mark.parametrize(("scale", "was", "right"), [(1, 2.0, 2), (0.03, 32.7, 66.7), (0.01, 25.8, 200)])
def test_slopes_of_before(scale, was, right):
    before, after = [], []
    for seed in range(8):
        t, targets = drawn(seed)
        before.append(fit_raw(scale * t - 0.9, targets)[0])
        after.append(fit_platt(scale * t - 0.9, targets)[0])
    assert np.mean(before) == pytest.approx(was, rel=0.06)
    assert np.mean(after) == pytest.approx(right, rel=0.06)


def test_errors_of_both():
    (t, targets), (others, answers) = drawn(1), drawn(2)
    patients = np.arange(len(others))
    wide = errors(t, others, targets, answers, patients, 50)
    close = errors(0.01 * t - 0.9, 0.01 * others - 0.9, targets, answers, patients, 50)
    assert wide[0][0] < 0.03 and wide[1][0] < 0.03
    assert close[0][0] > 0.15 and close[1][0] == pytest.approx(wide[1][0], abs=1e-4)
    assert all(low <= value <= high for value, low, high in (*wide, *close))
