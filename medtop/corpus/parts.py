"""What de-duplication knows of the documents, on disk in parts (`medtop.corpus.resumable`).

A part is `<number>.parquet` (a row a document), `<number>.shingles` and, with boilerplate lines, `<number>.lines`
(uint64, the sets end to end).
"""

import bisect
import collections
import dataclasses

import numpy as np
import pyarrow.parquet as pq

from medtop.cohort.splits import SPLITS
from medtop.corpus.corpus_files import table_of
from medtop.corpus.resumable import part_paths
from medtop.corpus.shingles import Shingler, line_codes
from medtop.files.atomic import atomic_path
from medtop.files.bounded import read_json
from medtop.files.sql import numbers

_TOGETHER = 64


@dataclasses.dataclass(frozen=True)
class PartTable:
    """N documents, one value each: integer arrays, and `digests` uint64 [N, 2] of the normal form.

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


class ShinglePart:
    """Makes a part's files: the `make` of a `PartWriter`.

    Args:
        shingle: words of a shingle.
        lines: whether the lines are stored, too.
    """

    def __init__(self, shingle, lines):
        self.lines, self.shingler = lines, Shingler(shingle)

    def __call__(self, path, documents, splits):
        """{}."""
        digests, counts, sizes, line_sizes = [], [], [], []
        with atomic_path(path.with_suffix(".shingles")) as name, open(name, "wb") as file:
            for start in range(0, len(documents), _TOGETHER):
                made = self.shingler([document.text for document in documents[start : start + _TOGETHER]])
                file.write(made.values.tobytes())
                sizes.append(made.sizes)
                counts.append(made.words)
                digests += made.digests
        if self.lines:
            with atomic_path(path.with_suffix(".lines")) as name, open(name, "wb") as file:
                for document in documents:
                    codes = np.unique(line_codes(document.text)[1])
                    codes = codes[codes > 0]
                    file.write(codes.tobytes())
                    line_sizes.append(len(codes))
        columns = {
            "first": np.array([first for first, _ in digests], np.uint64),
            "second": np.array([second for _, second in digests], np.uint64),
            "words": np.concatenate(counts).astype(np.int32),
            "size": np.concatenate(sizes).astype(np.int32),
            "line_size": np.array(line_sizes or [0] * len(documents), np.int32),
            "time": np.array([document.time for document in documents], np.int64),
            "split": np.array([SPLITS.index(split) for split in splits], np.int8),
            "source": [document.source for document in documents],
            "kind": [document.kind for document in documents],
            "document_id": [document.document_id for document in documents],
        }
        with atomic_path(path.with_suffix(".parquet")) as name:
            pq.write_table(table_of(columns), name)
        return {}


_NUMBERS = {"words": np.int32, "size": np.int32, "line_size": np.int32, "time": np.int64, "split": np.int8}
_READ = ["first", "second", "source", "kind", *_NUMBERS]


def read_table(folder):
    """The `PartTable` of all parts."""
    columns, names = collections.defaultdict(list), {}
    for path in part_paths(folder):
        table = pq.ParquetFile(path.with_suffix(".parquet")).read(
            columns=["first", "second", "source", "kind", *_NUMBERS]
        )
        pairs = zip(table["source"].to_pylist(), table["kind"].to_pylist(), strict=True)
        columns["group"].append(np.array([names.setdefault(pair, len(names)) for pair in pairs], np.int32))
        columns["digest"].append(np.stack([numbers(table[name], np.uint64) for name in ("first", "second")], 1))
        for name, dtype in _NUMBERS.items():
            columns[name].append(numbers(table[name], dtype).copy())
    whole = {name: np.concatenate(columns.pop(name)) for name in ("digest", *_NUMBERS, "group")}
    return PartTable(*whole.values(), [*names])


def read_names(folder, places):
    """dict of `source`, `kind`, `document_id` -> list of str, of some documents in their order.

    Args:
        places: int64, rising.
    """
    names, first = {"source": [], "kind": [], "document_id": []}, 0
    for path in part_paths(folder):
        size = read_json(path.with_suffix(".json"))["documents"]
        mine = places[np.searchsorted(places, first) : np.searchsorted(places, first + size)] - first
        first += size
        if len(mine):
            table = pq.ParquetFile(path.with_suffix(".parquet")).read(columns=list(names))
            for name, values in names.items():
                column = table[name].to_pylist()
                values += [column[place] for place in mine.tolist()]
    return names


class Sets:
    """The sets of shingles or of lines, read from disk when they are asked for.

    Args:
        folder, sizes: of the parts; int [N].
        suffix: ".shingles" or ".lines".
    """

    def __init__(self, folder, sizes, suffix=".shingles"):
        parts = part_paths(folder)
        documents = [read_json(path.with_suffix(".json"))["documents"] for path in parts]
        self.paths, self.sizes = [path.with_suffix(suffix) for path in parts], sizes
        self.firsts = (np.cumsum(documents) - documents).tolist()
        self._ends = np.cumsum(documents).tolist()
        self._files = collections.OrderedDict()

    def parts(self):
        """Yields (first document, sizes, values) of each part."""
        for first, end, path in zip(self.firsts, self._ends, self.paths, strict=True):
            yield first, self.sizes[first:end], np.fromfile(path, np.uint64)

    def __getitem__(self, document):
        """The sorted set of one document: uint64."""
        part = bisect.bisect_right(self.firsts, document) - 1
        file = self._file(part)
        file.seek(int(self.sizes[self.firsts[part] : document].sum()) * 8)
        return np.frombuffer(file.read(int(self.sizes[document]) * 8), np.uint64)

    def _file(self, part):
        if part in self._files:
            self._files.move_to_end(part)
            return self._files[part]
        if len(self._files) >= _MOST_OPEN:
            self._files.popitem(last=False)[1].close()
        self._files[part] = open(self.paths[part], "rb", buffering=0)  # closed by `close`
        return self._files[part]

    def close(self):
        """Closes the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()


_MOST_OPEN = 128


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
    total, number = int(sets.sizes[counted].sum(dtype=np.int64)), int(counted.sum())
    limit = max(share * number, least - 1)
    if number <= limit:
        return np.zeros(0, np.uint64)
    step = max(min(total // _SAMPLE, int(limit) // _SEEN), 1)
    sampled = counted & (np.cumsum(counted, dtype=np.int32) % step == 0)
    values, end = np.empty(int(sets.sizes[sampled].sum(dtype=np.int64)), np.uint64), 0
    for part in _values_of(sets, sampled):
        values[end : end + len(part)] = part
        end += len(part)
    values.sort()
    more = int(limit / step / 2)  # seen more often than this: equal to the value so many places on
    candidates = np.unique(values[: max(len(values) - more, 0)][values[more:] == values[: len(values) - more]])
    del values
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


_SAMPLE, _SEEN = 250_000, 100


def is_among(values, sorted_values):
    """bool [S]: which of `values` stand in `sorted_values`."""
    if not len(sorted_values):
        return np.zeros(len(values), bool)
    places = np.minimum(np.searchsorted(sorted_values, values), len(sorted_values) - 1)
    return sorted_values[places] == values
