"""Named columns out of a CSV or Parquet file, as text.

Nothing is guessed: a CSV's separator is given, its first line is the header, and each further line has as many fields.
A reader that guesses may pass over lines it does not like, or take a patient's row for the header.
"""

import csv
import gzip
import zlib
from pathlib import Path

import duckdb

from medtop.files.bounded import lines as lines_within
from medtop.files.errors import DataError
from medtop.files.shown import shown_error, shown_headers
from medtop.files.sql import quote

MOST_ROWS = 2_000_000  # a table is held in memory


def read_columns(path, names, separator, wanted_by):
    """The columns `names` of a file.

    Args:
        path: `.parquet`, or CSV in UTF-8, also `.gz`.
        names: of columns; blanks around a header's names do not count.
        separator: of a CSV.
        wanted_by: who asks for the columns, for messages.

    Returns:
        (rows, list of tuples of text, in the order of `names`; list of each row's line in the file, the header's is 1).

    Raises:
        DataError: for a missing or damaged file, a missing or doubled column, a line with more or fewer fields than
            the header, or more than `MOST_ROWS` rows. No field of the file is shown, save names of columns.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: expected a table (CSV or Parquet), found no such file")
    rows, lines = (
        _parquet(path, names, wanted_by) if path.suffix == ".parquet" else _csv(path, names, separator, wanted_by)
    )
    if not 0 < len(rows) <= MOST_ROWS:
        raise DataError(f"{path}: expected 1 to {MOST_ROWS} rows, received {'more' if rows else 'none'}")
    return rows, lines


def _csv(path, names, separator, wanted_by):
    rows, lines, line = [], [], 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(lines_within(file, path), delimiter=separator, strict=True)
            header = next(reader, [])
            places = _places(path, [name.strip() for name in header], names, wanted_by)
            line = reader.line_num
            for fields in reader:
                if len(fields) != len(header) and fields:  # an empty line has no field
                    raise DataError(
                        f"{path}: line {line + 1}: expected {len(header)} fields as in the header, "
                        f"received {len(fields)}"
                    )
                if fields and len(rows) <= MOST_ROWS:
                    rows.append(tuple(fields[place] for place in places))
                    lines.append(line + 1)
                line = reader.line_num
    except csv.Error as error:
        raise DataError(
            f"{path}: line {line + 1}: expected fields between separators or quotes, received another content ({error})"
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: behind line {line}: expected text in UTF-8, received other bytes") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError(f"{path}: behind line {line}: expected a whole gzip file, received a damaged one") from None
    return rows, lines


def _parquet(path, names, wanted_by):
    source = f"read_parquet({quote(path)})"
    try:
        with duckdb.connect() as connection:
            header = [column[0] for column in connection.execute(f"SELECT * FROM {source} LIMIT 0").description]
            places = _places(path, [name.strip() for name in header], names, wanted_by)
            chosen = ", ".join(f'CAST("{header[place].replace(chr(34), chr(34) * 2)}" AS VARCHAR)' for place in places)
            rows = connection.execute(f"SELECT {chosen} FROM {source}").fetchmany(MOST_ROWS + 1)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise DataError(f"{path}: expected a Parquet file, received another content ({shown_error(error)})") from error
    return rows, list(range(2, len(rows) + 2))


def _places(path, header, names, wanted_by):
    """Where the columns stand in the header. A first line that holds none of them may be a patient's row: not shown."""
    unknown = [name for name in names if name not in header]
    if len(unknown) == len(names):
        raise DataError(
            f"{path}: line 1: expected a header with the columns of {wanted_by}, received "
            f"{len(header)} field{'s' * (len(header) != 1)} without any of them (is its separator right?)"
        )
    if unknown:
        raise DataError(
            f"{path}: line 1: expected the column {unknown[0]} ({wanted_by}), received {shown_headers(header)}"
        )
    doubled = [name for name in names if header.count(name) > 1]
    if doubled:
        raise DataError(f"{path}: line 1: expected each column once, received {doubled[0]} twice")
    return [header.index(name) for name in names]
