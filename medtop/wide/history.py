"""What the wide part sees of a patient: codes with the time since they were last seen, and a few plain figures.

Letters: N examples; C codes, S visits, Z tokens laid end to end; V vocabulary, W windows in days (`ever` is one more),
F context columns.
"""

import dataclasses

import numpy as np
from scipy import sparse

from medtop.cohort.pickled_lists import SEXES
from medtop.cohort.vocabulary import CLS_ID, UNK_ID
from medtop.files.errors import DataError

LONG_STAY_DAYS = 7
"""A stay of more days than this is long."""

_EXAMPLE = ("code_counts", "visit_counts", "sexes", "ages")
_RUNS = ("codes", "code_recencies", "stay_days", "recencies")


@dataclasses.dataclass
class History:
    """Examples as plain int64 columns.

    Attributes:
        code_counts, visit_counts: [N].
        sexes: [N], place in `medtop.cohort.pickled_lists.SEXES`.
        ages: [N], days at the prediction time; 0 = unknown.
        codes: [C], vocabulary ids without special tokens (except [UNK]), in time order within each example.
        code_recencies: [C], days from the discharge of the code's visit to the prediction time.
        stay_days, recencies: [S], of each visit.

    Raises:
        DataError: for columns whose lengths disagree.
    """

    code_counts: np.ndarray
    visit_counts: np.ndarray
    sexes: np.ndarray
    ages: np.ndarray
    codes: np.ndarray
    code_recencies: np.ndarray
    stay_days: np.ndarray
    recencies: np.ndarray

    def __post_init__(self):
        for name in _EXAMPLE + _RUNS:
            setattr(self, name, np.asarray(getattr(self, name), np.int64))
        expected = [len(self.code_counts)] * len(_EXAMPLE)
        expected += [int(self.code_counts.sum())] * 2 + [int(self.visit_counts.sum())] * 2
        for name, length in zip(_EXAMPLE + _RUNS, expected, strict=True):
            if len(getattr(self, name)) != length:
                raise DataError(f"histories: expected {length} values of {name}, received {len(getattr(self, name))}")

    def __len__(self):
        return len(self.code_counts)

    @staticmethod
    def join(parts):
        """One `History` of several, in order."""
        return History(*(np.concatenate([getattr(part, name) for part in parts]) for name in _EXAMPLE + _RUNS))

    def take(self, rows):
        """The examples at `rows`, integers [n]."""
        codes, visits = _places(self.code_counts, rows), _places(self.visit_counts, rows)
        runs = dict.fromkeys(("codes", "code_recencies"), codes) | dict.fromkeys(("stay_days", "recencies"), visits)
        return History(
            *(getattr(self, name)[rows] for name in _EXAMPLE), *(getattr(self, name)[runs[name]] for name in _RUNS)
        )


def _places(counts, rows):
    """Where the runs of the chosen rows lie, end to end."""
    starts, chosen = (np.cumsum(counts) - counts)[rows], counts[rows]
    return np.repeat(starts - (np.cumsum(chosen) - chosen), chosen) + np.arange(chosen.sum())


def history_of_tokens(columns, max_seq_length=None):
    """`History` of records of the default layout, as NumPy columns (`medtop.data.tfrecord.read_examples`).

    Args:
        columns: dict with `counts`, `sex` [N] and the flat token columns `token_ids`, `visits`, `age_days`,
            `stay_days`, `recency_days` [Z]; [CLS] opens each sequence.
        max_seq_length: cut each sequence to its first ([CLS]) and latest tokens, as the model's rows are; None: whole.
    """
    counts = np.asarray(columns["counts"], np.int64)
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    keep = np.ones(len(place), bool)
    if max_seq_length is not None:
        keep = (place == 0) | (place > np.repeat(counts - max_seq_length, counts))
    example = np.repeat(np.arange(len(counts)), counts)[keep]
    tokens, visits, stays, recencies, ages = (
        np.asarray(columns[name])[keep] for name in ("token_ids", "visits", "stay_days", "recency_days", "age_days")
    )
    code = (tokens == UNK_ID) | (tokens >= 5)
    owner, visits = example[code], visits[code]
    opens = np.ones(len(owner), bool)  # first code of its visit
    opens[1:] = (owner[1:] != owner[:-1]) | (visits[1:] != visits[:-1])
    age = np.zeros(len(counts), np.int64)
    age[example[tokens == CLS_ID]] = ages[tokens == CLS_ID]
    return History(
        np.bincount(owner, minlength=len(counts)),
        np.bincount(owner[opens], minlength=len(counts)),
        columns["sex"],
        age,
        tokens[code],
        recencies[code],
        stays[code][opens],
        recencies[code][opens],
    )


