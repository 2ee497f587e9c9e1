"""Texts to word pieces: the ids of HuggingFace's `BertTokenizer`, cased and uncased, with places in the text.

Words come from `medtop.text.words`; tensorflow-text's `FastWordpieceTokenizer` cuts each distinct word, once, into its
longest known pieces. The text "[SEP]" is brackets and letters here, never the special token: notes cannot give orders.

Letters: N texts, Z pieces of all texts.
"""

import dataclasses
from pathlib import Path

import numpy as np

from medtop.cohort.vocabulary import CLS, PAD, SEP, SPECIAL_TOKENS, UNK, Vocabulary
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.text.words import WordSplitter

LONGEST_WORD = 100
"""Characters; a longer word is [UNK], as in BERT's code."""

_MOST_WORDS = 1_000_000
"""Distinct words that are remembered, some 200 bytes each."""


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Word pieces of N texts, end to end.

    Attributes:
        ids: int64 [Z].
        counts: int64 [N], pieces of each text.
        word_starts: int64 [Z], 1 for the first piece of a word, else 0.
        starts, ends: int64 [Z], where the piece's word begins and ends in its text, in characters.
    """

    ids: np.ndarray
    counts: np.ndarray
    word_starts: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def read_vocabulary(path):
    """The `Vocabulary` of a text model: `vocab.txt` with one piece a line, the five special tokens anywhere.

    Raises:
        DataError: for another file, or Med-BERT's vocabulary.
    """
    vocabulary = Vocabulary.read(path, text_model=True)
    if vocabulary.is_medbert:
        raise DataError(f"{path}: expected word pieces with {' '.join(SPECIAL_TOKENS)}, received Med-BERT's codes")
    return vocabulary


def choose_case(vocab_file, vocabulary, lower_case=None):
    """Whether texts are lower-cased: as asked, as the model's folder says, or as the vocabulary shows.

    A folder says it in `tokenizer_config.json` (HuggingFace; our imports keep it in `source_tokenizer`), or in
    `run.json` of a run that was trained on notes.

    Args:
        vocab_file: where the vocabulary was read.
        vocabulary: `Vocabulary`.
        lower_case: True, False, or None for "as the vocabulary was made".

    Raises:
        DataError: when lower-casing is asked for and the vocabulary has capital letters, or the file says otherwise.
    """
    capitals = any(token != token.lower() for token in vocabulary.tokens if not token.startswith("["))
    where, said = _said(Path(vocab_file).parent)
    if lower_case is None:
        return not capitals if said is None else said
    if said is not None and said != lower_case:
        raise DataError(f"--lower_case: expected {said} ({where}), received {lower_case}")
    if lower_case and capitals:
        raise DataError(f"--lower_case: expected False ({vocab_file} has capital letters), received True")
    return lower_case


_PLACES = {
    # file of a model's folder: keys that lead to whether texts are lower-cased
    "run.json": ("settings", "data", "train", "tokenizer", "lower_case"),
    "tokenizer_config.json": ("do_lower_case",),
    "source_tokenizer/tokenizer_config.json": ("do_lower_case",),
}


def _said(folder):
    """(file, True or False) of the first file of a folder that says it; (None, None) where none does."""
    for name, keys in _PLACES.items():
        path = folder / name
        if not path.is_file():
            continue
        value = read_json(path)
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, bool):
            return path, value
    return None, None


class WordPiece:
    """A tokenizer.

    Args:
        vocabulary: `Vocabulary` that holds the five special tokens.
        lower_case: whether letters are lower-cased and accents taken off.
    """

    def __init__(self, vocabulary, lower_case):
        missing = [token for token in SPECIAL_TOKENS if token not in vocabulary.ids]
        if missing:
            raise DataError(f"vocabulary: expected {' '.join(SPECIAL_TOKENS)}, received one without {missing[0]}")
        self.vocabulary, self.lower_case = vocabulary, bool(lower_case)
        self.pad_id, self.unk_id, self.cls_id, self.sep_id = (vocabulary.ids[name] for name in (PAD, UNK, CLS, SEP))
        self._splitter = WordSplitter(self.lower_case)
        self._matcher = None
        self._forget()

    @property
    def settings(self):
        """What `dataset.json` and run directories remember of it."""
        return {"kind": "wordpiece", "lower_case": self.lower_case}

    def _forget(self):
        self._rows, self._flat, self._counts = {}, np.zeros(0, np.int64), np.zeros(0, np.int64)

    def tokenize(self, texts):
        """The `Pieces` of a list of str; special tokens are not added."""
        split = self._splitter.split(texts)
        if len(self._rows) > _MOST_WORDS:
            self._forget()
        self._learn(sorted(set(split.words).difference(self._rows)))
        rows = np.fromiter(map(self._rows.__getitem__, split.words), np.int64, len(split.words))
        counts = self._counts[rows]
        owners = np.repeat(np.arange(len(rows)), counts)  # the word of each piece
        within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        first = np.cumsum(self._counts) - self._counts
        texts_of = np.bincount(split.texts, weights=counts, minlength=len(texts)).astype(np.int64)
        return Pieces(
            self._flat[first[rows][owners] + within],
            texts_of[: len(texts)],
            (within == 0).astype(np.int64),
            split.starts[owners],
            split.ends[owners],
        )

    def _learn(self, words):
        """Adds words to the table of pieces."""
        if not words:
            return
        if self._matcher is None:
            import tensorflow_text  # loads TensorFlow

            # its own limit counts bytes; ours, in characters, is applied below
            self._matcher = tensorflow_text.FastWordpieceTokenizer(
                list(self.vocabulary.tokens),
                max_bytes_per_word=4 * LONGEST_WORD,
                unknown_token=UNK,
                no_pretokenization=True,
            )
        known = ["" if len(word) > LONGEST_WORD else word for word in words]
        pieces = self._matcher.tokenize([word.encode("utf-8", "surrogatepass") for word in known])
        counts, flat = pieces.row_lengths().numpy(), pieces.flat_values.numpy().astype(np.int64)
        blank = counts == 0  # too long, given as ""
        flat = np.insert(flat, (np.cumsum(counts) - counts)[blank], self.unk_id)
        self._rows |= {word: len(self._rows) + place for place, word in enumerate(words)}
        self._flat = np.concatenate([self._flat, flat])
        self._counts = np.concatenate([self._counts, np.where(blank, 1, counts)])
