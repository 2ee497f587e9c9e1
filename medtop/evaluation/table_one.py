"""Table 1: who the patients are, by split and by outcome, out of the records that a model was trained and judged on.

Letters: N examples.
"""

import csv
import dataclasses

import numpy as np

from medtop.cohort.pickled_lists import SEXES
from medtop.cohort.vocabulary import SEP_ID
from medtop.files.atomic import atomic_path

_DAYS_PER_YEAR = 365.25
COLUMNS = ("group", "label", "characteristic", "n", "value", "low", "high", "share")
"""Columns of table_one.csv: median with quartiles as `value`, `low`, `high`; of categories count and share."""


@dataclasses.dataclass
class Characteristics:
    """What is known of each example at its prediction time.

    Attributes:
        sex: str [N], "" where unknown.
        age_years: float [N], NaN where unknown.
        visits, codes: int [N], of the history.
        history_days: int [N], from the first visit's discharge to the prediction time.
        labels: dict `<task> <label>` -> float [N]: 1, 0, NaN where unknown.
    """

    sex: np.ndarray
    age_years: np.ndarray
    visits: np.ndarray
    codes: np.ndarray
    history_days: np.ndarray
    labels: dict

    def __len__(self):
        return len(self.visits)

    @staticmethod
    def join(parts):
        """One from several with the same labels."""
        joined = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in dataclasses.fields(Characteristics)
            if field.name != "labels"
        }
        labels = {name: np.concatenate([part.labels[name] for part in parts]) for name in parts[0].labels}
        return Characteristics(**joined, labels=labels)

    def take(self, chosen):
        """The examples `chosen` (bool [N])."""
        fields = {
            field.name: getattr(self, field.name)[chosen]
            for field in dataclasses.fields(self)
            if field.name != "labels"
        }
        return Characteristics(**fields, labels={name: values[chosen] for name, values in self.labels.items()})


def characteristics(columns, tasks):
    """`Characteristics` of the examples of a data set.

    Args:
        columns: iterable of dicts as `data.tfrecord.read_examples` gives them, default layout.
        tasks: list of `Task`; patient-level ones give labels.
    """
    return Characteristics.join([_of_part(part, tasks) for part in columns])


def _of_part(part, tasks):
    counts = np.asarray(part["counts"], np.int64)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    ages = np.asarray(part["age_days"])[first]  # of [CLS]: the age at the prediction time
    visits = np.asarray(part["visits"], np.int64)
    labels = {}
    for task in tasks:
        for place, label in enumerate(task.labels):
            targets, weights = part[f"{task.name}_labels"][:, place], part[f"{task.name}_weights"][:, place]
            labels[f"{task.name} {label}"] = np.where(weights > 0, targets, np.nan)
    is_code = (visits > 0) & (np.asarray(part["token_ids"]) != SEP_ID)
    last = np.maximum.reduceat(visits, first)
    codes = np.add.reduceat(is_code.astype(np.int64), first)
    return Characteristics(
        sex=np.array(SEXES, object)[np.asarray(part["sex"], np.int64)],
        age_years=np.where(ages > 0, ages / _DAYS_PER_YEAR, np.nan),
        visits=last,
        codes=codes,
        history_days=np.maximum.reduceat(np.asarray(part["recency_days"], np.int64), first),
        labels=labels,
    )


def table_one(by_split, observed=None, by_outcome=None):
    """The table's rows.

    Args:
        by_split: dict split -> `Characteristics`.
        observed: dict split -> n, median, low, high of the days of observation after the prediction, as the manifest
            has them, or None.
        by_outcome: dict task -> label -> "with", "without", "unknown" -> the same, or None.

    Returns:
        list of dicts with the keys `COLUMNS`: each split; then, for each label over all splits together, those with
        the outcome ("with"), without it, and those in whom it is unknown.
    """
    rows = []
    for split, people in by_split.items():
        rows += _rows(people, split, "")
        rows += _follow_up((observed or {}).get(split), split, "")
    outcomes = {
        f"{task} {label}": days for task, labels in (by_outcome or {}).items() for label, days in labels.items()
    }
    everybody = Characteristics.join(list(by_split.values()))
    for label, values in everybody.labels.items():
        for name, chosen in (("with", values == 1), ("without", values == 0), ("unknown", np.isnan(values))):
            rows += _rows(everybody.take(chosen), name, label)
            rows += _follow_up(outcomes.get(label, {}).get(name), name, label)
    return rows


def _follow_up(days, group, label):
    """The row of the days of observation, none where they are not known; without quartiles where they are left out."""
    if not days or not days["n"]:
        return []
    values = {"n": days["n"], "value": days.get("median"), "low": days.get("low"), "high": days.get("high")}
    return [{"group": group, "label": label, "characteristic": "follow_up_days"} | values]


def _rows(people, group, label):
    about = {"group": group, "label": label}
    yield about | {"characteristic": "examples", "n": len(people), "value": len(people)}
    for sex in ("F", "M", ""):
        count = int((people.sex == sex).sum())
        share = count / len(people) if len(people) else None
        yield about | {"characteristic": f"sex {sex or 'unknown'}", "n": len(people), "value": count, "share": share}
    for name in ("age_years", "visits", "codes", "history_days"):
        values = np.asarray(getattr(people, name), np.float64)
        values = values[np.isfinite(values)]
        entry = about | {"characteristic": name, "n": len(values)}
        if len(values):
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
            entry |= {"value": float(middle), "low": float(low), "high": float(high)}
        yield entry


def write_table_one(path, rows, min_cell=0):
    """Writes the rows as CSV, whole or not at all; groups of 1 to `min_cell` - 1 examples keep their name only."""
    with atomic_path(path, shared=True) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for row in rows:
            values = {name: "" if value is None else value for name, value in row.items()}
            counted = [row["n"], *([row["value"]] if row["characteristic"].startswith("sex") else [])]
            if any(0 < count < min_cell for count in counted):
                values = {name: values[name] for name in ("group", "label", "characteristic")}
            writer.writerow(values)
