"""Metrics with intervals, comparisons between models, and the files that hold them.

Every metric is computed on the whole split and equals scikit-learn's (tests hold it against them); unknown targets take
no part. Intervals are 95% bootstrap intervals over patients. `docs/evaluation.md` says how each number is made.

Letters: N examples, K labels of the task.
"""

import dataclasses
import math

import numpy as np

from medtop.evaluation.bootstrap import DECISIONS, ERRORS, RANKING, LabelStatistics, interval, resampled
from medtop.evaluation.predictions import (
    POOLED,
    Predictions,
    check_probabilities,
    logit,
    match_examples,
    parse_times,
    read_columns,
    read_predictions,
    sigmoid,
    write_predictions,
)
from medtop.files.atomic import write_json
from medtop.files.errors import DataError

__all__ = [
    "Predictions",
    "best_reachable",
    "compare",
    "evaluate",
    "logit",
    "masked_metrics",
    "paired_bootstrap",
    "read_predictions",
    "sigmoid",
    "write_metrics",
    "write_predictions",
]

METRICS = RANKING + ERRORS + DECISIONS
ONE_CLASS = "only {kind} among the known labels"
NONE_KNOWN = "no known label"


def _patients(predictions):
    """(number of each example's patient int64 [N], number of patients)."""
    _, number = np.unique(np.asarray(predictions.patient_ids, str), return_inverse=True)
    return number.astype(np.int64), int(number.max()) + 1 if len(number) else 0


def _label_statistics(predictions, probabilities, decisions, metrics=METRICS, micro_metrics=None):
    """`LabelStatistics` of each label, then of all labels pooled: list of K + 1, and the number of patients."""
    number, count = _patients(predictions)
    known, targets = predictions.known, predictions.targets
    statistics = []
    for place in range(len(predictions.labels)):
        rows = known[:, place]
        statistics.append(
            LabelStatistics(
                probabilities[rows, place], targets[rows, place], number[rows], count, decisions[rows, place], metrics
            )
        )
    rows = np.nonzero(known)
    statistics.append(
        LabelStatistics(
            probabilities[rows], targets[rows], number[rows[0]], count, decisions[rows], micro_metrics or metrics
        )
    )
    return statistics, count


def _with_macro(points, replicates):
    """Appends the macro average: the mean over the labels that have a value, per metric.

    A resample in which one of those labels lacks a value (it drew one class only) gives none for macro.
    """
    points, replicates = list(points), list(replicates)
    labels = slice(0, len(points) - 1)
    point, replicate = {}, {}
    for name in points[0] if len(points) > 1 else ():
        good = [place for place, values in enumerate(points[labels]) if math.isfinite(values[name])]
        point[name] = float(np.mean([points[place][name] for place in good])) if good else math.nan
        replicate[name] = np.mean([replicates[place][name] for place in good], axis=0) if good else np.empty(0)
    return points + [point], replicates + [replicate]


def _classes(predictions, columns):
    """Counts of elements in the given columns, of their patients where these are fewer than the examples, and why a
    metric may lack a value or an interval."""
    known, targets = predictions.known[:, columns], predictions.targets[:, columns] > 0
    n, positives = int(known.sum()), int((known & targets).sum())
    if n == 0:
        reason = NONE_KNOWN
    elif positives in (0, n):
        reason = ONE_CLASS.format(kind="positives" if positives else "negatives")
    else:
        reason = None
    patients = predictions.patient_counts(columns)
    return {"n": n, "positives": positives, "unknown": int(known.size) - n, **patients, "reason": reason}


def _one_patient_class(predictions, columns):
    """The class that comes from one patient ("positives", "negatives"), or None: an interval would be a pretence."""
    for kind, chosen in (("positives", predictions.targets > 0), ("negatives", predictions.targets <= 0)):
        rows = (predictions.known & chosen)[:, columns].any(axis=1)
        if len(np.unique(np.asarray(predictions.patient_ids, str)[rows])) == 1:
            return kind
    return None


def _value(value, low=None, high=None):
    return {"value": None if value is None or not math.isfinite(value) else float(value), "low": low, "high": high}


