"""Which documents meet in a bucket, out of core: rows go to files by the range of their key, and each file fits memory.

Letters: N documents, b bands, n rows.
"""

import re
from pathlib import Path

import numpy as np

from medtop.files.errors import DataError

COMPARED = 32
"""Documents of a bucket, the worthiest ones, that all its documents are compared with."""

PAIR_DOCUMENTS = 1 << 14
"""Documents whose candidates stand in one file."""

MOST_FILES = 4096
_ROW = np.dtype([("bucket", "<u8"), ("rank", "<u4")])
_BYTES_A_ROW = 48  # 12 for the row, and its key, order and groups while it is sorted
_WAITING, _PAIRS_TOGETHER = 1 << 20, 1 << 17
_ODD = np.uint64(0x9E3779B97F4A7C15)
_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_BINARY = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text, flag="--memory_limit"):
    """Bytes of a text such as "32MB", "2GB" or "1GiB".

    >>> parse_size("32MB"), parse_size("1 KiB")
    (32000000, 1024)
    """
    parts = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B\s*", text, re.IGNORECASE)
    size = 0
    if parts and len(parts[1]) < 19:
        units = _BINARY if parts[3] else _UNITS
        size = int(float(parts[1]) * units.get(parts[2].upper(), 0))
    if size < 1:
        raise DataError(f"{flag}: expected a size such as 2GB, received {text!r}")
    return size


class Spill:
    """Rows in files, one a key range, each read once at the end.

    Args:
        folder, name: where the files stand.
        dtype: of the rows.
    """

    def __init__(self, folder, name, dtype):
        self._folder, self._name, self._dtype = Path(folder), name, np.dtype(dtype)
        self._rows, self._places, self._waiting = [], [], 0

    def add(self, places, rows):
        """Takes rows [n] and the file (int) of each."""
        self._rows.append(rows)
        self._places.append(places)
        self._waiting += rows.nbytes
        if self._waiting >= _WAITING:
            self._write()

    def _write(self):
        if not self._rows:
            return
        rows, places = np.concatenate(self._rows), np.concatenate(self._places)
        order = np.argsort(places, kind="stable")
        rows, places = rows[order], places[order]
        edges = [0, *(np.flatnonzero(np.diff(places)) + 1).tolist(), len(rows)]
        for start, end in zip(edges, edges[1:], strict=False):
            with open(self._path(int(places[start])), "ab") as file:
                rows[start:end].tofile(file)
        self._rows, self._places, self._waiting = [], [], 0

    def _path(self, place):
        return self._folder / f"{self._name}.{place}"

    def read(self, place):
        """The rows of a file, which goes."""
        self._write()
        path = self._path(place)
        if not path.is_file():
            return np.zeros(0, self._dtype)
        rows = np.fromfile(path, self._dtype)
        path.unlink()
        return rows


class Buckets:
    """Documents by their buckets.

    Args:
        folder: for the files.
        documents: N.
        bands: b.
        limit: bytes that sorting may take.
    """

    def __init__(self, folder, documents, bands, limit):
        self.files = min(max(-(-documents * bands * _BYTES_A_ROW // limit), 1), MOST_FILES)
        self.documents = documents
        self._rows, self._pairs = Spill(folder, "buckets", _ROW), Spill(folder, "pairs", np.uint64)

    def add(self, buckets, ranks):
        """Takes uint64 [b, n] buckets of n documents of the given ranks (int [n])."""
        keys = buckets + np.arange(len(buckets), dtype=np.uint64)[:, None] * _ODD  # the same in one band only
        rows = np.empty(keys.size, _ROW)
        rows["bucket"], rows["rank"] = keys.ravel(), np.tile(ranks, len(buckets))
        places = ((rows["bucket"] >> np.uint64(32)) * np.uint64(self.files)) >> np.uint64(32)
        self._rows.add(places.astype(np.uint16), rows)

    def meet(self):
        """Finds the pairs; returns how many places in buckets lie beyond the first `COMPARED` and were not all
        compared."""
        capped = 0
        for place in range(self.files):
            rows = self._rows.read(place)
            for group in _shared(rows):
                capped += int((group[1] > COMPARED).sum())
                for pairs in _pairs(*group):
                    self._pairs.add((pairs >> np.uint64(32)).astype(np.int64) // PAIR_DOCUMENTS, pairs)
        return capped

    def candidates(self):
        """Yields (rank, worthier ranks int64 rising) of each document that meets another, the worthiest first."""
        for place in range(-(-self.documents // PAIR_DOCUMENTS)):
            pairs = np.unique(self._pairs.read(place))
            later, earlier = (pairs >> np.uint64(32)).astype(np.int64), (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)
            edges = [0, *(np.flatnonzero(np.diff(later)) + 1).tolist(), len(later)] if len(later) else []
            for start, end in zip(edges, edges[1:], strict=False):
                yield int(later[start]), earlier[start:end]


def _shared(rows):
    """Yields (ranks, place of each in its bucket, first place of its bucket) of the rows that share a bucket."""
    keys = np.ascontiguousarray(rows["bucket"])
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    inside = np.zeros(len(rows), bool)
    inside[1:] |= same
    inside[:-1] |= same
    chosen = order[inside]
    del order, same, inside
    if not len(chosen):
        return
    keys, ranks = keys[chosen], rows["rank"][chosen]
    order = np.lexsort((ranks, keys))
    keys, ranks = keys[order], ranks[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    firsts = np.repeat(starts, np.diff(starts, append=len(keys)))
    yield ranks, np.arange(len(keys)) - firsts, firsts


def _pairs(ranks, places, firsts):
    """Yields uint64 arrays of later << 32 | earlier: each row with the first `COMPARED` of its bucket before it."""
    counts = np.minimum(places, COMPARED)
    ends = np.cumsum(counts)
    start = 0
    while start < len(ranks):
        before = ends[start] - counts[start]
        stop = max(int(np.searchsorted(ends, before + _PAIRS_TOGETHER, side="right")), start + 1)
        number = counts[start:stop]
        within = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        earlier = ranks[np.repeat(firsts[start:stop], number) + within].astype(np.uint64)
        later = np.repeat(ranks[start:stop], number).astype(np.uint64)
        yield (later << np.uint64(32)) | earlier
        start = stop
