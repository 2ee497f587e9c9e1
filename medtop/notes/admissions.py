"""Admissions -> examples: who is predicted when, and whether an unplanned readmission follows within 30 days.

All SQL of the labels stands here; what it takes from DuckDB alone is `FILTER (WHERE ...)` and `epoch`.
"""

import dataclasses

from medtop.files.errors import DataError
from medtop.files.sql import first_row, quote
from medtop.notes.division import cut_at_boundaries, hide_later_deaths
from medtop.notes.tables import NEWBORN, PATIENT_COLUMNS, admission_columns
from medtop.sources.dates import as_written_sql, discharge_sql, settle_midnights, stay_time_tests, timestamp_sql
from medtop.sources.day_columns import day_sql, judge_values
from medtop.sources.ids import settle_ids
from medtop.sources.reading import TableReader
from medtop.sources.rejects import iterate_rejects
from medtop.sources.rules import Rules
from medtop.sources.settling import Account
from medtop.sources.stays import Request
from medtop.sources.tables import read_table
from medtop.sources.unusable import check_columns, check_rows
from medtop.sources.words import is_blank_sql, is_given_sql

REASONS = {
    "patient_id_empty": "patient_id",
    "admission_id_empty": "admission_id",
    "admit_empty": "admit",
    "admit_unparsable": "admit",
    "admit_sentinel": "admit",
    "admit_out_of_range": "admit",
    "admit_in_future": "admit",
    "discharge_empty": "discharge",
    "discharge_unparsable": "discharge",
    "discharge_sentinel": "discharge",
    "discharge_out_of_range": "discharge",
    "discharge_in_future": "discharge",
    "discharge_before_admit": "discharge",
}
"""Why a row of ADMISSIONS cannot be used -> the column it speaks of; a reason's number is its place, from 1."""

DAY = 86_400

NOT_EXAMPLES = (
    "newborn",
    "died_in_hospital",
    "admission_after_death",
    "death_before_prediction_time",
    "ended_before_prediction_time",
    "same_prediction_time",
    "outside_period",
    "not_in_splits_file",
    "no_site",
    "sites_of_several_splits",
)
UNKNOWN = ("in_other_stay_at_discharge", "death_without_readmission", "censored")
"""Why a label is unknown, in this order."""


@dataclasses.dataclass
class Admissions:
    """What was read.

    Attributes:
        rows_in: rows of ADMISSIONS.
        repeated: rows that repeat an earlier admission id of their patient.
        rejected: dict reason -> rows that cannot be used.
        rejects: list of (file, line, column, reason) of them.
        counts: dict name -> number: what a reader of the labels should know.
        given: dict column -> values given, of columns of which some cannot be used.
    """

    rows_in: int
    repeated: int
    rejected: dict
    rejects: list
    counts: dict
    given: dict