def evaluate(predictions, probabilities, *, thresholds=None, uncalibrated=None, num_bootstrap=1000, seed=0):
    """All metrics of one patient-level task on one split.

    Args:
        predictions: `Predictions`.
        probabilities: float [N, K], calibrated.
        thresholds: dict label -> threshold chosen on validation; a label without one gets 0.5. An example is predicted
            positive when its probability is at least the threshold.
        uncalibrated: float [N, K], the probabilities before calibration, or None. Adds `brier_uncalibrated` and
            `calibration_error_uncalibrated`; to `micro`, whose order may change, also the two ranking metrics.
        num_bootstrap: resamples of patients; 0 gives no intervals.
        seed: of the resamples.

    Returns:
        dict label (then "micro", "macro") -> {metric: {"value", "low", "high"}, "n", "positives", "unknown", "reason"},
        besides what `Predictions.patient_counts` says. `value` is None where the metric is undefined, `low` and `high`
        where an interval is; `reason` then says why.

    Raises:
        DataError: for probabilities of another shape or outside [0, 1].
    """
    probabilities = check_probabilities(predictions, probabilities)
    thresholds = {
        name: 0.5 if (thresholds or {}).get(name) is None else float(thresholds[name]) for name in predictions.labels
    }
    decisions = probabilities >= np.array(list(thresholds.values()))
    statistics, patients = _label_statistics(predictions, probabilities, decisions)
    before = []
    if uncalibrated is not None:
        before, _ = _label_statistics(
            predictions,
            check_probabilities(predictions, uncalibrated),
            decisions,
            metrics=ERRORS,
            micro_metrics=RANKING + ERRORS,
        )
    replicates = resampled(statistics + before, patients, num_bootstrap, seed)
    count = len(statistics)
    points, resamples = _with_macro([item.point() for item in statistics], replicates[:count])
    if before:
        extra = _with_macro([item.point() for item in before], replicates[count:])
        for main, added in zip((points, resamples), extra, strict=True):
            for values, more in zip(main, added, strict=True):
                values.update({f"{name}_uncalibrated": value for name, value in more.items()})
    result = {}
    for place, name in enumerate(predictions.labels + POOLED):
        columns = [place] if name in predictions.labels else list(range(len(predictions.labels)))
        result[name] = _entry(predictions, name, columns, points[place], resamples[place])
        if name in thresholds:
            result[name]["threshold"] = _value(thresholds[name])
    if len(predictions.labels) > 1:
        result["micro"] |= _of_constants(predictions)
    return {name: _ordered(entry) for name, entry in result.items()}


def _of_constants(predictions):
    """What micro's ranking metrics are when everybody's risk is the label's prevalence in this very split.

    Labels of unlike prevalence let a model without any skill rank well across labels; micro means little without this.
    """
    known, targets = predictions.known, predictions.targets > 0
    prevalence = (known & targets).sum(0) / np.maximum(known.sum(0), 1)
    rows, columns = np.nonzero(known)
    statistics = LabelStatistics(
        prevalence[columns], targets[rows, columns], np.zeros(len(rows), np.int64), 1, metrics=RANKING
    )
    point = statistics.point()
    return {f"{name}_constants": _value(point[name]) for name in ("roc_auc", "average_precision")}


def _entry(predictions, name, columns, point, replicates):
    """The metrics.json entry of one label, micro or macro."""
    entry = _classes(predictions, columns)
    if name == "macro":
        entry["reason"] = _macro_reason(predictions)
    single = None if name == "macro" else _one_patient_class(predictions, columns)
    if single and entry["reason"] is None:
        entry["reason"] = f"no interval: the {single} come from one patient"
    for metric, value in point.items():
        base = metric.removesuffix("_uncalibrated")
        low, high = None, None
        if not (single and base not in ERRORS):
            low, high = interval(value, replicates[metric], centred=base == "calibration_error")
        entry[metric] = _value(value, low, high)
    return entry


def _macro_reason(predictions):
    without = [name for place, name in enumerate(predictions.labels) if _classes(predictions, [place])["reason"]]
    if not without:
        return None
    if len(without) == len(predictions.labels):
        return "no label has both classes"
    return f"mean over the labels that have a value; without: {', '.join(without)}"


def _ordered(entry):
    """Metrics first, then counts and reason: the order in which people read."""
    last = {name: value for name, value in entry.items() if not isinstance(value, dict)}
    return {name: value for name, value in entry.items() if name not in last} | last


