"""Risk as notes arrive, as a page and a picture: each measure by day of the stay, with intervals."""

import numpy as np

from medtop.reporting.curves import Panel
from medtop.reporting.elements import WITHHELD, count_text, html_table, write_page
from medtop.reporting.png import write_plot
from medtop.reporting.svg import Series, chart

NAMES = {
    "roc_auc": "AUROC",
    "average_precision": "AUPRC",
    "recall_at_precision_80": "RP80",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}


def _panels(rows, populations):
    """One `Panel` for each metric: a line with bars for each population, and of the AUPRC the share of positives."""
    panels = []
    for metric, name in NAMES.items():
        series = []
        for style, population in enumerate(populations):
            own = [row for row in rows if (row["metric"], row["population"]) == (metric, population)]
            own = [row for row in own if row["n"] is not None]
            if not own:
                continue
            days, values = np.array([row["day"] for row in own], float), _numbers(own, "value")
            bars = [np.where(np.isnan(_numbers(own, end)), values, _numbers(own, end)) for end in ("low", "high")]
            shift = 0.08 * (style - 0.5)  # bars of two populations stand beside each other
            series += [
                Series(population, days + shift, values, style=style),
                Series("", days + shift, values, "points", *bars, style=style),
            ]
            if metric == "average_precision":
                share = np.array([row["positives"] / max(row["n"], 1) for row in own])
                series.append(Series(f"readmitted, {population}", days, share, style=style + 3, faint=True))
        highest = max(
            (float(np.nanmax(part)) for curve in series for part in (curve.y, curve.high) if part is not None),
            default=1,
        )
        top = 1.0 if metric in ("roc_auc", "average_precision", "recall_at_precision_80") else 1.1 * highest
        last = max((row["day"] for row in rows), default=1) + 0.5
        axes = dict(x_label="days after the admission", y_label=name, x_range=(0, last), y_range=(0, top or 1.0))
        panels.append(Panel(name, series, axes))
    return panels


def _numbers(rows, name):
    return np.array([np.nan if row[name] is None else row[name] for row in rows], float)


def write_day_plot(path, rows, populations):
    """Writes the charts as one PNG.

    Args:
        path: the file.
        rows: dicts of day, population, n, positives, metric, value, low, high; n None: all of it is hidden.
        populations: their names, in order.
    """
    write_plot(path, _panels(rows, populations))


def write_day_page(path, rows, populations, facts):
    """Writes the page: charts, and a table of the same numbers.

    Args:
        path: the file.
        rows, populations: as for `write_day_plot`.
        facts: dict of `run_dir`, `days`, `min_cell`, and `counts`: day -> examples, without_notes, ended_all_splits.
    """
    charts = "".join(chart(panel.title, panel.series, **panel.axes) for panel in _panels(rows, populations))
    header = ["population", "day", "admissions", "readmitted", *(f"{name} [95%]" for name in NAMES.values())]
    body = []
    for population in populations:
        for day in facts["days"]:
            own = {row["metric"]: row for row in rows if (row["population"], row["day"]) == (population, day)}
            if own:
                first = next(iter(own.values()))
                cells = [_span(own[metric]) for metric in NAMES]
                body.append([population, day, count_text(first["n"]), count_text(first["positives"]), *cells])
    counted = [
        [day, *(count_text(counts[name]) for name in ("examples", "without_notes", "ended_all_splits"))]
        for day, counts in facts["counts"].items()
    ]
    sections = [
        ("curves", "By day", f'<div class="plots">{charts}</div>'),
        ("numbers", "Numbers", html_table(header, body, texts=1, wrap=True)),
        (
            "counts",
            "Who is there",
            html_table(
                ["day", "admissions of test patients", "without a note by then", "stays ended (all)"], counted, 0
            ),
        ),
    ]
    notes = [
        "After d days an admission is known by the notes charted until then; discharge summaries are left out, and "
        "stays that have ended are no examples any more.",
        "Those who are there later are other people than those who are there first: compare days within "
        f'"{populations[1]}". Intervals: bootstrap over patients.',
    ]
    if facts.get("min_cell", 0) > 1:
        notes.append(
            f"What rests on 1 to {facts['min_cell'] - 1} patients, or would tell of so few, is {WITHHELD} (--min_cell)."
        )
    write_page(path, "Risk as notes arrive", sections, {"run": facts["run_dir"]}, notes)


def _span(row):
    if row["n"] is None:
        return WITHHELD
    if row["value"] is None:
        return "undefined"
    interval = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['value']:.3f}{interval}"