def context_names(days):
    """Names of the context columns for windows of `days`: list of F strings."""
    return [
        "age_years",
        "age_unknown",
        "female",
        "male",
        "log_codes",
        "log_visits",
        "log_long_stays",
        "log_days_since_last_discharge",
        "log_days_since_first_admission",
        "log_stay_days_max",
        "log_stay_days_mean",
        *(f"log_visits_within_{day}" for day in days),
        *(f"log_long_stays_within_{day}" for day in days),
    ]


def context_of(history, days):
    """The context columns: float64 [N, F]. `log` is log(1 + x) of a number or of days; years are not logged."""
    count = len(history)
    owner = np.repeat(np.arange(count), history.visit_counts)  # [S]
    long = history.stay_days > LONG_STAY_DAYS

    def total(values):
        return np.bincount(owner, np.asarray(values, np.float64), minlength=count)

    def largest(values, empty=0.0):
        result = np.full(count, empty)
        np.maximum.at(result, owner, np.asarray(values, np.float64))
        return result

    nearest = -largest(-history.recencies, -np.inf)
    logged = [
        history.code_counts,
        history.visit_counts,
        total(long),
        np.where(np.isfinite(nearest), nearest, 0.0),
        largest(history.recencies + history.stay_days),
        largest(history.stay_days),
        total(history.stay_days) / np.maximum(history.visit_counts, 1),
        *(total(history.recencies <= day) for day in days),
        *(total(long & (history.recencies <= day)) for day in days),
    ]
    plain = [
        history.ages / 365.25,
        history.ages == 0,
        history.sexes == SEXES.index("F"),
        history.sexes == SEXES.index("M"),
    ]
    return np.stack([*plain, *(np.log1p(np.maximum(values, 0)) for values in logged)], axis=1).astype(np.float64)


def latest_occurrences(history, vocabulary_size):
    """Each code of each example once, with the time since it was last seen.

    Args:
        history: `History`.
        vocabulary_size: V.

    Returns:
        (example int64 [M], code int64 [M], days int64 [M]), by example and code.

    Raises:
        DataError: for a code outside the vocabulary.
    """
    codes = history.codes
    if len(codes) and not 0 <= codes.min() <= codes.max() < vocabulary_size:
        raise DataError(f"histories: expected codes below {vocabulary_size}, received {codes.min()} to {codes.max()}")
    key = np.repeat(np.arange(len(history)), history.code_counts) * vocabulary_size + codes
    order = np.argsort(key, kind="stable")
    key, days = key[order], history.code_recencies[order]
    last = np.ones(len(key), bool)  # the columns are in time order
    last[:-1] = key[1:] != key[:-1]
    return *np.divmod(key[last], vocabulary_size), days[last]


def windows_of(days_since, days):
    """The narrowest window that each time lies in, W for `ever`: int64 of the same shape.

    >>> windows_of(np.array([0, 31, 32, 1000]), (31, 366)).tolist()
    [0, 0, 1, 2]
    """
    return np.searchsorted(np.asarray(days), days_since, side="left")


def latest_windows(history, vocabulary_size, days):
    """CSR float64 [N, V (W + 1)]: 1 at `code * (W + 1) + narrowest window of its latest occurrence`.

    "Seen within w days" for every w follows by summing over the narrower windows: `fit.Design` does.
    """
    example, code, since = latest_occurrences(history, vocabulary_size)
    width = len(days) + 1
    column = code * width + windows_of(since, days)
    pointer = np.concatenate([[0], np.cumsum(np.bincount(example, minlength=len(history)))])
    shape = (len(history), vocabulary_size * width)
    return sparse.csr_array((np.ones(len(column)), column, pointer), shape=shape)
