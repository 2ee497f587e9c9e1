"""CMS DE-SynPUF: a folder with inpatient claims and beneficiary summaries.

A stay is a claim (`CLM_ID`) of a beneficiary; its ten code columns become ten rows, `order_1` = n of `ICD9_DGNS_CD_n`.
A claim of two segments (same beneficiary and `CLM_ID`) is one stay from the earliest admission to the latest discharge;
the codes of segment 2 follow those of segment 1 (`order_1` = 10 (segment - 1) + n). Stays that overlap stay apart.
All codes are ICD-9 (V and E codes included) and are kept even where they do not look so; these are counted.
"""

import re
from pathlib import Path

from medtop.files.errors import DataError
from medtop.sources.dates import discharge_sql, timestamp_sql
from medtop.sources.day_columns import day_sql, judge_values
from medtop.sources.hmo_months import FFS, find_hmo_years, hmo_column, note
from medtop.sources.ids import count_alike, settle_ids
from medtop.sources.observation import usual_end
from medtop.sources.patients import count_patients, observation_sentence, observation_sql
from medtop.sources.reading import TableReader
from medtop.sources.row_sql import create_wide_table, reason_sql, wide_columns
from medtop.sources.settling import Account, finish, judge_codes, judge_deaths, settle
from medtop.sources.stays import Source
from medtop.sources.tables import count_overlaps, find_tables, read_table
from medtop.sources.unusable import YEARS
from medtop.sources.words import is_blank_sql

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
TEMPORARY = ("synpuf_claims", "synpuf_beneficiaries", "synpuf_stays", "synpuf_dated", "synpuf_known", "synpuf_hmo")


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
    connection, account = request.connection, Account()
    account.add({"beneficiary_years_missing": _check_years(request, claims, beneficiaries)})
    for table in TEMPORARY:
        connection.execute(f"DROP TABLE IF EXISTS temp.{table}")
    reader, headers = TableReader(connection), []
    for path in claims:
        headers.append(read_table(reader, path, "synpuf_claims", CLAIMS)[1])
    years = [_years(path) for path in beneficiaries]
    hmo = hmo_column(request, beneficiaries, years)
    for path in beneficiaries:
        headers.append(read_table(reader, path, "synpuf_beneficiaries", BENEFICIARIES | hmo)[1])
    for table, column, name in (
        ("synpuf_claims", "patient", "patient_id"),
        ("synpuf_claims", "claim", "stay_id"),
        ("synpuf_beneficiaries", "patient", "patient_id"),
    ):
        account.add(settle_ids(connection, table, column, name))
    _merge_segments(request, account)
    _make_known(request, account)
    _fill_stays(request)
    judge_codes(request, SOURCE, account)
    judge_deaths(request, account, "SELECT patient AS patient_id, death FROM synpuf_known")
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
    settle(request, account, reader, bad_sql, listed, row_files=range(len(claims)))
    if hmo:
        find_hmo_years(request, account, {len(claims) + place: min(named) for place, named in enumerate(years)})
    account.notes.append(note(request.rules.choices.coverage, bool(hmo)))
    sentence = _make_patients(request, account, _last_year(claims + beneficiaries))
    account.add(
        {
            "codes_not_shaped_like_icd9": connection.execute(
                f"SELECT count(*) FROM stays WHERE NOT regexp_full_match(code, '{ICD9_SHAPE}')"
            ).fetchone()[0],
            "beneficiary_rows_rejected": sum(map(reader.structural_count, range(len(claims), len(headers)))),
            "overlapping_stays": count_overlaps(connection),
        }
    )
    for table in TEMPORARY:
        connection.execute(f"DROP TABLE IF EXISTS temp.{table}")
    account.notes.append(
        "rows are diagnosis entries: code cells of inpatient claims that hold something; a line that cannot be "
        "split into columns counts as one"
    )
    account.tables = reader.used
    return finish(request, SOURCE, [str(path) for path in claims + beneficiaries], account, sentence)


def _years(path):
    """Years that stand in a file's name, `2008_to_2010` with those between: set of int.

    >>> sorted(_years(Path("DE1_0_2008_to_2010_Inpatient_Claims_Sample_2.csv")))
    [2008, 2009, 2010]
    """
    years = [int(year) for year in re.findall(r"(?<!\d)((?:19|20)\d\d)(?!\d)", path.name)]
    return set(range(min(years), max(years) + 1)) if years else set()


def _check_years(request, claims, beneficiaries):
    """Refuses claims of a year without a beneficiary file (each file tells the deaths of its year); where the user
    accepts them their number."""
    wanted, there = (set().union(*map(_years, paths)) for paths in (claims, beneficiaries))
    missing = sorted(wanted - there) if there else []
    if missing and YEARS not in request.rules.accept_unusable:
        raise DataError(
            f"{request.data_file}: expected a beneficiary file for each year of the claims, received none for "
            f"{', '.join(map(str, missing))}, so that deaths of that time are not known; "
            f"--accept_unusable={YEARS} goes on without them"
        )
    return len(missing)


