"""One table out of many patients' attributions: per label and code, means with intervals.

Letters: N patients, L labels, R resamples.
"""

import csv
import dataclasses

import numpy as np

from medtop.evaluation.bootstrap import interval, resample_counts
from medtop.files.atomic import atomic_path
from medtop.files.formulas import quoting

COLUMNS = (
    "task", "label", "group_column", "group", "code", "title", "patients",
    "attribution", "attribution_low", "attribution_high", "deletion_effect", "deletion_effect_low",
    "deletion_effect_high", "attribution_wide", "attribution_encoder",
)  # fmt: skip
FEWEST = 2
"""Patients that a mean with an interval needs."""


@dataclasses.dataclass
class Contributions:
    """What was found, one row per patient and distinct code or context channel.

    Attributes:
        patients: int [n], number of the patient, below `num_patients`.
        items: int [n], number of the code or channel in `names`.
        attribution, deletion: float [n, L]; deletion NaN for channels.
        names: list of codes and of channels (such as "[age]").
        num_patients: N.
        wide: float [n, L], the wide part's share of `attribution`, or None where there is no such part.
    """

    patients: np.ndarray
    items: np.ndarray
    attribution: np.ndarray
    deletion: np.ndarray
    names: list
    num_patients: int
    wide: np.ndarray | None = None


def importance(contributions, groups=None, *, num_bootstrap=500, seed=0):
    """Means over the patients who have a code.

    Args:
        contributions: `Contributions`.
        groups: dict column -> str [N], or None; everybody together always comes first.
        num_bootstrap, seed: resamples of patients.

    Returns:
        list of dicts: group_column, group, item, patients, and for each label `attribution` and `deletion_effect`,
        dicts of value, low, high, and `wide`, the mean of the wide part's share (None without such a part). Codes that
        fewer than `FEWEST` patients have carry no interval.
    """
    rows = _of_group(contributions, np.ones(contributions.num_patients, bool), "", "", num_bootstrap, seed)
    for column, names in (groups or {}).items():
        for name in sorted({*names}):
            chosen = np.asarray(names, object) == name
            rows += _of_group(contributions, chosen, column, name or "missing", num_bootstrap, seed)
    return rows


def _of_group(contributions, chosen, column, name, num_bootstrap, seed):
    kept = chosen[contributions.patients]
    patients, items = contributions.patients[kept], contributions.items[kept]
    values = {"attribution": contributions.attribution[kept], "deletion_effect": contributions.deletion[kept]}
    present = np.unique(items)
    place = np.searchsorted(present, items)
    counts = np.bincount(place, minlength=len(present))
    points = {what: _sums(place, array, len(present)) / counts[:, None] for what, array in values.items()}
    drawn = {what: [] for what in values}
    wide = contributions.wide
    if wide is not None:
        wide = _sums(place, wide[kept], len(present)) / counts[:, None]
    for block in resample_counts(contributions.num_patients, num_bootstrap, seed):
        for resample in block.T:
            weight = resample[patients]
            total = np.bincount(place, weight, len(present))[:, None]
            for what, array in values.items():
                sums = _sums(place, array * weight[:, None], len(present))
                drawn[what].append(np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0))
    drawn = {what: np.stack(parts) if parts else np.empty((0, 0, 0)) for what, parts in drawn.items()}
    return [
        {
            "group_column": column,
            "group": name,
            "item": int(item),
            "patients": int(counts[number]),
            "wide": [None] * len(points["attribution"][number]) if wide is None else wide[number].tolist(),
            **{
                what: [_entry(point, drawn[what], number, label, counts[number]) for label, point in enumerate(row)]
                for what, row in ((what, points[what][number]) for what in values)
            },
        }
        for number, item in enumerate(present)
    ]


def _sums(place, array, size):
    return np.stack([np.bincount(place, column, size) for column in array.T], 1)


def _entry(value, drawn, number, label, count):
    low, high = (None, None) if count < FEWEST or not len(drawn) else interval(value, drawn[:, number, label])
    return {"value": float(value) if np.isfinite(value) else None, "low": low, "high": high}


def write_importance(path, rows, names, labels, titles=None, min_cell=0, quote_formulas=False):
    """Writes code_importance.csv, whole or not at all: per label and group, by falling absolute attribution.

    Args:
        path: the file.
        rows: as `importance` gives.
        names: list of codes and channels.
        labels: list of (task, label name).
        titles: dict code -> title, or None.
        min_cell: codes of 1 to `min_cell` - 1 patients are left out.
        quote_formulas: see `files.formulas`.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = quoting(csv.DictWriter(file, COLUMNS, restval=""), quote_formulas)
        writer.writeheader()
        for number, (task, label) in enumerate(labels):
            shown = [row for row in rows if row["patients"] >= max(min_cell, 1)]
            groups = list(dict.fromkeys((row["group_column"], row["group"]) for row in shown))
            order = {group: place for place, group in enumerate(groups)}
            shown.sort(
                key=lambda row: (order[row["group_column"], row["group"]], -abs(row["attribution"][number]["value"]))
            )
            for row in shown:
                name = names[row["item"]]
                about = {"task": task, "label": label, "code": name, "title": (titles or {}).get(name, "")}
                about |= {key: row[key] for key in ("group_column", "group", "patients")}
                for what in ("attribution", "deletion_effect"):
                    entry = row[what][number]
                    about |= {what: entry["value"], f"{what}_low": entry["low"], f"{what}_high": entry["high"]}
                if (wide := row["wide"][number]) is not None:
                    encoder = row["attribution"][number]["value"] - wide
                    about |= {"attribution_wide": wide, "attribution_encoder": encoder}
                writer.writerow({key: "" if value is None else value for key, value in about.items()})
