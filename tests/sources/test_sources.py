"""Sources: hand-worked stays tables, the sum of rows, and every kind of bad input ends in one clear line."""

import csv
import datetime
import gzip
import os
from pathlib import Path

import duckdb
import hospital_tables
import pytest

from medtop.files.errors import DataError
from medtop.sources import PATIENTS_COLUMNS, SOURCES, STAYS_COLUMNS, load_stays, parse_columns, recognise_source
from medtop.sources.dates import DateRules
from medtop.sources.joined import LEFT_OUT
from medtop.sources.rules import Rules

TIME = datetime.datetime
DAY = datetime.date


def end_of(*day):
    """The end of a day: a bare date of discharge."""
    return datetime.datetime(*day, 23, 59, 59, 999999)


def rules(**dates):
    return Rules(DateRules(**dates))


DATA = os.environ.get("MEDTOP_TEST_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="MEDTOP_TEST_DATA is not set: the folder of open data")

HEADER = "patient_id,admit,discharge,code\n"
ROW = "p1,2014-03-01,2014-03-04,A00\n"
TSV_HEADER = "patient\tadmit\tdischarge\tdiagnosis\tpoa\tpriority\tthird_party\n"
TSV_ROW = "p1\t2014-03-01\t2014-03-04\tICD9_150.6\t6\t1\t0\n"


@pytest.fixture
def connection():
    with duckdb.connect() as connection:
        connection.execute("SET threads = 2")
        yield connection


def write(folder, name, content):
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") and not isinstance(content, bytes) else raw)
    return path


def stays(connection, columns="*"):
    return connection.execute(f"SELECT {columns} FROM stays").fetchall()


def patients(connection):
    return connection.execute("SELECT * FROM patients ORDER BY patient_id").fetchall()


def refused(connection, path, **arguments):
    """The one line with which `load_stays` refuses the file."""
    with pytest.raises(DataError) as caught:
        load_stays(connection, path, **arguments)
    line = str(caught.value)
    assert "\n" not in line and "\t" not in line
    return line


def check_sum(connection, report):
    rows = connection.execute("SELECT count(*) FROM stays").fetchone()[0]
    assert report.rows_in == rows + report.rows_merged + sum(report.rows_dropped.values())
    assert report.rows_out == rows


def rejects(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


# -- one small raw table per source ----------------------------------------------------------------------------------


def medbert_tsv(folder):
    return write(
        folder,
        "data.tsv",
        TSV_HEADER
        + TSV_ROW
        + "p1\t2014-03-01\t2014-03-04\tICD10_C50\t\t2\tx\n"
        + "p2\t2015-01-01 08:30:00\t2015-01-02T09:00:00Z\tICD9_240.1\t-1\t3\t1\n"
        + "p2\t2015-01-03\t2015-01-02\tICD9_240.1\t-1\t3\t1\n",
    )


def topbert_csv(folder):
    return write(
        folder,
        "top.csv",
        "PT_ID,admit,discharge,DX,POA,third_party,priority,DOB,age_at_enc,SEX\n"
        "a,2014-03-01,2014-03-04,250.2,Y,0,1,1950-06-30,63,F\n"
        "a,2014-03-01,2014-03-04,401.1,N,0,2,1950-06-30,63,F\n"
        "a,2014-05-01,2014-05-04,401.1,U,0,1,1950-07-30,63,F\n"
        "b,2014-06-01,2014-06-04,,N,0,2,1960-01-01,54,m\n"
        "b,2014-06-01,2014-06-04,296.2,N,0,2,1960-01-01,54,m\n",
    )


def mimic3(folder, upper=True):
    def name(table):
        return table.upper() if upper else table

    write(
        folder,
        f"{name('admissions')}.csv",
        "row_id,subject_id,hadm_id,admittime,dischtime,deathtime\n"
        "1,10,100,2164-10-23 21:09:00,2164-11-01 17:15:00,\n"
        "2,10,101,2165-01-01 01:00:00,2165-01-03 02:00:00,2165-01-03 02:00:00\n"
        "3,11,102,2150-05-05 10:00:00,2150-05-05 09:00:00,\n"
        "4,12,103,2170-01-01 00:00:00,2170-01-02 00:00:00,\n",
    )
    write(
        folder,
        f"{name('patients')}.csv.gz",
        "row_id,subject_id,gender,dob,dod,dod_hosp,dod_ssn,expire_flag\n"
        "1,10,F,2094-03-05 00:00:00,,,,1\n2,11,M,1850-01-01 00:00:00,2151-01-01 00:00:00,,,1\n"
        "3,12,M,2100-01-01 00:00:00,,,,0\n",
    )
    write(
        folder,
        f"{name('diagnoses_icd')}.csv",
        "row_id,subject_id,hadm_id,seq_num,icd9_code\n"
        '1,10,100,1,"99591"\n2,10,100,2,v4501\n3,10,101,1,5849\n4,10,999,1,5849\n5,11,102,1,486\n6,12,103,,\n',
    )
    return Path(folder)


def mimic4(folder):
    write(
        folder,
        "hosp/admissions.csv.gz",
        "subject_id,hadm_id,admittime,dischtime,deathtime,admission_type\n"
        "7,70,2180-05-06 22:23:00,2180-05-07 17:15:00,,URGENT\n"
        "7,71,2180-06-26 18:27:00,2180-06-27 18:49:00,,EW EMER.\n",
    )
    write(
        folder,
        "hosp/patients.csv.gz",
        "subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod\n7,F,52,2180,2014 - 2016,2180-09-09\n",
    )
    write(
        folder,
        "hosp/diagnoses_icd.csv.gz",
        "subject_id,hadm_id,seq_num,icd_code,icd_version\n"
        "7,70,1,5723 ,9\n7,70,2,I50.21,10\n7,71,1,K7460,10\n7,71,2,K7460,11\n",
    )
    return Path(folder)


CODE_HEADERS = ",".join(f"ICD9_DGNS_CD_{number}" for number in range(1, 11))


def synpuf(folder):
    def claim(patient, number, segment, admit, discharge, *codes):
        return ",".join([patient, number, segment, admit, "7231", discharge, *codes, *[""] * (10 - len(codes))]) + "\n"

    write(
        folder,
        "DE1_0_2008_to_2010_Inpatient_Claims_Sample_9.csv",
        f"DESYNPUF_ID,CLM_ID,SEGMENT,CLM_ADMSN_DT,ADMTNG_ICD9_DGNS_CD,NCH_BENE_DSCHRG_DT,{CODE_HEADERS}\n"
        + claim("A", "1", "2", "20080610", "20080720", "486")
        + claim("A", "1", "1", "20080615", "20080719", "4280", "v4501", "OTHER")
        + claim("A", "2", "1", "20080701", "20080702", "25000")
        + claim("B", "3", "1", "20090101", "20081231", "4019", "2724")
        + claim("B", "4", "1", "20090301", "20090302", "4019")
        + claim("B", "5", "1", "20100301", "20100302")
        + claim("C", "6", "1", "20100301", "20100302", "E8490"),
    )
    for year, rows in (
        (2008, "A,19400501,,2\nB,19300101,,1\n"),
        (2009, "A,19400501,,2\nB,19300101,,1\n"),
        (2010, "A,19400501,,2\nB,19300101,20100401,1\n"),
    ):
        write(
            folder,
            f"DE1_0_{year}_Beneficiary_Summary_File_Sample_9.csv.gz",
            "DESYNPUF_ID,BENE_BIRTH_DT,BENE_DEATH_DT,BENE_SEX_IDENT_CD\n" + rows,
        )
    return Path(folder)


def columns(folder):
    return write(
        folder,
        "any.csv",
        "Patient_ID;ADMIT;discharge;code;stay_id;order_1;sex;birth;death;present_on_admission\n"
        "1;2014-03-01 10:00;2014-03-01;A00;s1;2;F;1950-01-01;;Y\n"
        "1;2014-03-02;2014-03-09;B00;s2;;female;1950-01-01;;N\n"
        "2;20140301;20140310;B00;s3;1.0;x;bad;2014-03-20;1\n"
        "2;01/03/2014;20140310;B00;s3;1;M;;;\n"
        "3;2014-04-01;2014-04-05;B00;s4;1;M;;;\n",
    )


SAMPLES = {
    "medbert_tsv": medbert_tsv,
    "topbert_csv": topbert_csv,
    "mimic": mimic3,
    "synpuf": synpuf,
    "pcornet": hospital_tables.pcornet,
    "omop": hospital_tables.omop,
    "meds": hospital_tables.meds,
    "fhir_ndjson": hospital_tables.fhir_ndjson,
    "synthea": hospital_tables.synthea,
    "i2b2": hospital_tables.i2b2,
    "columns": columns,
}


# -- contracts over every source -------------------------------------------------------------------------------------


def test_every_source_has_a_sample():
    assert sorted(SAMPLES) == sorted(SOURCES)


@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)
def test_contract(source, connection, tmp_path):
    path = SAMPLES[source.name](tmp_path / "raw")
    for other in SOURCES.values():
        assert other.recognise(str(path)) == (other is source)
    assert recognise_source(path) is source
    report = load_stays(connection, path, rejects_path=tmp_path / "rejects.csv")
    for table, schema in (("stays", STAYS_COLUMNS), ("patients", PATIENTS_COLUMNS)):
        assert {row[0]: row[1] for row in connection.execute(f"DESCRIBE {table}").fetchall()} == schema
    check_sum(connection, report)
    assert report.source == source.name and report.observation_end
    assert source.description and source.observation_end and source.present_on_admission
    assert report.files and all(Path(file).is_file() for file in report.files)
    assert connection.execute("SELECT count(*) - count(DISTINCT patient_id) FROM patients").fetchone() == (0,)
    assert (
        connection.execute("SELECT DISTINCT patient_id FROM stays ORDER BY 1").fetchall()
        == connection.execute("SELECT patient_id FROM patients ORDER BY 1").fetchall()
    )
    assert connection.execute(
        "SELECT count(*) FROM stays WHERE NOT coalesce(discharge >= admit AND patient_id <> '' AND code <> '', false)"
    ).fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM patients WHERE observation_end IS NULL").fetchone() == (0,)
    after = "SELECT count(*) FROM stays JOIN patients USING (patient_id) WHERE admit::DATE > death"
    assert report.may_follow_death or connection.execute(after).fetchone() == (0,)
    assert report.may_follow_death or source.name not in ("mimic", "synpuf"), "they do not look"
    assert report.has_present_on_admission == (
        connection.execute("SELECT count(present_on_admission) FROM stays").fetchone()[0] > 0
    )
    # every sample plants bad rows: they are listed, strict refuses the first, and no helper table is left
    listed = rejects(tmp_path / "rejects.csv")
    assert listed[0] == ["file", "line", "column", "reason"]
    assert {row[3] for row in listed[1:]} == set(report.rows_dropped) - {LEFT_OUT}
    tables = connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
    assert tables == [("patients",), ("stays",)]
    file, line, column, reason = listed[1]
    assert refused(connection, path, strict=True) == (
        f"{file}: line {line}, column {column}: expected a usable row (strict), received {reason}"
    )


@pytest.mark.quick("topbert_csv", "mimic", "omop")
@pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)
def test_loading_twice_gives_the_same(source, connection, tmp_path):
    path = SAMPLES[source.name](tmp_path)
    first = load_stays(connection, path), stays(connection), patients(connection)
    assert (load_stays(connection, path), stays(connection), patients(connection)) == first


