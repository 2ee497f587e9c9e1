"""Numbers written down: what a test that reads the code's own constants cannot notice."""

import duckdb
import numpy as np
import pytest

from medtop.cohort import labels, prediction_times, splits
from medtop.cohort.followup import cumulative_incidence
from medtop.cohort.labels import Pairs
from medtop.cohort.prediction_times import REASONS, GivenTimes, given_times
from medtop.cohort.tally import Tally
from medtop.cohort.visits import DAY, OLDEST_AGE_DAYS, UNKNOWN_DAY, Visits, _rows_by_code
from medtop.files.errors import DataError

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


def test_a_random_visit_within_a_period():
    """Of two visits the one inside; who has none inside is told apart from who has no visit that may be drawn."""
    visits = visits_of([(1, 5), (10, 12)], [(1, 5)], [(1, 5)])
    inside, deaths = np.array([False, True, False, True]), np.array([UNKNOWN_DAY, UNKNOWN_DAY, 5])
    for draw in (0, (1 << 64) - 1):
        choice = prediction_times.random_visits(visits, np.full(3, draw, np.uint64), deaths, 1, inside)
        assert [REASONS[reason] for reason in choice.reasons] == [REASONS[0], "outside_period", "stay_ends_in_death"]
        assert choice.times.tolist() == [12 * DAY]


def test_visits_until_an_instant_far_away():
    """After the last discharge of all, and before the first: nothing of the next patient counts."""
    visits = visits_of([(10, 20)], [(1, 2)], [(1, 20)])
    assert visits.count_until(np.array([0, 1, 2]), np.full(3, 10_000) * DAY).tolist() == [1, 1, 1]
    assert visits.count_until(np.array([0, 1, 2]), np.full(3, -10_000) * DAY).tolist() == [0, 0, 0]


def test_rows_that_gave_a_new_code():
    """Two rows of one code each, the second a copy; a row of two codes of which one is new; a row without a code."""
    counted = _rows_by_code(
        np.array([1, 1, 2, 0]), np.array([True, False, False, True]), np.array([0, 0, 1, 1]), 3
    )  # fmt: skip
    assert {name: values.tolist() for name, values in counted.items()} == {
        "rows_with_new_codes": [1, 1, 0], "rows_without_codes": [0, 1, 0],
    }  # fmt: skip


def test_label_columns():
    """`<task>` is a task of one label, `<task>.<label>` one of several."""
    assert prediction_times._label_columns(["relapse", "eye.left", "eye.right"], "t.csv") == (
        {"relapse": ["relapse"], "eye": ["left", "right"]}, {"relapse": ["relapse"], "eye": ["eye.left", "eye.right"]},
    )  # fmt: skip
    for column in ("relapse.", ".left", 'a"b', ""):
        with pytest.raises(DataError, match="expected label columns called"):
            prediction_times._label_columns([column], "t.csv")


def test_given_labels_stand_by_task_in_the_order_of_their_columns(tmp_path):
    (tmp_path / "t.csv").write_text(
        "patient_id,eye.left,prediction_time,relapse,eye.right\nb,1,2010-01-05,,0\na,0,2010-01-05,1,\n"
    )
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE patients AS SELECT unnest(['a', 'b']) AS patient_id")
        connection.execute("CREATE TEMP TABLE cohort_patients AS SELECT unnest(['a', 'b']) AS patient_id, "
                           "unnest([0, 1])::INTEGER AS patient_index")  # fmt: skip
        given = prediction_times.read_given_times(connection, tmp_path / "t.csv")
    assert given.patients.tolist() == [0, 1] and given.tasks == {"eye": ["left", "right"], "relapse": ["relapse"]}
    np.testing.assert_array_equal(given.labels["eye"], [[0, np.nan], [1, 0]])
    np.testing.assert_array_equal(given.labels["relapse"], [[1], [np.nan]])


def test_the_risk_where_one_person_is_left():
    assert cumulative_incidence(np.array([[0, 0, 0], [1, 0, 0]]), [1]) == [1.0]
    assert cumulative_incidence(np.array([[0, 0, 0], [0, 0, 3], [1, 0, 0]]), [1, 2]) == [0.0, 1.0]


@pytest.mark.parametrize("until, value, reason", [(30, 0, "known"), (31, 0, "no_admission_in_window")])
def test_the_last_day_of_the_window_counts(until, value, reason):
    """An admission on day 30 of 30 lies within; a stay of seven days is short, of eight long."""
    days = np.array([0])
    visits = visits_of([(0, 0.5), (until, until + 7)])
    pairs = Pairs(visits, np.array([0]), np.array([0, 1]), np.array([0, 0]), days * DAY + 1, days,
                  np.array([True, False]), np.array([1 << 40]))  # fmt: skip
    found = labels.long_stay_next(pairs, 30)
    assert (found.values[0, 0], labels.REASONS[found.reasons[0, 0]]) == (value, reason)


