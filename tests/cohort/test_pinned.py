"""Numbers written down: what a test that reads the code's own constants cannot notice."""

import numpy as np
import pytest

from medtop.cohort import labels, prediction_times, splits
from medtop.cohort.labels import Pairs
from medtop.cohort.prediction_times import REASONS, GivenTimes, given_times
from medtop.cohort.tally import Tally
from medtop.cohort.visits import DAY, OLDEST_AGE_DAYS, UNKNOWN_DAY, Visits

IDS = ("p1", "p2", "p3", "p4", "p5", "10006", "10011", "é", "A-17", " x")
PINNED = {
    1: "train train train train train test valid train train train",
    12345: "train train train test valid train train train train test",
}
"""By hand: MD5 of "<seed>:<id>", its first 16 hexadecimal digits over 2^64, below 0.7, below 0.8, or above."""


@pytest.mark.parametrize("seed", PINNED)
def test_splits_of_ten_ids(seed):
    assert splits.assign_splits(IDS, seed) == PINNED[seed].split()
    assert splits.SPLITS == ("train", "valid", "test") and splits.SHARES == (0.7, 0.1, 0.2)


def test_the_edges_of_the_shares():
    """A share's end belongs to the next: 0.7 is validation, 0.8 is test."""
    below = [int(share * 2**53) for share in (0.7, 0.7, 0.8)]
    hashes = np.array([(below[0] - 1) << 11, (below[1] + 1) << 11, (below[2] + 1) << 11, 0, (1 << 64) - 1], np.uint64)
    assert splits.split_by_hash(hashes).tolist() == [0, 1, 2, 0, 2]
    assert splits.uniform(np.array([0, 1 << 63, (1 << 64) - 1], np.uint64)).tolist() == [0, 0.5, 1 - 2.0**-53]


def visits_of(*patients):
    """`Visits` of patients, each a list of (admission, discharge) in days; one code each."""
    stays = [stay for patient in patients for stay in patient]
    count = len(stays)
    return Visits(
        patients=np.arange(len(patients), dtype=np.int32),
        starts=np.cumsum([0, *map(len, patients)]),
        admissions=np.array([round(admit * DAY) for admit, _ in stays], np.int64),
        discharges=np.array([round(discharge * DAY) for _, discharge in stays], np.int64),
        code_starts=np.arange(count + 1),
        codes=np.zeros(count, np.int32),
        row_counts=np.ones(count, np.int64),
        endpoint_codes=np.zeros(count, np.uint64),
        endpoint_events=np.zeros(count, np.uint64),
    )


def test_overlaps_are_counted_within_a_patient():
    assert visits_of([(10, 20)], [(5, 8)], [(1, 2)]).overlaps == 0  # the next patient begins earlier: no overlap
    assert visits_of([(10, 20), (19, 25), (25, 30)], [(12, 13)]).overlaps == 1  # at the same instant: no overlap


def test_gaps_and_stays_of_patients_side_by_side():
    visits = visits_of([(10, 20), (19, 25), (31, 32)], [(50, 51), (53, 57)])
    assert visits.gaps_before.tolist() == [0, 0, 6, 0, 2]
    assert visits.stay_days.tolist() == [10, 6, 1, 1, 4]
    assert visits.count_until(np.array([0, 0, 1, 1]), np.array([20, 19, 51, 60]) * DAY).tolist() == [1, 0, 1, 2]


def test_prediction_times_on_the_day_of_death_stay():
    """Only a time on a later day is a mistake."""
    visits, times = visits_of([(1, 2)], [(1, 2)], [(1, 2)], [(3, 4)]), np.array([9, 10, 11, 3]) * DAY + 5
    given = GivenTimes(np.arange(4, dtype=np.int32), times, times, {}, {}, {})
    choice = given_times(visits, given, np.array([10, 10, 10, UNKNOWN_DAY]))
    assert [REASONS[reason] for reason in choice.reasons] == [
        REASONS[0], REASONS[0], "death_before_prediction_time", "no_stay_by_prediction_time",
    ]  # fmt: skip
    assert choice.slots.tolist() == [0, 1]


def test_a_random_visit_on_the_day_of_death_is_no_example():
    visits = visits_of([(1, 5)], [(1, 5)], [(1, 5)])
    choice = prediction_times.random_visits(visits, np.zeros(3, np.uint64), np.array([5, 6, UNKNOWN_DAY]), 1)
    assert [REASONS[reason] for reason in choice.reasons] == ["stay_ends_in_death", REASONS[0], REASONS[0]]


@pytest.mark.parametrize("until, value, reason", [(30, 0, "known"), (31, 0, "no_admission_in_window")])
def test_the_last_day_of_the_window_counts(until, value, reason):
    """An admission on day 30 of 30 lies within; a stay of seven days is short, of eight long."""
    days = np.array([0])
    visits = visits_of([(0, 0.5), (until, until + 7)])
    pairs = Pairs(visits, np.array([0]), np.array([0, 1]), np.array([0, 0]), days * DAY + 1, days,
                  np.array([True, False]), np.array([1 << 40]))  # fmt: skip
    found = labels.long_stay_next(pairs, 30)
    assert (found.values[0, 0], labels.REASONS[found.reasons[0, 0]]) == (value, reason)


def test_constants_of_the_definitions():
    """Med-BERT's and top-BERT's: longer than seven days; ages above 90 are 90."""
    assert labels.LONG_STAY_DAYS == 7 and labels.KNOWN_REASONS == 2
    assert labels.REASONS[:2] == ("known", "death_without_event")
    assert OLDEST_AGE_DAYS == int(90 * 365.25)


def columns(lengths, times):
    """Columns of examples, as far as the tally looks."""
    return {
        "patients": np.arange(len(lengths)),
        "codes": np.zeros(sum(lengths), np.int64),
        "code_counts": np.array(lengths),
        "prediction_times": np.array(times),
    }


def test_a_tally_over_several_batches():
    """The longest history, the first and last time and the histogram do not depend on the order of batches."""
    for batches in (
        [([3, 40], [500, 700]), ([7, 8], [100, 300]), ([1, 0], [900, 600])],
        [([1, 0], [900, 600]), ([3, 40], [500, 700]), ([7, 8], [100, 300])],
        [([7, 8], [100, 300]), ([1, 0], [900, 600]), ([3, 40], [500, 700])],
    ):
        tally = Tally({}, 1)
        for lengths, times in batches:
            tally.add_examples(0, columns(lengths, times), {})
        assert tally.longest.tolist() == [40, 0, 0] and tally.examples.tolist() == [6, 0, 0]
        assert tally.split_times()["train"] == [100, 900] and tally.times == [100, 900]
        # 0 | 1-7 | 8-15 | 16-31 | 32-63
        assert tally.lengths[0].tolist()[:5] == [1, 3, 1, 0, 1] and tally.lengths[0].sum() == 6
