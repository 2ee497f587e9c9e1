"""Cleaning and word windows: against the published steps on each note alone, and against cases worked out by hand."""

import random
import re
import time

import pytest
from note_cleaning_rules import carefully_cleaned

from medtop.text.cleaning import batches, clean
from medtop.text.word_windows import all_word_windows, word_windows


def one_by_one(text):
    """The published order, with Python's own functions on one note."""
    text = text.replace("\n", " ").replace("\r", " ").strip().lower()
    for pattern, word in (
        (r"\[(.*?)\]", ""),
        (r"[0-9]+\.", ""),
        (r"dr\.", "doctor"),
        (r"m\.d\.", "md"),
        ("admission date:", ""),
        ("discharge date:", ""),
        ("--|__|==", ""),
    ):
        text = re.sub(pattern, word, text)
    return text


FRAGMENTS = [
    "[",
    "]",
    "[**",
    "**]",
    "[**]",
    "1",
    "23",
    ".",
    "dr.",
    "m.d.",
    "Dr. ",
    "M.",
    "admission date:",
    "Discharge Date:",
    "disch",
    "arge date:",
    "-",
    "_",
    "=",
    "--",
    "\n",
    "\r",
    " ",
    "\t",
    "a",
    "words here",
    "9" * 40,
    "\x1c",
    "\xa0",
    "\x85",
    "Σ",
    "ΑΣ",
    "İ",
    "ß",
    "é",
    "٣.",
]
ASCII = [fragment for fragment in FRAGMENTS if fragment.isascii()]


@pytest.mark.quick("ascii")
@pytest.mark.parametrize("fragments", [FRAGMENTS, ASCII], ids=["any", "ascii"])
def test_published_equals_the_steps_one_by_one(fragments):
    numbers = random.Random(3)
    for _ in range(500):
        texts = ["".join(numbers.choices(fragments, k=numbers.randrange(30))) for _ in range(numbers.randrange(1, 6))]
        assert clean(texts, "published") == [one_by_one(text) for text in texts], texts
        together = clean(texts)
        assert together == [clean([text])[0] for text in texts], "notes do not touch each other"
        assert not any("\n" in text or "\r" in text for text in together)
        for size, shortest in ((2, 1), (1, 0), (3, 0), (2, 2)):
            assert all_word_windows(texts, size, shortest) == [word_windows(text, size, shortest) for text in texts]


@pytest.mark.parametrize("lower_case", [True, False])
def test_careful_equals_its_rules_one_by_one(lower_case):
    rng = random.Random(3)
    for _ in range(60):
        notes = ["".join(rng.choices(FRAGMENTS, k=rng.randrange(40))) for _ in range(40)]
        assert clean(notes, "careful", lower_case) == [carefully_cleaned(note, lower_case) for note in notes]


def test_an_opening_within_a_closing_waits_for_the_next_one():
    """`[**]` holds an opening and, from its second character on, what looks like a closing of the one before."""
    texts = ["[**a[**]b**]", "x [**[**]y[**z**]", "[**][**c**]d"]
    assert clean(texts) == [carefully_cleaned(text, True) for text in texts] == ["b**]", "x y", "d"]


@pytest.mark.parametrize(
    "text, published, careful",
    [
        ("K 4.5, [1.2-3]", "k 5, ", "k 4.5, [1.2-3]"),
        (" 1. One\n 12. Two\n3.5 mg", " one   two 5 mg", "one  two 3.5 mg"),
        ("[**Name\n(NI) 12**] came", " came", "came"),
        ("a [open b", "a [open b", "a [open b"),
        ("hydr. Dr. X, M.D.", "hydoctor doctor x, md", "hydr. doctor x, md"),
        ("a -- b --- c -=- d ____", "a  b - c -=- d ", "a   b   c -=- d"),
        ("Discharge Date: x", " x", "x"),
        ("[**] a **] b", " a **] b", "b"),
        ("x[**a[**]b**]c", "xb**]c", "xb**]c"),
        ("", "", ""),
        (" \r\n\t", "", ""),
        # each step sees what the one before it has left
        ("1[x]2. y", " y", "1[x]2. y"),
        ("d[1]r. A m[x].d. B", "doctor a md b", "d[1]r. a m[x].d. b"),
        ("d3.r. x m.d4.. y", "doctor x md y", "d3.r. x m.d4.. y"),
        ("admission 1.date: x", " x", "admission 1.date: x"),
        ("-[x]- -1.- a", "  a", "-[x]- -1.- a"),
        ("admission --date: x", "admission date: x", "admission  date: x"),
    ],
)
def test_by_hand(text, published, careful):
    assert clean([text], "published") == [published] == [one_by_one(text)]
    assert clean([text], "careful") == [careful]


def test_letters_stay_where_asked():
    assert clean(["Dr. Who, M.D.\nADMISSION DATE: Now"], lower_case=False) == ["Doctor Who, Md  Now"]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "[**" * 100_000,
        "9" * 400_000,
        "9" * 400_000 + ".",
        "-" * 400_000,
        "." * 400_000,
        " " * 400_000 + "a",
        "\n" + " " * 400_000,
        "\n1" * 200_000,
    ],
)
@pytest.mark.parametrize("cleaning", ["careful", "published"])
def test_linear_in_the_text(text, cleaning):
    """`re.sub` of the published patterns takes minutes for some of these."""
    begin = time.process_time()
    clean([text], cleaning)
    all_word_windows([text])
    assert time.process_time() - begin < 5


def test_batches():
    assert list(batches(["ab", "c", "", "d"], 2)) == [["ab"], ["c", "", "d"]]
    assert clean([]) == [] and all_word_windows([]) == []
    with pytest.raises(ValueError, match="careful, published"):
        clean(["a"], "none")


def test_a_remainder_of_more_than_ten_words_is_kept():
    for extra, sizes in ((10, [318]), (11, [318, 11]), (318, [318, 318]), (329, [318, 318, 11])):
        for windows in (word_windows("w " * (318 + extra)), all_word_windows(["w\n " * (318 + extra)])[0]):
            assert [len(window.split()) for window in windows] == sizes
            assert all("  " not in window for window in windows)
    assert word_windows("w " * 10) == all_word_windows(["w " * 10])[0] == []
