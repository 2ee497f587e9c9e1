"""Tables of single notes as `medtop.notes.texts.TextBatch`es, cleaned: what pretraining reads beside admissions' texts.

NOTEEVENTS of MIMIC-III, `discharge` and `radiology` of MIMIC-IV, and any table with a column of texts and one of
patients. No labels, no admissions needed: each note is a text of its own.
"""

import collections
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medtop.corpus.documents import COLUMNS, NO_TIME, REASONS, TextSource, check_table, read_batches
from medtop.files.errors import DataError
from medtop.notes.quoted_csv import table_header
from medtop.notes.texts import TextBatch
from medtop.text.cleaning import clean, has_word

DROPPED = (*REASONS, "not_in_encoding", "too_few_columns", "too_many_columns", "no_word")
"""Why a note of a table is left out while it is read."""

KINDS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")


def parse_note_columns(text):
    """`text=NOTE,patient_id=MRN` as a dict of what is read -> header.

    >>> parse_note_columns("text=NOTE, patient_id=MRN")
    {'text': 'NOTE', 'patient_id': 'MRN'}
    """
    columns = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, header = (piece.strip() for piece in part.partition("="))
        if not (name and equals and header) or name not in COLUMNS or name in columns:
            raise DataError(
                f"--columns: expected name=header, each name once, of {', '.join(COLUMNS)}, received {part!r}"
            )
        columns[name] = header
    return columns


def is_note_table(path):
    """Whether a file is a table of single notes: not the texts of `preprocess_notes.py`, nor ClinicalBERT's folder."""
    name = Path(path).name.lower()
    if name.endswith(".parquet"):
        try:
            names = set(pq.read_schema(path).names)
        except (pa.ArrowException, OSError):
            return False  # its own reader says what is wrong
        return not {"patient_id", "admission_id", "prediction_time", "text"} <= names
    if not name.endswith(KINDS):
        return False
    headers = {header.strip().lower() for header in table_header(path)[1]}
    return not (name.endswith(".csv") and {"text", "id", "label"} <= headers)


class NoteTableTexts:
    """Reads tables of single notes.

    Args:
        columns: dict of what is read (`documents.COLUMNS`) -> header, where a table has names of its own.
        cleaning: one of `medtop.text.cleaning.CLEANINGS`, or "none".
        encoding: of CSV files.
    """

    reasons = DROPPED

    def __init__(self, columns=None, cleaning="careful", encoding="utf-8"):
        self.columns, self.cleaning, self.encoding = columns or {}, cleaning, encoding

    def reads(self, path):
        """Whether a file is for this reader."""
        return is_note_table(path)

    def check(self, path):
        """Refuses a table without a column of texts or of patients; reads its header only."""
        if not check_table(Path(path), self.columns)["patient_id"]:
            raise DataError(
                f"{path}: expected a column of patients ({', '.join(COLUMNS['patient_id'])}; another name: "
                "--columns=patient_id=...), which the split file speaks of, received none"
            )

    def batches(self, path, dropped=None):
        """Yields `TextBatch`es in the order of the file; labels are unknown, an unknown time is 0.

        Args:
            path: the file.
            dropped: Counter that gets the notes that are left out, by reason (`DROPPED`).
        """
        dropped = collections.Counter() if dropped is None else dropped
        first, read = 0, collections.Counter()
        for documents in read_batches(TextSource("", [Path(path)]), read, self.encoding, self.columns):
            texts = [document.text for document in documents]
            if self.cleaning != "none":  # letters stay: the vocabulary says whether they become lower case
                texts = clean(texts, self.cleaning, lower_case=False)
            kept = [place for place, text in enumerate(texts) if has_word(text)]
            dropped["no_word"] += len(texts) - len(kept)
            _move(read, dropped)
            chosen = [documents[place] for place in kept]
            times = [0 if document.time == NO_TIME else document.time for document in chosen]
            yield TextBatch(
                [document.patient_id for document in chosen],
                [document.admission_id or f"note {document.document_id}" for document in chosen],
                [texts[place] for place in kept],
                np.array(times, np.int64),
                np.full(len(chosen), np.nan),
                first,
            )
            first += len(chosen)
        _move(read, dropped)


def _move(read, dropped):
    """Adds what was left out to `dropped`; unreadable times leave nothing out, and pretraining looks at none."""
    read.pop("time_unreadable", None)
    dropped.update(read)
    read.clear()
