"""What can be seen of a word without weights: shape, beginnings, ends, neighbours. The CRF reads these."""

import functools
import re

_RUN = re.compile(r"(.)\1+")
_PREFIXES, _SUFFIXES = (2, 3, 4), (2, 3, 4, 5)


@functools.lru_cache(maxsize=100_000)
def shape(word):
    """A word with letters and digits by kind, runs of one kind as one.

    >>> [shape(word) for word in ("Metformin", "HbA1c", "12.5mg")]
    ['Aa', 'AaA0a', '0.0a']
    """
    kinds = re.sub("[a-z]", "a", re.sub("[A-Z]", "A", re.sub("[0-9]", "0", word)))
    return _RUN.sub(r"\1", kinds)


@functools.lru_cache(maxsize=100_000)
def _alone(word):
    lower = word.lower()
    return (
        "b",
        f"w={lower}",
        f"s={shape(word)}",
        *(f"p{size}={lower[:size]}" for size in _PREFIXES),
        *(f"x{size}={lower[-size:]}" for size in _SUFFIXES),
    )


def sentence_features(words):
    """Features of each word of a sentence, with those of its neighbours.

    Args:
        words: list of str.

    Returns:
        list of lists of str.
    """
    rows = []
    for place, word in enumerate(words):
        row, lower = list(_alone(word)), word.lower()
        for offset in (-2, -1, 1, 2):
            other = words[place + offset] if 0 <= place + offset < len(words) else None
            row.append(f"{offset}={'#' if other is None else other.lower()}")
            if other is not None and abs(offset) == 1:
                row += [f"{offset}s={shape(other)}", f"{offset}x={other.lower()[-3:]}"]
        if place:
            row.append(f"b-1={words[place - 1].lower()}|{lower}")
        if place + 1 < len(words):
            row.append(f"b+1={lower}|{words[place + 1].lower()}")
        rows.append(row)
    return rows
