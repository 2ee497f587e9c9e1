"""Sequences to arrays: tokens, truncation, masks. Pure NumPy; what the records hold and what the pipeline must equal.

Letters: N sequences, C codes, S visits, Z tokens of all sequences laid end to end, T tokens of a row, M masked
positions of a row.
"""

import dataclasses

import numpy as np

from medtop.cohort.pickled_lists import CODE_COLUMNS, EXAMPLE_COLUMNS, VISIT_COLUMNS, Chunk
from medtop.cohort.vocabulary import CLS_ID, SEP_ID, UNK_ID
from medtop.files.errors import DataError

TOKEN_COLUMNS = ("token_ids", "visits", "visit_positions", "age_days", "gap_days", "stay_days", "recency_days")
"""The columns of `Tokens`, each with one value per token."""

TIME_GAPS = ("before", "after")
PROLONGED_STAY_DAYS = 7
"""A stay of more days than this is prolonged (Med-BERT, top-BERT)."""


@dataclasses.dataclass
class Tokens:
    """The tokens of N sequences, laid end to end; all arrays int64.

    Attributes:
        counts: [N], tokens of each sequence, [CLS] included (sums to Z).
        token_ids: [Z], [CLS] first in each sequence, then codes in clinical order.
        visits: [Z], number of the token's visit, from 1; 0 for [CLS].
        visit_positions: [Z], order within the visit, from 0; 0 for [CLS].
        age_days: [Z], age at the visit's admission; for [CLS] at the prediction time; 0 = unknown.
        gap_days: [Z], days since the previous visit's discharge (0 for the first visit and for [CLS]); with
            `time_gap="after"` the days to the next visit instead (0 for the last).
        stay_days: [Z], length of the token's stay; 0 for [CLS].
        recency_days: [Z], days from the visit's discharge to the prediction time; 0 for [CLS].
    """

    counts: np.ndarray
    token_ids: np.ndarray
    visits: np.ndarray
    visit_positions: np.ndarray
    age_days: np.ndarray
    gap_days: np.ndarray
    stay_days: np.ndarray
    recency_days: np.ndarray

    def __len__(self):
        return len(self.counts)

    @property
    def offsets(self):
        """int64 [N + 1]: sequence i holds tokens `offsets[i]` to `offsets[i + 1]`."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    def __getitem__(self, number):
        """One sequence as dict of column -> int64 [n]."""
        first, end = self.offsets[number], self.offsets[number + 1]
        return {name: getattr(self, name)[first:end] for name in TOKEN_COLUMNS}


def tokens_of(chunk, vocabulary, visit_separator=False, time_gap="before"):
    """Turns a chunk of sequences into tokens: `[CLS] codes`, with `visit_separator` a [SEP] after each visit.

    A [SEP] carries its visit's number and times, and the visit position after the visit's last code. Nothing is cut
    and nothing is padded.

    Args:
        chunk: `medtop.cohort.pickled_lists.Chunk`.
        vocabulary: `medtop.cohort.vocabulary.Vocabulary` in our layout.
        visit_separator: whether each visit ends with [SEP].
        time_gap: "before" (days since the previous visit, known at the time) or "after" (days to the next visit, as
            in Med-BERT: known only later; within the history only).

    Returns:
        `Tokens`.

    Raises:
        DataError: when a code is no code of the vocabulary, or visits are not numbered upwards from 1.
    """
    if time_gap not in TIME_GAPS:
        raise ValueError(f"time_gap: expected one of {TIME_GAPS}, received {time_gap!r}")
    _check(chunk, vocabulary)
    code_counts = np.asarray(chunk.code_counts, np.int64)
    example = np.repeat(np.arange(len(chunk)), code_counts)  # [C]
    first_visit = np.cumsum(chunk.visit_counts, dtype=np.int64) - chunk.visit_counts  # [N]
    visit = first_visit[example] + chunk.visits - 1  # [C], place in the visit columns
    ends = np.zeros(len(visit), np.int64)  # [C], 1 where a [SEP] follows
    if visit_separator and len(visit):
        ends[:-1] = visit[1:] != visit[:-1]
        ends[-1] = 1
    place = np.arange(len(visit)) + example + 1 + np.cumsum(ends) - ends  # [C], where the code stands among the tokens
    counts = code_counts + 1 + np.bincount(example, ends, minlength=len(chunk)).astype(np.int64)
    cls = np.cumsum(counts) - counts  # [N]
    sep, last = place[ends == 1] + 1, visit[ends == 1]

    def column(of_codes, of_separators, of_cls):
        values = np.empty(int(counts.sum()), np.int64)
        values[place], values[sep], values[cls] = of_codes, of_separators, of_cls
        return values

    def of_visits(values, of_cls=0):
        return column(np.asarray(values)[visit], np.asarray(values)[last], of_cls)

    gaps = chunk.gaps_before if time_gap == "before" else _gaps_after(chunk)
    return Tokens(
        counts=counts,
        token_ids=column(chunk.codes, SEP_ID, CLS_ID),
        visits=column(chunk.visits, chunk.visits[ends == 1], 0),
        visit_positions=column(chunk.visit_positions, chunk.visit_positions[ends == 1] + 1, 0),
        age_days=of_visits(chunk.ages, chunk.ages_at_prediction),
        gap_days=of_visits(gaps),
        stay_days=of_visits(chunk.stay_days),
        recency_days=of_visits(chunk.recencies),
    )


def _check(chunk, vocabulary):
    codes, visits = chunk.codes, chunk.visits
    if vocabulary.is_medbert:
        raise DataError("vocabulary: expected [PAD] [UNK] [CLS] [SEP] [MASK] first, received Med-BERT's layout")
    bad = (codes >= len(vocabulary)) | ((codes < vocabulary.first_code_id) & (codes != UNK_ID))
    if bad.any():
        raise DataError(
            f"sequences: expected codes from {vocabulary.first_code_id} to {len(vocabulary) - 1} (or {UNK_ID}), "
            f"received {codes[bad][0]}: another run's vocabulary?"
        )
    highest = np.repeat(chunk.visit_counts, chunk.code_counts)
    example = np.repeat(np.arange(len(chunk)), chunk.code_counts)
    falls = (np.diff(visits) < 0) & (np.diff(example) == 0)
    if (visits < 1).any() or (visits > highest).any() or falls.any():
        raise DataError(
            "sequences: expected visits numbered upwards from 1 within each example, received other numbers"
        )


def _gaps_after(chunk):
    """int64 [S]: a visit's gap after is the next visit's gap before; 0 for an example's last visit."""
    after = np.zeros(len(chunk.gaps_before), np.int64)
    after[:-1] = chunk.gaps_before[1:]
    counts = np.asarray(chunk.visit_counts, np.int64)
    after[(np.cumsum(counts) - 1)[counts > 0]] = 0
    return after


