"""The rows of a table of notes without their texts: who, when, which kind, and where in the file the text stands.

A note's text is read later, and only where it is needed, so that two million notes take the memory of their dates.
"""

import dataclasses
import heapq

import numpy as np
import pyarrow

from medtop.files.arrow import numbers_column
from medtop.files.errors import DataError
from medtop.files.sql import first_row
from medtop.notes.quoted_csv import gather, iterate_blocks, table_header
from medtop.notes.tables import note_places
from medtop.sources.dates import LATEST, is_bare_sql, is_sentinel_sql, timestamp_sql
from medtop.sources.ids import settle_ids
from medtop.sources.words import is_blank_sql, is_given_sql

REASONS = {
    "patient_id_empty": "patient",
    "admission_id_empty": "admission",
    "text_not_in_encoding": "text",
    "text_empty": "text",
    "time_empty": "day",
    "time_unparsable": "day",
    "time_sentinel": "day",
    "time_out_of_range": "day",
    "admission_unknown": "admission",
}
"""Why a note cannot be used -> the column it speaks of; a reason's number is its place, from 1."""

_NUMBER = {reason: number for number, reason in enumerate(REASONS, 1)}
_TEXTS = ("patient", "admission", "day", "time", "stored", "category", "kind", "error")
_BLANK = np.isin(np.arange(256), np.frombuffer(b" \t\n\r\v\f", np.uint8))
_SHORT = 64
"""Texts up to so many bytes are looked at for being blank; a longer blank one is found when it is cleaned."""

_NOTES = """
CREATE OR REPLACE TABLE notes (
    file UTINYINT, line BIGINT, patient_id VARCHAR, admission_id VARCHAR, known_at TIMESTAMP, day DATE,
    stored TIMESTAMP, category VARCHAR, is_addendum BOOLEAN, is_error BOOLEAN, time_unusable BOOLEAN, reason UTINYINT,
    text_start BIGINT, text_bytes INTEGER, text_quoted BOOLEAN)
"""


@dataclasses.dataclass
class Notes:
    """What was read.

    Attributes:
        rows_in: rows of the tables of notes.
        rejects: list of (file number, line, column, reason) of lines that are no rows.
        headers: per file a dict of our column names -> header.
        counts: dict name -> rows whose ids were changed.
    """

    rows_in: int
    rejects: list
    headers: list
    counts: dict


def load_notes(connection, layout, dates, encoding="utf-8", progress=None):
    """Reads the tables of notes into the table `notes`, without texts.

    Columns: file, line, patient_id, admission_id, known_at (the time of charting; without one the last second of its
    day), day, stored, category, is_addendum, is_error, time_unusable, reason (0: usable), text_start, text_bytes,
    text_quoted (where the text stands in the unpacked file).

    Args:
        connection: DuckDB connection.
        layout: `medtop.notes.tables.NoteTables`.
        dates: `medtop.sources.dates.DateRules`.
        encoding: of the texts; one that extends ASCII.
        progress: None, or a function called with (what is counted, how many so far).

    Returns:
        `Notes`.

    Raises:
        DataError: for a missing column, no rows, and what `iterate_blocks` raises.
    """
    connection.execute(_NOTES)
    rows, rejects, headers = 0, [], []
    for number, (path, category) in enumerate(layout.notes):
        places = note_places(path, layout.version)
        names = table_header(path)[1]
        headers.append({name: names[place] for name, place in places.items()})
        headers[-1].setdefault("day", headers[-1].get("time"))
        insert = _insert_sql(number, category, dates)
        before = rows
        for block in iterate_blocks(path):
            rejects += [(number, line, "", reason) for line, reason in block.rejects]
            rows += len(block) + len(block.rejects)
            if len(block):
                connection.register("note_block", _table(block, places, encoding))
                connection.execute(insert)
                connection.unregister("note_block")
            if progress:
                progress("notes read", rows)
        if rows == before:
            raise DataError(f"{path}: expected rows below the header, received the header only")
    counts = settle_ids(connection, "notes", "patient_id", "note_patient_id")
    counts |= settle_ids(connection, "notes", "admission_id", "note_admission_id")
    for name in ("patient_id", "admission_id"):
        if counts.get(f"note_{name}_null_words"):
            connection.execute(
                f"UPDATE notes SET reason = {_NUMBER[f'{name}_empty']} WHERE {name} IS NULL AND reason = 0"
            )
    return Notes(rows, rejects, headers, counts)


def _table(block, places, encoding):
    """A block's rows without their texts: pyarrow.Table."""
    values = np.frombuffer(block.content, np.uint8)
    column = places["text"]
    starts, ends = block.starts[:, column], block.ends[:, column]
    wrong = _wrong_encoding(block, encoding)
    blank = np.zeros(len(block), bool)
    short = np.flatnonzero(ends - starts <= _SHORT)
    solid = np.concatenate([[0], np.cumsum(~_BLANK[gather(values, starts[short], ends[short])[1]])])
    offsets = np.concatenate([[0], np.cumsum(ends[short] - starts[short])])
    blank[short] = solid[offsets[1:]] == solid[offsets[:-1]]
    reason = np.where(wrong, _NUMBER["text_not_in_encoding"], np.where(blank, _NUMBER["text_empty"], 0))
    columns = {
        "line": numbers_column(block.lines.astype(np.int64)),
        "reason": numbers_column(reason.astype(np.uint8)),
        "text_start": numbers_column((starts + block.base).astype(np.int64)),
        "text_bytes": numbers_column((ends - starts).astype(np.int32)),
        "text_quoted": numbers_column(block.quoted[:, column].astype(np.uint8)),
    }
    for name in _TEXTS:
        if name in places:
            columns[name] = _strings(values, block.starts[:, places[name]], block.ends[:, places[name]])
        else:
            columns[name] = pyarrow.nulls(len(block), pyarrow.large_string())
    return pyarrow.table(columns)


