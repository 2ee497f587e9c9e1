"""A site's secret key: one small file that only its owner reads; keyed hashes, and each patient's shift of dates.

    {"key": "<64 hex digits>", "longest_shift_days": 3650, "keep_weekdays": true}

The rule of the shift stands in the key's file, so that whatever is shifted with one key is shifted alike.
"""

import dataclasses
import hashlib
import hmac
import json
import os
import secrets
import stat
from pathlib import Path

from medtop.files.bounded import read_json
from medtop.files.errors import DataError

_BYTES, _SHORTEST_SHIFT = 32, 28


@dataclasses.dataclass(frozen=True)
class SecretKey:
    """A key and the rule of the shift.

    Attributes:
        secret: 32 bytes; not shown where the object is printed.
        longest_shift_days: int.
        keep_weekdays: whether shifts are whole weeks.
    """

    secret: bytes = dataclasses.field(repr=False)
    longest_shift_days: int = 3650
    keep_weekdays: bool = True

    def digest(self, *parts):
        """HMAC-SHA256 of texts, each with its length before it, so that no two lists give the same bytes."""
        message = b"".join(len(data).to_bytes(8, "big") + data for data in (part.encode() for part in parts))
        return hmac.new(self.secret, message, hashlib.sha256).digest()

    def number(self, *parts):
        """`digest` as a whole number."""
        return int.from_bytes(self.digest(*parts), "big")

    def shift_days(self, patient_id):
        """By how many days a patient's dates move: 28 to `longest_shift_days` into the past, int below 0.

        Into the past, because dates in the future are no dates of a stay. A shift is the same for all of a patient.
        """
        step = 7 if self.keep_weekdays else 1
        choices = (self.longest_shift_days - _SHORTEST_SHIFT) // step + 1
        return -(_SHORTEST_SHIFT + step * (self.number("shift", patient_id) % choices))


def make_key(path, *, longest_shift_days=3650, keep_weekdays=True):
    """Writes a new key, readable by its owner only, in a folder that is made where it is missing; never over a file.

    Raises:
        DataError: where a file stands there.
    """
    content = {
        "key": secrets.token_hex(_BYTES),
        "longest_shift_days": longest_shift_days,
        "keep_weekdays": keep_weekdays,
    }
    Path(path).parent.mkdir(0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise DataError(f"{path}: expected the name of a new key file, found a file") from None
    with open(handle, "w", encoding="utf-8") as file:
        json.dump(content, file)
        file.write("\n")


def read_key(path, outputs=()):
    """The `SecretKey` of a file.

    Args:
        path: the file.
        outputs: paths of folders (or prefixes of files in them) that are written: the key must not stand in one.

    Raises:
        DataError: for a missing or damaged file, one that others may read, or one within an output.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: expected a key file, found none (deidentify_notes.py --make_key writes one)")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise DataError(f"{path}: expected a key that its owner alone may read (mode 0600), found mode {mode:04o}")
    real = path.resolve()
    for output in outputs:
        folder = Path(output).resolve()
        if folder == real or folder in real.parents:
            raise DataError(f"{path}: expected a key outside of the output {output}, found it inside")
    try:
        content = read_json(path)
        secret = bytes.fromhex(content["key"])
        longest, weekdays = content["longest_shift_days"], content["keep_weekdays"]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path}: expected a key file of medtop, received another content") from None
    if len(secret) != _BYTES or type(longest) is not int or longest < 2 * _SHORTEST_SHIFT or type(weekdays) is not bool:
        raise DataError(
            f"{path}: expected a key of {_BYTES} bytes, a shift from {2 * _SHORTEST_SHIFT} days, true or false"
        )
    return SecretKey(secret, longest, weekdays)
