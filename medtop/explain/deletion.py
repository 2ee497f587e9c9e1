"""What a patient's logits become when codes are taken out: computed anew, so it needs no theory of the model.

A code is taken out as padding is: it takes part in nothing, and the others keep their places.

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
            parts.append(np.asarray(self.logits_of(variants)))
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def codes_of_row(x, row, special_ids):
    """(distinct code ids int [C], rising; bool [C, T]: where each stands) of one row of a batch."""
    ids, slots = np.asarray(x["token_ids"][row]), np.asarray(x["patient_slots"][row])
    codes = np.setdiff1d(np.unique(ids[slots > 0]), special_ids)
    return codes, (ids[None, :] == codes[:, None]) & (slots > 0)[None, :]
