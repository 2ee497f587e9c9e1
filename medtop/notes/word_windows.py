"""Windows of words, as ClinicalBERT cuts them: 318 words each, a remainder of more than 10 words is kept.

318 words become about 512 word pieces; what is beyond, the original's tokenizer drops. `medtop.notes.windows` cuts by
word pieces and drops nothing.
"""

WINDOW_WORDS = 318
SHORTEST_REMAINDER = 10


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
