"""Texts to words, as BERT's basic tokenizer cuts them: cleaned, perhaps lower-cased without accents, punctuation apart.

The rules are those of HuggingFace's `BertTokenizer` (its `BertNormalizer` and `BertPreTokenizer`), character by
character, so that they are a table: NumPy cuts megabytes of text at once and only words with unusual characters are
looked at one by one. tensorflow-text's `FastBertTokenizer` follows other rules (control characters end a word there,
and cased text is normalised), so that its ids differ on some ordinary notes.

Letters: N texts, W words of all texts.
"""

import dataclasses
import unicodedata

import numpy as np

KEEP, DROP, SPACE, ALONE = 1, 2, 3, 4
"""What a character does: part of a word; nothing, as if it were not there; ends a word; is a word of its own."""

_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
"""Chinese characters, each a word of its own; the ranges, with their one oddity (0x2B920), are HuggingFace's."""


@dataclasses.dataclass(frozen=True)
class Words:
    """Words of N texts, in order.

    Attributes:
        words: list of W str, normalised.
        texts: int64 [W], which text each is in.
        starts, ends: int64 [W], where it begins and ends in its own text, in characters, before normalisation.
    """

    words: list
    texts: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def normal_form(character, lower_case):
    """What becomes of one character: "" nothing, " " the end of a word, else what stands in its place.

    >>> [normal_form(letter, True) for letter in "É\\t\\u200b~"]
    ['e', ' ', '', '~']
    """
    if character in "\t\n\r":
        return " "
    category = unicodedata.category(character)
    if character in "\0\ufffd" or category in ("Cc", "Cf", "Co", "Cs"):
        return ""
    if category in ("Zs", "Zl", "Zp"):
        return " "
    if not lower_case:
        return character
    plain = (part for part in unicodedata.normalize("NFD", character) if unicodedata.category(part) != "Mn")
    return "".join(part.lower() for part in plain)


def is_punctuation(character):
    """BERT's punctuation: every ASCII character that is no letter, digit or space, and Unicode's categories P."""
    code = ord(character)
    if code < 128:
        return 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return unicodedata.category(character).startswith("P")


def kind_of(character, lower_case):
    """`KEEP`, `DROP`, `SPACE` or `ALONE`."""
    form = normal_form(character, lower_case)
    if not form:
        return DROP
    if form == " ":
        return SPACE
    code = ord(character)
    alone = is_punctuation(form[0]) or any(low <= code <= high for low, high in _IDEOGRAPHS)
    return ALONE if alone else KEEP


class WordSplitter:
    """Cuts texts into words.

    Args:
        lower_case: lower-case and take accents off (BERT's uncased models), or leave letters as they are.
    """

    def __init__(self, lower_case):
        self.lower_case = lower_case
        self._kinds = np.zeros(0x110000, np.uint8)  # 0: not yet looked up
        self._learn(range(128))

    def _learn(self, codes):
        for code in codes:
            self._kinds[code] = kind_of(chr(code), self.lower_case)

    def split(self, texts):
        """The `Words` of a list of str.

        >>> WordSplitter(True).split(["Na\\u00efve  pt., 3x", ""]).words
        ['naive', 'pt', '.', ',', '3x']
        """
        joined, codes, kinds, begins, starts, ends = self._cut(texts)
        owners = np.searchsorted(begins, starts, side="right") - 1
        words = self._words(joined, codes, kinds, starts, ends)
        return Words(words, owners, starts - begins[owners], ends - begins[owners])

    def edges(self, texts):
        """Where the words of a list of N str begin and end in their own text: list of N (int64 [n], int64 [n]).

        >>> WordSplitter(True).edges(["a bc", ""])[0]
        (array([0, 2]), array([1, 4]))
        """
        _, _, _, begins, starts, ends = self._cut(texts)
        cuts = np.searchsorted(starts, begins[1:-1])
        parts = zip(begins[:-1].tolist(), np.split(starts, cuts), np.split(ends, cuts), strict=True) if texts else ()
        return [(own - begin, after - begin) for begin, own, after in parts]

    def _cut(self, texts):
        """(the texts end to end, its codes, kinds of these, where each text begins, where words begin, and end)."""
        joined = "\n".join(texts)
        codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        kinds = self._kinds[codes]
        if not kinds.all():
            self._learn(np.unique(codes[kinds == 0]).tolist())
            kinds = self._kinds[codes]
        seen = np.flatnonzero(kinds != DROP)
        kept, alone = kinds[seen] == KEEP, kinds[seen] == ALONE
        edge = np.zeros(1, bool)
        starts = seen[alone | (kept & ~np.concatenate([edge, kept[:-1]])[: len(kept)])]
        ends = seen[alone | (kept & ~np.concatenate([kept[1:], edge])[: len(kept)])] + 1
        begins = np.concatenate([[0], np.cumsum([len(text) + 1 for text in texts])]).astype(np.int64)
        return joined, codes, kinds, begins, starts, ends

    def _words(self, joined, codes, kinds, starts, ends):
        unusual = (codes >= 128) | (kinds == DROP)
        before = np.concatenate([[0], np.cumsum(unusual)])
        if self.lower_case:  # ASCII letters all at once, the same length
            capital = (codes >= 65) & (codes <= 90)
            lower = (codes + np.uint32(32) * capital).astype(np.uint32).tobytes().decode("utf-32-le", "surrogatepass")
        else:
            lower = joined
        words = [lower[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        for place in np.flatnonzero(before[ends] > before[starts]).tolist():
            word = joined[starts[place] : ends[place]]
            words[place] = "".join(normal_form(letter, self.lower_case) for letter in word)
        return words
