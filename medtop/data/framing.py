"""The frames of TFRecord files: each record's length is held against the file before TensorFlow reads it.

A record is its length (8 bytes), a checksum of the length, the content, a checksum of the content. TensorFlow makes
room for what the length says; a length of 2^40 ends the process without a word.
"""

import functools
import mmap
import struct
from pathlib import Path

from medtop.files.errors import DataError

_LENGTH = struct.Struct("<Q")
_AROUND = 16
"""Bytes of a record beside its content: length, and two checksums of 4."""


def check_frames(info):
    """Refuses files whose records claim more bytes than there are, or are more or fewer than the description says.

    About a microsecond a record, once for each file and process.

    Args:
        info: `medtop.data.description.DatasetInfo`.

    Raises:
        DataError: naming file and record.
    """
    for path, expected in zip(info.files, info.file_records, strict=True):
        try:
            status = Path(path).stat()
        except OSError:
            raise DataError(f"{path}: expected a TFRecord file, found no such file") from None
        received = _count(str(path), status.st_size, status.st_mtime_ns)
        if received != expected:
            raise DataError(f"{path}: expected {expected} records, received {received}")


@functools.lru_cache(maxsize=4096)
def _count(path, size, changed):
    """Records of a file of `size` bytes; `changed` tells files of one name apart."""
    if not size:
        return 0
    place = records = 0
    with open(path, "rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
        while place < size:
            left = size - place - _AROUND
            length = _LENGTH.unpack_from(content, place)[0] if left >= 0 else 0
            if left < 0 or length > left:
                raise DataError(
                    f"{path}: expected whole records, received a damaged or cut file (record {records} claims "
                    f"{length:,} bytes of {max(left, 0):,})"
                )
            place += _AROUND + length
            records += 1
    return records
