"""Reading a large CSV whose texts span lines: cut into records and fields with NumPy, block by block.

DuckDB reads such files in parts at once and can lose count where a quote stands alone; Python's `csv` takes several
times as long. Here every quote is looked at: one that opens must stand at the beginning of a field, one that closes
before a delimiter or a line end; whatever else is an error that names its line. R records, C columns.
"""

import dataclasses
import functools

import numpy as np

from medtop.files.errors import DataError
from medtop.sources.text_files import header_line, read_head, sniff_delimiter, stream_bytes

BLOCK_BYTES = 1 << 23
LONGEST_RECORD = 1 << 26
"""Bytes that one record may have (64 MiB); a longer one is a quote that was never closed."""

QUOTE, FEED, RETURN = ord('"'), ord("\n"), ord("\r")
_AFTER_CLOSING = np.zeros(256, bool)
_AFTER_CLOSING[[QUOTE, FEED, RETURN]] = True
_BEFORE_OPENING = np.zeros(256, bool)
_BEFORE_OPENING[[QUOTE, FEED]] = True


@dataclasses.dataclass
class Block:
    """Some whole records.

    Attributes:
        content: the bytes they stand in.
        base: place of the first of these bytes in the (unpacked) file.
        starts, ends: int64 [R, C], where each field's value begins and ends in `content`, without its quotes. Doubled
            quotes within a value stay doubled.
        quoted: bool [R, C], whether the field stands in quotes.
        lines: int64 [R], line of the file on which each record begins, from 1.
        rejects: list of (line, reason) of records with another number of fields.
    """

    content: bytes
    base: int
    starts: np.ndarray
    ends: np.ndarray
    quoted: np.ndarray
    lines: np.ndarray
    rejects: list

    def __len__(self):
        return len(self.lines)

    def text(self, row, column, encoding="utf-8"):
        """One field, decoded: str. UnicodeDecodeError for bytes outside the encoding."""
        raw = self.content[self.starts[row, column] : self.ends[row, column]]
        return (raw.replace(b'""', b'"') if self.quoted[row, column] else raw).decode(encoding)


def table_header(path):
    """(delimiter, headers) of a text table: one character and a list of str."""
    head = read_head(path)
    delimiter = sniff_delimiter(head) or ","
    return delimiter, header_line(head, delimiter)


def iterate_blocks(path, block_bytes=None):
    """Yields the records below the header as `Block`s, in order; blank lines are passed over.

    Memory holds a few times `block_bytes` (default `BLOCK_BYTES`), and the longest record.

    Raises:
        DataError: for NUL bytes, a damaged gzip file, line ends that are carriage returns alone, and quotes that are
            not closed or stand within a value.
    """
    delimiter, headers = table_header(path)
    cutter = _Cutter(path, ord(delimiter), len(headers))
    for piece in _pieces(path, block_bytes or BLOCK_BYTES):
        if (block := cutter.cut(piece)) is not None:
            yield block
    if (block := cutter.end()) is not None:
        yield block


def iterate_rows(path, encoding="utf-8"):
    """Yields (line, function of a column's place that gives the row's field as str) of each record, in order.

    Raises:
        DataError: as `iterate_blocks`; for a record with another number of fields than the header; and, when the field
            is asked for, for bytes outside the encoding.
    """
    columns = len(table_header(path)[1])
    for block in iterate_blocks(path):
        if block.rejects:
            line, reason = block.rejects[0]
            raise DataError(
                f"{path}: line {line}: expected {columns} columns, received "
                f"{'fewer' if reason == 'too_few_columns' else 'more'}"
            )
        for row, line in enumerate(block.lines.tolist()):
            yield line, functools.partial(_field, path, encoding, block, row)


def _field(path, encoding, block, row, column):
    try:
        return block.text(row, column, encoding)
    except UnicodeDecodeError:
        line = int(block.lines[row])
        raise DataError(f"{path}: line {line}: expected {encoding.upper()} text, received other bytes") from None


def _pieces(path, size):
    """The file's bytes, checked for NUL, in pieces of about `size`."""
    waiting, length, place = [], 0, 0
    for piece in stream_bytes(path):
        if (nul := piece.find(b"\0")) >= 0:
            raise DataError(f"{path}: expected text, received a NUL byte at byte {place + nul} (binary content?)")
        place += len(piece)
        waiting.append(piece)
        length += len(piece)
        if length >= size:
            yield b"".join(waiting)
            waiting, length = [], 0
    yield b"".join(waiting)


