"""Python's rules on single characters as tables inside a TensorFlow graph.

Whatever `str.lower`, `str.strip`, `unicodedata` and `medtop.text.words` say about a character of the Python that
exports a model is written down here, so that a server without Python says the same. Tests hold each table against
Python over all characters.

Letters: C characters of all texts laid end to end, R rows (texts, or words) that they belong to.
"""

import functools

import numpy as np
import tensorflow as tf

SURROGATES = range(0xD800, 0xE000)
"""No text in UTF-8 holds them."""

_SIGMA, _FINAL_SIGMA = 0x3A3, 0x3C2
_OTHER, _CASED, _IGNORABLE = 0, 1, 2


@functools.cache
def every_character():
    """List of all characters that a text can hold, by their number; "" for surrogates."""
    return ["" if code in SURROGATES else chr(code) for code in range(0x110000)]


class Kinds:
    """What each character is: a small number, kept as the runs of equal ones.

    Args:
        values: int [0x110000].
    """

    def __init__(self, values):
        values = np.asarray(values, np.int32)
        starts = np.flatnonzero(np.diff(values, prepend=values[0] - 1))
        self._starts, self._values = starts.astype(np.int32), values[starts]

    def __call__(self, codes):
        """int32 [C] for int32 [C]."""
        places = tf.searchsorted(tf.constant(self._starts), codes, side="right") - 1
        return tf.gather(tf.constant(self._values), places)


class Forms:
    """What stands in the place of each character: none, one or several.

    Args:
        forms: dict character -> str, of those that do not stay as they are.
    """

    def __init__(self, forms):
        keys = sorted(forms)
        codes = [[ord(letter) for letter in forms[key]] for key in keys]
        lengths = np.array([len(form) for form in codes], np.int32)
        # one more key, above all characters, so that a search always ends at one
        self._keys = np.array([*map(ord, keys), 0x110000], np.int32)
        self._lengths = np.append(lengths, np.int32(0))
        self._starts = np.append(np.cumsum(lengths) - lengths, 0).astype(np.int32)
        self._values = np.array([code for form in codes for code in form] + [0], np.int32)

    def __call__(self, codes, rows):
        """(codes, rows) with the forms in place.

        Args:
            codes: int32 [C].
            rows: int64 [C], the row of each.
        """
        keys, lengths, starts = tf.constant(self._keys), tf.constant(self._lengths), tf.constant(self._starts)
        places = tf.searchsorted(keys, codes)
        changes = tf.equal(tf.gather(keys, places), codes)
        counts = tf.where(changes, tf.gather(lengths, places), 1)
        source = tf.repeat(tf.range(tf.size(codes)), counts)
        within = tf.range(tf.size(source)) - tf.gather(tf.cumsum(counts, exclusive=True), source)
        changed = tf.gather(changes, source)
        in_form = tf.where(changed, tf.gather(starts, tf.gather(places, source)) + within, 0)
        codes = tf.where(changed, tf.gather(tf.constant(self._values), in_form), tf.gather(codes, source))
        return codes, tf.gather(rows, source)


@functools.cache
def _lower_forms():
    """dict character -> its lower case, of those that change; a capital sigma as within a word."""
    forms = {letter: letter.lower() for letter in every_character()}
    return {letter: form for letter, form in forms.items() if form != letter}


@functools.cache
def _around_sigma():
    """What each character is to a capital sigma beside it: Python does not say it, but shows it."""
    kinds = np.zeros(0x110000, np.int32)
    sigma, final = chr(_SIGMA), chr(_FINAL_SIGMA)
    for code, letter in enumerate(every_character()):
        if letter and (letter + sigma).lower()[-1] == final:
            kinds[code] = _CASED
        elif letter and ("a" + letter + sigma).lower()[-1] == final:
            kinds[code] = _IGNORABLE
    return kinds


class LowerCase:
    """`str.lower` of Python: one character may become two, and a sigma that ends a word is another one."""

    def __init__(self):
        self._forms, self._around = Forms(_lower_forms()), Kinds(_around_sigma())

    def __call__(self, texts):
        """string [R] for string [R], UTF-8."""
        decoded = tf.strings.unicode_decode(texts, "UTF-8", errors="strict")
        codes, rows = decoded.flat_values, decoded.value_rowids()
        codes, rows = self._forms(self._with_final_sigmas(codes, rows), rows)
        lower = tf.RaggedTensor.from_value_rowids(codes, rows, decoded.nrows())
        return tf.strings.unicode_encode(lower, "UTF-8", errors="strict")

    def _with_final_sigmas(self, codes, rows):
        """Sigma is final where letters stand before it and none after it; accents and the like are passed over."""
        is_sigma = tf.equal(codes, _SIGMA)
        kinds = self._around(codes)
        solid = tf.cast(tf.where(tf.not_equal(kinds, _IGNORABLE))[:, 0], tf.int64)  # rising places
        places = tf.range(tf.size(codes, out_type=tf.int64))

        def letter_at(number):
            """Whether the solid character of this number (any, out of range too) is a letter of the same text."""
            inside = (number >= 0) & (number < tf.size(solid))
            place = tf.gather(tf.pad(solid, [[0, 1]]), tf.where(inside, number, tf.size(solid)))
            same = tf.equal(tf.gather(rows, place), rows)
            return inside & same & tf.equal(tf.gather(kinds, place), _CASED)

        before = letter_at(tf.searchsorted(solid, places, side="left") - 1)
        after = letter_at(tf.searchsorted(solid, places, side="right"))
        return tf.where(is_sigma & before & ~after, _FINAL_SIGMA, codes)


@functools.cache
def blanks_pattern():
    """A class for RE2 of what `str.strip` takes off, without its brackets."""
    return "".join(rf"\x{{{code:x}}}" for code, letter in enumerate(every_character()) if letter.isspace())
