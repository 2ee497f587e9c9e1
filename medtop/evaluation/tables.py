"""Results as tables for people: the rows that text and pages share, in the order they are read, rivals beside them."""

from medtop.evaluation.marks import mark_lines, marked_name
from medtop.evaluation.predictions import POOLED


def share_of_way(value, best):
    """How far an AUROC got from chance to the best reachable: (value - 0.5) / (best - 0.5), or None where undefined.

    >>> share_of_way(0.75, 0.75)
    1.0
    """
    if value is None or best is None or best <= 0.5:
        return None
    return (value - 0.5) / (best - 0.5)


def result_rows(metrics, comparison=None):
    """The results table as strings, for text and for HTML: of a task with several labels macro first, micro last.

    Labels that `marks.add_marks` marked carry an asterisk; `marks.mark_lines` says why. Under micro stands what
    constants reach, one per label.

    Args:
        metrics: dict task -> {label: entry}, one split of metrics.json.
        comparison: as `compare` gives, or None.

    Returns:
        (header, rows): list of column names; list of lists of the same length. Tasks without a ROC curve
        (masked codes) are left out: `masked_lines` gives theirs.
    """
    comparison = comparison or {}
    baselines, differences = comparison.get("baselines", {}), comparison.get("differences", {})
    best = comparison.get("best_reachable", {})
    header = ["task", "label", "n", "positives", "AUROC [95%]"]
    header += [*(["best", "share"] if best else []), "AP", "Brier", "ECE"]
    if baselines:
        header += ["strongest rival", "its AUROC", "difference [95%]", "p"]
        header += [f"{name} AUROC" for name in baselines] if len(baselines) > 1 else []
    rows = []
    for task, labels in metrics.items():
        for label in reading_order(labels):
            entry = labels[label]
            row = [task, marked_name(label, entry), _count(entry["n"]), _count(entry["positives"])]
            row.append(_span(entry["roc_auc"]))
            if best:
                reachable = best.get(task, {}).get(label, {}).get("roc_auc")
                share = share_of_way(entry["roc_auc"]["value"], reachable)
                row += [_number(reachable), "-" if share is None else f"{100 * share:.0f}%"]
            row += [_number(entry[name]["value"]) for name in ("average_precision", "brier", "calibration_error")]
            if baselines:
                name = strongest_rival(baselines, task, label)
                other = differences.get(name, {}).get(task, {}).get(label, {})
                row += [
                    name or "-",
                    _number(rival_value(baselines, name, task, label)),
                    _span({**other, "value": other.get("difference")}, sign="+"),
                    _number(other.get("p_value")),
                ]
                if len(baselines) > 1:
                    row += [_number(rival_value(baselines, each, task, label)) for each in baselines]
            rows.append(row)
            if "roc_auc_constants" in entry:
                constants = [_number(entry["roc_auc_constants"]["value"])]
                average = [_number(entry["average_precision_constants"]["value"])]
                cells = [task, CONSTANTS, "", "", *constants, *([""] * 2 if best else []), *average]
                rows.append(cells + [""] * (len(header) - len(cells)))
    return header, rows


def rival_value(baselines, name, task, label):
    """ROC AUC of a baseline for a label, or None.

    Args:
        baselines: dict name -> dict task -> label -> entry, as `compare` gives.
        name: of the baseline, or None.
    """
    return baselines.get(name, {}).get(task, {}).get(label, {}).get("roc_auc", {}).get("value")


def strongest_rival(baselines, task, label):
    """The baseline of the highest ROC AUC on this split, None without one: a choice in the rivals' favour.

    Args:
        baselines: as for `rival_value`.
    """
    known = {name: rival_value(baselines, name, task, label) for name in baselines}
    known = {name: value for name, value in known.items() if value is not None}
    return max(known, key=known.get, default=None)


CONSTANTS = "micro of constants"
"""Row under micro: each label's own prevalence as everybody's risk."""


def reading_order(labels):
    """Labels of a task as tables show them: macro, the labels, micro; a single label alone, which both would repeat.

    >>> entry = {"roc_auc": None}
    >>> reading_order({"A": entry, "B": entry, "micro": entry, "macro": entry})
    ['macro', 'A', 'B', 'micro']
    """
    shown = [label for label, entry in labels.items() if "roc_auc" in entry]
    single = [label for label in shown if label not in POOLED]
    if len(single) == 1:
        return single
    return [label for label in ("macro", *single, "micro") if label in shown]


def _count(value):
    return "withheld" if value is None else str(value)


def _number(value, sign=""):
    return "-" if value is None else f"{value:{sign}.3f}"


def _span(entry, sign=""):
    """`0.812 [0.790, 0.833]`, or without the interval where there is none."""
    if entry.get("low") is None:
        return _number(entry.get("value"), sign)
    return f"{_number(entry['value'], sign)} [{_number(entry['low'], sign)}, {_number(entry['high'], sign)}]"


def masked_lines(metrics):
    """One line for each task without a ROC curve: `masked_lm: n 1000, loss 3.210, accuracy 0.410, ...`."""
    lines = []
    for task, labels in metrics.items():
        for label, entry in labels.items():
            if "roc_auc" not in entry:
                values = [
                    f"{name} {_number(value['value'])}" for name, value in entry.items() if isinstance(value, dict)
                ]
                name = task if label == task else f"{task} {label}"
                lines.append(f"{name}: " + ", ".join([f"n {entry['n']}", *values]))
    return lines


def results_table(metrics, comparison=None):
    """The results of one split as aligned text: metrics with intervals, baselines, paired differences, best reachable.

    Args:
        metrics, comparison: see `result_rows`.

    Returns:
        str of several lines, without a line break at the end; "difference" is the model's AUROC minus the baseline's,
        "share" how far the model got from 0.5 to the best reachable AUROC, "-" what is undefined.
    """
    header, rows = result_rows(metrics, comparison)
    lines = []
    if rows:
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        for row in (header, ["-" * width for width in widths], *rows):
            cells = (
                cell.ljust(width) if place < 2 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            lines.append("  ".join(cells).rstrip())
    return "\n".join(lines + mark_lines(metrics) + masked_lines(metrics))
