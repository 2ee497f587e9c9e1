"""Labels whose numbers are uncertain: said wherever the numbers stand, and left out when the best epoch is chosen."""

from medtop.evaluation.predictions import POOLED

MINIMUM_POSITIVES = 10
"""Known positives, and negatives, of a split below which a label's measures say little."""

MARK = "*"


def enough(entry):
    """Whether a label's entry of metrics.json has at least `MINIMUM_POSITIVES` of each class."""
    return min(entry["positives"], entry["n"] - entry["positives"]) >= MINIMUM_POSITIVES


def add_marks(metrics, calibrations):
    """Adds `marks` to each label's entry in metrics.json: why its numbers are uncertain; an empty list where not.

    A label is marked in every split when a split has fewer than `MINIMUM_POSITIVES` positives or negatives of it, or
    when its calibration or threshold could not be fitted. `macro` and `micro` name the marked labels in them.

    Args:
        metrics: dict split -> task -> label -> entry; entries without `roc_auc` (masked codes) are passed over.
        calibrations: dict task -> `Calibration`; tasks without one are marked by their numbers alone.
    """
    reasons_of = {}
    for split, tasks in metrics.items():
        for task, labels in tasks.items():
            for label, entry in labels.items():
                if label in POOLED or "roc_auc" not in entry:
                    continue
                reasons = reasons_of.setdefault((task, label), [])
                if not enough(entry):
                    kind = "positives" if entry["positives"] < MINIMUM_POSITIVES else "negatives"
                    count = entry["positives"] if kind == "positives" else entry["n"] - entry["positives"]
                    reasons.append(f"{count} {kind} in {split}")
    for (task, label), reasons in reasons_of.items():
        fitted = calibrations[task].labels.get(label) if task in calibrations else None
        if fitted is not None:
            reasons += list(dict.fromkeys(filter(None, (fitted.reason, fitted.threshold_reason))))
    for tasks in metrics.values():
        for task, labels in tasks.items():
            marked = [label for label in labels if reasons_of.get((task, label))]
            for label, entry in labels.items():
                if label in POOLED:
                    entry["marks"] = [f"holds marked labels: {', '.join(marked)}"] if marked else []
                elif (task, label) in reasons_of:
                    entry["marks"] = list(reasons_of[task, label])


def marked_name(label, entry):
    """The label as tables show it: with an asterisk where it is marked.

    >>> marked_name("RET_365", {"marks": ["4 positives in test"]}), marked_name("RET_365", {})
    ('RET_365 *', 'RET_365')
    """
    return f"{label} {MARK}" if entry.get("marks") and label not in POOLED else label


def mark_lines(tasks):
    """One line for each marked label of a split: `* complications RET_365: 4 positives in test`."""
    return [
        f"{MARK} {task if task == label else f'{task} {label}'}: {'; '.join(entry['marks'])}"
        for task, labels in tasks.items()
        for label, entry in labels.items()
        if entry.get("marks") and label not in POOLED
    ]
