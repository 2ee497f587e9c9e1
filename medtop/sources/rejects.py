"""The list of bad rows: file, line, column, reason; never what the row holds.

It is made in a second pass over the files, and only where the first one found bad rows, so that good files pay nothing.
"""

import csv
import heapq
import itertools

from medtop.files.atomic import atomic_path
from medtop.files.errors import DataError

HEADER = ("file", "line", "column", "reason")


def write_rejects(path, reader, bad_sql, headers, reasons):
    """Writes the rejects file, whole or not at all, in the order of files and lines.

    Args:
        path: the CSV file.
        reader: TableReader that read the files.
        bad_sql: SQL giving (file, record, reason number) of the bad rows.
        headers: per file a dict column name -> header in the file.
        reasons: dict reason -> standard column; a reason's number is its place, from 1.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(iterate_rejects(reader, bad_sql, headers, reasons))


def first_reject(reader, bad_sql, headers, reasons):
    """(file, line, column, reason) of the first bad row."""
    return next(iterate_rejects(reader, bad_sql, headers, reasons))


def iterate_rejects(reader, bad_sql, headers, reasons):
    """Yields (file, line, column, reason) of the bad rows, by file and line.

    Memory holds the line or record numbers of one file's bad rows (9 bytes each), not the rows.
    """
    names = list(reasons)
    for number, (path, _, _) in enumerate(reader.files):
        structural = reader.structural_rejects(number)
        bad = reader.connection.execute(
            f"SELECT record, reason FROM ({bad_sql}) WHERE file = {number} ORDER BY record"
        ).fetchnumpy()
        located = _locate(path, reader.kept_lines(number), bad["record"], bad["reason"], names, reasons)
        for line, column, reason in heapq.merge(structural, located, key=lambda reject: reject[0]):
            yield str(path), line, headers[number].get(column, column or ""), reason


def _locate(path, lines, records, numbers, names, reasons):
    """Yields (line, column, reason) for the record numbers `records`, which rise; `lines` gives each record's line."""
    place, line = -1, None
    for record, number in zip(records, numbers, strict=True):
        if record != place:
            line = next(itertools.islice(lines, int(record) - place - 1, None), None)
        if line is None:
            raise DataError(f"{path}: expected {int(record) + 1} rows below the header, found fewer: check its quotes")
        place = int(record)
        reason = names[int(number) - 1]
        yield line, reasons[reason], reason
