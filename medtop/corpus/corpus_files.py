"""What runs over texts write: documents as Parquet, one file a split."""

import collections
import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medtop.corpus.documents import NO_TIME
from medtop.files import staging
from medtop.files.arrow import numbers_column, strings_column

SCHEMA = pa.schema(
    {
        "source": pa.string(),
        "document_id": pa.string(),
        "patient_id": pa.string(),
        "admission_id": pa.string(),
        "kind": pa.string(),
        "prediction_time": pa.timestamp("s"),
        "text": pa.string(),
    }
)
"""Columns of `<prefix>.notes.<split>.parquet`; the file fits wherever texts of admissions do. Documents of no patient
have `<source>:<document_id>` as their patient, and 1970-01-01 stands for no time."""

ROW_GROUP = 4096


def table_of(columns, schema=None):
    """A table of dict name -> list of str, array of numbers, or Arrow array."""
    made = [
        strings_column(values, large=False)
        if isinstance(values, list)
        else numbers_column(values)
        if isinstance(values, np.ndarray)
        else values
        for values in columns.values()
    ]
    return pa.Table.from_arrays(made, schema=schema) if schema else pa.Table.from_arrays(made, names=list(columns))


def to_arrow(documents):
    """A table of `SCHEMA` of a list of `Document`s."""
    times = np.array([0 if document.time == NO_TIME else document.time for document in documents], np.int64)
    rows = {
        "source": [document.source for document in documents],
        "document_id": [document.document_id for document in documents],
        "patient_id": [document.patient_id or f"{document.source}:{document.document_id}" for document in documents],
        "admission_id": [document.admission_id or document.document_id for document in documents],
        "kind": [document.kind for document in documents],
        "prediction_time": numbers_column(times).view(pa.timestamp("s")),
        "text": [document.text for document in documents],
    }
    return table_of(rows, SCHEMA)


class SplitFiles:
    """Writes documents to `notes.<split>.parquet` in a run's folder; a context."""

    def __init__(self, folder):
        self._folder, self._writers = folder, {}

    def write(self, documents, splits):
        """Writes a list of documents, each to its split's file."""
        of_split = collections.defaultdict(list)
        for document, split in zip(documents, splits, strict=True):
            of_split[split].append(document)
        for split, some in of_split.items():
            self.write_table(to_arrow(some), split)

    def write_table(self, table, split):
        """Writes a table of `SCHEMA`."""
        if split not in self._writers:
            path = staging.made_path(self._folder, f"notes.{split}.parquet")
            self._writers[split] = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self._writers[split].write_table(table, row_group_size=ROW_GROUP)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.ExitStack() as stack:
            for writer in self._writers.values():
                stack.callback(writer.close)
