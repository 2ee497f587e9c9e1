"""Which words of a note its risk rests on: integrated gradients, summed over the pieces of a word and over windows.

Each window is explained as `medtop.explain.gradients` explains a patient: a piece is replaced by [MASK] (or [UNK]),
[CLS], [SEP] and places stay, and the change of the window's logit is shared out among its pieces. A text's risk is put
together from its windows', so a word's value is the sum over the windows that hold it, each weighted by the share of
the text's risk that comes from it (`ScoredTexts.shares`). For one window the values add up to the change of the logit.

Letters: S windows, K labels, B windows in a batch, T tokens, W words.
"""

import dataclasses

import numpy as np

from medtop.explain.gradients import Attributor
from medtop.text.windows import window_edges


@dataclasses.dataclass
class WeighedWords:
    """The words of one text with what the model used.

    Attributes:
        starts, ends: int64 [W], characters of the text.
        values: float64 [W, K], in logits; above 0 the word raised the risk.
        logits, baselines: float64 [K], of the windows, weighted by their shares: with all words, and without any.
    """

    starts: np.ndarray
    ends: np.ndarray
    values: np.ndarray
    logits: np.ndarray
    baselines: np.ndarray


class WordExplainer:
    """Attributes the risk of texts to their words.

    Args:
        scorer: `medtop.readmission.score.NoteScorer`.
        steps: places at which gradients are taken.
        baseline: "mask" or "unk", what stands in a word's place where nothing is known.
    """

    def __init__(self, scorer, steps=32, baseline="mask"):
        self.scorer = scorer
        labels = [(scorer.task.name, number) for number in range(len(scorer.task.labels))]
        vocabulary = scorer.tokenizer.vocabulary
        parts = scorer.config, [scorer.task], labels, vocabulary, steps, baseline
        self._attributor = Attributor(scorer.model, *parts)

    def explain(self, text):
        """The `WeighedWords` of one cleaned text.

        Raises:
            DataError: for a text without a word.
        """
        scored, windows = self.scorer.score_windows([text])
        pieces = self.scorer.tokenizer.tokenize([text])
        first = self._first_pieces(pieces, len(windows))
        word = np.cumsum(pieces.word_starts) - 1
        starts, ends = (column[pieces.word_starts == 1] for column in (pieces.starts, pieces.ends))
        count = len(scored.labels)
        words = WeighedWords(starts, ends, np.zeros((len(starts), count)), np.zeros(count), np.zeros(count))
        for rows, x in self.scorer.batches(windows.token_ids, windows.counts):
            values, logits, baselines = self._attributor(x)
            for place, row in enumerate(rows):
                share, size = scored.shares[row], windows.counts[row] - 2
                mine = word[first[row] : first[row] + size]
                np.add.at(words.values, mine, share * values["code"][place, 1 : size + 1])
                words.logits += share * logits[place]
                words.baselines += share * baselines[place]
        return words

    def _first_pieces(self, pieces, number):
        """Place of the first piece of each window of the one text, int64 [S]."""
        settings = self.scorer.settings
        if settings["legacy"]:  # one window, of the first pieces
            return np.zeros(number, np.int64)
        return window_edges(pieces.counts, self.scorer.max_seq_length - 2, settings["window_overlap"])[2]
