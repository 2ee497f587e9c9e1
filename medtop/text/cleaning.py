"""Cleaning of notes: the published order of ClinicalBERT, and a careful one that leaves numbers whole.

Many notes are cleaned at once, joined by a character that none of them holds, so that each step is one call for a
hundred notes. `published` equals, character for character, these steps on each note alone (Huang, Altosaar, Ranganath:
ClinicalBERT, 2019, its preprocessing script): line feeds, then carriage returns to blanks; strip; lower case; then in
this order `\\[(.*?)\\]` removed, `[0-9]+\\.` removed, `dr\\.` -> doctor, `m\\.d\\.` -> md, `admission date:` removed,
`discharge date:` removed, `--|__|==` removed. Every step is linear in the text, whatever stands in it.
"""

import re

import numpy as np

BATCH_CHARACTERS = 1 << 20
"""Notes are joined into texts of about this length: they fit a processor's cache."""

CLEANINGS = ("careful", "published")

_END = b"\0"  # between notes, which hold no NUL: files with NUL bytes are refused
_BLANKS = bytes.maketrans(b"\n\r", b"  ")
_LOWER_BLANKS = bytes(range(256)).lower().translate(_BLANKS)
_DIGIT = np.isin(np.arange(256), np.frombuffer(b"0123456789", np.uint8))
_IS_RULE = bytes(code in b"-_=" for code in range(256))  # for bytes.translate, five times as fast as a NumPy table
_LONG_NUMBER = 16

_LIST_NUMBERS = re.compile(rb"[\n\r][ \t]*[0-9]{1,2}\.(?=[ \t\r\n\0]|\Z)")
# What stands before is looked at last: patterns that begin with letters are found ten times as fast.
_LETTER = re.compile(r"[^\W_]")
_WORDS = [
    (rb"dr\.(?<!\wdr\.)", b"doctor"),
    (rb"m\.d\.(?<!\wm\.d\.)", b"md"),
    (rb"admission date:", b""),
    (rb"discharge date:", b""),
]
_LOWER_WORDS = [(re.compile(pattern), word) for pattern, word in _WORDS]
_ANY_WORDS = [(re.compile(pattern, re.IGNORECASE), word.capitalize()) for pattern, word in _WORDS]


def clean(texts, cleaning="careful", lower_case=True):
    """Cleans notes.

    Args:
        texts: list of str without NUL characters.
        cleaning: "careful" or "published".
        lower_case: whether letters become lower case; "published" always does that.

    Returns:
        list of str, as many, none with line ends.

    >>> clean(["[**2101-1-5**] Dr. Who:\\n1. K 4.5 -- fine"], "published")
    [' doctor who:  k 5  fine']
    >>> clean(["[**2101-1-5**] Dr. Who:\\n1. K 4.5 -- fine"], "careful")
    ['doctor who:  k 4.5   fine']
    """
    if cleaning not in CLEANINGS:
        raise ValueError(f"cleaning: expected one of {', '.join(CLEANINGS)}, received {cleaning!r}")
    cleaned = []
    for batch in batches(texts):
        cleaned += published(batch) if cleaning == "published" else careful(batch, lower_case)
    return cleaned


def has_word(text):
    """Whether a text has a letter or a digit; rules, punctuation and blanks say nothing about a patient.

    >>> [has_word(text) for text in ("", " ___ . ", "-5")]
    [False, False, True]
    """
    return _LETTER.search(text) is not None


def batches(texts, characters=BATCH_CHARACTERS):
    """Yields lists of consecutive texts, of about `characters` together."""
    batch, length = [], 0
    for text in texts:
        batch.append(text)
        length += len(text)
        if length >= characters:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def published(texts):
    """ClinicalBERT's cleaning, exactly: list of str -> list of str."""
    text = "\0".join([text.strip() for text in texts])
    raw = text.encode().translate(_LOWER_BLANKS) if text.isascii() else text.lower().encode().translate(_BLANKS)
    raw = _without_numbers(_without_brackets(raw, b"[", b"]"))
    raw = _with_titles(raw)
    raw = raw.replace(b"admission date:", b"").replace(b"discharge date:", b"")
    return _without_pairs(raw).decode().split("\0")


def careful(texts, lower_case=True):
    """The published cleaning without its accidents: list of str -> list of str.

    Numbers of lists go where they begin a line, after a line feed or a carriage return alone (the published rule also
    cuts 4.5 to 5); `[** **]` goes, other brackets stay; dr. and m.d. are words of their own (not the end of "hydr.");
    a rule of two or more of one of -, _ and = becomes one blank; what is left at both ends is stripped.
    """
    text = "\n" + "\0\n".join(texts)
    text = text.lower() if lower_case else text
    raw = _LIST_NUMBERS.sub(b"\n", text.encode()).translate(_BLANKS)
    raw = _without_brackets(raw, b"[**", b"**]")
    for pattern, word in _LOWER_WORDS if lower_case else _ANY_WORDS:
        raw = pattern.sub(word, raw)
    return [note.strip() for note in _without_rules(raw).decode().split("\0")]


