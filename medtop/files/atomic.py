"""Files that appear whole under their name, or not at all."""

import contextlib
import errno
import hashlib
import json
import os
from pathlib import Path

from medtop.files import temporary as temporaries
from medtop.files.locks import PRIVATE_FILE, PRIVATE_FOLDER


@contextlib.contextmanager
def atomic_path(path, *, shared=False):
    """Yields a temporary path in the same folder; renames it to `path` when the block ends without an error.

    The content is flushed to disk before the rename, so that a crash leaves the old file or the new one.
    When the block raises, the temporary file is removed and an earlier `path` stays as it was. What a killed process
    left in the folder is removed first.

    Args:
        path: the file.
        shared: whether it may be read by whom the umask lets; otherwise only by its owner, as patients may be in it,
            and so is its folder where that is made here.

    Raises:
        OSError: naming `path`, where the folder cannot be written or the disk is full.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "expected the name of a file, found a folder", str(path))
    path.parent.mkdir(0o777 if shared else PRIVATE_FOLDER, parents=True, exist_ok=True)
    temporaries.clear_left(path.parent)
    temporary = descriptor = None
    try:
        temporary, descriptor = temporaries.new_file(path, 0o666 if shared else PRIVATE_FILE)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
            if not shared:  # a library may have put a file of its own in its place
                os.chmod(temporary, PRIVATE_FILE)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):  # the first error is the one to report
                temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and _is_about(error, path, temporary):
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _is_about(error, path, temporary):
    """Whether an OSError is about the file being written: it names the temporary file, or no file on a full disk."""
    if error.filename is None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if temporary is None:  # it could not be made
        return Path(str(error.filename)).parent == path.parent
    return str(error.filename) == str(temporary)


def write_text(path, text, *, shared=False):
    """Writes `text` to `path` in UTF-8, whole or not at all; `shared` as in `atomic_path`."""
    with atomic_path(path, shared=shared) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, value, *, shared=False):
    """Writes `value` as indented JSON, keys in the order given, whole or not at all; `shared` as in `atomic_path`.

    NaN and infinity are refused: no JSON reader outside Python accepts them.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", shared=shared)


def sha256(path):
    """Hex SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