def masked_metrics(n, *, loss=None, accuracy=None, top10_accuracy=None):
    """The metrics.json entry of a masked task, from sums that the trainer made over the whole split.

    Args:
        n: number of masked positions.
        loss: mean cross-entropy in nats; perplexity is exp(loss).
        accuracy, top10_accuracy: shares of masked positions, or None.

    Returns:
        {metric: {"value", "low", "high"}, "n", "positives", "unknown", "reason"}, without intervals.
    """
    entry = {
        "loss": _value(loss),
        "accuracy": _value(accuracy),
        "top10_accuracy": _value(top10_accuracy),
        "perplexity": _value(None if loss is None or loss > 700 else math.exp(loss)),
    }
    return entry | {"n": int(n), "positives": None, "unknown": 0, "reason": None if n else "no masked position"}


def write_metrics(path, metrics):
    """Writes `{split: {task: {label: entry}}}` as metrics.json, whole or not at all."""
    write_json(path, metrics, shared=True)


def paired_bootstrap(
    first, first_probabilities, second, second_probabilities, *, metric="roc_auc", num_bootstrap=1000, seed=0
):
    """Difference between two models on the same patients, `first` minus `second`, under the same resamples.

    Args:
        first, second: `Predictions` of the same task and labels; the examples that both hold are compared.
        first_probabilities, second_probabilities: float [N, K] each.
        metric: one of `RANKING` or `ERRORS`.
        num_bootstrap, seed: see `evaluate`.

    Returns:
        dict label (then "micro", "macro") -> {"difference", "low", "high", "p_value", "n"}. The interval is the 95%
        percentile interval; `p_value` is two-sided, `2 * min(share of resamples <= 0, share >= 0)` with one added to
        each count (so never 0) and at most 1. All None where the metric is undefined.

    Raises:
        DataError: for different labels, no common example, or examples whose targets differ.
    """
    where = f"comparison of two models for {first.task}"
    if metric not in RANKING + ERRORS:
        raise DataError(f"{where}: expected one of {', '.join(RANKING + ERRORS)}, received {metric!r}")
    if first.labels != second.labels:
        raise DataError(f"{where}: expected labels {', '.join(first.labels)}, received {', '.join(second.labels)}")
    first_probabilities = check_probabilities(first, first_probabilities)
    second_probabilities = check_probabilities(second, second_probabilities)
    times, other_times = _occasions(first, second)
    place = match_examples(first.patient_ids, times, second.patient_ids, other_times, where)
    common = place >= 0
    if not common.any():
        raise DataError(f"{where}: expected common examples (patient_id, prediction_time), received none")
    first, second = first.take(common), second.take(place[common])
    same = first.known == second.known
    same &= ~first.known | (first.targets == second.targets)
    if not same.all():
        raise DataError(f"{where}: expected the same targets, received {int((~same).sum())} that differ")
    pair, replicates = [], []
    for predictions, values in ((first, first_probabilities[common]), (second, second_probabilities[place[common]])):
        statistics, count = _label_statistics(predictions, values, np.zeros(values.shape, bool), metrics=(metric,))
        both = _with_macro([item.point() for item in statistics], resampled(statistics, count, num_bootstrap, seed))
        pair.append(both[0])
        replicates.append(both[1])
    result = {}
    for row, name in enumerate(first.labels + POOLED):
        columns = [row] if name in first.labels else list(range(len(first.labels)))
        difference = pair[0][row][metric] - pair[1][row][metric]
        single = name != "macro" and metric in RANKING and _one_patient_class(first, columns)
        drawn = np.empty(0) if single else replicates[0][row][metric] - replicates[1][row][metric]
        result[name] = _difference(difference, drawn) | {"n": int(first.known[:, columns].sum())}
    return result


def _occasions(first, second):
    """What tells a patient's examples apart, int64 [N] and [M]: prediction time, and admission if both know it.

    A ClinicalBERT data folder names admissions but no times.
    """
    if first.admission_ids is None or second.admission_ids is None:
        return first.prediction_times, second.prediction_times
    both = [
        np.concatenate(pair)
        for pair in ((first.admission_ids, second.admission_ids), (first.prediction_times, second.prediction_times))
    ]
    numbers = [np.unique(values, return_inverse=True)[1].reshape(-1) for values in both]
    codes = numbers[0] * (numbers[1].max(initial=0) + 1) + numbers[1]
    return codes[: len(first)], codes[len(first) :]


