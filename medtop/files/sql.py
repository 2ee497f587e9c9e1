"""DuckDB and Arrow: opening a database that spills, quoting, and results as NumPy arrays."""

import contextlib

import duckdb
import numpy as np
import pyarrow

from medtop.files.errors import DataError


@contextlib.contextmanager
def open_database(folder, memory_limit="2GB", threads=0, on_disk=False):
    """A DuckDB connection that spills into `folder`; closed at the end.

    Args:
        folder: existing folder for temporary files.
        memory_limit: such as "2GB".
        threads: 0 = as many as there are cores.
        on_disk: keep tables in a (compressed) database file in `folder` instead of memory.

    Raises:
        DataError: when `memory_limit` cannot be read.
    """
    connection = duckdb.connect(str(folder / "tables.duckdb") if on_disk else ":memory:")
    try:
        try:
            connection.execute(f"SET memory_limit = {quote(memory_limit)}")
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise DataError(f"--memory_limit: expected a size such as 2GB, received {memory_limit!r}") from error
        connection.execute(f"SET temp_directory = {quote(folder / 'spill')}")
        if threads:
            connection.execute(f"SET threads = {int(threads)}")
        yield connection
    finally:
        connection.close()


def quote(value):
    """`value` as an SQL string.

    >>> quote("it's")
    "'it''s'"
    """
    return "'" + str(value).replace("'", "''") + "'"


def quote_name(name):
    """`name` as an SQL identifier: a header can hold any letter.

    >>> quote_name('t"o')
    '"t""o"'
    """
    return '"' + str(name).replace('"', '""') + '"'


def first_row(connection, query):
    """The first row of a query's result as a tuple, None without rows; the result is closed, so that others can run."""
    rows = connection.execute(query).fetchall()
    return rows[0] if rows else None


def has_values(connection, table, column):
    """Whether any row of a table has a value in a column: it looks no further than the first, and not at parts of the
    table whose statistics say that all are null."""
    query = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {column} IS NOT NULL LIMIT 1)"
    return first_row(connection, query)[0] > 0


def numbers(column, dtype):
    """A numeric Arrow column without nulls as a NumPy array. (pyarrow's own conversions to and from NumPy
    import pandas where it is installed, which takes 0.3 s.)"""
    array = column.combine_chunks() if isinstance(column, pyarrow.ChunkedArray) else column
    dtype = np.dtype(dtype)
    if array.null_count or array.type.bit_width != dtype.itemsize * 8:
        raise TypeError(f"expected {dtype} without nulls, received {array.type} with {array.null_count} nulls")
    if not len(array):
        return np.zeros(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * dtype.itemsize)
