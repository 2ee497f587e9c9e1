"""Logistic regression with few columns under many sample weights at once: what resampled calibration measures need.

Letters: E elements, Q columns, R resamples.
"""

import numpy as np

from medtop.evaluation.predictions import sigmoid

MOST_STEPS = 50
_CELLS = 1 << 15
"""Elements times resamples fitted at once: half a dozen arrays of 256 kB in each step."""

LARGEST = 1e4
"""A coefficient beyond it has left the data: the classes are separable, and no maximum exists."""


def fit_logistic(columns, targets, counts, *, offset=None, ridge=0.0, tolerance=1e-10):
    """Maximum likelihood of `P(y = 1) = sigmoid(offset + columns @ b)`, by Newton's method, for each resample.

    Minimised is `sum_e c_e (log(1 + exp(z_e)) - y_e z_e) + ridge / 2 |b|^2`. The fit with all counts 1 comes first,
    with steps halved until the loss falls; the resamples start from it, two or three steps away from their own, and
    some at a time, so that what a step makes of them stays in the processor's cache.

    Args:
        columns: float64 [E, Q], an intercept's ones among them.
        targets: [E], 0 or 1.
        counts: float64 [E, R], how often each element counts.
        offset: float64 [E], or [E, R] where each resample has its own; None for 0.
        ridge: strength of the penalty, in observations; 0 = none.
        tolerance: a fit has ended when its step is below this share of the coefficients.

    Returns:
        float64 [Q, R]; NaN where a resample has one class only, or where no finite maximum exists.
    """
    columns, counts = np.asarray(columns, np.float64), np.asarray(counts, np.float64)
    targets = (np.asarray(targets) > 0).astype(np.float64)[:, None]
    offset = np.zeros(len(columns)) if offset is None else np.asarray(offset, np.float64)
    offset = offset[:, None] if offset.ndim == 1 else offset
    problem = _Problem(columns, targets, offset, ridge)
    result = np.full((columns.shape[1], counts.shape[1]), np.nan)
    first = _Problem(columns, targets, offset.mean(1, keepdims=True), ridge) if offset.shape[1] > 1 else problem
    start = first.newton(np.ones((len(columns), 1)), np.zeros((columns.shape[1], 1)), tolerance, careful=True)
    if not np.isfinite(start).all():
        return result
    positives, total = (counts * targets).sum(0), counts.sum(0)
    both = np.flatnonzero((positives > 0) & (positives < total))
    size = max(1, _CELLS // max(len(columns), 1))
    for some in np.split(both, range(size, len(both), size)):
        problem.offset = offset[:, some] if offset.shape[1] > 1 else offset
        result[:, some] = problem.newton(counts[:, some], np.repeat(start, len(some), 1), tolerance)
    return result


class _Problem:
    def __init__(self, columns, targets, offset, ridge):
        self.columns, self.targets, self.offset, self.ridge = columns, targets, offset, ridge
        width = columns.shape[1]
        self.upper = [(i, j) for i in range(width) for j in range(i, width)]
        self.products = np.stack([columns[:, i] * columns[:, j] for i, j in self.upper])  # [Q (Q + 1) / 2, E]

    def newton(self, counts, values, tolerance, careful=False):
        """Coefficients [Q, R] from `values` on; `careful`: a step that does not lower the loss is halved."""
        width = len(values)
        result = np.full(values.shape, np.nan)
        active = np.arange(values.shape[1])
        if self.targets.min(initial=1) == self.targets.max(initial=0):
            return result
        for _ in range(MOST_STEPS):
            offset = self.offset if self.offset.shape[1] == 1 else self.offset[:, active]
            p = sigmoid(self.columns @ values + offset)
            weights = counts[:, active] if len(active) < counts.shape[1] else counts
            gradient = self.columns.T @ (weights * (p - self.targets)) + self.ridge * values
            sums = self.products @ (weights * p * (1 - p))
            hessian = np.empty((len(active), width, width))
            for place, (i, j) in enumerate(self.upper):
                hessian[:, i, j] = hessian[:, j, i] = sums[place]
            hessian += (self.ridge + 1e-12) * np.eye(width)
            step = np.linalg.solve(hessian, gradient.T[:, :, None])[:, :, 0].T
            values = self._halved(weights, values, step) if careful else values - step
            ended = np.abs(step).max(0) < tolerance * (1 + np.abs(values).max(0))
            lost = ~(np.abs(values).max(0) <= LARGEST)
            result[:, active[ended & ~lost]] = values[:, ended & ~lost]
            kept = ~(ended | lost)
            active, values = active[kept], values[:, kept]
            if not len(active):
                break
        return result

    def _loss(self, weights, values):
        logits = self.columns @ values + self.offset
        return (weights * (np.logaddexp(0, logits) - self.targets * logits)).sum() + self.ridge / 2 * (values**2).sum()

    def _halved(self, weights, values, step):
        before = self._loss(weights, values)
        for _ in range(30):
            if self._loss(weights, values - step) <= before + 1e-12 * abs(before):
                break
            step = step / 2
        return values - step
