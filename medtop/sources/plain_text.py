"""Plain text tables, read by Arrow: half the CPU-seconds of DuckDB's reader, and the same stays or none at all.

Plain is a file without quotes, carriage returns, blanks, tabs (unless they delimit) and empty lines, whose admissions
and discharges are all `YYYY-MM-DD`. Arrow then reads dates, and orders that are whole numbers from 0 to 65,535, as
such, and all else as text. The first rows tell whether a file seems plain. Where it turns out not to be (a row with
another number of columns, a date of another form, bytes that are no UTF-8, a long line), Arrow stops, nothing has been
inserted, and the reader for everything (`TableReader.insert`) reads the file from its start. What a row is worth is
decided by the same SQL on both ways.

Why so narrow: Arrow trims blanks around dates, which `timestamp_sql` refuses; it takes 0xFFFFFFFF for -1 as a signed
number; and it cannot say which row was bad.
"""

import contextlib
import dataclasses
import itertools
import re

import pyarrow
from pyarrow import csv

from medtop.sources.text_files import read_head

BLOCK = 1 << 20
"""Bytes that Arrow reads at a time; a line longer than two of these is not plain."""

SAMPLE = 200
"""Rows from which the kinds of the columns are guessed; a wrong guess costs time, not correctness."""

DATE_NAMES = {"admit", "discharge", "birth", "death", "observation_end"}
NUMBER_NAMES = {"order_1", "order_2", "order_3", "present_on_admission"}
DATE, NUMBER, TEXT = pyarrow.date32(), pyarrow.uint16(), pyarrow.string()


class NotPlainError(Exception):
    """The file has fewer or more rows than lines."""


def plain_types(text, layout, parsed_as_number):
    """The Arrow types of a file that seems plain.

    Args:
        text: TextFile, or None for Parquet.
        layout: RowLayout of the file.
        parsed_as_number: dict standard name -> SQL with the place `{value}`: ways of parsing which give whole
            numbers as they are (as an order) or as null (as presence on admission).

    Returns:
        dict column name -> Arrow type, or None.
    """
    if text is None or not text.is_plain or (text.has_tabs and layout.delimiter != "\t"):
        return None
    lines = [line for line in read_head(text.path) if line]  # an empty one can only stand behind the last line end
    header, *rows = [line.split(layout.delimiter) for line in lines[: SAMPLE + 1]]
    if any(len(row) != len(layout.names) for row in [header, *rows]) or "\ufffd" in "".join(header):
        return None
    types = {}
    for name, values in zip(layout.names, zip(*rows, strict=True), strict=False):
        uses = {use for use, column in layout.raw.items() if column == name}
        own = {use: layout.parsed[use] for use in uses if use in layout.parsed}
        if uses and uses <= DATE_NAMES and not own and _all_match(r"\d{4}-\d\d-\d\d", values):
            types[name] = DATE
        elif (
            uses
            and uses <= NUMBER_NAMES
            and _all_match(r"\d{1,5}", values)
            and (
                all(sql == parsed_as_number.get(use, "").format(value=name) for use, sql in own.items())
                and (
                    "present_on_admission" not in uses or "present_on_admission" in own
                )  # else it is counted as unusable
            )
        ):
            types[name] = NUMBER
        else:
            types[name] = TEXT
    if any(types.get(layout.raw[name]) != DATE for name in ("admit", "discharge")):
        return None  # text would be parsed by DuckDB, which takes back what Arrow saves
    return types


def _all_match(pattern, values):
    return all(not value or re.fullmatch(pattern, value, re.ASCII) for value in values)


def plain_layout(layout, types):
    """The `RowLayout` over columns of these types: the SQL that takes their values as they are.

    `raw` is text that the judgement of rows asks two things: was anything given, and was it a bare date? A number
    column holds no value that cannot be used: nobody needs to ask, and it has none. A discharge stays a date:
    `select_sql` makes it the end of its day.
    """
    raw, parsed = dict(layout.raw), dict(layout.parsed)
    for name, column in layout.raw.items():
        if types[column] == DATE:
            raw[name] = f"CASE WHEN {column} IS NOT NULL THEN 'date' END"
            parsed[name] = f"CAST({column} AS TIMESTAMP)" if name == "admit" else column
        elif types[column] == NUMBER:
            del raw[name]
            parsed[name] = "NULL" if name == "present_on_admission" else f"CAST({column} AS INTEGER)"
    return dataclasses.replace(layout, raw=raw, parsed=parsed)


@contextlib.contextmanager
def open_plain(texts, delimiter, types):
    """A stream of the rows of plain files, one after the other, without their headers.

    Reading it raises `pyarrow.ArrowInvalid` or `NotPlainError` where a file is not plain, through whoever reads.

    Args:
        texts: list of TextFile.
        delimiter: one character.
        types: dict column name -> Arrow type, in the file's order.

    Yields:
        pyarrow.RecordBatchReader.
    """
    batches = itertools.chain.from_iterable(_batches(text, delimiter, types) for text in texts)
    yield pyarrow.RecordBatchReader.from_batches(pyarrow.schema(types), batches)


def _batches(text, delimiter, types):
    with pyarrow.OSFile(str(text.path.absolute())) as file:  # by its bytes: a path would be unpacked by its suffix
        batches = csv.open_csv(
            file,
            csv.ReadOptions(column_names=list(types), skip_rows=1, use_threads=False, block_size=BLOCK),
            csv.ParseOptions(delimiter=delimiter, quote_char=False, ignore_empty_lines=False),
            csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True),
        )
        yield from _counted(batches, text.lines - 1)


def _counted(batches, expected):
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        yield batch
    if rows != expected:
        raise NotPlainError(f"{expected} lines, {rows} rows")
