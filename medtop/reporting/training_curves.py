"""The curves of a training, as panels: losses and ROC AUC measure by measure, the balance of the tasks side by side.

The log's names say what is what: `<task>_weight`, `<task>_gradient_norm` and `<task>_<other>_gradient_cosine` come from
the balance of the losses (`medtop.training.step`); these stand in one panel for all tasks, since only their relation
tells anything. Others have a panel each, `valid_<name>` beside `<name>`.
"""

import numpy as np

from medtop.reporting.curves import Panel
from medtop.reporting.svg import Series, is_number

MEASURES = {"loss": "loss", "roc_auc": "ROC AUC"}
"""End of a name in the log -> label of the axis; each such name has a panel of its own."""
TASK_MEASURES = {"_weight": "weight of the loss", "_gradient_norm": "gradient norm, shared layer"}
COSINE = "_gradient_cosine"
MOST_PAIRS = 6
"""Pairs of tasks in one panel of cosines; of more, each task has a panel with the others."""
_SMOOTHED = 200


def training_panels(rows, x_label="step"):
    """Panels of a training.

    Args:
        rows: dicts of train_log.jsonl and of validation measures; their `step` is where they are drawn. What is no
            finite number, and other names, is left out.
        x_label: what `step` counts.

    Returns:
        list of `medtop.reporting.curves.Panel`.
    """
    curves = _series(rows)
    tasks = [name.removesuffix("_gradient_norm") for name in curves if name.endswith("_gradient_norm")]
    panels = [*_measures(curves), *_side_by_side(curves), *_cosines(curves, tasks)]
    for panel in panels:
        panel.axes["x_label"] = x_label
    return panels


def _series(rows):
    """dict name -> (steps, values), float64 [n] each, averaged over windows of steps."""
    points = {}
    for number, row in enumerate(rows):
        step = row.get("step")
        step = step if is_number(step) else number
        for name, value in row.items():
            if is_number(value) and name.endswith((*MEASURES, *TASK_MEASURES, COSINE)):
                points.setdefault(name, []).append((step, value))
    return {name: _windows(*np.array(pairs, float).T) for name, pairs in points.items()}


def _measures(curves):
    """A panel per loss and ROC AUC, training and validation together."""
    bases = dict.fromkeys(name.removeprefix("valid_") for name in curves if name.endswith(tuple(MEASURES)))
    for base in bases:
        series = [
            _curve(word, curves[name], style)
            for style, (word, name) in enumerate((("training", base), ("validation", f"valid_{base}")))
            if name in curves
        ]
        label = next(label for end, label in MEASURES.items() if base.endswith(end))
        yield Panel(base, series, {"y_label": label})


def _side_by_side(curves):
    """A panel per measure of the tasks' balance, a curve per task."""
    for end, label in TASK_MEASURES.items():
        names = [name for name in curves if name.endswith(end)]
        if names:
            series = [_curve(name.removesuffix(end), curves[name], place) for place, name in enumerate(names)]
            yield Panel(label, series, {"y_label": end.strip("_").replace("_", " ")})


def _cosines(curves, tasks):
    """Cosines between the tasks' gradients: a curve per pair."""
    pairs = {
        (task, other): curves[f"{task}_{other}{COSINE}"]
        for task in tasks
        for other in tasks
        if f"{task}_{other}{COSINE}" in curves
    }
    if not pairs:
        return
    axes = {"y_label": "cosine", "y_range": (-1, 1)}
    if len(pairs) <= MOST_PAIRS:
        series = [_curve(f"{task}, {other}", pair, place) for place, ((task, other), pair) in enumerate(pairs.items())]
        yield Panel("cosines between gradients", series, dict(axes))
        return
    pairs |= {(other, task): pair for (task, other), pair in pairs.items()}
    for task in tasks:
        series = [
            _curve(other, pairs[task, other], place) for place, other in enumerate(tasks) if (task, other) in pairs
        ]
        yield Panel(f"cosines with {task}'s gradient", series, dict(axes))


def _curve(name, points, style):
    x, y = points
    return Series(name, x, y, kind="points" if len(x) == 1 else "line", style=style)


def _windows(x, y):
    """Means over up to `_SMOOTHED` windows of equal length, so that thousands of noisy steps stay readable."""
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    if len(x) <= _SMOOTHED:
        return x, y
    window = np.arange(len(x)) * _SMOOTHED // len(x)
    count = np.bincount(window)
    return np.bincount(window, x) / count, np.bincount(window, y) / count
