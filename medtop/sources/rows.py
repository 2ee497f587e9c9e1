"""Tables whose every row is one diagnosis: columns parsed, rows judged and counted in the pass that reads them.

The table `stays` is filled with helper columns (`reason`, `flags`, `birth`, ...) in one pass; rows with a reason are
then listed and deleted, patients are made, and the helper columns dropped.
"""

import dataclasses

from medtop.files.errors import DataError
from medtop.sources.plain_text import plain_layout, plain_types
from medtop.sources.reading import (
    TableReader,
    discharge_sql,
    is_blank_sql,
    is_given_sql,
    out_of_range_sql,
    quote_name,
    timestamp_sql,
)
from medtop.sources.rejects import first_reject, write_rejects
from medtop.sources.stays import EARLIEST, LATEST, ORDER_COLUMNS, PATIENTS_COLUMNS, STAYS_COLUMNS, StaysReport

REASONS = {
    "patient_id_empty": "patient_id",
    "code_empty": "code",
    "code_system_unknown": "version",
    "stay_unknown": "stay_id",
    "admit_empty": "admit",
    "admit_unparsable": "admit",
    "admit_out_of_range": "admit",
    "discharge_empty": "discharge",
    "discharge_unparsable": "discharge",
    "discharge_out_of_range": "discharge",
    "discharge_before_admit": "discharge",
    "patient_id_line_break": "patient_id",
    "code_line_break": "code",
}
"""Reason -> standard column it speaks of. A row's reason is stored as its place here, from 1; 0 is a good row."""

FLAGS = (*ORDER_COLUMNS, "present_on_admission", "birth", "sex", "death", "observation_end")
"""Optional columns: bit n of `flags` says that the row's value was given, but could not be used (it becomes null)."""

DATE_COLUMNS = ("birth", "death", "observation_end")
ROW_PATIENT_COLUMNS = {name: kind for name, kind in PATIENTS_COLUMNS.items() if name != "patient_id"}


@dataclasses.dataclass
class RowLayout:
    """How the columns of one table become the standard ones.

    Attributes:
        names: names for the file's columns, by position (SQL needs them distinct); Parquet: the file's own.
        raw: dict standard name -> SQL text value over `names`; what is not named becomes null.
        headers: dict standard name -> header in the file, for reject lists and error lines.
        parsed: dict standard name -> SQL that replaces the usual parsing.
        delimiter: one character, or None for Parquet.
    """

    names: list
    raw: dict
    headers: dict
    delimiter: str | None
    parsed: dict = dataclasses.field(default_factory=dict)


def text_layout(headers, places, delimiter, parsed=None):
    """The layout of a text file, whose columns are named c0, c1, ... by position, whatever the headers say.

    Args:
        headers: list of str, for error lines.
        places: dict standard name -> position in `headers`.
        delimiter: one character.
        parsed: dict standard name -> SQL with the place `{value}`, which replaces the usual parsing.
    """
    names = [f"c{place}" for place in range(len(headers))]
    return RowLayout(
        names=names,
        raw={name: names[place] for name, place in places.items()},
        delimiter=delimiter,
        headers={**dict(zip(names, headers, strict=True)), **{name: headers[place] for name, place in places.items()}},
        parsed={name: sql.format(value=names[places[name]]) for name, sql in (parsed or {}).items()},
    )


def parse_sql(name, value, date_format=None):
    """SQL: the text `value` as the standard column `name`; null where it cannot be used."""
    if name in ("admit", "discharge"):
        return timestamp_sql(value, date_format)
    if name in DATE_COLUMNS:
        return f"CAST({timestamp_sql(value, date_format)} AS DATE)"
    if name in ORDER_COLUMNS:
        return f"TRY_CAST({value} AS INTEGER)"
    if name == "present_on_admission":  # CMS also writes U, W, 1 and E: not known to be one or the other
        return words_sql(value, {"Y": "Y", "N": "N"})
    if name == "sex":
        return words_sql(value, {"F": "F", "M": "M", "FEMALE": "F", "MALE": "M"})
    if name == "stay_id":
        return f"nullif(trim({value}), '')"
    return value


