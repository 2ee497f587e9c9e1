"""One look at a text that tells each rule where it may begin, instead of one look for each rule.

A text's tokens are runs of letters, runs of digits, and the signs `(`, `+` and line's end. A rule states with what
token a match of it begins (`Rule.starts`), and is tried at these places only; a test holds what is stated against what
each pattern can begin with.
"""

import re

_TOKEN = re.compile(r"[a-z]+|[0-9]+|[(+\n]")
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_LONGEST = 9
"""Runs of digits that are longer have this length's key."""


def key_of(token):
    """A token's key: a word's first three letters (`$` behind it where it has fewer), `#` and a number's length, or a
    sign; a line's end is `^`.

    >>> [key_of(token) for token in ("daughter", "by", "2014", "123456789012", "(", chr(10))]
    ['dau', 'by$', '#4', '#9', '(', '^']
    """
    first = token[0]
    if "a" <= first <= "z":
        return token[:3] if len(token) > 2 else token + "$"
    if first == "\n":
        return "^"
    return f"#{min(len(token), _LONGEST)}" if "0" <= first <= "9" else first


def begins(key, starts):
    """Whether a token with a key can begin what is stated: `by$` is the whole word, `mr` any word with this beginning,
    `#4` four digits, `#` any number, `^` the text's or a line's beginning.

    >>> [begins("mrn", "mr tel"), begins("mr$", "mr"), begins("mrn", "mr$"), begins("#4", "#"), begins("by$", "by$")]
    [True, True, False, True, True]
    """
    return any(key.startswith(start) for start in starts.split())


class _Wanted(dict):
    """Key -> numbers of the rules that may begin there; made when a key is first seen."""

    def __init__(self, stated):
        super().__init__()
        self._stated = stated

    def __missing__(self, key):
        numbers = self[key] = tuple(number for number, starts in self._stated if begins(key, starts))
        return numbers


class Scanner:
    """Looks at texts for a list of beginnings.

    Args:
        starts: list of what rules state, None for a rule that states nothing.
    """

    def __init__(self, starts):
        self._wanted = _Wanted([(number, each) for number, each in enumerate(starts) if each is not None])
        self._number = len(starts)

    def places(self, lower):
        """Where each rule may begin: list of lists of places in order, one for each rule.

        Args:
            lower: a text in lower case (`lowered`).
        """
        places, wanted = [[] for _ in range(self._number)], self._wanted
        for number in wanted["^"]:
            places[number].append(0)
        for token in _TOKEN.finditer(lower):
            for number in wanted[key_of(token[0])]:
                places[number].append(token.start())
        return places


def lowered(text):
    """A text with A to Z in lower case; `str.lower` would change the number of characters of some others."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def matches(pattern, text, places, before=None):
    """Like `pattern.finditer(text)` for a pattern that begins at some of the places only.

    Args:
        before: function (text, place), False where nothing can begin; None for always.
    """
    end = 0
    for place in places:
        if place >= end and (before is None or before(text, place)) and (found := pattern.match(text, place)):
            yield found
            end = found.end()
