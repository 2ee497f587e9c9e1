"""Cleaning of notes: the published order of ClinicalBERT, and a careful one that leaves numbers whole.

Many notes are cleaned at once, joined into one text by a character that none of them holds, so that each step is one
call for thousands of notes. `published` equals, character for character, these steps on each note alone (Huang,
Altosaar, Ranganath: ClinicalBERT, 2019, its preprocessing script): line feeds, then carriage returns to blanks; strip;
lower case; then in this order `\\[(.*?)\\]` removed, `[0-9]+\\.` removed, `dr\\.` -> doctor, `m\\.d\\.` -> md,
`admission date:` removed, `discharge date:` removed, `--|__|==` removed.
"""

import re

BATCH_CHARACTERS = 1 << 20
"""Notes are joined into texts of about this length: they fit a processor's cache."""

CLEANINGS = ("careful", "published")

_ENDS = "\n"  # between notes: no pattern below matches across it
_MARK = "\0"  # stands for what will be removed; files with NUL bytes are refused

# `\[.*?\]` alone would look for the missing `]` from each `[` anew; the second branch takes an open rest as it is.
_BRACKETS = re.compile(r"\[[^\]\n]*\]|(\[[^\]\n]*)")
_NUMBERS = re.compile(r"(?<![0-9])[0-9]+\.")  # the same as `[0-9]+\.`, linear in long runs of digits
_DEIDENTIFIED = re.compile(r"\[\*\*(?:[^*\n]|\*(?!\*\]))*\*\*\]")
_LIST_NUMBERS = re.compile(r"^[ \t]*[0-9]{1,2}\.(?=[ \t\r\n]|$)", re.MULTILINE)
_DOCTOR = re.compile(r"\bdr\.", re.IGNORECASE)
_MD = re.compile(r"\bm\.d\.", re.IGNORECASE)
_DATES = re.compile(r"\b(?:admission|discharge) date:", re.IGNORECASE)
_RULES = re.compile(r"-{2,}|_{2,}|={2,}")


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
    step = published if cleaning == "published" else lambda batch: careful(batch, lower_case)
    return [text for batch in _batches(texts) for text in step(batch)]


def _batches(texts):
    batch, length = [], 0
    for text in texts:
        batch.append(text)
        length += len(text)
        if length >= BATCH_CHARACTERS:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def published(texts):
    """ClinicalBERT's cleaning, exactly: list of str -> list of str."""
    text = _ENDS.join([text.replace("\n", " ").replace("\r", " ").strip() for text in texts]).lower()
    text = _BRACKETS.sub(r"\1", text)
    text = _NUMBERS.sub("", text)
    text = text.replace("dr.", "doctor").replace("m.d.", "md")
    text = text.replace("admission date:", "").replace("discharge date:", "")
    # What a removal brings together is not removed: the pairs are marked first.
    text = text.replace("--", _MARK).replace("__", _MARK).replace("==", _MARK).replace(_MARK, "")
    return text.split(_ENDS)


def careful(texts, lower_case=True):
    """The published cleaning without its accidents: list of str -> list of str.

    Numbers of lists go where they begin a line (the published rule also cuts 4.5 to 5); `[** **]` goes, other brackets
    stay; dr. and m.d. are words of their own (not the end of "hydr."); rules of --, __ and == of any length become one
    blank.
    """
    text = _LIST_NUMBERS.sub("", _MARK.join(texts).replace(_MARK, "\0\n"))
    text = text.replace("\0\n", _MARK).replace("\n", " ").replace("\r", " ").replace(_MARK, _ENDS)
    text = text.lower() if lower_case else text
    text = _DEIDENTIFIED.sub("", text)
    text = _MD.sub("md" if lower_case else "MD", _DOCTOR.sub("doctor" if lower_case else "Doctor", text))
    text = _RULES.sub(" ", _DATES.sub("", text))
    return [note.strip() for note in text.split(_ENDS)]
