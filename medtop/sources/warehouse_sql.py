"""The query that makes the stays table inside a warehouse, for PCORnet and OMOP, in the warehouse's own SQL.

One row a diagnosis, with the standard columns (`stays.STANDARD_COLUMNS`); its result, as CSV or Parquet, is read with
`--source=columns`, whose rules then hold. What the query leaves out (encounters of other kinds, codes of unknown
systems, diagnoses without a stay) is not counted: where that matters, export the tables and use the source itself.
"""

from medtop.files.errors import DataError

DIALECTS = ("snowflake", "bigquery", "postgres", "spark", "duckdb")

_PCORNET = """
SELECT d.PATID AS patient_id, e.ENCOUNTERID AS stay_id,
    {admit} AS admit, {discharge} AS discharge,
    CASE d.DX_TYPE WHEN '09' THEN 'ICD9_' WHEN '10' THEN 'ICD10_' WHEN '11' THEN 'ICD11_' WHEN 'SM' THEN 'SNOMED_' END
        || REPLACE(UPPER(TRIM(d.DX)), '.', '') AS code,
    CASE d.DX_POA WHEN 'Y' THEN 0 WHEN 'N' THEN 1 END AS order_1,
    3 * CASE d.DX_SOURCE WHEN 'FI' THEN 0 WHEN 'DI' THEN 1 WHEN 'IN' THEN 2 WHEN 'AD' THEN 3 ELSE 4 END
        + CASE d.PDX WHEN 'P' THEN 0 WHEN 'S' THEN 1 ELSE 2 END AS order_2,
    CASE WHEN d.DX_POA IN ('Y', 'N') THEN d.DX_POA END AS present_on_admission,
    p.BIRTH_DATE AS birth, CASE WHEN p.SEX IN ('F', 'M') THEN p.SEX END AS sex, x.death AS death
FROM DIAGNOSIS AS d
JOIN ENCOUNTER AS e ON e.ENCOUNTERID = d.ENCOUNTERID AND e.PATID = d.PATID
LEFT JOIN DEMOGRAPHIC AS p ON p.PATID = d.PATID
LEFT JOIN (SELECT PATID, MIN(DEATH_DATE) AS death FROM DEATH GROUP BY PATID) AS x ON x.PATID = d.PATID
WHERE e.ENC_TYPE IN ('IP', 'EI') AND d.DX_TYPE IN ('09', '10', '11', 'SM') AND e.DISCHARGE_DATE IS NOT NULL
"""
_OMOP = """
SELECT c.person_id AS patient_id, v.visit_occurrence_id AS stay_id,
    {admit} AS admit, {discharge} AS discharge,
    CASE k.vocabulary_id WHEN 'ICD10CM' THEN 'ICD10_' WHEN 'ICD10' THEN 'ICD10_' WHEN 'ICD9CM' THEN 'ICD9_'
        ELSE UPPER(k.vocabulary_id) || '_' END || REPLACE(UPPER(TRIM(k.concept_code)), '.', '') AS code,
    CASE WHEN c.condition_status_concept_id IN (32901, 32902, 32903) THEN 0
        WHEN c.condition_status_concept_id <> 0 THEN 1 END AS order_1,
    c.condition_occurrence_id - m.first_id AS order_2,
    p.year_of_birth * 10000 + COALESCE(p.month_of_birth, 1) * 100 + COALESCE(p.day_of_birth, 1) AS birth,
    CASE p.gender_concept_id WHEN 8532 THEN 'F' WHEN 8507 THEN 'M' END AS sex, x.death AS death,
    o.observation_end AS observation_end
FROM condition_occurrence AS c
JOIN visit_occurrence AS v ON v.visit_occurrence_id = c.visit_occurrence_id AND v.person_id = c.person_id
JOIN concept AS k ON k.concept_id = c.condition_source_concept_id AND k.concept_id <> 0
JOIN (SELECT visit_occurrence_id, MIN(condition_occurrence_id) AS first_id FROM condition_occurrence
      GROUP BY visit_occurrence_id) AS m ON m.visit_occurrence_id = v.visit_occurrence_id
LEFT JOIN person AS p ON p.person_id = c.person_id
LEFT JOIN (SELECT person_id, MIN(death_date) AS death FROM death GROUP BY person_id) AS x ON x.person_id = c.person_id
LEFT JOIN (SELECT person_id, MAX(observation_period_end_date) AS observation_end FROM observation_period
           GROUP BY person_id) AS o ON o.person_id = c.person_id
WHERE v.visit_concept_id IN (9201, 262) AND v.visit_type_concept_id <> 32220
"""


def _with_clock(date, time):
    text = f"CAST(e.{date} AS VARCHAR)"
    return f"CASE WHEN e.{time} IS NULL THEN {text} ELSE {text} || ' ' || CAST(e.{time} AS VARCHAR) END"


def _with_instant(side):
    return f"COALESCE(CAST(v.visit_{side}_datetime AS VARCHAR), CAST(v.visit_{side}_date AS VARCHAR))"


QUERIES = {
    "pcornet": _PCORNET.format(
        admit=_with_clock("ADMIT_DATE", "ADMIT_TIME"), discharge=_with_clock("DISCHARGE_DATE", "DISCHARGE_TIME")
    ),
    "omop": _OMOP.format(admit=_with_instant("start"), discharge=_with_instant("end")),
}


def stays_query(source, dialect):
    """The query in a dialect.

    Args:
        source: of `QUERIES`.
        dialect: of `DIALECTS`.

    Raises:
        DataError: without sqlglot, for another dialect than DuckDB's.
    """
    try:
        import sqlglot
    except ImportError:
        raise DataError("print_stays_sql: expected the package sqlglot, which the extra [database] brings") from None
    return sqlglot.transpile(QUERIES[source], read="duckdb", write=dialect, pretty=True)[0]
