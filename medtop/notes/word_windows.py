"""Windows of words, as ClinicalBERT cuts them: 318 words each, a remainder of more than 10 words is kept.

318 words become about 512 word pieces; what is beyond, the original's tokenizer drops. `medtop.notes.windows` cuts by
word pieces and drops nothing.
"""

import numpy as np

from medtop.notes.cleaning import batches

WINDOW_WORDS = 318
SHORTEST_REMAINDER = 10

_SPACE = np.array([chr(code).isspace() or code == 0 for code in range(256)])
_TO_BLANK = bytes(32 if code < 128 and _SPACE[code] else code for code in range(256))


def word_windows(text, size=WINDOW_WORDS, shortest=SHORTEST_REMAINDER):
    """Cuts a text at white space into windows of `size` words, joined by single blanks.

    Args:
        text: str.
        size: words of a window.
        shortest: a remainder of more words than this is a window, too; a shorter one is dropped.

    Returns:
        list of str; empty for a text of at most `shortest` words.

    >>> word_windows("a b  c d e", size=2, shortest=0)
    ['a b', 'c d', 'e']
    >>> word_windows("a b c d e", size=2, shortest=1)
    ['a b', 'c d']
    """
    words = text.split()
    whole = len(words) // size * size
    windows = [" ".join(words[start : start + size]) for start in range(0, whole, size)]
    if len(words) - whole > shortest:
        windows.append(" ".join(words[whole:]))
    return windows


def all_word_windows(texts, size=WINDOW_WORDS, shortest=SHORTEST_REMAINDER):
    """`word_windows` of each of many texts without NUL characters: list of lists of str."""
    found = []
    for batch in batches(texts):
        text = "\0".join(batch)
        found += _ascii_windows(text, len(batch), size, shortest) if text.isascii() else [
            word_windows(each, size, shortest) for each in batch
        ]
    return found


def _ascii_windows(text, count, size, shortest):
    """The windows of `count` texts joined by NUL; no word is looked at alone."""
    raw = text.encode()
    values = np.frombuffer(raw, np.uint8)
    blank = _SPACE[values]
    after_blank = np.concatenate([[True], blank[:-1]])
    begins = np.flatnonzero(after_blank & ~blank)
    finishes = np.flatnonzero(blank & ~after_blank)
    if len(finishes) < len(begins):
        finishes = np.append(finishes, len(raw))
    # the same text with one blank after each word, and where its words begin there
    packed = values[~(blank & after_blank)].tobytes().translate(_TO_BLANK).decode()
    places = np.concatenate([[0], np.cumsum(finishes - begins + 1)])
    ends = np.append(np.flatnonzero(values == 0), len(raw))
    words_until = np.searchsorted(begins, ends)
    windows, first = [], 0
    for after in words_until.tolist():
        cuts = list(range(first, after + 1, size))
        if after - cuts[-1] > shortest:
            cuts.append(after)
        stops = places[cuts].tolist()
        windows.append([packed[start : stop - 1] for start, stop in zip(stops, stops[1:], strict=False)])
        first = after
    assert len(windows) == count
    return windows
