"""Cells of CSV files that a spreadsheet would run as a formula, quoted on request (`--quote_formulas`).

An id, a code or a label such as `=HYPERLINK(...)` comes from the data. By default it is written as it is, so that files
can be joined; with the flag an apostrophe stands before it, which spreadsheets take for "this is text".
"""

import csv
import re

from medtop.files.options import option

FIRST = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet runs (OWASP, CSV injection)."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def quote_option():
    """The field `quote_formulas` of a dataclass of options: one name in all scripts that write CSV for people."""
    return option(
        False,
        "Put an apostrophe before texts in CSV files that a spreadsheet would run as a formula (=, +, -, @ first).",
        compared=False,
    )


def quoted(value):
    """A cell that no spreadsheet runs; numbers stay what they are.

    >>> quoted("=1+1"), quoted("-0.5"), quoted(-0.5), quoted("-a"), quoted("E11.9")
    ("'=1+1", '-0.5', -0.5, "'-a", 'E11.9')
    """
    if not isinstance(value, str) or not value.startswith(FIRST) or _NUMBER.fullmatch(value):
        return value
    return f"'{value}"


class _Quoting:
    """A `csv.writer` whose cells go through `quoted`."""

    def __init__(self, writer):
        self.writer = writer

    def writerow(self, row):
        """One row."""
        return self.writer.writerow([quoted(value) for value in row])

    def writerows(self, rows):
        """Several rows."""
        for row in rows:
            self.writerow(row)


def quoting(writer, quote_formulas):
    """The `csv.writer` or `csv.DictWriter`, its cells quoted where `quote_formulas` says so."""
    if not quote_formulas:
        return writer
    if isinstance(writer, csv.DictWriter):
        writer.writer = _Quoting(writer.writer)
        return writer
    return _Quoting(writer)
