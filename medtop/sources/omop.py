"""OMOP Common Data Model 5.3 and 5.4: a folder with VISIT_OCCURRENCE, CONDITION_OCCURRENCE, PERSON and more.

A stay is a visit of the concepts 9201 (inpatient) and 262 (emergency room and inpatient) (`--encounter_types`). A visit
of type 32220, or with it as its discharge, is a still-patient visit, whose end is the day when the data were drawn: its
rows are dropped (`still_patient`). Conditions without a visit of their own person are dropped (`stay_unknown`), or
go to the visit of their date (`--link_by_date`).
Codes are those of the source concepts (`ICD10_E119`, `SNOMED_195662009`); where a row has none, its source value counts
if it has a mark of its own, or with `--code_system`. `--omop_codes=standard` takes the standard concepts. One source
code may stand for several standard concepts: the rows that repeat it are merged and counted.
Headers that R wrote (`date(visit_start_date,'unixepoch')`) are read as the name within.
Clinical order: `order_1` is 0 for primary diagnoses (condition status), 1 for others with a status; `order_2` the place
in the table. OMOP has no present-on-admission.
"""

import re

from medtop.sources.ids import settle_ids
from medtop.sources.joined import Joined, blank_as_null_sql, load_joined
from medtop.sources.reading import TableReader
from medtop.sources.settling import Account
from medtop.sources.stays import Source
from medtop.sources.tables import missing_tables, read_table, tables_of
from medtop.sources.words import is_given_sql

NEEDED = ("visit_occurrence", "condition_occurrence", "person", "concept")
OPTIONAL = ("death", "observation_period", "procedure_occurrence")
CODED = {
    "patient": "person_id",
    "stay": "visit_occurrence_id",
    "concept": "{0}_concept_id",
    "source_concept": "{0}_source_concept_id",
    "source_value": "{0}_source_value",
}
COLUMNS = {
    "visit_occurrence": {
        "patient": "person_id",
        "stay": "visit_occurrence_id",
        "kind": "visit_concept_id",
        "kind_of_record": "visit_type_concept_id",
        "start_date": "visit_start_date",
        "start_time": "visit_start_datetime",
        "end_date": "visit_end_date",
        "end_time": "visit_end_datetime",
        "discharged_to": "discharged_to_concept_id",
        "discharge_to": "discharge_to_concept_id",
    },
    "condition_occurrence": {
        **{name: header.format("condition") for name, header in CODED.items()},
        "day": "condition_start_date",
        "status": "condition_status_concept_id",
    },
    "procedure_occurrence": {
        **{name: header.format("procedure") for name, header in CODED.items()},
        "day": "procedure_date",
    },
    "person": {
        "patient": "person_id",
        "sex": "gender_concept_id",
        "born": "birth_datetime",
        "year": "year_of_birth",
        "month": "month_of_birth",
        "first_day": "day_of_birth",
    },
    "death": {"patient": "person_id", "raw_death": "death_date"},
    "observation_period": {"patient": "person_id", "raw_end": "observation_period_end_date"},
    "concept": {"concept": "concept_id", "vocabulary": "vocabulary_id", "code": "concept_code"},
}
MAY_LACK = ("start_time", "end_time", "discharged_to", "discharge_to", "born", "month", "first_day", "status")
IDS = {"patient": "patient_id", "stay": "stay_id"}
INPATIENT = ("9201", "262")
STILL_PATIENT = "32220"
PRIMARY = ("32901", "32902", "32903", "38000183", "38000199", "38000184", "44786627", "44786629")
"""Condition statuses of primary diagnoses (of admission, any, of discharge), and those that older data write."""

MARKS = {
    "ICD10": ("ICD10", "ICD10CM", "ICD10GM", "ICD10CN", "CIM10", "KCD7"),
    "ICD9": ("ICD9CM",),
    "ICD9PROC": ("ICD9PROC", "ICD9PROCCN"),
    "ICD10PCS": ("ICD10PCS",),
    "HCPCS": ("HCPCS", "CPT4"),
}
"""Mark of a code -> vocabularies (upper case); the others are their own mark."""

_EXPORTED = re.compile(r"\s*\w+\(\s*\"?(\w+)\"?\s*(?:,[^)]*)?\)\s*")


def plain_header(header):
    """The column that a header means, in lower case.

    >>> plain_header("date(visit_start_date,'unixepoch')"), plain_header("PERSON_ID")
    ('visit_start_date', 'person_id')
    """
    exported = _EXPORTED.fullmatch(header)
    return (exported[1] if exported else header.strip().strip('"')).lower()


