"""Sources of several tables: finding the files of a folder, reading columns by their headers."""

from pathlib import Path

from medtop.files.errors import DataError
from medtop.sources.dates import as_written_sql
from medtop.sources.stays import TableUse
from medtop.sources.text_files import header_line, is_output, read_head, sniff_delimiter
from medtop.sources.words import quote_name

SUFFIXES = (".csv", ".csv.gz")


def find_tables(folder, is_wanted):
    """Files `.csv` and `.csv.gz` of a folder whose stem, in lower case, satisfies `is_wanted`: sorted list of paths.

    Raises:
        DataError: when one table is there twice (plain and gzipped, or in upper and lower case).
    """
    files = {}
    for path in sorted(Path(folder).iterdir()):
        suffix = next((suffix for suffix in reversed(SUFFIXES) if path.name.lower().endswith(suffix)), None)
        if suffix is None or not path.is_file() or is_output(path):
            continue
        stem = path.name[: -len(suffix)].lower()
        if is_wanted(stem):
            if stem in files:
                raise DataError(f"{folder}: expected one file for {stem}, received {files[stem].name} and {path.name}")
            files[stem] = path
    return list(files.values())


def read_table(reader, path, target, columns):
    """Reads chosen columns of a text file, as text, into a temporary table (made when missing).

    Args:
        reader: TableReader.
        path: comma-separated file (other delimiters are recognised by the header).
        target: the table; it gets `file` (the file's number), `record` (counts its rows from 0) and the columns.
        columns: dict column of `target` -> header, compared without regard to case.

    Returns:
        (number, headers): the file's number and its headers by column name, for reject lists.

    Raises:
        DataError: for a missing column, or a file without rows.
    """
    lines = read_head(path)
    headers = header_line(lines, sniff_delimiter(lines) or ",")
    folded = [header.lower() for header in headers]
    missing = [header for header in columns.values() if header.lower() not in folded]
    if missing:
        raise DataError(f"{path}: expected a column {missing[0]}, received columns {', '.join(headers)[:400]}")
    names = [f"c{place}" for place in range(len(headers))]
    kept = {column: names[folded.index(header.lower())] for column, header in columns.items()}
    listed = ", ".join(f"{quote_name(column)} VARCHAR" for column in columns)
    reader.connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {target} (file INTEGER, first BIGINT, {listed})")
    delimiter = sniff_delimiter(lines) or ","
    number = reader.open(path, delimiter)
    before = reader.connection.execute(f"SELECT count(*) FROM {target}").fetchone()[0]
    select = f"SELECT {number}, {before}, {', '.join(kept.values())} FROM {{table}}"
    first, after = reader.insert(number, target, select, names)
    reader.check_complete(number, after - first)
    if first == after and not reader.structural_count(number):
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