def _merge_segments(request, account):
    """Makes `synpuf_stays` (one row per claim id) and `synpuf_dated` (one row per claim line)."""
    connection, dates = request.connection, request.rules.dates
    admit, discharge = (timestamp_sql(name, dates) for name in ("raw_admit", "raw_discharge"))
    codes = ", ".join(name.lower() for name in CODES)
    connection.execute(
        f"""CREATE TEMP TABLE synpuf_dated AS
        SELECT file, rowid - first AS record, patient, claim, coalesce(TRY_CAST(raw_segment AS INTEGER), 1) AS segment,
               admit, {discharge_sql("discharge", "raw_discharge", dates)} AS discharge, raw_admit, raw_discharge,
               {codes}
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
    account.add({"claims_of_several_segments": merged, "claim_lines_without_codes": empty})


def _fill_stays(request):
    """Fills the wide `stays` table, in the order of the claims; every code cell that holds something is a row."""
    connection = request.connection
    create_wide_table(connection, {**wide_columns(()), "file": "INTEGER", "record": "BIGINT"})
    cells = " UNION ALL ".join(
        "SELECT file, record, patient, claim, segment, admit, discharge, raw_admit, raw_discharge, "
        f"{number} AS number, {name.lower()} AS cell FROM synpuf_dated WHERE NOT {is_blank_sql(name.lower())}"
        for number, name in enumerate(CODES, 1)
    )
    connection.execute(
        f"""INSERT INTO stays
        SELECT patient_id, stay_id, admit, discharge, code, place, NULL, NULL, NULL,
               {reason_sql(request.rules.dates, line_breaks=False, unknown_stay="stay_id IS NULL")}, 0, file, record
        FROM (SELECT c.patient AS patient_id, c.claim AS stay_id,
                     CASE WHEN c.discharge >= c.admit THEN s.admit ELSE c.admit END AS admit,
                     CASE WHEN c.discharge >= c.admit THEN s.discharge ELSE c.discharge END AS discharge,
                     raw_admit, raw_discharge, 'ICD9_' || upper(replace(cell, '.', '')) AS code,
                     10 * (segment - 1) + number AS place, file, record, number
              FROM ({cells}) c LEFT JOIN synpuf_stays s ON s.patient = c.patient AND s.claim = c.claim)
        ORDER BY file, record, number"""
    )


def _last_year(paths):
    """The latest year that stands in a file name, or None."""
    return max(set().union(*map(_years, paths)), default=None)


def _make_known(request, account):
    """Makes `synpuf_known`: birth, death and sex of each beneficiary; counts unusable values."""
    dates = request.rules.dates
    birth, death = (day_sql(name, f"raw_{name}", dates) for name in ("birth", "death"))
    known_sex = "CASE trim(sex) WHEN '1' THEN 'M' WHEN '2' THEN 'F' END"
    for name, raw, value in (("birth", "raw_birth", birth), ("death", "raw_death", death), ("sex", "sex", known_sex)):
        judge_values(request, account, "synpuf_beneficiaries", name, raw, value)
    request.connection.execute(
        f"""CREATE TEMP TABLE synpuf_known AS
        SELECT patient, min(birth) AS birth, min(death) AS death, min(sex) AS sex,
               count(DISTINCT birth) > 1 AS births_differ, count(DISTINCT death) > 1 AS deaths_differ,
               count(DISTINCT sex) > 1 AS sexes_differ
        FROM (SELECT patient, {birth} AS birth, {death} AS death, {known_sex} AS sex FROM synpuf_beneficiaries)
        GROUP BY patient"""
    )


def _make_patients(request, account, last_year):
    """Makes `patients`; returns the sentence on `observation_end`."""
    connection = request.connection
    if last_year is None:
        last_year = connection.execute("SELECT year(max(discharge)) FROM stays").fetchone()[0]
    default, sentence = "NULL", None
    if request.rules.observation_end is None:
        usual = usual_end(connection)
        default = f"least(DATE '{last_year}-12-31', DATE '{usual.end}')"
        account.add({"admissions_after_observation_end": sum(usual.later.values())})
        sentence = (
            f"31 December {last_year} (the last year in the files' names) or the end of usual admissions, whichever is "
            f"earlier, or the death before it: {usual.sentence}"
        )
    observed = observation_sql(request, "NULL", default, "k.death", False)
    covered = ""
    if request.rules.choices.coverage == FFS:
        observed = f"least({observed}, make_date(h.first, 1, 1) - 1)"  # least() passes over nulls
        covered = "LEFT JOIN synpuf_hmo h ON h.patient_id = s.patient_id"
    connection.execute(
        f"""CREATE OR REPLACE TABLE patients AS
        SELECT s.patient_id, k.birth, k.sex, k.death, {observed} AS observation_end
        FROM (SELECT DISTINCT patient_id FROM stays) s LEFT JOIN synpuf_known k ON k.patient = s.patient_id {covered}"""
    )
    tests = {
        "patients_with_conflicting_birth": "births_differ",
        "patients_with_conflicting_death": "deaths_differ",
        "patients_with_conflicting_sex": "sexes_differ",
        "patients_without_beneficiary_row": "k.patient IS NULL",
        "patients_dead_before_birth": "p.death < p.birth",
    }
    account.add(count_patients(connection, "patients p LEFT JOIN synpuf_known k ON k.patient = p.patient_id", tests))
    account.add({"patient_ids_alike": count_alike(connection, "SELECT patient_id FROM patients")})
    return sentence or observation_sentence(request)


SOURCE = Source(
    name="synpuf",
    description="CMS DE-SynPUF: a folder with *Inpatient_Claims* and *Beneficiary_Summary* files (.csv or .csv.gz)",
    observation_end="the end of the last month with a usual number of admissions, 31 December of the last year in the "
    "files' names at the latest, or the death before it",
    present_on_admission="null: DE-SynPUF does not say which diagnoses were present on admission",
    recognise=lambda data_file: bool(_find(data_file)[0]),
    load=_load,
    choices=("coverage",),
)