def load_admissions(connection, layout, dates, accepted=()):
    """Reads ADMISSIONS and PATIENTS into the tables `admissions` (one row per admission) and `deaths`.

    Args:
        connection: DuckDB connection.
        layout: `medtop.notes.tables.NoteTables`.
        dates: `medtop.sources.dates.DateRules`.
        accepted: "rows", "death": of which more than half cannot be used, and which are taken all the same.

    Returns:
        `Admissions`.

    Raises:
        DataError: for a missing column, a table that cannot be read, no usable row, or more than half of the rows or of
            the deaths that cannot be used.
    """
    for table in ("notes_admissions", "notes_patients"):
        connection.execute(f"DROP TABLE IF EXISTS temp.{table}")
    reader = TableReader(connection)
    columns = admission_columns(layout.admissions)
    number, headers = read_table(reader, layout.admissions, "notes_admissions", columns)
    headers |= {
        "patient_id": columns["patient"],
        "admission_id": columns["admission"],
        "admit": columns["raw_admit"],
        "discharge": columns["raw_discharge"],
    }
    changed = settle_ids(connection, "notes_admissions", "patient", "patient_id")
    changed |= settle_ids(connection, "notes_admissions", "admission", "admission_id")
    _judge(connection, "expired" in columns, dates)
    if moved := settle_midnights(connection, "judged"):
        changed["discharges_at_midnight_taken_for_dates"] = moved
    rejected, rejects = _rejected(connection), []
    if rejected:
        bad = f"SELECT {number} AS file, record, reason FROM judged WHERE reason > 0"
        rejects = list(iterate_rejects(reader, bad, [headers], REASONS))
    rows = first_row(connection, "SELECT count(*) FROM judged")[0] + reader.structural_count()
    if rows == sum(rejected.values()):
        commonest = max(rejected, key=rejected.get)
        hint = "; give the form with --date_format" if "unparsable" in commonest else ""
        raise DataError(
            f"{layout.admissions}: expected usable admissions, received none: {rejected[commonest]} of "
            f"{rows} rows dropped for {commonest}{hint}"
        )
    check_rows(layout.admissions, rows, rejected, accepted)
    connection.execute(
        """CREATE OR REPLACE TABLE admissions AS SELECT * EXCLUDE (reason, copy) FROM (
            SELECT *, row_number() OVER (PARTITION BY patient_id, admission_id ORDER BY record) AS copy
            FROM judged WHERE reason = 0) WHERE copy = 1"""
    )
    repeated = rows - sum(rejected.values()) - first_row(connection, "SELECT count(*) FROM admissions")[0]
    if around := _spread_deaths(connection):
        changed["admissions_around_a_death_in_another"] = around
    known, given = _load_deaths(connection, reader, layout, dates, accepted)
    counts = changed | known | _counts(connection)
    times = {"death": counts["deathtimes_unreadable"]}
    with_time = first_row(connection, "SELECT count(*) FILTER (has_deathtime) FROM admissions")[0]
    check_columns(layout.admissions, times, {"death": with_time}, accepted)
    if times["death"]:
        counts["death_unusable"] = counts.get("death_unusable", 0) + times["death"]
        given["death"] = given.get("death", 0) + with_time
    connection.execute("DROP TABLE judged; DROP TABLE temp.notes_admissions; DROP TABLE medtop_structural")
    return Admissions(
        rows, repeated, rejected, rejects, {name: count for name, count in counts.items() if count}, given
    )


def _rejected(connection):
    """dict reason -> number of rows: those that could not be read, and those of `judged` that are not good."""
    rejected = dict(
        connection.execute("SELECT reason, count(*) FROM medtop_structural GROUP BY reason ORDER BY reason").fetchall()
    )
    names = list(REASONS)
    judged = connection.execute("SELECT reason, count(*) FROM judged WHERE reason > 0 GROUP BY reason ORDER BY reason")
    return rejected | {names[reason - 1]: count for reason, count in judged.fetchall()}


