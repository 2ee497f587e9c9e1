"""The pickled lists `<prefix>.bencs.*`: schema, safe streaming reader, atomic writer.

A file is a stream of pickles of builtin types only. In the default layout the first is a header (dict), then come
chunks (dict of named columns, arrays as raw little-endian bytes), then a footer with the number of examples, so that a
file cut in the middle is noticed. With `--layout=medbert` each pickle is a list of Med-BERT's positional rows
`[patient, [stay days], [gap to next days], [codes], [visit no.]]`.

Letters: N examples in a chunk, C codes in a chunk, S visits in a chunk, K labels of a task.
"""

import contextlib
import dataclasses
import pickle
from pathlib import Path

import numpy as np

from medtop.files.atomic import atomic_path
from medtop.files.errors import DataError, shown
from medtop.files.pickles import stream_pickles

FORMAT = "medtop sequences"
VERSION = 1
SEXES = ("", "F", "M")
"""`sexes` holds places in this tuple; 0 is unknown."""

EXAMPLE_COLUMNS = {
    "prediction_times": "<i8",
    "sexes": "<i1",
    "ages_at_prediction": "<i4",
    "code_counts": "<i4",
    "visit_counts": "<i4",
}
CODE_COLUMNS = {"codes": "<i4", "visits": "<i4", "visit_positions": "<i4"}
VISIT_COLUMNS = {"stay_days": "<i4", "gaps_before": "<i4", "recencies": "<i4", "ages": "<i4"}


@dataclasses.dataclass
class Chunk:
    """Some examples of one split, as columns.

    Attributes:
        patient_ids: list of N strings.
        prediction_times: int64 [N], seconds since 1970-01-01.
        sexes: int8 [N], place in `SEXES`.
        ages_at_prediction: int32 [N], days since birth at the prediction time; 0 = unknown.
        code_counts: int32 [N], codes of each example (sums to C).
        visit_counts: int32 [N], visits of each example (sums to S).
        codes: int32 [C], vocabulary ids without special tokens, in clinical order.
        visits: int32 [C], number of the code's visit, from 1.
        visit_positions: int32 [C], order within the visit, from 0.
        stay_days: int32 [S], whole days from admission to discharge.
        gaps_before: int32 [S], days since the previous visit's discharge, clipped at 0; 0 for the first.
        recencies: int32 [S], days from the visit's discharge to the prediction time.
        ages: int32 [S], days since birth at the visit's admission; 0 = unknown.
        labels: dict task -> float32 [N, K], 1 or 0; 0 where unknown.
        weights: dict task -> float32 [N, K], 1 where known, 0 where unknown.
    """

    patient_ids: list
    prediction_times: np.ndarray
    sexes: np.ndarray
    ages_at_prediction: np.ndarray
    code_counts: np.ndarray
    visit_counts: np.ndarray
    codes: np.ndarray
    visits: np.ndarray
    visit_positions: np.ndarray
    stay_days: np.ndarray
    gaps_before: np.ndarray
    recencies: np.ndarray
    ages: np.ndarray
    labels: dict
    weights: dict

    def __len__(self):
        return len(self.patient_ids)

    def to_builtin(self):
        """The chunk as a dict of str, bytes, int and list: what is pickled."""
        columns = {**EXAMPLE_COLUMNS, **CODE_COLUMNS, **VISIT_COLUMNS}
        plain = {"patient_ids": list(self.patient_ids)}
        plain |= {name: np.ascontiguousarray(getattr(self, name), dtype).tobytes() for name, dtype in columns.items()}
        for kind in ("labels", "weights"):
            arrays = getattr(self, kind)
            plain[kind] = {task: np.ascontiguousarray(array, "<f4").tobytes() for task, array in arrays.items()}
        return plain

    @classmethod
    def from_builtin(cls, plain, tasks, where):
        """Rebuilds and checks a chunk.

        Args:
            plain: what `to_builtin` gave.
            tasks: dict task -> its K label names.
            where: the place, for errors.

        Raises:
            DataError: when a column is missing or has another size than its counts say.
        """
        try:
            patient_ids = plain["patient_ids"]
            if not (isinstance(patient_ids, list) and all(isinstance(name, str) for name in patient_ids)):
                raise TypeError("patient_ids are no list of strings")
            count = len(patient_ids)
            arrays = {
                name: np.frombuffer(plain[name], dtype)
                for name, dtype in {**EXAMPLE_COLUMNS, **CODE_COLUMNS, **VISIT_COLUMNS}.items()
            }
            for kind in ("labels", "weights"):
                arrays[kind] = {
                    task: np.frombuffer(plain[kind][task], "<f4").reshape(count, len(names))
                    for task, names in tasks.items()
                }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where}: expected a chunk of sequences, received another content ({error})") from error
        for name in ("code_counts", "visit_counts"):
            if (arrays[name] < 0).any():
                raise DataError(f"{where}: expected {name} of 0 or more, received {arrays[name].min()}")
        sizes = {
            **dict.fromkeys(EXAMPLE_COLUMNS, count),
            **dict.fromkeys(CODE_COLUMNS, int(arrays["code_counts"].sum())),
            **dict.fromkeys(VISIT_COLUMNS, int(arrays["visit_counts"].sum())),
        }
        for name, size in sizes.items():
            if len(arrays[name]) != size:
                raise DataError(f"{where}: expected {size} values of {name}, received {len(arrays[name])}")
        return cls(patient_ids=patient_ids, **arrays)


