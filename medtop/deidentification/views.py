r"""How a text is looked at: other alphabets' letters, invisible characters and broken words do not hide an identifier.

Detection reads views of a text; the text itself is never changed. Each view knows which character of the text each of
its own comes from. The first view is the text with look-alikes of Latin letters, digits, dashes and blanks in plain
form and without invisible characters; the second, where there is one, joins words that a hyphen breaks at a line's end.
"""

import dataclasses
import re
import unicodedata

_ALIKE = dict(
    zip("АВЕЅІЈКМНОРСТХУаеѕіјорсухԁԛԝһΑΒΕΖΗΙΚΜΝΟΡΤΥΧοι", "ABESIJKMHOPCTXYaesijopcyxdqwhABEZHIKMNOPTYXoi", strict=True)
)
_PLAIN = {
    **_ALIKE,
    **dict.fromkeys("‐‑‒–—―−﹘﹣－⁃", "-"),
    **dict.fromkeys([*map(chr, range(0x2000, 0x200B)), *"\u00a0\u202f\u205f\u3000\t"], " "),
    **dict.fromkeys("’‘ʼ＇`´", "'"),
    "ı": "i",
    "／": "/", "⁄": "/", "∕": "/", "＠": "@", "．": ".", "。": ".", "：": ":", "（": "(", "）": ")", "＃": "#",
}  # fmt: skip
INVISIBLE = re.compile(
    "[\u00ad\u0300-\u036f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff]"
)
_BROKEN = re.compile(r"(?<=\w)-[ ]*\r?\n[ ]*(?=\w)")
_SCANNED = re.compile(r"[0-9OolISB](?<![A-Za-wyz][0-9OolISB])[0-9OolISB/.\-() ]{2,}[0-9OolISB](?![A-Za-z])")
_SCANNED_DAY = re.compile(
    r"[0-9OoLlIi](?<!\w[0-9OoLlIi])[0-9OoLlIi]?(?i:(?=(?:st|nd|rd|th)?,?\s+(?:19|20)\d\d\b|(?:jan|feb|mar|"
    r"apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\d{2,4}\b))"
)
_SCAN_DIGITS = str.maketrans("OolISB", "001158")


def plain(text):
    """A text with look-alikes in plain form, character for character; accents go too.

    >>> plain("Müller 617–555 Оleg ４２")
    'Muller 617-555 Oleg 42'
    """
    if text.isascii():
        return text.replace("\t", " ")
    letters = []
    for letter in text:
        if letter.isascii():
            letters.append(" " if letter == "\t" else letter)
            continue
        new = _PLAIN.get(letter)
        if new is None:
            new = unicodedata.normalize("NFKD", letter)[:1] or letter
            digit = unicodedata.digit(new, None)
            new = str(digit) if digit is not None else _PLAIN.get(new, new)
        letters.append(new)
    return "".join(letters)


def scanned_digits(text):
    """A text in which letters that scanners read for digits are digits, in runs that are digits for the most part.

    >>> scanned_digits("seen O3/l4/2O14 by BOB in ISO 5")
    'seen 03/14/2014 by BOB in ISO 5'
    """

    def repair(match):
        run = match[0]
        letters = sum(letter.isalpha() for letter in run)
        if not letters or letters * 2 >= sum(letter.isalnum() for letter in run):
            return run
        return run.translate(_SCAN_DIGITS)

    text = _SCANNED.sub(repair, text)
    return _SCANNED_DAY.sub(lambda match: match[0].translate(_SCAN_DIGITS), text)


@dataclasses.dataclass(frozen=True)
class View:
    """A text as detection reads it.

    Attributes:
        text: str.
        places: None where character i is character i of the document, else list of the document's places.
    """

    text: str
    places: list | None = None

    def edges(self, start, end):
        """The document's (start, end) of a piece of the view."""
        if self.places is None:
            return start, end
        return self.places[start], self.places[end - 1] + 1


def views(text):
    """The `View`s of a text, one or two."""
    looked, places = plain(text), None
    if not text.isascii() and INVISIBLE.search(looked):
        places = [place for place, letter in enumerate(looked) if not INVISIBLE.match(letter)]
        looked = "".join(looked[place] for place in places)
    looked = scanned_digits(looked)
    views_of_text = [View(looked, places)]
    if breaks := [(each.start(), each.end()) for each in _BROKEN.finditer(looked)]:
        keep, last = [], 0
        for start, end in breaks:
            keep += range(last, start)
            last = end
        keep += range(last, len(looked))
        views_of_text.append(
            View("".join(looked[k] for k in keep), keep if places is None else [places[k] for k in keep])
        )
    return views_of_text
