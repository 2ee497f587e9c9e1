"""The main table of a report: each label's counts, its AUROC and the rivals' as a forest plot, the difference."""

from medtop.evaluation.marks import marked_name
from medtop.evaluation.predictions import POOLED
from medtop.evaluation.tables import reading_order, rival_value, share_of_way, strongest_rival
from medtop.reporting.elements import Markup, count_text, escape, html_table
from medtop.reporting.svg import is_number, nice_ticks

WIDTH, HEIGHT, _EDGE = 270, 24, 6
CAUTION = "\u26a0"
"""Stands before a number that needs a second look."""

LEGEND = (
    "Square with line: the model, 95% interval. Circle with thin line: the strongest rival. Short strokes: the other "
    "rivals. Dashed: 0.5, no better than chance."
)
BEST_LEGEND = " Diamond: the best that can be reached."


def result_table(tasks, comparison):
    """The table as HTML; "" where no task has a ROC curve.

    Args:
        tasks: dict task -> label -> entry, one split of metrics.json.
        comparison: as `medtop.evaluation.metrics.compare` gives, or None.
    """
    comparison = comparison or {}
    baselines, best = comparison.get("baselines", {}), comparison.get("best_reachable", {})
    rows = [
        _row(
            label_name(task, label, labels[label], tasks),
            task,
            label,
            labels[label],
            baselines,
            best.get(task, {}).get(label, {}),
            comparison,
        )
        for task, labels in tasks.items()
        for label in reading_order(labels)
        if "roc_auc" in labels[label]
    ]
    values = [value for row in rows for value in row["drawn"] if is_number(value)]
    if not rows:
        return ""
    low, high = min([0.5, *values]), max([0.5, *values])
    low, high = max(0.0, low - 0.01), min(1.0, high + 0.01)
    header = ["label", "n", "events", Markup(_axis(low, high)), "AUROC [95%]"]
    header += ["strongest rival", "difference [95%]", "p"] if baselines else []
    header += ["best, share of the way"] if best else []
    cells, pooled = [], []
    for place, row in enumerate(rows):
        cells.append([*row["name"], Markup(_forest(row, low, high)), *row["numbers"]])
        if row["is_pooled"]:
            pooled.append(place)
    legend = LEGEND + (BEST_LEGEND if best else "")
    return html_table(header, cells, 1, pooled, wrap=True) + f'<p class="soft">{escape(legend)}</p>'


def behind(tasks, comparison):
    """A sentence naming the labels for which the strongest rival ranks better; "" for none.

    Better: the 95% interval of the difference in AUROC lies below 0.

    Args:
        tasks: dict task -> label -> entry, as in metrics.json.
        comparison: as `medtop.evaluation.metrics.compare` gives, or None.
    """
    baselines, differences = ((comparison or {}).get(name, {}) for name in ("baselines", "differences"))
    rivals = []
    for task, labels in tasks.items():
        for label in reading_order(labels):
            rival = strongest_rival(baselines, task, label) if "roc_auc" in labels[label] else None
            entry = differences.get(rival, {}).get(task, {}).get(label, {})
            if is_number(entry.get("high")) and entry["high"] < 0:
                name = label_name(task, label, {}, tasks)
                rivals.append(f"{name} ({rival.replace('_', ' ')}, {entry['difference']:+.3f})")
    return (
        f"A simpler rival ranks better, the 95% interval of the difference below 0: {', '.join(rivals)}"
        if rivals
        else ""
    )


def interval_text(entry, sign=""):
    """`0.812 [0.790, 0.833]`, breaking before the interval only; "-" where undefined."""
    if not entry or not is_number(entry.get("value")):
        return "-"
    text = f"{entry['value']:{sign}.3f}"
    if not is_number(entry.get("low")):
        return text
    return f"{text} [{entry['low']:{sign}.3f},\u00a0{entry['high']:{sign}.3f}]"


def label_name(task, label, entry, tasks):
    """How a label is called in a report: its task stands before it where it could be another's (macro is).

    Args:
        task, label: names.
        entry: the label's, for its mark.
        tasks: dict task -> label -> anything, all of the report.
    """
    name = marked_name(label, entry)
    alone = label not in POOLED and sum(label in labels for labels in tasks.values()) <= 1
    return name if alone or label == task else f"{task} {name}"


