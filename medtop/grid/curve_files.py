"""learning_curve.csv, learning_curve_runs.csv and learning_curve.html."""

import csv
import math
import re
import statistics

from medtop.files.atomic import atomic_path
from medtop.files.formulas import quoting
from medtop.reporting.elements import escape, html_table, write_page
from medtop.reporting.svg import Series, chart

COLUMNS = ("model", "train_patients", "task", "label", "metric", "repeats", "mean", "sd", "lowest", "highest")
RUN_COLUMNS = ("model", "train_patients", "repeat", "task", "label", "metric", "value")
FEW = 3
"""Repeats from which on an SD is drawn."""


def summary(values):
    """(n, mean, SD or None of one value, lowest, highest) of numbers."""
    numbers = list(values)
    deviation = statistics.stdev(numbers) if len(numbers) > 1 else None
    return len(numbers), statistics.fmean(numbers), deviation, min(numbers), max(numbers)


def write_curve(folder, points, metric, quote_formulas=False):
    """Writes the two tables: means and deviations, and every run's value.

    Args:
        folder: `Path`.
        points: list of `medtop.grid.learning_curve.Point`.
        metric: what was measured.
        quote_formulas: see `medtop.files.formulas`.
    """
    rows, runs = [], []
    for point in points:
        place = (point.model, point.train_patients)
        count, mean, deviation, low, high = summary(point.values.values())
        shown = ("" if number is None else f"{number:.6f}" for number in (mean, deviation, low, high))
        rows.append((*place, point.task, point.label, metric, count, *shown))
        runs += [
            (*place, repeat, point.task, point.label, metric, f"{value:.6f}")
            for repeat, value in sorted(point.values.items())
        ]
    for name, header, lines in (("", COLUMNS, rows), ("_runs", RUN_COLUMNS, runs)):
        path = folder / f"learning_curve{name}.csv"
        with atomic_path(path, shared=True) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            writer = quoting(csv.writer(file, lineterminator="\n"), quote_formulas)
            writer.writerow(header)
            writer.writerows(lines)


def leaders(points):
    """Who leads at each size, and by how much: list of (size, model, mean, second, mean difference, SD, repeats).

    The difference to the second is taken repeat by repeat, on the same training patients; None where fewer than two
    repeats have both.

    Args:
        points: `Point`s of one label.
    """
    rows = []
    for size in sorted({point.train_patients for point in points}):
        here = [point for point in points if point.train_patients == size]
        here.sort(key=lambda point: -statistics.fmean(point.values.values()))
        first, second = here[0], here[1] if len(here) > 1 else None
        row = [size, first.model, statistics.fmean(first.values.values()), None, None, None, 0]
        if second is not None:
            both = sorted(first.values.keys() & second.values.keys())
            gaps = [first.values[repeat] - second.values[repeat] for repeat in both]
            row[3:] = [second.model, None, None, len(gaps)]
            if len(gaps) > 1:
                row[4:6] = [statistics.fmean(gaps), statistics.stdev(gaps)]
        rows.append(tuple(row))
    return rows


def write_curve_page(path, points, metric, facts, missing):
    """Writes the page: a chart and two tables for each label.

    Args:
        path: the file.
        points, metric: as for `write_curve`.
        facts: dict of what was compared, in words.
        missing: number of runs that are not there yet.
    """
    name = {"roc_auc": "ROC AUC", "average_precision": "average precision"}.get(metric, metric)
    notes = [
        f"Lines are means of {name} on the test set over the repeats, bands one standard deviation to each side (from "
        f"{FEW} repeats on). A repeat has its own training patients and its own start; test and validation patients "
        "are the same for all, so that the bands say nothing of how another test set would turn out.",
        "Validation patients are not counted as training patients, though calibration, early stopping and the rivals' "
        "settings use them.",
    ]
    if missing:
        notes.insert(0, f"{missing} runs are not there yet: the same command goes on.")
    sections = []
    for number, (task, label) in enumerate(dict.fromkeys((point.task, point.label) for point in points)):
        mine = [point for point in points if (point.task, point.label) == (task, label)]
        title = task if label == task else f"{task}: {label}"
        sections.append((f"label-{number}", escape(title), _drawn(title, mine, name) + _leaders(mine) + _numbers(mine)))
    write_page(path, "Learning curve", sections, facts, notes)


def _drawn(title, points, name):
    sizes = sorted({point.train_patients for point in points})
    series = []
    for model in dict.fromkeys(point.model for point in points):
        mine = sorted((p for p in points if p.model == model), key=lambda p: p.train_patients)
        told = [summary(point.values.values()) for point in mine]
        spread = [entry[2] if entry[0] >= FEW else 0.0 for entry in told]
        means, x = [entry[1] for entry in told], [math.log10(point.train_patients) for point in mine]
        low, high = ([m + sign * s for m, s in zip(means, spread, strict=True)] for sign in (-1, 1))
        kind = "line" if len(mine) > 1 else "points"
        series.append(Series(model, x, means, kind=kind, low=low, high=high))
    edge = 0.05 if len(sizes) > 1 else 0.5
    reach = (math.log10(sizes[0]) - edge, math.log10(sizes[-1]) + edge)
    ticks = {math.log10(size): f"{size:,}" for size in sizes}
    drawn = chart(title, series, x_label="training patients", y_label=name, x_range=reach, x_ticks=ticks)
    return re.sub(r' width="\d+" height="\d+"', ' style="width:36rem;max-width:100%;height:auto"', drawn, count=1)


def _leaders(points):
    rows = [
        [
            f"{size:,}",
            first,
            second or "-",
            f"{mean:.3f}",
            "-" if gap is None else f"{gap:+.4f} \N{PLUS-MINUS SIGN} {deviation:.4f}",
            count,
        ]
        for size, first, mean, second, gap, deviation, count in leaders(points)
    ]
    header = ["training patients", "highest mean", "second", "mean", "ahead of it by (mean, SD)", "repeats"]
    return html_table(header, rows, texts=3)


def _numbers(points):
    sizes = sorted({point.train_patients for point in points})
    rows = []
    for model in dict.fromkeys(point.model for point in points):
        cells = {point.train_patients: summary(point.values.values()) for point in points if point.model == model}
        rows.append([model, *(_cell(cells.get(size)) for size in sizes)])
    return html_table(["model", *(f"{size:,}" for size in sizes)], rows)


def _cell(entry):
    if entry is None:
        return "-"
    count, mean, deviation, *_ = entry
    spread = "" if deviation is None else f" \N{PLUS-MINUS SIGN} {deviation:.3f}"
    return f"{mean:.3f}{spread} ({count})"
