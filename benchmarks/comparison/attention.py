"""Attention pooling over frozen vectors of an admission's windows, in NumPy and SciPy.

Gated attention of multiple-instance learning (Ilse, Tomczak, Welling 2018, equation 9): for the windows x_s of an
admission

    a_s = softmax over its windows of u . (tanh(V x_s) * sigmoid(U x_s)),    logit = w . sum_s a_s x_s + b

The last component of a vector is the window's logit by the run's own head. Its coefficient and b are free, all else is
held to 0: the head begins as the mean of the windows' logits, and leaves it where the training split gives a reason.

Letters: S windows, N admissions, D width of a vector, A width of the attention.
"""

import dataclasses

import numpy as np
from scipy.optimize import minimize

from medtop.evaluation.predictions import sigmoid

OF_VECTORS, OF_ATTENTION = (10.0, 100.0, 1000.0), (1.0, 3.0, 10.0, 30.0, 100.0)
"""Penalties of which validation chooses, for w and for the attention (u, U, V): half their squared length times the
penalty is added to the summed log loss."""


@dataclasses.dataclass
class Windows:
    """The windows of some admissions, laid end to end.

    Attributes:
        x: float [S, D], a vector of each window.
        groups: int64 [S], admission of each window, rising from 0; every admission has one.
        targets: float64 [N], 1 or 0.
        patients: int64 [N], numbers of their patients from 0.
    """

    x: np.ndarray
    groups: np.ndarray
    targets: np.ndarray
    patients: np.ndarray

    @property
    def starts(self):
        """int64 [N], the first window of each admission."""
        return np.flatnonzero(np.diff(self.groups, prepend=-1))


class Attention:
    """A fitted head.

    Args:
        width: A; 0 gives every window of an admission the same weight, so that the head is a logistic regression on
            the mean of the windows' vectors.
        dimensions: D.
        seed: of the first values of V and U; u and w begin at 0.
    """

    def __init__(self, width, dimensions, seed=0):
        draws = np.random.default_rng(seed).normal(size=(2, dimensions, width)) / np.sqrt(dimensions)
        self.shapes = [(dimensions, width), (dimensions, width), (width,), (dimensions,), (1,)]
        self.values = np.concatenate([draws.ravel(), np.zeros(width + dimensions + 1)])
        self.mean, self.spread = np.zeros(dimensions), np.ones(dimensions)

    def _parts(self, values):
        """(V, U, u, w, b) of all parameters in a row."""
        ends = np.cumsum([np.prod(shape, dtype=int) for shape in self.shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(values, ends), self.shapes, strict=True)]

    def weights(self, windows):
        """float64 [S], what each window counts for; 1 in all per admission."""
        return self._forward(self.values, self._scaled(windows), windows)[1]

    def logits(self, windows):
        """float64 [N]."""
        return self._forward(self.values, self._scaled(windows), windows)[0]

    def _scaled(self, windows):
        return (windows.x - self.mean) / self.spread

    def _forward(self, values, x, windows):
        """(logits [N], weights [S], what the gradient needs)."""
        v, u, of_gate, w, b = self._parts(values)
        tanh, gate = np.tanh(x @ v), sigmoid(x @ u)
        scores = (tanh * gate) @ of_gate
        starts = windows.starts
        scores = np.exp(scores - np.maximum.reduceat(scores, starts)[windows.groups])
        weights = scores / np.add.reduceat(scores, starts)[windows.groups]
        votes = x @ w
        return np.add.reduceat(weights * votes, starts) + b, weights, (tanh, gate, votes)

    def loss(self, values, x, windows, penalty):
        """(penalised log loss summed over admissions, its gradient) at some values of the parameters.

        Args:
            values: all parameters in a row.
            x: float64 [S, D], standardised.
            windows: `Windows`.
            penalty: (of u, U and V; of w).
        """
        _, _, of_gate, w, _ = self._parts(values)
        logits, weights, (tanh, gate, votes) = self._forward(values, x, windows)
        signs = np.where(windows.targets > 0, 1.0, -1.0)
        pull = (sigmoid(logits) - (windows.targets > 0))[windows.groups] * weights  # [S], d loss / d vote
        mean_vote = np.add.reduceat(weights * votes, windows.starts)[windows.groups]
        of_scores = pull * (votes - mean_vote)
        hidden = of_scores[:, None] * of_gate
        gradient = np.concatenate(
            [
                (x.T @ (hidden * gate * (1 - tanh**2))).ravel(),
                (x.T @ (hidden * tanh * gate * (1 - gate))).ravel(),
                (tanh * gate).T @ of_scores,
                x.T @ pull,
                [pull.sum()],
            ]
        )
        held = np.concatenate([np.full(values.size - w.size - 1, penalty[0]), np.full(w.size - 1, penalty[1]), [0, 0]])
        total = np.logaddexp(0, -signs * logits).sum() + values @ (held * values) / 2
        return total, gradient + held * values

    def fit(self, train, penalty, steps=150):
        """Fits all weights by L-BFGS; vectors are standardised by the training split's windows. Returns itself."""
        self.mean, self.spread = train.x.mean(0, dtype=np.float64), train.x.std(0, dtype=np.float64) + 1e-6
        x, self.penalty = self._scaled(train), penalty
        done = minimize(self.loss, self.values, (x, train, penalty), "L-BFGS-B", jac=True, options={"maxiter": steps})
        self.values = done.x
        return self


def log_loss(logits, targets):
    """Mean log loss of some logits."""
    return float(np.mean(np.logaddexp(0, -np.where(targets > 0, logits, -logits))))


def best_attention(train, valid, width, seed):
    """The `Attention` with the least log loss on validation.

    The penalty of w is chosen without attention, then that of the attention beside it.
    """

    def best(tried):
        return min(tried, key=lambda head: log_loss(head.logits(valid), valid.targets))

    dimensions = train.x.shape[1]
    flat = best([Attention(0, dimensions).fit(train, (0.0, penalty)) for penalty in OF_VECTORS])
    if not width:
        return flat
    return best([Attention(width, dimensions, seed).fit(train, (penalty, flat.penalty[1])) for penalty in OF_ATTENTION])
