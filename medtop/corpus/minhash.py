"""MinHash in bands: documents of similar sets of shingles meet in at least one bucket (Broder 1997; Leskovec,
Rajaraman, Ullman: Mining of Massive Datasets, 3.4).

Of a set, each of b x r seeded hash functions keeps its smallest value; two sets of Jaccard similarity s agree in one of
them with probability s, in all r of a band with s**r, in at least one of b bands with 1 - (1 - s**r)**b. What meets is
a candidate only: `medtop.corpus.near_copies` compares the sets themselves.
"""

import numpy as np

from medtop.corpus.shingles import mixed

MOST_HASHES = 128
LEAST_RECALL = 0.998
"""Of pairs exactly at the threshold; pairs above it meet more often."""


def choose_bands(near):
    """(bands b, rows r) with at most `MOST_HASHES` hashes: the most rows, hence the fewest candidates, that meet
    `LEAST_RECALL`.

    >>> choose_bands(0.8)
    (21, 6)
    """
    for rows in range(MOST_HASHES, 0, -1):
        wanted = np.log1p(-LEAST_RECALL) / np.log1p(-min(near**rows, 1 - 1e-12))
        bands = max(int(np.ceil(wanted)), 1)
        if bands * rows <= MOST_HASHES:
            return bands, rows
    return MOST_HASHES, 1


def chance_to_meet(similarity, bands, rows):
    """1 - (1 - s**r)**b."""
    return 1 - (1 - similarity**rows) ** bands


class MinHash:
    """Sets -> the buckets of their bands.

    Args:
        bands, rows: b and r.
        seed: of the hash functions.
    """

    def __init__(self, bands, rows, seed):
        rng = np.random.default_rng(seed)
        self.bands, self.rows = bands, rows
        self._factors = rng.integers(0, 2**32, bands * rows, np.uint32, endpoint=False) | np.uint32(1)
        self._shifts = rng.integers(0, 2**32, bands * rows, np.uint32, endpoint=False)
        self._mixers = rng.integers(0, 2**64, rows, np.uint64, endpoint=False) | np.uint64(1)

    def signatures(self, shingles, counts):
        """uint32 [b x r, N] of N sets, none of them empty.

        Args:
            shingles: uint64, end to end.
            counts: int64 [N].
        """
        values = (shingles >> np.uint64(32)).astype(np.uint32)
        ends = np.cumsum(counts)
        minima = np.empty((self.bands * self.rows, len(counts)), np.uint32)
        for first, last in _blocks(ends):  # of some ten thousand values: they stay in the processor's cache
            start, stop = ends[first] - counts[first], ends[last - 1]
            part, begins = values[start:stop], ends[first:last] - counts[first:last] - start
            room = np.empty_like(part)
            for number, (factor, shift) in enumerate(zip(self._factors, self._shifts, strict=True)):
                np.multiply(part, factor, out=room)
                np.add(room, shift, out=room)
                np.minimum.reduceat(room, begins, out=minima[number, first:last])
        return minima

    def buckets(self, shingles, counts):
        """uint64 [b, N]: equal in a band where all its r values are."""
        rows = self.signatures(shingles, counts).reshape(self.bands, self.rows, -1).astype(np.uint64)
        return mixed((rows * self._mixers[None, :, None]).sum(1, dtype=np.uint64))


def _blocks(ends, size=1 << 15):
    """(first, last) of consecutive sets of about `size` values together."""
    first = 0
    while first < len(ends):
        before = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, before + size, side="right")), first + 1)
        yield first, last
        first = last
