"""What becomes of the rows of the wide table `stays`: judged together, counted, listed, deleted; and the report."""

import dataclasses

from medtop.files.errors import DataError
from medtop.files.sql import has_values, quote, quote_name
from medtop.sources.after_death import mark_after_death
from medtop.sources.code_forms import ICD_MARKS, settle_codes
from medtop.sources.ids import settle_ids
from medtop.sources.rejects import first_reject, write_rejects
from medtop.sources.row_sql import FLAGS, PLACE, REASONS, UNUSABLE
from medtop.sources.stays import STAYS_COLUMNS, StaysReport
from medtop.sources.unusable import check_columns, check_rows
from medtop.sources.words import is_null_word_sql


@dataclasses.dataclass
class Account:
    """What is counted while one input is read.

    Attributes:
        rows_in: rows of the diagnosis table.
        dropped: dict reason -> rows.
        patients_dropped: dict reason -> patients whose rows were all dropped.
        counts: dict name -> number, see `StaysReport`.
        given: dict column -> values given, of columns of which some values cannot be used.
        notes: sentences for the manifest.
        tables: list of `medtop.sources.stays.TableUse`.
        code_rows: dict code -> good rows that carry it, before stays after death are dropped.
        may_follow_death: see `StaysReport`.
    """

    rows_in: int = 0
    dropped: dict = dataclasses.field(default_factory=dict)
    patients_dropped: dict = dataclasses.field(default_factory=dict)
    counts: dict = dataclasses.field(default_factory=dict)
    given: dict = dataclasses.field(default_factory=dict)
    notes: list = dataclasses.field(default_factory=list)
    tables: list = dataclasses.field(default_factory=list)
    code_rows: dict = dataclasses.field(default_factory=dict)
    may_follow_death: bool = True

    def add(self, counts):
        """Adds counts to those of the same names."""
        for name, number in counts.items():
            if number:
                self.counts[name] = self.counts.get(name, 0) + int(number)


def judge_ids(connection, account, distinct=None):
    """Patient ids of the wide table in their normal form; rows without one get their reason.

    Args:
        connection: DuckDB connection.
        account: Account.
        distinct: as for `settle_ids`.

    Returns:
        bool, whether an id was changed that is one.
    """
    changed = settle_ids(connection, "stays", distinct=distinct)
    account.add(changed)
    if account.counts.get("patient_id_null_words"):
        connection.execute(f"UPDATE stays SET reason = {PLACE['patient_id_empty']} WHERE patient_id IS NULL")
    return bool(changed)


def judge_codes(request, source, account):
    """Codes of the wide table in their normal form; rows without one get their reason. Cells that hold several codes
    wait until they are split."""
    rules = request.rules
    if rules.code_separator:
        words = request.connection.execute(
            f"SELECT count(*) FROM stays WHERE reason = 0 AND {is_null_word_sql('code')}"
        ).fetchone()[0]
        if words:
            account.add({"code_null_words": words})
            request.connection.execute(
                f"UPDATE stays SET reason = {PLACE['code_empty']} WHERE reason = 0 AND {is_null_word_sql('code')}"
            )
        return
    system = rules.code_system or source.code_system
    counts, assumed, account.code_rows = settle_codes(request.connection, system, PLACE["code_empty"])
    account.add(counts)
    if assumed and not rules.code_system:
        account.notes.append(
            f"Codes carry no mark and nearly all have ICD-10's shape: they were taken for {assumed} (--code_system)."
        )


