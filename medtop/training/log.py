"""`train_log.jsonl`: one line per training step, each step once, also across kills."""

import json
import math
import os
from pathlib import Path

from medtop.files.atomic import write_text
from medtop.files.bounded import parse_json, read_bytes
from medtop.files.errors import DataError
from medtop.files.locks import open_own


def read_log(path):
    """The rows of a log; a last line without an end (a kill cut it) is left out.

    Returns:
        list of dict.
    """
    path = Path(path)
    if not path.is_file():
        return []
    try:
        lines = read_bytes(path).decode("utf-8").split("\n")[:-1]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start}: expected a log in UTF-8, received another content") from None
    rows = []
    for number, line in enumerate(lines):
        try:
            rows.append(parse_json(line, path))
        except ValueError as error:
            raise DataError(f"{path}: line {number + 1}: expected a JSON object, received another content") from error
    return rows


class TrainingLog:
    """Appends rows to a log, and takes back what a resumed run will do again.

    Args:
        path: the file.
    """

    def __init__(self, path):
        self.path, self._waiting = Path(path), []

    def rewind(self, name, last):
        """Removes the rows whose `name` ("step", "epoch") is above `last`, which is what the checkpoint that the run
        goes on from had done: what they tell of is done again."""
        rows = [row for row in read_log(self.path) if row[name] <= last]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in rows), shared=True)

    def append(self, row):
        """Keeps a row until `flush`. Numbers that JSON has no word for (NaN, infinity) become null."""
        clean = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()
        }
        self._waiting.append(json.dumps(clean) + "\n")

    def flush(self):
        """Writes the kept rows to disk; called before a checkpoint, so that no checkpoint is ahead of the log."""
        if self._waiting:
            with open_own(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666) as file:
                file.write("".join(self._waiting).encode())
                os.fsync(file.fileno())
            self._waiting.clear()
