"""Count baselines: logistic regression and gradient boosting on how often each code occurs, and a few plain figures.

They see the same examples, splits and labels as the model, and the whole history up to the prediction time, but neither
order nor timing of codes: what the model adds over them is what order and timing are worth.

Letters: N examples, C codes laid end to end, S visits laid end to end, V vocabulary, K labels of a task.
"""

import dataclasses
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from medtop.cohort.pickled_lists import SEXES
from medtop.cohort.vocabulary import CLS_ID, UNK_ID
from medtop.evaluation.predictions import Predictions, logit, sigmoid
from medtop.files.errors import DataError

LOGISTIC_REGRESSION, GRADIENT_BOOSTING = BASELINES = ("logistic_regression", "gradient_boosting")
TFIDF = "tfidf_logistic_regression"
"""The baseline of notes (`medtop.readmission.tfidf`)."""

CONTEXT = (
    "age_years",
    "age_unknown",
    "female",
    "male",
    "visits",
    "codes",
    "days_since_last_discharge",
    "gap_before_last_visit",
    "days_since_first_admission",
    "stay_days_max",
    "stay_days_mean",
    "stay_days_last",
    "long_stays",
)
"""The context columns. Days and years; `long_stays` counts past stays of more than `LONG_STAY_DAYS` days."""

LONG_STAY_DAYS = 7
C_GRID = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
DEFAULT_C = 0.1
TFIDF_C_GRID = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # rows of length 1 bear less penalty
TOP_CODES = 500
MAX_EXAMPLES = 100_000
_MAX_CELLS = 40_000_000  # of the dense matrix for trees: per label at work 320 MB as scikit-learn's float64
_MAX_THREADS = 4
_MAX_ITERATIONS, _DEFAULT_ITERATIONS, _PATIENCE = 300, 50, 10
_PREDICT_ROWS = 50_000


@dataclasses.dataclass
class BaselineFeatures:
    """What the baselines see of one split, beside the truth.

    Attributes:
        counts: CSR float32 [N, V], occurrences of each code in the history.
        context: float64 [N, len(CONTEXT)].
        patient_ids: str [N].
        prediction_times: int64 [N], seconds since 1970-01-01.
        targets, weights: dict task -> float32 [N, K]; weight 0 = unknown.
    """

    counts: sparse.csr_array
    context: np.ndarray
    patient_ids: np.ndarray
    prediction_times: np.ndarray
    targets: dict
    weights: dict

    def __len__(self):
        return self.counts.shape[0]


def _per_example(values, counts, ufunc, empty=0.0):
    """`ufunc` (np.add, np.maximum) over each example's run of `values`; `empty` for a run of none: float64 [N]."""
    counts = np.asarray(counts, np.int64)
    result = np.full(len(counts), empty, np.float64)
    full = counts > 0
    if full.any():
        starts = (np.cumsum(counts) - counts)[full]
        result[full] = ufunc.reduceat(np.asarray(values, np.float64), starts)
    return result


def _at(values, counts, last=False):
    """First (or last) value of each example's run; 0 for a run of none: float64 [N]."""
    counts = np.asarray(counts, np.int64)
    ends = np.cumsum(counts)
    result = np.zeros(len(counts))
    full = counts > 0
    result[full] = np.asarray(values, np.float64)[(ends - 1 if last else ends - counts)[full]]
    return result


def features_from_columns(
    codes,
    code_counts,
    vocabulary_size,
    sexes,
    ages_at_prediction,
    visit_counts,
    stay_days,
    gaps_before,
    recencies=None,
    *,
    patient_ids,
    prediction_times,
    targets,
    weights,
):
    """Features from plain columns.

    Args:
        codes: int [C], vocabulary ids, without special tokens (except [UNK]).
        code_counts: int [N], codes of each example.
        vocabulary_size: V.
        sexes: int [N], place in `medtop.cohort.pickled_lists.SEXES`.
        ages_at_prediction: int [N], days; 0 = unknown.
        visit_counts: int [N], visits of each example.
        stay_days, gaps_before: int [S], days.
        recencies: int [S], days from each visit's discharge to the prediction time. None: prediction times are the last
            discharges, and the time before is the sum of stays and gaps.
        patient_ids, prediction_times, targets, weights: see `BaselineFeatures`.

    Returns:
        `BaselineFeatures`.

    Raises:
        DataError: for a code outside the vocabulary or columns whose lengths disagree.
    """
    codes = np.asarray(codes, np.int64)
    code_counts, visit_counts = np.asarray(code_counts, np.int64), np.asarray(visit_counts, np.int64)
    if len(codes) != code_counts.sum() or len(stay_days) != visit_counts.sum() or len(gaps_before) != len(stay_days):
        raise DataError(
            f"baselines: expected {code_counts.sum()} codes and {visit_counts.sum()} visits, received "
            f"{len(codes)} and {len(stay_days)} (gaps: {len(gaps_before)})"
        )
    if len(codes) and not (0 <= codes.min() and codes.max() < vocabulary_size):
        raise DataError(f"baselines: expected codes below {vocabulary_size}, received {codes.min()} to {codes.max()}")
    pointer = np.concatenate([[0], np.cumsum(code_counts)])
    counts = sparse.csr_array(
        (np.ones(len(codes), np.float32), codes, pointer), shape=(len(code_counts), vocabulary_size), copy=True
    )  # the next line works in place
    counts.sum_duplicates()
    stay_days, sexes = np.asarray(stay_days, np.float64), np.asarray(sexes)
    ages = np.asarray(ages_at_prediction, np.float64) / 365.25
    stays = _per_example(stay_days, visit_counts, np.add)
    if recencies is None:
        last_discharge = np.zeros(len(code_counts))
        first_admission = stays + _per_example(gaps_before, visit_counts, np.add)
    else:
        last_discharge = _at(recencies, visit_counts, last=True)
        first_admission = _at(recencies, visit_counts) + _at(stay_days, visit_counts)
    context = np.stack(
        [
            ages,
            ages == 0,
            sexes == SEXES.index("F"),
            sexes == SEXES.index("M"),
            visit_counts,
            code_counts,
            last_discharge,
            _at(gaps_before, visit_counts, last=True),
            first_admission,
            _per_example(stay_days, visit_counts, np.maximum),
            stays / np.maximum(visit_counts, 1),
            _at(stay_days, visit_counts, last=True),
            _per_example(stay_days > LONG_STAY_DAYS, visit_counts, np.add),
        ],
        axis=1,
    ).astype(np.float64)
    return BaselineFeatures(
        counts, context, np.asarray(patient_ids), np.asarray(prediction_times, np.int64), dict(targets), dict(weights)
    )


