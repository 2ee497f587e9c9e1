"""Text files before they are parsed: which files are meant, whether they are whole, how they are delimited.

DuckDB reads a damaged gzip file, mixed line ends or an open quote without a word or with a puzzling one, so that each
file is looked through once (about 0.02 CPU-seconds per million rows, 0.2 when it is gzipped) before it is parsed.
"""

import csv
import dataclasses
import glob
import io
import re
import zlib
from pathlib import Path

import numpy as np

from medtop.files.errors import DataError

DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
BLOCK = 1 << 18
GZIP_BLOCK = 1 << 16  # packed at most 1,032 to 1: 64 MiB unpacked
HEAD = 1 << 16
LONG_LINE = 2_000_000
"""Bytes of a line from which on DuckDB passes over it."""
LONGEST_FIELD = 1 << 25
"""Bytes that a quoted field may have (32 MiB): DuckDB takes ten times as much for it."""
OUTPUT_SUFFIXES = (".splits.csv", ".rejects.csv", ".labels.csv")
COMMENTS = ("#", "--", "//", "/*", "%")
LINE_END = re.compile(rb"[\r\n]")
BLANK_LINE = re.compile(rb"(?<=\n)\r?\n|(?<=\r)\r(?!\n)")


@dataclasses.dataclass(frozen=True)
class TextFile:
    """A text file that was looked through.

    Attributes:
        path: the file.
        gzipped: whether its bytes are gzip.
        has_quotes: whether a double quote occurs anywhere.
        has_blanks, has_tabs, has_returns: whether a blank, a tab, a carriage return occurs anywhere.
        mixed_line_ends: whether LF, CRLF or CR occur side by side.
        multi_line: whether a line ends within quotes: a quoted field holds a line break, or a quote stands alone.
        lines: number of lines that hold something, header included; the records, too, unless `multi_line`.
        ends: number of lines, those that hold nothing included.
        long_lines: numbers (from 1) of lines longer than `LONG_LINE`; only where there are no quotes.
    """

    path: Path
    gzipped: bool
    has_quotes: bool
    has_blanks: bool
    has_tabs: bool
    has_returns: bool
    mixed_line_ends: bool
    multi_line: bool
    lines: int
    ends: int
    long_lines: tuple = ()

    @property
    def is_plain(self):
        """Whether every byte between delimiters and line feeds belongs to a value, and every line is a row."""
        return not (self.gzipped or self.has_quotes or self.has_blanks or self.has_returns) and self.lines == self.ends


def expand_paths(data_file):
    """The files meant by `data_file`: one path, a glob pattern (outputs of an earlier run are none of its files), or a
    comma list of both.

    Raises:
        DataError: for a part that matches no file.
    """
    paths = []
    whole = Path(str(data_file))
    for part in [str(data_file)] if whole.exists() else [part.strip() for part in str(data_file).split(",")]:
        names = [part] if Path(part).exists() else [name for name in sorted(glob.glob(part)) if not is_output(name)]
        if not part or not names:
            raise DataError(f"{part or data_file}: expected a file, found no such file")
        paths += [Path(name) for name in names]
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: expected a file, received a folder")
    return paths


def is_output(path):
    """Whether a table is an output of an earlier run that lies beside the input: its manifest stands there, too."""
    path = Path(path)
    prefix = next((path.name[: -len(suffix)] for suffix in OUTPUT_SUFFIXES if path.name.endswith(suffix)), None)
    return prefix is not None and (path.parent / f"{prefix}.manifest.json").is_file()


def is_parquet(path):
    """Whether the file begins with Parquet's mark."""
    with open(path, "rb") as file:
        return file.read(4) == PARQUET_MAGIC


def is_gzipped(path):
    """Whether the file's first bytes are gzip's; a file named `.gz` without them is refused."""
    path = Path(path)
    with open(path, "rb") as file:
        gzipped = file.read(2) == GZIP_MAGIC
    if path.suffix.lower() == ".gz" and not gzipped and path.stat().st_size:
        raise DataError(f"{path}: expected gzip, as the name says, received other bytes")
    return gzipped


def stream_bytes(path):
    """Yields the file's bytes in blocks, unpacked and checked when it is gzip (several members are one text).

    Raises:
        DataError: for a gzip file that is cut or damaged.
    """
    gzipped = is_gzipped(path)
    with open(path, "rb") as file:
        if not gzipped:
            while block := file.read(BLOCK):
                yield block
            return
        place, stream, rest = 0, zlib.decompressobj(31), b""  # 31: gzip with its checksum verified
        while block := rest or file.read(GZIP_BLOCK):
            try:
                plain = stream.decompress(block)
            except zlib.error:
                raise DataError(
                    f"{path}: expected a whole gzip file, received a damaged one after {place} unpacked bytes"
                ) from None
            place += len(plain)
            yield plain
            rest = b""
            if stream.eof:  # gzip files may be joined; zeros may pad them
                rest, stream = stream.unused_data.lstrip(b"\0") or file.read(GZIP_BLOCK), zlib.decompressobj(31)
                if not rest:
                    return
        raise DataError(f"{path}: expected a whole gzip file, received one cut short after {place} unpacked bytes")


