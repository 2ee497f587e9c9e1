"""Table 1: who the patients are, by split and by outcome, out of the records that a model was trained and judged on.

Letters: N examples.
"""

import csv
import dataclasses

import numpy as np

from medtop.cohort.pickled_lists import SEXES
from medtop.cohort.vocabulary import SEP_ID
from medtop.evaluation.small_cells import is_small, withheld, withheld_in_table
from medtop.files.atomic import atomic_path
from medtop.files.formulas import quoting

_DAYS_PER_YEAR = 365.25
COLUMNS = ("group", "label", "characteristic", "n", "value", "low", "high", "share")
"""Columns of table_one.csv: median with quartiles as `value`, `low`, `high`; of categories count and share; no number
where a cell is hidden."""


_NUMBERS = ("age_years", "visits", "codes", "history_days")


@dataclasses.dataclass
class Characteristics:
    """What is known of each example at its prediction time.

    Attributes:
        sex: str [N], "" where unknown.
        age_years: float [N], NaN where unknown.
        visits, codes: int [N], of the history.
        history_days: int [N], from the first visit's discharge to the prediction time.
        labels: dict `<task> <label>` -> float [N]: 1, 0, NaN where unknown.
        patients: [N], whose example it is: ids or numbers.
    """

    sex: np.ndarray
    age_years: np.ndarray
    visits: np.ndarray
    codes: np.ndarray
    history_days: np.ndarray
    labels: dict
    patients: np.ndarray

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
        patients=np.asarray(part["patient_id"]),
    )


def table_one(by_split, observed=None, by_outcome=None, min_cell=0):
    """The table's rows.

    Args:
        by_split: dict split -> `Characteristics`.
        observed: dict split -> n, median, low, high of the days of observation after the prediction, as the manifest
            has them, or None.
        by_outcome: dict task -> label -> "with", "without", "unknown" -> the same, or None.
        min_cell: smallest count of people that is shown, 0 = all. Groups of fewer keep their names only, and so does
            what would give them away: sums over groups and splits are known.

    Returns:
        list of dicts with the keys `COLUMNS`: each split; then, for each label over all splits together, those with
        the outcome ("with"), without it, and those in whom it is unknown.
    """
    by_split = _numbered(by_split)
    rows, hidden = [], _hidden_cells(by_split, "", min_cell)
    for split, people in by_split.items():
        rows += _rows(people, split, "", hidden, min_cell)
        rows += _follow_up((observed or {}).get(split), split, "", hidden, min_cell)
    outcomes = {
        f"{task} {label}": days for task, labels in (by_outcome or {}).items() for label, days in labels.items()
    }
    everybody = Characteristics.join(list(by_split.values()))
    for label, values in everybody.labels.items():
        groups = {name: everybody.take(chosen) for name, chosen in _classes(values).items()}
        parts = {split: _classes(people.labels[label]) for split, people in by_split.items()}
        counts = {
            name: [
                count
                for split, part in parts.items()
                for count in (int(part[name].sum()), _patients(by_split[split], part[name]))
            ]
            for name in groups
        }
        hidden = _hidden_cells(groups, label, min_cell, counts)
        for name, people in groups.items():
            rows += _rows(people, name, label, hidden, min_cell)
            rows += _follow_up(outcomes.get(label, {}).get(name), name, label, hidden, min_cell)
    return rows


def _follow_up(days, group, label, hidden, min_cell):
    """The row of the days of observation, none where they are not known; without quartiles where they are left out."""
    if not days or not days["n"]:
        return []
    values = {"n": days["n"], "value": days.get("median"), "low": days.get("low"), "high": days.get("high")}
    values = {} if is_small(days["n"], min_cell) or (group, "examples") in hidden else values
    return [{"group": group, "label": label, "characteristic": "follow_up_days"} | values]


def _numbered(by_split):
    """The same with whole numbers for patients."""
    _, numbers = np.unique(np.concatenate([people.patients for people in by_split.values()]), return_inverse=True)
    ends = np.cumsum([len(people) for people in by_split.values()])
    parts = np.split(numbers, ends[:-1])
    return {
        split: dataclasses.replace(people, patients=part)
        for (split, people), part in zip(by_split.items(), parts, strict=True)
    }


def _patients(people, chosen):
    """How many patients the examples `chosen` (bool [N]) are of."""
    return int(np.count_nonzero(np.bincount(people.patients[chosen])))


def _classes(values):
    return {"with": values == 1, "without": values == 0, "unknown": np.isnan(values)}


def _sexes(people, count=lambda people, chosen: int(chosen.sum())):
    return {f"sex {sex or 'unknown'}": count(people, people.sex == sex) for sex in ("F", "M", "")}


def _hidden_cells(groups, label, min_cell, counts=None):
    """set of (group, "examples" or "sex ..."): what `table_one` does not show.

    `counts`: dict group -> its counts by split, where those are shown elsewhere: a group with a small one of them goes.
    """
    if min_cell <= 1:
        return set()
    everyone = {name: np.ones(len(people), bool) for name, people in groups.items()}
    cells = {
        name: (len(people), _patients(people, everyone[name]), *(counts or {}).get(name, ()))
        for name, people in groups.items()
    }
    hidden = {(name, "examples") for name in withheld(cells, min_cell)}
    tables = ({name: _sexes(people, *how) for name, people in groups.items()} for how in ((), (_patients,)))
    return hidden | withheld_in_table(next(tables), min_cell, next(tables))


def _rows(people, group, label, hidden, min_cell):
    about = {"group": group, "label": label}
    if (group, "examples") in hidden:
        names = ("examples", *_sexes(people), *_NUMBERS)
        yield from (about | {"characteristic": name} for name in names)
        return
    yield about | {"characteristic": "examples", "n": len(people), "value": len(people)}
    for name, count in _sexes(people).items():
        share = count / len(people) if len(people) else None
        values = {"n": len(people), "value": count, "share": share}
        yield about | {"characteristic": name} | ({} if (group, name) in hidden else values)
    for name in _NUMBERS:
        values = np.asarray(getattr(people, name), np.float64)
        known = np.isfinite(values)
        values, patients = values[known], _patients(people, known)
        entry = about | {"characteristic": name, "n": len(values)}
        if is_small(patients, min_cell):
            entry = about | {"characteristic": name}
        elif len(values):
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
            entry |= {"value": float(middle), "low": float(low), "high": float(high)}
            if is_small(_patients(people, ~known), min_cell):
                entry["n"] = None
        yield entry


def write_table_one(path, rows, quote_formulas=False):
    """Writes the rows as CSV, whole or not at all; `quote_formulas`: see `files.formulas`."""
    with atomic_path(path, shared=True) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = quoting(csv.DictWriter(file, COLUMNS, restval=""), quote_formulas)
        writer.writeheader()
        for row in rows:
            writer.writerow({name: "" if value is None else value for name, value in row.items()})
