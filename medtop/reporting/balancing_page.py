"""Balancers side by side: their total training losses on one axis, and beside it what can be compared, as page and PNG.

Letters: E epochs.
"""

from pathlib import Path

import numpy as np

from medtop.reporting.curves import Panel
from medtop.reporting.elements import html_table, write_page
from medtop.reporting.png import write_plot
from medtop.reporting.svg import Series, chart, is_number

NAMES = {"fixed": "plain mean", "uncertainty": "uncertainty", "gradnorm": "GradNorm", "random": "random weights"}
CAPTION = (
    "Total training loss: what each method minimises, per target: the plain mean of the losses; with uncertainty the "
    "losses times exp(-s) plus the log-variances s / 2; with GradNorm the losses times weights that sum to the number "
    "of targets. These are different quantities. A method can lower its total by its weights alone, so that one curve "
    "below another says nothing about which model is better.",
    "Skill: 1 - loss / loss of the constant model, mean over targets, on rows that train no weight: the same quantity "
    "for all methods. Only these curves may be compared; the table holds the held-out folds, with intervals.",
)


def balancing_panels(histories):
    """(panel of total losses, panel of skills), both over epochs, means over the folds that reached the epoch.

    Args:
        histories: dict method -> list of dicts with `epochs`: rows of `epoch`, `total_loss`, `valid_loss`.
    """
    totals, skills = [], []
    for style, (method, folds) in enumerate(histories.items()):
        name = NAMES.get(method, method)
        epochs, total = _mean_over_folds(folds, "total_loss")
        totals.append(Series(name, epochs, total, style=style))
        epochs, loss = _mean_over_folds(folds, "valid_loss")
        skills.append(Series(name, epochs, 1 - loss, style=style))
    return (
        Panel("Total training loss", totals, {"x_label": "epoch", "y_label": "each method's own total"}),
        Panel("Skill on rows not trained on", skills, {"x_label": "epoch", "y_label": "1 - loss / constant's"}),
    )


def write_balancing_page(folder, histories, held_out):
    """Writes `balancing.html` and `balancing.png`.

    Args:
        folder: where.
        histories: as for `balancing_panels`.
        held_out: dict method -> entry of `mean_skill` with `value`, `low`, `high`, and `difference` or none; of all
            methods, networks or not.
    """
    panels = balancing_panels(histories)
    charts = "".join(chart(panel.title, panel.series, **panel.axes) for panel in panels)
    rows = []
    for method, entry in held_out.items():
        difference = entry.get("difference")
        own = [_span(entry), _span(difference, "+") if difference else "-"]
        best = [fold["best_epoch"] for fold in histories.get(method, ())]
        rows.append([NAMES.get(method, method.replace("_", " ")), *own, ", ".join(map(str, best)) or "-"])
    header = ["method", "mean skill, held-out folds [95%]", "minus single-task networks", "epochs kept, by fold"]
    sections = [
        ("curves", "Over epochs", f'<div class="plots">{charts}</div>'),
        ("held_out", "Held-out folds", html_table(header, rows, wrap=True)),
    ]
    write_page(Path(folder) / "balancing.html", "Balancing of the losses", sections, {}, CAPTION)
    write_plot(Path(folder) / "balancing.png", panels)


def _mean_over_folds(folds, name):
    """(epochs [E], means [E]): of each epoch over the folds whose training reached it."""
    values = {}
    for fold in folds:
        for row in fold["epochs"]:
            if is_number(row.get(name)):
                values.setdefault(row["epoch"], []).append(row[name])
    epochs = sorted(values)
    return np.array(epochs, float), np.array([np.mean(values[epoch]) for epoch in epochs], float)


def _span(entry, sign=""):
    if entry["value"] is None:
        return "undefined"
    ends = "" if entry["low"] is None else f" [{entry['low']:{sign}.3f}, {entry['high']:{sign}.3f}]"
    return f"{entry['value']:{sign}.3f}{ends}"