def _load(request):
    choices, connection = request.rules.choices, request.connection
    needed = [*NEEDED, *(["procedure_occurrence"] if choices.procedures else [])]
    paths = tables_of(request.data_file, needed, OPTIONAL)
    if paths is None:
        raise missing_tables(request.data_file, needed)
    account, reader, headers, numbers = Account(), TableReader(connection), [], {}
    for table in COLUMNS:
        connection.execute(f"DROP TABLE IF EXISTS temp.omop_{table}")
    for table in [*needed, "death", "observation_period"]:
        if table not in paths:
            columns = ", ".join(f"{name} VARCHAR" for name in COLUMNS[table])
            connection.execute(f"CREATE TEMP TABLE omop_{table} ({columns})")
            account.add({f"{table}_table_missing": 1})
            continue
        numbers[table], listed = read_table(
            reader,
            paths[table],
            f"omop_{table}",
            COLUMNS[table],
            optional=MAY_LACK,
            known_as=plain_header,
            may_be_empty=table in OPTIONAL,
            dates=request.rules.dates,
        )
        headers.append({**listed, "patient_id": "person_id", "stay_id": "visit_occurrence_id"})
        for column in COLUMNS[table].keys() & IDS.keys():
            account.add(settle_ids(connection, f"omop_{table}", column, IDS[column]))
    _settle_concepts(connection, numbers)
    coded = [table for table in ("condition_occurrence", "procedure_occurrence") if table in needed]
    merged = _merge_repeats(connection, coded, choices.omop_codes, account)
    joined = Joined(
        stays=_stays_sql(),
        rows=" UNION ALL ".join(_rows_sql(request, table) for table in coded),
        people=_people_sql(connection, account),
        kinds=INPATIENT,
        headers=headers,
        row_files=[numbers[table] for table in coded],
        paths=[paths[table] for table in numbers],
        has_end="observation_period" in paths,
        rows_merged=merged,
    )
    report = load_joined(request, SOURCE, reader, account, joined)
    for table in COLUMNS:
        connection.execute(f"DROP TABLE IF EXISTS temp.omop_{table}")
    return report


def _settle_concepts(connection, numbers):
    """Concept ids as whole numbers in text: `32020.0`, which pandas writes, is 32020."""
    for table, column in (
        ("concept", "concept"),
        ("visit_occurrence", "kind"),
        ("visit_occurrence", "kind_of_record"),
        ("visit_occurrence", "discharged_to"),
        ("visit_occurrence", "discharge_to"),
        ("person", "sex"),
        *(
            (table, name)
            for table in ("condition_occurrence", "procedure_occurrence")
            for name in ("concept", "source_concept")
        ),
        ("condition_occurrence", "status"),
    ):
        if table in numbers:
            settle_ids(connection, f"omop_{table}", column)


def _merge_repeats(connection, tables, codes, account):
    """Marks rows that repeat the source code of an earlier row for another standard concept (column `repeats`).

    Returns:
        int, how many rows repeat another one.
    """
    merged = 0
    for table in tables:
        name = f"omop_{table}"
        connection.execute(f"ALTER TABLE {name} ADD COLUMN repeats BOOLEAN DEFAULT false")
        if codes == "standard":
            continue
        connection.execute(
            f"""UPDATE {name} SET repeats = true FROM (
                SELECT rowid AS place, row_number() OVER same AS turn, first_value(concept) OVER same AS kept, concept
                FROM {name}
                WINDOW same AS (PARTITION BY patient, stay, day, source_concept, source_value ORDER BY rowid)) r
            WHERE {name}.rowid = r.place AND turn > 1 AND r.kept IS DISTINCT FROM r.concept"""
        )
        merged += connection.execute(f"SELECT count(*) FROM {name} WHERE repeats").fetchone()[0]
    account.add({"rows_of_one_source_code_merged": merged})
    return merged


def _stays_sql():
    def moment(date, time):  # a time of day only where it is one: many write the date twice, or midnight
        timed = f"length(trim({time})) > 10 AND left(trim({time}), 10) = left(trim({date}), 10)"
        midnight = f"regexp_full_match(trim({time}), '.{{10}}[ T]00:00(:00([.]0+)?)?.*')"
        return f"CASE WHEN {timed} AND NOT {midnight} THEN {time} ELSE {date} END"

    still = (
        f"'{STILL_PATIENT}' IN (coalesce(kind_of_record, ''), coalesce(discharged_to, ''), coalesce(discharge_to, ''))"
    )
    return f"""SELECT patient, stay, kind, {moment("start_date", "start_time")} AS raw_admit,
        {moment("end_date", "end_time")} AS raw_discharge, {still} AS still, rowid AS place
        FROM omop_visit_occurrence"""


