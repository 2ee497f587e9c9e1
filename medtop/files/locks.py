"""Locks and working folders of our own: opened without following links, held by a process as long as it lives."""

import contextlib
import errno
import os
import shutil
import stat
from pathlib import Path

from medtop.files.errors import DataError

try:
    import fcntl
except ImportError:  # Windows: two processes on one output are not noticed there
    fcntl = None

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe of that name must not block us


@contextlib.contextmanager
def open_own(path, flags=os.O_RDWR | os.O_CREAT, mode=PRIVATE_FILE):
    """Yields a file of our own, opened to read and write; its content stays as it is.

    A link of that name would let somebody else choose which file we write: it is refused, and so is a file that has a
    second name elsewhere.

    Args:
        path: the file.
        flags: `os.open`'s.
        mode: permissions of a new file, less the umask.

    Raises:
        DataError: for a link, a folder, a device or a file with several names.
    """
    path = Path(path)
    try:
        descriptor = os.open(path, flags | _NO_LINK, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO):
            raise DataError(f"{path}: expected a file of our own, found {_kind(path)}; remove it") from None
        raise
    with open(descriptor, "rb+" if flags & os.O_RDWR else "ab", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise DataError(f"{path}: expected a file of our own, found {_kind(path)}; remove it")
        yield file


def _kind(path):
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return "a symbolic link"
    if stat.S_ISREG(status.st_mode):
        return "a file that has other names too"
    return "a folder" if stat.S_ISDIR(status.st_mode) else "something else"


def check_own_folder(path):
    """Refuses a folder that stands where ours would, and is a link or no folder; a missing one is fine.

    Raises:
        DataError.
    """
    path = Path(path)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise DataError(f"{path}: expected a folder of our own, found {_kind(path)}; remove it")


def make_own_folder(path, names):
    """Makes a working folder that nobody else may read, unless there is an earlier one of ours.

    Args:
        path: the folder; its parents are made too.
        names: what may stand in such a folder: one that holds something else is not ours to empty.

    Raises:
        DataError: for a link, another user's folder, or one that holds something else.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, PRIVATE_FOLDER)
        return
    check_own_folder(path)
    if hasattr(os, "geteuid") and os.lstat(path).st_uid != os.geteuid():
        raise DataError(f"{path}: expected a working folder of our own, found another user's; remove it")
    if {entry.name for entry in path.iterdir()} - {*names}:
        raise DataError(f"{path}: expected a working folder of our own, found other files in it; move them away")
    with contextlib.suppress(FileNotFoundError):  # another process has just ended and removed it
        os.chmod(path, PRIVATE_FOLDER)


def hold(file, *, shared=False):
    """Locks an open file for this process, or its open descriptor: whether nobody else holds it.

    The lock ends with the last process that has the descriptor, however it ends. Where a file system or Windows knows
    no locks, everybody holds everything.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        return error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EBADF, errno.ENOSYS)
    return True


def is_at(descriptor, path):
    """Whether an open file still stands at `path`: another process may have removed it before we held it."""
    try:
        there, ours = os.lstat(path), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def remove_left(path):
    """Removes a temporary file or folder of this user whose process is gone: nobody holds it any more."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError):
        status = os.lstat(path)
        is_folder = stat.S_ISDIR(status.st_mode)
        if status.st_uid != os.geteuid() or not (is_folder or stat.S_ISREG(status.st_mode)):
            return
        descriptor = os.open(path, (os.O_RDONLY if is_folder else os.O_RDWR) | _NO_LINK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process lives
            shutil.rmtree(path, ignore_errors=True) if is_folder else os.unlink(path)
        finally:
            os.close(descriptor)
