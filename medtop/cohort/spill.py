"""Columns on disk between the two passes: appended batch by batch, read back in order. Memory holds no column."""

import shutil

import numpy as np

from medtop.cohort.splits import SPLITS


class ColumnFiles:
    """Raw arrays, one file for each column, in a folder that the caller removes.

    Args:
        folder: existing folder.
        name: beginning of the files' names.
        dtypes: dict column -> dtype.
    """

    def __init__(self, folder, name, dtypes):
        self.dtypes = {column: np.dtype(dtype) for column, dtype in dtypes.items()}
        self.paths = {column: folder / f"{name}.{column}.array" for column in dtypes}
        self._files = {column: open(path, "w+b", buffering=1 << 18) for column, path in self.paths.items()}

    def append(self, columns):
        """Appends arrays: dict column -> array (flattened, in rows)."""
        for column, file in self._files.items():
            file.write(np.ascontiguousarray(columns[column], self.dtypes[column]).data.cast("B"))

    def rewind(self):
        """Ends appending; reading begins at the first value."""
        for file in self._files.values():
            file.seek(0)

    def read(self, column, count):
        """The next `count` values of a column (fewer at its end)."""
        dtype = self.dtypes[column]
        return np.frombuffer(self._files[column].read(count * dtype.itemsize), dtype)

    def append_file(self, other):
        """Appends what another `ColumnFiles` of the same columns holds."""
        for column, file in self._files.items():
            other._files[column].flush()
            with open(other.paths[column], "rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)

    def close(self):
        """Closes the files and removes them."""
        for column, file in self._files.items():
            file.close()
            self.paths[column].unlink()


def open_columns(stack, folder, columns):
    """One `ColumnFiles` a split, closed and removed with the stack.

    Args:
        stack: contextlib.ExitStack.
        folder: existing folder.
        columns: dict column -> dtype.
    """
    files = [ColumnFiles(folder, split, columns) for split in SPLITS]
    for file in files:
        stack.callback(file.close)
    return files
