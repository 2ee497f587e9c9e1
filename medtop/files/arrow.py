"""Python's and NumPy's values as Arrow columns, by their buffers; the way back is `medtop.files.sql.numbers`.

pyarrow's own conversions import pandas where it is installed, which takes 0.3 s and 45 MB.
"""

import numpy as np
import pyarrow

_KINDS = {
    np.dtype(np.int64): pyarrow.int64(),
    np.dtype(np.int32): pyarrow.int32(),
    np.dtype(np.int8): pyarrow.int8(),
    np.dtype(np.uint64): pyarrow.uint64(),
    np.dtype(np.uint8): pyarrow.uint8(),
    np.dtype(np.float64): pyarrow.float64(),
}


def numbers_column(values):
    """A NumPy array of numbers as an Arrow array without nulls."""
    values = np.ascontiguousarray(values)
    return pyarrow.Array.from_buffers(_KINDS[values.dtype], len(values), [None, pyarrow.py_buffer(values)])


def strings_column(texts, large=True):
    """list of str -> Arrow large_string, or string (less than 2 GiB together)."""
    content = "".join(texts)
    sizes = map(len, texts) if content.isascii() else (len(text.encode()) for text in texts)
    offsets = np.concatenate([[0], np.cumsum(np.fromiter(sizes, np.int64, len(texts)), dtype=np.int64)])
    offsets = offsets if large else offsets.astype(np.int32)
    kind = pyarrow.large_string() if large else pyarrow.string()
    buffers = [None, pyarrow.py_buffer(offsets), pyarrow.py_buffer(content.encode())]
    return pyarrow.Array.from_buffers(kind, len(texts), buffers)