# -- hand-worked tables ----------------------------------------------------------------------------------------------


def test_medbert_tsv(connection, tmp_path):
    report = load_stays(connection, medbert_tsv(tmp_path), rejects_path=tmp_path / "rejects.csv")
    first, second = TIME(2014, 3, 1), end_of(2014, 3, 4)
    assert stays(connection) == [
        ("p1", None, first, second, "ICD9_150.6", 6, 0, 1, None),
        ("p1", None, first, second, "ICD10_C50", None, None, 2, None),  # empty and 'x' are null: they sort last
        ("p2", None, TIME(2015, 1, 1, 8, 30), TIME(2015, 1, 2, 9), "ICD9_240.1", -1, 1, 3, None),
    ]
    assert patients(connection) == [(patient, None, None, None, DAY(2015, 1, 2)) for patient in ("p1", "p2")]
    assert report.rows_dropped == {"discharge_before_admit": 1} and report.counts == {
        "times_with_offset": 1,
        "order_2_unusable": 1,
    }
    assert report.icd_codes and not report.has_present_on_admission
    assert rejects(tmp_path / "rejects.csv")[1:] == [
        [str(tmp_path / "data.tsv"), "5", "discharge", "discharge_before_admit"]
    ]


def test_medbert_header_is_ignored_whatever_it_says(connection, tmp_path):
    path = write(tmp_path, "x.tsv", "patient_id\tdischarge\tadmit\tfoo\tbar\n" + TSV_ROW)
    load_stays(connection, path, source="medbert_tsv")
    assert stays(connection, "admit, discharge, order_1, order_2, order_3") == [
        (TIME(2014, 3, 1), end_of(2014, 3, 4), 6, 0, 1)
    ]


