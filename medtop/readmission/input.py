"""Notes to be scored: a table of single notes (CSV, as NOTEEVENTS), or the texts that `preprocess_notes.py` wrote."""

import dataclasses
import datetime
import logging
from pathlib import Path

import numpy as np

from medtop.files.errors import DataError
from medtop.files.parquet import batches, open_parquet
from medtop.files.shown import shown_headers
from medtop.notes.quoted_csv import iterate_rows, table_header
from medtop.notes.texts import ROWS, plain_number, read_texts
from medtop.text.cleaning import has_word

logger = logging.getLogger(__name__)

NAMES = {
    "patient_id": ("patient_id", "subject_id"),
    "admission_id": ("admission_id", "hadm_id", "id"),
    "time": ("note_time", "charttime", "prediction_time"),
    "day": ("chartdate",),
    "text": ("text",),
    "error": ("iserror",),
}
"""Columns of a CSV of notes, any case, by the headers that mean them; `text` is required, a time or day for timelines.
Rows with ISERROR = 1 are passed over, and those without an id in a column of admissions."""

_EPOCH = datetime.datetime(1970, 1, 1)
_LAST_SECOND = 86_399


@dataclasses.dataclass
class Note:
    """One raw note.

    Attributes:
        patient_id, admission_id, text: str; an id that the table does not have is the row's number.
        time: seconds since 1970-01-01, or None where the table has no times.
    """

    patient_id: str
    admission_id: str
    text: str
    time: int | None


def read_notes(path, need_times=False, admissions=(), encoding="utf-8"):
    """Reads a CSV of notes, plain or gzipped.

    Args:
        path: the file.
        need_times: refuse a table, or a row, without a time.
        admissions: ids to read; none: all. So a few admissions of a whole NOTEEVENTS fit in memory.
        encoding: of the file.

    Returns:
        list of `Note`, in order of the file. Of notes without an id in a column of admissions the number is logged.

    Raises:
        DataError: naming file and line, never a note's text; for admissions that the file does not hold.
    """
    wanted = {str(name) for name in admissions}
    if not Path(path).is_file():
        raise DataError(f"{path}: expected a CSV of notes, found no such file")
    places = _places(path, table_header(path)[1], need_times)
    notes, without_id = [], 0
    for number, (line, field) in enumerate(iterate_rows(path, encoding), 1):
        row = _Row(f"{path}: line {line}", field, places)
        admission = _admission(row, number)
        if not admission:
            without_id += 1
        elif not wanted or admission in wanted:
            notes += _note(row, admission, need_times)
    if without_id:
        logger.warning("%s: %d notes without an admission id are passed over", path, without_id)
    if missing := wanted - {note.admission_id for note in notes}:
        raise DataError(f"--admission_id: expected admissions of {path}, received {len(missing)} that it does not hold")
    if not notes:
        raise DataError(f"{path}: expected notes below the header, received none that can be scored")
    return notes


def _places(path, header, need_times):
    folded = [name.lower() for name in header]
    places = {}
    for name, known in NAMES.items():  # of several headers that mean the same the first known one
        present = [header for header in known if header in folded]
        if present:
            if folded.count(present[0]) > 1:
                raise DataError(f"{path}: line 1: expected one column {present[0]}, received several")
            places[name] = folded.index(present[0])
    if "text" not in places:
        raise DataError(f"{path}: line 1: expected a column text, received {shown_headers(header)}")
    if need_times and not {"time", "day"} & set(places):
        raise DataError(
            f"{path}: line 1: expected a column note_time (or CHARTTIME, CHARTDATE) for a timeline, "
            f"received {shown_headers(header)}"
        )
    return places


@dataclasses.dataclass
class _Row:
    """One row of a table: where it stands, its fields by their place, and the places of ours."""

    where: str
    field: object
    places: dict

    def text(self, name):
        """The field as it is written, "" where the table has no such column."""
        return self.field(self.places[name]) if name in self.places else ""