@pytest.mark.parametrize("boundary, value", [(17, 0), (18, 1)])
def test_a_stay_before_a_boundary_is_long_when_eight_days_of_it_are_known(boundary, value):
    """Admitted on day 10, of ten days: that it is long is known on day 18, when seven days are over."""
    visits, days = visits_of([(0, 1), (10, 20)]), np.array([5])
    pairs = Pairs(visits, np.array([0]), np.array([0, 1]), np.array([0, 0]), days * DAY, days,
                  np.array([True, False]), np.array([boundary]))  # fmt: skip
    assert labels.long_stay_any(pairs).values.tolist() == [[value]]


def test_given_labels_are_0_where_they_are_unknown():
    given = labels.given_labels(np.array([[1.0, np.nan], [0.0, 1.0]]))
    assert given.values.tolist() == [[1, 0], [0, 1]] and given.weights.tolist() == [[1, 0], [1, 1]]
    assert labels.REASONS[given.reasons[0, 1]] == "not_given"


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


def test_patients_of_each_count_of_a_label():
    """Against sets of patients, over batches that part a patient's examples, and two splits."""
    rng, names = np.random.default_rng(7), {"a": ("x", "y"), "b": ("w",)}
    tally, seen = Tally(names, 1), {}
    for split, owners in ((0, np.sort(rng.integers(0, 30, 100))), (2, 100 + np.sort(rng.integers(0, 9, 40)))):
        for batch in np.split(owners, sorted(rng.integers(1, len(owners), 6))):
            made, count = {}, len(batch)
            for task, of in names.items():
                reasons = rng.integers(0, len(labels.REASONS), (count, len(of))).astype(np.int8)
                values = np.where(reasons == 0, rng.integers(0, 2, reasons.shape), 0).astype(np.float32)
                later = (rng.random(reasons.shape) < 0.2) & (reasons == 0) & (values == 0)
                made[task] = labels.Labels(values, reasons, later_codes=later)
                for row, place in np.ndindex(*reasons.shape):
                    reason = labels.REASONS[reasons[row, place]]
                    known = reason in ("known", "death_without_event")
                    cells = ["examples"] + ["known"] * known + ["negatives_with_later_codes"] * bool(later[row, place])
                    cells += ["deaths_without_event"] * (reason == "death_without_event")
                    cells += [reason if not known else "positives" if values[row, place] else "negatives"]
                    for cell in cells:
                        seen.setdefault((task, of[place], split, cell), set()).add(batch[row])
            tally.add_examples(split, columns([1] * count, [500] * count) | {"patients": batch}, made)
    shown = {}
    for split, tasks in tally.labels().items():
        for task, entries in tasks.items():
            for label, entry in entries.items():
                for cell, number in {
                    **entry.get("patients", {}),
                    **entry.get("patients", {}).get("unknown", {}),
                }.items():
                    if cell != "unknown" and number:
                        shown[task, label, splits.SPLITS.index(split), cell] = number
    assert shown == {key: len(patients) for key, patients in seen.items()} and len(shown) > 40


def test_patients_are_not_counted_apart_where_each_has_one_example():
    tally = Tally({"a": ("x",)}, 1)
    made = labels.Labels(np.array([[1.0], [0.0], [0.0]], np.float32), np.array([[0], [0], [3]], np.int8))
    tally.add_examples(0, columns([1] * 3, [500] * 3), {"a": made})
    entry = tally.labels()["train"]["a"]["x"]
    assert "patients" not in entry
    assert entry["share_known"] == pytest.approx(2 / 3) and entry["prevalence"] == 0.5


def test_days_of_observation_of_each_label_and_outcome_stay_apart():
    """Against counting one by one, over two batches and two tasks of several labels."""
    rng, names = np.random.default_rng(5), {"a": ("x", "y", "z"), "b": ("w",)}
    tally, counts = Tally(names, 1), {}
    for split in (0, 2):
        times, ends = rng.integers(10, 20, 40) * DAY, rng.integers(20, 60, 40).astype(np.int32)
        ends[::7] = UNKNOWN_DAY
        made = {}
        for task, of in names.items():
            values = rng.integers(0, 2, (40, len(of))).astype(np.float32)
            reasons = np.where(rng.random((40, len(of))) < 0.3, labels.REASONS.index("censored"), 0).astype(np.int8)
            made[task] = labels.Labels(np.where(reasons > 0, 0, values).astype(np.float32), reasons)
            for row, label in np.ndindex(40, len(of)):
                if ends[row] != UNKNOWN_DAY:
                    outcome = int(values[row, label]) if reasons[row, label] == 0 else 2
                    key = task, label, outcome, int(ends[row] - times[row] // DAY)
                    counts[key] = counts.get(key, 0) + 1
        tally.add_observation(split, times, ends, made)
    shown = {
        (task, *map(int, place)): int(table[tuple(place)])
        for task, table in tally.outcome_days.items()
        for place in np.argwhere(table)
    }
    assert shown == counts and len(counts) > 50
