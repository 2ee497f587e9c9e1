"""Whether attributions say what the model does: completeness, deletion against random deletion, randomised weights.

Letters: N patients, C distinct codes of a patient, L labels, F shares of codes taken out.
"""

import numpy as np

SHARES = (0.1, 0.2, 0.3, 0.5)
"""Shares of a patient's codes that are taken out, the most important first."""


RANDOM_DRAWS = 5
"""Random deletions whose mean the curve is held against: of few codes, a single draw often takes out the same one."""


def completeness(attributions, logits, baseline_logits):
    """|sum of attributions - (F(x) - F(baseline))| / |F(x) - F(baseline)| per patient and label.

    Args:
        attributions: float [N, L], summed over tokens and channels.
        logits, baseline_logits: float [N, L].

    Returns:
        float64 [N, L]; NaN where the difference is below 1e-6.
    """
    difference = np.asarray(logits, np.float64) - baseline_logits
    error = np.abs(np.asarray(attributions, np.float64) - difference)
    return np.divide(error, np.abs(difference), out=np.full(difference.shape, np.nan), where=np.abs(difference) > 1e-6)


def removal_orders(values, generator):
    """(codes by falling value, the same at random): int [C] each.

    Args:
        values: float [C], attribution of each distinct code; high ones raise the logit.
        generator: `numpy.random.Generator`.
    """
    return np.argsort(-np.asarray(values), kind="stable"), generator.permutation(len(values))


def removal_masks(order, standing, shares=SHARES):
    """Which tokens are taken out at each share: bool [F, T].

    Args:
        order: int [C].
        standing: bool [C, T], where each code stands.
        shares: of the codes; at least one code is taken out.
    """
    counts = [max(1, round(share * len(order))) for share in shares]
    return np.stack([standing[order[:count]].any(0) for count in counts])


def kept_masks(order, standing, shares=SHARES):
    """Which tokens are taken out so that only the first codes of `order` stay (insertion): bool [F, T]."""
    counts = [max(1, round(share * len(order))) for share in shares]
    return np.stack([standing[order[count:]].any(0) & ~standing[order[:count]].any(0) for count in counts])


def rank_agreement(first, second):
    """Mean Spearman correlation over patients of two attributions of the same codes; NaN without a pair.

    Args:
        first, second: lists of float [C].
    """
    from scipy import stats

    values = [
        stats.spearmanr(a, b).statistic
        for a, b in zip(first, second, strict=True)
        if len(a) > 2 and np.ptp(a) > 0 and np.ptp(b) > 0
    ]
    return float(np.mean(values)) if values else float("nan")