def test_medbert_with_letters_for_present_on_admission(connection, tmp_path):
    letters = "".join(TSV_ROW.replace("\t6\t", f"\t{letter}\t") for letter in "NYU")
    report = load_stays(connection, write(tmp_path, "x.tsv", TSV_HEADER + letters))
    assert stays(connection, "order_1, present_on_admission") == [(1, "N"), (0, "Y"), (None, None)]
    assert report.has_present_on_admission and report.counts == {"order_1_unusable": 1}


def test_topbert_csv_with_phecodes(connection, tmp_path):
    report = load_stays(connection, topbert_csv(tmp_path))
    assert stays(connection, "patient_id, code, order_1, order_2, order_3, present_on_admission") == [
        ("a", "250.2", 0, 0, 1, "Y"),
        ("a", "401.1", 1, 0, 2, "N"),
        ("a", "401.1", None, 0, 1, None),
        ("b", "296.2", 1, 0, 2, "N"),
    ]
    assert patients(connection) == [
        ("a", DAY(1950, 6, 30), "F", None, DAY(2014, 6, 4)),
        ("b", DAY(1960, 1, 1), "M", None, DAY(2014, 6, 4)),
    ]
    assert not report.icd_codes and report.has_present_on_admission
    assert report.rows_dropped == {"code_empty": 1}
    assert report.counts == {"patients_with_conflicting_birth": 1, "order_1_unusable": 1}


def test_topbert_csv_by_position_and_by_header_agree(connection, tmp_path):
    by_header = write(
        tmp_path,
        "h.csv",
        "sex,dx,pt_id,admit,discharge,poa,third_party,priority,dob,age\n"
        "F,ICD9_250.2,a,2014-03-01,2014-03-04,Y,0,1,1950-06-30,63\n",
    )
    by_place = write(
        tmp_path, "p.csv", "a,b,c,d,e,f,g,h,i,j\na,2014-03-01,2014-03-04,ICD9_250.2,Y,0,1,1950-06-30,63,F\n"
    )
    results = []
    for path in (by_header, by_place):
        report = load_stays(connection, path)
        assert report.source == "topbert_csv" and report.icd_codes
        results.append((stays(connection), patients(connection)))
    assert results[0] == results[1] != ([], [])


@pytest.mark.parametrize("upper", [True, False])
def test_mimic3(connection, tmp_path, upper):
    report = load_stays(connection, mimic3(tmp_path, upper))
    a, b = (TIME(2164, 10, 23, 21, 9), TIME(2164, 11, 1, 17, 15)), (TIME(2165, 1, 1, 1), TIME(2165, 1, 3, 2))
    assert stays(connection) == [
        ("10", "100", *a, "ICD9_99591", 1, None, None, None),
        ("10", "100", *a, "ICD9_V4501", 2, None, None, None),
        ("10", "101", *b, "ICD9_5849", 1, None, None, None),
    ]
    assert patients(connection) == [("10", DAY(2094, 3, 5), "F", DAY(2165, 1, 3), DAY(2165, 1, 3))]
    assert report.rows_dropped == {"stay_unknown": 1, "discharge_before_admit": 1, "code_empty": 1}
    assert report.icd_codes and report.counts == {"admissions_without_codes": 2}


