"""What the rivals of a model see: how often each code occurs, when, and a few plain figures.

Letters: N examples, C codes laid end to end, S visits laid end to end, V vocabulary, K labels of a task.
"""

import dataclasses

import numpy as np
from scipy import sparse

from medtop.cohort.pickled_lists import SEXES
from medtop.files.errors import DataError
from medtop.wide.history import LONG_STAY_DAYS, History, history_of_tokens

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


@dataclasses.dataclass
class BaselineFeatures:
    """What the baselines see of one split, beside the truth.

    Attributes:
        counts: CSR float32 [N, V], occurrences of each code in the history.
        context: float64 [N, len(CONTEXT)].
        patient_ids: str [N].
        prediction_times: int64 [N], seconds since 1970-01-01.
        targets, weights: dict task -> float32 [N, K]; weight 0 = unknown.
        history: `medtop.wide.history.History`, when the codes occurred; None where nobody says.
    """

    counts: sparse.csr_array
    context: np.ndarray
    patient_ids: np.ndarray
    prediction_times: np.ndarray
    targets: dict
    weights: dict
    history: History | None = None

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


def _context(ages, sexes, code_counts, visit_counts, stay_days, gaps_before, recencies):
    """The columns of `CONTEXT`: float64 [N, F]; arguments as for `features_from_columns`, ages in years."""
    stays = _per_example(stay_days, visit_counts, np.add)
    if recencies is None:
        last_discharge = np.zeros(len(code_counts))
        first_admission = stays + _per_example(gaps_before, visit_counts, np.add)
    else:
        last_discharge = _at(recencies, visit_counts, last=True)
        first_admission = _at(recencies, visit_counts) + _at(stay_days, visit_counts)
    return np.stack(
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
    code_recencies=None,
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
        code_recencies: int [C], the same of each code's visit; None: no windows.
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
    context = _context(ages, sexes, code_counts, visit_counts, stay_days, gaps_before, recencies)
    history = None
    if code_recencies is not None:
        history = History(
            code_counts, visit_counts, sexes, ages_at_prediction, codes, code_recencies, stay_days, recencies
        )
    return BaselineFeatures(
        counts,
        context,
        np.asarray(patient_ids),
        np.asarray(prediction_times, np.int64),
        dict(targets),
        dict(weights),
        history,
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
            _of_codes(chunk),
            patient_ids=chunk.patient_ids,
            prediction_times=chunk.prediction_times,
            targets=chunk.labels,
            weights=chunk.weights,
        )
        for chunk in chunks
    )


def _of_codes(chunk):
    """int64 [C]: recency of each code's visit."""
    first = np.cumsum(chunk.visit_counts, dtype=np.int64) - chunk.visit_counts  # [N]
    return np.asarray(chunk.recencies)[np.repeat(first, chunk.code_counts) + chunk.visits - 1]


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
    history = history_of_tokens(columns)
    stays, recencies = history.stay_days, history.recencies
    of_visit = np.repeat(np.arange(len(history)), history.visit_counts)
    gaps = np.zeros(len(stays), np.int64)  # whichever gap the records hold, the gap before follows from the other two
    same = of_visit[1:] == of_visit[:-1]
    gaps[1:] = np.where(same, np.maximum(recencies[:-1] - recencies[1:] - stays[1:], 0), 0)
    return features_from_columns(
        history.codes,
        history.code_counts,
        vocabulary_size,
        history.sexes,
        history.ages,
        history.visit_counts,
        stays,
        gaps,
        recencies,
        history.code_recencies,
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
        None if parts[0].history is None else History.join([part.history for part in parts]),
    )
