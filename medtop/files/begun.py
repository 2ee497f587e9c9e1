"""A note that a run with these settings is under way, beside outputs which become final one after another.

A run that is killed between two of its files leaves some of them without the summary that vouches for all. The note
tells the next run that they are its own to replace, and not a stranger's.
"""

import contextlib
import json
from pathlib import Path

from medtop.files.atomic import write_json
from medtop.files.bounded import read_json
from medtop.files.errors import DataError


def _note(path):
    return Path(path).with_name(f".{Path(path).name}.begun.json")


@contextlib.contextmanager
def begun(path, settings):
    """While the block runs, and after it where the process was killed, `was_begun` is true.

    Args:
        path: the summary that is written last.
        settings: what determines the outputs, as JSON holds it.
    """
    note = _note(path)
    if note.is_symlink():
        raise DataError(f"{note}: expected a file of an earlier run or none, received a link")
    write_json(note, settings)
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def was_begun(path, settings):
    """Whether a run with these settings was under way when it ended."""
    note = _note(path)
    try:
        return not note.is_symlink() and read_json(note) == json.loads(json.dumps(settings))
    except (OSError, DataError):
        return False
