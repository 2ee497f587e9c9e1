"""Reading tables with DuckDB, every decision explicit: delimiter, quotes, column names; all columns as text.

Nothing is left to DuckDB's sniffing (`auto_detect=false`): it reads `20081209` as a number and turns types with the
sample it happens to see. What the SQL of this folder takes from DuckDB alone, for whoever ports it: `read_csv` and its
reject tables, `TRY_CAST`, `rowid` in the order of insertion,
`UPDATE ... FROM`, `SELECT * EXCLUDE`, `FILTER (WHERE ...)`, `least` that passes over nulls, and what `dates` lists.
"""

import itertools
import re

import duckdb
import pyarrow

from medtop.files.errors import DataError
from medtop.files.shown import shown_error
from medtop.files.sql import quote
from medtop.sources.plain_text import open_plain
from medtop.sources.text_files import inspect_text, is_parquet, iterate_records

STRUCTURAL_REASONS = {
    "MISSING COLUMNS": "too_few_columns",
    "TOO MANY COLUMNS": "too_many_columns",
    "INVALID ENCODING": "not_utf8",
    "UNQUOTED VALUE": "quote_not_closed",
    "LINE SIZE OVER MAXIMUM": "line_too_long",
}
"""DuckDB's error types -> our reasons."""

MOST_LINES = 1_000
"""A record that spans more lines has a quote that was closed by another field's."""


