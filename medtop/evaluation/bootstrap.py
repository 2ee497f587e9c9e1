"""Metrics of one binary label under many resamples of patients at once.

A resample draws as many patients as there are, with replacement; each known element (example and label) then counts as
often as its patient was drawn. So a metric under resampling is the metric with integer sample weights, and one sort of
the scores serves all resamples (tests hold the values against scikit-learn's `sample_weight` and against explicit
resampling).

Letters: E known elements, P patients, R resamples in a block, G groups of equal scores that hold a positive.
"""

import numpy as np
from scipy import sparse

RANKING = ("roc_auc", "average_precision", "recall_at_precision_80")
ERRORS = ("brier", "calibration_error")
DECISIONS = ("precision", "recall", "f1")

CALIBRATION_BINS = 15
PRECISION = 0.8
"""Of recall_at_precision_80, ClinicalBERT's RP80."""
_ELEMENTS_PER_BIN = 10
_CELLS_PER_BLOCK = 4_000_000  # of the largest array in a block: 32 MB each


def resample_counts(num_patients, num_bootstrap, seed, *, rows=None):
    """Yields blocks float64 [P, R]: how often each patient was drawn; R sums to `num_bootstrap`.

    The draws depend on `num_patients` and `seed` alone, not on the size of blocks.

    Args:
        num_patients: P.
        num_bootstrap: number of resamples.
        seed: of `numpy.random.default_rng`.
        rows: length of the longest array that will be made per resample (default P); decides the size of blocks.
    """
    generator = np.random.default_rng(seed)
    block = int(np.clip(_CELLS_PER_BLOCK // max(num_patients, rows or 0, 1), 1, 256))
    for start in range(0, num_bootstrap, block):
        size = min(block, num_bootstrap - start)
        counts = np.empty((size, num_patients))
        for row in counts:
            row[:] = np.bincount(generator.integers(num_patients, size=num_patients), minlength=num_patients)
        yield np.ascontiguousarray(counts.T)


def calibration_bins(scores, bins=CALIBRATION_BINS):
    """Bin of each score, in bins that hold (nearly) the same number of scores; equal scores share a bin.

    A score's bin is `floor(mid-rank * bins / E)`, so the order of the input does not matter. With fewer than
    `10 * bins` scores the number of bins falls to `E // 10` (at least 1): smaller bins measure noise.

    Args:
        scores: float [E].
        bins: number of bins.

    Returns:
        int64 [E], from 0.

    >>> calibration_bins(np.arange(40) / 40, bins=2).tolist() == [0] * 20 + [1] * 20
    True
    """
    count = len(scores)
    bins = int(np.clip(count // _ELEMENTS_PER_BIN, 1, bins))
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(sizes) - sizes / 2  # ranks count from 0.5, so the last is below E
    return np.minimum(middle * bins / max(count, 1), bins - 1).astype(np.int64)[group]


class LabelStatistics:
    """The metrics of one label (or of pooled labels), ready to be computed under any resample.

    Args:
        scores: float64 [E], probabilities of the known elements.
        targets: [E], 0 or 1.
        patients: int [E], number of each element's patient, below P.
        num_patients: P.
        decisions: bool [E], what the threshold says; needed for precision, recall and F1.
        metrics: names out of `RANKING`, `ERRORS` and `DECISIONS`.
    """

    def __init__(self, scores, targets, patients, num_patients, decisions=None, metrics=RANKING + ERRORS):
        self.metrics = tuple(metrics)
        self.positives = np.asarray(targets) > 0
        self.num_patients = num_patients
        scores = np.asarray(scores, np.float64)
        self._prepare_linear(scores, patients, decisions)
        self.ranked = bool(set(RANKING) & set(self.metrics)) and self.positives.any() and not self.positives.all()
        if self.ranked:
            self._prepare_ranking(scores, patients)

    @property
    def rows(self):
        """Length of the longest array made per resample."""
        return max(self.num_patients, len(self.positives) if self.ranked else 0)

    def _prepare_linear(self, scores, patients, decisions):
        """Everything that is a sum over elements becomes one row per sum, added up per patient: [sums, P]."""
        sums = {"n": np.ones(len(scores)), "positives": self.positives.astype(float)}
        error = scores - self.positives
        if "brier" in self.metrics:
            sums["brier"] = error**2
        if "calibration_error" in self.metrics:
            bins = calibration_bins(scores)
            for number in range(bins.max() + 1 if len(bins) else 0):
                sums["bin", number] = np.where(bins == number, error, 0.0)
        if set(DECISIONS) & set(self.metrics):
            sums["predicted"] = decisions.astype(float)
            sums["true_positives"] = (decisions & self.positives).astype(float)
        self._sums = list(sums)
        # sparse: a product of this shape is no work for a threaded BLAS, which took ten times as long on a busy machine
        self._linear = sparse.csr_array(
            np.stack([np.bincount(patients, values, self.num_patients) for values in sums.values()])
        )

    def _prepare_ranking(self, scores, patients):
        """Sorts once by falling score; see `_ranking` for what the three matrices add up."""
        order = np.argsort(-scores, kind="stable")
        scores, positive, patients = scores[order], self.positives[order], np.asarray(patients)[order]
        tie = np.cumsum(np.concatenate([[False], scores[1:] != scores[:-1]]))  # [E], group of equal scores
        holds_positive = np.bincount(tie, positive) > 0
        group = (np.cumsum(holds_positive) - holds_positive)[tie]  # [E], the next with a positive; G = tail
        groups = int(holds_positive.sum())

        def adder(rows, chosen, count):
            ones = np.ones(int(chosen.sum()))
            return sparse.csr_array((ones, (rows[chosen], patients[chosen])), shape=(count, self.num_patients))

        tied = holds_positive[tie] & ~positive
        self._tied_groups, tied_rows = np.unique(group[tied], return_inverse=True)
        rows = np.zeros(len(group), np.int64)
        rows[tied] = tied_rows
        self._positives_in = adder(group, positive, groups)
        self._negatives_to = adder(group, ~positive, groups + 1)
        self._negatives_tied = adder(rows, tied, len(self._tied_groups))

    def _ranking(self, counts):
        """AUROC, average precision and recall at precision 80%, float64 [R] each.

        With w the drawn counts and groups of equal scores in falling order: AUROC is the share of (positive, negative)
        pairs in which the positive scores higher, ties counting half; average precision is
        sum over groups of (recall gained in the group) * (precision at the group's end), as in scikit-learn. Recall at
        precision 80% (Huang, Altosaar, Ranganath 2019) is the highest recall at the end of a group where precision is
        at least 80%, 0 where it never is. A threshold that lies in a group without positives gives no higher recall.
        """
        positives = self._positives_in @ counts  # [G, R]
        negatives = np.cumsum(self._negatives_to @ counts, axis=0)  # [G + 1, R]
        all_negatives, negatives = negatives[-1], negatives[:-1]
        wins = np.einsum("gr,gr->r", positives, all_negatives - negatives)
        wins += 0.5 * np.einsum("gr,gr->r", positives[self._tied_groups], self._negatives_tied @ counts)
        true_positives = np.cumsum(positives, axis=0)
        all_positives = true_positives[-1]
        precision = np.divide(
            true_positives, true_positives + negatives, out=np.zeros_like(true_positives), where=true_positives > 0
        )
        gained = np.einsum("gr,gr->r", positives, precision)
        reached = np.max(np.where(precision >= PRECISION, true_positives, 0), axis=0)
        defined = (all_positives > 0) & (all_negatives > 0)
        missing = np.full(len(wins), np.nan)
        return {
            "roc_auc": np.divide(wins, all_positives * all_negatives, out=missing.copy(), where=defined),
            "average_precision": np.divide(gained, all_positives, out=missing.copy(), where=defined),
            "recall_at_precision_80": np.divide(reached, all_positives, out=missing, where=defined),
        }

    def values(self, counts):
        """All metrics under each resample.

        Args:
            counts: float64 [P, R], how often each patient was drawn.

        Returns:
            dict metric -> float64 [R]; NaN where undefined: no element at all; one class only (except `ERRORS`).
            Precision is 0 where nothing is predicted positive, as in scikit-learn.
        """
        sums = dict(zip(self._sums, self._linear @ counts, strict=True))
        n, positives = sums["n"], sums["positives"]
        missing = np.full(counts.shape[1], np.nan)
        results = {name: missing for name in self.metrics}
        if self.ranked:
            results |= self._ranking(counts)
        if "brier" in self.metrics:
            results["brier"] = np.divide(sums["brier"], n, out=missing.copy(), where=n > 0)
        if "calibration_error" in self.metrics:
            gap = sum((np.abs(value) for name, value in sums.items() if name[0] == "bin"), np.zeros(len(n)))
            results["calibration_error"] = np.divide(gap, n, out=missing.copy(), where=n > 0)
        if "predicted" in sums:
            both = (positives > 0) & (positives < n)
            hits, predicted = sums["true_positives"], sums["predicted"]
            ratios = {
                "precision": (hits, predicted),
                "recall": (hits, positives),
                "f1": (2 * hits, predicted + positives),
            }
            for name, (above, below) in ratios.items():
                ratio = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
                results[name] = np.where(both, ratio, np.nan)
        return {name: results[name] for name in self.metrics}

    def point(self):
        """The metrics on the data themselves: dict metric -> float (NaN where undefined)."""
        return {name: float(value[0]) for name, value in self.values(np.ones((self.num_patients, 1))).items()}


def resampled(statistics, num_patients, num_bootstrap, seed):
    """The metrics of several `LabelStatistics` under the same resamples.

    Args:
        statistics: list of `LabelStatistics` over the same P patients.
        num_patients, num_bootstrap, seed: see `resample_counts`.

    Returns:
        list of dict metric -> float64 [num_bootstrap], in the order of `statistics`.
    """
    blocks = [[] for _ in statistics]
    rows = max((item.rows for item in statistics), default=0)
    if num_patients and num_bootstrap:
        for counts in resample_counts(num_patients, num_bootstrap, seed, rows=rows):
            for drawn, item in zip(blocks, statistics, strict=True):
                drawn.append(item.values(counts))
    return [
        {name: np.concatenate([block[name] for block in drawn]) if drawn else np.empty(0) for name in item.metrics}
        for drawn, item in zip(blocks, statistics, strict=True)
    ]


def interval(value, replicates, *, level=0.95, centred=False):
    """Percentile interval of the finite replicates, (low, high); (None, None) where there are fewer than two.

    Args:
        value: the metric on the data themselves.
        replicates: float64 [R].
        level: coverage.
        centred: shifts the interval so that the replicates' median falls on `value`, and cuts it at 0. For the
            calibration error: an absolute value, it grows with every resampling noise, so that its plain percentile
            interval can lie above the value itself.
    """
    replicates = replicates[np.isfinite(replicates)]
    if len(replicates) < 2 or not np.isfinite(value):
        return None, None
    low, middle, high = np.quantile(replicates, [(1 - level) / 2, 0.5, (1 + level) / 2])
    if centred:
        low, high = max(low - middle + value, 0.0), high - middle + value
    return float(low), float(high)
