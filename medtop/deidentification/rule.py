"""What a rule is, and how rules are written: a pattern, and numbers behind their labels."""

import dataclasses
import functools
import re


@dataclasses.dataclass(frozen=True)
class Rule:
    """One pattern.

    Attributes:
        type: of its spans.
        name: for the audit.
        pattern: compiled; the group `v` is the identifier, the whole match where there is none.
        hint: function of a lower-cased text: False where the pattern cannot match, told quickly; None for always.
        accepts: function of the identifier's text, or None.
        before: function (text, place) that tells whether what stands before a match's place fits, or None; quicker than
            as a part of a pattern that begins at many places.
        starts: with what a match begins (`medtop.deidentification.scan.begins`), None for with anything.
    """

    type: str
    name: str
    pattern: re.Pattern
    hint: object = None
    accepts: object = None
    before: object = None
    starts: str | None = None

    @functools.cached_property
    def group(self):
        """The identifier's group."""
        return "v" if "v" in self.pattern.groupindex else 0


def holds(*words):
    """A hint: one of the words is there."""
    return lambda lower: any(word in lower for word in words)


def holds_form(text):
    """A hint: a form is there; quick where it begins with a sign or a class of signs."""
    pattern = re.compile(text)
    return lambda lower: pattern.search(lower) is not None


def pattern_rule(kind, name, text, hint=None, flags=re.I, accepts=None, before=None, starts=None):
    """A `Rule` of a pattern as text."""
    return Rule(kind, name, re.compile(text, flags), hint, accepts, before, starts)


def has_digit(text):
    """Whether a text holds a digit."""
    return any(letter.isdigit() for letter in text)


def two_digits(text):
    """Whether a text holds two digits."""
    return sum(letter.isdigit() for letter in text) >= 2


SEP = r"\s*(?:(?:is|was|of|are)\s+)?[:#=]*\s*(?:is\s+)?"
NO = r"(?:\s*(?:no|num|nr|number|id|ident(?:ifier|ification)?|code)s?\b\.?|\s*#)"
VALUE = r"(?P<v>[A-Z0-9](?:[A-Z0-9]|[-/. ](?=[A-Z]{0,4}-?[0-9])){2,24})(?![\w])"
"""Letters and digits, with signs between where digits follow."""


def labelled(kind, name, words, starts, must=False):
    """Number behind its label: `account no. 123`, `Acct #: 123`; without `must` the word for number may lack.

    `starts`: see `Rule`.
    """
    return pattern_rule(
        kind,
        name,
        rf"(?<![a-z])(?:{words})(?![a-z]){NO}{'+' if must else '*'}{SEP}\(?{VALUE}",
        accepts=two_digits,
        starts=starts,
    )
