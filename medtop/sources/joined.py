"""Sources of several tables: stays, diagnoses and people joined as texts, then judged as any other table is.

A source reads its tables as texts and says in SQL what is a stay, a diagnosis, a person. What becomes of ids, dates,
codes, deaths and ends of observation is the common path's (`rows.judge_rows`), so that no source has rules of its own.
"""

import dataclasses

from medtop.files.errors import DataError
from medtop.files.sql import quote
from medtop.sources.choices import ALL
from medtop.sources.dates import settle_midnights, timestamp_sql
from medtop.sources.row_sql import RowLayout, create_wide_table, select_sql, wide_columns
from medtop.sources.rows import judge_rows
from medtop.sources.settling import finish
from medtop.sources.stays import ORDER_COLUMNS
from medtop.sources.tables import count_overlaps
from medtop.sources.words import is_blank_sql, is_given_sql

GIVEN = ("stay_id", *ORDER_COLUMNS, "present_on_admission", "birth", "sex", "death")
LEFT_OUT = "other_encounter_type"
"""Reason of rows that `--encounter_types` leaves out: by choice, so they are counted, not listed."""

TESTS = {"unknown_stay": "no_stay", "unknown_version": "no_system", "still_patient": "still"}
MOST_KINDS = 12


@dataclasses.dataclass(frozen=True)
class Joined:
    """The tables of a source, as SQL queries whose columns are texts unless stated otherwise.

    Attributes:
        stays: patient, stay, kind (upper case), raw_admit, raw_discharge, still (bool: had not ended), place (rises in
            the order of the file). The first row of a (patient, stay) counts.
        rows: file, record (numbers), patient, stay, day (its date), mark (`ICD10_`, null where the system of the
            code is not known), code, order_1, order_2, order_3, present (`Y`, `N`).
        people: patient, birth, sex, death, and observation_end where `has_end`.
        has_end: whether the people's table says until when they are observed.
        kinds: kinds of encounters that are stays where the user says nothing; empty: all.
        headers: per file a dict column -> header.
        row_files: numbers of the files whose rows are diagnoses.
        paths: files.
        rows_merged: rows of the files that `rows` leaves out because they repeat another one.
    """

    stays: str
    rows: str
    people: str
    kinds: tuple
    headers: list
    row_files: list
    paths: list
    has_end: bool = False
    rows_merged: int = 0


def load_joined(request, source, reader, account, joined):
    """Fills `stays` and `patients`.

    Args:
        request: Request.
        source: Source.
        reader: TableReader that read the tables.
        account: Account.
        joined: Joined; ids are in their normal form (`settle_ids`).

    Returns:
        StaysReport.

    Raises:
        DataError: as `load_stays`; for `--encounter_types` of which none occurs.
    """
    connection = request.connection
    if request.rules.code_separator:
        raise DataError(
            f"--code_separator: expected no such flag with --source={source.name}, where each row holds one code"
        )
    given = {*GIVEN, *(["observation_end"] if joined.has_end else [])}
    _make_stays(request, joined, account)
    _make_people(request, joined, account, given)
    left_out = _make_rows(request, joined, account, given)
    create_wide_table(connection, {**wide_columns(given), "file": "INTEGER", "record": "BIGINT"})
    layout = RowLayout(
        names=[],
        raw={name: f"raw_{name}" for name in ("patient_id", "admit", "discharge", "code", *sorted(given))},
        headers={},
        delimiter="joined",
    )
    select = select_sql(
        layout, given, line_breaks=True, dates=request.rules.dates, kept=("file", "record"), tests=TESTS
    )
    connection.execute(f"INSERT INTO stays {select.replace('{table}', 'joined_rows')} ORDER BY file, record")
    account.add({"discharges_at_midnight_taken_for_dates": settle_midnights(connection, "stays")})
    bad_sql = "SELECT DISTINCT file, record, reason FROM stays WHERE reason > 0"
    sentence = judge_rows(request, source, reader, account, given, bad_sql, joined.headers, row_files=joined.row_files)
    if left_out:
        account.rows_in += left_out
        account.dropped[LEFT_OUT] = left_out
    account.rows_in += joined.rows_merged
    unknown = "SELECT count(*) FROM patients WHERE patient_id NOT IN (SELECT patient FROM joined_people)"
    account.add(
        {
            "patients_not_in_patients_table": connection.execute(unknown).fetchone()[0],
            "other_table_rows_rejected": reader.structural_count()
            - sum(map(reader.structural_count, joined.row_files)),
            "overlapping_stays": count_overlaps(connection),
        }
    )
    for table in ("stays", "people", "rows", "links"):
        connection.execute(f"DROP TABLE IF EXISTS temp.joined_{table}")
    account.tables = reader.used
    return finish(request, source, [str(path) for path in joined.paths], account, sentence, joined.rows_merged)


