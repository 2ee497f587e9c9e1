"""Precision, recall and F1 of a system's spans with intervals, two systems compared, kinds of misses.

Letters: D documents, P patients (or documents where no patient is known), K types, M measures, R resamples.
"""

import dataclasses

import numpy as np

from medtop.entities.documents import blanked
from medtop.entities.flavours import FLAVOURS, distinct
from medtop.evaluation.bootstrap import interval, resample_counts
from medtop.files.errors import DataError

POOLED = ("micro", "macro")
RATIOS = ("precision", "recall", "f1")


@dataclasses.dataclass(frozen=True)
class Counts:
    """What is summed over documents.

    Attributes:
        flavour: its name.
        measures: tuple of M names.
        types: tuple of K names, in order: all that gold or system hold.
        values: float64 [D, M, 1 + K, 4], see `medtop.entities.flavours`.
        groups: int64 [D], the patient (or document) of each document, from 0.
        unit: "patients" or "documents".
    """

    flavour: str
    measures: tuple
    types: tuple
    values: np.ndarray
    groups: np.ndarray
    unit: str


def _file(document):
    """Where a document stands, for a message: its id may be a patient's."""
    return f" ({document.source})" if document.source else ""


def paired(gold, system, *, missing="refuse"):
    """Gold documents with the system's spans.

    Args:
        gold, system: iterables of `Document`.
        missing: "refuse", or "empty": a document that the system lacks holds no span.

    Returns:
        list of (gold `Document`, list of the system's spans), in the order of gold.

    Raises:
        DataError: for documents that only one of them has, and for different texts (a blank may stand for a tab or a
            line break, as PubTator has it).
    """
    system_of = {document.document_id: document for document in system}
    pairs = []
    for number, document in enumerate(gold, 1):
        other = system_of.pop(document.document_id, None)
        place = f"document {number} of gold{_file(document)}"
        if other is None and missing == "refuse":
            raise DataError(f"system: expected {place}, found none; --missing=empty counts its spans as missed")
        if other is not None and blanked(other.text) != blanked(document.text):
            raise DataError(f"system: {place}: expected the gold document's text, received another")
        pairs.append((document, other.spans if other else []))
    if system_of:
        raise DataError(f"system: expected documents of gold only, received {len(system_of)} more")
    if not pairs:
        raise DataError("gold: expected documents, found none")
    return pairs


def count(pairs, flavour="conll", types=None):
    """`Counts` of pairs.

    Args:
        pairs: as `paired` gives.
        flavour: name in `FLAVOURS`.
        types: tuple of types, or None for all that gold or system hold.
    """
    kinds = {span.type for document, spans in pairs for span in (*document.spans, *spans)}
    types = tuple(sorted(kinds)) if types is None else tuple(types)
    if kinds - set(types):
        raise DataError(f"types: expected {', '.join(types)}, received {', '.join(sorted(kinds - set(types)))}")
    counted = [FLAVOURS[flavour](distinct(doc.spans), distinct(spans), types) for doc, spans in pairs]
    measures = tuple(counted[0])
    patients = [document.patient_id for document, _ in pairs]
    unit = "patients" if all(patients) else "documents"
    names = patients if unit == "patients" else [document.document_id for document, _ in pairs]
    groups = np.unique(names, return_inverse=True)[1]
    values = np.stack([np.stack([each[name] for name in measures]) for each in counted])
    return Counts(flavour, measures, types, values, groups.astype(np.int64), unit)


def ratios(sums):
    """Precision, recall and F1 from summed counts, micro and macro.

    Args:
        sums: float64 [..., 1 + K, 4].

    Returns:
        float64 [..., K + 2, 3], rows: the types, micro, macro. 0 where nothing is found or nothing was to be found; a
        type that neither side holds is NaN and is left out of the macro mean.
    """
    zero = np.zeros(sums.shape[:-1])
    precision = np.divide(sums[..., 0], sums[..., 1], out=zero.copy(), where=sums[..., 1] > 0)
    recall = np.divide(sums[..., 2], sums[..., 3], out=zero.copy(), where=sums[..., 3] > 0)
    both = precision + recall
    f1 = np.divide(2 * precision * recall, both, out=zero.copy(), where=both > 0)
    values = np.stack([precision, recall, f1], -1)
    values[(sums[..., 1] + sums[..., 3]) == 0] = np.nan
    types, micro = values[..., 1:, :], values[..., :1, :]
    present = np.isfinite(types).sum(-2, keepdims=True)
    macro = np.divide(np.nansum(types, -2, keepdims=True), present, out=np.full(micro.shape, np.nan), where=present > 0)
    return np.concatenate([types, micro, macro], -2)


