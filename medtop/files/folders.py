"""A folder that appears whole under its name, or not at all."""

import contextlib
import errno
import glob
import os
import shutil
from pathlib import Path

from medtop.files import temporary as temporaries
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.locks import PRIVATE_FILE, PRIVATE_FOLDER, remove_left

RESTRICTED = "restricted"
"""Folder in an output that is shared otherwise: what stands in it names patients, and is its owner's alone."""


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
def whole_folder(path, is_earlier, overwrite=False, *, shared=False):
    """Yields a new temporary folder beside `path`; it becomes `path` when the block ends without an error.

    When the block raises, the temporary folder is removed and an earlier `path` stays as it was. What a killed process
    left beside it is removed first.

    Args:
        path: the folder.
        is_earlier: as in `check_target`.
        overwrite: as in `check_target`.
        shared: whether it, and all in it but `RESTRICTED`, may be read by whom the umask lets; otherwise only by its
            owner.

    Raises:
        DataError: as `check_target`.
        OSError: where the folder cannot be written.
    """
    path = Path(os.path.abspath(path))
    check_target(path, is_earlier, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporaries.clear_left(path.parent)
    temporary, descriptor = temporaries.new_folder(path)
    earlier = temporary.with_suffix(".old")
    try:
        yield temporary
        _finish(temporary, shared)
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
        os.close(descriptor)
        if path.exists():
            shutil.rmtree(earlier, ignore_errors=True)
            for left in path.parent.glob(f".{glob.escape(path.name)}.*-????????.old"):  # killed between two renames
                remove_left(left)


def _finish(folder, shared):
    """Permissions, and every file on the disk: a crash after the rename must not leave empty ones."""
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            with open(file, "rb+") as opened:
                os.fsync(opened.fileno())
    of_folder, of_file = PRIVATE_FOLDER, PRIVATE_FILE
    if shared:
        of_folder, of_file = 0o777 & ~_umask(), 0o666 & ~_umask()
    for entry in [folder, *folder.rglob("*")]:
        if RESTRICTED in entry.relative_to(folder).parts:
            entry.chmod(PRIVATE_FOLDER if entry.is_dir() else PRIVATE_FILE)
        else:
            entry.chmod(of_folder if entry.is_dir() else of_file)


def _umask():
    """The process's umask, as a new folder shows it: reading it otherwise would set it, for all threads."""
    with temporaries.temporary_folder() as folder:
        (folder / "new").mkdir(0o777)
        return 0o777 & ~(folder / "new").stat().st_mode


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
