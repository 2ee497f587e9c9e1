"""What stands in an identifier's place: made of a secret key, the patient and the identifier's normal form, so that one
person has one name in all notes of a patient, and nobody without the key can go back.

Formats stay: a phone number has its signs, a name its initial, its case and, where the name tells, the sex; a date is
moved by the patient's own number of days in its own form.
"""

import re

from medtop.deidentification import dates
from medtop.deidentification.views import plain
from medtop.synthetic.identifier_names import FEMALE, MALE, STREETS, SURNAMES, TOWNS

TAG = "[{}]"
BLANK = "___"
_KEPT_WORDS = frozenset(
    """street st avenue ave road rd drive dr boulevard blvd lane ln court ct terrace ter way place pl square sq circle
    cir parkway pkwy highway hwy route rte turnpike crescent alley trail loop heights apt apartment unit suite
    ste floor fl room rm bldg box p o po hospital medical center centre group associates general memorial clinic
    nursing home rehabilitation rehab health care healthcare hospice assisted living skilled facility university
    college high school elementary infirmary saint mount the of and new our lady north south east west""".split()
)
_DIGITS, _SYLLABLES = "0123456789", "ba de fi go lu ma ne ri so ta ve wi ka lo mi ra".split()


class Surrogates:
    """Makes surrogates.

    Args:
        key: `medtop.files.keys.SecretKey`.
        roster: `medtop.deidentification.roster.Roster`; no surrogate is one of its names or numbers.
    """

    def __init__(self, key, roster):
        self.key, self.roster = key, roster
        self._lists = {"F": _by_initial(FEMALE), "M": _by_initial(MALE), "last": _by_initial(SURNAMES)}
        self._sexes = {name.lower(): sex for sex, names in (("F", FEMALE), ("M", MALE)) for name in names}

    def of(self, text, finding, patient, year=None):
        """The surrogate of one identifier.

        Args:
            text: the identifier as it stands in the document.
            finding: its `Finding`.
            patient: whose document it is.
            year: for dates without a year, the year they are taken for, or None.

        Returns:
            str; a tag where a date does not exist or has no day to move.
        """
        kind = finding.type
        if kind in ("DATE", "YEAR"):
            match, days = finding.date, self.key.shift_days(patient)
            return (match and dates.shifted(match, kind, days, year)) or TAG.format(kind)
        if kind in ("WEEKDAY", "TIME"):
            return TAG.format(kind)
        if kind == "AGE":
            return "90+"
        if kind == "NAME":
            return re.sub(r"[^\W\d_]+", lambda word: self._name(word[0], patient), text)
        if kind == "LOCATION":
            return self._place(text, patient)
        if kind == "EMAIL":
            return f"{self._letters('EMAIL', patient, text.lower())}@example.org"
        if kind == "URL":
            return f"https://example.org/{self._letters('URL', patient, text.lower())}"
        if kind == "IP":
            number = self.key.number("IP", patient, text.lower())
            return f"2001:db8::{number % 65_536:x}" if ":" in text else f"203.0.113.{number % 254 + 1}"
        if kind in ("PHONE", "FAX"):
            return self._like(text, kind, patient, letters=False)
        return self._like(text, kind, patient)

    def _pick(self, options, *parts):
        return options[self.key.number(*parts) % len(options)]

    def _letters(self, *parts):
        return "".join("abcdefghijkmnpqrstuvwxyz"[byte % 24] for byte in self.key.digest(*parts)[:8])

    def _name(self, word, patient):
        """A name of the same initial, case and, where it is known, sex; a lone initial stays."""
        if len(word) == 1:
            return word
        lower = self.roster.spelled(plain(word).lower(), patient)
        options = self._lists[self._sexes.get(lower, "last")].get(lower[0], ())
        for attempt in range(100):
            if attempt < 8 and len(options) > 1:
                name = self._pick(options, "NAME", patient, lower, str(attempt))
            else:
                number = self.key.digest("NAME", patient, lower, str(attempt))
                name = lower[0] + "".join(_SYLLABLES[byte % 16] for byte in number[:3])
            if name != lower and name not in self.roster.names:
                return _in_case(name, word)
        return TAG.format("NAME")

    def _place(self, text, patient):
        normal = " ".join(text.lower().split())
        names = STREETS if text[:1].isdigit() else TOWNS

        def word(match):
            piece = match[0]
            if piece.lower() in _KEPT_WORDS:
                return piece
            return _in_case(self._pick(names, "LOCATION", patient, normal, piece.lower()).lower(), piece)

        changed = re.sub(r"[^\W\d_]+", word, text)
        return self._digits(changed, "LOCATION", patient, normal, "0") if any(map(str.isdigit, text)) else changed

    def _digits(self, text, *parts):
        """A text with other digits; the first of each run is not 0."""
        stream = iter(self._stream(*parts))
        return re.sub(
            r"\d+",
            lambda run: str(next(stream) % 9 + 1) + "".join(_DIGITS[next(stream) % 10] for _ in run[0][1:]),
            text,
        )

    def _like(self, text, kind, patient, letters=True):
        """A number with the same signs, other digits and, with `letters`, other letters."""
        normal = re.sub(r"[^A-Za-z0-9]", "", text).lower()
        for attempt in range(100):
            stream = iter(self._stream(kind, patient, normal, str(attempt)))
            new = "".join(_other(sign, next(stream)) if letters or sign.isdigit() else sign for sign in text)
            signs = re.sub(r"[^A-Za-z0-9]", "", new).lower()
            if signs != normal and signs not in self.roster.numbers:
                return new
        return TAG.format(kind)

    def _stream(self, *parts):
        """Bytes without end."""
        block = 0
        while True:
            yield from self.key.digest(*parts, f"block {block}")
            block += 1


def _other(letter, byte):
    if letter.isdigit():
        return _DIGITS[byte % 10]
    if letter.isascii() and letter.isalpha():
        new = "abcdefghjkmnpqrstuvwxyz"[byte % 23]
        return new.upper() if letter.isupper() else new
    return letter if letter in " -./()+#:,\n\r" else "-"


def _by_initial(names):
    lists = {}
    for name in names:
        if name.isalpha():
            lists.setdefault(name[0].lower(), []).append(name.lower())
    return lists


def _in_case(name, like):
    """`name` in the case of `like`.

    >>> [_in_case("smith", like) for like in ("JONES", "jones", "Jones")]
    ['SMITH', 'smith', 'Smith']
    """
    if like.isupper():
        return name.upper()
    return name if like.islower() else name.capitalize()
