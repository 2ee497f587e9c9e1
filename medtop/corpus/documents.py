"""Documents of any source, one after another: tables like MIMIC's NOTEEVENTS, Parquet, lines of JSON, folders of text.

What is no usable document is left out and counted by reason, so that the same files give the same documents with the
same numbers, however often they are read.
"""

import collections
import dataclasses
import datetime
import functools
import glob
from pathlib import Path

import pyarrow.parquet as pq

from medtop.files.bounded import parse_json
from medtop.files.errors import DataError
from medtop.files.parquet import open_parquet, reading
from medtop.files.shown import shown_headers
from medtop.notes.quoted_csv import iterate_blocks, table_header
from medtop.notes.texts import split_of
from medtop.sources.ids import normal_id

BATCH_DOCUMENTS = 512
BATCH_CHARACTERS = 1 << 22
"""A batch ends at so many documents or characters, whichever comes first."""

LONGEST_DOCUMENT = 10_000_000
"""Characters (of files and lines: bytes); a longer document is left out as `too_long`, and not held in memory."""

NO_TIME = -(2**62)
"""Seconds of a document without a readable time."""

REASONS = (
    "not_utf8",
    "not_in_encoding",
    "nul_character",
    "marked_as_error",
    "no_text",
    "too_long",
    "not_json",
    "no_patient",
    "too_few_columns",
    "too_many_columns",
)
"""Why a document is left out while it is read."""

COLUMNS = {
    # what is read -> names of its column, lower case, the first that stands in the table and holds something
    "text": ("text", "note_text", "content", "body"),
    "document_id": ("document_id", "row_id", "note_id", "id"),
    "patient_id": ("patient_id", "subject_id", "person_id"),
    "admission_id": ("admission_id", "hadm_id", "visit_occurrence_id"),
    "time": ("prediction_time", "charttime", "note_datetime", "chartdate", "note_date", "time", "date"),
    "kind": ("kind", "category", "note_type", "note_title", "type"),
    "error": ("iserror",),
    "source": ("source",),
}
_KEYS = {name: (what, rank) for what, names in COLUMNS.items() for rank, name in enumerate(names)}
_NULLS = ("", "na", "null", "nan", "none")
_TABLES, _LINES, _TEXTS = (".csv", ".tsv", ".csv.gz", ".tsv.gz"), (".jsonl", ".ndjson"), (".txt", ".text", ".md")


@dataclasses.dataclass(frozen=True)
class TextSource:
    """A name and its files, all of one kind.

    Attributes:
        name: what the documents are called by; a column `source` of a Parquet file says another.
        files: list of paths, sorted.
    """

    name: str
    files: list


@dataclasses.dataclass
class Document:
    """One text and where it is from.

    Attributes:
        source, document_id, patient_id, admission_id, kind, text: str; "" where the source does not say it.
        time: seconds since 1970-01-01, or `NO_TIME`.
        split: "train", "valid" or "test" where the file's name says it, else None.
    """

    source: str
    document_id: str
    text: str
    patient_id: str = ""
    admission_id: str = ""
    kind: str = ""
    time: int = NO_TIME
    split: str | None = None


def find_sources(texts, flag="--input"):
    """The sources that a flag names: `notes=NOTEEVENTS.csv.gz`, `papers=folder`, or a plain path (name: the file's).

    Args:
        texts: list of str; the same name may come several times.

    Returns:
        list of `TextSource`.

    Raises:
        DataError: for a missing path, an empty folder, or a file of another kind.
    """
    files = collections.defaultdict(list)
    for text in filter(None, (text.strip() for text in texts)):
        name, equals, place = text.partition("=")
        if not equals or not name or "/" in name:
            name, place = Path(text).name.partition(".")[0], text
        files[name] += _files(place, flag)
    if not files:
        raise DataError(f"{flag}: expected name=path or path, received nothing")
    for name, paths in files.items():
        if double := [path for path, number in collections.Counter(paths).items() if number > 1]:
            raise DataError(f"{flag}: expected each file once, received {double[0]} twice ({name})")
    return [TextSource(name, paths) for name, paths in files.items()]