class TableReader:
    """Reads text or Parquet files into a DuckDB table, in file order, and keeps account of what DuckDB rejected.

    The tables `medtop_structural` and, while a file is read, `medtop_errors` and `medtop_scans` are temporary tables
    of the connection.

    Args:
        connection: DuckDB connection.
    """

    def __init__(self, connection):
        self.connection = connection
        self.used = []  # `TableUse` of what `read_table` read
        self.files = []  # [(path, TextFile or None, delimiter)], in the order they were read
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE medtop_structural "
            "(file INTEGER, place BIGINT, column_name VARCHAR, reason VARCHAR)"
        )

    def open(self, path, delimiter):
        """Looks through a file and gives it a number, by which the other methods know it.

        Args:
            path: text or Parquet file.
            delimiter: one character; None for Parquet.
        """
        self.files.append((path, None if delimiter is None else inspect_text(path), delimiter))
        return len(self.files) - 1

    def may_hold_line_breaks(self, number):
        """Whether a value of file `number` can hold a line break (quoted fields, Parquet)."""
        text = self.files[number][1]
        return text is None or text.has_quotes

    def insert(self, number, target, select, names):
        """Runs `INSERT INTO target <select>`, where `{table}` in `select` stands for file `number`.

        Args:
            number: from `open`.
            target: name of an existing table.
            select: SQL with the place `{table}`.
            names: column names, by position; a Parquet file keeps its own.

        Returns:
            (first, after): the file's rows have rowids first <= rowid < after in the target.
        """
        path, text, delimiter = self.files[number]
        before = self._count(target)
        table = parquet_sql(path) if text is None else self._csv(text, names, delimiter)
        try:
            self.connection.execute(f"INSERT INTO {target} {select.replace('{table}', table)}")
            if text is not None:
                self._keep_structural(number, text)
        except duckdb.Error as error:
            raise _data_error(path, text, error) from error
        finally:
            self.connection.execute("DROP TABLE IF EXISTS medtop_errors; DROP TABLE IF EXISTS medtop_scans")
        return before, self._count(target)

    def insert_plain(self, numbers, target, select, types):
        """`insert` for files that seem plain (`plain_text`), one after the other, with one thread.

        Two threads that append in the order of the file wait for each other, at twice the CPU-seconds. Planning the
        query costs as much as thousands of rows: small files that are alike are inserted together.

        Args:
            numbers: of files with one delimiter.
            target, select: as for `insert`; `select` takes the columns in their types.
            types: dict column name -> Arrow type.

        Returns:
            list of (first, after), as from `insert`, of each file, or None where one is not plain after all; nothing
            was inserted then.
        """
        texts, delimiter = [self.files[number][1] for number in numbers], self.files[numbers[0]][2]
        before = self._count(target)
        threads = self.connection.execute("SELECT current_setting('threads')").fetchone()[0]
        try:
            self.connection.execute("SET threads = 1")
            with open_plain(texts, delimiter, types) as rows:
                self.connection.register("medtop_plain", rows)
                self.connection.execute(f"INSERT INTO {target} {select.replace('{table}', 'medtop_plain')}")
        except (duckdb.Error, pyarrow.ArrowInvalid):  # `insert` reads the file from its start and says what is wrong
            return None
        finally:
            self.connection.unregister("medtop_plain")
            self.connection.execute(f"SET threads = {threads}")
        ends = list(itertools.accumulate((text.lines - 1 for text in texts), initial=before))
        if ends[-1] != self._count(target):
            raise DataError(f"{texts[0].path}: expected {ends[-1] - before} rows below the headers, received others")
        return list(itertools.pairwise(ends))

    def check_complete(self, number, rows):
        """Compares the records DuckDB saw in file `number` with those that are there.

        DuckDB cuts a large file into parts that it reads at once; where a quote stands alone it can take the inside of
        a part for the outside, and swallow or invent rows without a reject.

        Raises:
            DataError: when the two differ.
        """
        path, text, delimiter = self.files[number]
        if text is None:
            return
        received = rows + self.structural_count(number)
        expected = text.lines - 1
        if received < expected:
            received += self._keep_long_lines(number, text, expected - received)
        if text.multi_line:
            expected, begin, longest = _survey_records(text, delimiter)
            if received != expected or longest > MOST_LINES:
                raise _open_quote(text, begin)
        if received != expected:
            raise DataError(
                f"{path}: expected {expected} rows below the header, received {received}: check its quotes "
                "and line ends"
            )

    def _keep_long_lines(self, number, text, missing):
        """Counts lines that DuckDB passed over without a word because they are longer than its buffer."""
        known = {line for line, _, _ in self.structural_rejects(number)}
        lines = [line for line in text.long_lines if line not in known]
        if len(lines) != missing:
            return 0
        self.connection.executemany(
            f"INSERT INTO medtop_structural VALUES ({number}, ?, NULL, 'line_too_long')", [[line] for line in lines]
        )
        return missing

    def structural_count(self, number=None):
        """Rows rejected as such in file `number`, or in all."""
        where = "" if number is None else f"WHERE file = {number}"
        return self.connection.execute(f"SELECT count(*) FROM medtop_structural {where}").fetchone()[0]

    def structural_rejects(self, number):
        """Rejected rows of file `number`: list of (line, column name, reason), by line."""
        rows = self.connection.execute(
            f"SELECT place, column_name, reason FROM medtop_structural WHERE file = {number} ORDER BY place"
        ).fetchall()
        _, text, delimiter = self.files[number]
        if not rows or not text.has_quotes:
            return rows
        wanted = {place for place, _, _ in rows}
        lines = {place: line for place, line in iterate_records(text, delimiter) if place in wanted}
        return [(lines.get(place, place), column, reason) for place, column, reason in rows]

    def kept_lines(self, number):
        """Yields the line (Parquet: row, from 1) of each record kept from file `number`, in order."""
        path, text, delimiter = self.files[number]
        if text is None:
            rows = self.connection.execute(f"SELECT count(*) FROM {parquet_sql(path)}").fetchone()[0]
            return iter(range(1, rows + 1))
        skipped = {
            place
            for (place,) in self.connection.execute(
                f"SELECT place FROM medtop_structural WHERE file = {number}"
            ).fetchall()
        }
        return (line for place, line in iterate_records(text, delimiter) if place not in skipped)

    def _count(self, target):
        return self.connection.execute(f"SELECT count(*) FROM {target}").fetchone()[0]

    def _csv(self, text, names, delimiter):
        columns = ", ".join(f"{quote(name)}: 'VARCHAR'" for name in names)
        mark = '"' if text.has_quotes else ""
        strict = not text.mixed_line_ends or text.has_quotes  # only the loose mode reads mixed line ends
        return (
            f"read_csv([{quote(_no_glob(text.path))}], columns = {{{columns}}}, auto_detect = false, "
            f"header = true, delim = {quote(delimiter)}, quote = '{mark}', escape = '{mark}', nullstr = '', "
            f"strict_mode = {str(strict).lower()}, compression = '{'gzip' if text.gzipped else 'none'}', "
            "hive_partitioning = false, store_rejects = true, rejects_table = 'medtop_errors', "
            "rejects_scan = 'medtop_scans', rejects_limit = 0)"
        )

    def _keep_structural(self, number, text):
        reasons = " ".join(f"WHEN '{theirs}' THEN '{ours}'" for theirs, ours in STRUCTURAL_REASONS.items())
        self.connection.execute(
            f"INSERT INTO medtop_structural SELECT {number}, line, arg_min(column_name, coalesce(column_idx, 0)), "
            f"arg_min(CASE error_type {reasons} ELSE lower(replace(error_type, ' ', '_')) END, "
            "coalesce(column_idx, 0)) FROM medtop_errors GROUP BY line ORDER BY line"
        )
        swallowed = self.connection.execute(
            "SELECT count(*) FROM medtop_errors WHERE error_type = 'UNQUOTED VALUE' "
            "AND (contains(csv_line, chr(10)) OR contains(csv_line, chr(13)))"
        ).fetchone()[0]
        if swallowed:
            raise _open_quote(text, _survey_records(text, self.files[number][2])[1])


