"""Notes to be scored: a table of single notes (CSV, as NOTEEVENTS), or the texts that `preprocess_notes.py` wrote."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from medtop.errors import DataError
from medtop.notes.texts import ROWS, plain_number, read_texts

NAMES = {
    "patient_id": ("patient_id", "subject_id"),
    "admission_id": ("admission_id", "hadm_id", "id"),
    "time": ("note_time", "charttime", "prediction_time"),
    "day": ("chartdate",),
    "text": ("text",),
    "error": ("iserror",),
}
"""Columns of a CSV of notes, any case, by the headers that mean them; `text` is required, a time or day for timelines.
Rows with ISERROR = 1 are passed over."""

_LONGEST_FIELD = 1 << 30
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


def read_notes(path, need_times=False, admissions=()):
    """Reads a CSV of notes.

    Args:
        path: the file.
        need_times: refuse a table, or a row, without a time.
        admissions: ids to read; none: all. So a few admissions of a whole NOTEEVENTS fit in memory.

    Returns:
        list of `Note`, in order of the file.

    Raises:
        DataError: naming file and line, never a note's text; for admissions that the file does not hold.
    """
    wanted = {str(one) for one in admissions}
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            places = _places(path, next(reader, []), need_times)
            notes = []
            for number, row in enumerate(filter(None, reader), 1):
                note = _note(f"{path}: line {reader.line_num}", row, places, number, need_times, wanted)
                if note is not None:
                    notes.append(note)
    except FileNotFoundError:
        raise DataError(f"{path}: expected a CSV of notes, found no such file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text, received other bytes ({error.reason})") from error
    except csv.Error as error:
        raise DataError(f"{path}: expected CSV with quoted texts: {error}") from error
    if missing := wanted - {note.admission_id for note in notes}:
        raise DataError(f"--admission_id: expected admissions of {path}, received {len(missing)} that it does not hold")
    if not notes:
        raise DataError(f"{path}: expected notes below the header, received none")
    return notes


def _places(path, header, need_times):
    folded = [name.strip().lower() for name in header]
    places = {}
    for name, known in NAMES.items():  # of several headers that mean the same the first known one
        present = [one for one in known if one in folded]
        if present:
            places[name] = folded.index(present[0])
    if "text" not in places:
        raise DataError(f"{path}: line 1: expected a column text, received {', '.join(header)[:200]!r}")
    if need_times and not {"time", "day"} & set(places):
        raise DataError(f"{path}: line 1: expected a column note_time (or CHARTTIME, CHARTDATE) for a timeline, "
                        f"received {', '.join(header)[:200]!r}")  # fmt: skip
    return places


def _note(where, row, places, number, need_times, wanted):
    """The `Note` of a row; None for one that is wrong by its own account, or of an admission that is not wanted."""
    if len(row) <= max(places.values()):
        raise DataError(f"{where}: expected at least {max(places.values()) + 1} columns, received {len(row)}")
    ids = {}
    for name in ("patient_id", "admission_id"):
        ids[name] = plain_number(row[places[name]].strip()) if name in places else ""
    admission = ids["admission_id"] or ids["patient_id"] or str(number)
    wrong = "error" in places and row[places["error"]].strip() in ("1", "1.0")
    if wrong or (wanted and admission not in wanted):
        return None
    time = row[places["time"]].strip() if "time" in places else ""
    day = row[places["day"]].strip() if "day" in places else ""
    if need_times and not (time or day):
        raise DataError(f"{where}: expected a time for each note of a timeline, received none")
    seconds = _seconds(where, time) if time else _seconds(where, day[:10]) + _LAST_SECOND if day else None
    return Note(ids["patient_id"] or admission, admission, row[places["text"]], seconds)


def _seconds(where, text):
    try:
        return int(np.datetime64(text, "s").astype(np.int64))
    except ValueError:
        raise DataError(f"{where}: expected a time such as 2101-10-20 19:08:00, received another form") from None


def stays_of_notes(notes, clean, make):
    """Groups notes by admission and orders them by time, in order of first appearance.

    Args:
        notes: list of `Note`; without times they keep the order of the file.
        clean: function of a list of raw texts to cleaned ones.
        make: function (patient_id, admission_id, text, starts, times) that makes a stay.

    Returns:
        list of what `make` gives; notes without a word after cleaning are left out, and stays without notes.
    """
    groups = {}
    for note, text in zip(notes, clean([note.text for note in notes]), strict=True):
        if text.strip():
            groups.setdefault((note.patient_id, note.admission_id), []).append((note.time or 0, text))
    stays = []
    for (patient, admission), found in groups.items():
        found.sort(key=lambda pair: pair[0])  # stable: notes of one moment keep their order
        starts, begin = [], 0
        for _, text in found:
            starts.append(begin)
            begin += len(text) + 1
        joined = " ".join(text for _, text in found)
        stays.append(make(patient, admission, joined, starts, [time for time, _ in found]))
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
    wanted, seen = {str(one) for one in admissions}, set()
    names = set(pq.ParquetFile(path).schema_arrow.names) if Path(path).is_file() else set()
    if not {"note_starts", "note_times"} <= names:
        raise DataError(f"{path}: expected a .parquet file of preprocess_notes.py with note_starts and note_times, "
                        "received another one")  # fmt: skip
    places = pq.ParquetFile(path).iter_batches(ROWS, columns=["note_starts", "note_times"])
    for batch, notes in zip(read_texts(path), places, strict=True):
        starts = notes.column("note_starts").to_pylist()
        times = [[int(np.datetime64(time, "s").astype(np.int64)) for time in row]
                 for row in notes.column("note_times").to_pylist()]  # fmt: skip
        for row, admission in enumerate(batch.admission_ids):
            if not wanted or admission in wanted:
                seen.add(admission)
                yield make(batch.patient_ids[row], admission, batch.texts[row], starts[row], times[row])
    if wanted - seen:
        raise DataError(f"--admission_id: expected admissions of {path}, received {len(wanted - seen)} that it does "
                        "not hold")  # fmt: skip
