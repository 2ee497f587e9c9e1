"""Texts to sets of shingles: runs of k words of the normal form, each as a 64-bit number.

The normal form is the text in lower case, its letters and digits in words, everything else one blank: notes that differ
in line breaks, rules and punctuation only have the same one. Two sets stand for two texts: a chance agreement of two
different runs of words has probability 2**-64.

Letters: N texts, W words, S shingles of all texts.
"""

import hashlib
import re

import numpy as np

_WORD = re.compile(r"[^\W_]+")
_MOST_WORDS = 1_000_000
"""Distinct words whose numbers are remembered, some 150 bytes each."""

MOST_SHINGLE = 64
_FACTORS = np.random.default_rng(20231107).integers(0, 2**64, MOST_SHINGLE, np.uint64, endpoint=False) | np.uint64(1)


def words_of(text):
    """The words of the normal form: list of str.

    >>> words_of("BP 120/80;  no_fever\\n-- Dr. Muñoz")
    ['bp', '120', '80', 'no', 'fever', 'dr', 'muñoz']
    """
    return _WORD.findall(text.lower())


def digest(words):
    """128 bits of the normal form: two uint64."""
    raw = hashlib.blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")


def mixed(values):
    """Numbers as unlike each other as random ones, equal where the arguments are (splitmix64's finish): uint64."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


class Shingler:
    """Texts -> sets of shingles.

    Args:
        size: words of a shingle. A shorter text is one shingle.
    """

    def __init__(self, size):
        self.size, self._numbers = size, {}

    def __call__(self, lists):
        """The sets of N texts, each sorted, end to end.

        Args:
            lists: list of N lists of words (`words_of`).

        Returns:
            (shingles uint64 [S], counts int64 [N]).
        """
        counts = np.array([len(words) for words in lists], np.int64)
        codes, size = self._codes([word for words in lists for word in words]), self.size
        ends = np.cumsum(counts)
        sums = codes * _FACTORS[0]
        for step in range(1, size):
            sums[: max(len(codes) - step, 0)] += codes[step:] * _FACTORS[step]
        whole = np.arange(len(codes)) + size <= np.repeat(ends, counts)
        for number in np.flatnonzero((counts > 0) & (counts < size)).tolist():
            start = ends[number] - counts[number]
            sums[start] = (codes[start : ends[number]] * _FACTORS[: counts[number]]).sum(dtype=np.uint64)
            whole[start] = True
        return _sets(mixed(sums[whole]), np.where(counts > 0, np.maximum(counts - size + 1, 1), 0))

    def _codes(self, words):
        """uint64 of each word; the same word has the same one."""
        if len(self._numbers) > _MOST_WORDS:
            self._numbers = {}
        numbers = self._numbers
        for word in set(words).difference(numbers):
            raw = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            numbers[word] = int.from_bytes(raw, "little")
        return np.fromiter(map(numbers.__getitem__, words), np.uint64, len(words))


def _sets(values, counts):
    """Sorted values of each text, each once: (values end to end, counts int64 [N])."""
    owners, start = np.repeat(np.arange(len(counts)), counts), 0
    for stop in np.cumsum(counts).tolist():
        values[start:stop].sort()
        start = stop
    first = np.ones(len(values), bool)
    first[1:] = (values[1:] != values[:-1]) | (owners[1:] != owners[:-1])
    return values[first], np.bincount(owners[first], minlength=len(counts)).astype(np.int64)


def line_codes(text):
    """(lines with their ends, uint64 number of each line's normal form); lines without a word are 0."""
    lines = text.splitlines(keepends=True)
    codes = [digest(words)[0] if (words := words_of(line)) else 0 for line in lines]
    return lines, np.array(codes, np.uint64)
