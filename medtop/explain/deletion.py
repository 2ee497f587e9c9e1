"""What a patient's logits become when codes are taken out: computed anew, so it needs no theory of the model.

A code is taken out as padding is: it takes part in nothing, and the others keep what is known of them. What is taken
out moves behind the rest: figures of the history (of a wide part) are counted from one token to the next.

Letters: B rows, T tokens, L labels, C distinct codes of a patient.
"""

import numpy as np

MOST_ROWS = 256
"""Variants of patients computed at once."""


class Deleter:
    """Scores a patient's row with some of its tokens taken out.

    Args:
        logits_of: function x -> float [B, L], such as a model's logits of the labels explained.
    """

    def __init__(self, logits_of):
        self.logits_of = logits_of

    def after(self, x, row):
        """(logits float32 [S, L] after each of a row's stays, int [S] their numbers); see `after_stays`."""
        variants, numbers = after_stays(x, row)
        blocks = [slice(start, start + MOST_ROWS) for start in range(0, len(numbers), MOST_ROWS)]
        parts = [np.asarray(self.logits_of({name: v[block] for name, v in variants.items()})) for block in blocks]
        return (np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)), numbers

    def without(self, x, row, removed):
        """Logits of variants of one row.

        Args:
            x: dict of a batch of unpacked rows.
            row: which of its rows.
            removed: bool [V, T], for each variant the tokens that are taken out.

        Returns:
            float32 [V, L].
        """
        parts = []
        for start in range(0, len(removed), MOST_ROWS):
            block = removed[start : start + MOST_ROWS]
            variants = {name: np.repeat(np.asarray(values[row])[None], len(block), 0) for name, values in x.items()}
            variants["patient_slots"] = np.where(block, 0, variants["patient_slots"])
            order = np.argsort(block, axis=1, kind="stable")
            variants = {name: _moved(values, order) for name, values in variants.items()}
            parts.append(np.asarray(self.logits_of(variants)))
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def _moved(values, order):
    """Columns [V, T, ...] in the order int [V, T]; what has another second axis stays as it is ([CLS] is first)."""
    if values.ndim < 2 or values.shape[1] != order.shape[1]:
        return values
    return np.take_along_axis(values, order.reshape(*order.shape, *[1] * (values.ndim - 2)), axis=1)


def after_stays(x, row):
    """One row as it would have been after each of its stays, as far as the batch tells.

    Later stays are taken out, days to the prediction time count from the stay's discharge, and the age of [CLS] is that
    of the day. Without `recencies` the days stay as they are.

    Args:
        x: dict of a batch of unpacked rows, with `visits`.
        row: which of its rows.

    Returns:
        (dict of arrays [S, ...], int [S] numbers of the stays, in order).
    """
    own = {name: np.asarray(values[row]) for name, values in x.items()}
    visits, standing = own["visits"], own["patient_slots"] > 0
    numbers = np.unique(visits[standing & (visits > 0)])
    variants = {name: np.repeat(values[None], len(numbers), 0) for name, values in own.items()}
    variants["patient_slots"] = np.where(visits[None] > numbers[:, None], 0, own["patient_slots"])
    if "recencies" in own and len(numbers):
        days = np.array([own["recencies"][standing & (visits == number)].min() for number in numbers])[:, None]
        variants["recencies"] = np.where(visits > 0, np.maximum(own["recencies"] - days, 0), own["recencies"])
        if "ages" in own:
            shifted = np.where(own["ages"] > 0, np.maximum(own["ages"] - days, 1), 0)
            variants["ages"] = np.where(standing & (visits == 0), shifted, own["ages"])
    return {name: values.astype(own[name].dtype) for name, values in variants.items()}, numbers


def codes_of_row(x, row, special_ids):
    """(distinct code ids int [C], rising; bool [C, T]: where each stands) of one row of a batch."""
    ids, slots = np.asarray(x["token_ids"][row]), np.asarray(x["patient_slots"][row])
    codes = np.setdiff1d(np.unique(ids[slots > 0]), special_ids)
    return codes, (ids[None, :] == codes[:, None]) & (slots > 0)[None, :]
