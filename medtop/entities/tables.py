"""Documents and spans as tables: `<prefix>.documents.<split>.parquet` and `<prefix>.spans.<split>.parquet`.

| documents | |
|---|---|
| document_id, patient_id, source, text, sha256 | string; patient_id "" where unknown, sha256 of the text in UTF-8 |
| columns, kept | JSON: other columns of the document; what its format holds beside spans |

| spans, one row a fragment | |
|---|---|
| document_id, span_id, type | string |
| fragment, start, end | int64: number from 0; code points, end excluded |
| attributes | JSON object |
| score | double or null |

Rows of a document stand together, documents and spans in the order of the input.
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medtop.cohort.splits import SPLITS
from medtop.entities.documents import Document, Span, Stated, check_spans
from medtop.files.bounded import parse_json
from medtop.files.errors import DataError
from medtop.files.parquet import open_parquet, reading
from medtop.files.staging import check_whole

DOCUMENTS = pa.schema(
    [(name, pa.string()) for name in ("document_id", "patient_id", "source", "text", "sha256", "columns", "kept")]
)
SPANS = pa.schema(
    [
        ("document_id", pa.string()),
        ("span_id", pa.string()),
        ("type", pa.string()),
        ("fragment", pa.int64()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("attributes", pa.string()),
        ("score", pa.float64()),
    ]
)
_BATCH = 256


class TableWriter:
    """Writes the two tables of one split, batch by batch; use it in a `with` block.

    Args:
        documents, spans: paths of the two files.
    """

    def __init__(self, documents, spans):
        self._writers = pq.ParquetWriter(documents, DOCUMENTS), pq.ParquetWriter(spans, SPANS)
        self._rows, self.documents, self.spans = ([], []), 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._flush()
        for writer in self._writers:
            writer.close()

    def add(self, document):
        """Appends a `Document` and its spans."""
        self._rows[0].append(
            {
                "document_id": document.document_id,
                "patient_id": document.patient_id,
                "source": document.source,
                "text": document.text,
                "sha256": document.sha256,
                "columns": json.dumps(document.columns, ensure_ascii=False),
                "kept": json.dumps(document.kept, ensure_ascii=False),
            }
        )
        for span in document.spans:
            for number, (start, end) in enumerate(span.fragments):
                self._rows[1].append(
                    {
                        "document_id": document.document_id,
                        "span_id": span.span_id,
                        "type": span.type,
                        "fragment": number,
                        "start": start,
                        "end": end,
                        "attributes": json.dumps(span.attributes, ensure_ascii=False),
                        "score": span.score,
                    }
                )
        self.documents += 1
        self.spans += len(document.spans)
        if len(self._rows[0]) >= _BATCH:
            self._flush()

    def _flush(self):
        for writer, rows, schema in zip(self._writers, self._rows, (DOCUMENTS, SPANS), strict=True):
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()


def table_paths(prefix, split):
    """The two files of a split."""
    return Path(f"{prefix}.documents.{split}.parquet"), Path(f"{prefix}.spans.{split}.parquet")


def splits_of(prefix):
    """The splits that stand under a prefix, in order.

    Raises:
        DataError: where there is none.
    """
    present = [split for split in SPLITS if all(path.is_file() for path in table_paths(prefix, split))]
    if not present:
        raise DataError(f"{prefix}: expected {table_paths(prefix, 'train')[0].name} and its spans, found none")
    return present


def read_tables(prefix, split, tally):
    """Yields the `Document`s of one split, spans held against the texts once more.

    Raises:
        DataError: for missing columns, spans of unknown documents, a text that does not agree with its sha256.
    """
    with reading(prefix):
        yield from _read_tables(table_paths(prefix, split), split, tally)


def _read_tables(paths, split, tally):
    files = [_open(path, schema) for path, schema in zip(paths, (DOCUMENTS, SPANS), strict=True)]
    spans = _span_groups(files[1], paths[1])
    waiting, number = next(spans, None), 0
    for batch in files[0].iter_batches(_BATCH):
        for row in batch.to_pylist():
            number += 1
            document = Document(
                row["document_id"],
                row["text"],
                source=row["source"],
                patient_id=row["patient_id"] or "",
                kept=_named(row["kept"], paths[0]),
                split=split,
                columns=_named(row["columns"], paths[0]),
            )
            if document.sha256 != row["sha256"]:
                raise DataError(f"{paths[0]}: row {number}: expected the text of its sha256")
            if waiting is not None and waiting[0] == document.document_id:
                check_spans(document, waiting[1], paths[1], tally)
                waiting = next(spans, None)
            yield document
    if waiting is not None:
        raise DataError(f"{paths[1]}: expected spans of the documents beside, in their order, received others")


def _named(text, path):
    """The dict that a column holds as JSON; an empty one where nothing stands there."""
    value = parse_json(text or "{}", path)
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected JSON objects in its columns, received a {type(value).__name__}")
    return value


def _open(path, schema):
    try:
        check_whole(path)
        file = open_parquet(path)
    except FileNotFoundError:
        raise DataError(f"{path}: expected a Parquet file, found none") from None
    missing = [name for name in schema.names if name not in file.schema_arrow.names]
    if missing:
        raise DataError(f"{path}: expected columns {', '.join(schema.names)}, received none named {missing[0]}")
    return file


def _span_groups(file, path):
    """Yields (document id, list of `Stated`)."""
    document_id, stated, fragments, last = None, [], [], None

    def finish():
        if last is not None:
            span = Span(
                last["span_id"], last["type"], tuple(fragments), _named(last["attributes"], path), last["score"]
            )
            stated.append(Stated(span, None, f"span {last['span_id']}"))

    for batch in file.iter_batches(_BATCH):
        for row in batch.to_pylist():
            if last is None or row["fragment"] == 0:
                finish()
                fragments = []
                if row["document_id"] != document_id:
                    if document_id is not None:
                        yield document_id, stated
                    document_id, stated = row["document_id"], []
            if row["fragment"] != len(fragments) or row["document_id"] != document_id:
                raise DataError(f"{path}: expected fragments 0, 1, ... of each span in order")
            fragments.append((row["start"], row["end"]))
            last = row
    finish()
    if document_id is not None:
        yield document_id, stated