def features_from_chunks(chunks, vocabulary_size):
    """Features from a stream of `Chunk` (`pickled_lists.read_chunks(path)`); one chunk is held beside them.

    Args:
        chunks: iterable of `Chunk`, the chunks of one split.
        vocabulary_size: V.

    Returns:
        `BaselineFeatures`.
    """
    return _join(
        features_from_columns(
            chunk.codes,
            chunk.code_counts,
            vocabulary_size,
            chunk.sexes,
            chunk.ages_at_prediction,
            chunk.visit_counts,
            chunk.stay_days,
            chunk.gaps_before,
            chunk.recencies,
            patient_ids=chunk.patient_ids,
            prediction_times=chunk.prediction_times,
            targets=chunk.labels,
            weights=chunk.weights,
        )
        for chunk in chunks
    )


def features_from_records(records, vocabulary_size, tasks):
    """Features from the default TFRecord layout as NumPy columns (`medtop.data.tfrecord.read_examples`).

    Args:
        records: iterable of dicts with `counts` [N], the flat token columns `token_ids`, `visits`, `age_days`,
            `stay_days`, `recency_days` [Z], and `sex`, `prediction_time`, `patient_id`, `<task>_labels`,
            `<task>_weights`. [CLS] opens each sequence.
        vocabulary_size: V.
        tasks: names of the patient-level tasks.

    Returns:
        `BaselineFeatures`.
    """
    return _join(_features_of_tokens(columns, vocabulary_size, tasks) for columns in records)


def _features_of_tokens(columns, vocabulary_size, tasks):
    count = len(columns["counts"])
    tokens = np.asarray(columns["token_ids"])
    example = np.repeat(np.arange(count), columns["counts"])
    code = (tokens == UNK_ID) | (tokens >= 5)
    owner, visits = example[code], np.asarray(columns["visits"])[code]
    opens = np.ones(len(owner), bool)  # first code of its visit
    opens[1:] = (owner[1:] != owner[:-1]) | (visits[1:] != visits[:-1])
    stays, recencies = (np.asarray(columns[name])[code][opens] for name in ("stay_days", "recency_days"))
    of_visit = owner[opens]
    gaps = np.zeros(len(stays), np.int64)  # whichever gap the records hold, the gap before follows from the other two
    same = of_visit[1:] == of_visit[:-1]
    gaps[1:] = np.where(same, np.maximum(recencies[:-1] - recencies[1:] - stays[1:], 0), 0)
    ages = np.zeros(count, np.int64)
    opening = tokens == CLS_ID
    ages[example[opening]] = np.asarray(columns["age_days"])[opening]
    return features_from_columns(
        tokens[code],
        np.bincount(owner, minlength=count),
        vocabulary_size,
        columns["sex"],
        ages,
        np.bincount(of_visit, minlength=count),
        stays,
        gaps,
        recencies,
        patient_ids=columns["patient_id"],
        prediction_times=columns["prediction_time"],
        targets={task: columns[f"{task}_labels"] for task in tasks},
        weights={task: columns[f"{task}_weights"] for task in tasks},
    )


