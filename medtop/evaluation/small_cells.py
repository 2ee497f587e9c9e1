"""Small counts hidden before results leave a hospital: one rule (`withheld`) for every table, page and card.

A count of 1 to `least` - 1 people is not shown, nor what would give it away: where totals stand beside a table, further
cells go until the hidden ones of each line add up to nothing or to at least `least`. What is hidden is None.
"""

import copy
import re

import numpy as np

from medtop.evaluation.predictions import POOLED

REASON = "suppressed: fewer than {least} people"
PEOPLE = ("positive_patients", "negative_patients", "unknown_patients")
"""Of `Predictions.patient_counts`."""

_UNITS = r"(?:days?|months?|years?|hours?|minutes?|%|times|samples|resamples|epochs?|layers?)"
_COUNT = re.compile(rf"(?<![\w.,:=/-])\d+(?![\w:/-]|[.,]\d| {_UNITS}\b|%)")


def is_small(count, least):
    """Whether a count is one that is not shown; None, which is hidden already, is not.

    >>> [is_small(count, 11) for count in (0, 1, 10, 11, None)]
    [False, True, True, False, False]
    """
    return count is not None and 0 < count < least


def withheld(cells, least):
    """The cells of one line that go, where the line's sums are known.

    Args:
        cells: dict name -> tuple of counts, such as (n, positives, negatives); of the same length each.
        least: smallest count that is shown; 0 or 1 hides nothing.

    Returns:
        set of names: those with a small count, then the smallest of the others until what is hidden adds up, count by
        count, to 0 or at least `least`. All of them may not be enough: then the sum must go too (`sum_is_small`).

    >>> sorted(withheld({"F": (4,), "M": (30,), "unknown": (200,)}, 11))
    ['F', 'M']
    """
    small = {name for name, counts in cells.items() if any(is_small(count, least) for count in counts)}
    return _completed(cells, small, least)


def sum_is_small(cells, names, least):
    """Whether the cells `names` add up to a small count: their sum gives one away."""
    sums = [sum(counts) for counts in zip(*(cells[name] for name in names), strict=True)]
    return any(is_small(count, least) for count in sums)


def _completed(cells, hidden, least):
    hidden = set(hidden)
    others = sorted((name for name in cells if name not in hidden), key=lambda name: (not cells[name][0], cells[name]))
    while others and hidden and (len(hidden) == 1 or sum_is_small(cells, hidden, least)):
        hidden.add(others.pop(0))
    return hidden


def withheld_in_table(table, least, people=None):
    """The cells of a table that go, where the sums of its rows and columns are known.

    Args:
        table: dict row -> dict column -> count; each row has the same columns.
        least: as for `withheld`.
        people: a table of the same cells, of how many people the counts are; None: everybody is counted once.

    Returns:
        set of (row, column).
    """
    columns = list(next(iter(table.values()), {}))
    lines = [{(row, column): (table[row][column],) for column in columns} for row in table]
    lines += [{(row, column): (table[row][column],) for row in table} for column in columns]
    hidden = {
        (row, column)
        for counts in (table, people or {})
        for row, line in counts.items()
        for column, count in line.items()
        if is_small(count, least)
    }
    while hidden:
        more = set().union(*(_completed(line, hidden & line.keys(), least) for line in lines))
        if more == hidden:
            more = hidden | _beside_determined(table, lines, hidden)
        if more == hidden:
            break
        hidden = more
    return hidden


def _beside_determined(table, lines, hidden):
    """A cell to hide beside one that the sums of all lines together determine; empty where they determine none."""
    cells = sorted(hidden)
    sums = np.array([[cell in line for cell in cells] for line in lines], float)
    rank = np.linalg.matrix_rank(sums)
    for row, (name, column) in zip(np.eye(len(cells)), cells, strict=True):
        if np.linalg.matrix_rank(np.vstack([sums, row])) == rank:
            beside = [(table[cell[0]][cell[1]], cell) for line in lines for cell in line if (name, column) in line]
            return {cell for _, cell in sorted(item for item in beside if item[1] not in hidden)[:1]}
    return set()


def hide_in_sentence(sentence, least):
    """A sentence whose small counts are replaced; numbers of days and the like stay.

    >>> hide_in_sentence("3 of 400 rows begin 2 days after the death (MACE_365 7)", 11)
    'fewer than 11 of 400 rows begin 2 days after the death (MACE_365 fewer than 11)'
    """
    return _COUNT.sub(lambda match: f"fewer than {least}" if is_small(int(match[0]), least) else match[0], sentence)