def read_header(path):
    """The header dict of a default-layout file, or None when the file has Med-BERT's layout."""
    for value in stream_pickles(path):
        return _header(value, path)
    raise DataError(f"{path}: expected pickled sequences, received an empty file")


def _header(value, path):
    if isinstance(value, list):
        return None
    if not (isinstance(value, dict) and value.get("format") == FORMAT):
        raise DataError(f"{path}: expected pickled sequences (.bencs), received another content")
    if value.get("version") != VERSION:
        raise DataError(
            f"{path}: expected sequences of version {VERSION}, received version {shown(value.get('version'))}; "
            "run preprocess_pretrain_data.py of this version"
        )
    tasks = value.get("tasks")
    lists = [list(tasks), *tasks.values()] if isinstance(tasks, dict) else [None]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
        raise DataError(f"{path}: expected a header with tasks and their labels, received one without")
    words = ("split", "vocabulary_hash", "labels", "time_gap")
    if wrong := [name for name in words if not isinstance(value.get(name, ""), str | None)]:
        raise DataError(f"{path}: expected a header whose {wrong[0]} is a word, received {shown(value[wrong[0]])}")
    return value


def read_chunks(path):
    """Yields the chunks of a default-layout file; memory holds one at a time.

    Raises:
        DataError: for Med-BERT's layout, another version, a damaged file, or one cut at a chunk's end.
    """
    values = stream_pickles(path)
    try:
        header = _header(next(values), path)
    except StopIteration:
        raise DataError(f"{path}: expected pickled sequences, received an empty file") from None
    if header is None:
        raise DataError(f"{path}: expected the default layout, received Med-BERT's (use read_medbert_rows)")
    count, ended = 0, False
    for number, value in enumerate(values):
        if ended:
            raise DataError(f"{path}: expected nothing after the footer, received more")
        if isinstance(value, dict) and "examples" in value:
            ended = True
            if value["examples"] != count:
                raise DataError(f"{path}: expected {value['examples']} examples, received {count}")
            continue
        chunk = Chunk.from_builtin(value, header["tasks"], f"{path}: chunk {number}")
        count += len(chunk)
        yield chunk
    if not ended:
        raise DataError(f"{path}: expected a footer after {count} examples, received the end of the file: it was cut")


def read_medbert_rows(path):
    """Yields Med-BERT's rows `[patient, stay_days, gaps_to_next, codes, visits]` one by one.

    The layout has no footer: a file cut between two of its lists cannot be told from a whole one.

    Raises:
        DataError: for the default layout, a damaged file, or one without any list.
    """
    number = -1
    for number, rows in enumerate(stream_pickles(path)):
        if not isinstance(rows, list):
            raise DataError(f"{path}: expected Med-BERT's lists, received a {type(rows).__name__} as value {number}")
        for place, row in enumerate(rows):
            good = isinstance(row, list) and len(row) == 5 and all(isinstance(part, list) for part in row[1:])
            if not (good and len(row[1]) == len(row[2]) and len(row[3]) == len(row[4])):
                raise DataError(
                    f"{path}: list {number}, row {place}: expected [patient, [stay days], [gaps], [codes], [visits]], "
                    "received another shape"
                )
            _check_numbers(row, f"{path}: list {number}, row {place}")
            yield row
    if number < 0:
        raise DataError(f"{path}: expected Med-BERT's lists, received an empty file")


def _check_numbers(row, where):
    """Refuses a row of Med-BERT's whose days, codes or visits are no whole numbers of four bytes."""
    if not (isinstance(row[0], str) or type(row[0]) is int and abs(row[0]) < 1 << 63):
        raise DataError(f"{where}: expected a patient's id (text or a number), received a {type(row[0]).__name__}")
    for values, name in zip(row[1:], ("stay days", "gaps", "codes", "visits"), strict=True):
        if wrong := {*map(type, values)} - {int}:
            raise DataError(f"{where}: expected {name} that are whole numbers, received a {wrong.pop().__name__}")
        if values and not (-(1 << 31) <= min(values) and max(values) < 1 << 31):
            raise DataError(f"{where}: expected {name} of four bytes, received larger numbers")


class SequenceWriter:
    """Writes one default-layout file; it appears under its name when the `with` block ends without an error.

    Args:
        path: the file.
        tasks: dict task -> list of label names.
        **header: more builtin values for the header (split, vocabulary hash, ...).
    """

    def __init__(self, path, tasks, **header):
        self.path, self.count = Path(path), 0
        self.header = {"format": FORMAT, "version": VERSION, "tasks": {k: list(v) for k, v in tasks.items()}, **header}

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._file = stack.enter_context(open(stack.enter_context(atomic_path(self.path)), "wb"))
            pickle.dump(self.header, self._file, protocol=4)
            self._open = stack.pop_all()  # from here on, __exit__ closes the file and renames or removes it
        return self

    def write(self, chunk):
        """Appends a `Chunk`."""
        pickle.dump(chunk.to_builtin(), self._file, protocol=4)
        self.count += len(chunk)

    def __exit__(self, kind, value, trace):
        if kind is not None:
            return self._open.__exit__(kind, value, trace)
        with self._open:
            pickle.dump({"examples": self.count}, self._file, protocol=4)