def _join(parts):
    parts = list(parts)
    if not parts:
        raise DataError("baselines: expected at least one example, received none")
    if len(parts) == 1:
        return parts[0]
    return BaselineFeatures(
        sparse.vstack([part.counts for part in parts], format="csr"),
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("context", "patient_ids", "prediction_times")
        ),
        *(
            {task: np.concatenate([getattr(part, name)[task] for part in parts]) for task in parts[0].targets}
            for name in ("targets", "weights")
        ),
    )


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
        names: which of `BASELINES`, or `TFIDF`, which takes counts of words and no context.
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
        encode, fit = _METHODS[name]
        matrices = encode(train, rows, used)
        results.predictions[name] = {split: {} for split in used if split in predict}
        results.settings[name], results.reasons[name] = {}, {}
        for task, labels in tasks.items():
            logits, settings, reasons = _fit_task(fit, matrices, train, rows, used, task, labels, seed)
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


def _fit_task(fit, matrices, train, rows, used, task, labels, seed):
    """Fits one task label by label: (dict split -> float32 [N, K] logits, settings, reasons)."""
    logits = {split: np.empty((len(part), len(labels)), np.float32) for split, part in used.items()}
    settings, reasons = {}, {}

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
        reason = None if valid else "default settings: validation has no known labels of both classes"
        chosen, found = fit(matrices, known, targets, valid, seed)
        return found, chosen | {"examples": int(known.sum())}, reason

    # Labels in parallel, one thread each: inside a fit the work between two barriers is so short that on a busy machine
    # its threads mostly wait for each other. It also makes the results independent of the number of cores. The limit
    # is the process's for BLAS, and each thread's own for OpenMP.
    threads = max(1, min(_MAX_THREADS, os.cpu_count() or 1))
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads, initializer=_one_openmp_thread) as pool:
        for column, (found, chosen, reason) in enumerate(pool.map(fit_label, range(len(labels)))):
            for split in used:
                logits[split][:, column] = found[split]
            if chosen is not None:
                settings[labels[column]] = chosen
            if reason is not None:
                reasons[labels[column]] = reason
    return logits, settings, reasons


def _one_openmp_thread():
    threadpool_limits(1, "openmp")  # not a context: the thread that it holds for ends with the pool


def _encode_linear(train, rows, used):
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


def _encode_tfidf(train, rows, used):
    """Per split CSR float64 [N, V]: (1 + log count) * (1 + log((1 + N) / (1 + N of the word))), rows of length 1."""
    transformer = TfidfTransformer(sublinear_tf=True).fit(train.counts[rows].astype(np.float64))

    def finish(counts):
        return sparse.csr_array(transformer.transform(counts.astype(np.float64)))

    return {"fit": finish(train.counts[rows]), **{split: finish(part.counts) for split, part in used.items()}}


def _fit_tfidf(matrices, known, targets, valid, seed):
    """`_fit_linear` with less penalty; gradients are smaller where rows have length 1, and so is the tolerance."""
    return _fit_linear(matrices, known, targets, valid, seed, TFIDF_C_GRID, 1.0, 1e-6)


def _fit_linear(matrices, known, targets, valid, seed, grid=C_GRID, default=DEFAULT_C, tolerance=1e-3):
    """L2-penalised logistic regression; C of the lowest validation log loss, tried upwards until it rises twice."""
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
    found = {split: matrix @ weights + intercept for split, matrix in matrices.items() if split != "fit"}
    return {"C": strength}, found


def _encode_trees(train, rows, used):
    """Per split float32 [N, codes + context]: counts of the codes that most training patients have, and the context."""
    part = train.counts[rows]
    columns = max(1, min(TOP_CODES, _MAX_CELLS // max(len(rows), 1) - len(CONTEXT)))
    present = np.bincount(part.indices, minlength=part.shape[1])  # examples that have the code
    chosen = np.sort(np.argsort(-present, kind="stable")[:columns])
    chosen = chosen[present[chosen] > 0]

    def dense(part, rows=slice(None)):
        return np.hstack([part.counts[rows][:, chosen].toarray(), part.context[rows].astype(np.float32)])

    return {"fit": dense(train, rows), **{split: (part, dense) for split, part in used.items()}}


def _fit_trees(matrices, known, targets, valid, seed):
    """Histogram gradient boosting with log loss; the number of trees is that of the lowest validation log loss."""
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
        part, dense = matrices["valid"]
        model.fit(matrices["fit"][known], targets, X_val=dense(part, valid[0]), y_val=valid[1])
        best = max(1, int(np.argmax(model.validation_score_)))  # place 0 is the score before the first tree
    found = {}
    for split, entry in matrices.items():
        if split == "fit":
            continue
        part, dense = entry
        found[split] = np.empty(len(part), np.float32)
        for start in range(0, len(part), _PREDICT_ROWS):
            block = slice(start, start + _PREDICT_ROWS)
            stages = model.staged_decision_function(dense(part, block))
            found[split][block] = next(itertools.islice(stages, best - 1, None)).ravel()
    return {"iterations": best}, found


_METHODS = {
    LOGISTIC_REGRESSION: (_encode_linear, _fit_linear),
    GRADIENT_BOOSTING: (_encode_trees, _fit_trees),
    TFIDF: (_encode_tfidf, _fit_tfidf),
}
