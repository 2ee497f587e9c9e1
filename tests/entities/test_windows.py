"""Every word once, where it sees most; Viterbi against all sequences."""

import itertools

import numpy as np
import pytest

from medtop.entities.viterbi import allowed_transitions, viterbi, viterbi_of_all
from medtop.entities.windows import cut, deciding, gather
from medtop.text.tags import decode, ranges_of_all, tag_set


def context(place, start, end, total):
    """The fewer of the pieces on the two sides; an edge of the document is endless."""
    left = np.inf if start == 0 else place - start
    right = np.inf if end == total else end - 1 - place
    return min(left, right)


def check(word_starts, length, overlap, brute=False):
    """Words in = words out once, each in a window that holds it."""
    windows = cut(word_starts, length, overlap)
    pieces, words = len(word_starts), int(word_starts.sum())
    assert len(windows.owners) == len(windows.places) == words
    first, starts, ends = windows.first_pieces, windows.starts[windows.owners], windows.ends[windows.owners]
    assert (starts <= first).all() and (first < ends).all() and (windows.ends - windows.starts <= length - 2).all()
    assert windows.starts[0] == 0 and windows.ends[-1] == pieces and (windows.starts[1:] <= windows.ends[:-1]).all()
    if len(windows.starts) > 20_000:  # one array for each window would take longer than all else
        assert np.array_equal(windows.starts[windows.owners] + windows.places, first)
        return
    values = [np.concatenate([[-1], np.arange(a, b), [-1]]) for a, b in zip(windows.starts, windows.ends, strict=True)]
    assert np.array_equal(gather(windows, values), first), "each word is read once, at its own place, in order"
    if brute:
        for place, owner in zip(first, windows.owners, strict=True):
            around = [
                context(place, a, b, pieces) if a <= place < b else -1
                for a, b in zip(windows.starts, windows.ends, strict=True)
            ]
            assert around[owner] == max(around), (place, owner, around)


def pieces_of(random, words):
    """1 to 4 pieces a word, now and then 30."""
    counts = np.where(random.random(words) < 0.01, 30, random.integers(1, 5, words))
    starts = np.zeros(counts.sum(), np.int64)
    starts[np.cumsum(counts) - counts] = 1
    return starts


def test_every_word_is_decided_once_where_it_sees_most():
    random = np.random.default_rng(1)
    for words in range(1, 60):
        for length, overlap in ((3, 0), (4, 1), (5, 1), (8, 3), (10, 7), (16, 4), (64, 20)):
            check(pieces_of(random, words), length, overlap, brute=True)


@pytest.mark.parametrize("words", [1_000, 9_999, 200_000])
@pytest.mark.parametrize("length, overlap", [(3, 0), (64, 16), (512, 128), (512, 509)])
def test_long_documents(words, length, overlap):
    if overlap == 509 and words > 1_000:
        words = 10_000  # a window for every piece
    check(pieces_of(np.random.default_rng(words), words), length, overlap)


def test_an_empty_document_has_no_window():
    windows = cut(np.zeros(0, np.int64), 8, 2)
    assert len(windows.starts) == len(windows.owners) == 0
    assert deciding(np.array([0, 1]), np.array([0]), np.array([2])).tolist() == [0, 0]


def brute_force(scores, follows, begins, ends, weights):
    best = None
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        legal = begins[path[0]] and ends[path[-1]] and all(follows[a, b] for a, b in itertools.pairwise(path))
        if legal:
            value = sum(scores[n, k] for n, k in enumerate(path)) + sum(
                weights[a, b] for a, b in itertools.pairwise(path)
            )
            best = max(best or (-np.inf, ()), (value, path))
    return best


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_viterbi_against_all_sequences(scheme):
    random, tags = np.random.default_rng(2), tag_set(["x", "y"] if scheme == "bio" else ["x"], scheme)
    rules = allowed_transitions(tags, scheme)
    for number in range(60):
        scores, weights = (
            random.normal(size=(int(random.integers(1, 6)), len(tags))),
            random.normal(size=(len(tags),) * 2),
        )
        weights *= number % 2
        value, path = brute_force(scores, *rules, weights)
        found = viterbi(scores, *rules, weights)
        assert tuple(found) == path
        assert decode([tags[k] for k in found], scheme)[1] == [], "the scheme allows it"
    assert viterbi(np.zeros((0, len(tags))), *rules).tolist() == []


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_viterbi_of_many_sequences_is_that_of_each(scheme):
    """The same paths, ties included: rounded scores have many."""
    random = np.random.default_rng(3)
    for number in range(100):
        tags = tag_set(["x", "y", "z"][: 1 + number % 3], scheme)
        rules = allowed_transitions(tags, scheme)
        counts = random.integers(0, 12, random.integers(0, 9))
        scores = random.normal(size=(counts.sum(), len(tags)))
        if number % 2:
            scores = np.round(scores)
        parts = np.split(scores, np.cumsum(counts)[:-1]) if len(counts) else []
        each = np.concatenate([np.zeros(0, int), *(viterbi(part, *rules) for part in parts)])
        assert np.array_equal(viterbi_of_all(scores, counts, *rules), each)


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_ranges_of_many_sequences_are_those_of_each(scheme):
    """Of any tags, the forbidden ones too; sequences without a word, and none at all."""
    random, seen = np.random.default_rng(4), 0
    for number in range(400):
        tags = tag_set(["x", "y", "z"][: 1 + number % 3], scheme)
        counts = random.integers(0, 9, random.integers(0, 7))
        path = random.integers(0, len(tags), counts.sum())
        expected, start = [], 0
        for count in counts.tolist():
            ranges, _ = decode([tags[k] for k in path[start : start + count]], scheme)
            expected += [(start + first, start + after, kind) for first, after, kind in ranges]
            start += count
        first, after, kinds = ranges_of_all(path, counts, tags, scheme)
        assert list(zip(first.tolist(), after.tolist(), kinds, strict=True)) == expected
        seen += sum(after - first > 1 for first, after, _ in expected)
    assert seen > 100, "spans of several words"


def test_rules_are_those_of_the_strict_reading():
    """A sequence is allowed exactly where decoding leaves nothing out and every entity has its end."""
    for scheme, kinds in (("bio", ["x", "y"]), ("bioes", ["x"])):
        tags = tag_set(kinds, scheme)
        follows, begins, ends = allowed_transitions(tags, scheme)
        for path in itertools.product(range(len(tags)), repeat=4):
            legal = begins[path[0]] and ends[path[-1]] and all(follows[a, b] for a, b in itertools.pairwise(path))
            names = [tags[k] for k in path]
            ranges, bad = decode(names, scheme)
            covered = {n for first, after, _ in ranges for n in range(first, after)}
            assert legal == (not bad and covered == {n for n, name in enumerate(names) if name != "O"})
