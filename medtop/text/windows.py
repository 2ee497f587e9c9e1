"""Word pieces to windows that a model can read: `[CLS] pieces [SEP]`, all pieces in one window or another.

Letters: N texts, S windows of all texts, Z pieces, n tokens of a window.
"""

import dataclasses

import numpy as np

from medtop.files.errors import DataError


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of N texts, in order.

    Attributes:
        texts: int64 [S], which text each is of.
        numbers: int64 [S], its number within the text, from 0.
        counts: int64 [S], tokens, [CLS] and [SEP] included.
        token_ids, word_starts: int64 [sum of counts].
        starts, ends: int64 [S], which characters of the text it covers; a word cut by its edge counts whole.
    """

    texts: np.ndarray
    numbers: np.ndarray
    counts: np.ndarray
    token_ids: np.ndarray
    word_starts: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def __len__(self):
        return len(self.texts)


def check_window(max_seq_length, overlap):
    """Refuses lengths that leave no room for text.

    Raises:
        DataError: naming the flag.
    """
    if max_seq_length < 3:
        raise DataError(f"--max_seq_length: expected at least 3 ([CLS], a piece, [SEP]), received {max_seq_length}")
    if not 0 <= overlap < max_seq_length - 2:
        raise DataError(f"--window_overlap: expected 0 to {max_seq_length - 3} pieces, received {overlap}")


def window_edges(counts, size, overlap=0):
    """Where windows begin and end.

    As few windows as needed, their lengths equal to within one piece, so that no text ends in a scrap: of 520 pieces
    and at most 510 a window come 260 and 260, not 510 and 10. Neighbours share `overlap` pieces.

    Args:
        counts: int [N], pieces of each text; 0 gives no window.
        size: most pieces in a window.
        overlap: pieces, less than `size`.

    Returns:
        int64 arrays [S]: text, number within the text, first piece, piece after the last one.

    >>> [edges.tolist() for edges in window_edges([7, 0, 3], size=3)[2:]]
    [[0, 2, 4, 0], [2, 4, 7, 3]]
    """
    counts = np.asarray(counts, np.int64)
    own = np.maximum(counts - overlap, 0)  # what windows do not share
    windows = np.where(counts > 0, np.maximum(-(-own // (size - overlap)), 1), 0)
    texts = np.repeat(np.arange(len(counts)), windows)
    numbers = np.arange(len(texts)) - np.repeat(np.cumsum(windows) - windows, windows)
    total, pieces = own[texts], windows[texts]
    starts = numbers * total // pieces
    ends = np.minimum((numbers + 1) * total // pieces + overlap, counts[texts])
    return texts, numbers, starts, ends


def make_windows(pieces, max_seq_length, cls_id, sep_id, overlap=0):
    """Cuts the pieces of N texts into `Windows`; a text without pieces has none.

    Args:
        pieces: `medtop.text.wordpiece.Pieces`.
        max_seq_length: most tokens of a window, [CLS] and [SEP] included.
        cls_id, sep_id: what stands at its two ends.
        overlap: pieces that neighbours share.
    """
    check_window(max_seq_length, overlap)
    texts, numbers, starts, ends = window_edges(pieces.counts, max_seq_length - 2, overlap)
    base = (np.cumsum(pieces.counts) - pieces.counts)[texts]
    first, last = base + starts, base + ends
    counts = last - first + 2
    begins = np.cumsum(counts) - counts
    within = np.arange(int(counts.sum())) - np.repeat(begins, counts)
    inside = (within > 0) & (within < np.repeat(counts - 1, counts))
    places = (np.repeat(first, counts) + within - 1)[inside]
    token_ids, word_starts = np.full(len(within), sep_id, np.int64), np.ones(len(within), np.int64)
    token_ids[begins] = cls_id
    token_ids[inside], word_starts[inside] = pieces.ids[places], pieces.word_starts[places]
    return Windows(texts, numbers, counts, token_ids, word_starts, pieces.starts[first], pieces.ends[last - 1])


def first_windows(pieces, max_seq_length, cls_id, sep_id, overlap=0):
    """ClinicalBERT's way: one window per text, its first pieces; what does not fit is lost.

    Args:
        pieces, max_seq_length, cls_id, sep_id: as for `make_windows`.
        overlap: 0; there are no neighbours.
    """
    check_window(max_seq_length, overlap)
    kept = np.minimum(pieces.counts, max_seq_length - 2)
    within = np.arange(len(pieces.ids)) - np.repeat(np.cumsum(pieces.counts) - pieces.counts, pieces.counts)
    inside = within < np.repeat(kept, pieces.counts)
    first = dataclasses.replace(
        pieces,
        counts=kept,
        **{name: getattr(pieces, name)[inside] for name in ("ids", "word_starts", "starts", "ends")},
    )
    return make_windows(first, max_seq_length, cls_id, sep_id)
