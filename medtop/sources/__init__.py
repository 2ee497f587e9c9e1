"""Raw layouts -> one stays table. `load_stays` is the way in; adding a source is one file and one line here."""

from pathlib import Path

import duckdb

from medtop.files.errors import DataError
from medtop.files.shown import shown_error, shown_headers
from medtop.sources import (
    columns,
    eicu,
    fhir_ndjson,
    i2b2,
    medbert_tsv,
    meds,
    mimic,
    omop,
    pcornet,
    synpuf,
    synthea,
    topbert_csv,
)
from medtop.sources.columns import parse_columns
from medtop.sources.rules import Rules
from medtop.sources.stays import PATIENTS_COLUMNS, STAYS_COLUMNS, Request, Source, StaysReport
from medtop.sources.text_files import DELIMITERS, expand_paths, header_line, is_parquet, read_head, sniff_delimiter

SOURCES = {
    source.name: source
    for source in (
        medbert_tsv.SOURCE,
        topbert_csv.SOURCE,
        mimic.SOURCE,
        synpuf.SOURCE,
        pcornet.SOURCE,
        omop.SOURCE,
        meds.SOURCE,
        fhir_ndjson.SOURCE,
        synthea.SOURCE,
        i2b2.SOURCE,
        columns.SOURCE,
    )
}
"""Every source by its name, in the order in which they are described; recognition does not depend on it. An entry from
outside the package counts as one from within."""

__all__ = [
    "PATIENTS_COLUMNS",
    "SOURCES",
    "STAYS_COLUMNS",
    "Source",
    "StaysReport",
    "load_stays",
    "parse_columns",
    "recognise_source",
    "source_named",
]


def source_named(name):
    """The source called `name`.

    Raises:
        DataError: listing the names that exist.
    """
    if name == eicu.NAME:
        raise eicu.refusal(f"--source={name}")
    if name not in SOURCES:
        raise DataError(f"--source: expected one of {', '.join(SOURCES)}, received {name}")
    return SOURCES[name]


def recognise_source(data_file):
    """The one source that recognises `data_file` (a file, a folder, a glob pattern or a comma list).

    Raises:
        DataError: when it does not exist, and when none or several sources recognise it.
    """
    path = Path(str(data_file))
    if path.is_dir() and not _names_in(path):
        raise DataError(f"{path}: expected tables, received an empty folder")
    if not path.is_dir():
        for file in expand_paths(data_file):
            if not is_parquet(file):
                read_head(file)  # an empty, cut or binary file is named as such, not as an unknown layout
    if eicu.recognise(str(data_file)):
        raise eicu.refusal(data_file)
    recognised = [source for source in SOURCES.values() if source.recognise(str(data_file))]
    if len(recognised) == 1:
        return recognised[0]
    if recognised:
        names = " or ".join(source.name for source in recognised)
        raise DataError(f"{data_file}: expected one layout, received one that could be {names}; choose with --source")
    raise DataError(
        f"{data_file}: expected the layout of {', '.join(SOURCES)}, received "
        f"{_describe(path, data_file)}; choose with --source, or name the columns with --columns"
    )


def _names_in(folder):
    """What stands in a folder, sorted; not what is hidden, such as the place where a run makes its outputs."""
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))


def _describe(path, data_file):
    if path.is_dir():
        names = _names_in(path)
        return f"a folder with {', '.join(names[:10])}" + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    file = expand_paths(data_file)[0]
    if is_parquet(file):
        return "a Parquet file without the standard columns"
    lines = read_head(file)
    delimiter = sniff_delimiter(lines)
    if delimiter is None:
        return "a text file with no comma, tab, semicolon or bar in its header"
    headers = header_line(lines, delimiter)
    return f"a {DELIMITERS[delimiter]}-separated file with {len(headers)} columns: {shown_headers(headers)}"


def load_stays(connection, data_file, *, source=None, columns=None, strict=False, rejects_path=None, rules=None):
    """Reads a raw layout into the tables `stays` and `patients` (see `medtop.sources.stays`).

    Rows of `stays` come in the order of the files (the connection's `preserve_insertion_order` is switched on for it).
    Earlier tables of these names are replaced. What cannot be used is left out, counted by reason, and listed.

    Args:
        connection: DuckDB connection; its memory_limit and temp_directory bound what reading takes.
        data_file: file, folder, glob pattern, or comma list of files.
        source: name of a source; None: with `columns` that of any table, else recognised.
        columns: dict standard name -> header in the file; only for the source `columns`.
        strict: stop at the first bad row.
        rejects_path: CSV `file,line,column,reason` of bad rows; written only when there are any.
        rules: `medtop.sources.rules.Rules`: how dates, ids and codes are read and judged; None: as they are by default.

    Returns:
        StaysReport.

    Raises:
        DataError: one line naming file, place, what was expected and what received; the two tables are then not whole.
    """
    chosen = source_named(source) if source else source_named("columns") if columns else recognise_source(data_file)
    if columns and chosen.name != "columns":
        raise DataError(f"--columns has no effect with --source={chosen.name}: leave one of them out")
    rules = rules or Rules()
    if idle := [name for name in rules.choices.given if name not in chosen.choices]:
        raise DataError(f"--{idle[0]} has no effect with --source={chosen.name}: leave it out")
    connection.execute("SET preserve_insertion_order = true")
    request = Request(connection, str(data_file), columns, strict, rejects_path, rules)
    try:
        report = chosen.load(request)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:  # of a table that is read by a query: what is damaged shows when values are read
        if not (type(error) is duckdb.Error or isinstance(error, _DAMAGED)):
            raise
        raise DataError(f"{data_file}: expected whole files, received damaged ones: {shown_error(error)}") from error
    report.accepted = tuple(rules.accept_unusable)
    return report


_DAMAGED = (duckdb.IOException, duckdb.InvalidInputException, duckdb.SerializationException)
"""What DuckDB raises for files that are cut or changed; `duckdb.Error` itself for pages of Parquet."""
