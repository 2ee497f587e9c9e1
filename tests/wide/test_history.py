"""Windows and context of the wide part, by hand and by a second route."""

import numpy as np
import pytest

from medtop.files.errors import DataError
from medtop.wide.history import (
    History,
    context_names,
    context_of,
    history_of_tokens,
    latest_windows,
    windows_of,
)

DAYS = (31, 366)


def two_patients():
    """One seen 400 days ago (9 days, codes 5 and 6) and 10 days ago (2 days, code 5); one without history."""
    return History([3, 0], [2, 0], [1, 0], [36525, 0], [5, 6, 5], [400, 400, 10], [9, 2], [400, 10])


def test_windows_by_hand():
    windows = latest_windows(two_patients(), 8, DAYS)
    expected = np.zeros((2, 8, 3))
    expected[0, 5, 0] = expected[0, 6, 2] = 1  # code 5 was last seen 10 days ago, code 6 more than a year ago
    assert windows.toarray().tolist() == expected.reshape(2, -1).tolist()
    assert windows_of(np.array([0, 31, 32, 366, 367]), DAYS).tolist() == [0, 0, 1, 1, 2]


def test_context_by_hand():
    found = dict(zip(context_names(DAYS), context_of(two_patients(), DAYS).T, strict=True))
    logs = {
        "log_codes": 3,
        "log_visits": 2,
        "log_long_stays": 1,
        "log_days_since_last_discharge": 10,
        "log_days_since_first_admission": 409,
        "log_stay_days_max": 9,
        "log_stay_days_mean": 5.5,
        "log_visits_within_31": 1,
        "log_visits_within_366": 1,
        "log_long_stays_within_31": 0,
        "log_long_stays_within_366": 0,
    }
    for name, value in logs.items():
        assert found[name].tolist() == pytest.approx([np.log1p(value), 0.0]), name
    assert found["age_years"].tolist() == [100, 0] and found["age_unknown"].tolist() == [0, 1]
    assert found["female"].tolist() == [1, 0] and found["male"].tolist() == [0, 0]


def columns_of():
    """Two sequences as the records hold them; the second visit of the first one ends with [SEP]."""
    return {
        "counts": [5, 1],
        "sex": [1, 2],
        "token_ids": np.array([2, 5, 1, 5, 3, 2]),
        "visits": np.array([0, 1, 1, 2, 2, 0]),
        "age_days": np.array([900, 500, 500, 890, 890, 0]),
        "stay_days": np.array([0, 9, 9, 2, 2, 0]),
        "recency_days": np.array([0, 400, 400, 10, 10, 0]),
    }


def test_tokens_to_history_and_cut_as_rows_are():
    whole = history_of_tokens(columns_of())
    assert whole.codes.tolist() == [5, 1, 5] and whole.code_recencies.tolist() == [400, 400, 10]
    assert whole.stay_days.tolist() == [9, 2] and whole.ages.tolist() == [900, 0] and whole.sexes.tolist() == [1, 2]
    cut = history_of_tokens(columns_of(), max_seq_length=3)  # [CLS], code 5 and [SEP] of the last visit
    assert cut.codes.tolist() == [5] and cut.stay_days.tolist() == [2] and cut.visit_counts.tolist() == [1, 0]


def test_take_and_join_are_inverse():
    rng = np.random.default_rng(0)
    counts, visits = rng.integers(0, 5, 7), rng.integers(0, 4, 7)
    whole = History(
        counts,
        visits,
        rng.integers(0, 3, 7),
        rng.integers(0, 9, 7),
        *rng.integers(1, 99, (2, counts.sum())),
        *rng.integers(0, 9, (2, visits.sum())),
    )
    again = History.join([whole.take(np.array([row])) for row in range(7)])
    for name, values in vars(whole).items():
        assert values.tolist() == getattr(again, name).tolist(), name
    assert whole.take(np.array([3, 1])).codes.tolist() == [
        *np.split(whole.codes, np.cumsum(counts))[3],
        *np.split(whole.codes, np.cumsum(counts))[1],
    ]


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="expected 2 values of stay_days"):
        History([1], [2], [0], [0], [5], [3], [1], [1, 2])
    with pytest.raises(DataError, match="expected codes below 6"):
        latest_windows(two_patients(), 6, DAYS)
