"""Vectors by counting: positive pointwise mutual information of neighbours, reduced by an SVD (Levy and Goldberg 2014).

What word2vec's skip-gram with negative sampling factorises implicitly; the baseline that stands beside a model.
"""

import numpy as np
from scipy import sparse


def count_neighbours(sequences, size, window):
    """How often each item stands near each other one: scipy CSR float64 [size, size], symmetric.

    Args:
        sequences: iterable of int arrays, places below `size`; negative ones are unknown and count for nothing.
        size: number of items.
        window: how far neighbours may be.
    """
    total = sparse.csr_array((size, size), dtype=np.float64)
    left, right = [], []
    held = 0

    def drained(total):
        pairs = np.concatenate(left), np.concatenate(right)
        part = sparse.coo_array((np.ones(len(pairs[0])), pairs), shape=(size, size)).tocsr()
        left.clear()
        right.clear()
        return total + part

    for sequence in sequences:
        items = np.asarray(sequence, np.int64)
        for distance in range(1, min(window, len(items) - 1) + 1):
            earlier, later = items[:-distance], items[distance:]
            good = (earlier >= 0) & (later >= 0)
            left.append(earlier[good])
            right.append(later[good])
            held += int(good.sum())
        if held > 5_000_000:
            total, held = drained(total), 0
    if left:
        total = drained(total)
    return total + total.T


def ppmi_svd(counts, width, seed=0):
    """Vectors of items: float64 [size, width'], width' at most `width`; an item that was never near another is zeros.

    Args:
        counts: as `count_neighbours` gives.
        width: of the vectors.
        seed: of the randomised SVD.
    """
    from sklearn.decomposition import TruncatedSVD

    counts = counts.tocoo()
    rows = np.asarray(counts.sum(axis=1)).ravel()
    total = rows.sum()
    if not total:
        return np.zeros((counts.shape[0], 1))
    with np.errstate(divide="ignore"):
        values = np.log(counts.data * total / (rows[counts.row] * rows[counts.col]))
    good = values > 0
    positive = sparse.csr_array((values[good], (counts.row[good], counts.col[good])), shape=counts.shape)
    width = max(1, min(width, min(positive.shape) - 1))
    if min(positive.shape) < 3 or not positive.nnz:
        return positive.toarray()
    model = TruncatedSVD(width, random_state=seed, n_iter=7)
    left = model.fit_transform(positive)  # U S
    return left / np.sqrt(np.maximum(model.singular_values_, 1e-12))  # U S^(1/2)
