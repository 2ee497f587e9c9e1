"""What the encoder sees of a word beside its id: numbers for its embeddings (`medtop.model.config.WORD_CHANNELS`).

Words, shapes, beginnings and ends are hashed: a table's row may be shared, as in any hashed embedding. The hash is
CRC-32, the same on every machine. Row 0 is "none" (before the first and after the last word of a document).
"""

import functools
import zlib

from medtop.entities.features import shape
from medtop.model.config import CHARACTER_BITS, CHARACTERS

_OTHER_LETTER, _DIGIT, _OTHER = 27, 28, 29


@functools.lru_cache(maxsize=1_000_000)
def hashed(text, rows):
    """A row from 1 to `rows` - 1."""
    return 1 + zlib.crc32(text.encode("utf-8", "surrogatepass")) % (rows - 1)


def character_class(letter):
    """1 to 26 for a to z, other letters, digits, the rest; 0 is none.

    >>> [character_class(letter) for letter in "azé5-"]
    [1, 26, 27, 28, 29]
    """
    if "a" <= letter <= "z":
        return ord(letter) - ord("a") + 1
    return _DIGIT if letter.isdigit() else _OTHER_LETTER if letter.isalpha() else _OTHER


@functools.lru_cache(maxsize=1_000_000)
def packed_characters(text):
    """The first characters of a lower-cased text in one number, the first one lowest.

    >>> packed_characters("ab") == 1 + 2 * 32
    True
    """
    classes = [character_class(letter) for letter in text[:CHARACTERS]]
    return sum(number << CHARACTER_BITS * place for place, number in enumerate(classes))


def word_channels(words, gazetteer, rows):
    """The channels of a document's words.

    Args:
        words: list of W str.
        gazetteer: list of W int, see `gazetteer_ids`.
        rows: rows of the hashed tables.

    Returns:
        dict key of the batch -> list of W int.
    """
    lower = [word.lower() for word in words]
    ids = [hashed(word, rows) for word in lower]
    return {
        "words": ids,
        "shapes": [hashed(f"shape {shape(word)}", rows) for word in words],
        "prefixes": [hashed(f"prefix {word[:3]}", rows) for word in lower],
        "suffixes": [hashed(f"suffix {word[-4:]}", rows) for word in lower],
        "short_suffixes": [hashed(f"suffix {word[-2:]}", rows) for word in lower],
        "previous_words": [0, *ids[:-1]] if ids else [],
        "next_words": [*ids[1:], 0] if ids else [],
        "gazetteer": gazetteer,
        "first_characters": [packed_characters(word) for word in lower],
        "last_characters": [packed_characters(word[::-1]) for word in lower],
    }


def gazetteer_ids(words, dictionary, types):
    """What a dictionary says of each word of a sentence: 0, or its term's type and whether it begins the term.

    Args:
        words: list of str.
        dictionary: `medtop.entities.dictionary.Dictionary`.
        types: list of types.

    Returns:
        list of int: 1 + 2 * (place of the type) + (0 first word, 1 later word).
    """
    ids = [0] * len(words)
    for first, after, kind, _ in dictionary.tag(words):
        for place in range(first, after):
            ids[place] = 1 + 2 * types.index(kind) + (place > first)
    return ids
