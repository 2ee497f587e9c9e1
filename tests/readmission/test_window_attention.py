"""benchmarks/window_attention.py: the parts of its attention head, in NumPy alone."""

import sys

import numpy as np
import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))

from comparison.attention import OF_ATTENTION, Attention, Windows, best_attention, log_loss  # noqa: E402

SIZES = [1, 3, 2, 5, 1]


def windows_of(sizes, seed=0, dimensions=4):
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    targets = (generator.random(len(sizes)) < 0.5).astype(float)
    return Windows(generator.normal(size=(len(groups), dimensions)), groups, targets, np.arange(len(sizes)))


def head_of(seed=0, width=3, dimensions=4):
    """A head with all weights away from 0."""
    head = Attention(width, dimensions, seed)
    head.values = np.random.default_rng(seed).normal(size=len(head.values))
    return head


def by_hand(head, windows):
    """(logits, weights) by the formula, one admission after the other."""
    v, u, of_gate, w, b = head._parts(head.values)
    logits, weights = [], []
    for number in range(len(windows.targets)):
        x = (windows.x[windows.groups == number] - head.mean) / head.spread
        scores = [float(of_gate @ (np.tanh(row @ v) / (1 + np.exp(-(row @ u))))) for row in x]
        parts = np.exp(scores) / np.sum(np.exp(scores))
        weights += parts.tolist()
        logits.append(float(w @ (parts @ x) + b[0]))
    return np.array(logits), np.array(weights)


def test_weights_are_shares_of_an_admission_and_logits_the_formulas():
    windows, head = windows_of(SIZES), head_of()
    weights = head.weights(windows)
    np.testing.assert_allclose(np.bincount(windows.groups, weights), 1, rtol=1e-12)
    logits, expected = by_hand(head, windows)
    np.testing.assert_allclose(weights, expected, rtol=1e-10)
    np.testing.assert_allclose(head.logits(windows), logits, rtol=1e-10)
    assert weights.std() > 0.01


def test_a_window_alone_is_itself():
    windows, head = windows_of([1, 1, 1]), head_of()
    w, b = head._parts(head.values)[3:]
    np.testing.assert_array_equal(head.weights(windows), 1)
    np.testing.assert_allclose(head.logits(windows), windows.x @ w + b, rtol=1e-12)


def test_the_order_of_windows_changes_nothing():
    windows, head = windows_of(SIZES), head_of()
    order = np.lexsort([np.random.default_rng(1).random(len(windows.groups)), windows.groups])
    assert (order != np.arange(len(order))).any()
    shuffled = Windows(windows.x[order], windows.groups, windows.targets, windows.patients)
    np.testing.assert_allclose(head.logits(shuffled), head.logits(windows), rtol=1e-12)
    np.testing.assert_allclose(head.weights(shuffled), head.weights(windows)[order], rtol=1e-12)


def test_the_gradient_is_that_of_the_loss():
    windows, head, step = windows_of(SIZES), head_of(), 1e-6
    loss, gradient = head.loss(head.values, windows.x, windows, (0.7, 0.3))
    parts = head._parts(head.values)
    held = 0.35 * sum((part**2).sum() for part in parts[:3]) + 0.15 * (parts[3][:-1] ** 2).sum()
    assert loss == pytest.approx(len(SIZES) * log_loss(head.logits(windows), windows.targets) + held, rel=1e-12)
    for place, value in enumerate(gradient):
        moved = [head.values.copy(), head.values.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        ends = [head.loss(values, windows.x, windows, (0.7, 0.3))[0] for values in moved]
        assert value == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-6)


def test_it_finds_the_one_window_that_tells():
    """One window of an admission is marked and its logit is the truth, the others' noise: attention, not the mean."""
    generator = np.random.default_rng(5)
    made, truth = [], []
    for _ in range(2):
        windows = windows_of([12] * 400)
        windows.x[:] = generator.normal(size=windows.x.shape) * 3
        telling = np.arange(400) * 12 + generator.integers(12, size=400)
        windows.x[:, 0] = 0
        windows.x[telling, 0] = 1
        truth.append(windows.x[telling, -1])
        windows.targets = (generator.random(400) < 1 / (1 + np.exp(-truth[-1]))).astype(float)
        made.append(windows)
    train, test = made
    head, flat = Attention(4, 4, 1).fit(train, (3.0, 10.0)), Attention(0, 4).fit(train, (0.0, 10.0))
    best = log_loss(truth[1], test.targets)
    assert log_loss(head.logits(test), test.targets) < best + 0.03
    assert log_loss(flat.logits(test), test.targets) > best + 0.15
    assert head.weights(test)[test.x[:, 0] == 1].mean() > 0.6  # a mean gives 1 / 12
    np.testing.assert_allclose(flat.weights(test), 1 / 12, rtol=1e-12)


def test_validation_chooses_the_penalties():
    train, valid = windows_of([3] * 60, seed=1), windows_of([3] * 60, seed=2)
    head = best_attention(train, valid, 2, 1)
    tried = [Attention(2, 4, 1).fit(train, (penalty, head.penalty[1])) for penalty in OF_ATTENTION]
    losses = [log_loss(other.logits(valid), valid.targets) for other in tried]
    assert log_loss(head.logits(valid), valid.targets) == min(losses)
    assert head.penalty[0] == OF_ATTENTION[int(np.argmin(losses))]
