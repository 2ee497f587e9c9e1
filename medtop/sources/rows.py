"""Tables whose every row is one diagnosis: columns parsed, rows judged and counted in the pass that reads them.

The table `stays` is filled with helper columns (`reason`, `flags`, `birth`, ...) in one pass; ids and codes are then
brought to one form by their distinct values, rows with a reason listed and deleted, patients made, and the helper
columns dropped.
"""

import dataclasses

from medtop.files.errors import DataError
from medtop.sources.dates import settle_midnights
from medtop.sources.patients import make_patients, summarise_again, summarise_patients
from medtop.sources.plain_text import plain_layout, plain_types
from medtop.sources.reading import TableReader
from medtop.sources.row_sql import POA_PARSED, create_wide_table, select_sql, settle_days, wide_columns
from medtop.sources.settling import (
    Account,
    count_flags,
    finish,
    judge_codes,
    judge_deaths,
    judge_ids,
    settle,
    split_cells,
)
from medtop.sources.stays import ORDER_COLUMNS, TableUse

TOGETHER_BYTES, MOST_TOGETHER = 1 << 26, 2_000
"""Bytes and number of small files that are inserted together."""
MOST_IN_QUERY = 200
"""Files whose ranges of rows stand in a query's text; those of more stand in a table."""


def load_rows(request, source, files, layout_of):
    """Loads files of one-row-per-diagnosis tables.

    Args:
        request: Request.
        source: Source.
        files: list of paths.
        layout_of: function(path, request) -> RowLayout.

    Returns:
        StaysReport.
    """
    connection, account = request.connection, Account()
    layouts = [layout_of(path, request) for path in files]
    request = _with_separator(request, layouts)
    given = {name for layout in layouts for name in (*layout.raw, *layout.parsed)}
    create_wide_table(connection, wide_columns(given))
    reader, ranges, all_plain = TableReader(connection), [], True
    for numbers, plan in _groups(reader, files, layouts, given, request.rules.dates):
        inserted, plain = _insert(reader, numbers, plan, layouts, given, request.rules.dates)
        all_plain &= plain
        ranges += inserted
    for path, layout in zip(files, layouts, strict=True):
        account.notes += layout.notes
        columns = [(layout.headers[name], layout.texts.get(name, sql), name) for name, sql in layout.raw.items()]
        account.tables.append(TableUse(path, layout.delimiter, layout.names, columns))
    if not all_plain:
        account.add({"discharges_at_midnight_taken_for_dates": settle_midnights(connection, "stays")})
    bad_sql = _bad_sql(connection, ranges)
    sentence = judge_rows(request, source, reader, account, given, bad_sql, [layout.headers for layout in layouts])
    return finish(request, source, [str(path) for path in files], account, sentence)


def judge_rows(request, source, reader, account, given, bad_sql, headers, row_files=None):
    """What follows when the wide table `stays` is filled: ids, codes, deaths, bad rows, flags, cells, patients.

    Args:
        request, source, reader, account: of the input.
        given: standard names that the input brings.
        bad_sql, headers, row_files: as for `settling.settle`.

    Returns:
        Sentence on `observation_end`, or None where the source's own holds.
    """
    settle_days(request.connection, given, request.rules.dates)
    _judge(request, source, account, given)
    settle(request, account, reader, bad_sql, headers, row_files)
    count_flags(request, account)
    if request.rules.code_separator:
        split_cells(request, source, account, [name for name in ORDER_COLUMNS if name in given])
    if account.dropped or request.rules.code_separator:
        summarise_again(request, given)
    return make_patients(request, given, account)


def _judge(request, source, account, given):
    """Judges ids, codes and deaths of the wide table, and leaves `medtop_patients`: as long as all rows are good, one
    grouping by patient serves all."""
    connection = request.connection
    summarise_patients(request, given)
    changed = judge_ids(connection, account, "SELECT patient_id AS old, rows AS number FROM medtop_patients")
    judge_codes(request, source, account)
    if changed or connection.execute("SELECT max(reason) FROM stays").fetchone()[0]:
        summarise_patients(request, given, "reason = 0")
    if "death" not in given:
        account.may_follow_death = False
        return
    days = request.rules.death_grace_days
    late = f"CAST(last_admit AS DATE) > death OR CAST(last_discharge AS DATE) - death > {days}"
    account.may_follow_death = (
        connection.execute(f"SELECT count(*) FROM medtop_patients WHERE {late}").fetchone()[0] > 0
    )
    if account.may_follow_death:
        judge_deaths(request, account, "SELECT patient_id, death FROM medtop_patients")


