"""What every layout of the generated cohort takes from a block: ids, dates, codes as Arrow arrays; and a CSV writer."""

import numpy as np
import pyarrow as pa
import pyarrow.csv

from medtop.files.atomic import atomic_path
from medtop.synthetic import tree
from medtop.synthetic.codes import CODES

CODE_NAMES = pa.array([f"ICD10_{code}" for code in CODES])
TREE_NAMES = pa.array([f"ICD10_{code}" for code in tree.NAMES])
NUMBERED = ("omop", "meds")
"""Layouts whose patients are numbers, from 1."""


def patient_ids(block, layout="stays"):
    """The block's patient ids: Arrow string array [N]."""
    numbers = range(block.first, block.first + len(block))
    return pa.array([str(number + 1) if layout in NUMBERED else f"P{number:08d}" for number in numbers])


def stay_numbers(block):
    """The block's stays, numbered over the whole cohort: int64 [S]."""
    starts = np.searchsorted(block.visit_patients, np.arange(len(block)))
    numbers = np.arange(len(block.visit_patients)) - starts[block.visit_patients]
    return (block.first + block.visit_patients) * 1000 + numbers + 1


def times(seconds):
    """Timestamps of seconds since 1970."""
    return pa.array(seconds).cast(pa.timestamp("s"))


def dates(days):
    """Dates of days since 1970."""
    return pa.array(days.astype(np.int32)).cast(pa.date32())


def presence(block):
    """Present on admission as Arrow strings (null unknown) and as order: 1 yes, 2 no, 3 unknown."""
    order = np.where(block.present == "Y", 1, np.where(block.present == "N", 2, 3))
    names = pa.array(["Y", "N", None])
    return names.take(pa.array(order - 1)), order


class BlockWriter:
    """Appends Arrow tables to one CSV or TSV file, header once, no quotes, empty = null."""

    def __init__(self, stack, path, *, delimiter=",", gzip=False):
        stream = pa.OSFile(str(stack.enter_context(atomic_path(path))), "wb")
        stack.callback(stream.close)
        self._stream, self._header = stream, True
        if gzip:
            self._stream = pa.CompressedOutputStream(stream, "gzip")
            stack.callback(self._stream.close)
        self._delimiter = delimiter

    def write(self, table):
        if self._header:
            self._stream.write((self._delimiter.join(table.column_names) + "\n").encode())
            self._header = False
        options = pyarrow.csv.WriteOptions(include_header=False, delimiter=self._delimiter, quoting_style="none")
        pyarrow.csv.write_csv(table, self._stream, options)
