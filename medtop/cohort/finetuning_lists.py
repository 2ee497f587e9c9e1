"""Med-BERT's fine-tuning lists: one pickled list of `[patient, label, [codes], [visit number of each code]]`, a patient
each (ZhiGroup/Med-BERT, fine-tuning tutorials). Builtin types only; codes are the ids of a `.types` file."""

import itertools
import pickle
from pathlib import Path

from medtop.files.errors import DataError
from medtop.files.pickles import stream_pickles

SHAPE = "[patient, label, [codes], [visits]]"


def is_finetuning_list(path):
    """Whether a file holds such lists: its first value is a list whose first row has four entries.

    Raises:
        DataError: for a missing or damaged file.
    """
    for value in stream_pickles(path):
        return isinstance(value, list) and bool(value) and isinstance(value[0], list) and len(value[0]) == 4
    return False


def read_finetuning_rows(path):
    """Yields the rows, checked: patient str, label 1, 0 or None (unknown), codes and visits lists of int.

    Raises:
        DataError: naming the file and the row, for another shape, a label that is none of these, a code below 1, or
            visits that are not numbered from 1 in rising order.
    """
    for number, rows in enumerate(stream_pickles(path)):
        if not isinstance(rows, list):
            raise DataError(f"{path}: expected a list of {SHAPE}, received a {type(rows).__name__}")
        for place, row in enumerate(rows):
            yield _checked(row, f"{path}: list {number}, row {place}")


def _checked(row, where):
    good = isinstance(row, list) and len(row) == 4 and all(isinstance(part, list) for part in row[2:])
    if not good or len(row[2]) != len(row[3]):
        raise DataError(f"{where}: expected {SHAPE} with a visit for each code, received another shape")
    patient, label, codes, visits = row
    if not (isinstance(patient, str) or type(patient) is int):
        raise DataError(f"{where}: expected a patient's id (text or a number), received a {type(patient).__name__}")
    if not (label is None or type(label) is int and label in (0, 1)):
        received = label if type(label) is int else f"a {type(label).__name__}"
        raise DataError(f"{where}: expected label 1, 0 or None, received {received}")
    for values, name in ((codes, "codes"), (visits, "visits")):
        if wrong := {*map(type, values)} - {int}:
            raise DataError(f"{where}: expected {name} that are whole numbers, received a {wrong.pop().__name__}")
        if values and not (0 < min(values) and max(values) < 1 << 31):
            raise DataError(f"{where}: expected {name} from 1, below 2**31, received {min(values)} to {max(values)}")
    if any(later < earlier for earlier, later in itertools.pairwise(visits)):
        raise DataError(f"{where}: expected visits in rising order, received one after a later one")
    return str(patient), label, codes, visits


def write_finetuning_rows(path, rows):
    """Writes rows `(patient, label, codes, visits)` as Med-BERT's scripts do: one list, one pickle."""
    Path(path).write_bytes(pickle.dumps([list(row) for row in rows], protocol=4))