POA_PARSED = {
    "order_1": "coalesce(TRY_CAST({value} AS INTEGER), CASE {value} WHEN 'Y' THEN 0 WHEN 'N' THEN 1 END)",
    "present_on_admission": "CASE {value} WHEN 'Y' THEN 'Y' WHEN 'N' THEN 'N' END",
}
"""A column of the lineage that orders codes by presence on admission: numbers, whose meaning is not known, sort as they
are; Y sorts before N, and both are kept; other letters become null and sort last."""


def words_sql(value, words):
    """SQL: the text `value` looked up in `words` (upper case), else null; trimmed only where not found as it is."""
    branches = " ".join(f"WHEN '{word}' THEN '{meaning}'" for word, meaning in words.items())
    return f"CASE {value} {branches} ELSE CASE upper(trim({value})) {branches} END END"


def reason_sql(line_breaks, unknown_stay=None, unknown_version=None):
    """SQL: a row's reason as a number (place in `REASONS`, from 1; 0 is good), from parsed and raw columns.

    The first branch settles a good row with five comparisons; nulls fall through it.

    Args:
        line_breaks: whether values may hold line breaks.
        unknown_stay: SQL condition: the row's stay is not known.
        unknown_version: SQL condition: the version of its code is not known.
    """
    place = {reason: number for number, reason in enumerate(REASONS, 1)}
    good = (
        f"patient_id >= '!' AND code >= '!' AND admit >= TIMESTAMP '{EARLIEST}' AND discharge >= admit "
        f"AND discharge < TIMESTAMP '{LATEST}'"
    )
    broken = {name: f"(contains({name}, chr(10)) OR contains({name}, chr(13)))" for name in ("patient_id", "code")}
    if line_breaks:
        good += "".join(f" AND NOT {test}" for test in broken.values())
    good += "".join(f" AND NOT ({test})" for test in (unknown_stay, unknown_version) if test)
    tests = [(is_blank_sql("patient_id"), "patient_id_empty"), (is_blank_sql("code"), "code_empty")]
    unknown = ((unknown_version, "code_system_unknown"), (unknown_stay, "stay_unknown"))
    tests += [(test, reason) for test, reason in unknown if test]
    for name in ("admit", "discharge"):
        tests += [
            (f"NOT {is_given_sql('raw_' + name)}", f"{name}_empty"),
            (f"{name} IS NULL", f"{name}_unparsable"),
            (out_of_range_sql(name), f"{name}_out_of_range"),
        ]
    tests.append(("discharge < admit", "discharge_before_admit"))
    if line_breaks:
        tests += [(test, f"{name}_line_break") for name, test in broken.items()]
    branches = " ".join(f"WHEN {test} THEN {place[reason]}" for test, reason in tests)
    return f"CASE WHEN {good} THEN 0 {branches} ELSE 0 END"


def select_sql(layout, given, line_breaks, date_format=None, dates_only=False):
    """SQL: SELECT from `{table}` of all columns of the wide `stays` table (`create_wide_table`), in its order.

    `dates_only` says that no admission has a time, so that no discharge needs `discharge_sql`.
    """
    columns = {}
    for name in wide_columns(given):
        if name in layout.parsed:
            columns[name] = layout.parsed[name]
        elif name in layout.raw:
            columns[name] = parse_sql(name, layout.raw[name], date_format)
        elif name not in ("reason", "flags"):
            columns[name] = "NULL"
    inner = ", ".join(f"{sql} AS {name}" for name, sql in columns.items() if name != "discharge")
    judged = (*FLAGS, "admit", "discharge")
    raws = ", ".join(f"{sql} AS raw_{name}" for name, sql in layout.raw.items() if name in judged)
    # a column that is parsed in a way of its own has values of other meanings, which are not to be counted
    flagged = [name for name in FLAGS if name in layout.raw and (name in ORDER_COLUMNS or name not in layout.parsed)]
    bits = " + ".join(
        f"CASE WHEN {name} IS NULL AND {is_given_sql('raw_' + name)} THEN {1 << FLAGS.index(name)} ELSE 0 END"
        for name in flagged
    )
    complete = " AND ".join(f"{name} IS NOT NULL" for name in flagged)
    flags = f"CASE WHEN {complete} THEN 0 ELSE {bits} END" if flagged else "0"
    discharge = "read_discharge" if dates_only else discharge_sql("admit", "read_discharge", "raw_discharge")
    return (
        f"SELECT {', '.join(columns)}, {reason_sql(line_breaks)} AS reason, {flags} AS flags FROM ("
        f"SELECT * EXCLUDE (read_discharge), {discharge} AS discharge FROM ("
        f"SELECT {inner}, {columns['discharge']} AS read_discharge, {raws} FROM {{table}}))"
    )


