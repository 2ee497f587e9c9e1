"""Cosines, neighbours, correlation with scores, agreement with groups. N terms, W width."""

import numpy as np
from scipy.stats import rankdata


def unit(vectors):
    """Rows of length 1; a row of zeros stays. float64 [N, W]."""
    vectors = np.asarray(vectors, np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)


def neighbours(vectors, most):
    """The nearest others of each, by cosine: (int64 [N, most], float64 [N, most]), best first.

    >>> neighbours([[1, 0], [2, 0.1], [0, 1]], 1)[0].ravel().tolist()
    [1, 0, 1]
    """
    rows = unit(vectors)
    most = min(most, len(rows) - 1)
    places, cosines = np.empty((len(rows), most), np.int64), np.empty((len(rows), most))
    for first in range(0, len(rows), 512):
        part = rows[first : first + 512] @ rows.T
        part[np.arange(len(part)), first + np.arange(len(part))] = -np.inf
        order = np.argsort(-part, axis=1, kind="stable")[:, :most]
        places[first : first + len(part)], cosines[first : first + len(part)] = (
            order,
            np.take_along_axis(part, order, axis=1),
        )
    return places, cosines


def spearman(values, scores):
    """Spearman's rank correlation, mid-ranks for ties; nan where either is constant."""
    first, second = (rankdata(part) - (len(part) + 1) / 2 for part in (values, scores))
    size = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / size) if size > 0 else float("nan")


def correlations(by_way, scores, num_bootstrap, seed):
    """Spearman's correlation of each way's cosines with the scores, and how far the first way is ahead of the others.

    Args:
        by_way: dict way -> float [N]; the first is the model's.
        scores: float [N].
        num_bootstrap: resamples of pairs; the same for all ways, so that differences are paired.
        seed: of the resamples.

    Returns:
        dict way -> {"value", "low", "high", "difference", "difference_low", "difference_high"}; the last three are the
        first way's minus this one's, None for itself.
    """
    rng, ways = np.random.default_rng(seed), list(by_way)
    draws = rng.integers(len(scores), size=(num_bootstrap, len(scores)))
    points = {way: spearman(by_way[way], scores) for way in ways}
    spread = {way: np.array([spearman(by_way[way][rows], scores[rows]) for rows in draws]) for way in ways}
    result = {}
    for way in ways:
        low, high = _ends(spread[way])
        entry = {"value": points[way], "low": low, "high": high}
        entry |= dict.fromkeys(("difference", "difference_low", "difference_high"))
        if way != ways[0]:
            low, high = _ends(spread[ways[0]] - spread[way])
            entry |= {
                "difference": points[ways[0]] - points[way],
                "difference_low": low,
                "difference_high": high,
            }
        result[way] = entry
    return result


def _ends(values):
    values = values[np.isfinite(values)]
    return (None, None) if not len(values) else tuple(float(end) for end in np.percentile(values, (2.5, 97.5)))


def group_agreement(places, groups, num_bootstrap, seed):
    """Share of the nearest neighbours that are of one's own group, beside the share that chance would give.

    Args:
        places: int [N, k], neighbours.
        groups: N keys (str); "" is no group: such rows are not asked, and are nobody's fellow.
        num_bootstrap: resamples of the rows that are asked.
        seed: of the resamples.

    Returns:
        {"value", "low", "high", "chance", "n"}; value None where no group has two members.
    """
    groups = np.asarray(groups, dtype=str)
    names, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    fellows = np.where(groups != "", sizes[number] - 1, 0)
    asked = fellows > 0
    if not asked.any():
        return {"value": None, "low": None, "high": None, "chance": None, "n": 0}
    shares = (groups[places] == groups[:, None]).mean(axis=1)[asked]
    rng = np.random.default_rng(seed)
    means = np.array([shares[rng.integers(len(shares), size=len(shares))].mean() for _ in range(num_bootstrap)])
    low, high = _ends(means)
    chance = float((fellows[asked] / (len(groups) - 1)).mean())
    return {"value": float(shares.mean()), "low": low, "high": high, "chance": chance, "n": int(asked.sum())}


def project(vectors, method, seed):
    """Two coordinates of each row: float64 [N, 2].

    Args:
        vectors: float [N, W].
        method: "pca", or "tsne" (van der Maaten and Hinton 2008, started from PCA; of few rows PCA).
        seed: of t-SNE.
    """
    rows = unit(vectors)
    rows = rows - rows.mean(axis=0)
    left, sizes, _ = np.linalg.svd(rows, full_matrices=False)
    flat = np.zeros((len(rows), 2))
    flat[:, : min(2, len(sizes))] = (left * sizes)[:, :2]
    if method == "pca" or len(rows) < 12:
        return flat
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(rows) - 1) / 3)
    start = flat / max(flat[:, 0].std(), 1e-12) * 1e-4
    made = TSNE(2, perplexity=perplexity, init=start, metric="cosine", random_state=seed, learning_rate="auto")
    return made.fit_transform(unit(vectors)).astype(np.float64)
