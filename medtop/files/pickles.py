"""Reading pickles that somebody hands us: builtin types only, because a pickle that names a class can run code."""

import pickle
from pathlib import Path

from medtop.files.errors import DataError


class _NoClasses(pickle.Unpickler):
    """Refuses every class and function: a pickle that names one could run code."""

    def find_class(self, module, name):
        raise DataError(f"expected builtin types only, received the class or function {module}.{name}; nothing was run")

    def persistent_load(self, pid):
        raise DataError("expected builtin types only, received a persistent reference; nothing was run")


def load_pickle(path):
    """Reads a file that holds one pickle of builtin types.

    Raises:
        DataError: naming the file, when it is missing, damaged, or carries a class.
    """
    values = list(stream_pickles(path))
    if len(values) != 1:
        raise DataError(f"{path}: expected one pickled value, received {len(values)}")
    return values[0]


def stream_pickles(path):
    """Yields the pickles of a file one after another, builtin types only.

    Raises:
        DataError: naming the file and the byte, when it is missing, damaged, or carries a class.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: expected a pickled file, found no such file")
    size = path.stat().st_size
    with open(path, "rb") as file:
        while (place := file.tell()) < size:
            try:
                value = _NoClasses(file).load()
            except DataError as error:
                raise DataError(f"{path}: byte {place}: {error}") from None
            except Exception as error:  # a damaged pickle can raise almost anything
                raise DataError(
                    f"{path}: byte {place}: expected a whole pickle, received a damaged or cut one "
                    f"({type(error).__name__})"
                ) from None
            yield value
