"""Hospitals' layouts: hand-written tables with every trap, by hand and against pandas; open data; bad input."""

import datetime
import gzip
import os
import shutil
from pathlib import Path

import duckdb
import hospital_rules as oracle
import hospital_tables as tables
import pandas as pd
import pytest

from medtop.files.errors import DataError
from medtop.sources import load_stays
from medtop.sources.choices import Choices
from medtop.sources.dates import DateRules
from medtop.sources.rules import Rules

DATA = os.environ.get("MEDTOP_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="MEDTOP_TEST_DATA is not set: the folder of open data")


@pytest.fixture
def connection():
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        yield connection


def load(connection, folder, accept=(), dates=None, **choices):
    rules = Rules(dates or DateRules(), choices=Choices(**choices), accept_unusable=tuple(accept))
    return load_stays(connection, folder, rules=rules)


def rows(connection, columns="patient_id, stay_id, admit, discharge, code"):
    return connection.execute(f"SELECT {columns} FROM stays").fetchall()


def check_against(connection, report, expected):
    """Stays and people equal the oracle's; drops are counted by the oracle's reasons."""
    kept, people, left = expected
    own = connection.execute("SELECT patient_id, stay_id, admit, discharge, code FROM stays").df()
    own = own.astype({name: str for name in ("patient_id", "stay_id", "code")})
    own = own.set_axis(oracle.FIELDS, axis=1)
    kept = kept[oracle.FIELDS]
    ordered = [frame.sort_values(oracle.FIELDS).reset_index(drop=True) for frame in (own, kept)]
    pd.testing.assert_frame_equal(*ordered, check_dtype=False)
    known = connection.execute("SELECT patient_id, birth, sex, death FROM patients ORDER BY 1").fetchall()

    def plain(value):
        return None if pd.isna(value) else value.date() if isinstance(value, pd.Timestamp) else value

    wanted = sorted(
        tuple(map(plain, row)) for row in people[["patient", "birth", "sex", "death"]].itertuples(index=False)
    )
    assert known == wanted
    dropped = {name: number for name, number in left.items() if name not in ("linked", "merged")}
    assert report.rows_dropped == dropped
    assert report.rows_merged == left["merged"]
    assert report.counts.get("rows_linked_by_date", 0) == left["linked"]
    assert report.rows_in == len(kept) + report.rows_merged + sum(dropped.values())


CASES = {
    "pcornet": [{}, {"link_by_date": True}, {"procedures": True}, {"encounter_types": ("all",)}],
    "omop": [
        {},
        {"link_by_date": True},
        {"omop_codes": "standard"},
        {"procedures": True},
        {"encounter_types": ("9202",)},
    ],
    "meds": [
        {},
        {"link_by_date": True},
        {"procedures": True},
        {"meds_visits": "events"},
        {"meds_visits": "events", "meds_code_pattern": "ICD(?P<system>9|10)CM//(?P<code>.+)"},
        {"meds_code_pattern": "LOCAL//(?P<code>.+)"},
    ],
    "fhir_ndjson": [
        {},
        {"link_by_date": True},
        {"fhir_conditions": "all"},
        {"procedures": True},
        {"encounter_types": ("AMB",)},
    ],
    "synthea": [{}, {"link_by_date": True}, {"encounter_types": ("inpatient", "ambulatory")}],
    "i2b2": [{}, {"link_by_date": True}, {"encounter_types": ("O",)}],
}
ALL_KINDS = {"pcornet": ("IP", "EI", "AV", None, float("nan"))}


@pytest.mark.quick(
    "pcornet-choices0", "omop-choices4", "omop-choices8", "meds-choices9", "meds-choices13", "fhir_ndjson-choices15"
)
@pytest.mark.parametrize("layout, choices", [(name, case) for name, cases in CASES.items() for case in cases])
def test_against_pandas(connection, tmp_path, layout, choices):
    folder = getattr(tables, layout)(tmp_path)
    report = load(connection, folder, accept=["rows"], **choices)
    names = {"omop_codes": "codes", "meds_visits": "visits", "meds_code_pattern": "pattern"}
    given = {names.get(name, name): value for name, value in choices.items()}
    if "fhir_conditions" in given:
        given["everything"] = given.pop("fhir_conditions") == "all"
    kinds = given.pop("encounter_types", None)
    if kinds:
        given["kinds"] = ALL_KINDS[layout] if kinds == ("all",) else kinds
    check_against(connection, report, getattr(oracle, layout)(folder, **given))


def time(*parts):
    return datetime.datetime(*parts)


def end_of(*day):
    return datetime.datetime(*day, 23, 59, 59, 999999)


def test_pcornet_by_hand(connection, tmp_path):
    report = load(connection, tables.pcornet(tmp_path), link_by_date=True)
    first, second = (time(2014, 3, 1, 9, 30), time(2014, 3, 4, 16)), (time(2014, 7, 1, 23, 15), end_of(2014, 7, 9))
    assert rows(connection, "patient_id, stay_id, admit, discharge, code, order_1, order_2, present_on_admission") == [
        ("a", "e1", *first, "ICD10_E119", 0, 1, "Y"),
        ("a", "e1", *first, "ICD9_25000", 0, 0, "Y"),
        ("a", "e1", *first, "ICD10_I10", None, 11, None),
        ("a", "e1", *first, "ICD10_N179", 1, 4, "N"),
        ("b", "e4", *second, "ICD9_486", None, 0, None),
        ("b", "e4", *second, "ICD10_J189", None, 1, None),  # by its date
        ("c", "e5", time(2014, 8, 1), end_of(2014, 8, 2), "SNOMED_38341003", 0, 0, "Y"),
    ]
    assert report.rows_dropped == {
        "patient_id_empty": 1,
        "code_empty": 1,
        "code_system_unknown": 1,
        "stay_unknown": 1,
        "discharge_empty": 1,
        "other_encounter_type": 1,
    }
    assert report.counts == {
        "stays_repeated": 1,
        "stays_of_other_types": 2,
        "patients_with_conflicting_death": 1,
        "rows_linked_by_date": 1,
        "discharges_taken_from_admission": 1,
        "codes_without_icd_prefix": 1,
        "birth_sentinel": 2,
    }


def test_omop_by_hand(connection, tmp_path):
    report = load(connection, tables.omop(tmp_path), link_by_date=True)
    first, second, third = (
        (time(2014, 3, 1, 9, 30), time(2014, 3, 4, 16)),
        (time(2014, 5, 1), end_of(2014, 5, 9)),
        (
            time(2014, 5, 5),
            end_of(2014, 5, 7),
        ),
    )
    assert rows(connection, "patient_id, stay_id, admit, discharge, code, order_1") == [
        ("1", "10", *first, "ICD10_E119", 1),
        ("1", "10", *first, "ICD10_I10", 0),
        ("1", "10", *first, "SNOMED_38341003", None),
        ("1", "10", *first, "ICD10_E112", None),
        ("1", "11", *second, "ICD10_I10", None),
        ("1", "11", *second, "ICD10_I10", None),
        ("2", "15", *third, "ICD10_I10", None),  # its visit is another person's: by its date
        ("2", "15", *third, "ICD9_4019", None),
        ("3", "16", *third, "ICD10_I10", None),
        ("3", "16", *third, "ICD10_E119", None),
        ("3", "16", *third, "ICD10_I10", None),
    ]
    assert report.rows_merged == 1 and report.rows_dropped == {
        "code_system_unknown": 1,
        "stay_unknown": 1,
        "still_patient": 2,
        "other_encounter_type": 1,
    }
    assert connection.execute("SELECT patient_id, observation_end FROM patients ORDER BY 1").fetchall() == [
        ("1", datetime.date(2015, 6, 30)),
        ("2", datetime.date(2015, 1, 2)),
        ("3", datetime.date(2014, 12, 31)),
    ]
    assert report.counts["patients_with_several_observation_periods"] == 1
    assert report.counts["births_without_a_day"] == 2


def test_omop_codes_without_a_concept_need_a_system(connection, tmp_path):
    folder = tables.omop(tmp_path)
    report = load_stays(connection, folder, rules=Rules(code_system="icd10", accept_unusable=("rows",)))
    assert "code_system_unknown" not in report.rows_dropped
    assert connection.execute("SELECT code FROM stays WHERE stay_id = '11'").fetchall() == [("ICD10_I10",)]


@pytest.mark.quick(first=1)
@pytest.mark.parametrize("layout", ["pcornet", "omop"])
def test_parquet_gives_the_same(connection, tmp_path, layout):
    """Tables as Parquet, with ids and times in types of their own, are the texts' stays."""
    folder = getattr(tables, layout)(tmp_path / "csv")
    load(connection, folder, accept=["rows"])
    expected = rows(connection, "*"), connection.execute("SELECT * FROM patients ORDER BY 1").fetchall()
    other = tmp_path / "parquet"
    other.mkdir()
    for path in folder.iterdir():
        frame = pd.read_csv(path, dtype=None if layout == "omop" else str)
        for name in frame:
            if name.lower().endswith("_date") and layout == "pcornet":
                frame[name] = pd.to_datetime(frame[name].str[:10]).dt.date
        frame.to_parquet(other / f"{path.name.split('.')[0]}.parquet")
    load(connection, other, accept=["rows"])
    assert (rows(connection, "*"), connection.execute("SELECT * FROM patients ORDER BY 1").fetchall()) == expected


# -- bad input -------------------------------------------------------------------------------------------------------


def refused(connection, folder, **choices):
    with pytest.raises(DataError) as caught:
        load(connection, folder, **choices)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    "layout, table, column",
    [
        ("pcornet", "diagnosis.csv.gz", "DX_TYPE"),
        ("omop", "condition_occurrence.csv.gz", "condition_source_concept_id"),
    ],
)
def test_bad_input(connection, tmp_path, layout, table, column):
    folder = getattr(tables, layout)(tmp_path)
    text = pd.read_csv(folder / table, dtype=str)
    (folder / table).unlink()
    name = table.split(".")[0]
    rest = {"pcornet": "encounter", "omop": "visit_occurrence"}[layout]
    with pytest.raises(DataError, match=f"none for {name}"):
        load_stays(connection, folder, source=layout)
    text.head(0).to_csv(folder / f"{name}.csv", index=False)
    assert "received the header only" in refused(connection, folder)
    text.drop(columns=column).to_csv(folder / f"{name}.csv", index=False)
    assert f"expected a column {column}, received columns" in refused(connection, folder)
    text.to_csv(folder / f"{name}.csv", index=False)
    assert "expected encounters of the kinds ZZ, received" in refused(connection, folder, encounter_types=("zz",))
    broken = text.assign(**{name: "none" for name in text if name.lower() in ("encounterid", "visit_occurrence_id")})
    broken.to_csv(folder / f"{name}.csv", index=False)
    assert "--link_by_date" in refused(connection, folder)
    assert rest


