"""Looking at an output again, as if for the first time; what is left is told by its place, never by its text."""

import dataclasses
import itertools
import json
from pathlib import Path

from medtop.deidentification.notes_files import Columns, NotesFile
from medtop.deidentification.roster import MISTYPED
from medtop.deidentification.views import plain
from medtop.files.errors import DataError

AUDIT = "audit.jsonl"
TOGETHER = 500
"""Notes that are looked at together."""
_PIECE = 1 << 20


@dataclasses.dataclass(frozen=True)
class Leak:
    """An identifier that is still there.

    Attributes:
        place: file, and row of the note, line of a file, or number of a file in order.
        start, end: code points within it.
        type, source: as of `medtop.deidentification.detect.Finding`.
    """

    place: str
    start: int
    end: int
    type: str
    source: str

    def __str__(self):
        return f"{self.place}: characters {self.start}-{self.end}: {self.type} ({self.source})"


def look_again(output, machine, more_files=()):
    """The `Leak`s of an output folder.

    Rules, roster and model look at each text; what they find within a replacement that the audit names is no leak,
    unless the roster finds it. The roster also looks at ids and names of files, rules and roster at kept columns and
    `more_files`.

    Args:
        output: the folder.
        machine: `medtop.deidentification.run.Parts`.
        more_files: paths of text files.

    Raises:
        DataError: for an output without its audit, or with another number of notes.
    """
    output, leaks = Path(output), []
    notes = _notes_of(output, machine)
    places = _audit_places(output / AUDIT)
    for row, document, values, marked in _marked(notes, machine.model):
        expected = next(places, None)
        if expected is None:
            raise DataError(f"{output / AUDIT}: expected a line for each note, found none for row {row}")
        for item in machine.detector.find(document.text, document.patient_id, marked):
            removed = machine.remover.policy.removes(item.type, machine.remover.replace)
            if removed and _left(document.text, item, expected):
                leaks.append(Leak(f"note {row}", item.start, item.end, item.type, item.source))
        leaks += _look_at_columns(row, document, values, notes, machine)
    if next(places, None) is not None:
        raise DataError(f"{output / AUDIT}: expected as many notes as in the output, found more")
    for path in more_files:
        leaks += _look_at_file(Path(path), machine)
    return leaks


def _marked(notes, model):
    """Yields (row, document, values, the model's spans), of many notes at a time: a model that is called for each note
    spends its time on beginning."""
    rows = iter(notes.rows())
    while block := list(itertools.islice(rows, TOGETHER)):
        for (row, document, values), spans in zip(block, model([entry[1] for entry in block]), strict=True):
            yield row, document, values, spans


def _look_at_columns(row, document, values, notes, machine):
    """Leaks of a note's ids (roster only: a study's number looks like any other) and of its further columns."""
    for name, text in (("document", document.document_id), ("patient", document.patient_id)):
        for start, end, kind, source in machine.detector.roster.find(plain(text)):
            yield Leak(f"note {row}: id of the {name}", start, end, kind, source)
    used = {*notes.names.values(), *machine.notes.columns.dates} if values else ()
    for name, value in values.items():
        if name not in used and value is not None:
            for item in machine.detector.find(str(value)):
                if machine.remover.policy.removes(item.type, machine.remover.replace):
                    yield Leak(f"note {row}: column {name}", item.start, item.end, item.type, item.source)


def _notes_of(output, machine):
    name = {"parquet": "notes.parquet", "csv": "notes.csv", "folder": "notes"}[machine.notes.kind]
    if machine.notes.kind == "folder":
        return NotesFile(output / name)
    used, more = {what: header or "" for what, header in machine.notes.names.items()}, machine.notes.columns
    return NotesFile(output / name, Columns(used["text"], used["document"], used["patient"], more.keep, more.dates))


def _audit_places(path):
    """Yields for each note the list of (start, end) of what was put in."""
    try:
        with open(path, encoding="utf-8") as file:
            places = None
            for line in file:
                entry = json.loads(line)
                if "removed" in entry:
                    if places is not None:
                        yield places
                    places = []
                else:
                    places.append((entry["new_start"], entry["new_end"]))
            if places is not None:
                yield places
    except FileNotFoundError:
        raise DataError(f"{path}: expected the audit of a run, found none") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path}: expected the audit of a run, received another content") from None


def _left(text, item, places):
    """Whether a finding reaches a letter or digit that is no replacement, or is a value of the roster."""
    if item.source.startswith("roster") and item.source != MISTYPED:
        return True
    covered = [False] * (item.end - item.start)
    for start, end in places:
        if start < item.end and end > item.start:
            for place in range(max(start, item.start), min(end, item.end)):
                covered[place - item.start] = True
    return any(letter.isalnum() and not done for letter, done in zip(text[item.start : item.end], covered, strict=True))


def _look_at_file(path, machine):
    """Leaks of a text file, line by line; each line of a vocabulary is a word."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, 1):
                for item in machine.detector.find(line[:_PIECE]):
                    if item.type not in ("YEAR", "DATE") or item.source.startswith("roster"):
                        yield Leak(f"{path}: line {number}", item.start, item.end, item.type, item.source)
    except FileNotFoundError:
        raise DataError(f"--verify_files: {path}: expected a file, found none") from None