def split_cells(request, source, account, orders):
    """Splits cells of several codes: each code becomes a row, in the order of the cell.

    Args:
        request: Request, with a `code_separator`.
        source: Source.
        account: Account; rows grow by what the cells hold beyond their first code.
        orders: order columns that the table brings; the place in the cell goes to the first other one, if any.
    """
    connection, separator = request.connection, request.rules.code_separator
    free = next((name for name in ("order_1", "order_2", "order_3") if name not in orders), None)
    place = f", place::INTEGER AS {free}" if free else ""
    before = connection.execute("SELECT count(*) FROM stays").fetchone()[0]
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE medtop_cells AS SELECT * EXCLUDE (part, place) REPLACE (part AS code{place})
        FROM (SELECT *, unnest(parts) AS part, unnest(range(1, len(parts) + 1)) AS place
              FROM (SELECT *, string_split(code, {quote(separator)}) AS parts FROM stays))"""
    )
    connection.execute("ALTER TABLE medtop_cells DROP COLUMN parts")
    connection.execute("DELETE FROM stays")
    connection.execute("INSERT INTO stays BY NAME SELECT * FROM medtop_cells")
    connection.execute("DROP TABLE medtop_cells")
    after = connection.execute("SELECT count(*) FROM stays").fetchone()[0]
    account.rows_in += after - before
    account.add({"codes_split_from_cells": after - before})
    system = request.rules.code_system or source.code_system
    counts, _, account.code_rows = settle_codes(connection, system, PLACE["code_empty"])
    connection.execute(f"UPDATE stays SET reason = {PLACE['code_empty']} WHERE trim(code) = ''")
    account.add(counts)
    empty = connection.execute("SELECT count(*) FROM stays WHERE reason > 0").fetchone()[0]
    if empty:
        account.dropped["code_empty"] = account.dropped.get("code_empty", 0) + empty
        connection.execute("DELETE FROM stays WHERE reason > 0")


def judge_deaths(request, account, deaths):
    """Rows of stays that begin after the patient's death get their reason.

    Args:
        request: Request.
        account: Account.
        deaths: SQL giving (patient_id, death), one row a patient.
    """
    account.add(mark_after_death(request.connection, deaths, PLACE["after_death"], request.rules.death_grace_days))


def settle(request, account, reader, bad_sql, headers, row_files=None):
    """Counts bad rows, lists them, deletes them; patients whose rows were all bad are counted.

    Args:
        request: Request.
        account: Account, filled.
        reader: TableReader.
        bad_sql: SQL giving (file, record, reason) of every bad row of `stays`; record counts a file's rows from 0.
        headers: per file a dict column name -> header in the file.
        row_files: numbers of the files whose rows are diagnoses; None: all. Rejects of the others are listed only.

    Raises:
        DataError: with `strict`, for the first bad row; when no row is left, or less than half without leave.
    """
    connection = request.connection
    names = list(REASONS)
    total, dropped = 0, {}
    for reason, count in connection.execute(
        "SELECT reason, count(*) FROM stays GROUP BY reason ORDER BY reason"
    ).fetchall():
        total += count
        if reason:
            dropped[names[reason - 1]] = count
    counted = "true" if row_files is None else f"file IN ({', '.join(map(str, row_files))})"
    for reason, count in connection.execute(
        f"SELECT reason, count(*) FROM medtop_structural WHERE {counted} GROUP BY reason ORDER BY reason"
    ).fetchall():
        dropped[reason] = dropped.get(reason, 0) + count
        total += count
    if not total:
        raise DataError(f"{request.data_file}: expected diagnoses, received none")
    account.rows_in, account.dropped = total, dropped
    if not dropped and not reader.structural_count():
        return
    if request.strict:
        file, line, column, reason = first_reject(reader, bad_sql, headers, REASONS)
        raise DataError(f"{file}: line {line}, column {column}: expected a usable row (strict), received {reason}")
    if request.rejects_path:
        write_rejects(request.rejects_path, reader, bad_sql, headers, REASONS)
    check_rows(request.data_file, total, dropped, request.rules.accept_unusable)
    lost = connection.execute(
        "SELECT count(DISTINCT patient_id) FROM stays WHERE reason > 0 AND patient_id >= '!' "
        "AND patient_id NOT IN (SELECT patient_id FROM stays WHERE reason = 0)"
    ).fetchone()[0]
    if lost:
        account.patients_dropped["no_usable_row"] = lost
    connection.execute("DELETE FROM stays WHERE reason > 0")


def count_flags(request, account):
    """Counts values that were given but not used; stops where more than half of a column cannot be."""
    connection = request.connection
    sums = ", ".join(f"count(*) FILTER (WHERE flags & {1 << bit} > 0)" for bit in range(len(FLAGS)))
    counts = dict(zip(FLAGS, connection.execute(f"SELECT {sums} FROM stays WHERE flags > 0").fetchone(), strict=True))
    account.add(counts)
    unusable = {name: counts[f"{name}_unusable"] for name in UNUSABLE if counts[f"{name}_unusable"]}
    if not unusable:
        return
    known = connection.execute(f"SELECT {', '.join(f'count({name})' for name in unusable)} FROM stays").fetchone()
    account.given |= {name: number + unusable[name] for name, number in zip(unusable, known, strict=True)}
    check_columns(request.data_file, unusable, account.given, request.rules.accept_unusable)


def finish(request, source, files, account, observation_end=None, rows_merged=0):
    """Drops the helper columns and writes the report.

    Args:
        observation_end: sentence, default the source's.
    """
    connection = request.connection
    present = [row[0] for row in connection.execute("DESCRIBE stays").fetchall()]
    for name in present:
        if name not in STAYS_COLUMNS:
            connection.execute(f"ALTER TABLE stays DROP COLUMN {quote_name(name)}")
    connection.execute("DROP TABLE medtop_structural")
    rows = connection.execute("SELECT count(*) FROM stays").fetchone()[0]
    if account.dropped.get("after_death"):  # rows were dropped after their codes had been counted
        account.code_rows = dict(connection.execute("SELECT code, count(*) FROM stays GROUP BY code").fetchall())
    icd = sum(number for code, number in account.code_rows.items() if code.startswith(ICD_MARKS))
    if 0 < icd < rows:
        account.add({"codes_without_icd_prefix": rows - icd})
    return StaysReport(
        source=source.name,
        files=files,
        rows_in=account.rows_in,
        rows_merged=rows_merged,
        rows_dropped=account.dropped,
        counts=account.counts,
        observation_end=observation_end or source.observation_end,
        has_present_on_admission=has_values(connection, "stays", "present_on_admission"),
        icd_codes=2 * icd > rows,
        notes=[request.rules.dates.statement, *account.notes],
        patients_dropped=account.patients_dropped,
        given=account.given,
        dates=request.rules.dates,
        tables=account.tables,
        code_rows=account.code_rows or None,
        may_follow_death=account.may_follow_death,
    )
