"""Notes as they come, Parquet, CSV or a folder of `.txt`, one at a time, and written back in the same form."""

import contextlib
import csv
import dataclasses
import datetime
import hashlib
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medtop.entities.documents import Document
from medtop.entities.reading import input_files, output_file, read_text, stem, write_exactly
from medtop.files.errors import DataError
from medtop.files.parquet import open_parquet, reading
from medtop.sources.ids import normal_id

TEXT = ("text", "note_text")
DOCUMENT = ("document_id", "note_id", "row_id", "id")
PATIENT = ("patient_id", "subject_id", "person_id")
_LONGEST_FIELD = 1 << 27


@dataclasses.dataclass(frozen=True)
class Columns:
    """Headers that differ from the usual ones, and further columns that are kept.

    Attributes:
        text, document, patient: header or "".
        keep: tuple of headers that are copied as they are.
        dates: tuple of headers of dates that are moved as the texts' dates are.
    """

    text: str = ""
    document: str = ""
    patient: str = ""
    keep: tuple = ()
    dates: tuple = ()


class NotesFile:
    """An input.

    Args:
        path: `.parquet`, `.csv`, or a folder of `.txt`.
        columns: `Columns`.

    Attributes:
        kind: "parquet", "csv" or "folder".
        kept: list of headers of the output, text included; [] for folders.
        dropped: list of headers that are not.
    """

    def __init__(self, path, columns=Columns()):
        self.path, self.columns, self.kept, self.dropped = Path(path), columns, [], []
        if self.path.is_dir():
            self.kind, self._files = "folder", input_files(self.path, (".txt",))
            return
        self.kind = {".parquet": "parquet", ".csv": "csv"}.get(self.path.suffix)
        if self.kind is None or not self.path.is_file():
            what = "another kind" if self.path.exists() else "no such thing"
            raise DataError(f"--input: {self.path}: expected .parquet, .csv or a folder of .txt files, found {what}")
        self._choose(self._headers())

    def _headers(self):
        if self.kind == "parquet":
            return open_parquet(self.path).schema_arrow.names
        with _csv_rows(self.path) as rows:
            return next(rows, (0, []))[1]

    def _choose(self, headers):
        if len(set(headers)) < len(headers):
            raise DataError(f"{self.path}: line 1: expected distinct headers, received one twice")
        lower, chosen = {name.strip().lower(): name for name in headers}, {}
        for what, given, usual in (
            ("text", self.columns.text, TEXT), ("document", self.columns.document, DOCUMENT),
            ("patient", self.columns.patient, PATIENT),
        ):  # fmt: skip
            if given and given not in headers:
                raise DataError(f"--{what}_column: expected a header of {self.path}, received {given!r}")
            chosen[what] = given or next((lower[name] for name in usual if name in lower), None)
        if chosen["text"] is None:
            raise DataError(f"{self.path}: expected a column {' or '.join(TEXT)} (--text_column), found none")
        for flag, names in (("keep_columns", self.columns.keep), ("date_columns", self.columns.dates)):
            if missing := [name for name in names if name not in headers]:
                raise DataError(f"--{flag}: expected headers of {self.path}, received {missing[0]!r}")
        self.names = chosen
        wanted = {*chosen.values(), *self.columns.keep, *self.columns.dates}
        self.kept = [name for name in headers if name in wanted]
        self.dropped = [name for name in headers if name not in wanted]

    def fingerprint(self):
        """What tells whether the input is still the same: plain values."""
        if self.kind != "folder":
            status = self.path.stat()
            return [str(self.path.resolve()), status.st_size, status.st_mtime_ns]
        digest = hashlib.sha256()
        for name in self._files.names:
            status = self._files.path(name).stat()
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return [str(self.path.resolve()), digest.hexdigest()]

    def rows(self, first=0):
        """Yields (number from 1, `Document`, dict of the kept columns) from row `first` on (0: all).

        Raises:
            DataError: for bytes that are not UTF-8, a text that is null, rows of another length, an id twice.
        """
        if self.kind == "folder":
            for number, name in enumerate(self._files.names, 1):
                if number > first:
                    yield number, Document(stem(name, (".txt",)), read_text(self._files.path(name), keep_mark=True)), {}
            return
        source = self._parquet_rows() if self.kind == "parquet" else self._csv_dicts()
        for number, (place, row) in enumerate(source, 1):
            if number <= first:
                continue
            text = row[self.names["text"]]
            if not isinstance(text, str):
                raise DataError(f"{self.path}: {place}: {self.names['text']}: expected a text, received none")
            ids = [row.get(self.names[what]) for what in ("document", "patient")]
            document, patient = ["" if value is None else normal_id(str(value)) for value in ids]
            yield number, Document(document or str(number), text, patient_id=patient), row

    def _parquet_rows(self):
        number = 0
        with reading(self.path):
            for batch in pq.ParquetFile(self.path).iter_batches(64, columns=self.kept):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row

    def _csv_dicts(self):
        with _csv_rows(self.path) as rows:
            _, headers = next(rows)
            for line, values in rows:
                if len(values) != len(headers):
                    raise DataError(f"{self.path}: line {line}: expected {len(headers)} values, received {len(values)}")
                row = dict(zip(headers, values, strict=True))
                yield f"line {line}", {name: row[name] for name in self.kept}

    def write_part(self, path, rows):
        """Writes rows (`Document`, dict) to a file, or below a folder, in the input's own form."""
        if self.kind == "folder":
            for document, _ in rows:
                write_exactly_as_read(output_file(path, document.document_id, ".txt"), document.text)
        elif self.kind == "parquet":
            whole = pq.ParquetFile(self.path).schema_arrow
            schema = pa.schema([whole.field(name) for name in self.kept])
            pq.write_table(pa.Table.from_pylist([row for _, row in rows], schema=schema), path)
        else:
            with open(path, "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([row[name] for name in self.kept] for _, row in rows)

    def join_parts(self, parts, folder):
        """Writes the output out of the parts, in their order, below `folder`; its path."""
        target = folder / {"parquet": "notes.parquet", "csv": "notes.csv", "folder": "notes"}[self.kind]
        if self.kind == "folder":
            target.mkdir()
            for part in parts:
                shutil.copytree(part, target, dirs_exist_ok=True)
        elif self.kind == "parquet":
            whole = pq.ParquetFile(self.path).schema_arrow
            with pq.ParquetWriter(target, pa.schema([whole.field(name) for name in self.kept])) as writer:
                for part in parts:
                    writer.write_table(pq.read_table(part, schema=writer.schema))
        else:
            with open(target, "wb") as file:
                with open(file.fileno(), "w", newline="", encoding="utf-8", closefd=False) as text:
                    csv.writer(text).writerow(self.kept)
                for part in parts:
                    with open(part, "rb") as piece:
                        shutil.copyfileobj(piece, file)
        return target


def moved(value, days):
    """A date of a column moved by days, in its own form: a date, a time, or a text that begins with 2014-03-26.

    Raises:
        ValueError: for a text of another form.

    >>> moved("2014-03-26 17:15:00", -7), moved("", -7), moved(None, -7)
    ('2014-03-19 17:15:00', '', None)
    """
    if value is None or value == "":
        return value
    step = datetime.timedelta(days=days)
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value + step
    if not isinstance(value, str):
        raise ValueError("expected a date")
    return (datetime.date.fromisoformat(value[:10]) + step).isoformat() + value[10:]


def write_exactly_as_read(path, text):
    """A text with its own line ends and its own byte order mark, if it has one."""
    if text.startswith("\ufeff"):
        Path(path).write_bytes(text.encode("utf-8"))
    else:
        write_exactly(path, text)


@contextlib.contextmanager
def _csv_rows(path):
    """Yields an iterator of (line, values)."""
    csv.field_size_limit(_LONGEST_FIELD)

    def rows(file):
        reader = csv.reader(file, strict=True)
        try:
            for values in reader:
                yield reader.line_num, values
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: expected UTF-8, received another encoding after line {reader.line_num}"
            ) from error
        except csv.Error as error:
            raise DataError(
                f"{path}: line {reader.line_num}: expected CSV, received another content ({error})"
            ) from None

    with open(path, newline="", encoding="utf-8-sig") as file:
        yield rows(file)
