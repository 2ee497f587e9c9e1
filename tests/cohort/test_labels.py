"""Every rule on time and labels, on rows written by hand: visits, prediction times, label states, codes, splits."""

import datetime as dt

import cohort_tables as slow
import duckdb
import numpy as np
import pytest
from cohort_tables import row

from medtop.cohort.build import Options, build_cohort
from medtop.cohort.codes import category
from medtop.cohort.labels import REASONS
from medtop.cohort.manifest import default_manifest
from medtop.cohort.pickled_lists import read_chunks
from medtop.cohort.rolling_up import code_map_of, roll_up
from medtop.cohort.sorted_rows import load_patients
from medtop.cohort.splits import (
    SHARES,
    SPLITS,
    assign_splits,
    patient_hash,
    read_splits,
    split_by_hash,
    uniform,
    write_splits,
)
from medtop.cohort.visits import OLDEST_AGE_DAYS, UNKNOWN_DAY, ages_in_days, first_places
from medtop.files.errors import DataError

AT = "2010-01-10"  # the prediction time of most tables below


def labels_at(folder, rows, person=None, at=AT, task="long_stay", **options):
    """(value or None, reason) of each label of patient a, at a prediction time from a file."""
    (folder / "times.csv").write_text(f"patient_id,prediction_time\na,{at}\n")
    (folder / "splits.csv").write_text("patient_id,split\na,train\n")
    connection, report = slow.make_tables(rows, {"a": person or {}})
    options = {"prediction_times": str(folder / "times.csv"), "splits": str(folder / "splits.csv"), **options}
    result = build_cohort(connection, report, Options(**options), folder)
    chunk = next(read_chunks(folder / "out.bencs.train"))
    found = {}
    for place, name in enumerate(result.tasks[task]):
        entry = result.tally.labels()["train"][task][name]
        reason = next(iter(entry["unknown"]), "death_without_event" if entry.get("deaths_without_event") else "known")
        value = float(chunk.labels[task][0, place]) if chunk.weights[task][0, place] else None
        found[name] = (value, reason)
    return found


def history(code="ICD10_Z00"):
    """A stay that ends at the prediction time."""
    return row("a", "2010-01-08", AT, code)


@pytest.mark.parametrize(
    "stays, wanted",
    [
        ([("2010-03-01", "2010-03-08")], (0, "known")),  # exactly seven days is not more than seven
        ([("2010-03-01", "2010-03-09")], (1, "known")),
        ([("2010-03-01 23:00", "2010-03-09 01:00")], (1, "known")),  # calendar days, whatever the hours
        ([("2010-03-01 01:00", "2010-03-08 23:00")], (0, "known")),
        ([("2011-01-10", "2011-01-30")], (1, "known")),  # exactly 365 days later
        ([("2011-01-11", "2011-01-30")], (None, "no_admission_in_window")),
        ([], (None, "no_admission_in_window")),
        ([(AT, "2010-02-01")], (None, "no_admission_in_window")),  # same day: a transfer, not a next admission
        ([(AT, "2010-02-01"), ("2010-02-05", "2010-02-06")], (0, "known")),
        ([("2010-01-09", "2010-02-01"), ("2010-02-05", "2010-02-06")], (0, "known")),  # it had begun before
        ([("2010-02-05", "2010-02-06"), ("2010-02-01", "2010-03-06")], (1, "known")),  # by admission, not by discharge
        ([("2010-02-05", "2010-02-20"), ("2010-02-05", "2010-02-06")], (0, "known")),  # at one instant: what ends first
    ],
)
def test_long_stay_next(tmp_path, stays, wanted):
    rows = [history()] + [row("a", admit, discharge, "X") for admit, discharge in stays]
    assert labels_at(tmp_path, rows, tasks=("long_stay",)) == {"long_stay": wanted}


def test_long_stay_within_days(tmp_path):
    rows = [history(), row("a", "2010-01-20", "2010-02-20", "X")]
    assert labels_at(tmp_path, rows, tasks=("long_stay",), long_stay_within_days=10)["long_stay"] == (1, "known")
    assert labels_at(tmp_path, rows, tasks=("long_stay",), long_stay_within_days=9)["long_stay"][0] is None


