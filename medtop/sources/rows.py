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
    for path, layout in zip(files, layouts, strict=True):
        number = reader.open(path, layout.delimiter)
        first, after, plain = _insert(reader, number, layout, given, request.rules.dates)
        all_plain &= plain
        reader.check_complete(number, after - first)
        if first == after and not reader.structural_count(number):
            raise DataError(f"{path}: expected rows below the header, received the header only")
        ranges.append((first, after))
        account.notes += layout.notes
        columns = [(layout.headers[name], layout.texts.get(name, sql), name) for name, sql in layout.raw.items()]
        account.tables.append(TableUse(path, layout.delimiter, layout.names, columns))
    if not all_plain:
        account.add({"discharges_at_midnight_taken_for_dates": settle_midnights(connection, "stays")})
    bad_sql = " UNION ALL ".join(
        f"SELECT {number} AS file, rowid - {first} AS record, reason FROM stays "
        f"WHERE reason > 0 AND rowid >= {first} AND rowid < {after}"
        for number, (first, after) in enumerate(ranges)
    )
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
        return
    days = request.rules.death_grace_days
    late = f"CAST(last_admit AS DATE) > death OR CAST(last_discharge AS DATE) - death > {days}"
    if connection.execute(f"SELECT count(*) FROM medtop_patients WHERE {late}").fetchone()[0]:
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


def _insert(reader, number, layout, given, dates):
    """Fills the wide table from file `number`, plainly where it can be: (first, after) as from `TableReader.insert`,
    and whether it was plain."""
    types = None if dates.date_format else plain_types(reader.files[number][1], layout, POA_PARSED)
    if types:
        select = select_sql(plain_layout(layout, types), given, line_breaks=False, dates=dates, dates_only=True)
        if rows := reader.insert_plain(number, "stays", select, types):
            return *rows, True
    select = select_sql(layout, given, reader.may_hold_line_breaks(number), dates)
    return *reader.insert(number, "stays", select, layout.names), False
