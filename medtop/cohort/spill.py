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

    def append_folder(self, folder):
        """Appends the files of the same names that another process kept in a folder, and removes them."""
        for column, file in self._files.items():
            path = folder / self.paths[column].name
            with open(path, "rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)
            path.unlink()

    def close(self, keep=False):
        """Closes the files and, unless they are to be kept, removes them."""
        for column, file in self._files.items():
            file.close()
            if not keep:
                self.paths[column].unlink()


def open_columns(stack, folder, columns, keep=False):
    """One `ColumnFiles` a split, closed and, unless `keep`, removed with the stack.

    Args:
        stack: contextlib.ExitStack.
        folder: existing folder.
        columns: dict column -> dtype.
    """
    files = [ColumnFiles(folder, split, columns) for split in SPLITS]
    for file in files:
        stack.callback(file.close, keep)
    return files
