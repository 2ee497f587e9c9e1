"""The one error that users cause and users can repair."""

import reprlib

LONGEST_MESSAGE = 2_000
"""Characters of a message; what is longer is cut: it repeats somebody's file."""

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 80, 80


class DataError(ValueError):
    """Input or flags that medtop cannot use.

    The message is one line: where (file, line or patient, column), what was expected, what was received.
    It never holds a patient's rows. Scripts print it on standard error and exit with code 1.
    """

    def __init__(self, message=""):
        message = str(message)
        if len(message) > LONGEST_MESSAGE:
            message = f"{message[:LONGEST_MESSAGE]}... ({len(message):,} characters)"
        super().__init__(message)


def shown(value):
    """A value for a message, at most about 80 characters: `repr` of lists that hold each other grows without end.

    >>> shown(["ab", ["c"] * 9]), len(shown(["a" * 200] * 9))
    ("['ab', ['c', 'c', 'c', 'c', 'c', 'c', ...]]", 80)
    """
    try:
        text = _SHORT.repr(value)
    except ValueError:  # a number of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


class Stopped(RuntimeError):
    """Training was asked to stop (SIGTERM) and has saved its state; scripts exit with code 75."""
