"""The features of examples as columns: what is known at a prediction time, cut from visits on run boundaries.

Letters: E examples, S their visits, C their codes.
"""

import numpy as np

from medtop.cohort.visits import DAY, ages_in_days, ranges

EXAMPLE_COLUMNS = {
    "patients": np.int32,
    "prediction_times": np.int64,
    "ages_at_prediction": np.int32,
    "code_counts": np.int32,
    "visit_counts": np.int32,
}
VISIT_COLUMNS = {
    "visit_codes": np.int32,
    "stay_days": np.int32,
    "gaps_before": np.int32,
    "recencies": np.int32,
    "ages": np.int32,
}
CODE_COLUMNS = {"codes": np.int32}
MOST_VALUES = 4_000_000
"""Codes and visits that are laid out at once; a patient with many prediction times repeats its history in each."""


def example_groups(visits, slots):
    """Cuts examples into runs whose histories together stay under `MOST_VALUES` values; yields slices.

    Args:
        visits: `Visits`.
        slots: int64 [E], place of each example's patient within the batch.
    """
    codes = visits.code_starts[visits.starts[1:]] - visits.code_starts[visits.starts[:-1]]
    ends = np.cumsum((codes + visits.counts)[slots])
    start = 0
    while start < len(slots):
        before = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, before + MOST_VALUES, side="right")), start + 1)
        yield slice(start, stop)
        start = stop


def example_columns(visits, births, slots, times, known_until):
    """Columns of the examples: visits with discharge at or before the prediction time, and nothing else.

    Args:
        visits: `Visits`.
        births: int32 [P], days since 1970-01-01 of the batch's patients, `UNKNOWN_DAY` where unknown.
        slots: int64 [E], place of each example's patient within the batch.
        times, known_until: int64 [E], seconds.

    Returns:
        dict with `EXAMPLE_COLUMNS` [E] (`patients`: place in the table of patients), `VISIT_COLUMNS` [S]
        (`visit_codes`: codes of each visit; days otherwise), `CODE_COLUMNS` [C] (places in the list of distinct codes).
    """
    starts = visits.starts[slots]
    visit_counts = visits.count_until(slots, known_until)
    places = ranges(starts, visit_counts)
    first, last = visits.code_starts[starts], visits.code_starts[starts + visit_counts]
    days, owners = times // DAY, np.repeat(np.arange(len(slots)), visit_counts)
    return {
        "patients": visits.patients[slots],
        "prediction_times": times,
        "ages_at_prediction": ages_in_days(births[slots], days),
        "code_counts": last - first,
        "visit_counts": visit_counts,
        "visit_codes": np.diff(visits.code_starts)[places],
        "stay_days": visits.stay_days[places],
        "gaps_before": visits.gaps_before[places],
        "recencies": days[owners] - visits.discharge_days[places],
        "ages": ages_in_days(births[slots][owners], visits.admission_days[places]),
        "codes": visits.codes[ranges(first, last - first)],
    }