def test_mimic4_in_its_hosp_folder(connection, tmp_path):
    report = load_stays(connection, mimic4(tmp_path))
    assert report.source == "mimic"
    assert stays(connection, "stay_id, code, order_1") == [
        ("70", "ICD9_5723", 1),
        ("70", "ICD10_I5021", 2),
        ("71", "ICD10_K7460", 1),
    ]
    assert patients(connection) == [("7", DAY(2128, 1, 1), "F", DAY(2180, 9, 9), DAY(2180, 6, 27))]
    assert report.rows_dropped == {"code_system_unknown": 1}
    assert load_stays(connection, tmp_path / "hosp").rows_in == report.rows_in == 4


def test_synpuf_segments_overlaps_and_deaths(connection, tmp_path):
    report = load_stays(connection, synpuf(tmp_path))
    merged = (TIME(2008, 6, 10), end_of(2008, 7, 20))
    assert stays(connection, "patient_id, stay_id, admit, discharge, code, order_1") == [
        ("A", "1", *merged, "ICD9_486", 11),  # segment 2 stands first in the file, and after segment 1 in the order
        ("A", "1", *merged, "ICD9_4280", 1),
        ("A", "1", *merged, "ICD9_V4501", 2),
        ("A", "1", *merged, "ICD9_OTHER", 3),
        ("A", "2", TIME(2008, 7, 1), end_of(2008, 7, 2), "ICD9_25000", 1),
        ("B", "4", TIME(2009, 3, 1), end_of(2009, 3, 2), "ICD9_4019", 1),
        ("C", "6", TIME(2010, 3, 1), end_of(2010, 3, 2), "ICD9_E8490", 1),
    ]
    assert patients(connection) == [
        ("A", DAY(1940, 5, 1), "F", None, DAY(2010, 3, 2)),  # the last discharge lies in a usual month
        ("B", DAY(1930, 1, 1), "M", DAY(2010, 4, 1), DAY(2010, 3, 2)),
        ("C", None, None, None, DAY(2010, 3, 2)),
    ]
    assert report.rows_in == 9 and report.rows_dropped == {"discharge_before_admit": 2}
    assert report.counts == {
        "claims_of_several_segments": 1,
        "claim_lines_without_codes": 1,
        "overlapping_stays": 1,
        "codes_not_shaped_like_icd9": 1,
        "patients_without_beneficiary_row": 1,
    }


def test_columns_by_standard_names(connection, tmp_path):
    report = load_stays(connection, columns(tmp_path), rejects_path=tmp_path / "rejects.csv")
    assert stays(connection) == [
        (
            "1",
            "s1",
            TIME(2014, 3, 1, 10),
            end_of(2014, 3, 1),
            "ICD10_A00",
            2,
            None,
            None,
            "Y",
        ),  # discharged on that day
        ("1", "s2", TIME(2014, 3, 2), end_of(2014, 3, 9), "ICD10_B00", None, None, None, "N"),
        ("2", "s3", TIME(2014, 3, 1), end_of(2014, 3, 10), "ICD10_B00", 1, None, None, None),
        ("3", "s4", TIME(2014, 4, 1), end_of(2014, 4, 5), "ICD10_B00", 1, None, None, None),
    ]
    assert patients(connection) == [
        ("1", DAY(1950, 1, 1), "F", None, DAY(2014, 3, 31)),  # April has one admission, March three
        ("2", None, None, DAY(2014, 3, 20), DAY(2014, 3, 20)),
        ("3", None, "M", None, DAY(2014, 3, 31)),
    ]
    unusable = {"birth_unusable": 1, "sex_unusable": 1, "present_on_admission_unusable": 1}
    assert report.counts == {"code_normalised": 4, "admissions_after_observation_end": 1, **unusable}
    assert report.icd_codes and report.has_present_on_admission
    assert rejects(tmp_path / "rejects.csv")[1:] == [[str(tmp_path / "any.csv"), "5", "ADMIT", "admit_unparsable"]]


def test_columns_are_mapped_without_regard_to_case(connection, tmp_path):
    path = write(tmp_path, "x.txt", "MRN|Adm Dt|DIS_DT|DX|END\n007|03/01/2014|31/01/2014|ICD10_A00|30/06/2014\n")
    mapping = parse_columns("patient_id=mrn, admit=adm dt,discharge=dis_dt,code=Dx,observation_end=end")
    load_stays(connection, path, columns=mapping, rules=rules(date_format="%d/%m/%Y"))
    assert stays(connection, "patient_id, admit, discharge, code") == [
        ("007", TIME(2014, 1, 3), end_of(2014, 1, 31), "ICD10_A00")
    ]
    assert patients(connection)[0][-1] == DAY(2014, 6, 30)


def test_several_files_keep_their_order(connection, tmp_path):
    write(tmp_path, "part-1.csv", HEADER + "p2,2014-03-01,2014-03-04,B\nbad,x,2014-03-04,B\n")
    write(
        tmp_path,
        "part-2.csv.gz",
        "code\tdischarge\tadmit\tpatient_id\nA\t2014-03-04\t2014-03-01\tp1\n\t2014-03-04\t2014-03-01\tp1\n",
    )
    for data_file in (tmp_path / "part-*", f"{tmp_path / 'part-1.csv'}, {tmp_path / 'part-2.csv.gz'}"):
        report = load_stays(connection, data_file, rejects_path=tmp_path / "rejects.csv")
        assert stays(connection, "patient_id, code") == [("p2", "B"), ("p1", "A")]
        assert [Path(file).name for file in report.files] == ["part-1.csv", "part-2.csv.gz"]
        assert [row[1:] for row in rejects(tmp_path / "rejects.csv")[1:]] == [
            ["3", "admit", "admit_unparsable"],
            ["3", "code", "code_empty"],
        ]


