"""Sources of several tables: finding the files of a folder, reading columns by their headers."""

import contextlib
from pathlib import Path

from medtop.files.errors import DataError
from medtop.files.shown import shown_headers
from medtop.files.sql import quote_name
from medtop.sources.dates import as_written_sql
from medtop.sources.ids import settle_ids
from medtop.sources.parquet import parquet_text
from medtop.sources.reading import TableReader, column_types
from medtop.sources.stays import TableUse
from medtop.sources.text_files import header_line, is_output, is_parquet, read_head, sniff_delimiter

SUFFIXES = (".csv", ".csv.gz")


def find_tables(folder, is_wanted, suffixes=SUFFIXES):
    """Files `.csv` and `.csv.gz` of a folder whose stem, in lower case, satisfies `is_wanted`: sorted list of paths.

    Raises:
        DataError: when one table is there twice (plain and gzipped, or in upper and lower case).
    """
    files = {}
    for path in sorted(Path(folder).iterdir()):
        suffix = next((suffix for suffix in reversed(suffixes) if path.name.lower().endswith(suffix)), None)
        if suffix is None or not path.is_file() or is_output(path):
            continue
        stem = path.name[: -len(suffix)].lower()
        if is_wanted(stem):
            if stem in files:
                raise DataError(f"{folder}: expected one file for {stem}, received {files[stem].name} and {path.name}")
            files[stem] = path
    return list(files.values())


def tables_of(folder, needed, optional=()):
    """Tables of a folder by their stem in lower case (`.csv`, `.csv.gz`, `.parquet`): dict name -> path, or None where
    one that is needed is missing or `folder` is none."""
    if not Path(folder).is_dir():
        return None
    wanted = {*needed, *optional}
    files = find_tables(folder, lambda stem: stem in wanted, (*SUFFIXES, ".parquet"))
    paths = {path.name.lower().split(".")[0]: path for path in files}
    return paths if paths.keys() >= set(needed) else None


def missing_tables(folder, needed):
    """The error for a folder that lacks tables."""
    if not Path(folder).is_dir():
        return DataError(
            f"{folder}: expected a folder with {', '.join(needed)} (.csv, .csv.gz, .parquet), received none"
        )
    here = find_tables(folder, lambda stem: stem in needed, (*SUFFIXES, ".parquet"))
    there = {path.name.lower().split(".")[0] for path in here}
    missing = [name for name in needed if name not in there]
    return DataError(
        f"{folder}: expected the tables {', '.join(needed)} (.csv, .csv.gz, .parquet), received none for "
        f"{', '.join(missing)}"
    )


def read_table(reader, path, target, columns, optional=(), known_as=str.lower, may_be_empty=False, dates=None):
    """Reads chosen columns of a text or Parquet file, as text, into a temporary table (made when missing).

    Args:
        reader: TableReader.
        path: comma-separated file (other delimiters are recognised by the header).
        target: the table; it gets `file` (the file's number), `record` (counts its rows from 0) and the columns.
        columns: dict column of `target` -> header, compared without regard to case.
        optional: columns of `target` that are null where the file has no such header.
        known_as: function header -> the name in lower case by which it is known.
        may_be_empty: whether a file without rows will do.
        dates: `DateRules`, for zoned columns of Parquet.

    Returns:
        (number, headers): the file's number and its headers by column name, for reject lists.

    Raises:
        DataError: for a missing column, or a file without rows.
    """
    parquet = is_parquet(path)
    delimiter = None if parquet else sniff_delimiter(read_head(path)) or ","
    types = column_types(reader.connection, path) if parquet else {}
    headers = list(types) if parquet else header_line(read_head(path), delimiter)
    folded = [known_as(header) for header in headers]
    wanted = {column: header.lower() for column, header in columns.items()}
    missing = [columns[name] for name, header in wanted.items() if header not in folded and name not in optional]
    if missing:
        raise DataError(f"{path}: expected a column {missing[0]}, received columns {shown_headers(headers, 400)}")
    if twice := [header for header in wanted.values() if folded.count(header) > 1]:
        raise DataError(f"{path}: expected a column {twice[0]} once, received it twice")
    names = headers if parquet else [f"c{place}" for place in range(len(headers))]
    at = {column: names[folded.index(header)] for column, header in wanted.items() if header in folded}
    kept = {column: parquet_text(path, name, types[name], dates) if parquet else name for column, name in at.items()}
    listed = ", ".join(f"{quote_name(column)} VARCHAR" for column in columns)
    reader.connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {target} (file INTEGER, first BIGINT, {listed})")
    number = reader.open(path, delimiter)
    before = reader.connection.execute(f"SELECT count(*) FROM {target}").fetchone()[0]
    select = f"SELECT {number}, {before}, {', '.join(kept.get(column, 'NULL') for column in columns)} FROM {{table}}"
    first, after = reader.insert(number, target, select, names)
    reader.check_complete(number, after - first)
    if first == after and not reader.structural_count(number) and not may_be_empty:
        raise DataError(f"{path}: expected rows below the header, received the header only")
    reader.used.append(TableUse(path, delimiter, names, [(columns[name], sql, name) for name, sql in kept.items()]))
    return number, {**dict(zip(names, headers, strict=True)), **columns}


def headers_of(path):
    """Lower-case headers of a comma-separated file: list of str."""
    lines = read_head(path)
    return [header.lower() for header in header_line(lines, sniff_delimiter(lines) or ",")]


def count_overlaps(connection):
    """Stays that begin before the previous one (by admission) of their patient ended: int. They stay apart."""
    return connection.execute(
        "WITH each AS (SELECT patient_id, stay_id, min(admit) AS admit, "
        f"max({as_written_sql('discharge')}) AS discharge FROM stays GROUP BY patient_id, stay_id), "
        "ordered AS (SELECT admit, lag(discharge) OVER (PARTITION BY patient_id ORDER BY admit, discharge, stay_id) "
        "AS before FROM each) SELECT count(*) FROM ordered WHERE admit < before"
    ).fetchone()[0]


@contextlib.contextmanager
def joined_tables(request, account, prefix, columns, optional, headers):
    """Reads the tables of a folder that `load_joined` will join, with ids in their normal form.

    Args:
        request: Request.
        account: Account, gets what became of the ids.
        prefix: of the temporary tables' names: `<prefix>_<table>`; they are dropped at the end.
        columns: dict table -> dict name -> header; all tables must be there. `patient` and `stay` are ids.
        optional: names of columns that may be missing.
        headers: dict standard name -> header, for lists of bad rows.

    Yields:
        (TableReader, list of the tables' paths, list of their headers), in the order of `columns`.

    Raises:
        DataError: for a missing table.
    """
    paths = tables_of(request.data_file, columns)
    if paths is None:
        raise missing_tables(request.data_file, columns)
    connection, reader, listed = request.connection, TableReader(request.connection), []
    for table, wanted in columns.items():
        name = f"{prefix}_{table}"
        connection.execute(f"DROP TABLE IF EXISTS temp.{name}")
        _, own = read_table(reader, paths[table], name, wanted, optional=optional, dates=request.rules.dates)
        listed.append({**own, **headers})
        for column in ("patient", "stay"):
            if column in wanted:
                account.add(settle_ids(connection, name, column, f"{column}_id"))
    yield reader, [paths[table] for table in columns], listed
    for table in columns:
        connection.execute(f"DROP TABLE IF EXISTS temp.{prefix}_{table}")