def pieces(chunk, size):
    """Yields a chunk's examples in chunks of at most `size`, in order: bounds the memory of what follows."""
    if len(chunk) <= size:
        yield chunk
        return
    codes = np.concatenate([[0], np.cumsum(chunk.code_counts, dtype=np.int64)])
    visits = np.concatenate([[0], np.cumsum(chunk.visit_counts, dtype=np.int64)])
    for first in range(0, len(chunk), size):
        end = min(first + size, len(chunk))
        cuts = {
            **dict.fromkeys(EXAMPLE_COLUMNS, slice(first, end)),
            **dict.fromkeys(CODE_COLUMNS, slice(codes[first], codes[end])),
            **dict.fromkeys(VISIT_COLUMNS, slice(visits[first], visits[end])),
        }
        columns = {name: getattr(chunk, name)[cut] for name, cut in cuts.items()}
        tasks = {
            kind: {task: values[first:end] for task, values in getattr(chunk, kind).items()}
            for kind in ("labels", "weights")
        }
        yield Chunk(patient_ids=chunk.patient_ids[first:end], **columns, **tasks)


def truncate(sequence, max_seq_length):
    """Cuts one sequence to at most `max_seq_length` tokens: the first ([CLS]) and the latest are kept.

    Numbers of visits and places within visits stay as they were.

    Args:
        sequence: array [n], or dict of name -> array [n].
        max_seq_length: at least 1.

    >>> truncate(np.array([2, 7, 8, 9]), 3).tolist()
    [2, 8, 9]
    """
    if max_seq_length < 1:
        raise ValueError(f"max_seq_length: expected at least 1, received {max_seq_length}")
    if isinstance(sequence, dict):
        return {name: truncate(values, max_seq_length) for name, values in sequence.items()}
    if len(sequence) <= max_seq_length:
        return sequence
    return np.concatenate([sequence[:1], sequence[len(sequence) - max_seq_length + 1 :]])


