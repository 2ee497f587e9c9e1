"""Windows of words, as ClinicalBERT cuts them: 318 words each, a remainder of more than 10 words is kept.

318 words become about 512 word pieces; what is beyond, the original's tokenizer drops. `medtop.text.windows` cuts by
word pieces and drops nothing.
"""

import numpy as np

from medtop.text.cleaning import batches

WINDOW_WORDS = 318
SHORTEST_REMAINDER = 10

_IS_SPACE = bytes(chr(code).isspace() for code in range(128)) + bytes(128)
_TO_BLANK = bytes(32 if _IS_SPACE[code] else code for code in range(256))


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
    windows = []
    for batch in batches(texts):
        text = "\0".join([each.strip() for each in batch])
        if text.isascii():
            windows += _ascii_windows(text.encode(), size, shortest)
        else:
            windows += [word_windows(each, size, shortest) for each in batch]
    return windows


def _ascii_windows(raw, size, shortest):
    """The windows of stripped texts joined by NUL; no word is looked at alone."""
    space = np.frombuffer(raw.translate(_IS_SPACE), bool)
    kept = np.ones(len(raw), bool)
    np.logical_and(space[1:], space[:-1], out=kept[1:])  # of several blanks the first one stays
    np.logical_not(kept[1:], out=kept[1:])
    packed = np.frombuffer(raw, np.uint8)[kept].tobytes().translate(_TO_BLANK)
    values = np.frombuffer(packed, np.uint8)
    stops = np.flatnonzero((values == ord(" ")) | (values == 0))  # where each word ends, but for the last one
    begins = np.concatenate([[0], stops + 1])
    last_words = np.append(np.flatnonzero(values[stops] == 0), len(stops))
    stops = np.append(stops, len(values))
    packed, windows, first = packed.decode(), [], 0
    for last in last_words.tolist():
        words = last + 1 - first if stops[last] > begins[first] else 0  # an empty text has one empty word
        whole = words // size * size
        cuts = [*range(first, first + whole, size)]
        ends = [place + size - 1 for place in cuts]
        if words - whole > shortest:
            cuts.append(first + whole)
            ends.append(last)
        spans = zip(begins[cuts].tolist(), stops[ends].tolist(), strict=True)
        windows.append([packed[start:stop] for start, stop in spans])
        first = last + 1
    return windows