def _judge(connection, with_flag, dates):
    """Makes the table `judged`: admissions parsed, each with a reason (0: good)."""
    place = {reason: number for number, reason in enumerate(REASONS, 1)}
    tests = [(is_blank_sql("patient_id"), "patient_id_empty"), (is_blank_sql("admission_id"), "admission_id_empty")]
    for name in ("admit", "discharge"):
        tests += stay_time_tests(name, dates)
    tests.append(("discharge < admit", "discharge_before_admit"))
    branches = " ".join(f"WHEN {test} THEN {place[reason]}" for test, reason in tests)
    expired = "coalesce(trim(expired) = '1', false)" if with_flag else "false"
    admit, discharge, death = (timestamp_sql(f"raw_{name}", dates) for name in ("admit", "discharge", "death"))
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE judged AS SELECT patient_id, admission_id, admit, discharge, death,
            has_deathtime, has_deathtime OR expired AS died, kind, kind_as_written, record,
            CASE {branches} ELSE 0 END AS reason
        FROM (SELECT * EXCLUDE (read_discharge),
                     {discharge_sql("read_discharge", "raw_discharge", dates)} AS discharge
              FROM (SELECT patient AS patient_id, admission AS admission_id,
                           {admit} AS admit, {discharge} AS read_discharge, {death} AS death,
                           {is_given_sql("raw_death")} AS has_deathtime, {expired} AS expired,
                           upper(trim(kind)) AS kind, coalesce(kind, '') AS kind_as_written,
                           raw_admit, raw_discharge, rowid AS record
                    FROM notes_admissions))"""
    )


def _spread_deaths(connection):
    """Marks admissions during which the patient died in another one that lies within them; returns how many."""
    inner = (
        "SELECT patient_id AS dead, min(death) AS moment FROM admissions WHERE death IS NOT NULL GROUP BY patient_id"
    )
    during = (
        f"({inner}) WHERE patient_id = dead AND NOT died AND admit <= moment "
        f"AND {as_written_sql('discharge')} >= moment"
    )
    around = first_row(connection, f"SELECT count(*) FROM admissions, {during}")[0]
    if around:
        connection.execute(f"UPDATE admissions SET died = true FROM {during}")
    return around


def _load_deaths(connection, reader, layout, dates, accepted):
    """Makes `deaths`: one row per patient known to have died, with the day, and that of a death in hospital; returns
    counts, and dict column -> values given where some cannot be used."""
    connection.execute("CREATE OR REPLACE TABLE deaths (patient_id VARCHAR, died_on DATE, in_hospital DATE)")
    source = "SELECT NULL AS patient_id, NULL::DATE AS died_on WHERE false"
    account, changed = Account(), {}
    if layout.patients:
        read_table(reader, layout.patients, "notes_patients", PATIENT_COLUMNS)
        changed = settle_ids(connection, "notes_patients", "patient", "patient_id_of_patients")
        died_on = day_sql("death", "raw_death", dates)
        source = f"SELECT patient AS patient_id, {died_on} AS died_on FROM notes_patients"
        request = Request(connection, str(layout.patients), rules=Rules(dates=dates, accept_unusable=tuple(accepted)))
        judge_values(request, account, "notes_patients", "death", "raw_death", died_on)
    connection.execute(
        f"""INSERT INTO deaths SELECT patient_id, coalesce(min(died_on), min(seen)), min(seen) FROM (
            SELECT patient_id, died_on, NULL::DATE AS seen FROM ({source})
            UNION ALL SELECT patient_id, NULL, CAST(death AS DATE) FROM admissions)
        GROUP BY patient_id HAVING coalesce(min(died_on), min(seen)) IS NOT NULL"""
    )
    connection.execute("DROP TABLE IF EXISTS temp.notes_patients")
    unreadable = account.counts.get("death_unusable", 0)
    return {**changed, **account.counts, "patients_with_unreadable_day_of_death": unreadable}, account.given


def _counts(connection):
    row = connection.execute(
        f"""SELECT count(*) FILTER (has_deathtime AND death IS NULL), count(*) FILTER (kind IS NULL OR kind = ''),
            (SELECT count(*) FROM admissions a JOIN deaths USING (patient_id) WHERE died_on < CAST(discharge AS DATE)),
            (SELECT count(*) FROM (
                SELECT {as_written_sql("discharge")} AS discharge,
                       lead(admit) OVER (PARTITION BY patient_id ORDER BY admit, discharge, record) AS next
                FROM admissions) WHERE next < discharge)
        FROM admissions"""
    ).fetchone()
    names = ("deathtimes_unreadable", "admissions_without_type", "admissions_after_death", "negative_gaps")
    return dict(zip(names, row, strict=True))


def label_admissions(connection, layout, options):
    """Makes the table `labelled`: one row per admission with its prediction time, label, and why it is no example.

    Columns: patient_id, admission_id, admit, discharge, prediction_time TIMESTAMP, label TINYINT (null: unknown),
    unknown VARCHAR (why), dropped VARCHAR (why it is no example, null: it is one).

    Args:
        connection: DuckDB connection with `admissions`, `deaths` and `patient_splits`.
        layout: `medtop.notes.tables.NoteTables`.
        options: `medtop.notes.options.NotesOptions`.

    Returns:
        dict name -> number of gaps and overlaps that the rules decided.
    """
    early = f"admit + INTERVAL {int(options.early_days)} DAY"
    time = "discharge" if options.mode == "discharge" else early
    if options.split_by == "time":
        hide_later_deaths(connection)
    rows = _legacy_sql(options) if options.legacy else _default_sql(layout, options)
    ended = options.mode == "early" and not options.legacy
    connection.execute(
        f"""CREATE OR REPLACE TABLE labelled AS
        SELECT patient_id, admission_id, admit, discharge, {time} AS prediction_time, label, unknown, after_overlap,
               CASE WHEN newborn THEN 'newborn' WHEN died THEN 'died_in_hospital'
                    WHEN CAST(admit AS DATE) > died_on THEN 'admission_after_death'
                    WHEN CAST({time} AS DATE) > died_on THEN 'death_before_prediction_time'
                    {f"WHEN discharge <= {early} THEN 'ended_before_prediction_time'" if ended else ""} END AS dropped
        FROM ({rows})"""
    )
    if options.split_by == "time":
        cut_at_boundaries(connection, options)
    if not options.legacy:  # one example for a patient and a time: of two stays the one that ends last, begun first
        connection.execute(
            """UPDATE labelled SET dropped = 'same_prediction_time' FROM (
                SELECT patient_id, admission_id, row_number() OVER (
                    PARTITION BY patient_id, prediction_time ORDER BY discharge DESC, admit, admission_id) AS place
                FROM labelled WHERE dropped IS NULL) copies
            WHERE copies.place > 1 AND copies.patient_id = labelled.patient_id
                AND copies.admission_id = labelled.admission_id"""
        )
    passed = first_row(connection, "SELECT count(*) FILTER (after_overlap AND dropped IS NULL) FROM labelled")[0]
    connection.execute("ALTER TABLE labelled DROP COLUMN after_overlap")
    return {"labels_with_negative_gap": passed} if passed else {}


def _default_sql(layout, options):
    """SQL: the admissions with our labels.

    Death is the end of life: an admission that begins on a day after it is no readmission and no other stay. Then, in
    this order: the patient is in another stay at the discharge (it began by then and ends later): unknown; an
    unplanned admission begins after the discharge, less than `readmission_days` later: 1; death in that time: unknown
    (or 0); observed for a shorter time: unknown; else 0.
    """
    planned = ", ".join(quote(kind) for kind in layout.not_readmissions)
    window = int(options.readmission_days) * DAY
    death = "0" if options.deaths == "negative" else "NULL"
    censored = (
        f"{as_written_sql('discharge')} + INTERVAL {int(options.readmission_days)} DAY > "
        f"TIMESTAMP {quote(options.observation_end)} + INTERVAL 1 DAY"
        if options.observation_end
        else "false"
    )
    living = (
        "SELECT admissions.* FROM admissions LEFT JOIN deaths USING (patient_id) "
        "WHERE coalesce(CAST(admit AS DATE) <= died_on, true)"
    )
    written = as_written_sql("discharge")
    died = f"epoch(CAST(died_on AS TIMESTAMP)) - epoch({written}) < {window}"  # within the stay too: early predictions
    return f"""
        SELECT *, CASE WHEN inside THEN NULL WHEN readmitted THEN 1 WHEN died_after THEN {death} WHEN censored THEN NULL
                       ELSE 0 END::TINYINT AS label,
            CASE WHEN inside THEN 'in_other_stay_at_discharge' WHEN readmitted THEN NULL
                 WHEN died_after THEN {"NULL" if death == "0" else "'death_without_readmission'"}
                 WHEN censored THEN 'censored' END AS unknown
        FROM (
            SELECT a.*, died_on, kind = '{NEWBORN}' AS newborn, inside, overlap AND NOT inside AS after_overlap,
                coalesce(epoch(next) - epoch({written}) < {window}, false) AS readmitted,
                coalesce({died}, false) AS died_after, {censored} AS censored
            FROM (
                SELECT a.patient_id, a.admission_id, any_value(a.admit) AS admit, any_value(a.discharge) AS discharge,
                    any_value(a.died) AS died, any_value(coalesce(a.kind, '')) AS kind,
                    min(b.admit) FILTER (b.admit > a.discharge AND coalesce(b.kind, '') NOT IN ({planned})) AS next,
                    bool_or(b.admit <= a.discharge AND b.discharge > a.discharge
                            AND b.admission_id <> a.admission_id) AS inside,
                    bool_or(b.admit < {as_written_sql("a.discharge")}
                            AND (b.admit, b.discharge, b.record) > (a.admit, a.discharge, a.record)
                            AND b.admission_id <> a.admission_id) AS overlap
                FROM admissions a LEFT JOIN ({living}) b USING (patient_id) GROUP BY a.patient_id, a.admission_id) a
            LEFT JOIN deaths USING (patient_id))"""


def _legacy_sql(options):
    """SQL: ClinicalBERT's labels: sort by patient and admission, shift, blank ELECTIVE, back-fill, `days < 30`."""
    order, written = "PARTITION BY patient_id ORDER BY admit, record", as_written_sql("discharge")
    return f"""
        SELECT patient_id, admission_id, admit, discharge, kind_as_written = '{NEWBORN}' AS newborn,
            death IS NOT NULL AS died, NULL::DATE AS died_on, NULL::VARCHAR AS unknown,
            coalesce(epoch(filled) - epoch({written}) < {int(options.readmission_days) * DAY}, false)::TINYINT AS label,
            coalesce(filled < {written}, false) AS after_overlap
        FROM (
            SELECT *, first_value(next IGNORE NULLS) OVER (
                {order} ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS filled
            FROM (SELECT *, CASE WHEN lead(kind_as_written) OVER ({order}) = 'ELECTIVE' THEN NULL
                                 ELSE lead(admit) OVER ({order}) END AS next
                  FROM admissions))"""