def test_parquet(connection, tmp_path):
    path = tmp_path / "x.parquet"
    connection.execute(
        f"""COPY (SELECT * FROM (VALUES
        (17.0::DOUBLE, DATE '2014-03-01', TIMESTAMP '2014-03-04 05:00:00', 'A00', 1::BIGINT, DATE '1950-01-01'),
        (NULL, DATE '2014-03-01', TIMESTAMP '2014-03-04 05:00:00', 'A00', 1, NULL),
        (18.0, NULL, TIMESTAMP '2014-03-04 05:00:00', 'A00', 1, NULL),
        (18.0, DATE '2014-03-01', TIMESTAMP '2014-03-04 05:00:00', 'A00', NULL, NULL)
        ) t(PATIENT_ID, admit, discharge, code, order_1, birth)) TO '{path}' (FORMAT parquet)"""
    )
    report = load_stays(connection, path, rejects_path=tmp_path / "rejects.csv")
    assert report.source == "columns" and report.counts == {"code_normalised": 2}
    assert report.rows_dropped == {"patient_id_empty": 1, "admit_empty": 1}
    assert stays(connection, "patient_id, admit, discharge, code, order_1") == [
        ("17", TIME(2014, 3, 1), TIME(2014, 3, 4, 5), "ICD10_A00", 1),
        ("18", TIME(2014, 3, 1), TIME(2014, 3, 4, 5), "ICD10_A00", None),
    ]
    assert patients(connection)[0][1] == DAY(1950, 1, 1)
    assert [row[1:3] for row in rejects(tmp_path / "rejects.csv")[1:]] == [["2", "PATIENT_ID"], ["3", "admit"]]


# -- dates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        ("2014-03-01", TIME(2014, 3, 1)),
        ("2014/03/01", TIME(2014, 3, 1)),
        ("20140301", TIME(2014, 3, 1)),
        ("2014-03-01 10:11", TIME(2014, 3, 1, 10, 11)),
        ("2014-03-01 10:11:12", TIME(2014, 3, 1, 10, 11, 12)),
        ("2014-03-01T10:11:12Z", TIME(2014, 3, 1, 10, 11, 12)),
        ("2014-03-01T10:11:12.5", TIME(2014, 3, 1, 10, 11, 12, 500000)),
        ("2014-02-30", None),
        ("01/03/2014", None),
        ("2014-03-01 10:00:00+02", TIME(2014, 3, 1, 10)),  # local time as written
        ("2014-03-01 10:00+02", TIME(2014, 3, 1, 10)),
        ("2014-03-01T10:00:00.5 -05:30", TIME(2014, 3, 1, 10, 0, 0, 500000)),
        (" 2014-03-01\u00a0", TIME(2014, 3, 1)),
        ("2014-03-01 10:00 UTC", None),
        ("epoch", None),
        ("infinity", None),
        ("2014", None),
        ("20141301", None),
        ("1", None),
        ("tomorrow", None),
        ("0001-01-01", None),
        ("9999-12-31", None),
        ("12014-03-01", None),
        ("2014-03-01 25:00:00", None),
    ],
)
def test_dates(connection, tmp_path, text, expected):
    path = write(tmp_path, "x.csv", HEADER + ROW + f"p2,{text},2261-01-01,A00\n")
    report = load_stays(connection, path, rules=rules(shifted_dates=True))
    received = dict(stays(connection, "patient_id, admit")).get("p2")
    assert received == expected
    assert (sum(report.rows_dropped.values()) == 0) == (expected is not None)


def test_sentinels_are_named_as_such(connection, tmp_path):
    path = write(
        tmp_path,
        "x.csv",
        HEADER + ROW * 9 + "p,0001-01-01,2014-01-01,A\np,2014-01-01,9999-12-31,A\np,,2014-01-01,A\n"
        "p,2014-01-01,NULL,A\n , 2014-01-01,2014-01-01,A\np,2014-01-01,2014-01-01, \n",
    )
    assert load_stays(connection, path).rows_dropped == {
        "admit_sentinel": 1,
        "discharge_sentinel": 1,
        "admit_empty": 1,
        "discharge_empty": 1,
        "patient_id_empty": 1,
        "code_empty": 1,
    }


# -- bad rows --------------------------------------------------------------------------------------------------------


