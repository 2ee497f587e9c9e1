"""What is kept of one patient's explanation."""

import dataclasses

import numpy as np


@dataclasses.dataclass
class Patient:
    """One patient's attributions.

    Attributes:
        patient_id: str.
        codes: int [C], distinct code ids, rising.
        attribution, deletion: float [C, L]: integrated gradients summed over a code's occurrences, and the logit minus
            the logit without the code.
        context: dict channel -> float [L], summed over tokens.
        logits, baseline: float [L].
        curves: dict name -> float [F, L]: logits with the given shares of codes taken out, by falling attribution or at
            random (mean of `faithfulness.RANDOM_DRAWS` draws); `... kept`: with all others taken out instead.
        tokens: dict of int [T]: `token_ids`, `visits`, and `recencies` and `stays` where the model reads them.
        after: float [S, L], logits after each stay (`explain.deletion.after_stays`), where somebody asked; else None.
        stays: int [S], numbers of these stays.
        wide, wide_context: the wide part's share of `attribution` and of `context`, where the run has one; else None.
    """

    patient_id: str
    codes: np.ndarray
    attribution: np.ndarray
    deletion: np.ndarray
    context: dict
    logits: np.ndarray
    baseline: np.ndarray
    curves: dict
    tokens: dict
    after: np.ndarray | None = None
    stays: np.ndarray | None = None
    wide: np.ndarray | None = None
    wide_context: dict | None = None