def _difference(difference, drawn):
    low, high = interval(difference, drawn)
    drawn = drawn[np.isfinite(drawn)]
    p_value = None
    if low is not None:
        p_value = float(min(1.0, 2 * (1 + min((drawn <= 0).sum(), (drawn >= 0).sum())) / (1 + len(drawn))))
    return {
        "difference": float(difference) if math.isfinite(difference) else None,
        "low": low,
        "high": high,
        "p_value": p_value,
    }


def best_reachable(predictions, path):
    """Metrics of the true risk on exactly the examples of `predictions`: what no model can expect to surpass.

    Args:
        predictions: `Predictions`.
        path: CSV `patient_id,prediction_time,task,label,risk` (times ISO 8601 or whole seconds since 1970).

    Returns:
        dict label (then "micro", "macro") -> {"roc_auc", "average_precision", "brier", "calibration_error": values,
        "n": known elements that have a true risk, "reason"}.

    Raises:
        DataError: for a missing column, a risk outside [0, 1], or an example that stands twice.
    """
    table = read_columns(path, ("patient_id", "prediction_time", "task", "label", "risk"))
    tasks, labels = (np.asarray(table[name].to_pylist(), object) for name in ("task", "label"))
    risks = np.full(predictions.logits.shape, np.nan)
    for column, label in enumerate(predictions.labels):
        rows = np.flatnonzero((tasks == predictions.task) & (labels == label))
        if not len(rows):
            continue
        part = table.take(rows)
        times = parse_times(part["prediction_time"], f"{path}: column prediction_time")
        place = match_examples(
            predictions.patient_ids,
            predictions.prediction_times,
            part["patient_id"].to_pylist(),
            times,
            f"{path}: label {label}",
        )
        try:
            values = np.asarray(part["risk"].to_pylist(), np.float64)
        except (TypeError, ValueError):
            raise DataError(f"{path}: column risk: expected numbers, received another value") from None
        if not ((values >= 0) & (values <= 1)).all():
            raise DataError(f"{path}: column risk: expected values from 0 to 1, received another value")
        known = place >= 0
        risks[known, column] = values[place[known]]
    missing = np.isnan(risks)
    kept = dataclasses.replace(predictions, weights=np.where(missing, 0, predictions.weights))
    metrics = evaluate(kept, np.where(missing, 0.0, risks), num_bootstrap=0)
    return {
        name: {metric: entry[metric]["value"] for metric in RANKING + ERRORS}
        | {"n": entry["n"], "reason": entry["reason"]}
        for name, entry in metrics.items()
    }


def compare(results, baselines, *, thresholds=None, true_risk=None, num_bootstrap=1000, seed=0):
    """Sets the model's results on one split beside the baselines' and the best reachable ones.

    Args:
        results: dict task -> (Predictions, calibrated probabilities) of the model.
        baselines: dict name -> dict task -> (Predictions, calibrated probabilities); {} for none.
        thresholds: dict name -> dict task -> thresholds of the baselines, or None (0.5).
        true_risk: path as `best_reachable` reads it, or None.
        num_bootstrap, seed: see `evaluate`.

    Returns:
        {"baselines": {name: {task: as `evaluate` gives}}, "differences": {name: {task: AUROC of the model minus the
        baseline's, as `paired_bootstrap` gives}}, "best_reachable": {task: as `best_reachable` gives}}: plain values,
        for JSON, `results_table` and the report.
    """
    comparison = {"baselines": {}, "differences": {}, "best_reachable": {}}
    for name, tasks in baselines.items():
        comparison["baselines"][name], comparison["differences"][name] = {}, {}
        for task, (predictions, probabilities) in tasks.items():
            chosen = (thresholds or {}).get(name, {}).get(task)
            comparison["baselines"][name][task] = evaluate(
                predictions, probabilities, thresholds=chosen, num_bootstrap=num_bootstrap, seed=seed
            )
            if task in results:
                comparison["differences"][name][task] = paired_bootstrap(
                    *results[task], predictions, probabilities, num_bootstrap=num_bootstrap, seed=seed
                )
    if true_risk is not None:
        for task, (predictions, _) in results.items():
            comparison["best_reachable"][task] = best_reachable(predictions, true_risk)
    return comparison