def _rows_sql(request, table):
    """SQL of the coded rows of a table."""
    system = request.rules.code_system
    marks = " ".join(
        f"WHEN upper(c.vocabulary) IN ({', '.join(repr(name) for name in names)}) THEN '{mark}_'"
        for mark, names in MARKS.items()
    )
    mark = f"CASE {marks} ELSE upper(c.vocabulary) || '_' END"
    concept = "concept" if request.rules.choices.omop_codes == "standard" else "source_concept"
    own = "regexp_matches(r.source_value, '(?i)^ICD[-_ ]?(9|10)([-_ ]?(CM|GM|AM|CA|WHO))?[-_ :]+\\S')"
    otherwise = f"'{system.upper()}_'" if system in ("icd9", "icd10") else "NULL"
    fallback = f"CASE WHEN {own} THEN '' ELSE {otherwise} END"
    if concept == "concept":
        fallback = "NULL"
    order = "CASE WHEN r.status IN ({}) THEN 0 WHEN r.status <> '0' THEN 1 END".format(
        ", ".join(f"'{status}'" for status in PRIMARY)
    )
    order = order if table == "condition_occurrence" else "NULL"
    return f"""SELECT r.file, r.rowid - r.first AS record, r.patient, r.stay, r.day,
        CASE WHEN c.concept IS NOT NULL THEN {mark} ELSE {fallback} END AS mark,
        CASE WHEN c.concept IS NOT NULL THEN c.code
             ELSE coalesce({blank_as_null_sql("r.source_value")}, r.{concept}) END AS code,
        {order} AS order_1, r.rowid AS order_2, NULL AS order_3, NULL AS present
        FROM omop_{table} r LEFT JOIN (SELECT concept, any_value(vocabulary) AS vocabulary, any_value(code) AS code
            FROM omop_concept WHERE concept <> '0' GROUP BY concept) c ON c.concept = r.{concept}
        WHERE NOT r.repeats"""


def _people_sql(connection, account):
    """SQL of the people; counts births without a day."""
    parts = "year IS NOT NULL AND ({} IS NULL OR {} IS NULL)".format(*map(blank_as_null_sql, ("month", "first_day")))
    short = f"NOT {is_given_sql('born')} AND {parts}"
    several = "SELECT count(*) FROM (SELECT patient FROM omop_observation_period GROUP BY patient HAVING count(*) > 1)"
    account.add(
        {
            "births_without_a_day": connection.execute(f"SELECT count(*) FROM omop_person WHERE {short}").fetchone()[0],
            "patients_with_several_observation_periods": connection.execute(several).fetchone()[0],
        }
    )

    def number(name, digits, default):
        value = f"CAST(TRY_CAST({name} AS DOUBLE) AS INTEGER)"
        return f"lpad(CAST(coalesce({value}, {default}) AS VARCHAR), {digits}, '0')"

    whole = f"{number('year', 4, 'NULL')} || '-' || {number('month', 2, 1)} || '-' || {number('first_day', 2, 1)}"
    sex = "CASE sex WHEN '8532' THEN 'F' WHEN '8507' THEN 'M' END"
    return f"""SELECT patient, coalesce({blank_as_null_sql("born")}, {whole}) AS birth, {sex} AS sex, NULL AS death,
        NULL AS observation_end FROM omop_person
        UNION ALL SELECT patient, NULL, NULL, raw_death, NULL FROM omop_death
        UNION ALL SELECT patient, NULL, NULL, NULL, raw_end FROM omop_observation_period"""


SOURCE = Source(
    name="omop",
    description="OMOP CDM 5.3 or 5.4: a folder with VISIT_OCCURRENCE, CONDITION_OCCURRENCE, PERSON, CONCEPT, DEATH, "
    "OBSERVATION_PERIOD and PROCEDURE_OCCURRENCE (.csv, .csv.gz, .parquet)",
    observation_end="the end of the patient's last observation period; without one the end of the last month with a "
    "usual number of admissions, or the death before it",
    present_on_admission="null: OMOP does not say which diagnoses were present on admission",
    recognise=lambda data_file: tables_of(data_file, NEEDED[:3]) is not None,
    load=_load,
    choices=("encounter_types", "link_by_date", "procedures", "omop_codes"),
)
