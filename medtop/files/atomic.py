"""Files that appear whole under their name, or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path):
    """Yields a temporary path in the same folder; renames it to `path` when the block ends without an error.

    The content is flushed to disk before the rename, so that a crash leaves the old file or the new one.
    When the block raises, the temporary file is removed and an earlier `path` stays as it was.

    Raises:
        OSError: naming `path`, where the folder cannot be written or the disk is full.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "expected the name of a file, found a folder", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # the user's umask decides
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and _is_about(error, temporary):
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise


def _is_about(error, temporary):
    """Whether an OSError is about the file being written: it names the temporary file, or no file on a full disk."""
    if error.filename is None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return str(error.filename) == str(temporary)


def write_text(path, text):
    """Writes `text` to `path` in UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, value):
    """Writes `value` as indented JSON, keys in the order given, whole or not at all.

    NaN and infinity are refused: no JSON reader outside Python accepts them.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def sha256(path):
    """Hex SHA-256 of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
