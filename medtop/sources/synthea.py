"""Synthea's CSV export: a folder with encounters, conditions and patients.

A stay is an encounter of the class inpatient (`--encounter_types=inpatient,emergency`). Codes are SNOMED CT
(`SNOMED_44054006`), which no ICD endpoint matches; newer exports name the system in a column. Times end in Z: wall time
as written, or `--time_zone`. Order: the place in the table.
"""

from medtop.sources.joined import Joined, load_joined
from medtop.sources.settling import Account
from medtop.sources.stays import Source
from medtop.sources.tables import joined_tables, tables_of

COLUMNS = {
    "encounters": {
        "patient": "PATIENT",
        "stay": "Id",
        "kind": "ENCOUNTERCLASS",
        "raw_admit": "START",
        "raw_discharge": "STOP",
    },
    "conditions": {"patient": "PATIENT", "stay": "ENCOUNTER", "day": "START", "system": "SYSTEM", "code": "CODE"},
    "patients": {"patient": "Id", "birth": "BIRTHDATE", "sex": "GENDER", "death": "DEATHDATE"},
}
NEEDED = tuple(COLUMNS)


def _load(request):
    account, headers = Account(), {"patient_id": "PATIENT", "stay_id": "ENCOUNTER"}
    tables = joined_tables(request, account, "synthea", COLUMNS, ("system", "death"), headers)
    with tables as (reader, paths, listed):
        return load_joined(request, SOURCE, reader, account, _joined(paths, listed))


def _joined(paths, headers):
    marks = (
        "CASE WHEN system IS NULL OR system ILIKE '%snomed%' THEN 'SNOMED_' WHEN system ILIKE '%icd%10%' THEN 'ICD10_' "
    )
    marks += "WHEN system ILIKE '%icd%9%' THEN 'ICD9_' END"
    return Joined(
        stays="SELECT patient, stay, upper(trim(kind)) AS kind, raw_admit, raw_discharge, false AS still, "
        "rowid AS place FROM synthea_encounters",
        rows=f"SELECT file, rowid - first AS record, patient, stay, day, {marks} AS mark, code, NULL AS order_1, "
        "rowid AS order_2, NULL AS order_3, NULL AS present FROM synthea_conditions",
        people="SELECT patient, birth, CASE WHEN upper(trim(sex)) IN ('F', 'M') THEN upper(trim(sex)) END AS sex, "
        "death FROM synthea_patients",
        kinds=("INPATIENT",),
        headers=headers,
        row_files=[NEEDED.index("conditions")],
        paths=paths,
    )


SOURCE = Source(
    name="synthea",
    description="Synthea's CSV export: a folder with encounters, conditions and patients (.csv, .csv.gz, .parquet)",
    observation_end="for every patient the end of the last month with a usual number of admissions, or the death "
    "before it",
    present_on_admission="null: Synthea does not say which diagnoses were present on admission",
    recognise=lambda data_file: tables_of(data_file, NEEDED) is not None,
    load=_load,
    choices=("encounter_types", "link_by_date"),
)