@pytest.mark.parametrize(
    "at, wanted",
    [
        ("2010-01-10 12:00:00", (1, "known")),  # a readmission on the same day, later than the instant
        ("2010-01-10", (0, "known")),  # a date stands for its whole day, so it is known, and the later one is the next
    ],
)
def test_same_day_readmission_with_times(tmp_path, at, wanted):
    rows = [
        row("a", "2010-01-08 08:00", "2010-01-10 10:00", "X"),
        row("a", "2010-01-10 18:00", "2010-01-30 10:00", "X"),
        row("a", "2010-02-10 18:00", "2010-02-11 10:00", "X"),
    ]
    assert labels_at(tmp_path, rows, at=at, tasks=("long_stay",))["long_stay"] == wanted


@pytest.mark.parametrize(
    "stays, wanted", [([], 0), ([("2010-03-01", "2010-03-09")], 1), ([("2009-01-01", "2009-02-01")], 1)]
)
def test_long_stay_any(tmp_path, stays, wanted):
    """The lineage's label looks at the whole record, also at the input."""
    rows = [history()] + [row("a", admit, discharge, "X") for admit, discharge in stays]
    found = labels_at(tmp_path, rows, tasks=("long_stay",), long_stay_label="any")
    assert found == {"long_stay": (wanted, "known")}


def event(days, stay_days=2, code="ICD10_I21.9", poa=None):
    """A stay that begins so many days after the prediction time, with a code."""
    begin = dt.date.fromisoformat(AT) + dt.timedelta(days=days)
    return row("a", begin.isoformat(), (begin + dt.timedelta(days=stay_days)).isoformat(), code, poa=poa)


def after(days):
    return dt.date.fromisoformat(AT) + dt.timedelta(days=days)


@pytest.mark.parametrize(
    "rows, person, wanted",
    [
        ([event(30)], {"observation_end": after(30)}, (1, "known")),
        ([event(365)], {"observation_end": after(400)}, (1, "known")),  # exactly at the horizon
        (
            [event(365, stay_days=20)],
            {"observation_end": after(400)},
            (1, "known"),
        ),  # dated by the admission of its stay
        ([event(366)], {"observation_end": after(400)}, (0, "known")),
        ([], {"observation_end": after(365)}, (0, "known")),  # observed exactly through the horizon
        ([], {"observation_end": after(364)}, (None, "censored")),
        ([], {"observation_end": None}, (None, "censored")),
        ([], {"observation_end": after(364), "death": after(364)}, (0, "death_without_event")),
        ([], {"observation_end": after(100), "death": after(365)}, (0, "death_without_event")),
        ([], {"observation_end": after(100), "death": after(366)}, (None, "censored")),
        ([event(30)], {"observation_end": after(60), "death": after(60)}, (1, "known")),
        ([event(-300)], {"observation_end": after(900)}, (None, "prevalent")),
        ([event(-300), event(30)], {"observation_end": after(900)}, (None, "prevalent")),
        ([event(-2)], {"observation_end": after(900)}, (None, "prevalent")),  # its stay ends at the prediction time
        ([event(-1)], {"observation_end": after(900)}, (1, "known")),  # its stay ends later: the code is not known yet
        ([event(30, code="ICD9_I21")], {"observation_end": after(900)}, (0, "known")),  # another version of ICD
        ([event(30, code="ICD9_428.0")], {"observation_end": after(900)}, (1, "known")),
        ([event(30, code="ICD10_I63")], {"observation_end": after(900)}, (1, "known")),
    ],
)
def test_complications(tmp_path, rows, person, wanted):
    found = labels_at(tmp_path, [history(), *rows], person, task="complications", horizons=(365,))
    assert found["MACE_365"] == wanted
    assert found["CKD_365"][1] != "prevalent"  # each endpoint by itself


def test_complications_by_horizon(tmp_path):
    found = labels_at(tmp_path, [history(), event(500)], {"observation_end": after(800)}, task="complications")
    assert list(found) == [f"{name}_{days}" for name in ("MACE", "CKD", "RET", "NEUR") for days in (365, 730, 1095)]
    assert [found[f"MACE_{days}"] for days in (365, 730, 1095)] == [(0, "known"), (1, "known"), (1, "known")]
    assert [found[f"CKD_{days}"] for days in (365, 730, 1095)] == [(0, "known"), (0, "known"), (None, "censored")]