def replicates(counts, num_bootstrap, seed):
    """Ratios under resamples of patients (or documents): float64 [R, M, K + 2, 3]."""
    groups = int(counts.groups.max()) + 1
    flat = counts.values.reshape(len(counts.values), -1)
    summed = np.zeros((groups, flat.shape[1]))
    np.add.at(summed, counts.groups, flat)
    blocks = [
        ratios((drawn.T @ summed).reshape(-1, *counts.values.shape[1:]))
        for drawn in resample_counts(groups, num_bootstrap, seed)
    ]
    return np.concatenate(blocks) if blocks else np.empty((0, *ratios(counts.values[0]).shape))


def scores(counts, *, num_bootstrap=1000, seed=0):
    """Precision, recall and F1 with 95% percentile intervals.

    Args:
        counts: `Counts`.
        num_bootstrap, seed: resamples of whole patients (documents where no patient is known).

    Returns:
        dict measure -> dict label (types, "micro", "macro") -> {"precision", "recall", "f1": {"value", "low", "high"},
        "system", "gold": numbers of spans}; plain values, None where undefined.
    """
    point, drawn = ratios(counts.values.sum(0)), replicates(counts, num_bootstrap, seed)
    totals = counts.values.sum(0)
    result = {}
    for place, measure in enumerate(counts.measures):
        result[measure] = {}
        for row, label in enumerate((*counts.types, *POOLED)):
            entry = {}
            for column, name in enumerate(RATIOS):
                value = float(point[place, row, column])
                low, high = interval(value, drawn[:, place, row, column])
                entry[name] = {"value": value if np.isfinite(value) else None, "low": low, "high": high}
            source = totals[place, 1 + row if row < len(counts.types) else 0]
            entry |= {"system": int(source[1]), "gold": int(source[3])}
            result[measure][label] = entry
    return result


def compare(first, second, *, num_bootstrap=1000, seed=0):
    """F1 of one system minus another's on the same documents, under the same resamples.

    Args:
        first, second: `Counts` of the same documents, flavour and types.

    Returns:
        dict measure -> dict label -> {"difference", "low", "high", "p_value"}; two-sided,
        `2 * min(share of resamples <= 0, share >= 0)` with one added to each count, at most 1.
    """
    if first.types != second.types or first.values.shape != second.values.shape:
        raise DataError("comparison: expected the same documents, flavour and types")
    points = [ratios(counts.values.sum(0)) for counts in (first, second)]
    drawn = replicates(first, num_bootstrap, seed) - replicates(second, num_bootstrap, seed)
    f1 = RATIOS.index("f1")
    result = {}
    for place, measure in enumerate(first.measures):
        result[measure] = {}
        for row, label in enumerate((*first.types, *POOLED)):
            difference = float(points[0][place, row, f1] - points[1][place, row, f1])
            sample = drawn[:, place, row, f1]
            low, high = interval(difference, sample)
            sample = sample[np.isfinite(sample)]
            p_value = None
            if low is not None:
                p_value = min(1.0, 2 * (1 + min((sample <= 0).sum(), (sample >= 0).sum())) / (1 + len(sample)))
            result[measure][label] = {
                "difference": difference if np.isfinite(difference) else None,
                "low": low,
                "high": high,
                "p_value": None if p_value is None else float(p_value),
            }
    return result


def score_lines(result, labels=None):
    """A table as text: one block a measure, one line a label."""
    lines = []
    for measure, entries in result.items():
        width = max(len(label) for label in entries)
        lines.append(f"{measure:<{width}}  gold   system  precision  recall  F1 [95%]")
        for label, entry in entries.items():
            if labels is None or label in labels:
                value = {
                    name: "-" if entry[name]["value"] is None else f"{entry[name]['value']:.3f}" for name in RATIOS
                }
                f1, edges = entry["f1"], ""
                if f1["low"] is not None:
                    edges = f" [{f1['low']:.3f}, {f1['high']:.3f}]"
                lines.append(
                    f"{label:<{width}}  {entry['gold']:<6} {entry['system']:<7} {value['precision']:<10} "
                    f"{value['recall']:<7} {value['f1']}{edges}"
                )
    return lines