def _without_brackets(raw, opening, closing):
    """`raw` without each `opening`, whatever follows it in its note, and the next `closing`, from left to right.

    The same as `re.sub`, which looks for a missing `closing` from each `opening` anew.
    """
    values = np.frombuffer(raw, np.uint8)
    starts, stops = _places(values, opening), _places(values, closing)
    next_stop = np.searchsorted(stops, starts + len(opening))
    starts, next_stop = starts[next_stop < len(stops)], next_stop[next_stop < len(stops)]
    ends = _places(values, _END)
    same_note = np.searchsorted(ends, starts) == np.searchsorted(ends, stops[next_stop])
    starts, next_stop = starts[same_note], next_stop[same_note]
    first = np.diff(next_stop, prepend=-1) > 0  # of several that wait for one `closing`
    all_stops = stops[next_stop] + len(closing)
    if np.any(starts[first][1:] < all_stops[first][:-1]):  # `[**]`: an opening within the closing before it
        return _splice(raw, *_apart(starts, all_stops))
    return _splice(raw, starts[first], all_stops[first])


def _places(values, word):
    """Where `word` (bytes) stands in `values` (uint8): int64, rising."""
    places = np.flatnonzero(values == word[0])
    for offset in range(1, len(word)):
        places = places[places < len(values) - offset]
        places = places[values[places + offset] == word[offset]]
    return places


def _apart(starts, stops):
    """The spans that begin where the one taken before has ended, from left to right."""
    kept, end = [], 0
    for number, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        if start >= end:
            kept.append(number)
            end = stop
    return starts[kept], stops[kept]


def _without_numbers(raw):
    """`raw` without each run of ASCII digits that a full stop ends, and the full stop."""
    values = np.frombuffer(raw, np.uint8)
    stops = np.flatnonzero(values == ord("."))
    stops = stops[(stops > 0) & _DIGIT[values[stops - 1]]]
    starts, longer = stops.copy(), np.arange(len(stops))
    for _ in range(_LONG_NUMBER):
        starts[longer] -= 1
        longer = longer[(starts[longer] > 0) & _DIGIT[values[starts[longer] - 1]]]
        if not len(longer):
            break
    for number in longer.tolist():  # numbers of many digits one by one, so that the loop above stays short
        while starts[number] > 0 and _DIGIT[values[starts[number] - 1]]:
            starts[number] -= 1
    return _splice(raw, starts, stops + 1)


def _with_titles(raw):
    """`raw` with doctor for dr. and md for m.d.; neither can make or break one of the other."""
    values = np.frombuffer(raw, np.uint8)
    stops = np.flatnonzero(values == ord("."))
    before = [values[np.maximum(stops - back, 0)] for back in (1, 2, 3)]
    doctor = (before[0] == ord("r")) & (before[1] == ord("d")) & (stops >= 2)
    md = (before[0] == ord("d")) & (before[1] == ord(".")) & (before[2] == ord("m")) & (stops >= 3)
    parts, place = [], 0
    for stop in stops[doctor | md].tolist():
        start, word = (stop - 2, b"doctor") if raw[stop - 1] == ord("r") else (stop - 3, b"md")
        parts += [raw[place:start], word]
        place = stop + 1
    return b"".join([*parts, raw[place:]])


def _rules(raw):
    """(starts, sizes) of the runs of two or more of one of -, _ and =: int64 arrays."""
    values = np.frombuffer(raw, np.uint8)
    places = np.flatnonzero(np.frombuffer(raw.translate(_IS_RULE), bool))
    if not len(places):
        return places, places
    first = np.ones(len(places), bool)
    first[1:] = (np.diff(places) > 1) | (values[places[1:]] != values[places[:-1]])
    begins = np.flatnonzero(first)
    sizes = np.diff(begins, append=len(places))
    return places[begins][sizes > 1], sizes[sizes > 1]


def _without_pairs(raw):
    """`raw` without --, __ and ==: of each run an even number goes, from its beginning."""
    starts, sizes = _rules(raw)
    return _splice(raw, starts, starts + sizes // 2 * 2)


def _without_rules(raw):
    """`raw` with one blank for each run of two or more of one of -, _ and =."""
    starts, sizes = _rules(raw)
    return _splice(raw, starts, starts + sizes, b" ")


def _splice(raw, starts, stops, word=b""):
    """`raw` with `word` in place of raw[starts[i]:stops[i]], all i; the places rise and do not overlap."""
    if not len(starts):
        return raw
    kept = zip([0, *stops.tolist()], [*starts.tolist(), len(raw)], strict=True)
    return word.join([raw[start:stop] for start, stop in kept])