def test_rows_that_cannot_be_split(connection, tmp_path):
    content = (TSV_HEADER + TSV_ROW).encode() + b"p1\t2014-03-01\t2014-03-04\tA\n"
    content += TSV_ROW.encode().replace(b"\n", b"\tmore\n")
    content += b"\n" + TSV_ROW.encode().replace(b"p1", b"p\xff") + TSV_ROW.replace("ICD9", "X" * 2_500_000).encode()
    content += b"\t\t\t\t\t\t\n" + TSV_ROW.encode().strip()
    path = write(tmp_path, "x.tsv", content)
    accepted = Rules(accept_unusable=("rows",))
    report = load_stays(connection, path, rejects_path=tmp_path / "rejects.csv", rules=accepted)
    assert report.rows_dropped == {
        "too_few_columns": 1,
        "too_many_columns": 1,
        "not_utf8": 1,
        "line_too_long": 1,
        "patient_id_empty": 1,
    }
    assert report.rows_in == 7
    check_sum(connection, report)
    assert [(row[1], row[3]) for row in rejects(tmp_path / "rejects.csv")[1:]] == [
        ("3", "too_few_columns"),
        ("4", "too_many_columns"),
        ("6", "not_utf8"),
        ("7", "line_too_long"),
        ("8", "patient_id_empty"),
    ]
    assert "p1" not in (tmp_path / "rejects.csv").read_text()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_marks(connection, tmp_path, end):
    content = HEADER + ROW + "\n" + 'p2,2014-03-01,2014-03-04,"B,""x"""\n' + "p3,x,2014-03-04,C"
    content = "\ufeff" + content.replace("\n", end)
    report = load_stays(connection, write(tmp_path, "x.csv", content), rejects_path=tmp_path / "rejects.csv")
    assert stays(connection, "patient_id, code") == [("p1", "A00"), ("p2", 'B,"x"')]
    assert report.rows_in == 3 and rejects(tmp_path / "rejects.csv")[1][1] == "5"


def test_mixed_line_ends(connection, tmp_path):
    content = HEADER + ROW.replace("\n", "\r\n") + ROW.replace("p1", "p2")
    content += ROW.replace("p1", "p3").replace("\n", "\r\n")
    for text in (content, content.replace("p3", "p3,x")):
        report = load_stays(connection, write(tmp_path, "x.csv", text))
        assert report.rows_in == 3 and stays(connection, "patient_id")[:2] == [("p1",), ("p2",)]
        check_sum(connection, report)


def test_line_breaks_within_quotes(connection, tmp_path):
    content = (
        "patient_id,admit,discharge,code,note\n"
        'p1,2014-03-01,2014-03-04,A,"two\nlines"\n'
        "p2,x,2014-03-04,A,\n"
        'p3,2014-03-01,2014-03-04,"A\nB",\n'
        "p4,2014-03-01,2014-03-04,A\n"
        "p5,2014-03-01,y,A,\n"
    )
    path, accepted = write(tmp_path, "x.csv", content), Rules(accept_unusable=("rows",))
    report = load_stays(connection, path, rejects_path=tmp_path / "rejects.csv", rules=accepted)
    assert stays(connection, "patient_id") == [("p1",)]
    assert [row[1:] for row in rejects(tmp_path / "rejects.csv")[1:]] == [
        ["4", "admit", "admit_unparsable"],
        ["5", "code", "code_line_break"],
        ["7", "note", "too_few_columns"],
        ["8", "discharge", "discharge_unparsable"],
    ]
    check_sum(connection, report)


def test_lines_in_rejects_agree_with_a_count_by_hand(connection, tmp_path):
    """Property: over many rows in several buffers, each bad row's line is where the text has it."""
    lines = [
        f"p{number},2014-03-01,{'x' if number % 977 == 5 else '2014-03-04'},A{number % 100}" for number in range(60_000)
    ]
    for place in range(100, 60_000, 1_013):
        lines[place] = "too,few"
    for place in range(50, 60_000, 2_003):
        lines[place] = ""
    path = write(tmp_path, "x.csv", HEADER + "\n".join(lines) + "\n")
    report = load_stays(connection, path, rejects_path=tmp_path / "rejects.csv")
    expected = [
        (number + 2, "too_few_columns" if line == "too,few" else "discharge_unparsable")
        for number, line in enumerate(lines)
        if line == "too,few" or ",x," in line
    ]
    assert [(int(row[1]), row[3]) for row in rejects(tmp_path / "rejects.csv")[1:]] == expected
    assert report.rows_in == len([line for line in lines if line])
    assert stays(connection, "patient_id") == [
        (line.split(",")[0],) for line in lines if line and "x," not in line and line != "too,few"
    ]


def test_no_rejects_file_without_bad_rows(connection, tmp_path):
    path = write(tmp_path, "x.csv", HEADER + ROW)
    report = load_stays(connection, path, rejects_path=tmp_path / "rejects.csv", strict=True)
    assert not (tmp_path / "rejects.csv").exists() and report.rows_dropped == {}


# -- bad files -------------------------------------------------------------------------------------------------------


def test_missing_file(connection, tmp_path):
    for source in (None, "medbert_tsv", "columns", "topbert_csv"):
        assert "no such file" in refused(connection, tmp_path / "x.csv", source=source)
    assert "no such file" in refused(connection, tmp_path / "*.csv")


@pytest.mark.parametrize("source", [None, "medbert_tsv", "columns", "topbert_csv"])
@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "empty file"),
        (gzip.compress(b""), "empty file"),
        (bytes(range(256)) * 40, "NUL byte"),
        ((HEADER + ROW).encode("utf-16"), "UTF-16"),
        (b"\n" + HEADER.encode(), "blank line"),
    ],
    ids=["empty", "empty_gzip", "binary", "utf16", "blank"],
)
def test_files_that_are_no_text(connection, tmp_path, source, content, words):
    path = write(tmp_path, "x.csv", content)
    line = refused(connection, path, source=source)
    assert words in line and str(path) in line


def test_header_only(connection, tmp_path):
    for source, header in (("columns", HEADER), ("medbert_tsv", TSV_HEADER), ("topbert_csv", "a,b,c,d,e,f,g,h,i,j\n")):
        assert "header only" in refused(connection, write(tmp_path, "x.csv", header), source=source)


