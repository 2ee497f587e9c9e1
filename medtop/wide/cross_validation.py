"""Which penalty, how much sharing, and whether rare codes are pulled to 0 harder: cross-validation over patients.

Letters: N examples, K labels.
"""

import dataclasses
import hashlib
import itertools

import numpy as np
from threadpoolctl import threadpool_limits

from medtop.wide.fit import SEPARATE, Sharing, fit, prior_logits

PENALTIES = (1000.0, 300.0, 100.0, 30.0, 10.0)
"""Lambda, from the strictest down: each fit starts from the one before, until the loss has risen."""

SHARINGS = {
    "separate": SEPARATE,
    "common": Sharing(1.0, 1.0, 0.3),
    "mostly_common": Sharing(1.0, 0.3, 0.1),
}
"""What labels may share, from nothing to nearly all; cross-validation chooses for each task."""

SHRINKAGES = {"even": 0.0, "by_frequency": 0.5}
"""Power of a code's share of examples that its prior deviation is; cross-validation chooses for each task."""

FOLDS = 5


def folds_of(patient_ids, folds=FOLDS):
    """Fold of each example, by a hash of its patient's id: int64 [N]. A patient's examples stay together."""
    names, place = np.unique(np.asarray(patient_ids, str), return_inverse=True)
    numbers = [int.from_bytes(hashlib.sha256(f"fold {name}".encode()).digest()[:8], "big") for name in names]
    ranks = np.empty(len(names), np.int64)
    ranks[np.argsort(np.array(numbers, np.uint64), kind="stable")] = np.arange(len(names))
    return (ranks % folds)[place]


def label_losses(targets, weights, logits):
    """Mean log loss of each label over its known examples: float64 [K], NaN where none is known."""
    losses = (weights * (np.logaddexp(0, logits) - targets * logits)).sum(axis=0)
    total = weights.sum(axis=0)
    return np.where(total > 0, losses / np.maximum(total, 1e-300), np.nan)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a fit is made with.

    Attributes:
        sharing, shrinkage: keys of `SHARINGS` and `SHRINKAGES`.
        penalty: lambda.
    """

    sharing: str
    shrinkage: str
    penalty: float


@dataclasses.dataclass
class PenaltyChoice:
    """What cross-validation chose, and the fit on all examples.

    Attributes:
        chosen: dict task -> `Setting`.
        weights: float64 [columns, K].
        intercepts: float64 [K].
        out_of_fold: float64 [N, K], each example's logits by the fit without its patient.
        losses: dict `Setting` -> dict task -> mean over its labels of the out-of-fold log loss.
        constant: bool [K], labels without examples of both classes, whose prediction is constant.
    """

    chosen: dict
    weights: np.ndarray
    intercepts: np.ndarray
    out_of_fold: np.ndarray
    losses: dict
    constant: np.ndarray


def out_of_fold_logits(design, targets, weights, folds, mixing, penalties=PENALTIES, tolerance=1e-6, shrinkage="even"):
    """Yields (lambda, float64 [N, K]), the strictest lambda first: logits by the fits without the example's fold."""
    parts = []
    for fold in range(folds.max() + 1):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        part = design.take(inside)
        parts.append((part, part.deviations(SHRINKAGES[shrinkage]), design.take(outside), inside, outside))
    states = [None] * len(parts)
    for penalty in sorted(penalties, reverse=True):
        logits = np.zeros(targets.shape)
        for fold, (part, deviations, rest, inside, outside) in enumerate(parts):
            coefficients, intercepts, states[fold] = fit(
                part,
                targets[inside],
                weights[inside],
                penalty=penalty,
                mixing=mixing,
                deviations=deviations,
                start=states[fold],
                tolerance=tolerance,
            )
            logits[outside] = rest.times(coefficients) + intercepts
        yield penalty, logits


def choose(design, targets, weights, patient_ids, tasks, endpoints, sharings=tuple(SHARINGS), penalties=PENALTIES):
    """Fits each task with the `Setting` of its lowest out-of-fold log loss (mean over its labels).

    All labels of all tasks are fitted together each time. Labels without examples of both classes take no part: their
    prediction is constant.

    Args:
        design: `medtop.wide.fit.Design` of the training examples.
        targets, weights: [N, K]; weight 0 = unknown, whatever the target.
        patient_ids: str [N].
        tasks: K names, equal for labels of one task.
        endpoints: K values, equal for labels of one endpoint.
        sharings: keys of `SHARINGS` to try.
        penalties: lambdas to try.

    Returns:
        `PenaltyChoice`.
    """
    # Products with so few columns gain nothing from more threads, and on a busy machine they wait for each other.
    with threadpool_limits(1, "blas"):
        return _choose(design, targets, weights, patient_ids, tasks, endpoints, sharings, penalties)


def _choose(design, targets, weights, patient_ids, tasks, endpoints, sharings, penalties):
    weights = np.asarray(weights, np.float64)
    targets = np.where(weights > 0, targets, 0.0).astype(np.float64)  # an unknown label moves nothing
    tasks, endpoints = np.asarray(tasks), np.asarray(endpoints)
    positives = (weights * targets).sum(axis=0)
    usable = np.flatnonzero((positives > 0) & (positives < weights.sum(axis=0)))
    intercepts = prior_logits(targets, weights)
    coefficients = np.zeros((design.columns, len(tasks)))
    out_of_fold = np.tile(intercepts, (len(targets), 1))
    constant = np.ones(len(tasks), bool)
    constant[usable] = False
    y, w, folds = targets[:, usable], weights[:, usable], folds_of(patient_ids)
    columns = {str(task): np.flatnonzero(tasks[usable] == task) for task in dict.fromkeys(tasks[usable])}
    losses, lowest, chosen = {}, dict.fromkeys(columns, np.inf), {}
    for sharing, shrinkage in itertools.product(sharings, SHRINKAGES) if len(usable) else ():
        mixing, before = np.linalg.cholesky(SHARINGS[sharing].covariance(endpoints[usable])), np.inf
        for penalty, logits in out_of_fold_logits(design, y, w, folds, mixing, penalties, shrinkage=shrinkage):
            setting, each = Setting(sharing, shrinkage, penalty), label_losses(y, w, logits)
            losses[setting] = {task: float(np.mean(each[of_task])) for task, of_task in columns.items()}
            for task, of_task in columns.items():
                if losses[setting][task] < lowest[task]:
                    lowest[task], chosen[task] = losses[setting][task], setting
                    out_of_fold[:, usable[of_task]] = logits[:, of_task]
            if each.mean() > before:
                break  # from here on it only overfits more
            before = each.mean()
    for setting in dict.fromkeys(chosen.values()):
        mixing = np.linalg.cholesky(SHARINGS[setting.sharing].covariance(endpoints[usable]))
        deviations = design.deviations(SHRINKAGES[setting.shrinkage])
        fitted, offsets, _ = fit(design, y, w, penalty=setting.penalty, mixing=mixing, deviations=deviations)
        mine = np.concatenate([columns[task] for task in chosen if chosen[task] == setting])
        coefficients[:, usable[mine]], intercepts[usable[mine]] = fitted[:, mine], offsets[mine]
    return PenaltyChoice(chosen, coefficients, intercepts, out_of_fold, losses, constant)
