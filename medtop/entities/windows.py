"""Documents as windows of word pieces in which every word is decided exactly once, where it sees most around it.

Raw text only: words and pieces are places in the document's own characters. Windows hold whole ranges of pieces,
overlap, and are as even as can be (`medtop.text.windows.window_edges`). A word stands where its first piece stands. Of
the windows that hold it, the one decides that gives it most context: the fewer of the pieces before it and after it in
the window, where an edge of the document counts as endless; of equal ones the first.

Letters: W words, Z pieces, S windows of one document.
"""

import dataclasses

import numpy as np

from medtop.text.windows import check_window, window_edges


@dataclasses.dataclass(frozen=True)
class DocumentWindows:
    """Windows of one document.

    Attributes:
        starts, ends: int64 [S], first piece and the piece after the last of each window.
        owners: int64 [W], which window decides each word.
        places: int64 [W], place of the word's first piece in that window, from 0 (before [CLS] is counted).
        first_pieces: int64 [W], the word's first piece in the document.
    """

    starts: np.ndarray
    ends: np.ndarray
    owners: np.ndarray
    places: np.ndarray
    first_pieces: np.ndarray


def cut(word_starts, max_seq_length, overlap):
    """Cuts a document's pieces into windows and gives each word to one.

    Args:
        word_starts: int [Z], 1 for the first piece of a word, else 0; the first is 1.
        max_seq_length: most tokens of a window, [CLS] and [SEP] included.
        overlap: pieces that neighbours share.

    Returns:
        `DocumentWindows`; no window for a document without pieces.

    >>> cut(np.ones(7, int), 5, 1).owners.tolist()
    [0, 0, 0, 1, 1, 2, 2]
    """
    check_window(max_seq_length, overlap)
    first_pieces = np.flatnonzero(np.asarray(word_starts))
    _, _, starts, ends = window_edges([len(word_starts)], max_seq_length - 2, overlap)
    owners = deciding(first_pieces, starts, ends)
    places = first_pieces - starts[owners] if len(starts) else np.zeros(0, np.int64)
    return DocumentWindows(starts, ends, owners, places, first_pieces)


def deciding(places, starts, ends):
    """Which window decides each place.

    A place p leaves window k for window k + 1 where the pieces after it in the one, ends[k] - 1 - p, become fewer than
    those before it in the other, p - starts[k + 1]: beyond the middle of what the two share.

    Args:
        places: int [W], rising.
        starts, ends: int [S], rising; together they cover all places.

    Returns:
        int64 [W].
    """
    middles = np.asarray(starts)[1:] + np.asarray(ends)[:-1] - 1  # twice the middle
    return np.searchsorted(middles, 2 * np.asarray(places), side="left").astype(np.int64)


def gather(windows, values):
    """What the deciding windows say of each word.

    Args:
        windows: `DocumentWindows`.
        values: list of S arrays [tokens of the window, ...], [CLS] first.

    Returns:
        array [W, ...].
    """
    lengths = np.array([len(value) for value in values])
    begins = np.cumsum(lengths) - lengths
    return np.concatenate(values)[begins[windows.owners] + windows.places + 1]
