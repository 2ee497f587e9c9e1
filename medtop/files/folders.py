"""A folder that appears whole under its name, or not at all."""

import contextlib
import errno
import os
import secrets
import shutil
from pathlib import Path

from medtop.files.bounded import read_json
from medtop.files.errors import DataError


def check_target(path, is_earlier, overwrite):
    """Refuses a folder that must not be written.

    Args:
        path: the folder; a missing or an empty one is fine.
        is_earlier: function of a folder: whether it is an earlier output of the same kind.
        overwrite: whether such a one may be replaced; nothing else ever is.

    Raises:
        DataError: for a folder that holds something.
    """
    path = Path(path)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise DataError(f"{path}: expected the name of a new folder, found something else")
    if not path.exists() or not any(path.iterdir()):
        return
    if not overwrite:
        raise DataError(f"{path}: expected a new folder, found one; --overwrite replaces an earlier output")
    if not is_earlier(path):
        raise DataError(f"{path}: expected an earlier output to overwrite, found something else")


@contextlib.contextmanager
def whole_folder(path, is_earlier, overwrite=False):
    """Yields a new temporary folder beside `path`; it becomes `path` when the block ends without an error.

    When the block raises, the temporary folder is removed and an earlier `path` stays as it was.

    Raises:
        DataError: as `check_target`.
        OSError: where the folder cannot be written.
    """
    path = Path(os.path.abspath(path))
    check_target(path, is_earlier, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    earlier = temporary.with_suffix(".old")
    temporary.mkdir()
    try:
        yield temporary
        _flush(temporary)
        check_target(path, is_earlier, overwrite)  # another process may have written meanwhile
        if path.exists():
            os.rename(path, earlier)
        try:
            os.rename(temporary, path)
        except OSError as error:
            if earlier.exists():
                os.rename(earlier, path)
            raise OSError(error.errno or errno.EIO, error.strerror, str(path)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(earlier, ignore_errors=True)


def _flush(folder):
    """Brings every file to the disk: a crash after the rename must not leave empty ones."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with open(file, "rb+") as opened:
                os.fsync(opened.fileno())


def has_json_key(name, key):
    """A test of folders: whether the JSON file `name` in one is an object with `key`.

    Args:
        name: file name.
        key: str.
    """

    def test(folder):
        try:
            content = read_json(Path(folder) / name)
        except (OSError, ValueError):
            return False
        return isinstance(content, dict) and key in content

    return test