@pytest.mark.parametrize(
    "poa, other, wanted",
    [
        ("N", None, (1, "known")),
        ("Y", None, (0, "known")),
        (None, "Y", (0, "known")),  # marks exist, none on this code
        (None, None, (1, "known")),  # a source without marks: every code counts, and the manifest says so
    ],
)
def test_hospital_complications(tmp_path, poa, other, wanted):
    rows = [row("a", "2010-01-08", AT, "ICD10_Z00", poa=other), event(5, code="ICD10_N17.9", poa=poa)]
    found = labels_at(
        tmp_path,
        rows,
        {"observation_end": after(900)},
        task="complications",
        endpoints="hospital_complications",
        horizons=(30,),
    )
    assert found["AKI_30"] == wanted


def test_hospital_complication_during_the_running_stay(tmp_path):
    """A prediction time within a stay: what that stay brings after it is the event, at day 0."""
    rows = [
        row("a", "2009-01-01", "2009-01-05", "ICD10_Z00"),
        row("a", "2010-01-09", "2010-02-20", "ICD10_N17.9", poa="N"),
    ]
    found = labels_at(
        tmp_path,
        rows,
        {"observation_end": after(900)},
        task="complications",
        endpoints="hospital_complications",
        horizons=(1,),
    )
    assert found["AKI_1"] == (1, "known")


def choose(folder, rows, people=None, **options):
    """dict patient -> prediction time (date), and the reasons of the others."""
    connection, report = slow.make_tables(rows, people)
    result = build_cohort(connection, report, Options(**options), folder)
    chunks = [chunk for split in SPLITS for chunk in read_chunks(folder / f"out.bencs.{split}")]
    times = {
        patient: str(np.datetime64(int(time), "s"))[:10]
        for chunk in chunks
        for patient, time in zip(chunk.patient_ids, chunk.prediction_times, strict=True)
    }
    return times, result.tally.patients_dropped()


def test_a_stay_that_ends_in_death_is_not_eligible(tmp_path):
    rows = [
        row("a", "2010-01-01", "2010-01-05", "X"),
        row("a", "2010-02-01", "2010-02-05", "X"),
        row("b", "2010-01-01", "2010-01-05", "X"),
        row("c", "2010-01-01", "2010-01-05", "X"),
    ]
    people = {
        "a": {"death": dt.date(2010, 2, 5)},
        "b": {"death": dt.date(2010, 1, 4)},
        "c": {"death": dt.date(2010, 1, 6)},
    }
    for seed in range(8):
        times, reasons = choose(tmp_path, rows, people, seed=seed, tasks=("long_stay",))
        assert times == {"a": "2010-01-05", "c": "2010-01-05"} and reasons == {"stay_ends_in_death": 1}


def test_random_visit_takes_each_visit_evenly_and_min_visits(tmp_path):
    rows = [
        row(f"p{number}", f"2010-0{month}-01", f"2010-0{month}-02", "X") for number in range(900) for month in (1, 2, 3)
    ]
    times, _ = choose(tmp_path, rows, tasks=("long_stay",))
    counts = np.unique(list(times.values()), return_counts=True)[1]
    assert len(counts) == 3 and np.all(np.abs(counts - 300) < 5 * np.sqrt(300 * 2 / 3))
    times, _ = choose(tmp_path, rows, tasks=("long_stay",), min_visits=3)
    assert set(times.values()) == {"2010-03-02"}
    times, reasons = choose(
        tmp_path, [*rows, row("q", "2010-01-01", "2010-01-02", "X")], tasks=("long_stay",), min_visits=2
    )
    assert set(times.values()) == {"2010-02-02", "2010-03-02"} and reasons == {"fewer_than_min_visits": 1}


def test_visits_ending_together_count_together(tmp_path):
    """Two stays that end at one instant are both known then, so either has two visits up to it."""
    rows = [row("a", "2010-01-01", "2010-01-05", "X"), row("a", "2010-01-03", "2010-01-05", "Y")]
    times, _ = choose(tmp_path, rows, tasks=("long_stay",), min_visits=2)
    assert times == {"a": "2010-01-05"}


