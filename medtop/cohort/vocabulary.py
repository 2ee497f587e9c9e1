"""Codes to ids and back. A vocabulary is frozen: it is fitted once, on the training split, and never grows."""

import functools
import hashlib
import pickle
import re
from pathlib import Path

import numpy as np

from medtop.cohort.vocabulary_map import read_beside, write_beside
from medtop.files.atomic import atomic_path, write_text
from medtop.files.errors import DataError
from medtop.files.pickles import load_pickle
from medtop.files.staging import check_whole

PAD, UNK, CLS, SEP, MASK = SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID = range(5)
MEDBERT_PAD = "empty_pad"
"""Med-BERT's only special token, with id 0, which also served as its mask."""
FEW_PATIENTS = 5
"""A code or word that fewer patients have may say who one of them is."""
FEW_CODES = f"codes_of_fewer_than_{FEW_PATIENTS}_patients"
"""Key of a manifest's `vocabulary`: how many of its codes are such."""

_UNUSED = re.compile(r"\[unused\d+\]|\[no token \d+\]")
"""Rows that no text reaches: BERT's spare tokens, and rows of a table beyond its vocabulary."""


class Vocabulary:
    """An ordered, frozen list of tokens; a token's id is its place.

    Three layouts exist: ours, whose first five tokens are `SPECIAL_TOKENS`; Med-BERT's, whose first is `empty_pad`; and
    WordPiece's (notes only), where the five stand anywhere, as in BERT's own files ([UNK] is 100 there).

    Args:
        tokens: sequence of distinct non-empty strings without line breaks.
        code_map: `medtop.cohort.vocabulary_map.CodeMap` that codes go through before they are looked up, or None. It
            stays with the vocabulary; vocabularies with equal tokens are equal.

    Raises:
        DataError: when a token is empty, doubled or holds a line break.
    """

    def __init__(self, tokens, code_map=None):
        self.tokens, self.code_map = tuple(tokens), code_map
        self.ids = {token: number for number, token in enumerate(self.tokens)}
        if len(self.ids) != len(self.tokens):
            seen = set()
            double = next(token for token in self.tokens if token in seen or seen.add(token))
            raise DataError(f"vocabulary: expected distinct tokens, received the token of id {self.ids[double]} twice")
        for number, token in enumerate(self.tokens):
            if not token or "\n" in token or "\r" in token:
                received = "a line break in it" if token else "nothing"
                raise DataError(f"vocabulary: expected a token on one line at id {number}, received {received}")

    def with_map(self, code_map):
        """The same vocabulary with another map of codes."""
        return Vocabulary(self.tokens, code_map)

    def __len__(self):
        return len(self.tokens)

    def __eq__(self, other):
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    def __hash__(self):
        return hash(self.tokens)

    @property
    def is_medbert(self):
        """Whether the vocabulary has Med-BERT's layout (`empty_pad` at 0, no other special token)."""
        return self.tokens[:1] == (MEDBERT_PAD,)

    @property
    def is_wordpiece(self):
        """Whether the five special tokens stand elsewhere than at ids 0 to 4: such a vocabulary is for notes only."""
        elsewhere = self.tokens[: len(SPECIAL_TOKENS)] != SPECIAL_TOKENS
        return elsewhere and not self.is_medbert and all(token in self.ids for token in SPECIAL_TOKENS)

    @property
    def special_ids(self):
        """Ids of the special tokens, rising: those that are neither masked nor put in a masked one's place.

        >>> Vocabulary(["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]).special_ids
        (0, 2, 3, 4, 5)
        """
        names = (MEDBERT_PAD,) if self.is_medbert else SPECIAL_TOKENS
        return tuple(sorted(self.ids[name] for name in names if name in self.ids))

    @functools.cached_property
    def ordinary_ids(self):
        """Ids that may stand in a masked token's place: all but special and unused ones; int64, rising."""
        unused = {number for token, number in self.ids.items() if _UNUSED.fullmatch(token)}
        return np.array(sorted(set(range(len(self))) - set(self.special_ids) - unused), np.int64)

    @property
    def first_code_id(self):
        """The lowest id that is a code: 5 in our layout, 1 in Med-BERT's. WordPiece's has none: see `ordinary_ids`.

        Raises:
            DataError: for WordPiece's layout.
        """
        if self.is_wordpiece:
            raise DataError(
                f"vocabulary: expected {' '.join(SPECIAL_TOKENS)} first (codes), received a text model's vocabulary"
            )
        return 1 if self.is_medbert else len(SPECIAL_TOKENS)

    @property
    def mask_id(self):
        """The id that replaces a masked code: that of [MASK] (4 in our layout), 0 in Med-BERT's."""
        return 0 if self.is_medbert else self.ids.get(MASK, MASK_ID)

    @property
    def hash(self):
        """SHA-256 (hex) of the tokens joined by line breaks: equal vocabularies have equal hashes."""
        return hashlib.sha256("\n".join(self.tokens).encode()).hexdigest()

    @classmethod
    def from_counts(cls, codes, counts, min_count=2, patients=None, min_patients=1):
        """Fits our layout: codes by falling count, ties by code; rare ones become [UNK].

        Args:
            codes: sequence of strings.
            counts: int [len(codes)], how often each occurs in the training split.
            min_count: codes with fewer occurrences are left out.
            patients: int [len(codes)], how many patients of the training split have each; None: not counted.
            min_patients: codes of fewer patients are left out: what one patient has alone may say who it is.

        >>> Vocabulary.from_counts(["b", "a", "c", "d"], [3, 3, 9, 1]).tokens[5:]
        ('c', 'a', 'b')
        """
        counts = np.asarray(counts)
        enough = np.asarray(counts if patients is None else patients) >= (1 if patients is None else min_patients)
        kept = [
            (-int(count), code)
            for code, count, shared in zip(codes, counts, enough, strict=True)
            if count >= max(min_count, 1) and shared
        ]
        reserved = sorted({code for _, code in kept} & {*SPECIAL_TOKENS})
        if reserved:
            raise DataError(f"vocabulary: expected codes, received the special token {reserved[0]!r} as a code")
        return cls(SPECIAL_TOKENS + tuple(code for _, code in sorted(kept)))

    def write(self, prefix):
        """Writes `<prefix>.types` (pickled dict token -> id) and `<prefix>.vocab.txt` (line number = id)."""
        with atomic_path(f"{prefix}.types") as temporary, open(temporary, "wb") as file:
            pickle.dump(self.ids, file, protocol=4)
        self.write_text(f"{prefix}.vocab.txt")

    def write_text(self, path, *, shared=False):
        """Writes one token a line, and the map of codes beside; `shared` as in `medtop.files.atomic.atomic_path`."""
        write_text(path, "\n".join(self.tokens) + "\n", shared=shared)
        write_beside(path, self.code_map, shared=shared)

    @classmethod
    def read(cls, path, *, text_model=False):
        """Reads a `.types` pickle or a text file with one token a line, and the map of codes that lies beside it.

        Args:
            path: the file.
            text_model: whether the special tokens may also stand elsewhere than first, as in BERT's `vocab.txt`.

        Raises:
            DataError: for a missing file, a pickle that is no dict of str -> consecutive ids or that carries a class.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"{path}: expected a vocabulary (.types or .txt), found no such file")
        check_whole(path)
        if path.suffix == ".types":
            types = load_pickle(path)
            if not (isinstance(types, dict) and all(isinstance(k, str) and type(v) is int for k, v in types.items())):
                raise DataError(f"{path}: expected a pickled dict of code -> id, received another content")
            ordered = sorted(types, key=types.get)
            if [types[token] for token in ordered] != list(range(len(ordered))):
                raise DataError(f"{path}: expected ids 0 to {len(ordered) - 1}, each once, received other ids")
            return cls._checked(ordered, path, text_model)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: expected UTF-8 text, one token a line; byte {error.start} is not") from error
        return cls._checked(text.split("\n")[:-1] if text.endswith("\n") else text.split("\n"), path, text_model)

    @classmethod
    def _checked(cls, tokens, path, text_model):
        anywhere = text_model and all(token in tokens for token in SPECIAL_TOKENS)
        if tuple(tokens[:5]) != SPECIAL_TOKENS and tokens[:1] != [MEDBERT_PAD] and not anywhere:
            raise DataError(
                f"{path}: expected a vocabulary that {'holds' if text_model else 'begins with'} "
                f"{' '.join(SPECIAL_TOKENS)} (or {MEDBERT_PAD} first), "
                f"received one that begins with {' '.join(tokens[:5])[:80]!r}"
            )
        try:
            return cls(tokens, read_beside(path))
        except DataError as error:
            raise error if str(path.parent) in str(error) else DataError(f"{path}: {error}") from error
