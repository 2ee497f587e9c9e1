"""Gradient boosting on how often each code occurs, and on counts that fade with time (see `linear_baselines`)."""

import itertools

import numpy as np
from scipy import sparse

from medtop.evaluation.windowed_baselines import WINDOW_DAYS
from medtop.wide.history import context_of

TOP_CODES = 500
HALF_LIFE_DAYS = 120
MAX_CELLS = 40_000_000  # of the dense matrix for trees: per label at work 320 MB as scikit-learn's float64
_MAX_ITERATIONS, _DEFAULT_ITERATIONS, _PATIENCE = 300, 50, 10
PREDICT_ROWS = 50_000


def faded_counts(history, vocabulary_size, half_life=HALF_LIFE_DAYS):
    """How often each code occurs, an occurrence d days ago counting 2^(-d / half_life): CSR float32 [N, V]."""
    values = np.exp2(-history.code_recencies / half_life).astype(np.float32)
    pointer = np.concatenate([[0], np.cumsum(history.code_counts)])
    counts = sparse.csr_array((values, history.codes.copy(), pointer), shape=(len(history), vocabulary_size))
    counts.sum_duplicates()
    return counts


def _plain(part):
    return part.counts, part.context


def _faded(part):
    windows = context_of(part.history, WINDOW_DAYS)[:, -2 * len(WINDOW_DAYS) :]  # visits and long stays within
    return faded_counts(part.history, part.counts.shape[1]), np.hstack([part.context, windows])


def _encode(train, rows, used, columns_of):
    """Per split float32 [N, codes + context]: the codes that most training patients have, and the context."""
    counts, context = columns_of(train)
    counts, context = counts[rows], context[rows]
    columns = max(1, min(TOP_CODES, MAX_CELLS // max(len(rows), 1) - context.shape[1]))
    present = np.bincount(counts.indices, minlength=counts.shape[1])  # examples that have the code
    chosen = np.sort(np.argsort(-present, kind="stable")[:columns])
    chosen = chosen[present[chosen] > 0]

    def dense(counts, context):
        return np.hstack([counts[:, chosen].toarray(), context.astype(np.float32)])

    return {"fit": dense(counts, context), **{split: (*columns_of(part), dense) for split, part in used.items()}}


def encode_counts(train, rows, used):
    """Counts over the whole history."""
    return _encode(train, rows, used, _plain)


def encode_faded(train, rows, used):
    """Counts that fade with time."""
    return _encode(train, rows, used, _faded)


def fit_boosting(matrices, known, targets, valid, seed):
    """Histogram gradient boosting with log loss; the number of trees is that of the lowest validation log loss."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # here: scikit-learn takes seconds to load

    model = HistGradientBoostingClassifier(
        learning_rate=0.1,
        max_leaf_nodes=15,
        min_samples_leaf=20,
        l2_regularization=1.0,
        random_state=seed,
        max_iter=_MAX_ITERATIONS if valid is not None else _DEFAULT_ITERATIONS,
        early_stopping=valid is not None,
        n_iter_no_change=_PATIENCE,
        tol=0.0,
    )
    if valid is None:
        model.fit(matrices["fit"][known], targets)
        best = model.n_iter_
    else:
        counts, context, dense = matrices["valid"]
        held_out = dense(counts[valid[0]], context[valid[0]])
        model.fit(matrices["fit"][known], targets, X_val=held_out, y_val=valid[1])
        best = max(1, int(np.argmax(model.validation_score_)))  # place 0 is the score before the first tree
    logits = {}
    for split, entry in matrices.items():
        if split == "fit":
            continue
        counts, context, dense = entry
        logits[split] = np.empty(len(context), np.float32)
        for start in range(0, len(context), PREDICT_ROWS):
            block = slice(start, start + PREDICT_ROWS)
            stages = model.staged_decision_function(dense(counts[block], context[block]))
            logits[split][block] = next(itertools.islice(stages, best - 1, None)).ravel()
    return {"iterations": best}, logits
