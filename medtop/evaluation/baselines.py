"""The rivals that every model stands beside: fitted to each label on the same examples, splits and labels.

Two see how often each code occurs in the whole history, two when it occurred as well; all see age, sex, visits and
stays (`count_features.CONTEXT`). What a model adds over the strongest of them is what it is worth.
"""

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from medtop.evaluation import linear_baselines, tree_baselines, windowed_baselines, xgboost_baseline
from medtop.evaluation.predictions import Predictions, logit
from medtop.files.errors import DataError

BASELINES = (
    "windowed_logistic_regression",
    "recency_gradient_boosting",
    "logistic_regression",
    "gradient_boosting",
)
XGBOOST = "xgboost"
"""One more rival where the extra [xgboost] is installed and `--xgboost` asks for it."""
TFIDF = "tfidf_logistic_regression"
"""The baseline of notes (`medtop.readmission.tfidf`)."""

MAX_EXAMPLES = 100_000
_MAX_THREADS = 4


@dataclasses.dataclass
class BaselineResults:
    """What `fit_baselines` found.

    Attributes:
        predictions: dict baseline -> split -> task -> `Predictions`, uncalibrated.
        settings: dict baseline -> task -> label -> dict, what validation chose (`C` or `iterations`, `examples`).
        reasons: dict baseline -> task -> label -> why a label has a constant prediction or default settings.
    """

    predictions: dict
    settings: dict
    reasons: dict


def fit_baselines(splits, tasks, *, names=BASELINES, predict=("valid", "test"), max_examples=MAX_EXAMPLES, seed=0):
    """Fits each baseline to each label on the training split and predicts the others.

    Unknown labels take no part. More than `max_examples` training examples are cut to a seeded random subset, which
    bounds time and memory. `docs/evaluation.md` states the features and settings.

    Args:
        splits: dict split -> `BaselineFeatures`; "train" is needed, "valid" chooses C and the number of trees.
        tasks: dict task -> label names.
        names: which of `BASELINES` and `XGBOOST`, or `TFIDF`, which takes counts of words and no context.
        predict: splits to predict; those that are not in `splits` are left out.
        max_examples: bound on training examples.
        seed: of the subset and of the trees' binning.

    Returns:
        `BaselineResults`.

    Raises:
        DataError: when there is no training split, or a baseline is unknown.
    """
    if "train" not in splits:
        raise DataError(f"baselines: expected a training split, received {', '.join(splits) or 'none'}")
    if set(names) - set(_METHODS):
        raise DataError(f"baselines: expected names among {', '.join(_METHODS)}, received {', '.join(names)}")
    train = splits["train"]
    rows = np.arange(len(train))
    if len(rows) > max_examples:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), max_examples, replace=False))
    used = {split: splits[split] for split in ("valid", *predict) if split in splits}
    results = BaselineResults({}, {}, {})
    for name in names:
        encode, fit, _ = _METHODS[name]
        matrices = encode(train, rows, used)
        results.predictions[name] = {split: {} for split in used if split in predict}
        results.settings[name], results.reasons[name] = {}, {}
        for task, labels in tasks.items():
            logits, settings, reasons = _fit_task(name, matrices, train, rows, used, task, labels, seed)
            results.settings[name][task], results.reasons[name][task] = settings, reasons
            for split, of_task in results.predictions[name].items():
                part = used[split]
                of_task[task] = Predictions(
                    task,
                    tuple(labels),
                    part.patient_ids,
                    part.prediction_times,
                    part.targets[task],
                    part.weights[task],
                    logits[split],
                )
    return results


def _fit_task(name, matrices, train, rows, used, task, labels, seed):
    """Fits one task label by label: (dict split -> float32 [N, K] logits, settings, reasons)."""
    logits = {split: np.empty((len(part), len(labels)), np.float32) for split, part in used.items()}
    settings, reasons = {}, {}
    _, fit, by_validation = _METHODS[name]

    def fit_label(column):
        known = train.weights[task][rows, column] > 0
        targets = train.targets[task][rows, column][known] > 0.5
        if not targets.any() or targets.all():
            kind = "no known label" if not len(targets) else f"only {'positives' if targets.all() else 'negatives'}"
            constant = float(logit((targets.sum() + 0.5) / (len(targets) + 1.0)))
            return dict.fromkeys(used, constant), None, f"constant prediction: {kind} in training"
        valid = None
        if "valid" in used:
            rows_valid = used["valid"].weights[task][:, column] > 0
            truth = used["valid"].targets[task][rows_valid, column] > 0.5
            valid = (rows_valid, truth) if truth.any() and not truth.all() else None
        default = "default settings: validation has no known labels of both classes"
        reason = default if by_validation and valid is None else None
        chosen, fitted = fit(matrices, known, targets, valid, seed)
        return fitted, chosen | {"examples": int(known.sum())}, reason

    # Labels in parallel, one thread each: inside a fit the work between two barriers is so short that on a busy machine
    # its threads mostly wait for each other. It also makes the results independent of the number of cores. The limit
    # is the process's for BLAS, and each thread's own for OpenMP.
    threads = max(1, min(_MAX_THREADS, os.cpu_count() or 1))
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads, initializer=_one_openmp_thread) as pool:
        for column, (fitted, chosen, reason) in enumerate(pool.map(fit_label, range(len(labels)))):
            for split in used:
                logits[split][:, column] = fitted[split]
            if chosen is not None:
                settings[labels[column]] = chosen
            if reason is not None:
                reasons[labels[column]] = reason
    return logits, settings, reasons


def _one_openmp_thread():
    threadpool_limits(1, "openmp")  # not a context: the thread that it holds for ends with the pool


_METHODS = {
    "windowed_logistic_regression": (windowed_baselines.encode_windows, windowed_baselines.fit_windows, False),
    "recency_gradient_boosting": (tree_baselines.encode_faded, tree_baselines.fit_boosting, True),
    "logistic_regression": (linear_baselines.encode_counts, linear_baselines.fit_logistic, True),
    "gradient_boosting": (tree_baselines.encode_counts, tree_baselines.fit_boosting, True),
    XGBOOST: (tree_baselines.encode_faded, xgboost_baseline.fit_xgboost, True),
    TFIDF: (linear_baselines.encode_tfidf, linear_baselines.fit_tfidf, True),
}
"""Name -> (encode, fit, whether validation chooses its settings), see `linear_baselines`. Another rival is one more
line."""
