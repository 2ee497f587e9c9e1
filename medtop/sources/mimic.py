"""MIMIC-III and MIMIC-IV: a folder with ADMISSIONS, DIAGNOSES_ICD and PATIENTS, or one whose `hosp` folder holds them.

The version is told by the columns: `icd9_code` (III) or `icd_code` and `icd_version` (IV). Codes become `ICD9_99591`,
`ICD10_I5021`. `order_1` is `seq_num`. Birth is `dob` (III; shifted, so that patients over 89 seem about 300 years old:
ages over 89 become 90 where ages are made) or 1 January of `anchor_year - anchor_age` (IV, where ages over 89 are
given as 91). Death is `dod`, without it the day of the earliest `deathtime`.
"""

import dataclasses
from pathlib import Path

from medtop.files.errors import DataError
from medtop.files.shown import shown_headers
from medtop.sources.dates import discharge_sql, settle_midnights, timestamp_sql
from medtop.sources.day_columns import day_sql, judge_values
from medtop.sources.ids import count_alike, settle_ids
from medtop.sources.observation import FOR_COLUMN
from medtop.sources.patients import count_patients, observation_sql
from medtop.sources.reading import TableReader
from medtop.sources.row_sql import create_wide_table, reason_sql, wide_columns
from medtop.sources.settling import Account, finish, judge_codes, judge_deaths, settle
from medtop.sources.stays import Source
from medtop.sources.tables import count_overlaps, find_tables, headers_of, read_table
from medtop.sources.words import is_blank_sql

TABLES = ("admissions", "diagnoses_icd", "patients")
ADMISSIONS = {
    "patient": "subject_id",
    "stay": "hadm_id",
    "raw_admit": "admittime",
    "raw_discharge": "dischtime",
    "raw_death": "deathtime",
}
DIAGNOSES = {
    3: {"patient": "subject_id", "stay": "hadm_id", "seq_num": "seq_num", "code": "icd9_code"},
    4: {"patient": "subject_id", "stay": "hadm_id", "seq_num": "seq_num", "code": "icd_code", "version": "icd_version"},
}
PATIENTS = {
    3: {"patient": "subject_id", "sex": "gender", "raw_dod": "dod", "raw_birth": "dob"},
    4: {
        "patient": "subject_id",
        "sex": "gender",
        "raw_dod": "dod",
        "anchor_age": "anchor_age",
        "anchor_year": "anchor_year",
    },
}


def _find(folder):
    """Paths of the three tables, in the folder or in its `hosp`: dict name -> path, or None when none is complete."""
    folder = Path(folder)
    if not folder.is_dir():
        return None
    inner = [entry for entry in folder.iterdir() if entry.is_dir() and entry.name.lower() == "hosp"]
    for place in [folder, *inner]:
        paths = {path.name.lower().split(".")[0]: path for path in find_tables(place, lambda stem: stem in TABLES)}
        if len(paths) == len(TABLES):
            return paths
    return None


def _version(diagnoses):
    headers = headers_of(diagnoses)
    if "icd9_code" in headers:
        return 3
    if {"icd_code", "icd_version"} <= set(headers):
        return 4
    raise DataError(
        f"{diagnoses}: expected a column icd9_code (MIMIC-III) or icd_code and icd_version (MIMIC-IV), "
        f"received columns {shown_headers(headers, 400)}"
    )


