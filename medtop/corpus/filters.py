"""What is done to a text of a corpus, and which texts are no prose: stated rules, counted by what they changed."""

import dataclasses
import re

from medtop.files.options import Rule, at_least, option

SHARE = Rule("a share from 0 to 1", lambda value: 0 <= value <= 1)

CLEANINGS = {
    # name: (pattern, what takes its place); in this order, each linear in the text
    "line_ends": (re.compile(r"\r\n?"), "\n"),
    "control_characters": (re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ufffd\u200b]"), ""),
    "deidentification_marks": (re.compile(r"\[\*\*[^\[\]\n]{0,200}\*\*\]"), ""),
    "rules": (re.compile(r"([-_=*#~])\1{3,}"), " "),
    "blanks": (re.compile(r"[^\S\n]{2,}"), " "),
    "blank_lines": (re.compile(r"\n ?(?:\n ?){2,}"), "\n\n"),
}
"""The cleaning of `make_corpus.py`. Lines stay, for blank lines end sentences."""

FILTERS = ("too_short", "too_long", "few_letters", "repeated_lines")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilterSettings:
    """Which texts take part."""

    clean: bool = option(True, f"Clean the texts: {', '.join(CLEANINGS)}.")
    least_words: int = option(5, "Texts of fewer words are left out.", rule=at_least(0))
    most_words: int = option(100_000, "Texts of more words are left out.", rule=at_least(1))
    least_letters: float = option(
        0.5, "Texts of which a smaller share of the characters (blanks aside) are letters are left out.", rule=SHARE
    )
    most_repeated: float = option(
        0.5, "Texts of which a larger share of the lines repeats an earlier one are left out.", rule=SHARE
    )


def clean_text(text, counts):
    """The text after `CLEANINGS`, stripped; `counts` (Counter) gets one for each rule that changed it.

    >>> import collections
    >>> clean_text("a  b [**Name**]\\r\\n\\n\\n\\n----- c", collections.Counter())
    'a b \\n\\nc'
    """
    for name, (pattern, place) in CLEANINGS.items():
        changed = pattern.sub(place, text)
        if changed != text:
            counts[name] += 1
            text = changed
    return text.strip()


def why_not(text, words, settings):
    """One of `FILTERS`, or None for a text that takes part.

    Args:
        text: str.
        words: number of words between blanks.
        settings: `FilterSettings`.
    """
    if words < max(settings.least_words, 1):
        return "too_short"
    if words > settings.most_words:
        return "too_long"
    letters = sum(map(str.isalpha, text))
    if letters < settings.least_letters * sum(map(len, text.split())):
        return "few_letters"
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    if len(lines) - len(set(lines)) > settings.most_repeated * len(lines):
        return "repeated_lines"
    return None