def _with_separator(request, layouts):
    """The request, with the separator of a table that says so itself."""
    own = {layout.separator for layout in layouts}
    if own == {None}:
        return request
    if len(own) > 1 or request.rules.code_separator:
        raise DataError(
            f"{request.data_file}: expected codes as lists in all files and no --code_separator, or in none; received "
            "both"
        )
    return dataclasses.replace(request, rules=dataclasses.replace(request.rules, code_separator=own.pop()))


def _groups(reader, files, layouts, given, dates):
    """Yields (numbers, plan) of files to be inserted together, in order: one file, or small plain ones that are alike.

    The plan is (SQL, Arrow types) for `TableReader.insert_plain`, or None for a file that is not plain.
    """
    group, shared, size = [], None, 0
    for path, layout in zip(files, layouts, strict=True):
        number, bytes_here = reader.open(path, layout.delimiter), path.stat().st_size
        types = None if dates.date_format else plain_types(reader.files[number][1], layout, POA_PARSED)
        plan = None
        if types:
            plain = plain_layout(layout, types)
            plan = select_sql(plain, given, line_breaks=False, dates=dates, dates_only=True), types, layout.delimiter
        if group and (plan is None or plan != shared or size + bytes_here > TOGETHER_BYTES):
            yield group, shared
            group, size = [], 0
        group, shared, size = [*group, number], plan, size + bytes_here
        if plan is None or len(group) == MOST_TOGETHER:
            yield group, shared
            group, size = [], 0
    if group:
        yield group, shared


def _insert(reader, numbers, plan, layouts, given, dates):
    """Fills the wide table from files of a group, plainly where it can be: list of (first, after) of each, as from
    `TableReader.insert`, and whether it was plain."""
    if plan and (ranges := reader.insert_plain(numbers, "stays", plan[0], plan[1])):
        _check_rows(reader, numbers, ranges)
        return ranges, True
    if len(numbers) > 1:  # one of them is not plain after all: each on its own
        parts = [_insert(reader, [number], plan, layouts, given, dates) for number in numbers]
        return [ranges[0] for ranges, _ in parts], all(plain for _, plain in parts)
    ranges = []
    for number in numbers:
        layout = layouts[number]
        select = select_sql(layout, given, reader.may_hold_line_breaks(number), dates)
        first, after = reader.insert(number, "stays", select, layout.names)
        reader.check_complete(number, after - first)
        ranges.append((first, after))
        _check_rows(reader, [number], ranges[-1:])
    return ranges, False


def _check_rows(reader, numbers, ranges):
    for number, (first, after) in zip(numbers, ranges, strict=True):
        if first == after and not reader.structural_count(number):
            raise DataError(f"{reader.files[number][0]}: expected rows below the header, received the header only")


def _bad_sql(connection, ranges):
    """SQL: (file, record, reason) of the bad rows of `stays`; each file has its range of rowids."""
    if len(ranges) > MOST_IN_QUERY:
        filled = [(number, first) for number, (first, after) in enumerate(ranges) if first < after]
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE medtop_ranges AS SELECT unnest($1) AS file, unnest($2) AS first",
            [list(column) for column in zip(*filled, strict=True)],
        )
        return (
            "SELECT r.file, s.record - r.first AS record, s.reason FROM (SELECT rowid AS record, reason FROM stays "
            "WHERE reason > 0) s ASOF JOIN medtop_ranges r ON s.record >= r.first"
        )
    return " UNION ALL ".join(
        f"SELECT {number} AS file, rowid - {first} AS record, reason FROM stays "
        f"WHERE reason > 0 AND rowid >= {first} AND rowid < {after}"
        for number, (first, after) in enumerate(ranges)
    )
