"""Documents -> batches of windows that a trained encoder reads: out of memory, windows of like lengths side by side.

Nothing is written in between. Documents come block by block, and a block is tagged and given away before the next one
is read: memory is that of a block, however many documents there are.

Letters: D documents of a block, W their words, Z their tokens, S their windows, B rows in a batch, T tokens in a row, K
tags.
"""

import collections
import dataclasses

import numpy as np

from medtop.entities.records import word_pieces, word_tokens
from medtop.entities.windows import cut

_BLOCK = 256
"""Most documents of a block: enough windows to sort by length."""

_CHARACTERS = 1 << 21
"""A block ends with the document that reaches so many characters."""


@dataclasses.dataclass(frozen=True)
class BlockWindows:
    """The windows of a block of documents as plain arrays.

    Attributes:
        columns: dict name -> int32 [Z], a number for each token.
        edges: dict name -> its values at [CLS] and at [SEP].
        starts, ends: int64 [S], first token of each window and the token after its last one.
        owners: int64 [W], the window that decides each word; rising.
        places: int64 [W], the word's first token in that window's row, where [CLS] stands at 0.
    """

    columns: dict
    edges: dict
    starts: np.ndarray
    ends: np.ndarray
    owners: np.ndarray
    places: np.ndarray

    @property
    def lengths(self):
        """int64 [S], [CLS] and [SEP] included."""
        return self.ends - self.starts + 2

    def batches(self, batch_size, row_lengths):
        """Windows that lie side by side, shortest first: list of (int64 [B], T)."""
        order = np.argsort(self.lengths, kind="stable")
        parts = np.split(order, range(batch_size, len(order), batch_size)) if len(order) else []
        return [(some, row_lengths[np.searchsorted(row_lengths, self.lengths[some[-1]])]) for some in parts]

    def decided(self, some):
        """The words that some windows decide: (int64 [n], which words; int64 [n], the row of `some` of each)."""
        first = np.searchsorted(self.owners, some)
        counts = np.searchsorted(self.owners, some, side="right") - first
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(first, counts) + within, np.repeat(np.arange(len(some)), counts)

    def rows(self, some, width, names):
        """What the model reads of some windows, as `medtop.data.batches` would make it of their records.

        Args:
            some: int64 [B], which windows.
            width: T.
            names: the model's inputs; what no column gives (`segments`) is 0.

        Returns:
            dict name -> int32 [B, T]; `cls_positions` int32 [B, 1].
        """
        within, lengths = np.arange(width), self.lengths[some, None]
        filled = within < lengths
        inside = filled & (within > 0) & (within < lengths - 1)
        last = np.arange(len(some)), lengths[:, 0] - 1
        tokens = (self.starts[some, None] + within - 1)[inside]
        given = {"patient_slots": filled, "positions": within * filled, "cls_positions": np.zeros((len(some), 1))}
        x = {}
        for name in names:
            if name not in self.columns:
                x[name] = np.asarray(given.get(name, np.zeros_like(filled)), np.int32)
                continue
            x[name] = np.zeros(filled.shape, np.int32)
            x[name][inside] = self.columns[name][tokens]
            x[name][:, 0], x[name][last] = self.edges[name]
        return x


def block_windows(splits, tagset, max_seq_length, overlap):
    """The windows of documents.

    Args:
        splits: list of D `DocumentWords`.
        tagset: `medtop.entities.records.Tagset`.
        max_seq_length, overlap: of the windows.

    Returns:
        `BlockWindows`.
    """
    splits = [split for split in splits if split.words]
    starts, columns, edges = _tokens(splits, tagset)
    windows = [cut(some, max_seq_length, overlap) for some in starts]
    tokens, numbers = (
        [0, *np.cumsum([len(some) for some in parts])] for parts in (starts, [w.starts for w in windows])
    )

    def joined(parts, shifts=None):
        parts = [part + shift for part, shift in zip(parts, shifts or [0] * len(parts), strict=False)]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    return BlockWindows(
        columns,
        dict.fromkeys(columns, (0, 0)) | edges,
        joined([w.starts for w in windows], tokens),
        joined([w.ends for w in windows], tokens),
        joined([w.owners for w in windows], numbers),
        joined([w.places + 1 for w in windows]),
    )


def _tokens(splits, tagset):
    """(list of word_starts [Z of the document]; dict column -> int32 [Z]; dict column -> values at [CLS] and [SEP])."""
    if tagset.tokenizer is not None:  # all at once
        words = [word for split in splits for word in split.words]
        starts, ids = word_pieces(words, tagset.tokenizer)
        begins = np.append(np.flatnonzero(starts), len(starts))
        of_documents = np.cumsum([len(split.words) for split in splits[:-1]], dtype=np.int64)
        columns = {"token_ids": ids.astype(np.int32), "word_starts": starts.astype(np.int32)}
        edges = {"token_ids": (tagset.tokenizer.cls_id, tagset.tokenizer.sep_id)}
        return np.split(starts, begins[of_documents]) if splits else [], columns, edges
    made, edges = collections.defaultdict(list), {}
    for split in splits:
        starts, columns, edges = word_tokens(split, tagset, tagset.dictionary)
        for name, values in (columns | {"word_starts": starts}).items():
            made[name].append(np.asarray(values, np.int64))
    joined = {name: np.concatenate(parts).astype(np.int32) for name, parts in made.items()}
    return made.get("word_starts", []), joined, edges


def blocks(documents):
    """Yields lists of documents, see `_BLOCK` and `_CHARACTERS`."""
    block, characters = [], 0
    for document in documents:
        block.append(document)
        characters += len(document.text)
        if len(block) == _BLOCK or characters >= _CHARACTERS:
            yield block
            block, characters = [], 0
    if block:
        yield block
