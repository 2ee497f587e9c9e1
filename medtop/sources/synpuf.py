"""CMS DE-SynPUF: a folder with inpatient claims and beneficiary summaries.

A stay is a claim (`CLM_ID`) of a beneficiary; its ten code columns become ten rows, `order_1` = n of `ICD9_DGNS_CD_n`.
A claim of two segments (same beneficiary and `CLM_ID`) is one stay from the earliest admission to the latest discharge;
the codes of segment 2 follow those of segment 1 (`order_1` = 10 (segment - 1) + n). Stays that overlap stay apart.
All codes are ICD-9 (V and E codes included) and are kept even where they do not look so; these are counted.
"""

import re
from pathlib import Path

from medtop.files.errors import DataError
from medtop.sources.reading import TableReader, discharge_sql, is_blank_sql, timestamp_sql
from medtop.sources.rows import create_wide_table, finish, reason_sql, settle, wide_columns
from medtop.sources.stays import Source
from medtop.sources.tables import count_overlaps, find_tables, read_table

CODES = [f"ICD9_DGNS_CD_{number}" for number in range(1, 11)]
CLAIMS = {
    "patient": "DESYNPUF_ID",
    "claim": "CLM_ID",
    "raw_segment": "SEGMENT",
    "raw_admit": "CLM_ADMSN_DT",
    "raw_discharge": "NCH_BENE_DSCHRG_DT",
    **{name.lower(): name for name in CODES},
}
BENEFICIARIES = {
    "patient": "DESYNPUF_ID",
    "raw_birth": "BENE_BIRTH_DT",
    "raw_death": "BENE_DEATH_DT",
    "sex": "BENE_SEX_IDENT_CD",
}
ICD9_SHAPE = r"ICD9_([0-9]{3,5}|V[0-9]{2,4}|E[0-9]{3,4})"
TEMPORARY = ("synpuf_claims", "synpuf_beneficiaries", "synpuf_stays", "synpuf_dated", "synpuf_known")


def _find(folder):
    """(claims, beneficiaries): lists of paths; empty where the folder holds none."""
    if not Path(folder).is_dir():
        return [], []
    return (
        find_tables(folder, lambda stem: "inpatient_claims" in stem),
        find_tables(folder, lambda stem: "beneficiary_summary" in stem),
    )


def _load(request):
    claims, beneficiaries = _find(request.data_file)
    if not claims or not beneficiaries:
        raise DataError(
            f"{request.data_file}: expected a folder with *Inpatient_Claims* and *Beneficiary_Summary* "
            f"files (.csv or .csv.gz), received {len(claims)} of the first and {len(beneficiaries)} of the "
            "second"
        )
    connection = request.connection
    for table in TEMPORARY:
        connection.execute(f"DROP TABLE IF EXISTS temp.{table}")
    reader, headers = TableReader(connection), []
    for path in claims:
        headers.append(read_table(reader, path, "synpuf_claims", CLAIMS)[1])
    for path in beneficiaries:
        headers.append(read_table(reader, path, "synpuf_beneficiaries", BENEFICIARIES)[1])
    counts = _merge_segments(connection, request.date_format)
    _fill_stays(connection)
    listed = [
        {
            **known,
            "patient_id": "DESYNPUF_ID",
            "stay_id": "CLM_ID",
            "admit": "CLM_ADMSN_DT",
            "discharge": "NCH_BENE_DSCHRG_DT",
        }
        for known in headers
    ]
    # a bad claim is listed once, not once per code
    bad_sql = "SELECT DISTINCT file, record, reason FROM stays WHERE reason > 0"
    rows_in, dropped = settle(request, reader, bad_sql, listed, row_files=range(len(claims)))
    counts |= _make_patients(connection, _last_year(claims + beneficiaries), request.date_format)
    counts |= {
        "codes_not_shaped_like_icd9": connection.execute(
            f"SELECT count(*) FROM stays WHERE NOT regexp_full_match(code, '{ICD9_SHAPE}')"
        ).fetchone()[0],
        "beneficiary_rows_rejected": sum(map(reader.structural_count, range(len(claims), len(headers)))),
        "overlapping_stays": count_overlaps(connection),
    }
    for table in TEMPORARY:
        connection.execute(f"DROP TABLE IF EXISTS temp.{table}")
    counts = {name: count for name, count in counts.items() if count}
    notes = [
        "rows are diagnosis entries: code cells of inpatient claims that hold something; a line that cannot be "
        "split into columns counts as one"
    ]
    return finish(request, SOURCE, [str(path) for path in claims + beneficiaries], rows_in, dropped, counts, notes)


