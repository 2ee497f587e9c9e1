"""What a rule is, and how rules are written: a pattern, and numbers behind their labels."""

import dataclasses
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
        before: what must stand before the match, within 24 characters; quicker than as a part of a pattern that begins
            at many places.
    """

    type: str
    name: str
    pattern: re.Pattern
    hint: object = None
    accepts: object = None
    before: re.Pattern | None = None


def _hint(*words):
    return lambda lower: any(word in lower for word in words)


def pattern_rule(kind, name, text, hints=(), flags=re.I, accepts=None, before=None):
    """A `Rule` of a pattern as text and of words one of which it holds."""
    return Rule(kind, name, re.compile(text, flags), _hint(*hints) if hints else None, accepts, before)


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


def labelled(kind, name, words, hints, must=False):
    """Number behind its label: `account no. 123`, `Acct #: 123`; without `must` the word for number may lack."""
    return pattern_rule(
        kind,
        name,
        rf"(?<![a-z])(?:{words})(?![a-z]){NO}{'+' if must else '*'}{SEP}\(?{VALUE}",
        hints,
        accepts=two_digits,
    )