def select_masked(token_ids, first_code_id, mask_id, vocab_size, masked_lm_prob, max_predictions, rng):
    """Chooses the codes of one sequence that the model must guess, and hides them (BERT's 80/10/10).

    Chosen are `max(1, round(codes * masked_lm_prob))` codes, at most `max_predictions`; ids below `first_code_id`
    (special tokens, [UNK], padding) never. Each chosen code becomes `mask_id` with probability 0.8, a random code
    (`first_code_id` to `vocab_size - 1`) with 0.1, and stays with 0.1. A sequence without codes gets no positions.

    Args:
        token_ids: int [n].
        rng: `numpy.random.Generator`.

    Returns:
        positions int64 [m], ascending; labels int64 [m], the original codes there; new token ids int64 [n].
    """
    positions, labels, weights, hidden = select_masked_rows(
        np.asarray(token_ids)[None, :], first_code_id, mask_id, vocab_size, masked_lm_prob, max_predictions, rng
    )
    real = weights[0] > 0
    return positions[0, real], labels[0, real], hidden[0]


def select_masked_rows(token_ids, first_code_id, mask_id, vocab_size, masked_lm_prob, max_predictions, rng):
    """`select_masked` for rows of equal length, padded with ids below `first_code_id`.

    Args:
        token_ids: int [N, T].

    Returns:
        positions int64 [N, M], ascending, then 0; labels int64 [N, M], then 0; weights float32 [N, M], 1 where a
        position is real; new token ids int64 [N, T]. M is `max_predictions`.
    """
    if not (0 < masked_lm_prob <= 1 and max_predictions >= 1):
        raise ValueError(
            "masked_lm_prob in (0, 1] and max_predictions >= 1 expected, "
            f"received {masked_lm_prob} and {max_predictions}"
        )
    token_ids = np.asarray(token_ids, np.int64)
    rows, length = token_ids.shape
    is_code = token_ids >= first_code_id
    codes = is_code.sum(axis=1)
    wanted = np.minimum(np.maximum(1, np.rint(codes * masked_lm_prob)), np.minimum(max_predictions, codes)).astype(
        np.int64
    )
    # The `wanted` codes of a row with the lowest random scores are chosen: every subset is equally likely.
    order = np.argsort(np.where(is_code, rng.random((rows, length)), 2.0), axis=1)
    chosen = np.zeros((rows, length), bool)
    np.put_along_axis(chosen, order, np.arange(length) < wanted[:, None], axis=1)

    width = min(length, max_predictions)
    positions, weights = np.zeros((2, rows, max_predictions), np.int64)
    positions[:, :width] = np.argsort(~chosen, axis=1, kind="stable")[:, :width]
    weights = np.arange(max_predictions) < wanted[:, None]
    positions *= weights
    labels = np.take_along_axis(token_ids, positions, axis=1) * weights if length else positions

    hidden = token_ids.copy()
    row, column = np.nonzero(chosen)
    if len(row):
        way = rng.random(len(row))
        random_codes = rng.integers(first_code_id, vocab_size, len(row))
        hidden[row, column] = np.where(way < 0.8, mask_id, np.where(way < 0.9, random_codes, token_ids[row, column]))
    return positions, labels, weights.astype(np.float32), hidden


def medbert_rows(rows, max_seq_length):
    """Pads Med-BERT's positional rows and leaves out, with a reason, those that its feature script leaves out.

    Args:
        rows: list of `[patient, [stay days], [gaps to next], [codes], [visit no.]]`.
        max_seq_length: T; longer patients are left out.

    Returns:
        dict of `input_ids`, `input_mask`, `segment_ids` (the visit numbers) int64 [N, T] and `next_sentence_labels`
        int64 [N, 1] (1 when the longest stay is prolonged); the N patients; dict reason -> rows left out.
    """
    kept, dropped = [], dict.fromkeys(("longer_than_max_seq_length", "no_codes", "first_code_is_padding"), 0)
    for row in rows:
        if not row[3] or not row[1]:
            dropped["no_codes"] += 1
        elif row[3][0] <= 0:
            dropped["first_code_is_padding"] += 1
        elif len(row[3]) > max_seq_length:
            dropped["longer_than_max_seq_length"] += 1
        else:
            kept.append(row)
    counts = np.fromiter((len(row[3]) for row in kept), np.int64, len(kept))
    mask = np.arange(max_seq_length) < counts[:, None]  # [N, T]
    columns = {
        "input_ids": np.zeros(mask.shape, np.int64),
        "input_mask": mask.astype(np.int64),
        "segment_ids": np.zeros(mask.shape, np.int64),
    }
    columns["input_ids"][mask] = np.fromiter((code for row in kept for code in row[3]), np.int64, int(counts.sum()))
    columns["segment_ids"][mask] = np.fromiter((visit for row in kept for visit in row[4]), np.int64, int(counts.sum()))
    longest = np.fromiter((max(row[1]) for row in kept), np.int64, len(kept))
    columns["next_sentence_labels"] = (longest > PROLONGED_STAY_DAYS).astype(np.int64)[:, None]
    return columns, [str(row[0]) for row in kept], dropped
