"""What rules state of their beginnings, held against what their patterns can begin with, read from the parsed pattern;
and what is found at these places against what the patterns find by themselves."""

import random
import re
from re import _constants as op
from re import _parser

import pytest

from medtop.deidentification import dates
from medtop.deidentification.rules import STRICT_RULES
from medtop.deidentification.scan import Scanner, begins, lowered, matches
from medtop.synthetic.identifier_texts import Writer
from medtop.synthetic.identifier_values import Values

_ASCII = {chr(number) for number in range(128)}
_CLASSES = {
    op.CATEGORY_DIGIT: set("0123456789"),
    op.CATEGORY_SPACE: set(" \t\n\r\f\v"),
    op.CATEGORY_WORD: {letter for letter in _ASCII if letter.isalnum() or letter == "_"},
}
_CLASSES |= {
    op.CATEGORY_NOT_DIGIT: _ASCII - _CLASSES[op.CATEGORY_DIGIT],
    op.CATEGORY_NOT_SPACE: _ASCII - _CLASSES[op.CATEGORY_SPACE],
    op.CATEGORY_NOT_WORD: _ASCII - _CLASSES[op.CATEGORY_WORD],
}


def _signs(kind, value):
    """The ASCII signs that one item of a pattern matches, letters in lower case."""
    if kind is op.LITERAL:
        signs = {chr(value)}
    elif kind is op.NOT_LITERAL:
        signs = _ASCII - {chr(value)}
    elif kind is op.CATEGORY:
        signs = _CLASSES[value]
    else:
        assert kind is op.IN, kind
        signs = set()
        for inner, of in value:
            if inner is op.RANGE:
                signs |= {chr(number) for number in range(of[0], of[1] + 1)}
            elif inner is not op.NEGATE:
                signs |= _signs(inner, of)
        if value[0][0] is op.NEGATE:
            signs = _ASCII - signs
    return {sign.lower() for sign in signs}


def _longer(token, sign):
    """(a token with one more sign, whether it is at its end)."""
    if not token:
        return ("0" if sign.isdigit() else sign), not sign.isalnum()
    if token[0] == "0":
        return (token + "0" if sign.isdigit() else token), not sign.isdigit() or len(token) >= 9
    return (token + sign, len(token) == 2) if "a" <= sign <= "z" else (token, True)


def _walk(items, tokens):
    """(tokens that may go on, tokens that are at their end) behind a list of a pattern's items."""
    ended = set()
    for kind, value in items:
        if not tokens:
            break
        if kind is op.AT and value is op.AT_BEGINNING and "" in tokens:
            ended.add("\n")
            tokens = tokens - {""}
        elif kind in (op.AT, op.ASSERT, op.ASSERT_NOT, op.GROUPREF):
            continue
        elif kind is op.BRANCH:
            both = [_walk(branch, tokens) for branch in value[1]]
            tokens = set().union(*(more for more, _ in both))
            ended |= set().union(*(done for _, done in both))
        elif kind in (op.SUBPATTERN, op.ATOMIC_GROUP):
            tokens, done = _walk(value[3] if kind is op.SUBPATTERN else value, tokens)
            ended |= done
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            least, most, inner = value
            reached, now = (set(tokens) if least == 0 else set()), tokens
            for count in range(1, min(most, 10) + 1):
                now, done = _walk(inner, now)
                ended |= done
                if count >= least:
                    reached |= now
            tokens = reached
        else:
            both = [_longer(token, sign) for token in tokens for sign in _signs(kind, value)]
            tokens = {token for token, end in both if not end}
            ended |= {token for token, end in both if end}
    return tokens, ended


def beginnings(pattern):
    """All tokens (cut to the length that counts) that a match can begin with."""
    more, ended = _walk(_parser.parse(pattern.pattern, pattern.flags), {""})
    return {token[:9] if token[0] == "0" else token[:3] for token in more | ended}


def test_the_oracle_itself():
    assert beginnings(re.compile(r"\b(?:tel|fax)(?:es)?\s*\d{3}|(?:^|\n) *x")) == {"tel", "fax", "\n"}
    assert beginnings(re.compile(r"(?<!a)(?:by|\d{2,3}|[+(])\s")) == {"by", "00", "000", "+", "("}
    assert beginnings(re.compile(r"[a-b]?c[1x]")) == {"acx", "bcx", "cx", "ac", "bc", "c"}


@pytest.mark.parametrize(
    "rule", [rule for rule in STRICT_RULES if rule.starts], ids=lambda rule: f"{rule.type}-{rule.name}"
)
def test_what_is_stated_holds_all_beginnings(rule):
    missing = {token for token in beginnings(rule.pattern) if not begins(token, rule.starts)}
    assert not missing


def test_the_dates_beginnings():
    stated = {form: "month" for form in (*dates._WITH_MONTH_FIRST, dates._MONTH_IN_FULL)}
    stated |= {form: "day" for form in (*dates._WITH_MONTH_BEHIND, dates._DAY_MONTH, dates._SHORT, dates._SHORT_DASH)}
    stated |= {form: "day year" for form in (*dates._OF_NUMBERS, dates._MONTH_YEAR)}
    stated |= {dates._COMPACT: "compact", dates._MONTH_ALONE: "word", dates._HOLIDAY: "holiday", dates._YEAR: "year"}
    assert set(dates.FORMS) < set(stated)
    for form, names in stated.items():
        starts = " ".join(dates.STARTS[name] for name in names.split())
        assert not {token for token in beginnings(form) if not begins(token, starts)}, form.pattern


def test_the_same_matches_as_by_the_patterns_alone():
    """Pieces of generated notes in a random order, in three ways of writing."""
    import numpy as np

    from medtop.deidentification.generated import make_patient
    from medtop.synthetic.identifier_texts import joined

    values, mixer = Values(np.random.default_rng(5), "test"), random.Random(5)
    writer = Writer(values, [("Zelda", "Fairbanks")])
    stated = [rule for rule in STRICT_RULES if rule.starts and rule.before is None]
    scanner = Scanner([rule.starts for rule in stated])
    words = " ".join(joined(writer.note(make_patient(values, str(k)), 30)[0])[0] for k in range(12)).split(" ")
    number = 0
    for _ in range(25):
        text = " ".join(mixer.sample(words, 120))
        for written in (text, text.upper(), text.replace("1", "l").replace(" ", "", 20)):
            places = scanner.places(lowered(written))
            for rule, where in zip(stated, places, strict=True):
                expected = [found.span() for found in rule.pattern.finditer(written)]
                assert [found.span() for found in matches(rule.pattern, written, where)] == expected, rule.name
                number += len(expected)
    assert number > 500


def test_lowered_keeps_the_length():
    text = "İSTANBUL ẞ Ǆ KELVIN Straße"
    assert len(lowered(text)) == len(text) and lowered("ABC é") == "abc é" and lowered("ABC") == "abc"