def _strings(values, starts, ends):
    """Short fields as an Arrow column; bytes outside ASCII become `?` (ids and dates have none)."""
    offsets, content = gather(values, starts, ends)
    content = np.where(content < 128, content, np.uint8(ord("?")))
    buffers = [None, pyarrow.py_buffer(offsets), pyarrow.py_buffer(np.ascontiguousarray(content))]
    return pyarrow.Array.from_buffers(pyarrow.large_string(), len(starts), buffers)


def _wrong_encoding(block, encoding):
    """Which rows' bytes are no text in the encoding: bool [R]."""
    wrong = np.zeros(len(block), bool)
    begin, end = int(block.starts[0, 0]), int(block.ends[-1, -1])
    if block.content.isascii() or _is_text(block.content[begin:end], encoding):
        return wrong
    for row, (start, stop) in enumerate(zip(block.starts[:, 0].tolist(), block.ends[:, -1].tolist(), strict=True)):
        wrong[row] = not _is_text(block.content[start:stop], encoding)
    return wrong


def _is_text(content, encoding):
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _insert_sql(number, category, dates):
    """SQL: a block's rows, parsed and judged."""
    given = {name: is_given_sql(name) for name in ("day", "time")}
    stamp = {name: timestamp_sql(name, dates) for name in ("day", "time", "stored")}
    # MIMIC-III writes Addendum as DESCRIPTION of a discharge summary, MIMIC-IV AD as note_type
    named = "nullif(trim(category), '')" if category is None else "'" + category + "'"
    addendum = "coalesce(lower(trim(kind)) LIKE 'addendum%' OR upper(trim(kind)) = 'AD', false)"
    tests = [
        (is_blank_sql("patient"), "patient_id_empty"),
        (is_blank_sql("admission"), "admission_id_empty"),
        ("reason > 0", None),
        ("NOT day_given AND NOT time_given", "time_empty"),
        ("day_stamp IS NULL AND time_stamp IS NULL", "time_unparsable"),
        (is_sentinel_sql("coalesce(time_stamp, day_stamp)", dates), "time_sentinel"),
        (_out_of_range("coalesce(time_stamp, day_stamp)", dates), "time_out_of_range"),
    ]
    branches = " ".join(f"WHEN {test} THEN {'reason' if name is None else _NUMBER[name]}" for test, name in tests)
    return f"""
        INSERT INTO notes
        SELECT {number}, line, patient, admission,
            CASE WHEN time_stamp IS NOT NULL AND NOT {is_bare_sql("time", dates)} THEN time_stamp
                 ELSE date_trunc('day', coalesce(time_stamp, day_stamp)) + INTERVAL 86399 SECOND END,
            CAST(coalesce(day_stamp, time_stamp) AS DATE), {stamp["stored"]}, {named}, {addendum},
            coalesce(trim(error) IN ('1', '1.0'), false), time_given AND time_stamp IS NULL,
            CASE {branches} ELSE 0 END, text_start, text_bytes, text_quoted > 0
        FROM (SELECT *, {stamp["day"]} AS day_stamp, {stamp["time"]} AS time_stamp,
                     {given["day"]} AS day_given, {given["time"]} AS time_given FROM note_block)
        ORDER BY line"""


def _out_of_range(value, dates):
    return f"({value} < TIMESTAMP '{dates.earliest_stay}' OR {value} >= TIMESTAMP '{LATEST}')"


def judge_admissions(connection):
    """Gives notes whose admission is not in `admissions` their reason; returns dict reason -> notes of all reasons."""
    connection.execute(
        f"""UPDATE notes SET reason = {_NUMBER["admission_unknown"]} WHERE reason = 0
            AND NOT EXISTS (SELECT 1 FROM admissions a
                            WHERE a.patient_id = notes.patient_id AND a.admission_id = notes.admission_id)"""
    )
    names = list(REASONS)
    return {
        names[reason - 1]: count
        for reason, count in connection.execute(
            "SELECT reason, count(*) FROM notes WHERE reason > 0 GROUP BY reason ORDER BY reason"
        ).fetchall()
    }


def iterate_note_rejects(connection, notes, layout):
    """Yields (file, line, column, reason) of all notes that cannot be used, by file and line."""
    for number, (path, _) in enumerate(layout.notes):
        malformed = ((line, column, reason) for file, line, column, reason in notes.rejects if file == number)
        for line, column, reason in heapq.merge(_unusable(connection.cursor(), number), malformed):
            yield str(path), line, notes.headers[number].get(column, column), reason


def _unusable(cursor, number):
    """Yields (line, our column, reason) of the unusable rows of one file, by line."""
    names = list(REASONS)
    cursor.execute(f"SELECT line, reason FROM notes WHERE file = {number} AND reason > 0 ORDER BY line")
    while rows := cursor.fetchmany(10_000):
        for line, reason in rows:
            yield line, REASONS[names[reason - 1]], names[reason - 1]


def unusable_times(connection):
    """Notes whose time of charting cannot be read, but their day can: int."""
    return first_row(connection, "SELECT count(*) FROM notes WHERE time_unusable AND reason = 0")[0]
