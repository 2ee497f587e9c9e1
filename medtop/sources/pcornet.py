"""PCORnet Common Data Model: a folder with ENCOUNTER, DIAGNOSIS, DEMOGRAPHIC and, where there, DEATH and PROCEDURES.

A stay is an encounter of the kinds IP and EI (`--encounter_types`). The kind is ENCOUNTER's: DIAGNOSIS repeats it and
may be null. DISCHARGE_DATE is null by rule for encounters of one day: those that are no stay in a bed end on their
first day (counted); a stay in a bed without it is dropped (`discharge_empty`). DX_TYPE says the system (09, 10, SM,
11); other types are dropped (`code_system_unknown`), counted.
Clinical order: `order_1` is DX_POA (Y before N before what is not known), `order_2` DX_SOURCE (final, discharge,
interim, admitting) and within it PDX (principal first), `order_3` the place in the table.
"""

from medtop.sources.ids import settle_ids
from medtop.sources.joined import Joined, blank_as_null_sql, date_and_time_sql, load_joined
from medtop.sources.reading import TableReader
from medtop.sources.settling import Account
from medtop.sources.stays import Source
from medtop.sources.tables import missing_tables, read_table, tables_of
from medtop.sources.words import is_given_sql

NEEDED = ("encounter", "diagnosis", "demographic")
OPTIONAL = ("death", "procedures")
COLUMNS = {
    "encounter": {
        "patient": "PATID",
        "stay": "ENCOUNTERID",
        "kind": "ENC_TYPE",
        "raw_admit": "ADMIT_DATE",
        "admit_time": "ADMIT_TIME",
        "raw_discharge": "DISCHARGE_DATE",
        "discharge_time": "DISCHARGE_TIME",
    },
    "diagnosis": {
        "patient": "PATID",
        "stay": "ENCOUNTERID",
        "code": "DX",
        "system": "DX_TYPE",
        "day": "DX_DATE",
        "admitted": "ADMIT_DATE",
        "source": "DX_SOURCE",
        "principal": "PDX",
        "present": "DX_POA",
    },
    "demographic": {"patient": "PATID", "raw_birth": "BIRTH_DATE", "sex": "SEX"},
    "death": {"patient": "PATID", "raw_death": "DEATH_DATE"},
    "procedures": {"patient": "PATID", "stay": "ENCOUNTERID", "code": "PX", "system": "PX_TYPE", "day": "PX_DATE"},
}
MAY_LACK = ("admit_time", "discharge_time", "day", "admitted", "source", "principal", "present")
BEDS = ("IP", "EI", "IS", "OS")
"""Kinds that last: without a date of discharge nobody knows when they ended."""

SYSTEMS = "CASE upper(trim(system)) WHEN '09' THEN 'ICD9_' WHEN '9' THEN 'ICD9_' WHEN '10' THEN 'ICD10_' "
SYSTEMS += "WHEN '11' THEN 'ICD11_' WHEN 'SM' THEN 'SNOMED_' END"
PROCEDURE_SYSTEMS = "CASE upper(trim(system)) WHEN '09' THEN 'ICD9PROC_' WHEN '9' THEN 'ICD9PROC_' "
PROCEDURE_SYSTEMS += "WHEN '10' THEN 'ICD10PCS_' WHEN 'CH' THEN 'HCPCS_' END"