def test_lineage_looks_at_the_outcome(tmp_path):
    rows = [
        row("a", "2010-01-01", "2010-01-05", "X"),
        row("a", "2010-02-01", "2010-02-05", "X"),
        row("a", "2010-03-01", "2010-03-05", "ICD10_I21"),
        row("a", "2010-04-01", "2010-04-05", "X"),
        row("b", "2010-01-01", "2010-01-05", "X"),
        row("b", "2010-02-01", "2010-02-05", "X"),
        row("c", "2010-01-01", "2010-01-05", "ICD10_N18"),
        row("c", "2010-02-01", "2010-02-05", "X"),
    ]
    times, reasons = choose(tmp_path, rows, index="lineage")
    assert times == {"a": "2010-02-05", "b": "2010-02-05"} and reasons == {"endpoint_in_first_visit": 1}


def one_chunk(folder, rows, people=None, **options):
    (folder / "splits.csv").write_text("patient_id,split\na,train\n")
    connection, report = slow.make_tables(rows, people)
    options = {
        "index": "none",
        "tasks": ("long_stay",),
        "min_code_count": 1,
        "min_code_patients": 1,
        "splits": str(folder / "splits.csv"),
        **options,
    }
    result = build_cohort(connection, report, Options(**options), folder)
    chunk = next(read_chunks(folder / "out.bencs.train"))
    return [result.vocabulary.tokens[number] for number in chunk.codes], chunk, result


def test_clinical_order_and_merging(tmp_path):
    """By (order_1, order_2, order_3), unknown last, ties by code; a repeated code stays at its first place."""
    rows = [
        row("a", "2010-01-01", "2010-01-05", code, order)
        for code, order in [
            ("LAST", (None, 0, 0)),
            ("B", (0, 1, 0)),
            ("A", (0, 1, 0)),
            ("TOP", (0, 0, 9)),
            ("B", (1, 0, 0)),
            ("C", (0, 1, 1)),
        ]
    ]
    codes, chunk, result = one_chunk(tmp_path, [*rows, row("a", "2010-02-01", "2010-02-05", "B")])
    assert codes == ["TOP", "A", "B", "C", "LAST", "B"]
    assert chunk.visits.tolist() == [1, 1, 1, 1, 1, 2] and chunk.visit_positions.tolist() == [0, 1, 2, 3, 4, 0]
    assert (result.tally.rows_out, result.tally.rows_merged) == (6, 1)


def test_codes_that_become_one_by_rolling_up_merge(tmp_path):
    rows = [row("a", "2010-01-01", "2010-01-05", code) for code in ("ICD10_E11.9", "ICD10_E1122", "ICD10_I10")]
    codes, _, result = one_chunk(tmp_path, rows, code_map="first3")
    assert codes == ["ICD10_E11", "ICD10_I10"] and result.tally.rows_merged == 1
    assert result.roll_up == {"kind": "first3", "codes_before": 3, "codes_after": 2}


def test_stays_differ_by_id_unless_merged_by_date(tmp_path):
    rows = [
        row("a", "2010-01-01 08:00", "2010-01-05 10:00", "A", stay="1"),
        row("a", "2010-01-01 08:00", "2010-01-05 10:00", "B", stay="2"),
        row("a", "2010-01-03 08:00", "2010-01-05 18:00", "A", stay="3"),
        row("a", "2010-01-08 08:00", "2010-01-08 18:00", "C", stay="4"),
    ]
    codes, chunk, _ = one_chunk(tmp_path, rows)
    assert codes == ["A", "B", "A", "C"] and chunk.visits.tolist() == [1, 2, 3, 4]
    assert chunk.gaps_before.tolist() == [0, 0, 0, 3]  # overlapping: clipped at 0
    codes, chunk, _ = one_chunk(tmp_path, rows, visit="discharge_date")
    assert codes == ["A", "B", "C"] and chunk.visits.tolist() == [1, 1, 2]
    assert (
        chunk.stay_days.tolist() == [4, 0]
        and chunk.gaps_before.tolist() == [0, 3]
        and chunk.recencies.tolist() == [3, 0]
    )


