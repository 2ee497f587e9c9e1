"""Learning a WordPiece vocabulary from texts: the pieces that occur together most often are joined, again and again.

It is what HuggingFace's `WordPieceTrainer` does (byte-pair merges over characters, continuing pieces with `##`), with
ties decided by place in the vocabulary, so that the same texts give the same file, of exactly the wanted size
(tensorflow-text's own learner, a search over thresholds, meets it only roughly and reads all words many times).
"""

import collections
import dataclasses
import heapq

import numpy as np

from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary
from medtop.data.create import find_inputs
from medtop.files.errors import DataError
from medtop.files.options import REQUIRED, at_least, check, option
from medtop.files.staging import check_whole
from medtop.notes.texts import check_texts, read_texts, split_of
from medtop.text.wordpiece import LONGEST_WORD
from medtop.text.words import WordSplitter

CONTINUES = "##"
MOST_WORDS = 5_000_000
"""Distinct words that are counted at a time; beyond, those seen once so far are forgotten (numbers, misspellings)."""


@dataclasses.dataclass(frozen=True)
class VocabularySettings:
    """What the script is asked for."""

    input_file: str = option(REQUIRED, "Texts (.parquet, or .csv with TEXT, ID, Label): a file, a glob, a comma list.")
    output_file: str = option(REQUIRED, "The vocabulary, one piece a line.")
    vocab_size: int = option(
        30000, "Most pieces, the five special tokens included.", rule=at_least(len(SPECIAL_TOKENS) + 1)
    )
    lower_case: bool = option(True, "Lower-case and take accents off; --nolower_case for a cased vocabulary.")
    min_word_patients: int = option(
        5, "Words of fewer patients take no part: names and numbers of one patient make no pieces.", rule=at_least(1)
    )
    min_count: int = option(2, "Pieces that stand together less often are not joined.", rule=at_least(1))
    alphabet: int = option(1000, "Most characters; words with rarer ones take no part.", rule=at_least(1))
    most_words: int = option(
        400_000, "Distinct words that pieces are learned from, the most frequent ones; 2.5 kB each.", rule=at_least(1)
    )


def learn(settings):
    """Counts words, learns pieces and writes the vocabulary.

    Returns:
        (`Vocabulary`, `WordCounts`).

    Raises:
        DataError: for missing files, texts of the validation or test split, or texts without words.
    """
    check(settings)
    paths = find_inputs(settings.input_file, "texts of the training split (.parquet or .csv)")
    for path in paths:
        if split_of(path) in ("valid", "test"):
            raise DataError(f"{path}: expected texts of the training split, received the {split_of(path)} split's")
        check_texts(path)
        check_whole(path)
    texts = ((batch.texts, batch.patient_ids) for path in paths for batch in read_texts(path))
    counted = count_words(texts, settings.lower_case, settings.min_word_patients)
    if not counted.counts:
        raise DataError(
            f"--input_file: expected texts with words of at least {settings.min_word_patients} patients "
            f"(--min_word_patients), received {counted.texts} texts without any"
        )
    counts = most_frequent(counted.counts, settings.most_words)
    pieces = learn_pieces(counts, settings.vocab_size - len(SPECIAL_TOKENS), settings.min_count, settings.alphabet)
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *pieces))
    vocabulary.write_text(settings.output_file)
    return vocabulary, counted


def most_frequent(counts, number):
    """The `number` most frequent words of a dict word -> count, of equals the first ones by their letters.

    >>> most_frequent({"b": 1, "a": 1, "c": 2}, 2)
    {'c': 2, 'a': 1}
    """
    if len(counts) <= number:
        return counts
    return dict(heapq.nsmallest(number, counts.items(), key=lambda item: (-item[1], item[0])))


@dataclasses.dataclass(frozen=True)
class WordCounts:
    """Words of enough patients.

    Attributes:
        counts: dict word -> how often it occurs.
        texts: number of texts.
        of_few_patients: number of distinct words that too few patients have, and that are left out.
    """

    counts: dict
    texts: int
    of_few_patients: int