def _load(request):
    paths = tables_of(request.data_file, NEEDED, OPTIONAL)
    if paths is None:
        raise missing_tables(request.data_file, NEEDED)
    connection, account, reader = request.connection, Account(), TableReader(request.connection)
    wanted = [*NEEDED, "death", *(["procedures"] if request.rules.choices.procedures else [])]
    if request.rules.choices.procedures and "procedures" not in paths:
        raise missing_tables(request.data_file, [*NEEDED, "procedures"])
    for table in COLUMNS:
        connection.execute(f"DROP TABLE IF EXISTS temp.pcornet_{table}")
    headers, numbers = [], {}
    for table in wanted:
        if table in paths:
            numbers[table], listed = read_table(
                reader,
                paths[table],
                f"pcornet_{table}",
                COLUMNS[table],
                optional=MAY_LACK,
                may_be_empty=table == "death",
                dates=request.rules.dates,
            )
            headers.append({**listed, "patient_id": "PATID", "stay_id": "ENCOUNTERID", "version": "DX_TYPE"})
            account.add(settle_ids(connection, f"pcornet_{table}", "patient", "patient_id"))
            if "stay" in COLUMNS[table]:
                account.add(settle_ids(connection, f"pcornet_{table}", "stay", "stay_id"))
        elif table == "death":
            columns = ", ".join(f"{name} VARCHAR" for name in COLUMNS[table])
            connection.execute(f"CREATE TEMP TABLE pcornet_{table} ({columns})")
            account.add({"death_table_missing": 1})
    joined = Joined(
        stays=_stays_sql(request, account),
        rows=_rows_sql(numbers),
        people=_people_sql(),
        kinds=("IP", "EI"),
        headers=headers,
        row_files=[numbers[table] for table in ("diagnosis", "procedures") if table in numbers],
        paths=[paths[table] for table in wanted if table in paths],
    )
    report = load_joined(request, SOURCE, reader, account, joined)
    for table in COLUMNS:
        connection.execute(f"DROP TABLE IF EXISTS temp.pcornet_{table}")
    return report


def _stays_sql(request, account):
    """SQL of the stays; counts encounters of one day that get their end from their beginning."""
    dates = request.rules.dates
    lasting = ", ".join(f"'{kind}'" for kind in BEDS)
    one_day = f"NOT {is_given_sql('raw_discharge')} AND upper(trim(kind)) NOT IN ({lasting})"
    account.add(
        {
            "discharges_taken_from_admission": request.connection.execute(
                f"SELECT count(*) FROM pcornet_encounter WHERE {one_day}"
            ).fetchone()[0]
        }
    )
    return f"""SELECT patient, stay, upper(trim(kind)) AS kind,
        {date_and_time_sql("raw_admit", "admit_time", dates)} AS raw_admit,
        CASE WHEN {one_day} THEN raw_admit ELSE {date_and_time_sql("raw_discharge", "discharge_time", dates)} END
        AS raw_discharge, false AS still, rowid AS place FROM pcornet_encounter"""


def _rows_sql(numbers):
    sources = "CASE upper(trim(source)) WHEN 'FI' THEN 0 WHEN 'DI' THEN 1 WHEN 'IN' THEN 2 WHEN 'AD' THEN 3 ELSE 4 END"
    principal = "CASE upper(trim(principal)) WHEN 'P' THEN 0 WHEN 'S' THEN 1 ELSE 2 END"
    present = "CASE upper(trim(present)) WHEN 'Y' THEN 'Y' WHEN 'N' THEN 'N' END"
    rows = f"""SELECT file, rowid - first AS record, patient, stay,
        coalesce({blank_as_null_sql("day")}, admitted) AS day, {SYSTEMS} AS mark, code,
        CASE {present} WHEN 'Y' THEN 0 WHEN 'N' THEN 1 END AS order_1,
        3 * ({sources}) + {principal} AS order_2, rowid AS order_3, {present} AS present FROM pcornet_diagnosis"""
    if "procedures" in numbers:
        rows += f""" UNION ALL SELECT file, rowid - first, patient, stay, day, {PROCEDURE_SYSTEMS}, code, NULL, NULL,
            rowid, NULL FROM pcornet_procedures"""
    return rows


def _people_sql():
    sex = "CASE WHEN upper(trim(sex)) IN ('F', 'M') THEN upper(trim(sex)) END"
    return f"""SELECT patient, raw_birth AS birth, {sex} AS sex, NULL AS death FROM pcornet_demographic
        UNION ALL SELECT patient, NULL, NULL, raw_death FROM pcornet_death"""


SOURCE = Source(
    name="pcornet",
    description="PCORnet CDM: a folder with ENCOUNTER, DIAGNOSIS, DEMOGRAPHIC, DEATH and PROCEDURES (.csv, .csv.gz, "
    ".parquet)",
    observation_end="for every patient the end of the last month with a usual number of admissions, or the death "
    "before it: the tables do not say until when they observe",
    present_on_admission="DX_POA: Y and N are taken, all else is null",
    recognise=lambda data_file: tables_of(data_file, NEEDED) is not None,
    load=_load,
    choices=("encounter_types", "link_by_date", "procedures"),
)
