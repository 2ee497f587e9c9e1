"""Measures of tags against hand-computed values, seqeval's strict mode and scikit-learn. NumPy only."""

import math

import numpy as np
import pytest

from medtop.evaluation.tagged_words import TaggedWords
from medtop.text.tags import scheme_of, tag_set

TAGS = ("O", "B-x", "I-x", "B-y", "I-y")


def one_hot(tags):
    return 10.0 * np.eye(len(TAGS))[[TAGS.index(tag) for tag in tags]]


def test_by_hand():
    """Gold x(0-1), y(3); found x(0-1), y(3-4): of two and two spans one is right. Words without labels do not count."""
    words = TaggedWords(TAGS)
    gold = [TAGS.index(tag) for tag in ("B-x", "I-x", "O", "B-y", "O", "O")]
    words.add(one_hot(["B-x", "I-x", "O", "B-y", "I-y", "B-x"]), gold, [1, 1, 1, 1, 1, 0])
    measures = words.measures()
    right, wrong = (-math.log(math.exp(score) / (math.exp(10) + 4)) for score in (10, 0))
    assert measures == {
        "n": 5, "f1": 0.5, "accuracy": 0.8, "top10_accuracy": 1.0,
        "loss": pytest.approx((4 * right + wrong) / 5), "perplexity": pytest.approx(math.exp((4 * right + wrong) / 5)),
    }  # fmt: skip


def test_f1_is_seqevals_strict_one():
    """Random tags, an `I` that continues nothing among them, in rows."""
    seqeval = pytest.importorskip("seqeval.metrics", reason="seqeval is not installed")
    from seqeval.scheme import IOB2

    random = np.random.default_rng(3)
    rows = [[random.choice(TAGS, int(random.integers(1, 12))) for _ in range(60)] for _ in range(2)]
    found = [np.where(random.random(len(gold)) < 0.7, gold, random.choice(TAGS, len(gold))) for gold in rows[0]]
    words = TaggedWords(TAGS)
    for gold, mine in zip(rows[0], found, strict=True):
        words.add(one_hot(mine), [TAGS.index(tag) for tag in gold], np.ones(len(gold)))
    lists = [[row.tolist() for row in part] for part in (rows[0], found)]
    assert words.measures()["f1"] == pytest.approx(seqeval.f1_score(*lists, mode="strict", scheme=IOB2), abs=1e-12)
    assert 0.2 < words.measures()["f1"] < 0.9


def test_nothing_to_measure():
    words = TaggedWords(TAGS)
    words.add(one_hot(["B-x"]), [1], [0])
    assert words.measures()["f1"] is None and words.measures()["n"] == 0 and math.isnan(words.measures()["loss"])
    words.add(one_hot(["O"]), [1], [1])
    assert words.measures()["f1"] == 0.0
    assert "f1" not in TaggedWords(("low", "high")).measures(), "labels of no scheme mark no spans"


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_scheme_of_tags(scheme):
    tags = tag_set(["x", "a-b"], scheme)
    assert scheme_of(tuple(tags)) == scheme
    for others in (tags[1:], [*tags, "low"], tags[::-1], ["O"], []):
        assert scheme_of(others) is None
