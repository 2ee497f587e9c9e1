"""What a cross-validation leaves: metrics.json, predictions.csv, train_log.jsonl, TensorBoard, curves, two tables."""

import csv
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from medtop.files.atomic import atomic_path, write_json, write_text
from medtop.files.folders import RESTRICTED
from medtop.files.formulas import quoting
from medtop.reporting.balancing_page import write_balancing_page
from medtop.reporting.page import write_training_page
from medtop.tabular.cross_validation import SINGLE_TASK
from medtop.tabular.measures import measures_of
from medtop.tabular.small_counts import shown_measures, shown_rows
from medtop.training.tensorboard import write_scalars

WIDTH = 120
"""Columns of a screen."""


def write_results(folder, data, folds, predictions, histories, measured, plot=False, quote_formulas=False, min_cell=0):
    """Writes all files of a finished cross-validation.

    Args:
        folder: where.
        data: `medtop.tabular.cross_validation.Data`.
        folds: int [N], fold of each row.
        predictions, histories: of `CrossValidation.run`.
        measured: of `medtop.tabular.measures.measure`.
        plot: draw losses, weights and gradients over epochs, `training-<method>.html`, of the first fold; and total
            loss and skill of all balancers, `balancing.html` and `balancing.png`, means over the folds.
        quote_formulas: see `medtop.files.formulas`.
        min_cell: smallest count of people that files hold which others may read; 0 = all.
    """
    folder, measured = Path(folder), shown_measures(data, measured, min_cell)
    write_json(
        folder / "metrics.json",
        {
            "rows": shown_rows(data, min_cell),
            "held_out": {
                method: {
                    ("mean_skill" if name == "" else name): entry.get("mean_skill", entry)
                    for name, entry in entries.items()
                }
                for method, entries in measured.items()
            },
        },
    )
    _write_predictions(folder / RESTRICTED / "predictions.csv", data, folds, predictions, quote_formulas)
    rows = [
        {"method": method, "fold": fold["fold"], "targets": fold["targets"], "step": row["epoch"], **row}
        for method, folds_of in histories.items()
        for fold in folds_of
        for row in fold["epochs"]
    ]
    write_text(folder / "train_log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    trained = {method: folds_of for method, folds_of in histories.items() if folds_of and method != SINGLE_TASK}
    if plot and trained:
        held_out = {method: entries[""]["mean_skill"] for method, entries in measured.items()}
        write_balancing_page(folder, trained, held_out)
    for method, folds_of in histories.items():
        if method != SINGLE_TASK:
            for fold in folds_of:
                _write_events(folder / "tensorboard" / f"{method}-fold{fold['fold']}", fold["epochs"])
            if plot and folds_of:
                curves = [{"step": row["epoch"], **row} for row in folds_of[0]["epochs"]]
                write_training_page(folder / f"training-{method}.html", f"{method}: fold 1", curves, "epoch")


def _write_events(folder, rows):
    for earlier in folder.glob("events.out.tfevents.*"):
        earlier.unlink()
    with tf.summary.create_file_writer(str(folder)).as_default():
        for row in rows:
            write_scalars({name: value for name, value in row.items() if name != "epoch"}, row["epoch"])


def _write_predictions(path, data, folds, predictions, quote_formulas):
    """`line,group,fold,target,method,value,predicted,probability`: the known rows of each target; the probability is
    that of the predicted class, empty for a regression."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = quoting(csv.writer(file, lineterminator="\n"), quote_formulas)
        writer.writerow(("line", "group", "fold", "target", "method", "value", "predicted", "probability"))
        for number, target in enumerate(data.targets):
            for method, arrays in predictions.items():
                for row in np.flatnonzero(target.known):
                    value, predicted = target.values[row], arrays[number][row]
                    if target.is_classification:
                        best = int(predicted.argmax())
                        shown = target.classes[int(value)], target.classes[best], f"{predicted[best]:.6g}"
                    else:
                        shown = f"{value:.8g}", f"{predicted:.8g}", ""
                    place = data.table.lines[row], data.groups[row], folds[row] + 1
                    writer.writerow((*place, target.name, method, *shown))


def table(data, measured):
    """The measures as text: a line per target and measure, a column per method, 95% intervals in brackets."""
    methods = list(measured)
    lines = [("target", "measure", "n", *methods)]
    for target in data.targets:
        for name in measures_of(target):
            entries = [measured[method][target.name] for method in methods]
            lines.append((target.name, name, str(entries[0]["n"]), *(_shown(entry[name]) for entry in entries)))
    lines.append(("all", "mean_skill", "", *(_shown(measured[method][""]["mean_skill"]) for method in methods)))
    return _fitting(lines, 3)


def differences(data, measured, against):
    """The same of each network's measures minus those of the method `against`; None where nothing is compared."""
    methods = [method for method in measured if "difference" in measured[method][""]["mean_skill"]]
    if not methods:
        return None
    lines = [("target", f"minus {against}", *methods)]
    for target in data.targets:
        for name in measures_of(target):
            values = [_shown(measured[method][target.name][name]["difference"], "+") for method in methods]
            lines.append((target.name, name, *values))
    values = [_shown(measured[method][""]["mean_skill"]["difference"], "+") for method in methods]
    return _fitting([*lines, ("all", "mean_skill", *values)], 2)


def _shown(entry, sign=""):
    if entry["value"] is None:
        return "undefined"
    numbers = [entry["value"], entry["low"], entry["high"]]
    value, *ends = ("-" if number is None else _number(number, sign) for number in numbers)
    return f"{value} [{', '.join(ends)}]"


def _number(number, sign):
    return f"{number:{sign}.3f}" if abs(number) < 1000 else f"{number:{sign}.4g}"


def _fitting(lines, names):
    """Lines as text of at most `WIDTH` columns: methods that do not fit follow in a table of their own below.

    Args:
        lines: list of tuples of str, the header first.
        names: how many columns stand in each table.
    """
    widths = [max(len(line[place]) for line in lines) + 2 for place in range(len(lines[0]))]
    own, parts, used = sum(widths[:names]), [[]], 0
    for place in range(names, len(widths)):
        if parts[-1] and own + used + widths[place] - 2 > WIDTH:
            parts.append([])
            used = 0
        parts[-1].append(place)
        used += widths[place]
    return "\n\n".join(
        _aligned([(*line[:names], *(line[place] for place in part)) for line in lines]) for part in parts
    )


def _aligned(lines):
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
