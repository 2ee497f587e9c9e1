"""Rows of a source that disagree: which value holds, and how often that was counted."""

import datetime as dt

import duckdb
import pytest

from medtop.sources import load_stays


@pytest.fixture
def connection():
    with duckdb.connect() as made:
        yield made


def write(folder, **tables):
    """Tables of lines."""
    for name, lines in tables.items():
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


def patients(connection, columns="*"):
    return connection.execute(f"SELECT {columns} FROM patients ORDER BY patient_id").fetchall()


HEADER = "patient_id,stay_id,admit,discharge,code,observation_end"
STAY = ",S{0},2014-0{0}-01,2014-0{0}-03,{1},"


def test_the_latest_of_two_ends_holds(connection, tmp_path):
    rows = ["a" + STAY.format(1, "I10") + "2015-03-01", "a" + STAY.format(2, "I10") + "2016-04-01"]
    rows += ["b" + STAY.format(1, "I10") + "2015-05-01"]
    report = load_stays(connection, write(tmp_path, t=[HEADER, *rows]) / "t.csv")
    assert patients(connection, "patient_id, observation_end") == [
        ("a", dt.date(2016, 4, 1)),
        ("b", dt.date(2015, 5, 1)),
    ]
    assert "usual number" in report.observation_end  # the source's own words: nobody needed its rule


def test_who_has_no_end_of_their_own_gets_the_usual_one(connection, tmp_path):
    """A column that is filled for some keeps what it says; the rule is for the others, and is said."""
    rows = ["a" + STAY.format(1, "I10") + "2019-03-01", "b" + STAY.format(1, "I10"), "c" + STAY.format(1, "I10")]
    report = load_stays(connection, write(tmp_path, t=[HEADER, *rows]) / "t.csv")
    assert patients(connection, "patient_id, observation_end") == [
        ("a", dt.date(2019, 3, 1)),
        ("b", dt.date(2014, 1, 3)),
        ("c", dt.date(2014, 1, 3)),
    ]
    assert report.observation_end.startswith("for all patients without a value of their own")


@pytest.mark.parametrize("marked, is_icd", [(10, True), (6, True), (5, False), (1, False), (0, False)])
def test_a_source_is_of_icd_where_more_than_half_of_its_codes_are(connection, tmp_path, marked, is_icd):
    """One marked code among ten makes none."""
    codes = [f"ICD10_I1{n}" if n < marked else f"local{n}" for n in range(10)]
    rows = [f"p{n}" + STAY.format(1, code) + "2015-01-01" for n, code in enumerate(codes)]
    report = load_stays(connection, write(tmp_path, t=[HEADER, *rows]) / "t.csv")
    assert report.icd_codes is is_icd
    assert report.counts.get("codes_without_icd_prefix", 0) == (10 - marked if 0 < marked < 10 else 0)


def test_mimic_with_all_three_conflicts(connection, tmp_path):
    """A repeated admission (the first row holds), two times of death (the earlier), dod against deathtime (dod)."""
    folder = write(
        tmp_path,
        ADMISSIONS=[
            "row_id,subject_id,hadm_id,admittime,dischtime,deathtime",
            "1,10,100,2164-10-23 21:09:00,2164-11-01 17:15:00,",
            "2,10,100,2164-12-24 21:09:00,2164-12-30 17:15:00,",
            "3,11,101,2165-01-01 01:00:00,2165-01-09 02:00:00,2165-01-08 02:00:00",
            "4,11,102,2165-01-01 03:00:00,2165-01-09 02:00:00,2165-01-06 02:00:00",
            "5,12,103,2165-02-01 03:00:00,2165-02-09 02:00:00,2165-02-07 02:00:00",
        ],
        PATIENTS=[
            "row_id,subject_id,gender,dob,dod,dod_hosp,dod_ssn,expire_flag",
            "1,10,F,2094-03-05 00:00:00,,,,0",
            "2,11,M,2095-03-05 00:00:00,,,,1",
            "3,12,M,2096-03-05 00:00:00,2165-02-08 00:00:00,,,1",
        ],
        DIAGNOSES_ICD=["row_id,subject_id,hadm_id,seq_num,icd9_code"]
        + [f"{n},{patient},{stay},1,4280" for n, (patient, stay) in enumerate(
            [(10, 100), (11, 101), (11, 102), (12, 103)], 1)],
    )  # fmt: skip
    report = load_stays(connection, folder)
    assert patients(connection, "patient_id, death") == [
        ("10", None),
        ("11", dt.date(2165, 1, 6)),
        ("12", dt.date(2165, 2, 8)),
    ]
    stays = connection.execute("SELECT stay_id, admit::DATE, discharge::DATE FROM stays ORDER BY stay_id").fetchall()
    assert stays[0] == ("100", dt.date(2164, 10, 23), dt.date(2164, 11, 1)) and len(stays) == 4
    assert report.counts["admissions_repeated"] == 1 and report.counts["overlapping_stays"] == 1