def suppress(clinical, least):
    """A copy in which counts of 1 to `least - 1` and what rests on them are None, with the reason.

    A cell goes when its n, its positives or its negatives are that few, or of that few people, and with it others of
    its column, as `withheld` says; where they are not enough, the total goes.

    Args:
        clinical: dict task -> label -> entry, as `clinical_measures` gives.
        least: smallest count that is shown; 0 or 1 hides nothing.
    """
    clinical = copy.deepcopy(clinical)
    for labels in clinical.values() if least > 1 else ():
        for entry in labels.values():
            hide_total = _is_small(entry, least)
            for groups in entry["groups"].values():
                cells = {name: _counts(cell) for name, cell in groups.items() if None not in _counts(cell)}
                names = withheld(cells, least)
                hide_total |= bool(names) and sum_is_small(cells, names, least)
                for name in names:
                    _hide(groups[name], least)
            if hide_total:
                _hide(entry, least)
    return clinical


def _counts(cell):
    """Examples, and people where a cell says how many they are: of one patient's examples there may be many."""
    n, positives = cell.get("n"), cell.get("positives")
    people = (cell[name] for name in PEOPLE[:2] if name in cell)
    return n, positives, None if n is None or positives is None else n - positives, *people


def leave_out_small(metrics, least):
    """The metrics of one split without the labels of small cells.

    A label goes when its n, its positives or its negatives are 1 to `least - 1`, or those of so few people. Where only
    few are unknown, n goes, which would give them away. What is pooled over a task that lost a label keeps its measures
    and loses its counts.

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
        few_unknown = any(_few_unknown(entry, least) for entry in labels.values())
        for label, entry in kept[task].items():
            if label in POOLED and (small or few_unknown) and least > 1:
                entry |= {"n": None, "positives": None, "marks": []} | ({"unknown": None} if "unknown" in entry else {})
                _drop_people(entry)
                if entry.get("reason"):
                    entry["reason"] = "undefined"  # it may name labels and their counts
            elif _few_unknown(entry, least):
                entry |= {"n": None, "unknown": None}
                _drop_people(entry)
            if entry.get("marks") and least > 1:  # "4 positives in valid": a count of another split
                entry["marks"] = [hide_in_sentence(re.sub(r"^\d+ ", "few ", mark), least) for mark in entry["marks"]]
    return kept, gone


def leave_out_of_comparison(comparison, gone, least):
    """The comparison of one split without the labels that `leave_out_small` left out of the model's metrics.

    Args:
        comparison: as `medtop.evaluation.metrics.compare` gives.
        gone: list of "task label".
        least: smallest count that is shown.
    """
    kept = copy.deepcopy(comparison)
    for name, tasks in kept["baselines"].items():
        kept["baselines"][name] = leave_out_small(_without(tasks, gone), least)[0]
        kept["differences"][name] = _without(kept["differences"].get(name, {}), gone)
        kept["differences"][name] = without_counts(kept["differences"][name])
    kept["best_reachable"] = without_counts(_without(kept["best_reachable"], gone))
    return kept


def without_counts(comparison):
    """A copy of dict task -> label -> entry whose `n` are None: their labels' totals may be hidden."""
    return {
        task: {label: entry | ({"n": None} if "n" in entry else {}) for label, entry in labels.items()}
        for task, labels in comparison.items()
    }


def _without(tasks, gone):
    return {
        task: {label: entry for label, entry in labels.items() if f"{task} {label}" not in gone}
        for task, labels in tasks.items()
    }


def _few_unknown(entry, least):
    return any(is_small(entry.get(name), least) for name in ("unknown", "unknown_patients"))


def _drop_people(entry):
    for name in PEOPLE:
        entry.pop(name, None)


def _is_small(cell, least):
    return any(is_small(count, least) for count in _counts(cell))


def _hide(cell, least):
    cell |= {"n": None, "positives": None, "prevalence": None, "reason": REASON.format(least=least)}
    _drop_people(cell)
    for name in ("measures", "differences"):
        for entry in cell.get(name, {}).values():
            entry |= {"value": None, "low": None, "high": None}
    if "operating_points" in cell:
        cell["operating_points"] = []
        for curve in ("decision_curve", "calibration_curve"):
            cell[curve] = {name: [] for name in cell[curve]}