def test_choices_without_effect_are_refused(connection, tmp_path):
    folder = tables.pcornet(tmp_path)
    assert refused(connection, folder, omop_codes="standard") == (
        "--omop_codes has no effect with --source=pcornet: leave it out"
    )
    with pytest.raises(DataError, match="each row holds one code"):
        load_stays(connection, folder, rules=Rules(code_separator=";"))


def test_meds_splits(connection, tmp_path):
    from medtop.cohort.sorted_rows import load_patients
    from medtop.cohort.splits import SPLITS, choose_splits

    folder = tables.meds(tmp_path)
    load(connection, folder)
    load_patients(connection, 0)
    places = choose_splits(connection, str(folder / "metadata" / "subject_splits.parquet"), None)
    assert [SPLITS[place] for place in places] == ["valid", "test"]
    path = folder / "data" / "train" / "0.parquet"
    pd.read_parquet(path).rename(columns={"subject_id": "patient_id"}).to_parquet(path)
    assert "expected a column subject_id (MEDS before 0.3 called it patient_id)" in refused(connection, folder)


def test_meds_that_cannot_be_read(connection, tmp_path):
    folder = tables.meds(tmp_path / "m", hadm=False)
    assert "expected a column hadm_id" in refused(connection, folder, meds_visits="hadm_id")
    assert "group (?P<code>...)" in refused(connection, folder, meds_code_pattern="ICD.*")
    line = refused(connection, folder, meds_code_pattern="(?P<code>ZZ)")
    assert "received none; codes begin with" in line and "DIAGNOSIS" in line
    for path in (folder / "data").rglob("*.parquet"):
        frame = pd.read_parquet(path)
        frame[~frame.code.str.startswith("HOSPITAL")].to_parquet(path)
    assert "expected events HOSPITAL_ADMISSION" in refused(connection, folder)


