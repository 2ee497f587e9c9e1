"""A label's entry in a manifest, and how many patients each of its counts is of, where they have several examples.

Letters: E examples, P patients, K labels, C cells: those of `CELLS`, then one for each reason why a label is unknown.
"""

import numpy as np

from medtop.cohort.labels import KNOWN_REASONS, REASONS

CELLS = ("positives", "negatives", "deaths_without_event", "negatives_with_later_codes", "known", "examples")
"""Counts of a label's entry in the manifest."""
UNKNOWN = REASONS[KNOWN_REASONS:]
SIZE = len(CELLS) + len(UNKNOWN)
"""C."""


def add_batch(counts, latest, place, patients, labels):
    """Adds a batch's patients to the counts of their cells.

    Args:
        counts: int64 [K, splits, C], changed in place.
        latest: (the last patient of the batch before, bool [K, C], the cells that were counted for them), or None.
        place: of the split.
        patients: int [E], whose examples they are; equal ones stand side by side, over batches too.
        labels: `medtop.cohort.labels.Labels` of E examples.

    Returns:
        `latest` for the next batch.
    """
    starts = np.flatnonzero(np.diff(patients, prepend=patients[0] - 1) != 0)
    has = np.stack([np.logical_or.reduceat(cell, starts) for cell in _cells(labels)], axis=-1)  # [P, K, C]
    if latest is not None and latest[0] == patients[0]:
        has[0] |= latest[1]
        counts[:, place] -= latest[1]
    counts[:, place] += has.sum(axis=0)
    return patients[-1], has[-1]


def label_entry(counts, patients):
    """A label's entry in a manifest.

    Args:
        counts: dict of examples, known, positives, negatives, unknown {reason: number}, and of further counts.
        patients: the same counts of patients.

    Returns:
        dict of examples, known, positives, unknown, share_known and prevalence (None where nothing is known), further
        counts where they are not 0, and `patients` where anybody has several examples.
    """
    examples, known, positives = (counts[name] for name in ("examples", "known", "positives"))
    further = counts.keys() - {"examples", "known", "positives", "negatives", "unknown"}
    return {
        "examples": examples,
        "known": known,
        "positives": positives,
        "share_known": known / examples if examples else None,
        "prevalence": positives / known if known else None,
        "unknown": counts["unknown"],
        **{name: counts[name] for name in sorted(further) if counts[name]},
        **({"patients": patients} if patients != counts else {}),
    }


def patients_of(counts):
    """dict of `CELLS` and unknown {reason: patients} of one label's and split's counts, int64 [C]."""
    counts = counts.tolist()
    unknown = zip(UNKNOWN, counts[len(CELLS) :], strict=True)
    return dict(zip(CELLS, counts, strict=False)) | {"unknown": {reason: count for reason, count in unknown if count}}


def _cells(labels):
    """Yields bool [E, K] of each cell."""
    known = labels.reasons < KNOWN_REASONS
    positive = known & (labels.values > 0)
    none = np.zeros_like(known)
    yield positive
    yield known & ~positive
    yield labels.reasons == REASONS.index("death_without_event")
    yield none if labels.later_codes is None else labels.later_codes
    yield known
    yield ~none
    for place in range(KNOWN_REASONS, len(REASONS)):
        yield labels.reasons == place
