"""Small counts hidden before results leave a hospital."""

import copy
import re

from medtop.evaluation.predictions import POOLED

REASON = "suppressed: fewer than {least} people"


def suppress(clinical, least):
    """A copy in which counts of 1 to `least - 1` and what rests on them are None, with the reason.

    A cell goes when its n, its positives or its negatives are that few. Where one group of a column goes, the smallest
    of the others goes too: the total would give the first one away.

    Args:
        clinical: dict task -> label -> entry, as `clinical_measures` gives.
        least: smallest count that is shown; 0 or 1 hides nothing.
    """
    clinical = copy.deepcopy(clinical)
    for labels in clinical.values() if least > 1 else ():
        for entry in labels.values():
            for groups in entry["groups"].values():
                small = [name for name, cell in groups.items() if _is_small(cell, least)]
                others = sorted((name for name in groups if name not in small), key=lambda name: groups[name]["n"])
                for name in small + (others[:1] if len(small) == 1 else []):
                    _hide(groups[name], least)
            if _is_small(entry, least):
                _hide(entry, least)
    return clinical


def leave_out_small(metrics, least):
    """The metrics of one split without the labels of small cells.

    A label goes when its n, its positives or its negatives are 1 to `least - 1`. What is pooled over a task that lost
    one keeps its measures and loses its counts, which would give the lost one away.

    Args:
        metrics: dict task -> label -> entry, as in metrics.json.
        least: smallest count that is shown; 0 or 1 hides nothing.

    Returns:
        (copy of the metrics, list of "task label" that were left out).
    """
    kept, gone = {}, []
    for task, labels in copy.deepcopy(metrics).items():
        small = [
            label
            for label, entry in labels.items()
            if label not in POOLED and "positives" in entry and least > 1 and _is_small(entry, least)
        ]
        gone += [f"{task} {label}" for label in small]
        kept[task] = {label: entry for label, entry in labels.items() if label not in small}
        for label, entry in kept[task].items():
            if label in POOLED and small:
                entry |= {"n": None, "positives": None, "marks": []}
            elif entry.get("marks") and least > 1:  # "4 positives in valid": a count of another split
                entry["marks"] = [re.sub(r"^\d+ ", "few ", mark) for mark in entry["marks"]]
    return kept, gone


def _is_small(cell, least):
    counts = [count for count in (cell.get("n"), cell.get("positives")) if count is not None]
    rest = [counts[0] - counts[1]] if len(counts) == 2 else []
    return any(0 < count < least for count in (*counts, *rest))


def _hide(cell, least):
    cell |= {"n": None, "positives": None, "prevalence": None, "reason": REASON.format(least=least)}
    for name in ("measures", "differences"):
        for entry in cell.get(name, {}).values():
            entry |= {"value": None, "low": None, "high": None}
    if "operating_points" in cell:
        cell["operating_points"] = []
        for curve in ("decision_curve", "calibration_curve"):
            cell[curve] = {name: [] for name in cell[curve]}