def test_fhir_lines_that_are_no_resources(connection, tmp_path):
    folder = tables.fhir_ndjson(tmp_path / "f")
    path = folder / "Condition.ndjson"
    with gzip.open(folder / "Condition.ndjson.gz", "rt") as file:
        text = file.read()
    (folder / "Condition.ndjson.gz").unlink()
    patient = '{"resourceType": "Patient"}'
    path.write_text("\n{not json}\n" + text + patient + "\n" + '{"a": ' * 50_000 + "\n")
    load_stays(connection, folder, rejects_path=tmp_path / "rejects.csv", rules=Rules(accept_unusable=("rows",)))
    listed = [line.split(",") for line in (tmp_path / "rejects.csv").read_text().splitlines()[1:]]
    found = [(int(line), reason) for file, line, _, reason in listed if file == str(path)]
    assert (2, "not_json") in found and (19, "other_resource") in found and (20, "not_json") in found
    assert (12, "still_patient") in found  # condition 10, two lines down
    path.write_text("")
    assert "received an empty file" in refused(connection, folder)


def test_fhir_ranks_give_the_order(connection, tmp_path):
    load(connection, tables.fhir_ndjson(tmp_path))
    assert rows(connection, "code, order_1")[:3] == [("ICD10_E119", 2), ("ICD10_I10", 1), ("SNOMED_38341003", None)]


