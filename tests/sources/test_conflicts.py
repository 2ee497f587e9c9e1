"""Rows of a source that disagree: which value holds, and how often that was counted."""

import datetime as dt

import duckdb
import pytest

from medtop.files.errors import DataError
from medtop.sources import load_stays
from medtop.sources.dates import DateRules
from medtop.sources.rules import Rules


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


def mimic(folder, people, codes, version=3):
    """One admission each, 1 to 3 January 2150; people: list of (birth, death); codes: lines of DIAGNOSES_ICD."""
    rows = enumerate(people, 1)
    return write(
        folder,
        ADMISSIONS=["subject_id,hadm_id,admittime,dischtime,deathtime"]
        + [f"{n},{n}0,2150-01-01 08:00:00,2150-01-03 08:00:00," for n in range(1, len(people) + 1)],
        PATIENTS=["subject_id,gender,dob,dod" if version == 3 else "subject_id,gender,anchor_age,anchor_year,dod"]
        + [f"{n},F,{birth},{death}" for n, (birth, death) in rows],
        DIAGNOSES_ICD=codes,
    )


def deaths_in_mimic(folder, births, death):
    codes = [f"{n},{n}0,1,4280" for n in range(1, len(births) + 1)]
    return mimic(folder, [(birth, death) for birth in births], ["subject_id,hadm_id,seq_num,icd9_code", *codes])


def deaths_in_a_table(folder, births, death):
    rows = [f"{n},2150-01-01,2150-01-03,I10,{birth},{death}" for n, birth in enumerate(births)]
    return write(folder, t=["patient_id,admit,discharge,code,birth,death", *rows]) / "t.csv"


def deaths_in_synpuf(folder, births, death):
    numbers = range(len(births))
    claims = [f"{n},{n},1,21500101,21500103,4280{',' * 9}" for n in numbers]
    people = [f"{n},{births[n].replace('-', '')},{death.replace('-', '')},1" for n in numbers]
    return write(
        folder,
        DE1_0_2008_to_2010_Inpatient_Claims_Sample_1=[
            "DESYNPUF_ID,CLM_ID,SEGMENT,CLM_ADMSN_DT,NCH_BENE_DSCHRG_DT,"
            + ",".join(f"ICD9_DGNS_CD_{place}" for place in range(1, 11)),
            *claims,
        ],
        **{
            f"DE1_0_{year}_Beneficiary_Summary_File_Sample_1": [
                "DESYNPUF_ID,BENE_BIRTH_DT,BENE_DEATH_DT,BENE_SEX_IDENT_CD",
                *people,
            ]
            for year in (2008, 2009, 2010)
        },
    )


@pytest.mark.parametrize("tables", [deaths_in_mimic, deaths_in_a_table, deaths_in_synpuf])
def test_who_dies_on_the_day_of_birth_has_not_died_before_it(connection, tmp_path, tables):
    """The day before, the day itself and the day after: the first of three alone is impossible."""
    births = ["2150-06-11", "2150-06-10", "2150-06-09"]
    source = tables(tmp_path, births, "2150-06-10")
    report = load_stays(connection, source, rules=Rules(DateRules(shifted_dates=True)))
    assert report.counts["patients_dead_before_birth"] == 1
    assert [row[0].isoformat() for row in patients(connection, "birth")] == births
    assert patients(connection, "death") == [(dt.date(2150, 6, 10),)] * 3


def test_mimics_version_is_a_whole_number_however_written(connection, tmp_path):
    """Programs that hold the column as a float write 9.0; what is neither 9 nor 10 names no system."""
    written = ["9", "9.0", " 9 ", "10", "10.0", "10.0 ", "9", "10", "9.1", "10.1", "11", "ICD9", "0", ""]
    codes = [f"1,10,{n},A{n},{version}" for n, version in enumerate(written)]
    folder = mimic(tmp_path, [("50,2150", "")], ["subject_id,hadm_id,seq_num,icd_code,icd_version", *codes], 4)
    report = load_stays(connection, folder)
    systems = ["ICD9_", "ICD9_", "ICD9_", "ICD10_", "ICD10_", "ICD10_", "ICD9_", "ICD10_"]
    found = connection.execute("SELECT code FROM stays ORDER BY order_1").fetchall()
    assert found == [(f"{system}A{n}",) for n, system in enumerate(systems)]
    assert report.rows_dropped == {"code_system_unknown": 6}


@pytest.mark.parametrize("headers, version", [("icd_code,icd_version", 4), ("icd9_code", 3)])
def test_a_mimic_table_of_the_codes_columns_alone_is_told_what_it_lacks(connection, tmp_path, headers, version):
    """It is of a known version: said is which column is missing, not that the version cannot be told."""
    folder = mimic(tmp_path, [("50,2150" if version == 4 else "2100-01-01", "")], [headers, "4280,9"], version)
    with pytest.raises(DataError, match=f"expected a column subject_id, received columns {headers.replace(',', ', ')}"):
        load_stays(connection, folder)


def test_bad_rows_hide_nobodys_death(connection, tmp_path):
    """Whatever is wrong with them: a stay after a death is noticed as in a table of good rows."""
    header = "patient_id,admit,discharge,code,death"
    rows = ["a,2014-01-01,2014-01-03,I10,2014-02-01", "a,2014-05-01,2014-05-03,I10,2014-02-01"]
    rows += ["b,2014-01-01,2014-01-03,I10,"]
    bad = [",2014-02-01,2014-02-02,I10,", "b,2014-02-01,2014-02-02,,", "b,x,2014-02-02,I10,"]
    for dropped in ([], bad[:1], bad[1:]):
        table = write(tmp_path, t=[header, *rows, *dropped, *rows[2:] * 3]) / "t.csv"
        report = load_stays(connection, table)
        assert patients(connection, "patient_id, death") == [("a", dt.date(2014, 2, 1)), ("b", None)]
        assert report.rows_dropped["after_death"] == 1
        assert sum(report.rows_dropped.values()) == 1 + len(dropped)
