"""What of an input a message may show: never a value, which may be a patient's id or date."""

import re

_VALUE = re.compile(r"[\W\d_T]*\d[\W\d_T]*|.*\d{4,}.*|.*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*", re.DOTALL)
_NAME_LENGTH = 64
_QUOTED = re.compile(r"\"[^\"]*(\"|$)|(?<!\w)'[^']*('|$)")


def shown_headers(names, most=200):
    """Column names as a message may show them; where one looks like a value, only how many there are.

    Args:
        names: list of str.
        most: characters that are shown.

    >>> shown_headers(["MRN", "DX1"])
    'MRN, DX1'
    >>> shown_headers(["778899", "2010-03-26", "ICD10_I10"])
    '3 fields that look like a row, not like a header'
    """
    names = [str(name) for name in names]
    if any(len(name) > _NAME_LENGTH or _VALUE.fullmatch(name) for name in names):
        return f"{len(names)} field{'s' * (len(names) != 1)} that look like a row, not like a header"
    shown = ", ".join(names)
    return shown if len(shown) <= most else f"{shown[:most]}, ... ({len(names)} in all)"


def shown_error(error, most=200):
    r"""The first line of another library's message, with what stands in quotes left out: it may be a cell of the input.

    Args:
        error: exception or str.
        most: characters that are shown.

    >>> shown_error('Conversion Error: Could not convert string "MRN 778899" to INT32\nLINE 1: ...')
    'Conversion Error: Could not convert string "..." to INT32'
    """
    line = " ".join((str(error).splitlines() or [""])[0].split())
    return _QUOTED.sub(lambda cell: f"{cell[0][0]}...{cell[0][0]}", line)[:most]
