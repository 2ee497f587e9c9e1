"""Reading what somebody hands us at a cost that the file's own size bounds: JSON, YAML, zips of arrays, gzip.

A few bytes can claim gigabytes: brackets within brackets, anchors of anchors, a packed zip, a header's shape. Each
reader here holds what is claimed against what is there before anything is allocated, and says so in one line.
"""

import contextlib
import csv
import itertools
import json
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from medtop.files.errors import DataError

JSON_BYTES = 1 << 25
"""Largest JSON file or text (32 MiB): a description with a vocabulary of a million codes."""
JSON_CONTAINERS = 1_000_000
"""Lists and objects of one JSON text: an empty one takes 30 times its two characters."""
JSON_DEPTH = 64
YAML_BYTES = 1 << 18
"""Largest YAML file (256 KiB): the plain reader takes seconds for more."""
YAML_DEPTH = 32
YAML_VALUES = 100_000
"""Values of a YAML file when every alias is written out."""
LINE_LENGTH = 1 << 20
"""Characters of a line of a small table (splits, groups, codes, tables of figures)."""
TEXT_BYTES = 1 << 27
"""Largest file that is read as one text (128 MiB), unpacked."""

_PIECE = 1 << 16
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[^][{}"]++', re.DOTALL)


@contextlib.contextmanager
def reading_csv(path):
    """Around whatever reads a small table with Python's `csv`: one line that names the file instead of what it raises.

    Raises:
        DataError: for bytes that are not UTF-8, and for what is no CSV.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text, received other bytes (byte {error.start})") from None
    except csv.Error as error:
        raise DataError(f"{path}: expected a CSV file, received another content ({error})") from None


def read_json(path, *, hook=None):
    """Reads a JSON file in UTF-8, with or without a byte order mark.

    Args:
        path: the file.
        hook: `object_pairs_hook` of `json.loads`.

    Raises:
        DataError: for a file that is too large, nested too deeply, or no JSON; names the line.
        FileNotFoundError, OSError: as opening it does.
    """
    path = Path(path)
    if path.stat().st_size > JSON_BYTES:
        raise DataError(f"{path}: expected JSON of at most {JSON_BYTES:,} bytes, received {path.stat().st_size:,}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected JSON in UTF-8; byte {error.start} is not") from None
    return parse_json(text, path, hook=hook)


def parse_json(text, where, *, hook=None, most=JSON_BYTES):
    """`json.loads` of a text of bounded size and depth; NaN and infinities pass, as in Python's own.

    Args:
        text: str.
        where: the place, for errors.
        hook: `object_pairs_hook` of `json.loads`.
        most: characters.

    Raises:
        DataError: a `ValueError`, as `json.JSONDecodeError` is.
    """
    if len(text) > most:
        raise DataError(f"{where}: expected JSON of at most {most:,} characters, received {len(text):,}")
    if text.count("[") + text.count("{") > JSON_DEPTH:
        brackets = _BRACKETS.sub("", text)  # the letters between them, and those in strings, away
        if len(brackets) > 2 * JSON_CONTAINERS:
            raise DataError(f"{where}: expected JSON of at most {JSON_CONTAINERS:,} lists and objects, received more")
        codes = np.frombuffer(brackets.encode("ascii", "replace"), np.uint8)
        if np.cumsum(np.where((codes | 0x20) == ord("{"), 1, -1)).max(initial=0) > JSON_DEPTH:
            raise DataError(f"{where}: expected JSON of at most {JSON_DEPTH} levels, received more")
    try:
        return json.loads(text, object_pairs_hook=hook)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: line {error.lineno}: expected JSON, received another content ({error.msg})"
        ) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where}: expected JSON, received another content ({type(error).__name__})") from None


def whole_number(text):
    """The whole number that a text is, white space aside, or None; one of more than 18 digits is none.

    Python's own `int` takes `1_0` and digits of other scripts too, and raises for more than 4,300 digits.

    >>> whole_number(" 12"), whole_number("-3"), whole_number("--3"), whole_number("1_0"), whole_number(None)
    (12, -3, None, None, None)
    >>> whole_number("9" * 18) is None, whole_number("9" * 19), whole_number(chr(0x663))  # ARABIC-INDIC DIGIT THREE
    (False, None, None)
    """
    return int(text) if text and re.fullmatch(r"\s*-?[0-9]{1,18}\s*", text) else None


def read_yaml(path, mapping=None):
    """Plain values of a YAML file in UTF-8, of bounded size, depth and length once its aliases are written out.

    Args:
        path: the file.
        mapping: function (loader, node) -> value that makes the mappings instead of the loader's own.

    Raises:
        DataError: with the line.
        FileNotFoundError, OSError: as opening it does.
    """
    try:
        import yaml
    except ImportError as error:
        raise DataError(
            f"{path}: YAML needs the package pyyaml, which is not installed; expected it or JSON"
        ) from error
    path = Path(path)
    if path.stat().st_size > YAML_BYTES:
        raise DataError(f"{path}: expected YAML of at most {YAML_BYTES:,} bytes, received {path.stat().st_size:,}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text; byte {error.start} is not") from None

    class Loader(yaml.SafeLoader):
        """Plain values, counted while they are composed."""

        depth = values = 0

        def __init__(self, stream):
            super().__init__(stream)
            self.sizes = {}

        def compose_node(self, parent, index):
            line, before = self.peek_event().start_mark.line + 1, self.values
            alias = self.check_event(yaml.AliasEvent)
            self.depth += 1
            if self.depth > YAML_DEPTH:
                raise DataError(f"{path}: line {line}: expected YAML of at most {YAML_DEPTH} levels, received more")
            node = super().compose_node(parent, index)
            self.depth -= 1
            if alias and id(node) not in self.sizes:
                raise DataError(f"{path}: line {line}: expected YAML, received an alias of the value that it stands in")
            self.values += self.sizes[id(node)] if alias else 1
            if self.values > YAML_VALUES:
                raise DataError(f"{path}: line {line}: expected YAML of at most {YAML_VALUES:,} values, received more")
            self.sizes.setdefault(id(node), self.values - before)
            return node

    if mapping is not None:
        Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        about = getattr(error, "problem", None) or getattr(error, "reason", None) or "received none"
        raise DataError(f"{path}: {line}expected YAML, {about}") from None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # a date of no calendar, an unhashable key
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: expected YAML, received another content ({type(error).__name__})") from None


def check_zip(path):
    """Refuses a zip whose members would unpack to more bytes than the file has: weights are never packed.

    Raises:
        DataError: for such a file. One that is no zip at all is left to its reader.
    """
    size = Path(path).stat().st_size
    try:
        if not zipfile.is_zipfile(path):  # it raises for some damages itself
            return
        with zipfile.ZipFile(path) as file:
            unpacked = sum(member.file_size for member in file.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path}: expected a whole file of arrays, received a damaged one ({error!r:.100})") from None
    if unpacked > size:
        raise DataError(
            f"{path}: expected arrays that are stored as they are, received {size:,} bytes that claim to unpack to "
            f"{unpacked:,}"
        )


def read_npz(path):
    """dict name -> array of a file that `numpy.savez` wrote; nothing in it is packed, nothing pickled.

    Raises:
        ValueError, zipfile.BadZipFile, KeyError, OSError and others: for a damaged file, before anything large is
            allocated.
    """
    check_zip(path)
    arrays = {}
    with zipfile.ZipFile(path) as file:
        for member in file.infolist():
            with file.open(member) as stream:
                arrays[member.filename.removesuffix(".npy")] = _array(stream, member.file_size)
    return arrays


def _array(stream, size):
    """The array of one `.npy` member of `size` bytes; its header is held against that size."""
    version = np.lib.format.read_magic(stream)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if header is None:
        raise ValueError(f"an array of version {version}")
    shape, by_column, dtype = header(stream)
    if dtype.hasobject:
        raise ValueError("an array of Python objects, which could run code")
    count = 1
    for length in shape:
        count *= length
    if count < 0 or count * dtype.itemsize > size:
        raise ValueError(f"an array that claims {count * dtype.itemsize:,} bytes, in {size:,}")
    content = stream.read()  # checks the sum
    if len(content) != count * dtype.itemsize:
        raise ValueError(f"an array of {count * dtype.itemsize:,} bytes, in {len(content):,}")
    return np.frombuffer(bytearray(content), dtype).reshape(shape, order="F" if by_column else "C")


def lines(file, path):
    """Yields the lines of an open text file, each at most `LINE_LENGTH` long: `csv` would read one of a gigabyte.

    Raises:
        DataError: for a longer one; names the line.
    """
    for number in itertools.count(1):
        line = file.readline(LINE_LENGTH + 1)
        if len(line) > LINE_LENGTH:
            raise DataError(f"{path}: line {number}: expected at most {LINE_LENGTH:,} characters, received more")
        if not line:
            return
        yield line


def read_bytes(path, *, most=None, packed=None):
    """A file's bytes, unpacked where its name ends in `.gz` (or `packed` says so), at most `most` (`TEXT_BYTES`).

    Raises:
        DataError: for more, and for a gzip file that is cut or damaged.
    """
    path, most = Path(path), TEXT_BYTES if most is None else most
    with open(path, "rb") as file:
        if not (path.suffix == ".gz" if packed is None else packed):
            if path.stat().st_size > most:
                raise _too_long(path, most)
            return file.read(most)
        pieces, length, stream = [], 0, zlib.decompressobj(31)
        rest = b""
        while piece := rest or file.read(_PIECE):
            try:
                plain = stream.decompress(piece)
            except zlib.error as error:
                raise DataError(f"{path}: expected a gzip file, received another content ({error})") from None
            pieces.append(plain)
            length += len(plain)
            if length > most:
                raise _too_long(path, most)
            rest = b""
            if stream.eof:  # gzip files may be joined; zeros may pad them
                rest = stream.unused_data.lstrip(b"\0") or file.read(_PIECE).lstrip(b"\0")
                if not rest:
                    return b"".join(pieces)
                stream = zlib.decompressobj(31)
    raise DataError(f"{path}: expected a whole gzip file, received one cut short after {length:,} unpacked bytes")


def _too_long(path, most):
    return DataError(f"{path}: expected at most {most:,} bytes in one file, received more: cut it into several")