def _load(request):
    paths = _find(request.data_file)
    if paths is None:
        names = ", ".join(name.upper() for name in TABLES)
        received = "a folder without them" if Path(request.data_file).is_dir() else "no folder"
        raise DataError(
            f"{request.data_file}: expected a folder with {names} (.csv or .csv.gz), in it or in its "
            f"folder hosp; received {received}"
        )
    request = _shifted(request)
    connection, version, account = request.connection, _version(paths["diagnoses_icd"]), Account()
    for table in TABLES:
        connection.execute(f"DROP TABLE IF EXISTS temp.mimic_{table}")
    reader = TableReader(connection)
    diagnoses, headers = read_table(reader, paths["diagnoses_icd"], "mimic_diagnoses_icd", DIAGNOSES[version])
    admissions, admission_headers = read_table(reader, paths["admissions"], "mimic_admissions", ADMISSIONS)
    patients, patient_headers = read_table(reader, paths["patients"], "mimic_patients", PATIENTS[version])
    for table in TABLES:
        account.add(settle_ids(connection, f"mimic_{table}", "patient", "patient_id"))
    for table in TABLES[:2]:
        account.add(settle_ids(connection, f"mimic_{table}", "stay", "stay_id"))
    _make_admissions(request, account)
    _make_known(request, version, account)
    _fill_stays(request, version)
    judge_codes(request, SOURCE, account)
    judge_deaths(request, account, "SELECT patient AS patient_id, death FROM mimic_known")
    listed = {
        **headers,
        "patient_id": headers["patient"],
        "stay_id": headers["stay"],
        "admit": "admittime",
        "discharge": "dischtime",
    }
    bad_sql = f"SELECT {diagnoses} AS file, record, reason FROM stays WHERE reason > 0"
    settle(request, account, reader, bad_sql, [listed, admission_headers, patient_headers], row_files=[diagnoses])
    _make_patients(request, account)
    account.add(
        {
            "admissions_without_codes": connection.execute(
                "SELECT count(*) FROM mimic_stays WHERE (patient, stay) NOT IN (SELECT patient_id, stay_id FROM stays)"
            ).fetchone()[0],
            "admission_rows_rejected": reader.structural_count(admissions),
            "patient_rows_rejected": reader.structural_count(patients),
            "overlapping_stays": count_overlaps(connection),
        }
    )
    for table in (*TABLES, "stays", "known"):
        connection.execute(f"DROP TABLE IF EXISTS temp.mimic_{table}")
    account.notes.append(
        f"MIMIC-{'III' if version == 3 else 'IV'}: dates are shifted per patient; ages over 89 are read as 90"
    )
    account.tables = reader.used
    return finish(request, SOURCE, [str(paths[table]) for table in TABLES], account)


def _shifted(request):
    """The request, with rules for dates that are shifted per patient."""
    rules = request.rules
    if rules.observation_end not in (None, FOR_COLUMN):
        raise DataError(
            f"--observation_end={rules.observation_end}: expected no such day with MIMIC, whose dates are shifted per "
            "patient"
        )
    if rules.code_separator:
        raise DataError("--code_separator: expected no such flag with MIMIC, where each row holds one code")
    return dataclasses.replace(
        request, rules=dataclasses.replace(rules, dates=dataclasses.replace(rules.dates, shifted_dates=True))
    )


def _make_admissions(request, account):
    """Makes `mimic_stays`, one row per admission; counts those that repeat an earlier one, and unreadable deaths."""
    connection, dates = request.connection, request.rules.dates
    admit, discharge = (timestamp_sql(name, dates) for name in ("raw_admit", "raw_discharge"))
    death = timestamp_sql("raw_death", dates)
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE mimic_stays AS
        SELECT patient, stay, admit, {discharge_sql("discharge", "raw_discharge", dates)} AS discharge, death,
               raw_admit, raw_discharge
        FROM (SELECT patient, stay, {admit} AS admit, {discharge} AS discharge, {death} AS death, raw_admit,
                     raw_discharge, row_number() OVER (PARTITION BY patient, stay ORDER BY rowid) AS place
              FROM mimic_admissions)
        WHERE place = 1"""
    )
    rows, stays = connection.execute(
        "SELECT (SELECT count(*) FROM mimic_admissions), (SELECT count(*) FROM mimic_stays)"
    ).fetchone()
    account.add({"admissions_repeated": rows - stays})
    account.add({"discharges_at_midnight_taken_for_dates": settle_midnights(connection, "mimic_stays")})
    judge_values(request, account, "mimic_admissions", "death", "raw_death", day_sql("death", "raw_death", dates))


def _make_known(request, version, account):
    """Makes `mimic_known`: birth, sex and death of each patient of PATIENTS or ADMISSIONS; counts unusable values."""
    dates = request.rules.dates
    died = day_sql("death", "raw_dod", dates)
    sex = "CASE upper(trim(sex)) WHEN 'F' THEN 'F' WHEN 'M' THEN 'M' END"
    birth = "make_date(TRY_CAST(anchor_year AS BIGINT) - TRY_CAST(anchor_age AS BIGINT), 1, 1)"
    if version == 3:
        birth = day_sql("birth", "raw_birth", dates)
        judge_values(request, account, "mimic_patients", "birth", "raw_birth", birth)
    judge_values(request, account, "mimic_patients", "death", "raw_dod", died)
    judge_values(request, account, "mimic_patients", "sex", "sex", sex)
    request.connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE mimic_known AS
        SELECT coalesce(k.patient, e.patient) AS patient, birth, sex,
               CAST(coalesce(dod, CAST(deathtime AS DATE)) AS DATE) AS death, last_discharge,
               k.patient IS NOT NULL AS in_patients
        FROM (SELECT patient, min({birth}) AS birth, min({died}) AS dod, min({sex}) AS sex
              FROM mimic_patients WHERE patient IS NOT NULL GROUP BY patient) k
        FULL JOIN (SELECT patient, max(CAST(discharge AS DATE)) FILTER (discharge >= admit) AS last_discharge,
                          min(death) FILTER (discharge >= admit) AS deathtime
                   FROM mimic_stays WHERE patient IS NOT NULL GROUP BY patient) e ON e.patient = k.patient"""
    )