def test_missing_column_lists_both_sides(connection, tmp_path):
    path = write(tmp_path, "x.csv", "patient_id,admit,code\np1,2014-03-01,A\n")
    assert refused(connection, path, source="columns") == (
        f"{path}: expected a column discharge, received columns patient_id, admit, code; name them with --columns"
    )
    assert refused(connection, path, columns={"discharge": "DIS"}) == (
        f"{path}: expected a column DIS (for discharge), received columns patient_id, admit, code"
    )
    assert "received 2" in refused(connection, write(tmp_path, "y.csv", HEADER.strip() + ",CODE\n"), source="columns")
    assert "expected names among" in refused(connection, path, columns={"pid": "x"})
    with pytest.raises(DataError, match="standard_name=header"):
        parse_columns("patient_id")
    with pytest.raises(DataError, match="twice"):
        parse_columns("code=a,code=b")


def test_missing_column_in_folders(connection, tmp_path):
    folder = mimic3(tmp_path / "mimic")
    write(folder, "ADMISSIONS.csv", "subject_id,hadm_id,admittime\n1,2,2014-01-01\n")
    assert "expected a column dischtime, received columns subject_id, hadm_id, admittime" in refused(connection, folder)
    folder = synpuf(tmp_path / "synpuf")
    path = write(folder, "DE1_0_2008_to_2010_Inpatient_Claims_Sample_9.csv", "DESYNPUF_ID,CLM_ID\n1,2\n")
    assert refused(connection, folder).startswith(f"{path}: expected a column SEGMENT")


def test_wrong_delimiter_is_named(connection, tmp_path):
    path = write(tmp_path, "x.tsv", (TSV_HEADER + TSV_ROW).replace("\t", ","))
    line = refused(connection, path, source="medbert_tsv")
    assert "expected 7 tab-separated columns" in line and "received 1" in line
    assert "comma-separated with 7 columns" in line
    path = write(tmp_path, "y.csv", (TSV_HEADER + TSV_ROW).replace("\t", ";"))
    line = refused(connection, path, source="topbert_csv")
    assert "expected 10 comma-separated columns" in line and "semicolon-separated with 7 columns" in line
    assert "separated by comma, tab" in refused(connection, write(tmp_path, "z.csv", "one\ntwo\n"), source="columns")


def compressible(rows=20_000):
    return (
        TSV_HEADER
        + "".join(f"p{row * 7919 % 10007}\t2014-03-01\t2014-03-04\tA{row * 31 % 997}\t6\t1\t0\n" for row in range(rows))
    ).encode()


