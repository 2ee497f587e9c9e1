"""Made-up notes on which a served model of notes is held against `NoteScorer` before it appears under its name.

Letters: B admissions, N notes of the one with most, K labels.
"""

import dataclasses

import numpy as np

from medtop.files.errors import DataError
from medtop.text.cleaning import has_word

TOLERANCE = 1e-6
"""Largest difference of a probability that an export may show, times a quarter of the calibration's slope where that is
more than 1: a slope of 200 multiplies the rounding of a logit by 200."""

ADMISSIONS = 12
_ODD = (
    "[**2101-1-5**] Dr. WHO:\r\n1. K 4.5 -- fine\n2.\n3. ok",
    "Admission Date: [ ] smoker ___ m.d.\u00a0",
    "\u039f\u0394\u039f\u03a3 \u0130stanbul e\u0301 \u6c49\u5b57 \ud55c\uae00 \ufffd\u200b",
    "x" * 101 + " [SEP] [MASK] #",
    "=== ... ---",
)
"""Titles, numbers of lists, capital letters that become two, accents, ideographs, a word too long, no word at all."""


@dataclasses.dataclass(frozen=True)
class NotesParity:
    """What the comparison gave.

    Attributes:
        admissions: B.
        most_windows: windows of the longest one.
        largest: largest absolute difference of a probability.
        low, high: smallest and largest probability met.
    """

    admissions: int
    most_windows: int
    largest: float
    low: float
    high: float

    def line(self):
        """One sentence."""
        return (
            f"parity with score_notes.py: largest difference of a probability {self.largest:.1e} over "
            f"{self.admissions} made-up admissions (up to {self.most_windows} windows, probabilities {self.low:.3f} to "
            f"{self.high:.3f}), one by one and in one batch"
        )


def made_up_notes(tokens, max_seq_length, count=ADMISSIONS, seed=0):
    """list of `count` admissions, each a list of raw notes: the first without a word, the last of several windows.

    Args:
        tokens: the vocabulary's; words are drawn among them.
        max_seq_length: of a window.
        count: at least 3.
        seed: of `numpy.random.default_rng`.
    """
    rng = np.random.default_rng(seed)
    words = [token for token in tokens if not token.startswith(("#", "["))] or ["a"]
    words += [token.removeprefix("##") for token in tokens if token.startswith("##")][:100]

    def note(length):
        drawn = list(rng.choice(words, length))
        drawn.insert(int(rng.integers(0, length + 1)), _ODD[int(rng.integers(len(_ODD)))])
        return " ".join(drawn)

    lengths = rng.integers(1, 2 * max_seq_length, count)
    admissions = [[note(int(length)) for _ in range(int(rng.integers(1, 4)))] for length in lengths]
    admissions[0], admissions[-1] = [_ODD[-1]], [note(max_seq_length) for _ in range(4)]
    return admissions


def check(scorer, predict, where):
    """Compares a served model with the run's own scorer.

    Args:
        scorer: `NoteScorer`.
        predict: function of string [B, N] (str, padded with "") to float [B, K].
        where: for errors.

    Raises:
        DataError: when they differ by more than `TOLERANCE`.
    """
    admissions = made_up_notes(scorer.tokenizer.vocabulary.tokens, scorer.max_seq_length)
    expected, most = reference(scorer, admissions)
    together = predict(padded(admissions))
    alone = np.concatenate([predict(padded([notes])) for notes in admissions])
    known = ~np.isnan(expected)
    for received in (together, alone):
        if not np.array_equal(np.isnan(received), ~known):
            raise DataError(f"{where}: expected risks of the admissions with words, received those of others")
    largest = max(float(np.abs(received - expected)[known].max()) for received in (together, alone))
    steepest = max(entry.slope for entry in scorer.calibration.labels.values())
    if not largest <= TOLERANCE * max(1.0, steepest / 4):
        raise DataError(f"{where}: expected the probabilities of the run, received some that differ by {largest:.1e}")
    return NotesParity(len(admissions), most, largest, float(expected[known].min()), float(expected[known].max()))


def reference(scorer, admissions):
    """(float64 [B, K] by `NoteScorer`, NaN where no note holds a word; windows of the longest admission)."""
    values, most = np.full((len(admissions), len(scorer.task.labels)), np.nan), 0
    for place, notes in enumerate(admissions):
        worded = [note for note in scorer.clean(notes) if has_word(note)]
        if worded:
            scored = scorer.score([" ".join(worded)])
            values[place], most = scored.probabilities[0], max(most, len(scored.texts))
    return values, most


def padded(admissions):
    """str [B, N] of lists of notes: "" beside the shorter ones."""
    width = max(map(len, admissions))
    return np.array([notes + [""] * (width - len(notes)) for notes in admissions], object)