def _merge_segments(connection, date_format):
    """Makes `synpuf_stays` (one row per claim id) and `synpuf_dated` (one row per claim line); returns counts."""
    admit, discharge = (timestamp_sql(name, date_format) for name in ("raw_admit", "raw_discharge"))
    codes = ", ".join(name.lower() for name in CODES)
    connection.execute(
        f"""CREATE TEMP TABLE synpuf_dated AS
        SELECT file, rowid - first AS record, trim(patient) AS patient, nullif(trim(claim), '') AS claim,
               coalesce(TRY_CAST(raw_segment AS INTEGER), 1) AS segment, admit,
               {discharge_sql("admit", "discharge", "raw_discharge")} AS discharge, raw_admit, raw_discharge, {codes}
        FROM (SELECT *, rowid, {admit} AS admit, {discharge} AS discharge FROM synpuf_claims)"""
    )
    connection.execute(
        """CREATE TEMP TABLE synpuf_stays AS
        SELECT patient, claim, min(admit) AS admit, max(discharge) AS discharge, count(*) AS segments
        FROM synpuf_dated WHERE discharge >= admit GROUP BY patient, claim"""
    )
    none = " AND ".join(is_blank_sql(name.lower()) for name in CODES)
    merged, empty = connection.execute(
        "SELECT (SELECT count(*) FROM synpuf_stays WHERE segments > 1), "
        f"(SELECT count(*) FROM synpuf_dated WHERE {none})"
    ).fetchone()
    return {"claims_of_several_segments": merged, "claim_lines_without_codes": empty}


def _fill_stays(connection):
    """Fills the wide `stays` table, in the order of the claims; every code cell that holds something is a row."""
    create_wide_table(connection, {**wide_columns(()), "file": "INTEGER", "record": "BIGINT"})
    cells = " UNION ALL ".join(
        "SELECT file, record, patient, claim, segment, admit, discharge, raw_admit, raw_discharge, "
        f"{number} AS number, {name.lower()} AS cell FROM synpuf_dated WHERE NOT {is_blank_sql(name.lower())}"
        for number, name in enumerate(CODES, 1)
    )
    connection.execute(
        f"""INSERT INTO stays
        SELECT patient_id, stay_id, admit, discharge, code, place, NULL, NULL, NULL,
               {reason_sql(line_breaks=False, unknown_stay="stay_id IS NULL")}, 0, file, record
        FROM (SELECT c.patient AS patient_id, c.claim AS stay_id,
                     CASE WHEN c.discharge >= c.admit THEN s.admit ELSE c.admit END AS admit,
                     CASE WHEN c.discharge >= c.admit THEN s.discharge ELSE c.discharge END AS discharge,
                     raw_admit, raw_discharge, 'ICD9_' || upper(replace(trim(cell), '.', '')) AS code,
                     10 * (segment - 1) + number AS place, file, record, number
              FROM ({cells}) c LEFT JOIN synpuf_stays s ON s.patient = c.patient AND s.claim = c.claim)
        ORDER BY file, record, number"""
    )


def _last_year(paths):
    """The latest year that stands in a file name, or None."""
    years = [int(year) for path in paths for year in re.findall(r"(?<!\d)((?:19|20)\d\d)(?!\d)", path.name)]
    return max(years, default=None)


def _make_patients(connection, last_year, date_format):
    """Makes `patients`; returns counts."""
    birth, death = (f"CAST({timestamp_sql(name, date_format)} AS DATE)" for name in ("raw_birth", "raw_death"))
    period_end = f"DATE '{last_year}-12-31'"
    if last_year is None:
        period_end = "(SELECT make_date(year(max(discharge)), 12, 31) FROM stays)"
    connection.execute(
        f"""CREATE TEMP TABLE synpuf_known AS
        SELECT patient, min(birth) AS birth, min(death) AS death, min(sex) AS sex,
               count(DISTINCT birth) > 1 AS births_differ, count(DISTINCT death) > 1 AS deaths_differ,
               count(DISTINCT sex) > 1 AS sexes_differ
        FROM (SELECT trim(patient) AS patient, {birth} AS birth, {death} AS death,
                     CASE trim(sex) WHEN '1' THEN 'M' WHEN '2' THEN 'F' END AS sex FROM synpuf_beneficiaries)
        GROUP BY patient"""
    )
    connection.execute(
        f"""CREATE OR REPLACE TABLE patients AS
        SELECT s.patient_id, k.birth, k.sex, k.death,
               least({period_end}, coalesce(k.death, {period_end})) AS observation_end
        FROM (SELECT DISTINCT patient_id FROM stays) s LEFT JOIN synpuf_known k ON k.patient = s.patient_id"""
    )
    births, deaths, sexes, unknown = connection.execute(
        """SELECT count(*) FILTER (WHERE births_differ), count(*) FILTER (WHERE deaths_differ),
                  count(*) FILTER (WHERE sexes_differ), count(*) FILTER (WHERE k.patient IS NULL)
        FROM patients p LEFT JOIN synpuf_known k ON k.patient = p.patient_id"""
    ).fetchone()
    return {
        "patients_with_conflicting_birth": births,
        "patients_with_conflicting_death": deaths,
        "patients_with_conflicting_sex": sexes,
        "patients_without_beneficiary_row": unknown,
    }


SOURCE = Source(
    name="synpuf",
    description="CMS DE-SynPUF: a folder with *Inpatient_Claims* and *Beneficiary_Summary* files (.csv or .csv.gz)",
    observation_end="31 December of the last year in the files' names (DE-SynPUF: 2010-12-31), or the death before it",
    present_on_admission="null: DE-SynPUF does not say which diagnoses were present on admission",
    recognise=lambda data_file: bool(_find(data_file)[0]),
    load=_load,
)
