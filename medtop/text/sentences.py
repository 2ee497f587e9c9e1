"""Texts to sentences, and short ones joined to the one before: what a pretraining pair is made of.

Rules instead of a trained splitter: no download, the same on every machine. A sentence ends at a blank
line, and after `.`, `!` or `?` before white space, unless what stands before the full stop is a known abbreviation, a
single letter, or a number that begins a line (`3. aspirin`).
"""

import re

from medtop.files.errors import DataError

UNITS = ("characters", "words")
"""What a short segment is measured in: ClinicalBERT's code counts characters, its article says words."""
SHORT = 20

_ABBREVIATIONS = (
    "dr mr mrs ms pt pts vs st sr jr prof approx dept fig no nos vol etc e.g i.e cf resp temp hosp hx dx tx rx sx fx "
    "a.m p.m b.i.d t.i.d q.i.d p.o i.v i.m q.d q.h.s p.r.n h.s m.d jan feb mar apr jun jul aug sep sept oct nov dec "
    "tab tabs cap caps wt ht lt rt ant post lat sup inf"
).split()
_END = re.compile(
    r"""(?P<blank>(?:\r?\n|\r(?!\n))[^\S\n\r]*(?:\r?\n|\r(?!\n))\s*)  # a blank line
      | (?<!\S)(?P<last>\S{0,50}?)        # the word before the stop; bounded, or long rules of ==== would take ages
        (?P<stop>[.!?]{1,9}["')\]]{0,9})    # the stop, with what closes
        (?=\s)\s*""",
    re.VERBOSE,
)
_NUMBER = re.compile(r"\(?\d{1,3}")


def sentence_spans(text):
    """Where the sentences of a text begin and end: list of (start, end), white space around them left out.

    >>> text = "Seen by dr. Who, b.i.d. dosing. Stable!  1. aspirin 2.5 mg"
    >>> [text[start:end] for start, end in sentence_spans(text)]
    ['Seen by dr. Who, b.i.d. dosing.', 'Stable!', '1. aspirin 2.5 mg']
    """
    spans, start = [], 0
    for stop in _END.finditer(text):
        if stop["blank"] is None and _goes_on(text, stop, start):
            continue
        end = stop.start() if stop["blank"] is not None else stop.end("stop")
        spans += _trimmed(text, start, end)
        start = stop.end()
    return spans + _trimmed(text, start, len(text))


def _goes_on(text, stop, start):
    """Whether the full stop does not end the sentence."""
    if stop["stop"] != ".":
        return False
    word = stop["last"].lower().lstrip("([\"'")
    if word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha()):
        return True
    if not _NUMBER.fullmatch(word):
        return False
    line = max(start, *(text.rfind(end, start, stop.start("last")) + 1 for end in "\n\r"))
    return not text[line : stop.start("last")].strip()


def _trimmed(text, start, end):
    piece = text[start:end]
    left = start + len(piece) - len(piece.lstrip())
    right = end - (len(piece) - len(piece.rstrip()))
    return [(left, right)] if left < right else []


def join_short(text, spans, unit="characters", short=SHORT):
    """Joins each sentence shorter than `short` to the one before it (abbreviations, headings, values).

    The first one stays alone where it is short; what follows it may still join it.

    Args:
        text: the text.
        spans: list of (start, end), in order.
        unit: one of `UNITS`.
        short: sentences of fewer units are joined.

    Returns:
        list of (start, end).

    >>> join_short("Fever was seen today. Yes. No signs of infection.", [(0, 21), (22, 26), (27, 49)])
    [(0, 26), (27, 49)]
    """
    if unit not in UNITS:
        raise DataError(f"--short_segment_unit: expected {' or '.join(UNITS)}, received {unit!r}")
    joined = []
    for start, end in spans:
        size = end - start if unit == "characters" else len(text[start:end].split())
        if joined and size < short:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