def wide_columns(given):
    """Columns of `stays` while it is filled: the standard ones, those of patients among `given`, reason and flags."""
    own = {name: kind for name, kind in ROW_PATIENT_COLUMNS.items() if name in given}
    return {**STAYS_COLUMNS, **own, "reason": "UTINYINT", "flags": "UTINYINT"}


def create_wide_table(connection, columns):
    """Makes an empty `stays` table: dict name -> type."""
    listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    connection.execute(f"CREATE OR REPLACE TABLE stays ({listed})")


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
    connection = request.connection
    layouts = [layout_of(path, request) for path in files]
    given = {name for layout in layouts for name in (*layout.raw, *layout.parsed)}
    create_wide_table(connection, wide_columns(given))
    reader, ranges = TableReader(connection), []
    for path, layout in zip(files, layouts, strict=True):
        number = reader.open(path, layout.delimiter)
        first, after = _insert(reader, number, layout, given, request.date_format)
        reader.check_complete(number, after - first)
        if first == after and not reader.structural_count(number):
            raise DataError(f"{path}: expected rows below the header, received the header only")
        ranges.append((first, after))
    bad_sql = " UNION ALL ".join(
        f"SELECT {number} AS file, rowid - {first} AS record, reason FROM stays "
        f"WHERE reason > 0 AND rowid >= {first} AND rowid < {after}"
        for number, (first, after) in enumerate(ranges)
    )
    headers = [layout.headers for layout in layouts]
    rows_in, dropped = settle(request, reader, bad_sql, headers)
    counts = count_flags(connection)
    counts |= make_patients(connection, given)
    return finish(request, source, [str(path) for path in files], rows_in, dropped, counts)


def _insert(reader, number, layout, given, date_format):
    """Fills the wide table from file `number`, plainly where it can be: (first, after) as from `TableReader.insert`."""
    types = None if date_format else plain_types(reader.files[number][1], layout, POA_PARSED)
    if types:
        select = select_sql(plain_layout(layout, types), given, line_breaks=False, dates_only=True)
        if rows := reader.insert_plain(number, "stays", select, types):
            return rows
    select = select_sql(layout, given, reader.may_hold_line_breaks(number), date_format)
    return reader.insert(number, "stays", select, layout.names)


