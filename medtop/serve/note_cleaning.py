"""`medtop.text.cleaning` inside a TensorFlow graph: raw notes in, cleaned notes out, the same characters.

Each step is that of the Python code, as a regular expression of RE2, which has no look-ahead: where a rule looks at
what follows, a NUL, which no note holds, marks the place. RE2 takes time linear in the text.
"""

import re

import tensorflow as tf

from medtop.serve.characters import Kinds, LowerCase, blanks_pattern, every_character
from medtop.text.cleaning import has_word


class NoteCleaning:
    """Cleans notes as `medtop.text.cleaning.clean`.

    Args:
        cleaning: "careful" or "published".
        lower_case: whether letters become lower case; "published" always does that.
    """

    def __init__(self, cleaning, lower_case):
        self._published = cleaning == "published"
        self._lower = LowerCase() if lower_case or self._published else None
        self._any_case = not lower_case and not self._published
        self._ends = rf"\A[{blanks_pattern()}]+|[{blanks_pattern()}]+\z"
        self._has_word = Kinds([has_word(letter) for letter in every_character()])

    def __call__(self, notes):
        """string [R] for string [R], valid UTF-8 without NUL (`check_notes`)."""
        return self._clean_published(notes) if self._published else self._clean_careful(notes)

    def has_word(self, notes):
        """bool [R]: which of the cleaned notes hold a letter or a digit."""
        decoded = tf.strings.unicode_decode(notes, "UTF-8", errors="strict")
        words = tf.ragged.map_flat_values(self._has_word, decoded)
        return tf.reduce_max(tf.concat([words, tf.zeros([decoded.nrows(), 1], tf.int32)], axis=1), axis=1) > 0

    def _clean_published(self, notes):
        notes = self._lower(_replaced(notes, self._ends, ""))
        notes = _replaced(notes, r"[\n\r]", " ")
        notes = _replaced(notes, r"(?s)\[.*?\]", "")
        notes = _replaced(notes, r"[0-9]+\.", "")
        notes = _replaced(notes, r"dr\.", "doctor")
        notes = _replaced(notes, r"m\.d\.", "md")
        for words in ("admission date:", "discharge date:", "--|__|=="):
            notes = _replaced(notes, words, "")
        return notes

    def _clean_careful(self, notes):
        notes = tf.strings.join(["\n", notes])
        if self._lower is not None:
            notes = self._lower(notes)
        # "\n1.\n2. x": each line feed ends a number and begins the next one, so that a NUL before it ends the first
        notes = _replaced(notes, r"([\n\r])", "\0\\1")
        notes = _replaced(notes, r"[\n\r][ \t]*[0-9]{1,2}\.([ \t\x00]|\z)", "\n\\1")
        notes = _replaced(_replaced(notes, r"\x00", ""), r"[\n\r]", " ")
        notes = _replaced(notes, r"(?s)\[\*\*.*?\*\*\]", "")
        for words, form in ((r"\bdr\.", "doctor"), (r"\bm\.d\.", "md"), *_HEADINGS):
            any_case = self._any_case
            notes = _replaced(notes, _any_case(words) if any_case else words, form.capitalize() if any_case else form)
        notes = _replaced(notes, "-{2,}|_{2,}|={2,}", " ")
        return _replaced(notes, self._ends, "")


_HEADINGS = (("admission date:", ""), ("discharge date:", ""))


def _any_case(pattern):
    """The pattern for ASCII letters of both cases: RE2's own flag would take a long s for an s.

    >>> _any_case(r"\\bdr\\.")
    '\\\\b[dD][rR]\\\\.'
    """
    return re.sub(r"(\\.)|([a-z])", lambda m: m[1] or f"[{m[2]}{m[2].upper()}]", pattern)


def _replaced(texts, pattern, form):
    return tf.strings.regex_replace(texts, pattern, form)


def check_notes(notes):
    """The notes, once each is known to be UTF-8 without NUL: the error names what is expected, and shows no text."""
    again = tf.strings.unicode_transcode(notes, "UTF-8", "UTF-8", errors="replace", replacement_char=0xFFFD)
    checks = [
        tf.debugging.Assert(tf.reduce_all(tf.equal(again, notes)), ["texts: expected valid UTF-8"]),
        tf.debugging.Assert(
            ~tf.reduce_any(tf.strings.regex_full_match(notes, r"(?s).*\x00.*")),
            ["texts: expected no NUL character"],
        ),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(notes)
