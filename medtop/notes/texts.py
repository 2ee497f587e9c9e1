"""Texts of admissions with their labels, batch by batch, from the files that `preprocess_notes.py` writes.

Two kinds are read: `<prefix>.notes.<split>.parquet`, one row per admission; and the CSV of a ClinicalBERT data folder
(`TEXT`, `ID`, `Label`), one row per piece of an admission's notes.
"""

import dataclasses
import itertools
import re
from pathlib import Path

import numpy as np
import pyarrow as pa

from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.parquet import open_parquet, reading
from medtop.files.shown import shown_headers
from medtop.notes.quoted_csv import iterate_rows, table_header

ROWS = 256
"""Texts read at a time: some megabytes."""

SPLIT_NAMES = {"train": "train", "val": "valid", "valid": "valid", "test": "test"}
"""ClinicalBERT's name of a split, or ours -> ours."""

_COLUMNS = ("patient_id", "admission_id", "prediction_time", "text")


@dataclasses.dataclass
class TextBatch:
    """Some texts in the order of the file.

    Attributes:
        patient_ids, admission_ids, texts: lists of N str.
        prediction_times: int64 [N], seconds since 1970-01-01.
        labels: float64 [N], 1, 0 or NaN (unknown).
        first: row number in the file of the first one, from 0.
    """

    patient_ids: list
    admission_ids: list
    texts: list
    prediction_times: np.ndarray
    labels: np.ndarray
    first: int = 0

    def take(self, places):
        """The texts at some places (list of int)."""
        lists = ([values[place] for place in places] for values in (self.patient_ids, self.admission_ids, self.texts))
        return TextBatch(*lists, self.prediction_times[places], self.labels[places], self.first)

    def joined(self, other):
        """These texts, then those of another batch."""
        lists = (getattr(self, name) + getattr(other, name) for name in ("patient_ids", "admission_ids", "texts"))
        arrays = ([getattr(self, name), getattr(other, name)] for name in ("prediction_times", "labels"))
        return TextBatch(*lists, *map(np.concatenate, arrays), self.first)


def split_of(path):
    """The split that a file's name says: `x.notes.train.parquet`, `train.csv`, `val.csv`; None where it says none."""
    parts = Path(path).name.split(".")
    names = [SPLIT_NAMES[part] for part in parts[:-1] if part in SPLIT_NAMES]
    return names[-1] if names else None


def manifest_of(path):
    """The manifest that `preprocess_notes.py` wrote beside `<prefix>.notes.<split>.parquet`, or None.

    Raises:
        DataError: for a manifest that is not JSON.
    """
    prefix = re.sub(r"\.notes\.[^.]+\.parquet$", "", str(path))
    name = Path(f"{prefix}.manifest.json")
    if prefix == str(path) or not name.is_file():
        return None
    return read_json(name)


def read_texts(path):
    """Yields `TextBatch`es of a `.parquet` or `.csv` file.

    Raises:
        DataError: for another kind of file, a missing column, a wrong value, bytes that are not UTF-8, and in a CSV NUL
            bytes and open quotes; names file, row (of a CSV the line) and column, never the text.
    """
    if Path(path).suffix == ".parquet":
        return _read_parquet(path)
    if Path(path).suffix == ".csv":
        return _read_csv(path)
    raise DataError(f"{path}: expected texts of admissions (.parquet, or .csv with TEXT, ID and Label)")


def check_texts(path):
    """Refuses a file of texts whose columns are not the expected ones; reads its header only."""
    if Path(path).suffix == ".parquet":
        _open_parquet(path)
    elif Path(path).suffix == ".csv":
        _csv_columns(path, table_header(path)[1])
    else:
        read_texts(path)


def _open_parquet(path):
    file = open_parquet(path)
    missing = [name for name in _COLUMNS if name not in file.schema_arrow.names]
    if missing:
        raise DataError(
            f"{path}: expected columns {', '.join(_COLUMNS)}, received {shown_headers(file.schema_arrow.names)}"
        )
    return file


def _read_parquet(path):
    with reading(path):
        yield from _batches_of(path, _open_parquet(path))


def _batches_of(path, file):
    wanted = [name for name in (*_COLUMNS, "readmission") if name in file.schema_arrow.names]
    first = 0
    for batch in file.iter_batches(ROWS, columns=wanted):
        columns = {name: batch.column(name) for name in wanted}
        for name in _COLUMNS:
            if columns[name].null_count:
                place = first + int(np.flatnonzero(columns[name].is_null().to_numpy(zero_copy_only=False))[0])
                raise DataError(f"{path}: row {place}: expected a value in column {name}, received none")
        labels = np.full(len(batch), np.nan)
        if "readmission" in columns:
            labels = columns["readmission"].cast(pa.float64()).to_numpy(zero_copy_only=False)
        known = labels[~np.isnan(labels)]
        if not np.isin(known, (0, 1)).all():
            raise DataError(f"{path}: column readmission: expected 1, 0 or null, received another value")
        yield TextBatch(
            [str(name) for name in columns["patient_id"].to_pylist()],
            [str(name) for name in columns["admission_id"].to_pylist()],
            columns["text"].to_pylist(),
            _seconds(columns["prediction_time"]),
            labels,
            first,
        )
        first += len(batch)


def _seconds(column):
    """int64 seconds of an Arrow column of timestamps, dates or whole seconds."""
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    return column.cast(pa.int64()).to_numpy(zero_copy_only=False)


def _csv_columns(path, header):
    """dict of what is read -> place in the header; `ID` is the admission's."""
    places = {name.strip().lower(): place for place, name in enumerate(header)}
    missing = [name for name in ("TEXT", "ID", "Label") if name.lower() not in places]
    if missing:
        raise DataError(f"{path}: line 1: expected columns TEXT, ID, Label, received {shown_headers(header)}")
    columns = {"text": places["text"], "admission": places["id"], "label": places["label"]}
    for name in ("patient_id", "subject_id"):
        if name in places:
            columns["patient"] = places[name]
    return columns


def _read_csv(path):
    columns, rows, first = _csv_columns(path, table_header(path)[1]), iterate_rows(path), 0
    while some := [_row(path, line, field, columns) for line, field in itertools.islice(rows, ROWS)]:
        patients, admissions, texts, labels = zip(*some, strict=True)
        times = np.zeros(len(some), np.int64)
        yield TextBatch(list(patients), list(admissions), list(texts), times, np.array(labels, np.float64), first)
        first += len(some)


def _row(path, line, field, columns):
    """(patient, admission, text, label); where a folder names no patients, as ClinicalBERT's, the admission is one."""
    admission, label = plain_number(field(columns["admission"])), field(columns["label"])
    if not admission:
        raise DataError(f"{path}: line {line}: expected an admission in column ID, received none")
    if label not in ("", "0", "1", "0.0", "1.0"):
        raise DataError(f"{path}: line {line}: column Label: expected 1, 0 or nothing, received another value")
    patient = field(columns["patient"]) if "patient" in columns else admission
    return patient, admission, field(columns["text"]), float(label or "nan")


def plain_number(text):
    """`161088.0`, as pandas writes the whole numbers of a column with gaps, is `161088`."""
    return text.removesuffix(".0") if text.removesuffix(".0").isdigit() else text
