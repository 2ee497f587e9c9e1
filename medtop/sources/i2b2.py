"""i2b2: a folder with observation_fact, visit_dimension and patient_dimension.

A stay is a visit whose INOUT_CD is I (`--encounter_types`). Facts whose CONCEPT_CD is an ICD diagnosis (`ICD10:E11.9`,
`ICD9CM:250.00`, also behind a site's prefix, `UKY|ICD10:I10`) are diagnoses; other facts are counted, not read. A fact
is repeated once a modifier (MODIFIER_CD): the repeats are merged and counted. Order: the place in the table.
"""

from medtop.files.errors import DataError
from medtop.files.sql import quote
from medtop.sources.joined import Joined, load_joined
from medtop.sources.settling import Account
from medtop.sources.stays import Source
from medtop.sources.tables import joined_tables, tables_of

COLUMNS = {
    "visit_dimension": {
        "patient": "PATIENT_NUM",
        "stay": "ENCOUNTER_NUM",
        "kind": "INOUT_CD",
        "raw_admit": "START_DATE",
        "raw_discharge": "END_DATE",
    },
    "observation_fact": {
        "patient": "PATIENT_NUM",
        "stay": "ENCOUNTER_NUM",
        "concept": "CONCEPT_CD",
        "day": "START_DATE",
        "provider": "PROVIDER_ID",
        "instance": "INSTANCE_NUM",
        "modifier": "MODIFIER_CD",
    },
    "patient_dimension": {"patient": "PATIENT_NUM", "birth": "BIRTH_DATE", "sex": "SEX_CD", "death": "DEATH_DATE"},
}
NEEDED = tuple(COLUMNS)
DIAGNOSIS = r"(?i)^(?:.*[|\\/])?ICD-?(9|10)(?:-?(?:CM|GM|AM|CA|WHO))?:(.+)$"
"""RE2: the version and the code of a concept; procedures (`ICD9PROC:`, `ICD10PCS:`) do not match."""
CONCEPT = "trim(concept)"


def _load(request):
    account, headers = Account(), {"patient_id": "PATIENT_NUM", "stay_id": "ENCOUNTER_NUM", "code": "CONCEPT_CD"}
    tables = joined_tables(request, account, "i2b2", COLUMNS, ("provider", "instance", "modifier"), headers)
    with tables as (reader, paths, listed):
        merged = _mark_repeats(request, account, f"regexp_matches({CONCEPT}, {quote(DIAGNOSIS)})")
        return load_joined(request, SOURCE, reader, account, _joined(paths, listed, merged))


def _joined(paths, headers, merged):
    pattern = quote(DIAGNOSIS)
    return Joined(
        stays="SELECT patient, stay, upper(trim(kind)) AS kind, raw_admit, raw_discharge, false AS still, "
        "rowid AS place FROM i2b2_visit_dimension",
        rows="SELECT file, rowid - first AS record, patient, stay, day, "
        f"'ICD' || regexp_extract({CONCEPT}, {pattern}, 1) "
        f"|| '_' AS mark, regexp_extract({CONCEPT}, {pattern}, 2) AS code, NULL AS order_1, "
        "rowid AS order_2, NULL AS order_3, NULL AS present FROM i2b2_observation_fact WHERE turn = 1",
        people="SELECT patient, birth, "
        "CASE WHEN upper(left(trim(sex), 1)) IN ('F', 'M') THEN upper(left(trim(sex), 1)) "
        "END AS sex, death FROM i2b2_patient_dimension",
        kinds=("I",),
        headers=headers,
        row_files=[NEEDED.index("observation_fact")],
        paths=paths,
        rows_merged=merged,
    )


def _mark_repeats(request, account, is_diagnosis):
    """Adds the column `turn` to the facts: 1 for a diagnosis, more for its repeats by other modifiers, null for other
    facts; returns how many repeat."""
    connection = request.connection
    connection.execute("ALTER TABLE i2b2_observation_fact ADD COLUMN turn BIGINT")
    connection.execute(
        f"""UPDATE i2b2_observation_fact SET turn = r.turn FROM (
            SELECT rowid AS place, row_number() OVER (
                PARTITION BY patient, stay, concept, day, provider, instance
                ORDER BY coalesce(modifier, '@') <> '@', rowid
            ) AS turn FROM i2b2_observation_fact WHERE {is_diagnosis}) r
        WHERE i2b2_observation_fact.rowid = r.place"""
    )
    rows, others, merged = connection.execute(
        "SELECT count(*), count(*) FILTER (turn IS NULL), count(*) FILTER (turn > 1) FROM i2b2_observation_fact"
    ).fetchone()
    if rows == others:
        raise DataError(
            f"{request.data_file}: expected concepts such as ICD10:E11.9 in CONCEPT_CD, received none in {rows:,} facts"
        )
    account.add({"facts_not_read": others})
    return merged


SOURCE = Source(
    name="i2b2",
    description="i2b2: a folder with observation_fact, visit_dimension and patient_dimension (.csv, .csv.gz, .parquet)",
    observation_end="for every patient the end of the last month with a usual number of admissions, or the death "
    "before it",
    present_on_admission="null: i2b2 does not say which diagnoses were present on admission",
    recognise=lambda data_file: tables_of(data_file, NEEDED) is not None,
    load=_load,
    choices=("encounter_types", "link_by_date"),
)
