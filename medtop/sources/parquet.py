"""The columns of a Parquet file as the standard ones: their types speak for themselves, where they can be trusted.

Numbers that became floats on their way (pandas, where a column has gaps) are taken back for ids, as long as they are
whole and exact; for codes they are refused, because 250.0 may have been 250.00 and 8.45 008.45.
"""

from medtop.files.errors import DataError
from medtop.files.sql import quote_name
from medtop.sources.dates import zoned_sql
from medtop.sources.reading import column_types, parquet_sql
from medtop.sources.row_sql import DAY_COLUMNS, RowLayout

FLOATS = ("DOUBLE", "FLOAT", "DECIMAL")
EXACT = 1 << 53
"""Whole numbers beyond are not all there as floats: two ids may have become one."""

LIST_SEPARATOR = "\x1f"
"""Between the codes of a list column, once it is text."""


def parquet_layout(path, match, request):
    """The `RowLayout` of a Parquet file.

    Args:
        path: the file.
        match: function(list of headers) -> dict standard name -> header.
        request: Request.

    Raises:
        DataError: for codes stored as floats, ids stored as floats that are not whole or not exact, and a list of
            codes beside a `--code_separator`.
    """
    types = column_types(request.connection, path)
    layout = RowLayout(names=list(types), raw={}, headers=match(list(types)), delimiter=None)
    for name, header in layout.headers.items():
        value, kind = quote_name(header), types[header]
        layout.raw[name] = layout.texts[name] = f"CAST({value} AS VARCHAR)"
        if name in ("admit", "discharge", *DAY_COLUMNS) and kind.startswith(("DATE", "TIMESTAMP")):
            _typed_time(layout, path, name, kind, request.rules.dates)
        elif name in ("patient_id", "stay_id") and kind.startswith(FLOATS):
            layout.raw[name] = _float_id(path, name, header, request.connection)
        elif name == "code" and kind.startswith(FLOATS):
            raise DataError(
                f"{path}: column {header}: expected codes as text, received {kind}: zeros at both ends are lost "
                "(250.0 or 250.00, 8.45 or 008.45); read the codes as text where the file is made"
            )
        elif name == "code" and kind.endswith("[]"):
            layout.raw[name] = f"array_to_string({value}, chr({ord(LIST_SEPARATOR)}))"
            layout.separator = LIST_SEPARATOR
    return layout


def _typed_time(layout, path, name, kind, dates):
    """A typed column: its text only has to say whether a value was given, and whether with a time."""
    value = quote_name(layout.headers[name])
    layout.raw[name] = f"CASE WHEN {value} IS NOT NULL THEN '{'date' if kind == 'DATE' else 'date and time'}' END"
    moment = f"CAST({value} AS TIMESTAMP)"
    if "TIME ZONE" in kind or kind.startswith("TIMESTAMPTZ"):  # TIMESTAMPTZ_NS: pandas' nanoseconds
        own = _zone(path, layout.headers[name])
        moment = zoned_sql(f"CAST({value} AS TIMESTAMPTZ)", dates.time_zone or own)
        if not dates.time_zone:
            layout.notes.append(
                f"Column {layout.headers[name]}: local time of {own}, as the file says"
                + ("; --time_zone converts it where that is not the hospital's." if own == "UTC" else ".")
            )
    layout.parsed[name] = moment if name in ("admit", "discharge") else f"CAST({moment} AS DATE)"


def parquet_text(path, header, kind, dates=None):
    """SQL: a column of a Parquet file as text, for tables that are read as texts.

    A zoned column becomes local time of the zone that the file names or, with `--time_zone`, a time with its offset.
    """
    value = quote_name(header)
    if "TIME ZONE" in kind or kind.startswith("TIMESTAMPTZ"):
        if dates is not None and dates.time_zone:
            return f"CAST({zoned_sql(f'CAST({value} AS TIMESTAMPTZ)', 'UTC')} AS VARCHAR) || 'Z'"
        return f"CAST({zoned_sql(f'CAST({value} AS TIMESTAMPTZ)', _zone(path, header))} AS VARCHAR)"
    if kind.startswith(("DOUBLE", "FLOAT")):  # 17.0 as an id is 17; beyond 2^53 text would hide what is lost
        whole = f"{value} = floor({value}) AND abs({value}) < {EXACT}"
        return f"CASE WHEN {whole} THEN CAST(CAST({value} AS BIGINT) AS VARCHAR) ELSE CAST({value} AS VARCHAR) END"
    return f"CAST({value} AS VARCHAR)"


def _zone(path, header):
    """The time zone that a Parquet file names for a column; UTC where it names none."""
    import pyarrow.parquet  # 0.05 s that only zoned columns need

    kind = pyarrow.parquet.read_schema(path).field(header).type
    return getattr(kind, "tz", None) or "UTC"


def _float_id(path, name, header, connection):
    """SQL: whole numbers as text.

    Raises:
        DataError: for a number that is not whole, or too large to be exact.
    """
    value = quote_name(header)
    wrong = connection.execute(
        f"SELECT count(*) FROM {parquet_sql(path)} WHERE NOT isnan({value}) "
        f"AND ({value} <> floor({value}) OR abs({value}) >= {EXACT})"
    ).fetchone()[0]
    if wrong:
        raise DataError(
            f"{path}: column {header} ({name}): expected ids as text or whole numbers, received {wrong:,} floats that "
            "are not whole or too large to be exact"
        )
    return f"CASE WHEN NOT isnan({value}) THEN CAST(CAST({value} AS BIGINT) AS VARCHAR) END"
