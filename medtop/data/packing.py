"""Which patients share a batch, and which share a row: the plan of a window. NumPy only.

Letters: W patients in a window, B rows in a batch, T tokens in a row, P patients in a row.
"""

import dataclasses

import numpy as np

ROWS_MULTIPLE = 4
"""A packed batch has a multiple of so many rows (some may be empty): few distinct shapes."""


@dataclasses.dataclass(frozen=True)
class WindowPlan:
    """The batches of a window.

    Attributes:
        row_lengths: int64 [batches], T of each batch.
        batch_sizes: int64 [batches], patients in each.
        num_rows: int64 [batches], B of each.
        num_slots: int64 [batches], P of each.
        order: int64 [W], patients, batch after batch.
        rows: int64 [W], for each in that order its row in its batch.
        starts: int64 [W], its first place in the row.
        slots: int64 [W], which patient of its row it is, from 0.
    """

    row_lengths: np.ndarray
    batch_sizes: np.ndarray
    num_rows: np.ndarray
    num_slots: np.ndarray
    order: np.ndarray
    rows: np.ndarray
    starts: np.ndarray
    slots: np.ndarray


def plan_window(lengths, batch_size, row_lengths, packing, rng):
    """Cuts a window into batches and places its patients in rows.

    Unpacked, patients are sorted by length (ties in random order) and cut into batches, which are shuffled; each has a
    row of its own. Packed, they are sorted by the row length that holds them only, so that a batch is a random choice
    among those of a kind, and share rows: the longest first, each in the first row with room (first-fit decreasing;
    Johnson 1973: at most 11/9 of the fewest rows, and one).

    Args:
        lengths: int [W], tokens of each patient, at most `row_lengths[-1]`.
        batch_size: patients in a batch; only the last batch may have fewer.
        row_lengths: allowed row lengths, rising.
        packing: whether patients share rows.
        rng: NumPy generator, or None for no shuffling (evaluation).

    Returns:
        `WindowPlan`.
    """
    lengths = np.asarray(lengths)
    shuffled = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    bins = np.searchsorted(row_lengths, lengths)
    key = bins if packing else lengths
    order = shuffled[np.argsort(key[shuffled], kind="stable")]
    batches = np.split(order, range(batch_size, len(order), batch_size))
    if rng is not None and len(batches) > 1:
        # A short last batch stays last, so that batches of a window can be counted from its size alone.
        full = len(batches) - (len(batches[-1]) < batch_size)
        batches = [batches[i] for i in rng.permutation(full)] + batches[full:]
    widths = [row_lengths[bins[batch].max()] for batch in batches]
    if packing:
        placed = [pack(lengths[batch], width) for batch, width in zip(batches, widths, strict=True)]
        num_rows = [-(-(rows.max() + 1) // ROWS_MULTIPLE) * ROWS_MULTIPLE for rows, _, _ in placed]
    else:
        placed = [(np.arange(len(batch)), np.zeros(len(batch), int), np.zeros(len(batch), int)) for batch in batches]
        num_rows = [batch_size] * len(batches)
    rows, starts, slots = (np.concatenate(parts) for parts in zip(*placed, strict=True))
    parts = (
        widths,
        [len(b) for b in batches],
        num_rows,
        [s.max() + 1 for _, _, s in placed],
        np.concatenate(batches),
        rows,
        starts,
        slots,
    )
    return WindowPlan(*(np.array(part, np.int64) for part in parts))


def pack(lengths, width):
    """First-fit decreasing: (rows, starts, slots), each int [n], of patients with these lengths in rows of `width`.

    >>> [part.tolist() for part in pack(np.array([3, 6, 4, 2]), 8)]
    [[1, 0, 1, 0], [4, 0, 0, 6], [1, 0, 0, 1]]
    """
    rows, starts, slots = (np.zeros(len(lengths), np.int64) for _ in range(3))
    used, count = [], []
    for patient in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[patient])
        row = next((row for row, filled in enumerate(used) if filled + length <= width), len(used))
        if row == len(used):
            used.append(0)
            count.append(0)
        rows[patient], starts[patient], slots[patient] = row, used[row], count[row]
        used[row] += length
        count[row] += 1
    return rows, starts, slots


def filled(plan, lengths):
    """Share of the places of a plan's rows that hold a token."""
    return float(np.sum(lengths) / np.sum(plan.row_lengths * plan.num_rows))


def best_row_lengths(lengths, max_seq_length, batch_size, linear, quadratic):
    """Row lengths for packing that need the least work for patients like these, found by packing them.

    Work of a row of T tokens: T (linear + quadratic T), in floating-point operations.

    Args:
        lengths: int [n], a sample of patients' tokens.
        max_seq_length: the longest row, always among them.
        batch_size: patients in a batch.
        linear, quadratic: operations per token, and per pair of tokens.

    Returns:
        tuple of at most two numbers.
    """
    lengths = np.minimum(np.asarray(lengths), max_seq_length)
    candidates = [(max_seq_length,)]
    candidates += [(short, max_seq_length) for short in (32, 48, 64, 96, 128, 192, 256, 384) if short < max_seq_length]

    def work(row_lengths):
        plan = plan_window(lengths, batch_size, row_lengths, True, np.random.default_rng(0))
        return float(np.sum(plan.num_rows * plan.row_lengths * (linear + quadratic * plan.row_lengths)))

    return min(candidates, key=work)
