"""The same words for all models: windows that fit each of them, hidden words, pairs; the simple rival; no framework."""

import collections
import math

import numpy as np
import pytest

from medtop.files.errors import DataError
from medtop.language import study
from medtop.language.examples import MOST_PIECES, Text, make_pairs, make_windows, read_words


class Cutter:
    """Pieces of `size` letters; words that begin with `?` are unknown."""

    def __init__(self, size):
        self.size = size

    def of(self, word):
        return tuple(word[start : start + self.size] for start in range(0, len(word), self.size))

    def may_hide(self, word):
        return not word.startswith("?") and len(self.of(word)) <= MOST_PIECES


TEXTS = [
    "Fever was seen today, with a cough. No signs of infection were there. ?strange words end it here.",
    "Lungs are clear on both sides. The heart is of normal size. A very" + "long" * 30 + " word.",
    "...",
    "The patient was discharged home. Follow-up in two weeks is planned. Nothing else was said today.",
]


@pytest.fixture
def texts():
    return read_words(TEXTS, ["p1", "p2", "p2", "p3"])


def test_words_and_sentences(texts):
    assert [text.group for text in texts] == ["p1", "p2", "p2", "p3"]
    first = texts[0]
    assert first.words[:6] == ("Fever", "was", "seen", "today", ",", "with") and len(first.sentences) == 3
    assert [first.words[a:b][-1] for a, b in first.sentences] == [".", ".", "."]
    assert sum(b - a for a, b in first.sentences) == len(first.words)
    assert not read_words(["", " \n "], ["a", "b"])


def test_windows_fit_every_model_and_hide_the_same_words(texts):
    cutters, room = [Cutter(3), Cutter(1)], 40
    windows = make_windows(texts, cutters, room, 0.15, 1)
    for window in windows:
        assert max(sum(len(cutter.of(word)) for word in window.words) for cutter in cutters) <= room
        hidden = [window.words[place] for place in window.hidden]
        assert len(hidden) == max(round(0.15 * len(window.words)), 1)
        assert not any(word.startswith("?") or len(word) > MOST_PIECES for word in hidden)
    for number, text in enumerate(texts):  # nothing is read twice; what is left out is too long for some model
        read = [word for window in windows if window.text == number for word in window.words]
        missing = collections.Counter(text.words) - collections.Counter(read)
        assert all(len(word) > room or not word.strip(".?") for word in missing), missing
    assert windows == make_windows(texts, cutters, room, 0.15, 1) != make_windows(texts, cutters, room, 0.15, 2)


def test_pairs_follow_or_come_from_somebody_else(texts):
    for swapped in (False, True):
        pairs = make_pairs(texts * 10, [Cutter(3), Cutter(1)], 60, 4, 1, swapped)
        assert 0.3 < np.mean([pair.follows for pair in pairs]) < 0.7
        for pair in pairs:
            words = (texts * 10)[pair.text].words
            both = pair.first + pair.second if pair.follows or not swapped else pair.second + pair.first
            together = any(words[at : at + len(both)] == both for at in range(len(words)))
            assert together == (pair.follows == 1 or swapped)
            assert sum(map(len, pair.first)) <= 30 and sum(map(len, pair.second)) <= 30


def test_one_patient_alone_has_no_wrong_continuation():
    texts = read_words(TEXTS[:1] * 2, ["p1", "p1"])
    with pytest.raises(DataError, match="expected two patients or more"):
        make_pairs(texts, [Cutter(3)], 60, 4, 1, swapped=False)
    assert make_pairs(texts, [Cutter(3)], 60, 4, 1, swapped=True)


def test_frequencies_leave_the_own_patient_out():
    words = [("a", "a", "b"), ("a", "c"), ("a", "c", "c")]
    texts = [Text(group, text, ((0, len(text)),)) for group, text in zip("xyy", words, strict=True)]
    windows = make_windows(texts, [Cutter(1)], 10, 0.01, 1)
    sums = study._frequencies(windows, texts)
    for window, row in zip(windows, sums, strict=True):
        others = [word for text in texts if text.group != texts[window.text].group for word in text.words]
        (word,) = (window.words[place] for place in window.hidden)
        chance = (others.count(word) + 0.5) / (len(others) + 0.5 * 4)
        assert row[:2].tolist() == pytest.approx([1, -math.log(chance)])
    assert sums[0, 2] == (windows[0].words[windows[0].hidden[0]] == "c")


def test_measures_are_ratios_over_patients_with_paired_differences():
    rng = np.random.default_rng(0)
    texts = [Text(f"p{number // 2}", ("a",), ((0, 1),)) for number in range(40)]
    sums = np.stack([rng.integers(1, 5, 40), rng.random(40) * 9, rng.integers(0, 2, 40), rng.integers(5, 9, 40)], 1)
    sums = np.column_stack([sums, rng.integers(0, 5, 40)]).astype(float)
    worse = sums + np.array([0, 1, 0, 0, 0])
    settings = study.LanguageSettings(models=("a",), input_file="b", output_dir="c", num_bootstrap=300)
    first, second = study._measures({"a": {"word": sums}, "b": {"word": worse}}, texts, settings)
    loss = first["measures"]["word_loss"]
    assert loss["value"] == pytest.approx(sums[:, 1].sum() / sums[:, 0].sum())
    assert loss["low"] < loss["value"] < loss["high"] and "difference" not in loss
    difference = second["measures"]["word_loss"]["difference"]
    assert difference["value"] == pytest.approx(40 / sums[:, 0].sum())
    assert 0 < difference["low"] < difference["high"] < loss["high"] - loss["low"] + difference["value"]
    assert second["measures"]["word_accuracy"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