def _survey_records(text, delimiter):
    """(number of records below the header, line where the longest begins, how many lines that spans)."""
    count, begin, longest, before = 0, 1, 0, None
    for _, line in iterate_records(text, delimiter):
        if before is not None and line - before > longest:
            begin, longest = before, line - before
        count, before = count + 1, line
    if before is not None and text.ends + 1 - before > longest:
        begin, longest = before, text.ends + 1 - before
    return count, begin, longest


def _open_quote(text, line):
    """The error for a quoted field that swallows lines; the record that spans the most lines holds it.

    DuckDB's own line number is not used: with a file read in parts it can name a line of another part.
    """
    return DataError(
        f"{text.path}: line {line}: expected each quoted field to be closed, received one that swallows "
        "the lines after it"
    )


def column_types(connection, path):
    """Names and types of a Parquet file: dict name -> DuckDB type."""
    try:
        rows = connection.execute(f"DESCRIBE SELECT * FROM {parquet_sql(path)}").fetchall()
    except duckdb.Error as error:
        raise _data_error(path, None, error) from error
    return {row[0]: row[1] for row in rows}


def parquet_sql(path):
    """SQL: the rows of a Parquet file."""
    return f"read_parquet([{quote(_no_glob(path))}], hive_partitioning = false)"


def _no_glob(path):
    """The path with the characters that DuckDB would expand set in brackets."""
    return re.sub(r"([*?\[])", r"[\1]", str(path))


def _data_error(path, text, error):
    """One line out of DuckDB's several."""
    message = str(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return DataError(f"{path}: expected more memory or temporary space, received: {shown_error(message)}")
    if "invalid state" in message and text is not None:
        ends = "mixed line ends" if text.mixed_line_ends else "quotes or line ends that cannot be parsed"
        return DataError(f"{path}: expected one kind of line end and closed quotes, received {ends}")
    kind = "a Parquet file" if text is None and is_parquet(path) else "a readable table"
    return DataError(f"{path}: expected {kind}, received: {shown_error(message)}")
