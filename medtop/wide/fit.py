"""Logistic regression of many labels at once, on codes within windows and context: convex, in NumPy and SciPy.

The loss is the sum over examples and known labels of log(1 + exp(z)) - y z, plus lambda / 2 times the squared norm of
what the weights are made of: W_k = c_common A + c_endpoint B_endpoint(k) + c_label D_k (multi-task ridge: Evgeniou and
Pontil 2004, with one more layer between common and own). That is ridge in U with W = U L', where L L' is the labels'
prior covariance. Intercepts bear no penalty. One label without sharing is plain L2-penalised logistic regression.

Codes may be pulled to 0 alike, or the rarer the more: then W = D U L', and d, a column's prior deviation, is the root
of the share of examples that have its code. That is ridge on standardised columns, as glmnet does by default (Friedman,
Hastie and Tibshirani 2010), but one d for all windows of a code.

Letters: N examples, V codes, W windows in days, K labels, F context columns.
"""

import dataclasses

import numpy as np
from scipy import optimize, sparse
from scipy.special import expit

from medtop.wide.history import context_names, context_of, latest_windows


@dataclasses.dataclass
class Design:
    """The matrix of the fit, never written out: a code seen within 31 days was seen within 92 and ever.

    Attributes:
        windows: CSR float64 [N, V (W + 1)], one 1 for each code of an example, at the window it was last seen in.
        extra: float64 [N, F], or CSR: columns that stand for themselves.
        width: W + 1.
        extra_codes: int64 [F], the code that each extra column is of, -1 = none; None: none is.
    """

    windows: sparse.csr_array
    extra: object
    width: int
    extra_codes: object = None

    def __len__(self):
        return self.windows.shape[0]

    @property
    def columns(self):
        """V (W + 1) + F."""
        return self.windows.shape[1] + self.extra.shape[1]

    def take(self, rows):
        """The examples at `rows` (integers or bool [N])."""
        return dataclasses.replace(self, windows=self.windows[rows], extra=self.extra[rows])

    def deviations(self, exponent):
        """Prior deviation of each column's weights: the share of examples that have its code, to a power.

        Args:
            exponent: 0: 1 for each column; 0.5: ridge on standardised columns.

        Returns:
            float64 [V (W + 1) + F]; its unit is such that an occurrence's mean square is 1. Columns of no code: 1.
        """
        codes = self.windows.shape[1] // self.width
        shares = np.bincount(self.windows.indices // self.width, minlength=codes) / max(len(self), 1)
        scales = shares**exponent
        if shares.any():
            scales /= np.sqrt(np.average(scales**2, weights=shares))
        scales, none = np.append(scales, 1.0), np.full(self.extra.shape[1], -1)
        return np.concatenate(
            [np.repeat(scales[:-1], self.width), scales[none if self.extra_codes is None else self.extra_codes]]
        )

    def times(self, weights):
        """`weights` [V (W + 1) + F, K] of "seen within w" and of the extra columns -> float64 [N, K]."""
        split = self.windows.shape[1]
        return self.windows @ tables_of(weights[:split], self.width) + self.extra @ weights[split:]

    def transposed_times(self, values):
        """The transpose: `values` [N, K] -> float64 [V (W + 1) + F, K]."""
        sums = self.windows.T @ values
        narrower = sums.reshape(-1, self.width, values.shape[1]).cumsum(axis=1)
        return np.concatenate([narrower.reshape(sums.shape), self.extra.T @ values])


def tables_of(weights, width):
    """From weights of "seen within w" to what one code adds by the window of its latest occurrence.

    Args:
        weights: float64 [V (W + 1), K].
        width: W + 1.

    Returns:
        float64 [V (W + 1), K]: sums over the windows that hold it.
    """
    by_code = weights.reshape(-1, width, weights.shape[1])
    return by_code[:, ::-1].cumsum(axis=1)[:, ::-1].reshape(weights.shape)


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How context becomes columns of mean 0 and deviation 1, as on the training examples."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, values):
        """Of float64 [N, F]; a constant column keeps its unit."""
        deviation = values.std(axis=0)
        return cls(values.mean(axis=0), np.where(deviation > 0, deviation, 1.0))

    def apply(self, values):
        """float64 [N, F]."""
        return (values - self.mean) / self.deviation


def design_of(history, vocabulary_size, days, scaling=None):
    """`Design` of a `History` with the wide part's context, and its `Scaling` (the one given, or its own)."""
    context = context_of(history, days)
    assert context.shape[1] == len(context_names(days))
    scaling = scaling or Scaling.of(context)
    return Design(latest_windows(history, vocabulary_size, days), scaling.apply(context), len(days) + 1), scaling


@dataclasses.dataclass(frozen=True)
class Sharing:
    """How much labels share: the scales of the three parts of their weights.

    Attributes:
        common, endpoint, label: scales of what all labels share, those of one endpoint, none.
    """

    common: float
    endpoint: float
    label: float

    def covariance(self, endpoints):
        """Prior covariance of the labels' weights: float64 [K, K].

        Args:
            endpoints: K hashable values, equal for labels of one endpoint.
        """
        numbers = np.unique(np.asarray(endpoints), return_inverse=True)[1]
        same = numbers[:, None] == numbers[None, :]
        return self.common**2 + self.endpoint**2 * same + self.label**2 * np.eye(len(numbers))


SEPARATE = Sharing(0.0, 0.0, 1.0)


def objective(parameters, design, targets, weights, mixing, penalty, deviations=None):
    """Loss and gradient of the fit.

    Args:
        parameters: float64 [(columns + 1) K]: U, then the intercepts.
        design: `Design`.
        targets, weights: float64 [N, K]; an unknown label has weight 0, whatever its target.
        mixing: float64 [K, K], L with L L' = the labels' prior covariance.
        penalty: lambda.
        deviations: float64 [columns], prior deviation of each column's weights; None: 1.

    Returns:
        (float, float64 of the parameters' shape).
    """
    labels = targets.shape[1]
    free, intercepts = parameters[:-labels].reshape(-1, labels), parameters[-labels:]
    scales = 1.0 if deviations is None else deviations[:, None]
    logits = design.times(scales * (free @ mixing.T)) + intercepts
    loss = (weights * (np.logaddexp(0, logits) - targets * logits)).sum() + 0.5 * penalty * (free**2).sum()
    slope = weights * (expit(logits) - targets)
    gradient = scales * (design.transposed_times(slope) @ mixing) + penalty * free
    return loss, np.concatenate([gradient.ravel(), slope.sum(axis=0)])


def prior_logits(targets, weights):
    """log odds of each label's (weighted) share of positives, one half added to either side: float64 [K]."""
    positives = (weights * targets).sum(axis=0)
    return np.log((positives + 0.5) / (weights.sum(axis=0) - positives + 0.5))


def fit(design, targets, weights, *, penalty, mixing, deviations=None, start=None, tolerance=1e-6, max_iterations=400):
    """Minimises `objective` by L-BFGS.

    Args:
        design, targets, weights, penalty, mixing, deviations: see `objective`; targets and weights are finite.
        start: `parameters` of an earlier fit; None: weights of 0.
        tolerance: relative change of the loss at which it ends.
        max_iterations: bound.

    Returns:
        (weights W float64 [columns, K], intercepts float64 [K], parameters to start another fit from).
    """
    labels = targets.shape[1]
    if start is None:
        start = np.concatenate([np.zeros(design.columns * labels), prior_logits(targets, weights)])
    minimum = optimize.minimize(
        objective,
        start,
        (design, targets, weights, mixing, penalty, deviations),
        "L-BFGS-B",
        jac=True,
        options={
            "maxiter": max_iterations,
            "maxfun": 2 * max_iterations,
            "ftol": tolerance,
            "gtol": min(1e-4, tolerance),
            "maxcor": 20,
        },
    )
    found = minimum.x[:-labels].reshape(-1, labels) @ mixing.T
    return found if deviations is None else deviations[:, None] * found, minimum.x[-labels:], minimum.x