def _admission(row, number):
    """A row's admission; without such a column its patient, without either its number; "" where the id is missing."""
    if "admission_id" in row.places:
        return plain_number(row.text("admission_id").strip())
    return plain_number(row.text("patient_id").strip()) or str(number)


def _note(row, admission, need_times):
    """List of the row's `Note`; empty for one that is wrong by its own account."""
    if row.text("error").strip() in ("1", "1.0"):
        return []
    time, day = row.text("time").strip(), row.text("day").strip()
    if need_times and not (time or day):
        raise DataError(f"{row.where}: expected a time for each note of a timeline, received none")
    seconds = _seconds(row.where, time or day[:10]) if time or day else None
    patient = plain_number(row.text("patient_id").strip())
    return [Note(patient or admission, admission, row.text("text"), seconds)]


def _seconds(where, text):
    """Seconds since 1970-01-01; a day without a time means its end, as in `preprocess_notes.py`."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None:
        raise DataError(f"{where}: expected a time such as 2101-10-20 19:08:00, received another form")
    return (moment - _EPOCH) // datetime.timedelta(seconds=1) + (_LAST_SECOND if len(text) <= 10 else 0)


def stays_of_notes(notes, clean, make):
    """Groups notes by admission and orders them by time, in order of first appearance.

    Args:
        notes: list of `Note`; without times they keep the order of the file.
        clean: function of a list of raw texts to cleaned ones.
        make: function (patient_id, admission_id, text, starts, times) that makes a stay.

    Returns:
        list of what `make` gives; notes without a word after cleaning are left out (their number is logged), and stays
        without notes.

    Raises:
        DataError: when no note has a word.
    """
    groups, empty = {}, 0
    for note, text in zip(notes, clean([note.text for note in notes]), strict=True):
        if has_word(text):
            groups.setdefault((note.patient_id, note.admission_id), []).append((note.time or 0, text))
        else:
            empty += 1
    if not groups:
        raise DataError(f"notes: expected texts with words, received none in {len(notes)} notes")
    if empty:
        logger.warning("%d of %d notes without a word are passed over", empty, len(notes))
    stays = []
    for (patient, admission), timed in groups.items():
        timed.sort(key=lambda pair: pair[0])  # stable: notes of one moment keep their order
        starts, begin = [], 0
        for _, text in timed:
            starts.append(begin)
            begin += len(text) + 1
        joined = " ".join(text for _, text in timed)
        stays.append(make(patient, admission, joined, starts, [time for time, _ in timed]))
    return stays


def read_stays(path, make, admissions=()):
    """Yields stays of `<prefix>.notes.<split>.parquet`, which holds cleaned texts with the places of their notes.

    Args:
        path: the file.
        make: as for `stays_of_notes`.
        admissions: ids to yield; none: all.

    Raises:
        DataError: for another file, or ids that it does not hold.
    """
    if Path(path).suffix != ".parquet":
        raise DataError(f"{path}: expected a .parquet file of preprocess_notes.py")
    wanted, seen = {str(name) for name in admissions}, set()
    names = set(open_parquet(path).schema_arrow.names) if Path(path).is_file() else set()
    if not {"note_starts", "note_times"} <= names:
        raise DataError(
            f"{path}: expected a .parquet file of preprocess_notes.py with note_starts and note_times, "
            "received another one"
        )
    places = batches(path, ROWS, ["note_starts", "note_times"])
    for batch, notes in zip(read_texts(path), places, strict=True):
        starts = notes.column("note_starts").to_pylist()
        times = [
            [int(np.datetime64(time, "s").astype(np.int64)) for time in row]
            for row in notes.column("note_times").to_pylist()
        ]
        for row, admission in enumerate(batch.admission_ids):
            if not wanted or admission in wanted:
                seen.add(admission)
                yield make(batch.patient_ids[row], admission, batch.texts[row], starts[row], times[row])
    if wanted - seen:
        raise DataError(
            f"--admission_id: expected admissions of {path}, received {len(wanted - seen)} that it does not hold"
        )