def _fill_stays(request, version):
    """Fills the wide `stays` table, in the order of DIAGNOSES_ICD."""
    connection = request.connection
    create_wide_table(connection, {**wide_columns(()), "record": "BIGINT"})
    nine, ten = "WHEN '9' THEN 'ICD9_' WHEN '9.0' THEN 'ICD9_'", "WHEN '10' THEN 'ICD10_' WHEN '10.0' THEN 'ICD10_'"
    prefix = "'ICD9_'" if version == 3 else f"CASE trim(version) {nine} {ten} END"
    reason = reason_sql(
        request.rules.dates, line_breaks=False, unknown_stay="stay_id IS NULL", unknown_version="prefix IS NULL"
    )
    connection.execute(
        f"""INSERT INTO stays
        SELECT patient_id, stay_id, admit, discharge, prefix || code, seq_num, NULL, NULL, NULL, {reason}, 0, record
        FROM (SELECT d.patient AS patient_id, a.stay AS stay_id, a.admit, a.discharge, a.raw_admit, a.raw_discharge,
                     CASE WHEN NOT {is_blank_sql("d.code")} THEN upper(replace(d.code, '.', '')) END AS code,
                     {prefix} AS prefix, TRY_CAST(d.seq_num AS INTEGER) AS seq_num, d.rowid AS record
              FROM mimic_diagnoses_icd d
              LEFT JOIN mimic_stays a ON a.patient = d.patient AND a.stay = d.stay)
        ORDER BY record"""
    )


def _make_patients(request, account):
    """Makes `patients`."""
    connection = request.connection
    end = observation_sql(request, "NULL", "k.last_discharge", "NULL", False)  # a discharge may follow the death
    connection.execute(
        f"""CREATE OR REPLACE TABLE patients AS
        SELECT s.patient_id, k.birth, k.sex, k.death, {end} AS observation_end
        FROM (SELECT DISTINCT patient_id FROM stays) s LEFT JOIN mimic_known k ON k.patient = s.patient_id"""
    )
    tests = {
        "patients_not_in_patients_table": "patient_id NOT IN (SELECT patient FROM mimic_known WHERE in_patients)",
        "patients_without_birth": "birth IS NULL",
        "patients_dead_before_birth": "death < birth",
    }
    account.add(count_patients(connection, "patients", tests))
    account.add({"patient_ids_alike": count_alike(connection, "SELECT patient_id FROM patients")})


SOURCE = Source(
    name="mimic",
    description="MIMIC-III or MIMIC-IV: a folder with ADMISSIONS, DIAGNOSES_ICD and PATIENTS (.csv or .csv.gz), or one "
    "whose folder hosp holds them",
    observation_end="the patient's last discharge: MIMIC shifts dates per patient, so that no common end of data "
    "exists",
    present_on_admission="null: MIMIC does not say which diagnoses were present on admission",
    recognise=lambda data_file: _find(data_file) is not None,
    load=_load,
)
