"""Logistic regression on how often each code occurs, and on words.

A method is two functions: `encode(train, rows, used)` makes one matrix per split out of `BaselineFeatures`, "fit" of
the training rows; `fit(matrices, known, targets, valid, seed)` fits one label and gives what was chosen and the logits
of each split.
"""

import numpy as np
from scipy import sparse

from medtop.evaluation.count_features import CONTEXT
from medtop.evaluation.predictions import sigmoid

C_GRID = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
DEFAULT_C = 0.1
TFIDF_C_GRID = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # rows of length 1 bear less penalty


def encode_counts(train, rows, used):
    """Per split CSR float64 [N, V + context]: log(1 + count) over its largest training value; context standardised.

    Context columns that span orders of magnitude (days, numbers) enter as log(1 + x).
    """
    logged = np.array([name not in ("age_years", "age_unknown", "female", "male") for name in CONTEXT])

    def plain(part, chosen=slice(None)):
        counts = part.counts[chosen].astype(np.float64)
        counts.data = np.log1p(counts.data)
        context = part.context[chosen]
        return counts, np.where(logged, np.log1p(np.maximum(context, 0)), context)

    counts, context = plain(train, rows)
    largest = counts.max(axis=0).toarray().ravel() if counts.shape[0] else np.zeros(counts.shape[1])
    seen = largest > 0  # codes that training never saw carry no weight
    scale = sparse.diags_array(1 / largest[seen])
    mean, deviation = context.mean(axis=0), context.std(axis=0)
    deviation[deviation == 0] = 1.0

    def finish(counts, context):
        return sparse.hstack([counts[:, seen] @ scale, (context - mean) / deviation], format="csr")

    return {"fit": finish(counts, context), **{split: finish(*plain(part)) for split, part in used.items()}}


def encode_tfidf(train, rows, used):
    """Per split CSR float64 [N, V]: (1 + log count) * (1 + log((1 + N) / (1 + N of the word))), rows of length 1."""
    from sklearn.feature_extraction.text import TfidfTransformer  # here: scikit-learn takes seconds to load

    transformer = TfidfTransformer(sublinear_tf=True).fit(train.counts[rows].astype(np.float64))

    def finish(counts):
        return sparse.csr_array(transformer.transform(counts.astype(np.float64)))

    return {"fit": finish(train.counts[rows]), **{split: finish(part.counts) for split, part in used.items()}}


def fit_tfidf(matrices, known, targets, valid, seed):
    """`fit_logistic` with less penalty; gradients are smaller where rows have length 1, and so is the tolerance."""
    return fit_logistic(matrices, known, targets, valid, seed, TFIDF_C_GRID, 1.0, 1e-6)


def fit_logistic(matrices, known, targets, valid, seed, grid=C_GRID, default=DEFAULT_C, tolerance=1e-3):
    """L2-penalised logistic regression; C of the lowest validation log loss, tried upwards until it rises twice."""
    from sklearn.linear_model import LogisticRegression  # here: scikit-learn takes seconds to load
    from sklearn.metrics import log_loss

    matrix = matrices["fit"][known]
    grid = grid if valid is not None else (default,)
    model = LogisticRegression(C=grid[0], max_iter=300, tol=tolerance, warm_start=True, random_state=seed)
    best, worse = (np.inf, None, None), 0
    for strength in grid:
        model.set_params(C=strength).fit(matrix, targets)
        loss = 0.0
        if valid is not None:
            rows, truth = valid
            loss = log_loss(truth, sigmoid(model.decision_function(matrices["valid"][rows])), labels=[False, True])
        if loss < best[0]:
            best, worse = (loss, strength, (model.coef_.ravel().copy(), float(model.intercept_[0]))), 0
        else:
            worse += 1
            if worse == 2:
                break
    _, strength, (weights, intercept) = best
    logits = {split: matrix @ weights + intercept for split, matrix in matrices.items() if split != "fit"}
    return {"C": strength}, logits
