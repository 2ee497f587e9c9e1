"""MIMIC-III and MIMIC-IV: a folder with ADMISSIONS, DIAGNOSES_ICD and PATIENTS, or one whose `hosp` folder holds them.

The version is told by the columns: `icd9_code` (III) or `icd_code` and `icd_version` (IV). Codes become `ICD9_99591`,
`ICD10_I5021`. `order_1` is `seq_num`. Birth is `dob` (III; shifted, so that patients over 89 seem about 300 years old:
ages over 89 become 90 where ages are made) or 1 January of `anchor_year - anchor_age` (IV, where ages over 89 are
given as 91). Death is `dod`, without it the day of the earliest `deathtime`.
"""

from pathlib import Path

from medtop.files.errors import DataError
from medtop.sources.reading import TableReader, discharge_sql, is_blank_sql, timestamp_sql
from medtop.sources.rows import create_wide_table, finish, reason_sql, settle, wide_columns
from medtop.sources.stays import Source
from medtop.sources.tables import count_overlaps, find_tables, headers_of, read_table

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
        f"received columns {', '.join(headers)[:400]}"
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
    connection, version = request.connection, _version(paths["diagnoses_icd"])
    for table in TABLES:
        connection.execute(f"DROP TABLE IF EXISTS temp.mimic_{table}")
    reader = TableReader(connection)
    diagnoses, headers = read_table(reader, paths["diagnoses_icd"], "mimic_diagnoses_icd", DIAGNOSES[version])
    admissions, admission_headers = read_table(reader, paths["admissions"], "mimic_admissions", ADMISSIONS)
    patients, patient_headers = read_table(reader, paths["patients"], "mimic_patients", PATIENTS[version])
    repeated = _make_admissions(connection, request.date_format)
    _fill_stays(connection, version)
    bad_sql = f"SELECT {diagnoses} AS file, record, reason FROM stays WHERE reason > 0"
    listed = [
        {
            **headers,
            "patient_id": headers["patient"],
            "stay_id": headers["stay"],
            "admit": "admittime",
            "discharge": "dischtime",
        },
        admission_headers,
        patient_headers,
    ]
    rows_in, dropped = settle(request, reader, bad_sql, listed, row_files=[diagnoses])
    counts = _make_patients(connection, version, request.date_format)
    counts |= {
        "admissions_repeated": repeated,
        "admissions_without_codes": connection.execute(
            "SELECT count(*) FROM mimic_stays WHERE (patient, stay) NOT IN (SELECT patient_id, stay_id FROM stays)"
        ).fetchone()[0],
        "admission_rows_rejected": reader.structural_count(admissions),
        "patient_rows_rejected": reader.structural_count(patients),
        "overlapping_stays": count_overlaps(connection),
    }
    for table in (*TABLES, "stays"):
        connection.execute(f"DROP TABLE IF EXISTS temp.mimic_{table}")
    files = [str(paths[table]) for table in TABLES]
    notes = [f"MIMIC-{'III' if version == 3 else 'IV'}: dates are shifted per patient; ages over 89 are read as 90"]
    counts = {name: count for name, count in counts.items() if count}
    return finish(request, SOURCE, files, rows_in, dropped, counts, notes)


def _make_admissions(connection, date_format):
    """Makes `mimic_stays`, one row per admission; returns how many rows repeated an earlier one."""
    admit, discharge, death = (timestamp_sql(name, date_format) for name in ("raw_admit", "raw_discharge", "raw_death"))
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE mimic_stays AS
        SELECT patient, stay, admit, {discharge_sql("admit", "discharge", "raw_discharge")} AS discharge, death,
               raw_admit, raw_discharge
        FROM (SELECT trim(patient) AS patient, trim(stay) AS stay, {admit} AS admit, {discharge} AS discharge,
                     {death} AS death, raw_admit, raw_discharge,
                     row_number() OVER (PARTITION BY trim(patient), trim(stay) ORDER BY rowid) AS place
              FROM mimic_admissions)
        WHERE place = 1"""
    )
    rows, stays = connection.execute(
        "SELECT (SELECT count(*) FROM mimic_admissions), (SELECT count(*) FROM mimic_stays)"
    ).fetchone()
    return rows - stays


def _fill_stays(connection, version):
    """Fills the wide `stays` table, in the order of DIAGNOSES_ICD."""
    create_wide_table(connection, {**wide_columns(()), "record": "BIGINT"})
    prefix = "'ICD9_'" if version == 3 else "CASE trim(version) WHEN '9' THEN 'ICD9_' WHEN '10' THEN 'ICD10_' END"
    reason = reason_sql(line_breaks=False, unknown_stay="stay_id IS NULL", unknown_version="prefix IS NULL")
    connection.execute(
        f"""INSERT INTO stays
        SELECT patient_id, stay_id, admit, discharge, prefix || code, seq_num, NULL, NULL, NULL, {reason}, 0, record
        FROM (SELECT trim(d.patient) AS patient_id, a.stay AS stay_id, a.admit, a.discharge,
                     a.raw_admit, a.raw_discharge,
                     CASE WHEN NOT {is_blank_sql("d.code")} THEN upper(replace(trim(d.code), '.', '')) END AS code,
                     {prefix} AS prefix, TRY_CAST(d.seq_num AS INTEGER) AS seq_num, d.rowid AS record
              FROM mimic_diagnoses_icd d
              LEFT JOIN mimic_stays a ON a.patient = trim(d.patient) AND a.stay = trim(d.stay))
        ORDER BY record"""
    )


def _make_patients(connection, version, date_format):
    """Makes `patients`; returns counts."""
    if version == 3:
        birth = f"CAST({timestamp_sql('raw_birth', date_format)} AS DATE)"
    else:
        birth = "make_date(TRY_CAST(anchor_year AS BIGINT) - TRY_CAST(anchor_age AS BIGINT), 1, 1)"
    connection.execute(
        f"""CREATE OR REPLACE TABLE patients AS
        WITH known AS (
            SELECT trim(patient) AS patient, min({birth}) AS birth, min({timestamp_sql("raw_dod", date_format)}) AS dod,
                   min(CASE upper(trim(sex)) WHEN 'F' THEN 'F' WHEN 'M' THEN 'M' END) AS sex
            FROM mimic_patients GROUP BY trim(patient)),
        seen AS (
            SELECT patient, CAST(max(discharge) AS DATE) AS last_discharge, min(death) AS deathtime
            FROM mimic_stays WHERE discharge >= admit GROUP BY patient)
        SELECT s.patient_id, k.birth, k.sex, CAST(coalesce(k.dod, e.deathtime) AS DATE) AS death,
               e.last_discharge AS observation_end
        FROM (SELECT DISTINCT patient_id FROM stays) s
        LEFT JOIN known k ON k.patient = s.patient_id
        LEFT JOIN seen e ON e.patient = s.patient_id"""
    )
    unknown, births = connection.execute(
        "SELECT count(*) FILTER (WHERE patient_id NOT IN "
        "(SELECT trim(patient) FROM mimic_patients WHERE patient IS NOT NULL)), "
        "count(*) FILTER (WHERE birth IS NULL) FROM patients"
    ).fetchone()
    return {"patients_not_in_patients_table": unknown, "patients_without_birth": births}


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