def _row(name, task, label, entry, baselines, best, comparison):
    rival = strongest_rival(baselines, task, label)
    own = baselines.get(rival, {}).get(task, {}).get(label, {}).get("roc_auc") or {}
    other = comparison.get("differences", {}).get(rival, {}).get(task, {}).get(label, {})
    rest = [rival_value(baselines, name, task, label) for name in baselines if name != rival]
    few = bool(entry.get("marks")) and label not in POOLED
    counts = f"{CAUTION} {count_text(entry['positives'])}" if few else count_text(entry["positives"])
    numbers = [interval_text(entry["roc_auc"])]
    if baselines:
        numbers.append(f"{rival.replace('_', ' ')} {interval_text(own)}" if rival else "-")
        numbers.append(interval_text({**other, "value": other.get("difference")}, "+"))
        numbers.append(f"{other['p_value']:.3f}" if is_number(other.get("p_value")) else "-")
    reachable = best.get("roc_auc")
    if comparison.get("best_reachable"):
        share = share_of_way(entry["roc_auc"]["value"], reachable)
        numbers.append("-" if share is None else f"{reachable:.3f}, {100 * share:.0f}%")
    model = entry["roc_auc"]
    drawn = [model["value"], model["low"], model["high"], *(own.get(key) for key in ("value", "low", "high"))]
    return {
        "name": [name, count_text(entry["n"]), counts],
        "numbers": numbers,
        "model": model,
        "rival": own,
        "rest": [value for value in rest if is_number(value)],
        "best": reachable,
        "drawn": [*drawn, *rest, reachable],
        "is_pooled": label in POOLED,
    }


def _scale(low, high):
    return lambda value: _EDGE + (value - low) / (high - low) * (WIDTH - 2 * _EDGE)


def _svg(parts, height, spoken):
    return (
        f'<svg class="forest" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="{escape(spoken)}">{"".join(parts)}</svg>'
    )


def _axis(low, high):
    across = _scale(low, high)
    parts = [f'<text class="label" x="{WIDTH / 2}" y="11" text-anchor="middle">AUROC</text>']
    for tick in nice_ticks(low, high):
        x = f"{across(tick):.1f}"
        parts.append(f'<text class="tick" x="{x}" y="27" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<path class="axis" d="M{x} 31V35"/>')
    parts.append(f'<path class="axis" d="M{_EDGE} 35H{WIDTH - _EDGE}"/>')
    return _svg(parts, 36, "AUROC, scale")


def _forest(row, low, high):
    across, middle = _scale(low, high), HEIGHT / 2
    parts = [f'<path class="grid" d="M{across(tick):.1f} 0V{HEIGHT}"/>' for tick in nice_ticks(low, high)]
    parts.append(f'<path class="axis" stroke-dasharray="3 3" d="M{across(0.5):.1f} 0V{HEIGHT}"/>')
    for value in row["rest"]:
        parts.append(f'<path class="other" d="M{across(value):.1f} {middle + 3}V{middle + 9}"/>')
    rival, model = row["rival"], row["model"]
    if is_number(rival.get("low")):
        parts.append(f'<path class="rival" d="M{across(rival["low"]):.1f} {middle + 6}H{across(rival["high"]):.1f}"/>')
    if is_number(rival.get("value")):
        parts.append(f'<circle class="rival" cx="{across(rival["value"]):.1f}" cy="{middle + 6}" r="3"/>')
    if is_number(row["best"]):
        x = across(row["best"])
        parts.append(f'<path class="best" d="M{x:.1f} {middle - 9}l4 4l-4 4l-4 -4z"/>')
    if is_number(model["low"]):
        parts.append(f'<path class="model" d="M{across(model["low"]):.1f} {middle - 4}H{across(model["high"]):.1f}"/>')
    if is_number(model["value"]):
        x = across(model["value"])
        parts.append(f'<rect class="model" x="{x - 3.5:.1f}" y="{middle - 7.5}" width="7" height="7"/>')
    return _svg(parts, HEIGHT, f"model {interval_text(model)}, strongest rival {interval_text(rival)}")
