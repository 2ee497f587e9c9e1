"""Temporary files and folders: held by a lock while their process lives, removed by the next one when it was killed."""

import contextlib
import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path

from medtop.files.locks import PRIVATE_FOLDER, hold, is_at, remove_left

_NAME = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")
_SYSTEM_NAME = re.compile(r"medtop-\d+-[0-9a-f]{8}")


def clear_left(folder):
    """Removes what killed processes of this user left in a folder: hidden temporary files and folders.

    What belongs to a running process, also of another machine on the same file system, stays: it is locked.
    """
    _clear(folder, _NAME)


def _clear(folder, pattern):
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for name in [entry.name for entry in entries if pattern.fullmatch(entry.name)]:
            remove_left(Path(folder, name))


def new_file(path, mode):
    """Makes a hidden empty file beside `path`.

    Returns:
        (its path, its open descriptor: it is ours until that is closed).
    """
    while True:
        temporary = path.with_name(f".{path.name}.{_unique()}.tmp")
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        if hold(descriptor) and is_at(descriptor, temporary):
            return temporary, descriptor
        os.close(descriptor)  # another process took it for a left one


def new_folder(path):
    """Makes a hidden empty folder beside `path` that nobody else may read.

    Returns:
        (its path, its open descriptor: it is ours until that is closed).
    """
    return _new_folder(lambda: path.with_name(f".{path.name}.{_unique()}.tmp"))


def _new_folder(name):
    while True:
        temporary = name()
        os.mkdir(temporary, PRIVATE_FOLDER)
        try:
            descriptor = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:
            continue
        if hold(descriptor) and is_at(descriptor, temporary):
            return temporary, descriptor
        os.close(descriptor)


def _unique():
    return f"{os.getpid()}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def temporary_folder():
    """Yields an empty folder among the system's temporary files (TMPDIR), a `Path`; it is removed at the end.

    A killed process leaves its folder; the next one that needs such a folder removes it.
    """
    system = Path(tempfile.gettempdir())
    _clear(system, _SYSTEM_NAME)
    folder, descriptor = _new_folder(lambda: system / f"medtop-{_unique()}")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)
