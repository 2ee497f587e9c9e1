"""What no message may show: ids and dates of the inputs. Every `DataError` of the tests is held against them."""

import csv
import re
from pathlib import Path

from medtop.files.errors import DataError

ID_COLUMNS = re.compile(
    r"(patient|subject|person|hadm|admission|stay|encounter|visit_occurrence)_?id|mrn|desynpuf_id|id"
)
ID = re.compile(r"[A-Za-z]+[-_]?\d+|\d{5,}")
DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b|\b\d{2}[./]\d{2}[./]\d{4}\b")
LARGEST = 200_000
MOST_FILES = 40
texts = []
"""Messages of the `DataError`s since the test began."""


def watch():
    """Keeps the text of every `DataError` from now on."""
    make = DataError.__init__

    def keep(self, *arguments):
        make(self, *arguments)
        texts.extend(str(argument) for argument in arguments)

    DataError.__init__ = keep


def shown(message, folder):
    """Ids and dates of the tables in a folder that a message shows; paths and flags that the user gave may hold some.

    Args:
        message: str.
        folder: `Path`; its tables (.csv, .tsv) are read, up to a size.

    Returns:
        set of str.
    """
    bare = re.sub(r"--\w+=\S+|\S*/\S+", " ", message)
    words = {*re.findall(r"[\w-]+", bare)} | {*DATE.findall(bare)}
    if not any(ID.fullmatch(word) or DATE.fullmatch(word) for word in words):
        return set()
    files = [path for path in Path(folder).rglob("*") if path.suffix.lower() in (".csv", ".tsv", ".txt")]
    return {value for path in files[:MOST_FILES] for value in words & _identifiers(path)}


def _identifiers(path):
    if not path.is_file() or path.stat().st_size > LARGEST:
        return set()
    text = path.read_bytes().decode("utf-8", "replace").replace("\0", "")
    found = set(DATE.findall(text))
    lines = text.splitlines()
    delimiter = max(",\t;|", key=(lines or [""])[0].count)
    try:
        rows = list(csv.reader(lines, delimiter=delimiter))
    except csv.Error:
        return found
    places = [place for place, name in enumerate(rows[0] if rows else []) if ID_COLUMNS.fullmatch(name.strip().lower())]
    return found | {row[place] for row in rows[1:] for place in places if place < len(row) and ID.fullmatch(row[place])}