def _files(place, flag):
    path = Path(place)
    if path.is_dir():
        paths = sorted(p for p in path.rglob("*") if p.is_file() and p.name.lower().endswith(_TEXTS))
        if not paths:
            raise DataError(f"{place}: expected a folder with texts ({', '.join(_TEXTS)}), found none")
        return paths
    paths = [path] if path.is_file() else sorted(Path(name) for name in glob.glob(place) if Path(name).is_file())
    if not paths:
        raise DataError(f"{flag}: {place}: expected a file or a folder, found none")
    for path in paths:
        if not path.name.lower().endswith((".parquet", *_TABLES, *_LINES, *_TEXTS)):
            raise DataError(f"{path}: expected .parquet, .csv, .jsonl or .txt, perhaps .csv.gz, received another kind")
    return paths


def check_table(path, columns=None):
    """Where a table (CSV or Parquet) keeps what is read: dict of the keys of `COLUMNS` -> list of places.

    Args:
        path: `Path`; its header is read only.
        columns: dict of keys of `COLUMNS` -> header, where it has names of its own.

    Raises:
        DataError: for a missing column, or a file that is no Parquet.
    """
    if not path.name.lower().endswith(".parquet"):
        return _places(path, table_header(path)[1], columns)
    return _places(path, open_parquet(path).schema_arrow.names, columns)


def read_batches(source, dropped, encoding="utf-8", columns=None):
    """Yields lists of `Document`s of a source, in order.

    Args:
        source: `TextSource`.
        dropped: Counter that gets the number of what is left out, by reason (`REASONS`), and `time_unreadable`, which
            leaves nothing out.
        encoding: of CSV files; everything else is UTF-8.
        columns: as for `check_table`.

    Raises:
        DataError: for a damaged file, or a table without a column of texts.
    """
    batch, characters = [], 0
    for path in source.files:
        for document in _read(path, source.name, dropped, encoding, columns):
            if (reason := _unusable(document)) is not None:
                dropped[reason] += 1
                continue
            batch.append(document)
            characters += len(document.text)
            if len(batch) >= BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
                yield batch
                batch, characters = [], 0
    if batch:
        yield batch


def _unusable(document):
    """One of `REASONS` for a document that was read, or None."""
    text = document.text
    names = f"{document.source}{document.document_id}{document.patient_id}{document.admission_id}{document.kind}"
    try:  # JSON can hold halves of characters, which no file can
        for said in (text, names):
            if not said.isascii():
                said.encode()
    except UnicodeEncodeError:
        return "not_utf8"
    if len(text) > LONGEST_DOCUMENT:
        return "too_long"
    if "\0" in text:
        return "nul_character"
    return None if text and not text.isspace() else "no_text"


def _read(path, name, dropped, encoding, columns):
    lower = path.name.lower()
    if lower.endswith(".parquet"):
        return _read_parquet(path, name, dropped, columns)
    if lower.endswith(_TABLES):
        return _read_table(path, name, dropped, encoding, columns)
    return _read_lines(path, name, dropped) if lower.endswith(_LINES) else _read_text(path, name, dropped)


def _places(path, headers, columns=None):
    """dict of what is read -> list of places in `headers`; `columns` as for `check_table`."""
    known = {header.strip().strip('"').lower(): place for place, header in enumerate(headers)}
    for what, header in (columns or {}).items():
        if header.lower() not in known:
            raise DataError(f"{path}: expected a column {header} ({what}), received {', '.join(headers)[:200]}")
    named = COLUMNS | {what: (header.lower(),) for what, header in (columns or {}).items()}
    places = {what: [known[name] for name in names if name in known] for what, names in named.items()}
    if not places["text"]:
        raise DataError(
            f"{path}: expected a column of texts ({', '.join(COLUMNS['text'])}), received {shown_headers(headers)}"
        )
    return places


