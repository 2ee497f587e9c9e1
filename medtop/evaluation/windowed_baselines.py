"""Logistic regression on which codes were seen within windows of time, and how often (see `linear_baselines`).

The features are those that OHDSI's FeatureExtraction and EHRSHOT's count model made common, with windows of a month, a
quarter, half a year, a year and ever. Each label is fitted alone, by the solver of `medtop.wide.fit`, which for one
label is scikit-learn's L2-penalised logistic regression to 1e-6 (a test says so); cross-validation over patients
chooses its penalty, and whether the columns of codes are standardised first.
"""

import numpy as np
from scipy import sparse

from medtop.evaluation.count_features import CONTEXT
from medtop.wide.cross_validation import choose
from medtop.wide.fit import Design, Scaling
from medtop.wide.history import context_of, latest_windows

WINDOW_DAYS = (31, 92, 183, 366)


def windowed_counts(history, vocabulary_size, days):
    """CSR float64 [N, V (W + 1)]: log(1 + occurrences of each code within each window, `ever` last)."""
    owner = np.repeat(np.arange(len(history)), history.code_counts)
    parts = []
    for day in (*days, np.inf):
        inside = history.code_recencies <= day
        pointer = np.concatenate([[0], np.cumsum(np.bincount(owner[inside], minlength=len(history)))])
        counts = sparse.csr_array(
            (np.ones(int(inside.sum())), history.codes[inside], pointer), shape=(len(history), vocabulary_size)
        )
        counts.sum_duplicates()
        counts.data = np.log1p(counts.data)
        parts.append(counts)
    return sparse.hstack(parts, format="csr")


def _columns(part):
    """(CSR or None, float64 [N, F]) of one split: windowed counts, and context."""
    logged = np.array([name not in ("age_years", "age_unknown", "female", "male") for name in CONTEXT])
    own = np.where(logged, np.log1p(np.maximum(part.context, 0)), part.context)
    windows = context_of(part.history, WINDOW_DAYS)[:, -2 * len(WINDOW_DAYS) :]  # visits and long stays within
    return windowed_counts(part.history, part.counts.shape[1], WINDOW_DAYS), np.hstack([own, windows])


def encode_windows(train, rows, used):
    """Per split `Design`: presence within windows, log counts within windows over their largest value, context."""
    counts, context = _columns(train)
    counts, context = counts[rows], context[rows]
    largest = counts.max(axis=0).toarray().ravel() if len(rows) else np.zeros(counts.shape[1])
    seen = largest > 0  # codes that training never saw carry no weight
    scale, scaling = sparse.diags_array(1 / largest[seen]), Scaling.of(context)
    columns = np.arange(counts.shape[1]) % train.counts.shape[1]  # a window's codes after those of another
    codes = np.concatenate([columns[seen], np.full(context.shape[1], -1)])

    def design(windows, counts, context):
        extra = sparse.hstack([counts[:, seen] @ scale, sparse.csr_array(scaling.apply(context))], format="csr")
        return Design(windows, extra, len(WINDOW_DAYS) + 1, codes)

    def windows_of(part):
        return latest_windows(part.history, part.counts.shape[1], WINDOW_DAYS)

    matrices = {split: design(windows_of(part), *_columns(part)) for split, part in used.items()}
    matrices["fit"] = design(windows_of(train)[rows], counts, context)
    return matrices | {"patients": np.asarray(train.patient_ids)[rows]}


def fit_windows(matrices, known, targets, valid, seed):
    """One label; validation takes no part, cross-validation over the training patients chooses."""
    rows = np.flatnonzero(known)
    fit = choose(
        matrices["fit"].take(rows),
        targets[:, None],
        np.ones((len(rows), 1)),
        matrices["patients"][rows],
        ["label"],
        ["label"],
        sharings=("separate",),
    )
    logits = {
        split: (design.times(fit.weights) + fit.intercepts)[:, 0]
        for split, design in matrices.items()
        if split not in ("fit", "patients")
    }
    return {"penalty": fit.chosen["label"].penalty, "shrinkage": fit.chosen["label"].shrinkage}, logits
