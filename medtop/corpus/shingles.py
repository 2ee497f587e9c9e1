"""Texts to sets of shingles: runs of k words of the normal form, each as a 64-bit number.

The normal form is the text in lower case, its letters and digits in words, everything else one blank: notes that differ
in line breaks, rules and punctuation only have the same one. A chance agreement of two different runs of words has a
probability below 2**-50.

Letters: N texts, W words, S shingles of all texts.
"""

import dataclasses
import hashlib
import re

import numpy as np

_WORD = re.compile(r"[^\W_]+")
_BLANK = ord(" ")
_NORMAL = bytes(ord(chr(code).lower()) if code >= 128 or chr(code).isalnum() else _BLANK for code in range(128)).ljust(
    256
)

MOST_SHINGLE = 64
_rng = np.random.default_rng(20231107)
_FACTORS = _rng.integers(0, 2**64, MOST_SHINGLE, np.uint64, endpoint=False) | np.uint64(1)
_LETTERS = _rng.integers(0, 2**64, 256, np.uint64, endpoint=False)
_LETTERS[_BLANK] = 0
_BASE = _rng.integers(0, 2**64, 1, np.uint64)[0] & np.uint64(2**64 - 8) | np.uint64(3)
"""3 modulo 8: then B**i - B**j is divisible by small powers of two only, for places of one word."""


def words_of(text):
    """The words of the normal form: list of str.

    >>> words_of("BP 120/80;  no_fever\\n-- Dr. Muñoz")
    ['bp', '120', '80', 'no', 'fever', 'dr', 'muñoz']
    """
    return _WORD.findall(text.lower())


def mixed(values):
    """Numbers as unlike each other as random ones, equal where the arguments are (splitmix64's finish): uint64."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


@dataclasses.dataclass(frozen=True)
class Shingles:
    """N texts as sets of shingles.

    Attributes:
        values: uint64 [S], the sets end to end, each sorted.
        sizes: int64 [N], shingles of each set.
        words: int64 [N], words of each text.
        digests: list of N pairs of int: 128 bits of the normal form.
    """

    values: np.ndarray
    sizes: np.ndarray
    words: np.ndarray
    digests: list


class Shingler:
    """Texts -> sets of shingles.

    Args:
        size: words of a shingle. A shorter text is one shingle.
    """

    def __init__(self, size):
        self.size = size

    def __call__(self, texts):
        """The `Shingles` of a list of str."""
        raw = [_normal_bytes(text) for text in texts]
        codes, counts = _word_codes(raw)
        ends = np.cumsum(counts)
        begins, size = (ends - counts).tolist(), self.size
        sums = codes * _FACTORS[0]
        for step in range(1, size):
            sums[: max(len(codes) - step, 0)] += codes[step:] * _FACTORS[step]
        whole = np.arange(len(codes)) + size <= np.repeat(ends, counts)
        for number in np.flatnonzero((counts > 0) & (counts < size)).tolist():
            start = begins[number]
            sums[start] = (codes[start : ends[number]] * _FACTORS[: counts[number]]).sum(dtype=np.uint64)
            whole[start] = True
        values, sizes = _sets(mixed(sums[whole]), np.where(counts > 0, np.maximum(counts - size + 1, 1), 0))
        digests = [_digest(codes[start:stop]) for start, stop in zip(begins, ends.tolist(), strict=True)]
        return Shingles(values, sizes, counts, digests)


def _normal_bytes(text):
    """Bytes of which runs of others than blanks are the words of the normal form."""
    if text.isascii():
        return text.encode().translate(_NORMAL)
    return " ".join(words_of(text)).encode("utf-8", "surrogatepass")


def _word_codes(raw):
    """(uint64 number of each word, the same for the same word; int64 [N] words of each text).

    The number of a word of bytes b0 b1 ... is the sum of T[b_i] B**i modulo 2**64, with T and B drawn at random, mixed.
    Sums up to each place in all texts give those of all words at once; multiplying by the inverse of B as often as its
    first place says moves a word to place 0.
    """
    codes, counts = [np.zeros(0, np.uint64)], []
    for first, last in _blocks([len(text) + 1 for text in raw]):
        joined = b" ".join([b"", *raw[first:last], b""])
        values = np.frombuffer(joined, np.uint8)
        inside = values != _BLANK
        edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
        starts, stops = edges[::2], edges[1::2]
        powers, inverses = _POWERS if len(values) <= len(_POWERS[0]) else _make_powers(len(values))
        sums = np.cumsum(_LETTERS[values] * powers[: len(values)], dtype=np.uint64)
        codes.append(mixed((sums[stops - 1] - sums[starts - 1]) * inverses[starts]))
        text_ends = np.cumsum([len(text) + 1 for text in raw[first:last]])
        counts.append(np.diff(np.searchsorted(starts, text_ends, side="right"), prepend=0))
    return np.concatenate(codes), np.concatenate(counts) if counts else np.zeros(0, np.int64)


def _blocks(lengths):
    """(first, last) of consecutive texts of about `_BLOCK` bytes together: what stays in a processor's cache."""
    first = size = 0
    for number, length in enumerate(lengths):
        if size and size + length > _BLOCK:
            yield first, number
            first, size = number, 0
        size += length
    if first < len(lengths):
        yield first, len(lengths)


_BLOCK = 1 << 16


def _make_powers(number):
    """(B**i, B**-i) of `number` places i, uint64."""
    powers = np.full(number, _BASE, np.uint64)
    inverses = np.full(number, pow(int(_BASE), -1, 2**64), np.uint64)
    powers[0] = inverses[0] = 1
    return np.cumprod(powers, dtype=np.uint64), np.cumprod(inverses, dtype=np.uint64)


_POWERS = _make_powers(2 * _BLOCK)


def _digest(codes):
    raw = hashlib.blake2b(codes.tobytes(), digest_size=16).digest()
    return int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")


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
    codes, counts = _word_codes([_normal_bytes(line) for line in lines])
    ends = np.cumsum(counts)
    numbers = [
        _digest(codes[stop - n : stop])[0] if n else 0 for stop, n in zip(ends.tolist(), counts.tolist(), strict=True)
    ]
    return lines, np.array(numbers, np.uint64)