def settle(request, reader, bad_sql, headers, row_files=None):
    """Counts bad rows, lists them, deletes them.

    Args:
        request: Request.
        reader: TableReader.
        bad_sql: SQL giving (file, record, reason) of every bad row of `stays`; record counts a file's rows from 0.
        headers: per file a dict column name -> header in the file.
        row_files: numbers of the files whose rows are diagnoses; None: all. Rejects of the others are listed only.

    Returns:
        (rows_in, dropped): int and dict reason -> count.

    Raises:
        DataError: with `strict`, for the first bad row; when no row is left.
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
    if not dropped and not reader.structural_count():
        return total, dropped
    if request.strict:
        file, line, column, reason = first_reject(reader, bad_sql, headers, REASONS)
        raise DataError(f"{file}: line {line}, column {column}: expected a usable row (strict), received {reason}")
    if request.rejects_path:
        write_rejects(request.rejects_path, reader, bad_sql, headers, REASONS)
    if sum(dropped.values()) == total:
        commonest = max(dropped, key=dropped.get)
        hint = "; give the form with --date_format" if "unparsable" in commonest else ""
        raise DataError(
            f"{request.data_file}: expected usable rows, received none: {dropped[commonest]} of {total} "
            f"rows dropped for {commonest}{hint}"
        )
    connection.execute("DELETE FROM stays WHERE reason > 0")
    return total, dropped


def count_flags(connection):
    """Values that were given but could not be used, in rows that stay: dict `<column>_unusable` -> rows."""
    sums = ", ".join(f"count(*) FILTER (WHERE flags & {1 << bit} > 0)" for bit in range(len(FLAGS)))
    counts = connection.execute(f"SELECT {sums} FROM stays WHERE flags > 0").fetchone()
    return {f"{name}_unusable": count for name, count in zip(FLAGS, counts, strict=True) if count}


def make_patients(connection, given):
    """Makes `patients` out of the wide `stays` table.

    Where rows of a patient disagree the smallest value is taken (observation_end: the largest) and the patient counted.
    observation_end without a column of its own: the latest discharge of the whole table, or the death before it.

    Args:
        connection: DuckDB connection.
        given: set of standard names that the source fills.

    Returns:
        dict `patients_with_conflicting_<column>` -> patients.
    """
    own = [name for name in ("birth", "sex", "death") if name in given]
    seen = ", ".join(f"min({name}) AS {name}, min({name}) <> max({name}) AS {name}_differs" for name in own)
    end = ", max(observation_end) AS observation_end" if "observation_end" in given else ""
    null = {"birth": "CAST(NULL AS DATE)", "sex": "CAST(NULL AS VARCHAR)", "death": "CAST(NULL AS DATE)"}
    value = {name: name if name in own else sql for name, sql in null.items()}
    latest = "(SELECT CAST(max(discharge) AS DATE) FROM stays)"
    fallback = f"least({latest}, death)" if "death" in own else latest  # least() passes over nulls in DuckDB
    observed = f"coalesce(observation_end, {fallback})" if end else fallback
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE medtop_patients AS SELECT patient_id{', ' + seen if seen else ''}{end} "
        "FROM stays GROUP BY patient_id"
    )
    connection.execute(
        f"CREATE OR REPLACE TABLE patients AS SELECT patient_id, {value['birth']} AS birth, {value['sex']} AS sex, "
        f"{value['death']} AS death, {observed} AS observation_end FROM medtop_patients"
    )
    counts = {}
    for name in own:
        count = connection.execute(f"SELECT count(*) FROM medtop_patients WHERE {name}_differs").fetchone()[0]
        if count:
            counts[f"patients_with_conflicting_{name}"] = count
    connection.execute("DROP TABLE medtop_patients")
    return counts


def finish(request, source, files, rows_in, dropped, counts, notes=(), rows_merged=0):
    """Drops the helper columns and writes the report."""
    connection = request.connection
    present = [row[0] for row in connection.execute("DESCRIBE stays").fetchall()]
    for name in present:
        if name not in STAYS_COLUMNS:
            connection.execute(f"ALTER TABLE stays DROP COLUMN {quote_name(name)}")
    connection.execute("DROP TABLE medtop_structural")
    rows, present, icd = connection.execute(
        "SELECT count(*), count(present_on_admission), sum(CASE WHEN starts_with(code, 'ICD10_') THEN 1 "
        "WHEN starts_with(code, 'ICD9_') THEN 1 ELSE 0 END) FROM stays"
    ).fetchone()
    if 0 < icd < rows:
        counts = {**counts, "codes_without_icd_prefix": rows - icd}
    return StaysReport(
        source=source.name,
        files=files,
        rows_in=rows_in,
        rows_merged=rows_merged,
        rows_dropped=dropped,
        counts=counts,
        observation_end=source.observation_end,
        has_present_on_admission=present > 0,
        icd_codes=2 * icd > rows,
        notes=list(notes),
    )