def count_words(batches, lower_case, min_patients=1, most_words=MOST_WORDS):
    """How often each word occurs, of those that enough distinct patients have.

    Args:
        batches: iterable of (list of N str, list of N patient ids).
        lower_case: as the tokenizer will be.
        min_patients: words of fewer patients are left out; patients are counted no further than that.
        most_words: distinct words held in memory, see `MOST_WORDS`.

    Returns:
        `WordCounts`.
    """
    splitter, counts, texts = WordSplitter(lower_case), collections.Counter(), 0
    numbers, patients = {}, {}  # patient id -> number; word -> tuple of numbers
    for batch, ids in batches:
        split = splitter.split(batch)
        counts.update(split.words)
        texts += len(batch)
        ends = np.searchsorted(split.texts, np.arange(len(batch) + 1))
        for patient, first, after in zip(ids, ends, ends[1:], strict=False) if min_patients > 1 else ():
            number = numbers.setdefault(patient, len(numbers))
            for word in set(split.words[first:after]):
                known = patients.get(word, ())
                if len(known) < min_patients and number not in known:
                    patients[word] = (*known, number)
        if len(counts) > most_words:
            counts = collections.Counter({word: count for word, count in counts.items() if count > 1})
            patients = {word: known for word, known in patients.items() if word in counts}
    if min_patients <= 1:
        return WordCounts(counts, texts, 0)
    kept = {word: count for word, count in counts.items() if len(patients[word]) >= min_patients}
    return WordCounts(kept, texts, len(counts) - len(kept))


def learn_pieces(counts, size, min_count=2, alphabet=1000):
    """The pieces of a vocabulary.

    First the characters, each both as the beginning of a word and as its continuation; then joined pieces, in the order
    in which they are made.

    Args:
        counts: dict word -> count.
        size: most pieces; characters beyond it are the rarest.
        min_count: how often two neighbours must occur to be joined.
        alphabet: most characters.

    Returns:
        list of str.

    >>> learn_pieces({"ab": 5, "abb": 2}, 10)
    ['a', 'b', '##a', '##b', 'ab', 'abb']
    """
    letters = collections.Counter()
    for word, count in counts.items():
        if len(word) <= LONGEST_WORD:
            for letter in word:
                letters[letter] += count
    kept = sorted(sorted(letters, key=lambda letter: (-letters[letter], letter))[: min(alphabet, size // 2)])
    tokens = [*kept, *(CONTINUES + letter for letter in kept)]
    ids = {token: number for number, token in enumerate(tokens)}
    words, weights = [], []
    for word in sorted(counts):  # sorted: the result does not depend on the order of the texts
        if len(word) <= LONGEST_WORD and ids.keys() >= set(word):
            words.append([ids[word[0]], *(ids[CONTINUES + letter] for letter in word[1:])])
            weights.append(counts[word])
    joins = _Joins(words, weights)
    while len(tokens) < size and (pair := joins.best(min_count)) is not None:
        joined = tokens[pair[0]] + tokens[pair[1]].removeprefix(CONTINUES)
        if joined not in ids:
            ids[joined] = len(tokens)
            tokens.append(joined)
        joins.join(pair, ids[joined])
    return tokens


class _Joins:
    """Neighbouring pieces in words, how often each pair occurs, and the most frequent one.

    Args:
        words: list of lists of ids; changed in place.
        weights: how often each word occurs.
    """

    def __init__(self, words, weights):
        self.words, self.weights = words, weights
        self.counts, self.where = collections.Counter(), collections.defaultdict(set)
        for place, word in enumerate(words):
            self._add(place, word, 1)
        self._heap = [(-count, pair) for pair, count in self.counts.items()]
        heapq.heapify(self._heap)

    def _add(self, place, word, sign):
        changed = list(zip(word, word[1:], strict=False))
        for pair in changed:
            self.counts[pair] += sign * self.weights[place]
            if sign > 0:
                self.where[pair].add(place)
        return changed

    def best(self, min_count):
        """The most frequent pair, of equals the one with the lowest ids; None when all are rarer than `min_count`."""
        while self._heap:
            count, pair = heapq.heappop(self._heap)
            now = self.counts[pair]
            if now == -count and now >= min_count:
                return pair
            if now != -count and now > 0:  # it has become rarer since it was put there
                heapq.heappush(self._heap, (-now, pair))
        return None

    def join(self, pair, joined):
        """Joins a pair in all words."""
        changed = set()
        for place in self.where.pop(pair):
            word = self.words[place]
            self._add(place, word, -1)
            done, number = [], 0
            while number < len(word):
                if tuple(word[number : number + 2]) == pair:
                    done.append(joined)
                    number += 2
                else:
                    done.append(word[number])
                    number += 1
            self.words[place] = done
            changed.update(self._add(place, done, 1))
        for other in changed:
            heapq.heappush(self._heap, (-self.counts[other], other))
