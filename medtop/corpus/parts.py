"""What de-duplication knows of the documents, on disk in parts: a killed run goes on behind its last whole part.

A part holds `PART_DOCUMENTS` documents in the order of the input: `<number>.parquet` (a row each), `<number>.shingles`
and, with boilerplate lines, `<number>.lines` (uint64, the sets end to end). The Parquet file comes last.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medtop.cohort.splits import SPLITS
from medtop.corpus.shingles import Shingler, line_codes
from medtop.files.atomic import atomic_path
from medtop.files.sql import numbers

PART_DOCUMENTS = 5_000


@dataclasses.dataclass(frozen=True)
class Table:
    """N documents, one value each: int64 arrays, and `digests` uint64 [N, 2] of the normal form.

    Attributes:
        words: number of words; sizes, line_sizes: shingles and lines of the sets.
        times: seconds; splits: place in `SPLITS`; groups: place in `names`.
        names: list of (source, kind).
    """

    digests: np.ndarray
    words: np.ndarray
    sizes: np.ndarray
    line_sizes: np.ndarray
    times: np.ndarray
    splits: np.ndarray
    groups: np.ndarray
    names: list

    def __len__(self):
        return len(self.words)


class PartWriter:
    """Documents -> parts in a folder; parts that stand there whole are not made again.

    Args:
        folder: of this input and these settings alone.
        shingle: words of a shingle.
        lines: whether the lines are stored, too.
    """

    def __init__(self, folder, shingle, lines):
        self.folder, self.lines, self.shingler = Path(folder), lines, Shingler(shingle)
        self.number = self.reused = self.documents = 0
        self.rows = []

    def add(self, documents, splits):
        """Takes a list of `Document`s and the split (str) of each."""
        for document, split in zip(documents, splits, strict=True):
            self.rows.append((document, SPLITS.index(split)))
            if len(self.rows) == PART_DOCUMENTS:
                self.close()

    def close(self):
        """Writes what waits."""
        if not self.rows:
            return
        path = self.folder / f"{self.number:06d}.parquet"
        if path.is_file() and pq.read_metadata(path).num_rows == len(self.rows):
            self.reused += 1
        else:
            self._write(path)
        self.documents += len(self.rows)
        self.number += 1
        self.rows = []

    def _write(self, path):
        digests, counts, sizes, line_sizes = [], [], [], []
        with atomic_path(path.with_suffix(".shingles")) as name, open(name, "wb") as file:
            for start in range(0, len(self.rows), 256):
                found = self.shingler([document.text for document, _ in self.rows[start : start + 256]])
                file.write(found.values.tobytes())
                sizes.append(found.sizes)
                counts.append(found.words)
                digests += found.digests
        if self.lines:
            with atomic_path(path.with_suffix(".lines")) as name, open(name, "wb") as file:
                for document, _ in self.rows:
                    codes = np.unique(line_codes(document.text)[1])
                    codes = codes[codes > 0]
                    file.write(codes.tobytes())
                    line_sizes.append(len(codes))
        documents = [document for document, _ in self.rows]
        columns = {
            "number": np.arange(self.documents, self.documents + len(self.rows)),
            "first": np.array([first for first, _ in digests], np.uint64),
            "second": np.array([second for _, second in digests], np.uint64),
            "words": np.concatenate(counts),
            "size": np.concatenate(sizes),
            "line_size": np.array(line_sizes or [0] * len(documents), np.int64),
            "time": np.array([document.time for document in documents], np.int64),
            "split": np.array([split for _, split in self.rows], np.int64),
            "source": [document.source for document in documents],
            "kind": [document.kind for document in documents],
            "document_id": [document.document_id for document in documents],
        }
        with atomic_path(path) as name:
            pq.write_table(pa.table(columns), name)


def read_table(folder):
    """The `Table` of all parts."""
    parts, names, groups = [], {}, []
    for path in sorted(Path(folder).glob("*.parquet")):
        table = pq.read_table(path, columns=None)
        pairs = zip(table["source"].to_pylist(), table["kind"].to_pylist(), strict=True)
        groups.append(np.array([names.setdefault(pair, len(names)) for pair in pairs], np.int64))
        digests = [numbers(table[name], np.uint64) for name in ("first", "second")]
        others = [numbers(table[name], np.int64) for name in ("words", "size", "line_size", "time", "split")]
        parts.append([np.stack(digests, 1), *others])
    return Table(*(np.concatenate(columns) for columns in zip(*parts, strict=True)), np.concatenate(groups), [*names])


class Sets:
    """The sets of shingles or of lines, read from disk when they are asked for.

    Args:
        folder, sizes: of the parts; int64 [N].
        suffix: ".shingles" or ".lines".
    """

    def __init__(self, folder, sizes, suffix=".shingles"):
        self.paths = sorted(Path(folder).glob(f"*{suffix}"))
        self.sizes = sizes
        firsts = np.arange(0, max(len(sizes), 1), PART_DOCUMENTS)
        begins = np.cumsum(sizes) - sizes
        self.places = (
            begins - np.repeat(begins[firsts], np.diff(np.append(firsts, len(sizes)))) if len(sizes) else begins
        )
        self._files = {}

    def parts(self):
        """Yields (first document, sizes, values) of each part."""
        for number, path in enumerate(self.paths):
            first = number * PART_DOCUMENTS
            yield first, self.sizes[first : first + PART_DOCUMENTS], np.fromfile(path, np.uint64)

    def __getitem__(self, document):
        """The sorted set of one document: uint64."""
        part = document // PART_DOCUMENTS
        if part not in self._files:
            self._files[part] = open(self.paths[part], "rb", buffering=0)  # closed by `close`
        file = self._files[part]
        file.seek(int(self.places[document]) * 8)
        return np.frombuffer(file.read(int(self.sizes[document]) * 8), np.uint64)

    def close(self):
        """Closes the files."""
        for file in self._files.values():
            file.close()
        self._files = {}


def frequent(sets, share, least, counted):
    """The values that stand in more than `share` of the sets, and in at least `least`: sorted uint64.

    Candidates come from a sample of documents spread evenly over all, of about `_SAMPLE` values, or as many as it takes
    to see a value of the wanted share `_SEEN` times; those seen half as often are counted in all documents, so that
    what is returned is exact.

    Args:
        sets: `Sets`.
        share, least: see above.
        counted: bool [N], which documents count: not exact copies, for a note that was copied is no boilerplate.
    """
    total, number = int(sets.sizes[counted].sum()), int(counted.sum())
    limit = max(share * number, least - 1)
    if number <= limit:
        return np.zeros(0, np.uint64)
    step = max(min(total // _SAMPLE, int(limit) // _SEEN), 1)
    sampled = counted & (np.cumsum(counted) % step == 0)
    values = np.sort(np.concatenate([values for values in _values_of(sets, sampled)]))
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1])) if len(values) else np.zeros(0, np.int64)
    candidates = values[starts[np.diff(starts, append=len(values)) > limit / step / 2]]
    counts = np.zeros(len(candidates), np.int64)
    for part in _values_of(sets, counted) if len(candidates) else ():
        places = np.searchsorted(candidates, part)
        places = places[candidates[np.minimum(places, len(candidates) - 1)] == part]
        counts += np.bincount(places, minlength=len(candidates))
    return candidates[counts > limit]


def _values_of(sets, wanted):
    """Yields the values of the wanted documents (bool [N]) of each part."""
    for first, sizes, values in sets.parts():
        yield values[np.repeat(wanted[first : first + len(sizes)], sizes)]


_SAMPLE, _SEEN = 1_000_000, 100


def is_among(values, sorted_values):
    """bool [S]: which of `values` stand in `sorted_values`."""
    if not len(sorted_values):
        return np.zeros(len(values), bool)
    places = np.minimum(np.searchsorted(sorted_values, values), len(sorted_values) - 1)
    return sorted_values[places] == values
