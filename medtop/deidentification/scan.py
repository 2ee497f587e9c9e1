"""One look at a text that tells each rule where it may begin, instead of one look for each rule.

A text's tokens are runs of letters, runs of digits, and the signs `(`, `+` and line's end. A rule states with what
token a match of it begins (`Rule.starts`), and is tried at these places only; a test holds what is stated against what
each pattern can begin with.
"""

import re

_TOKEN = re.compile(r"[a-z]+|0+|[(+\n]")
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_ZEROS = str.maketrans("0123456789", "0" * 10)
_LETTERS, _DIGITS = 3, 9
"""How much of a token tells what may begin with it."""


def begins(token, starts):
    """Whether a token can begin what is stated: `by$` is the whole word, `mr` any word with this beginning, `$` any
    word of one or two letters, `#4` four digits, `#` any number, `^` the text's or a line's beginning.

    Args:
        token: a run of letters in lower case, a run of `0` in place of digits, or a sign.

    >>> [begins("mrn", "mr tel"), begins("mr", "mr"), begins("mrn", "mr$"), begins("0000", "#4"), begins("by", "by$")]
    [True, True, False, True, True]
    """
    short = token.isalpha() and len(token) < _LETTERS
    key = f"#{min(len(token), _DIGITS)}" if token[0] == "0" else "^" if token == "\n" else token
    stated = starts.split()
    return any(key.startswith(start) or (short and start in ("$", f"{token}$")) for start in stated)


class _Wanted(dict):
    """First letters or digits of a token -> numbers of the rules that may begin there; made when first asked for."""

    def __init__(self, stated):
        super().__init__()
        self._stated = stated

    def __missing__(self, token):
        numbers = self[token] = tuple(number for number, starts in self._stated if begins(token, starts))
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
        for number in wanted["\n"]:
            places[number].append(0)
        for match in _TOKEN.finditer(lower.translate(_ZEROS)):
            token = match[0]
            for number in wanted[token[:_DIGITS] if token[0] == "0" else token[:_LETTERS]]:
                places[number].append(match.start())
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
        if place >= end and (before is None or before(text, place)) and (match := pattern.match(text, place)):
            yield match
            end = match.end()