def _document(values, name, number, split, dropped, has_patients):
    """A `Document` of dict what -> str, or None where it is left out."""
    if values.get("error", "") in ("1", "1.0"):
        dropped["marked_as_error"] += 1
        return None
    patient = _normal_id(values.get("patient_id", ""))
    if has_patients and not patient:
        dropped["no_patient"] += 1
        return None
    return Document(
        values.get("source") or name,
        values.get("document_id") or str(number),
        values.get("text", ""),
        patient,
        _normal_id(values.get("admission_id", "")),
        values.get("kind", "").strip(),
        _seconds(values.get("time", ""), dropped),
        split,
    )


_normal_id = functools.lru_cache(maxsize=1 << 16)(normal_id)


def _seconds(text, dropped):
    if not text:
        return NO_TIME
    try:
        time = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        dropped["time_unreadable"] += 1
        return NO_TIME
    return int(time.replace(tzinfo=datetime.UTC).timestamp())


def _first(values):
    """The first str that is no null word, else ""."""
    for value in values:
        if value and value.strip().lower() not in _NULLS:
            return value
    return ""


def _read_table(path, name, dropped, encoding, chosen):
    places, number, split = check_table(path, chosen), 0, split_of(path)
    for block in iterate_blocks(path):
        for _, reason in block.rejects:
            dropped[reason] += 1
        for row in range(len(block)):
            number += 1
            try:
                values = {
                    what: _first(block.text(row, place, encoding) for place in columns)
                    for what, columns in places.items()
                    if what != "text"
                }
                values["text"] = block.text(row, places["text"][0], encoding)
            except UnicodeDecodeError:
                dropped["not_utf8" if encoding == "utf-8" else "not_in_encoding"] += 1
                continue
            document = _document(values, name, number, split, dropped, bool(places["patient_id"]))
            if document is not None:
                yield document


def _read_parquet(path, name, dropped, chosen):
    with reading(path):
        file = pq.ParquetFile(path)
        headers = file.schema_arrow.names
        places, number, split = _places(path, headers, chosen), 0, split_of(path)
        wanted = sorted({place for columns in places.values() for place in columns})
        for batch in file.iter_batches(64, columns=[headers[place] for place in wanted]):
            texts = {place: _strings(batch.column(headers[place])) for place in wanted}
            for row in range(len(batch)):
                number += 1
                values = {what: _first(texts[p][row] for p in columns) for what, columns in places.items()}
                values["text"] = texts[places["text"][0]][row]
                document = _document(values, name, number, split, dropped, bool(places["patient_id"]))
                if document is not None:
                    yield document


def _strings(column):
    values = column.to_pylist()
    return ["" if value is None else value if isinstance(value, str) else str(value) for value in values]


def _read_lines(path, name, dropped):
    number, split = 0, split_of(path)
    with open(path, "rb") as file:
        while line := file.readline(LONGEST_DOCUMENT + 1):
            number += 1
            if len(line) > LONGEST_DOCUMENT:
                dropped["too_long"] += 1
                while line and not line.endswith(b"\n"):
                    line = file.readline(LONGEST_DOCUMENT)
                continue
            if not line.strip():
                continue
            try:
                value = parse_json(line.decode("utf-8-sig"), path)
            except UnicodeDecodeError:
                dropped["not_utf8"] += 1
                continue
            except ValueError:
                value = None
            if not isinstance(value, dict):
                dropped["not_json"] += 1
                continue
            ranked, has_patients = {}, False
            for key, item in value.items():
                what, rank = _KEYS.get(key.lower(), (None, 0))
                has_patients |= what == "patient_id"
                if what and item is not None and (text := _first([str(item)])):
                    ranked[what] = min(ranked.get(what, (rank, text)), (rank, text))
            texts = {what: text for what, (_, text) in ranked.items()}
            document = _document(texts, name, number, split, dropped, has_patients)
            if document is not None:
                yield document


def _read_text(path, name, dropped):
    if path.stat().st_size > LONGEST_DOCUMENT:
        dropped["too_long"] += 1
        return
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        dropped["not_utf8"] += 1
        return
    yield Document(name, path.name, text)