def test_ages(tmp_path):
    """Days at admission; 0 unknown, 1 for the newborn, 90 years at most (MIMIC's 300-year-olds)."""
    rows = [row("a", "2010-01-01", "2010-01-05", "X"), row("a", "2010-02-01", "2010-02-05", "X")]
    for birth, wanted in (
        (None, [0, 0]),
        (dt.date(2010, 1, 1), [1, 31]),
        (dt.date(1970, 1, 1), [14610, 14641]),
        (dt.date(1710, 1, 1), [32872, 32872]),
        (dt.date(2010, 1, 2), [0, 30]),
    ):
        _, chunk, _ = one_chunk(tmp_path, rows, {"a": {"birth": birth}})
        assert chunk.ages.tolist() == wanted
    assert ages_in_days(np.array([0, 0], np.int32), np.array([OLDEST_AGE_DAYS - 1, OLDEST_AGE_DAYS + 1])).tolist() == [
        32871,
        32872,
    ]
    assert ages_in_days(np.array([UNKNOWN_DAY], np.int32), np.array([0])).tolist() == [0]


def test_first_places_of_long_and_wide_groups():
    """Both ways through (packed keys, stable argsort) against a plain loop."""
    rng = np.random.default_rng(0)
    groups, values = np.sort(rng.integers(0, 40, 500)), rng.integers(0, 9, 500)
    seen = set()
    wanted = [not ((pair in seen) or seen.add(pair)) for pair in zip(groups.tolist(), values.tolist(), strict=True)]
    assert first_places(groups, values, 9).tolist() == wanted
    assert first_places(groups, values, 1 << 54).tolist() == wanted
    assert first_places(np.zeros(0, int), np.zeros(0, int), 9).tolist() == []


# --- codes, splits -----------------------------------------------------------------------------------