def inspect_text(path):
    """Looks through a whole text file.

    Returns:
        TextFile.

    Raises:
        DataError: for an empty file, a damaged gzip, NUL bytes (binary content), UTF-16, a blank first line, or a
            quoted field longer than `LONGEST_FIELD`.
    """
    path = Path(path)
    newlines = returns = pairs = blanks = place = 0
    has_quotes, has_blanks, has_tabs, multi_line, within, tail = False, False, False, False, 0, b""
    long_lines, run, quoted = [], 0, 0  # bytes since the last line end, since the quote that is open
    for block in _small_blocks(stream_bytes(path)):
        if place == 0:
            _check_start(path, block)
        _check_binary(path, block, place)
        quotes = b'"' in block
        has_quotes |= quotes
        has_blanks = has_blanks or b" " in block
        has_tabs = has_tabs or b"\t" in block
        if within or quotes:
            ends_within, within = _scan_quotes(block, within)
            multi_line = multi_line or ends_within
        quoted = quoted + len(block) if within and not quotes else 0
        if quoted > LONGEST_FIELD:
            raise DataError(
                f"{path}: near byte {place - quoted + len(block)}: expected quoted fields of at most {LONGEST_FIELD:,} "
                "bytes, received a longer one: is a quote not closed?"
            )
        first = next((match.start() for match in [LINE_END.search(block)] if match), None)
        if first is not None and run + first > LONG_LINE:
            long_lines.append(newlines + returns - pairs + 1)
        run = run + len(block) if first is None else len(block) - 1 - max(block.rfind(b"\n"), block.rfind(b"\r"))
        feeds = np.frombuffer(block, np.uint8) == ord("\n")  # a third of the time of bytes.count
        newlines += int(np.count_nonzero(feeds))
        if b"\r" in block or b"\r" in tail:
            joined = tail + block  # a line end cut by the block's end is seen with the next block
            returns += block.count(b"\r")
            pairs += (tail[-1:] + block).count(b"\r\n")
            blanks += sum(1 for match in BLANK_LINE.finditer(joined) if match.end() > len(tail))
        else:
            blanks += int(np.count_nonzero(feeds[1:] & feeds[:-1])) + (tail[-1:] + block[:1] == b"\n\n")
        place += len(block)
        tail = (tail + block[-2:])[-2:]
    if not place:
        raise DataError(f"{path}: expected a table with a header line, received an empty file")
    ends = newlines + returns - pairs
    kinds = (newlines > pairs) + (returns > pairs) + (pairs > 0)
    ends += tail[-1:] not in (b"\n", b"\r")  # the last line may have no end
    return TextFile(
        path=path,
        gzipped=is_gzipped(path),
        has_quotes=has_quotes,
        has_blanks=has_blanks,
        has_tabs=has_tabs,
        has_returns=returns > 0,
        mixed_line_ends=kinds > 1,
        multi_line=multi_line,
        lines=ends - blanks,
        ends=ends,
        long_lines=() if has_quotes else (*long_lines, *([ends] if run > LONG_LINE else [])),
    )


def _small_blocks(blocks):
    """The same bytes in blocks of at most `BLOCK`, none of them empty: what gzip unpacks to can be long."""
    for block in blocks:
        for start in range(0, len(block), BLOCK):
            yield block[start : start + BLOCK]


def _scan_quotes(block, within):
    """(whether a line ends within quotes, whether the block's end is within quotes); doubled quotes cancel out."""
    values = np.frombuffer(block, np.uint8)
    parity = np.bitwise_xor.accumulate((values == ord('"')).view(np.uint8)) ^ np.uint8(within)
    ends = (values == ord("\n")) | (values == ord("\r"))
    return bool(np.any(ends & parity.view(bool))), int(parity[-1])


def _check_start(path, block):
    if block[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path}: expected UTF-8 text, received UTF-16")
    if block.lstrip(b"\xef\xbb\xbf")[:1] in (b"\n", b"\r"):
        raise DataError(f"{path}: expected a header on line 1, received a blank line")


def _check_binary(path, block, place):
    if (nul := block.find(b"\0")) >= 0:
        raise DataError(f"{path}: expected text, received a NUL byte at byte {place + nul} (binary content?)")