def test_gzip_that_is_cut_or_damaged(connection, tmp_path):
    whole = gzip.compress(compressible())
    assert load_stays(connection, write(tmp_path, "x.tsv.gz", whole)).rows_in == 20_000
    for length in (len(whole) // 2, len(whole) - 4, 20):
        line = refused(connection, write(tmp_path, "x.tsv.gz", whole[:length]))
        assert "x.tsv.gz: expected a whole gzip file, received one cut short" in line
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255  # DuckDB alone reads this without a word
    assert "damaged" in refused(connection, write(tmp_path, "x.tsv.gz", bytes(damaged)))
    assert "as the name says" in refused(connection, write(tmp_path, "x.tsv.gz", compressible()))


def test_gzip_of_several_members_and_under_another_name(connection, tmp_path):
    content = compressible()
    parts = gzip.compress(content[:5_000]) + gzip.compress(content[5_000:])
    for name in ("x.tsv.gz", "y.tsv"):
        assert load_stays(connection, write(tmp_path, name, parts)).rows_in == 20_000


def test_quote_that_is_never_closed(connection, tmp_path):
    path = write(tmp_path, "x.csv", HEADER + ROW + 'p2,2014-03-01,2014-03-04,"A\n' + ROW * 50)
    assert f"{path}: line 3: expected each quoted field to be closed" in refused(connection, path)


@pytest.mark.parametrize(
    "before, between, after",
    [
        ('"A\n', 40, ""),
        ('"A\n', 60_000, 'p2,2014-03-01,2014-03-04,"A\n'),
        ('"A\n', 60_000, 'p2,2014-03-01,2014-03-04,A"\n'),
    ],
    ids=["never", "crossed", "far"],
)
def test_quote_that_swallows_rows(connection, tmp_path, before, between, after):
    """Larger files are read in parts: DuckDB alone loses rows of some of these without a word."""
    rows = HEADER + ROW * 30_000 + "p2,2014-03-01,2014-03-04," + before + ROW * between + after + ROW * 1_000
    path = write(tmp_path, "x.csv", rows)
    assert f"{path}: line 30002: expected each quoted field to be closed" in refused(connection, path)


def test_quotes_that_are_no_quotes(connection, tmp_path):
    path = write(tmp_path, "x.csv", HEADER + ROW.replace("A00", '5" nail') + ROW * 3)
    assert load_stays(connection, path).rows_in == 4 and stays(connection, "code")[0] == ('5" nail',)
    write(tmp_path, "x.csv", HEADER + ROW.replace("A00", '"5" nail') + ROW)
    assert load_stays(connection, path).rows_dropped == {"quote_not_closed": 1}


def test_no_usable_row_suggests_the_date_format(connection, tmp_path):
    path = write(tmp_path, "x.csv", HEADER + "p1,01/03/2014,04/03/2014,A\n" * 3)
    line = refused(connection, path, rejects_path=tmp_path / "rejects.csv")
    assert "3 of 3 rows dropped for admit_unparsable" in line and "--date_format" in line
    assert len(rejects(tmp_path / "rejects.csv")) == 4
    assert load_stays(connection, path, rules=rules(date_format="%d/%m/%Y")).rows_in == 3
    with pytest.raises(DataError, match="strptime"):
        rules(date_format="dd/mm/yyyy")


def test_source_names_and_recognition(connection, tmp_path):
    path = write(tmp_path, "x.csv", "a,b,c\n1,2,3\n")
    line = refused(connection, path, source="omap")
    assert f"expected one of {', '.join(SOURCES)}, received omap" in line
    line = refused(connection, path)
    assert "comma-separated file with 3 columns: a, b, c" in line and "--source" in line and "--columns" in line
    assert "--columns has no effect with --source=mimic" in refused(
        connection, path, source="mimic", columns={"code": "a"}
    )
    (tmp_path / "empty").mkdir()
    assert "empty folder" in refused(connection, tmp_path / "empty")
    folder = write(tmp_path, "folder/x.csv", HEADER).parent
    for place in (tmp_path / "empty", folder):
        (place / ".out.preprocess").mkdir()  # the run's own
    assert "empty folder" in refused(connection, tmp_path / "empty")
    assert "a folder with x.csv; choose" in refused(connection, folder)
    both = tmp_path / "both"
    mimic3(both), synpuf(both)
    assert "could be mimic or synpuf" in refused(connection, both)
    assert load_stays(connection, both, source="mimic").source == "mimic"
    assert "received a folder" in refused(connection, both, source="medbert_tsv")
    assert "expected a folder with" in refused(connection, path, source="mimic")
    assert "expected a folder with" in refused(connection, path, source="synpuf")


def test_a_table_that_is_there_twice(connection, tmp_path):
    folder = mimic3(tmp_path)
    write(folder, "ADMISSIONS.csv.gz", (folder / "ADMISSIONS.csv").read_text())
    assert "expected one file for admissions" in refused(connection, folder)


def test_cut_parquet(connection, tmp_path):
    path = tmp_path / "x.parquet"
    connection.execute(f"COPY (SELECT range AS patient_id FROM range(1000)) TO '{path}' (FORMAT parquet)")
    assert "expected a column admit" in refused(connection, tmp_path / "x.parquet", source="columns")
    raw = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(raw[: len(raw) // 2])
    assert "expected a Parquet file" in refused(connection, tmp_path / "x.parquet", source="columns")


def test_names_with_special_characters(connection, tmp_path):
    path = write(tmp_path, "it's [1] a*b?.csv", HEADER + ROW)
    assert load_stays(connection, path).rows_in == 1


# -- open data -------------------------------------------------------------------------------------------------------


@needs_data
def test_medbert_example(connection):
    report = load_stays(connection, Path(DATA) / "medbert_example" / "data_file.tsv")
    assert (report.source, report.rows_in, report.rows_out, report.icd_codes) == ("medbert_tsv", 9, 9, True)
    assert stays(connection, "patient_id, code, order_1, order_2, order_3")[:2] == [
        ("1", "ICD9_150.6", 6, 0, 1),
        ("1", "ICD9_152.53", 6, 0, 2),
    ]


@needs_data
def test_mimic3_demo(connection):
    report = load_stays(connection, Path(DATA) / "mimic3_demo")
    check_sum(connection, report)
    assert (report.rows_in, report.rows_out, report.rows_dropped, report.counts) == (1761, 1761, {}, {})
    assert stays(connection, "count(DISTINCT stay_id), count(DISTINCT patient_id)") == [(129, 100)]
    known = connection.execute("SELECT count(*), count(birth), count(death), count(sex) FROM patients").fetchone()
    assert known == (100, 100, 100, 100)
    with gzip.open(Path(DATA) / "mimic3_demo" / "DIAGNOSES_ICD.csv.gz", "rt") as file:
        raw = [
            (row["subject_id"], row["hadm_id"], int(row["seq_num"]), "ICD9_" + row["icd9_code"])
            for row in csv.DictReader(file)
        ]
    assert stays(connection, "patient_id, stay_id, order_1, code") == raw


@needs_data
def test_synpuf_sample(connection):
    folder = Path(DATA) / "synpuf_sample2"
    report = load_stays(connection, folder)
    check_sum(connection, report)
    [claims] = folder.glob("*Inpatient_Claims*")
    with gzip.open(claims, "rt") as file:
        rows = list(csv.DictReader(file))
    cells = [
        (row["DESYNPUF_ID"], row["CLM_ID"], "ICD9_" + row[f"ICD9_DGNS_CD_{number}"], number)
        for row in rows
        for number in range(1, 11)
        if row[f"ICD9_DGNS_CD_{number}"]
    ]
    assert stays(connection, "patient_id, stay_id, code, order_1") == cells
    assert report.rows_in == len(cells) and report.rows_dropped == {}
    assert stays(connection, "count(DISTINCT stay_id), count(DISTINCT patient_id)") == [(5884, 3255)]
    assert report.counts == {
        "claims_of_several_segments": 4,
        "claim_lines_without_codes": 4,
        "overlapping_stays": 141,
        "admissions_after_observation_end": 188,
        "patients_with_hmo_months": 1242,
    }
    long_share = connection.execute(
        "SELECT avg((date_diff('day', admit, discharge) > 7)::INT) "
        "FROM (SELECT DISTINCT stay_id, admit, discharge FROM stays)"
    ).fetchone()[0]
    assert round(long_share, 2) == 0.21
    assert connection.execute(
        "SELECT count(*), count(birth), count(sex), max(observation_end) FROM patients"
    ).fetchone() == (3255, 3255, 3255, DAY(2010, 8, 31))