def test_code_map(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("from,to\nICD10_E11.9,DIABETES\nICD9_2500,DIABETES\n401.9,PRESSURE\n")
    codes, rows = ["401.9", "4019", "ICD10_E119", "ICD9_250.0", "ICD9_V45"], np.array([1, 2, 3, 4, 10])
    rolled = roll_up(codes, rows, code_map_of(duckdb.connect(), str(path)))
    assert [rolled.names[place] for place in rolled.places] == ["PRESSURE", "4019", "DIABETES", "DIABETES", "ICD9_V45"]
    assert rolled.report["share_of_rows_covered"] == 8 / 20 and rolled.report["share_of_codes_covered"] == 3 / 5
    assert rolled.report["commonest_codes_not_covered"] == ["ICD9_V45", "4019"] and rolled.report["codes_after"] == 4
    path.write_text("from,to\nA,B\nA,C\n")
    with pytest.raises(DataError, match="line 3: expected one target for 'A'"):
        code_map_of(duckdb.connect(), str(path))
    path.write_text("from,to,more\nA,B,C\n")
    with pytest.raises(DataError, match="expected two columns"):
        code_map_of(duckdb.connect(), str(path))
    path.write_text("from,to\nA,\n")
    with pytest.raises(DataError, match="line 2: expected a code"):
        code_map_of(duckdb.connect(), str(path))


def test_categories():
    assert [
        category(code) for code in ("ICD10_E11.31", "ICD9_250.01", "ICD9_V45.81", "ICD9_E849.0", "250.21", "ICD10_I")
    ] == ["ICD10_E11", "ICD9_250", "ICD9_V45", "ICD9_E849", "250", "ICD10_I"]


def test_hash_in_sql_equals_hash_in_python():
    rows = [row(patient, "2010-01-01", "2010-01-02", "X") for patient in ("1", "2", "zwölf", "x y", "P00000042")]
    connection, _ = slow.make_tables(rows)
    patients = load_patients(connection, seed=7)
    names = patients.names(np.arange(len(patients)))
    assert [tuple(pair) for pair in patients.hashes.tolist()] == [patient_hash(name, 7) for name in names]
    assert uniform(patients.hashes[:, 0]).tolist() == [slow.hashes(name, 7)[0] for name in names]
    assert assign_splits(names, 7) == [SPLITS[place] for place in split_by_hash(patients.hashes[:, 0])]


def test_splits_are_seven_one_two_and_stay_when_data_grow():
    names = [f"patient {number}" for number in range(20_000)]
    few, many, other = assign_splits(names[:5_000], 1), assign_splits(names, 1), assign_splits(names, 2)
    assert few == many[:5_000] and many != other
    for split, share in zip(SPLITS, SHARES, strict=True):
        assert abs(many.count(split) / len(many) - share) < 4 * np.sqrt(share * (1 - share) / len(many))


def test_split_and_choice_of_visit_do_not_depend_on_each_other():
    pairs = np.array([patient_hash(str(number), 0) for number in range(20_000)], np.uint64)
    assert abs(np.corrcoef(uniform(pairs[:, 0]), uniform(pairs[:, 1]))[0, 1]) < 4 / np.sqrt(20_000)


def test_given_splits(tmp_path):
    path = tmp_path / "splits.csv"
    rows = [row(patient, "2010-01-01", "2010-01-02", "X") for patient in "abcd"]
    path.write_text("patient_id,split\nb,test\nc,valid\na,train\nelsewhere,train\n")
    connection, report = slow.make_tables(rows)
    result = build_cohort(connection, report, Options(splits=str(path), tasks=("long_stay",)), tmp_path)
    assert [next(read_chunks(tmp_path / f"out.bencs.{split}")).patient_ids for split in SPLITS] == [["a"], ["c"], ["b"]]
    assert result.tally.patients_dropped() == {"not_in_splits_file": 1} and result.tally.rows_dropped() == {
        "not_in_splits_file": 1
    }
    assert (tmp_path / "out.splits.csv").read_text() == "patient_id,split\na,train\nb,test\nc,valid\n"
    for text, message in (
        ("patient_id,split\na,training\n", "line 2: expected a patient and one of train, valid, test"),
        ("patient_id,split\na,train\nb,test\na,test\n", "line 4: expected each patient in one split"),
        ("patient,split\na,train\n", "line 1: expected the column patient_id"),
    ):
        path.write_text(text)
        with pytest.raises(DataError) as error:
            build_cohort(connection, report, Options(splits=str(path)), tmp_path)
        assert message in str(error.value)


def test_strange_patient_ids_survive_the_splits_file(tmp_path):
    names = ["a,b", 'say "hi"', "plain", "ümlaut"]
    connection, _ = slow.make_tables([row(name, "2010-01-01", "2010-01-02", "X") for name in names])
    patients = load_patients(connection, seed=0)
    places = np.array([2, 0, 1, 2], np.int8)
    write_splits(tmp_path / "splits.csv", [(patients.names(np.arange(4)), places)])
    assert read_splits(connection, tmp_path / "splits.csv").tolist() == places.tolist()


def test_label_reasons_are_named_once():
    assert len(set(REASONS)) == len(REASONS)


def test_death_is_the_end_of_life(tmp_path):
    """Stays that begin after the day of death: no input, no event, no next stay; those of that very day are life."""
    died = {"death": dt.date(2010, 3, 1), "observation_end": dt.date(2013, 1, 1)}
    long_stay = [history(), row("a", "2010-03-02", "2010-03-20", "ICD10_I21")]
    assert labels_at(tmp_path, long_stay, died, tasks=("long_stay",))["long_stay"] == (None, "no_admission_in_window")
    found = labels_at(tmp_path, long_stay, died, task="complications", horizons=(365,))
    assert found["MACE_365"] == (0, "death_without_event")
    on_the_day = [history(), row("a", "2010-03-01", "2010-03-20", "ICD10_I21")]
    assert labels_at(tmp_path, on_the_day, died, tasks=("long_stay",))["long_stay"] == (1, "known")
    assert labels_at(tmp_path, on_the_day, died, task="complications", horizons=(365,))["MACE_365"] == (1, "known")


@pytest.mark.parametrize("index", ["random_visit", "lineage", "none"])
def test_no_example_from_a_stay_after_death(tmp_path, index):
    rows = [
        row("a", "2010-01-01", "2010-01-05", "X"),
        row("a", "2010-03-01", "2010-03-05", "LATE"),
        row("b", "2010-03-01", "2010-03-05", "LATE"),
    ]
    people = {name: {"death": dt.date(2010, 2, 1)} for name in "ab"}
    tasks = ("long_stay",)
    times, reasons = choose(tmp_path, rows, people, index=index, tasks=tasks)
    assert times == {"a": "2010-01-05"} and reasons == {}
    options = Options(index=index, tasks=tasks, min_code_count=1, min_code_patients=1)
    connection, report = slow.make_tables(rows, people)
    manifest = default_manifest(report, build_cohort(connection, report, options, tmp_path), options, {})
    assert manifest["rows_dropped"] == {"stay_after_death": 2}
    assert manifest["patients_dropped"] == {"stay_after_death": 1}
    assert manifest["rows_in"] == 3 == manifest["rows_out"] + 2
    assert any(text.startswith("2 patients have stays that begin after") for text in manifest["statements"])