def read_head(path):
    """The first lines of a text file (64 KiB of it): list of str without line ends, the last one whole."""
    pieces, size = [], 0
    for block in stream_bytes(path):
        pieces.append(block[:HEAD])
        size += len(block)
        if size >= HEAD:
            break
    raw = b"".join(pieces)[:HEAD]
    if not raw:
        raise DataError(f"{path}: expected a table with a header line, received an empty file")
    _check_start(path, raw)
    _check_binary(path, raw, 0)
    text = raw.decode("utf-8-sig", errors="replace")
    lines = re.split(r"\r\n|\n|\r", text)  # not str.splitlines: that cuts at form feeds, too
    _check_header(path, lines)
    return lines[:-1] if size > HEAD and len(lines) > 1 else lines


def _check_header(path, lines):
    """Refuses a first line that is meant for programs or readers: Excel's `sep=,`, or a comment above the header."""
    first = lines[0].strip().strip('"').lower()
    if first.startswith("sep=") and len(first) <= len("sep=\\t"):
        raise DataError(
            f"{path}: line 1: expected a header, received Excel's {lines[0].strip()[:8]!r}: delete this line"
        )
    fields = [max(line.count(delimiter) for delimiter in DELIMITERS) for line in lines[:2]]
    if first.startswith(COMMENTS) and len(fields) > 1 and fields[0] < fields[1]:
        raise DataError(
            f"{path}: line 1: expected a header, received a comment (it begins with {first[:2]!r}): delete this line"
        )


def split_rows(lines, delimiter):
    """The first rows of a table, split at `delimiter`: list of lists of str."""
    return [row for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter) if row]


def sniff_delimiter(lines):
    """The delimiter among comma, tab, semicolon and bar that cuts the header into most columns, or None.

    >>> sniff_delimiter(["MRN;ADM;DX", "1;2,5;3"])
    ';'
    """
    counts = {delimiter: len(header_line(lines, delimiter)) for delimiter in DELIMITERS}
    best = max(counts, key=counts.get)
    return best if counts[best] > 1 else None


def describe_delimiter(lines):
    """A few words for error lines: how the file seems to be delimited."""
    delimiter = sniff_delimiter(lines)
    if delimiter is None:
        return "no comma, tab, semicolon or bar in the header"
    return f"the header looks {DELIMITERS[delimiter]}-separated with {len(split_rows(lines[:1], delimiter)[0])} columns"


def looks_like_date(text):
    """Whether `text` begins as one of the dates that are read without `--date_format`.

    >>> looks_like_date("20081209"), looks_like_date("2008-12-09 10:00"), looks_like_date("12/09/2008")
    (True, True, False)
    """
    return bool(re.fullmatch(r"\d{4}[-/]\d{2}[-/]\d{2}([ T].*)?|\d{8}", text.strip()))


def header_line(lines, delimiter):
    """The header's fields, stripped."""
    return [field.strip() for field in split_rows(lines[:1], delimiter)[0]] if lines[:1] != [""] else []


def first_rows(data_file, delimiter):
    """The first rows of the first text file of `data_file`, or [] where there is none: for recognition."""
    try:
        path = expand_paths(data_file)[0]
        return [] if is_parquet(path) else split_rows(read_head(path), delimiter)
    except DataError:  # not readable as a table: no source recognises it, and loading says why
        return []


def iterate_records(text, delimiter):
    """Yields (place, line) of each record below the header; for the second pass over a file.

    Args:
        text: TextFile.
        delimiter: one character.

    Yields:
        place: from 1, the header's; blank lines count. This is what DuckDB calls the line of a reject.
        line: the line of the file on which the record begins, from 1. It differs from `place` after quoted line breaks.
    """
    stream = io.TextIOWrapper(_BlockReader(text.path), encoding="latin-1", newline="" if text.has_quotes else None)
    if not text.has_quotes:
        for line, content in enumerate(stream, 1):
            if line > 1 and content != "\n":
                yield line, line
        return
    csv.field_size_limit(LONGEST_FIELD + BLOCK)
    reader, before = csv.reader(stream, delimiter=delimiter), 0
    for place, row in enumerate(reader, 1):
        line, before = before + 1, reader.line_num
        if place > 1 and row:
            yield place, line


class _BlockReader(io.RawIOBase):
    """A file object over `stream_bytes`."""

    def __init__(self, path):
        self._blocks, self._rest = stream_bytes(path), b""

    def readable(self):
        return True

    def readinto(self, buffer):
        if not self._rest:
            self._rest = next(self._blocks, b"")
        piece, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)