class _Cutter:
    """Holds what is left over between pieces: the beginning of a record that is not whole yet."""

    def __init__(self, path, delimiter, columns):
        self.path, self.delimiter, self.columns = path, delimiter, columns
        self.rest, self.base, self.line, self.header = b"", 0, 1, True
        self.before, self.after = _BEFORE_OPENING.copy(), _AFTER_CLOSING.copy()
        self.before[delimiter] = self.after[delimiter] = True

    def end(self):
        """What remains at the file's end, which may lack its line end."""
        rest = self.rest + b"\n" * (self.rest[-1:] not in (b"\n", b""))
        self.rest = b""
        block = self.cut(rest)
        if self.rest:
            place = int(np.flatnonzero(np.frombuffer(self.rest, np.uint8) == QUOTE)[-1])
            raise self._wrong_quote(self.rest, place, "one that is never closed")
        return block

    def cut(self, piece):
        """The whole records of what is left over and `piece`, or None."""
        content = self.rest + piece if self.rest else piece
        values = np.frombuffer(content, np.uint8)
        quotes = np.flatnonzero(values == QUOTE)
        self._check_quotes(content, values, quotes)
        feeds = values == FEED
        places = np.flatnonzero(feeds | (values == self.delimiter))
        outside = np.searchsorted(quotes, places) & 1 == 0
        is_feed = feeds[places]
        cuts, cut_feeds = places[outside], is_feed[outside]
        record_ends = np.flatnonzero(cut_feeds)
        if not len(record_ends):
            self._check_length(content)
            self.rest = content
            return None
        stop = int(cuts[record_ends[-1]]) + 1
        block = self._fields(content, values, cuts, record_ends, places[is_feed])
        self.line += int(np.searchsorted(places[is_feed], stop))
        self.base += stop
        self.rest = content[stop:]
        return block

    def _fields(self, content, values, cuts, record_ends, feeds):
        counts = np.diff(record_ends, prepend=-1)
        begins = np.concatenate([[0], cuts[record_ends[:-1]] + 1])
        finishes = cuts[record_ends]
        blank = (counts == 1) & (values[begins] == FEED) | (finishes - begins == 1) & (values[begins] == RETURN)
        lines = self.line + np.searchsorted(feeds, begins)
        kept = ~blank
        if self.header:
            kept[0], self.header = False, False
        right = kept & (counts == self.columns)
        rejects = [
            (int(lines[place]), "too_few_columns" if counts[place] < self.columns else "too_many_columns")
            for place in np.flatnonzero(kept & ~right)
        ]
        ends = cuts[record_ends[right][:, None] + np.arange(1 - self.columns, 1)]
        starts = np.concatenate([begins[right][:, None], ends[:, :-1] + 1], 1)
        last = ends[:, -1]
        last -= (last > starts[:, -1]) & (values[last - 1] == RETURN)
        quoted = values[np.minimum(starts, len(values) - 1)] == QUOTE
        return Block(content, self.base, starts + quoted, ends - quoted, quoted, lines[right], rejects)

    def _check_quotes(self, content, values, quotes):
        opening, closing = quotes[::2], quotes[1::2]
        wrong = opening[~self.before[values[opening - 1]] & (opening > 0)]
        if len(wrong):
            raise self._wrong_quote(content, int(wrong[0]), "a quote within a value that does not begin with one")
        closing = closing[closing < len(values) - 1]
        wrong = closing[~self.after[values[closing + 1]]]
        if len(wrong):
            raise self._wrong_quote(content, int(wrong[0]), "one that closes before the value ends")

    def _check_length(self, content):
        if b"\n" not in content and b"\r" in content:
            raise DataError(f"{self.path}: expected lines that end with a line feed, received carriage returns alone")
        if len(content) > LONGEST_RECORD:
            raise DataError(
                f"{self.path}: line {self.line}: expected a record of at most {LONGEST_RECORD:,} bytes, "
                "received a longer one: is a quote not closed?"
            )

    def _wrong_quote(self, content, place, received):
        line = self.line + content.count(b"\n", 0, place)
        return DataError(
            f"{self.path}: line {line}: expected each quoted field to be closed and quotes within it "
            f"doubled, received {received}"
        )


def gather(values, starts, ends):
    """The bytes values[starts[i]:ends[i]] of all i, one after the other.

    Args:
        values: uint8 array.
        starts, ends: int64 [N].

    Returns:
        (offsets int64 [N + 1], uint8 array): as Arrow's large_string wants them.
    """
    sizes = ends - starts
    offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    return offsets, values[np.repeat(starts - offsets[:-1], sizes) + np.arange(offsets[-1])]
