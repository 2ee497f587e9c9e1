"""Any CSV or Parquet table with one row per diagnosis, its columns named by `--columns` or by the standard names.

`--columns=patient_id=MRN,admit=ADM_DT,discharge=DIS_DT,code=DX` maps standard names to headers. Headers are compared
without regard to case; columns that are not mapped are found under their standard names, or become null.
"""

import duckdb

from medtop.files.errors import DataError
from medtop.files.shown import shown_headers
from medtop.sources.parquet import parquet_layout
from medtop.sources.reading import column_types
from medtop.sources.row_sql import text_layout
from medtop.sources.rows import load_rows
from medtop.sources.stays import REQUIRED_COLUMNS, STANDARD_COLUMNS, Source
from medtop.sources.text_files import DELIMITERS, expand_paths, header_line, is_parquet, read_head, sniff_delimiter


def parse_columns(text):
    """`patient_id=MRN,admit=ADM_DT` as a dict standard name -> header.

    >>> parse_columns("patient_id=MRN, admit=ADM_DT")
    {'patient_id': 'MRN', 'admit': 'ADM_DT'}
    """
    columns = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, header = (piece.strip() for piece in part.partition("="))
        if not (name and equals and header):
            raise DataError(f"--columns: expected standard_name=header, received {part!r}")
        if name in columns:
            raise DataError(f"--columns: expected each name once, received {name} twice")
        columns[name] = header
    check_columns(columns)
    return columns


def check_columns(columns):
    """Refuses names that are no standard columns."""
    unknown = [name for name in columns if name not in STANDARD_COLUMNS]
    if unknown:
        raise DataError(f"--columns: expected names among {', '.join(STANDARD_COLUMNS)}, received {unknown[0]}")


def match_headers(path, headers, columns):
    """The places of the standard columns among a file's headers: dict standard name -> header as the file writes it.

    Raises:
        DataError: for a column that is required or mapped, and missing or there twice.
    """
    folded = [header.lower() for header in headers]
    matched = {}
    for name in STANDARD_COLUMNS:
        wanted = columns.get(name, name)
        count = folded.count(wanted.lower())
        if count > 1:
            raise DataError(f"{path}: expected one column {wanted}, received {count}")
        if count:
            matched[name] = headers[folded.index(wanted.lower())]
        elif name in REQUIRED_COLUMNS or name in columns:
            what = wanted if wanted == name else f"{wanted} (for {name})"
            raise DataError(
                f"{path}: expected a column {what}, received columns {_list_headers(headers)}"
                + ("" if columns else "; name them with --columns")
            )
    return matched


def _list_headers(headers):
    return shown_headers(headers, 400)


def _fitting_delimiter(lines, wanted):
    """The delimiter under which the header has all of `wanted` (lower case), or None."""
    for delimiter in DELIMITERS:
        if wanted <= {field.lower() for field in header_line(lines, delimiter)}:
            return delimiter
    return None


def _text_layout(path, columns):
    lines = read_head(path)
    wanted = {columns.get(name, name).lower() for name in REQUIRED_COLUMNS}
    delimiter = _fitting_delimiter(lines, wanted) or sniff_delimiter(lines)
    if delimiter is None:
        raise DataError(
            f"{path}: expected columns separated by comma, tab, semicolon or bar, received another first line"
        )
    headers = header_line(lines, delimiter)
    matched = match_headers(path, headers, columns)
    return text_layout(headers, {name: headers.index(header) for name, header in matched.items()}, delimiter)


def _layout(path, request):
    columns = request.columns or {}
    if is_parquet(path):
        return parquet_layout(path, lambda headers: match_headers(path, headers, columns), request)
    return _text_layout(path, columns)


def _recognise(data_file):
    try:
        path = expand_paths(data_file)[0]
        if is_parquet(path):
            with duckdb.connect() as connection:
                headers = list(column_types(connection, path))
            return set(REQUIRED_COLUMNS) <= {header.lower() for header in headers}
        lines = read_head(path)
    except DataError:  # not readable as a table: no source recognises it, and loading says why
        return False
    return _fitting_delimiter(lines, set(REQUIRED_COLUMNS)) is not None


def _load(request):
    check_columns(request.columns or {})
    return load_rows(request, SOURCE, expand_paths(request.data_file), _layout)


SOURCE = Source(
    name="columns",
    description="any CSV (comma, tab, semicolon, bar) or Parquet table with one row per diagnosis, through --columns "
    "or with the standard column names",
    observation_end="the table's own column observation_end; without it the end of the last month with a usual number "
    "of admissions, or the patient's death before it",
    present_on_admission="the table's own column present_on_admission: Y and N are taken, all else is null",
    recognise=_recognise,
    load=_load,
)