def test_eicu_is_refused_with_the_reason(connection, tmp_path):
    for name in ("patient", "diagnosis", "hospital"):
        tables.write(tmp_path, f"{name}.csv", "a,b\n1,2")
    assert "which stay came first" in refused(connection, tmp_path)
    with pytest.raises(DataError, match="which stay came first"):
        load_stays(connection, tmp_path, source="eicu")


def test_missing_deaths_are_said(connection, tmp_path):
    folder = tables.omop(tmp_path)
    (folder / "death.csv").unlink()
    assert load(connection, folder, accept=["rows"]).counts["death_table_missing"] == 1
    folder = tables.pcornet(tmp_path / "p")
    tables.write(folder, "DEATH.csv", "PATID,DEATH_DATE")
    assert "death_table_missing" not in load(connection, folder).counts
    shutil.rmtree(folder)


# -- open data -------------------------------------------------------------------------------------------------------


@needs_data
def test_synthea_against_pandas(connection):
    folder = Path(DATA) / "synthea_csv111"
    kinds = ("inpatient", "emergency")
    report = load(connection, folder, accept=["rows"], encounter_types=kinds)
    kept, people, left = oracle.synthea(folder, kinds=kinds)
    check_against(connection, report, (kept, people, left))
    assert len(kept) == 122 or len(kept) > 33


@pytest.mark.quick("source")
@needs_data
@pytest.mark.parametrize("codes", ["source", "standard"])
def test_gibleed_against_pandas(connection, codes):
    folder = Path(DATA) / "omop_gibleed"
    report = load(connection, folder, accept=["rows"], link_by_date=True, omop_codes=codes)
    kept, people, left = oracle.omop(folder, link_by_date=True, codes=codes)
    check_against(connection, report, (kept, people, left))
    assert len(kept) > 700 and report.counts["death_table_missing"] == 1
