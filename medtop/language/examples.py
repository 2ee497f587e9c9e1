"""What several models are asked alike: the same words of the same windows hidden, the same pairs of runs of sentences.

Models cut words into different pieces, so that windows, hidden words and pairs are made of whole words, and each fits
into every model.

Letters: N texts, W words of a text, M models.
"""

import dataclasses

import numpy as np

from medtop.files.errors import DataError
from medtop.text.sentences import join_short, sentence_spans
from medtop.text.words import WordSplitter

MOST_PIECES = 20
"""A word of more pieces in some model is never hidden."""


@dataclasses.dataclass(frozen=True)
class Text:
    """A text as words.

    Attributes:
        group: the patient, or where none is known the text itself: what intervals are over.
        words: W str, as written.
        sentences: list of (first word, word after the last).
    """

    group: str
    words: tuple
    sentences: tuple


@dataclasses.dataclass(frozen=True)
class HiddenWordsWindow:
    """Consecutive words of a text, some of them hidden.

    Attributes:
        text: number of the text.
        words: tuple of str.
        hidden: places among the words, rising.
    """

    text: int
    words: tuple
    hidden: tuple


@dataclasses.dataclass(frozen=True)
class SentencePair:
    """Two runs of words.

    Attributes:
        text: number of the text that the first run is of (and the second, where it follows).
        first, second: tuples of str, in the order in which they are shown.
        follows: 1 where the second run follows the first in their text, else 0.
    """

    text: int
    first: tuple
    second: tuple
    follows: int


class WordPieces:
    """How a model cuts words, each word once.

    Args:
        tokenizer: `medtop.text.wordpiece.WordPiece`.
    """

    def __init__(self, tokenizer):
        self.tokenizer, self._pieces = tokenizer, {}

    def learn(self, words):
        """Cuts those words that are not known yet."""
        new = sorted(set(words).difference(self._pieces))
        cut = self.tokenizer.tokenize(new)
        ends = np.cumsum(cut.counts)
        self._pieces |= {
            word: tuple(cut.ids[end - count : end].tolist())
            for word, count, end in zip(new, cut.counts.tolist(), ends.tolist(), strict=True)
        }

    def of(self, word):
        """Tuple of ids."""
        return self._pieces[word]

    def may_hide(self, word):
        """Whether the word is known, and not too long: [UNK] is easy to guess and says nothing."""
        ids = self._pieces[word]
        return 0 < len(ids) <= MOST_PIECES and self.tokenizer.unk_id not in ids


def read_words(texts, groups):
    """list of `Text` of str; texts without a word are left out.

    Args:
        texts: list of N str.
        groups: list of N str.
    """
    splitter, result = WordSplitter(lower_case=False), []
    for text, group in zip(texts, groups, strict=True):
        cut = splitter.split([text])
        if len(cut.starts):
            spans = join_short(text, sentence_spans(text))
            edges = np.searchsorted(cut.starts, [start for start, _ in spans] + [len(text)])
            sentences = [(int(a), int(b)) for a, b in zip(edges, edges[1:], strict=False) if b > a]
            words = tuple(text[a:b] for a, b in zip(cut.starts.tolist(), cut.ends.tolist(), strict=True))
            result.append(Text(group, words, tuple(sentences)))
    return result


def make_windows(texts, cutters, room, share, seed):
    """list of `HiddenWordsWindow`: as many words as fit into every model, of which a share is hidden, at least one.

    Args:
        texts: list of `Text`.
        cutters: M `WordPieces` that know all words.
        room: most pieces of a window in each model.
        share: of the words that are hidden.
        seed: of the draw; it depends on the text's place and on nothing of the models but which words may be hidden.
    """
    windows = []
    for number, text in enumerate(texts):
        rng = np.random.default_rng([seed, number])
        for words in _fitting(text.words, cutters, room):
            may = [place for place, word in enumerate(words) if all(cutter.may_hide(word) for cutter in cutters)]
            if may:
                count = min(max(round(share * len(words)), 1), len(may))
                hidden = sorted(rng.choice(may, count, replace=False).tolist())
                windows.append(HiddenWordsWindow(number, words, tuple(hidden)))
    return windows


def _fitting(words, cutters, room):
    """Yields runs of words, each as long as it fits into every model; a word that fits into none alone is left out."""
    start, used = 0, np.zeros(len(cutters), int)
    for place, word in enumerate(words):
        sizes = np.array([len(cutter.of(word)) for cutter in cutters])
        if (used + sizes > room).any():
            if place > start:
                yield words[start:place]
            start, used = (place, sizes) if (sizes <= room).all() else (place + 1, np.zeros(len(cutters), int))
        else:
            used = used + sizes
    if len(words) > start:
        yield words[start:]


def make_pairs(texts, cutters, room, per_text, seed, swapped):
    """list of `SentencePair`, about half of each kind.

    Args:
        texts, cutters: as for `make_windows`.
        room: most pieces of both runs together, in each model.
        per_text: most pairs of a text.
        seed: of the draw.
        swapped: wrong pairs are the same two runs the other way round (sentence order); else the second run is of
            another group's text (next sentence).

    Raises:
        DataError: for next sentences, where all texts are of one group.
    """
    numbers = {}
    for number, text in enumerate(texts):
        numbers.setdefault(text.group, []).append(number)
    if not swapped and len(numbers) < 2:
        raise DataError("texts: expected two patients or more (a wrong continuation is another one's), received one")
    pairs = []
    for number, text in enumerate(texts):
        rng = np.random.default_rng([seed, 1, number])
        places = rng.permutation(max(len(text.sentences) - 1, 0))[:per_text]
        for place in sorted(places.tolist()):
            middle = text.sentences[place + 1][0]
            first = _run(text.words[:middle][::-1], cutters, room // 2)[::-1]
            second = _run(text.words[middle:], cutters, room // 2)
            follows = int(rng.random() < 0.5)
            if not follows and swapped:
                first, second = second, first
            elif not follows:
                second = _run(_elsewhere(texts, text.group, rng), cutters, room // 2)
            if first and second:
                pairs.append(SentencePair(number, first, second, follows))
    return pairs


def _elsewhere(texts, group, rng):
    """Words from the beginning of a random sentence of another group's text."""
    while True:
        other = texts[int(rng.integers(len(texts)))]
        if other.group != group:
            start = other.sentences[int(rng.integers(len(other.sentences)))][0] if other.sentences else 0
            return other.words[start:]


def _run(words, cutters, room):
    """The first words, as many as fit into every model."""
    used = np.zeros(len(cutters), int)
    for place, word in enumerate(words):
        used = used + [len(cutter.of(word)) for cutter in cutters]
        if (used > room).any():
            return words[:place]
    return words