def _make_stays(request, joined, account):
    """Makes `joined_stays`: one row per stay, `chosen` where its kind is."""
    connection = request.connection
    kinds = tuple(kind.upper() for kind in request.rules.choices.encounter_types) or joined.kinds
    chosen = f"coalesce(kind IN ({', '.join(map(quote, kinds))}), false)" if kinds else "true"
    chosen = "true" if ALL.upper() in kinds else chosen
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE joined_stays AS
        SELECT * EXCLUDE (turn, place), {chosen} AS chosen FROM (
            SELECT *, row_number() OVER (PARTITION BY patient, stay ORDER BY place) AS turn,
                   min(raw_admit) OVER same <> max(raw_admit) OVER same
                   OR min(raw_discharge) OVER same <> max(raw_discharge) OVER same AS differs
            FROM ({joined.stays}) WHERE patient IS NOT NULL AND stay IS NOT NULL
            WINDOW same AS (PARTITION BY patient, stay))
        WHERE turn = 1"""
    )
    rows, stays, picked, differing = connection.execute(
        f"SELECT (SELECT count(*) FROM ({joined.stays}) WHERE patient IS NOT NULL AND stay IS NOT NULL), count(*), "
        "count(*) FILTER (chosen), count(*) FILTER (differs) FROM joined_stays"
    ).fetchone()
    if not picked:
        there = connection.execute(
            "SELECT kind FROM joined_stays WHERE kind IS NOT NULL GROUP BY kind ORDER BY count(*) DESC, kind "
            f"LIMIT {MOST_KINDS}"
        ).fetchall()
        raise DataError(
            f"{request.data_file}: expected encounters of the kinds {', '.join(kinds) or 'any'}, received "
            f"{', '.join(kind for (kind,) in there) or 'none'}; choose with --encounter_types"
        )
    account.add(
        {
            "stays_repeated": rows - stays,
            "stays_with_conflicting_times": differing,
            "stays_of_other_types": stays - picked,
        }
    )


def _make_people(request, joined, account, given):
    """Makes `joined_people`: one row per patient; of several values the smallest, of ends the largest."""
    names = [name for name in ("birth", "sex", "death") if name in given]
    values = "".join(f", min({name}) FILTER ({is_given_sql(name)}) AS {name}" for name in names)
    differing = "".join(f", count(*) FILTER ({name}_low <> {name}_high)" for name in names)
    bounds = "".join(
        f", {low}({name}) FILTER ({is_given_sql(name)}) AS {name}_{end}"
        for name in names
        for low, end in (("min", "low"), ("max", "high"))
    )
    end = ", max(observation_end) AS observation_end" if joined.has_end else ""
    request.connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE joined_people AS SELECT patient{values}{end} FROM ({joined.people})
        WHERE patient IS NOT NULL GROUP BY patient"""
    )
    counts = request.connection.execute(
        f"SELECT 0{differing} FROM (SELECT patient{bounds} FROM ({joined.people}) GROUP BY patient)"
    ).fetchone()[1:]
    account.add(dict(zip((f"patients_with_conflicting_{name}" for name in names), counts, strict=True)))


