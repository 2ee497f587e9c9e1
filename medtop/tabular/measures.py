"""Measures of one target on held-out rows, with bootstrap intervals over rows or groups.

Letters: N rows, K classes, P groups, R resamples.
"""

import numpy as np

from medtop.evaluation.bootstrap import interval, resample_counts

CLASSIFICATION_MEASURES = ("accuracy", "macro_f1", "skill")
REGRESSION_MEASURES = ("mae", "r2", "skill")


def measures_of(target):
    """Names of a target's measures."""
    return CLASSIFICATION_MEASURES if target.is_classification else REGRESSION_MEASURES


LEAST_PROBABILITY = 1e-6  # in the logarithmic loss: a model that was certain and wrong must not weigh infinitely


def row_losses(target, predicted):
    """-log of the true class's probability, or the squared error, of the known rows; float64 [known N].

    Args:
        target: `TargetValues`.
        predicted: probabilities float [N, K], or values float [N].
    """
    y, predicted = target.values[target.known], np.asarray(predicted, np.float64)[target.known]
    if target.is_classification:
        return -np.log(np.clip(predicted[np.arange(len(y)), y.astype(int)], LEAST_PROBABILITY, 1.0))
    return (predicted - y) ** 2


class TargetStatistics:
    """What a target's measures are computed from, ready for any resample.

    Args:
        target: `TargetValues`.
        predicted: probabilities float [N, K], or values float [N].
        constant: the same of the constant model.
        groups: int [N], number of each row's group, below P.
        num_groups: P.
    """

    def __init__(self, target, predicted, constant, groups, num_groups):
        self.classification = target.is_classification
        known = target.known
        y, sums = target.values[known], [row_losses(target, predicted), row_losses(target, constant)]
        predicted = np.asarray(predicted, np.float64)[known]
        if self.classification:
            y, chosen = y.astype(int), predicted.argmax(1)
            for number in range(predicted.shape[1]):
                sums += [(y == number) & (chosen == number), y == number, chosen == number]
        else:
            middle = y.mean() if len(y) else 0.0  # r2's spread is a difference of sums: less rounding around 0
            sums += [np.ones(len(y)), np.abs(predicted - y), y - middle, (y - middle) ** 2]
        self.sums = np.stack([np.bincount(groups[known], part, num_groups) for part in sums])  # [sums, P]
        # bool [K]: classes that occur in the truth. A resample that lost one says nothing about it, rather than F1 0.
        self.true_classes = self.sums[3::3].sum(1) > 0 if self.classification else None

    def values(self, counts):
        """dict measure -> float64 [R]; NaN where undefined.

        accuracy; macro_f1: mean of the F1 of the classes that occur, known or predicted (scikit-learn's), in a
        resample without those whose known rows it did not draw; mae; r2 =
        1 - sum (y - p)^2 / sum (y - mean y)^2; skill = 1 - loss / loss of the constant model, the loss logarithmic
        or squared: free of units, so that targets of both kinds can be averaged.

        Args:
            counts: float64 [P, R], how often each group was drawn.
        """
        loss, base, *sums = self.sums @ counts
        with np.errstate(divide="ignore", invalid="ignore"):
            skill = np.where(base > 0, 1 - loss / base, np.nan)
            if self.classification:
                hits, true, chosen = np.array(sums[0::3]), np.array(sums[1::3]), np.array(sums[2::3])  # [K, R] each
                counted = (true + chosen > 0) & ~(self.true_classes[:, None] & (true == 0))
                f1 = np.where(counted, 2 * hits / (true + chosen), 0.0).sum(0) / counted.sum(0)
                return {"accuracy": hits.sum(0) / true.sum(0), "macro_f1": f1, "skill": skill}
            n, absolute, first, second = sums
            spread = second - first**2 / n
            r2 = np.where(spread > 1e-9 * second, 1 - loss / spread, np.nan)
            return {"mae": absolute / n, "r2": r2, "skill": skill}


def measure(targets, predictions, groups, num_bootstrap, seed, against=None):
    """Measures of several models on the same rows, under the same resamples.

    Args:
        targets: n `TargetValues`.
        predictions: dict model -> n arrays as `TargetStatistics` takes them; one of the models is "constant".
        groups: [N], group of each row; any values.
        num_bootstrap, seed: of the intervals.
        against: model with which each other is compared; None = no comparison.

    Returns:
        dict model -> target -> {n, measure: {value, low, high}}; besides the targets, `mean_skill`: the mean over
        targets of their skill, under the key "" (no column has that name). With `against`, each measure holds
        `difference`: {value, low, high}, the model minus `against`, resampled together.
    """
    names, numbered = np.unique(groups, return_inverse=True)
    statistics = {
        (model, number): TargetStatistics(target, arrays[number], predictions["constant"][number], numbered, len(names))
        for model, arrays in predictions.items()
        for number, target in enumerate(targets)
    }
    points = _with_mean(
        {key: statistic.values(np.ones((len(names), 1))) for key, statistic in statistics.items()}, predictions
    )
    blocks = [
        _with_mean({key: statistic.values(counts) for key, statistic in statistics.items()}, predictions)
        for counts in resample_counts(len(names), num_bootstrap, seed)
    ]
    entries = {model: {} for model in predictions}
    for model, number in points:
        entry = {} if number is None else {"n": int(targets[number].known.sum())}
        for name, value in points[model, number].items():
            drawn = _joined(blocks, (model, number), name)
            entry[name] = _entry(float(value[0]), drawn)
            if against in predictions and model != against:
                other = float(points[against, number][name][0])
                difference = drawn - _joined(blocks, (against, number), name)
                entry[name]["difference"] = _entry(float(value[0]) - other, difference)
        entries[model]["" if number is None else targets[number].name] = entry
    return entries


def _with_mean(values, models):
    """The same with (model, None) -> mean_skill besides."""
    means = {}
    for model in models:
        skills = [measured["skill"] for (name, _), measured in values.items() if name == model]
        means[model, None] = {"mean_skill": np.mean(skills, 0)}
    return values | means


def _joined(blocks, key, name):
    return np.concatenate([block[key][name] for block in blocks]) if blocks else np.empty(0)


def _entry(value, replicates):
    low, high = interval(value, replicates)
    return {"value": value if np.isfinite(value) else None, "low": low, "high": high}
