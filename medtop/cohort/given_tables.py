"""Small tables that a user hands us (splits, prediction times, code maps): read as text, checked, in one SQL table."""

import re
from pathlib import Path

import duckdb

from medtop.files.errors import DataError
from medtop.files.shown import shown_headers
from medtop.files.sql import quote, quote_name
from medtop.files.staging import check_whole

MOST_COLUMNS = 1_000
"""DuckDB takes memory for each column, whatever is in it."""


def read_text_table(connection, path, name, required=()):
    """Reads a delimited file with a header line into the temporary table `name`, every column as text.

    Empty fields become NULL. A column `line` holds each row's line in the file. Headers lose their surrounding blanks;
    `required` names are found whatever their case.

    Returns:
        list of the file's column names; the required ones as given in `required`.

    Raises:
        DataError: for a missing or empty file, a missing or doubled column, or text that is no table.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: expected a table with a header line, found no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: expected a table with a header line, received an empty file")
    check_whole(path)
    source = f"read_csv({quote(path)}, all_varchar = true, header = true, null_padding = false)"
    try:
        raw = connection.sql(f"SELECT * FROM {source} LIMIT 0").columns
        names = _named(raw, required, path)
        columns = ", ".join(
            # ids keep what stands around them: `medtop.sources.ids.settle_ids` removes and counts it
            f"nullif({quote_name(old) if new == 'patient_id' else f'trim({quote_name(old)})'}, '') AS {quote_name(new)}"
            for old, new in zip(raw, names, strict=True)
        )
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {columns}, row_number() OVER () + 1 AS line FROM {source}"
        )
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        number = re.search(r"CSV Error on Line: (\d+)", str(error))
        first = number and f"line {number[1]}"
        raise DataError(
            f"{path}: expected a delimited table with as many fields in each line as in its header, "
            f"received another content {f'({first})' if first else ''}".rstrip()
        ) from error
    return names


def _named(raw, required, path):
    if len(raw) > MOST_COLUMNS:
        raise DataError(f"{path}: expected at most {MOST_COLUMNS:,} columns, received {len(raw):,}")
    wanted = {name.lower(): name for name in required}
    names = [wanted.get(name.strip().lower(), name.strip()) for name in raw]
    missing = [name for name in required if name not in names]
    if missing:
        raise DataError(
            f"{path}: line 1: expected the column{'s' * (len(missing) > 1)} {', '.join(missing)}, "
            f"received {shown_headers(names)}"
        )
    if len(set(names)) < len(names) or "line" in names:
        raise DataError(f"{path}: line 1: expected distinct columns, none called line; received {shown_headers(names)}")
    return names