def _make_rows(request, joined, account, given):
    """Makes `joined_rows`: every diagnosis with its stay and its person, as raw texts; returns how many rows belong to
    stays that were not chosen, which it leaves out."""
    connection = request.connection
    stay = "r.stay"
    links = ""
    if request.rules.choices.link_by_date:
        account.add(_link_by_date(request, joined))
        links = "LEFT JOIN joined_links l ON l.file = r.file AND l.record = r.record"
        stay = "coalesce(l.stay, r.stay)"
    people = "".join(
        f", p.{name} AS raw_{name}" for name in ("birth", "sex", "death", "observation_end") if name in given
    )
    orders = "".join(f", CAST(r.{name} AS VARCHAR) AS raw_{name}" for name in ORDER_COLUMNS)
    bare = f"CASE WHEN {is_given_sql('r.code')} THEN coalesce(r.mark, '') || upper(replace(trim(r.code), '.', '')) END"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE joined_rows AS
        SELECT r.file, r.record, r.patient AS raw_patient_id, s.stay AS raw_stay_id, s.raw_admit, s.raw_discharge,
               {bare} AS raw_code{orders}, r.present AS raw_present_on_admission{people},
               r.mark IS NULL AS no_system, s.stay IS NULL AS no_stay, coalesce(s.still, false) AS still,
               coalesce(s.chosen, true) AS chosen
        FROM ({joined.rows}) r {links} LEFT JOIN joined_stays s ON s.patient = r.patient AND s.stay = {stay}
        LEFT JOIN joined_people p ON p.patient = r.patient"""
    )
    left_out = connection.execute("SELECT count(*) FROM joined_rows WHERE NOT chosen").fetchone()[0]
    connection.execute("DELETE FROM joined_rows WHERE NOT chosen")
    return left_out


def _link_by_date(request, joined):
    """Makes `joined_links`: rows without a known stay, with the chosen stay of their patient that holds their date.

    Of several the one that began last, then the one that ended first, then the smallest id.

    Returns:
        dict of counts.
    """
    dates, connection = request.rules.dates, request.connection
    admit, discharge, day = (
        f"CAST({timestamp_sql(name, dates)} AS DATE)" for name in ("raw_admit", "raw_discharge", "day")
    )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE joined_links AS
        SELECT file, record, first(stay ORDER BY admit DESC, discharge, stay) AS stay, count(*) AS several
        FROM (SELECT r.file, r.record, r.patient, {day} AS day FROM ({joined.rows}) r
              ANTI JOIN joined_stays s ON s.patient = r.patient AND s.stay = r.stay) u
        JOIN (SELECT patient, stay, {admit} AS admit, {discharge} AS discharge FROM joined_stays
              WHERE chosen AND NOT coalesce(still, false)) s
        ON s.patient = u.patient AND u.day BETWEEN s.admit AND s.discharge
        GROUP BY file, record"""
    )
    linked, several = connection.execute("SELECT count(*), count(*) FILTER (several > 1) FROM joined_links").fetchone()
    return {"rows_linked_by_date": linked, "rows_linked_by_date_to_one_of_several": several}


def date_and_time_sql(date, time, dates):
    """SQL: the texts of a date and of a time of day (`HH:MM[:SS]`) as one; the date alone where there is no time, where
    it has one already, or where `--date_format` gives the form of all dates."""
    if dates.date_format:
        return date
    clock = r"\s*\d{1,2}:\d{2}(:\d{2}([.]\d+)?)?\s*"
    padded = f"CASE WHEN trim({time})[2] = ':' THEN '0' ELSE '' END || trim({time})"
    return (
        f"CASE WHEN regexp_full_match({time}, {quote(clock)}) AND regexp_full_match(trim({date}), "
        f"'\\d{{4}}[-/]\\d{{2}}[-/]\\d{{2}}([ T]00:00(:00([.]0+)?)?)?') THEN left(trim({date}), 10) || ' ' || {padded} "
        f"ELSE {date} END"
    )


def blank_as_null_sql(value):
    """SQL: the text `value`, null where nobody sees anything in it."""
    return f"CASE WHEN NOT {is_blank_sql(value)} THEN {value} END"
