"""Which subgroup each example belongs to: from the records, from the prediction time, or from a file of the user's."""

import numpy as np

from medtop.cohort.pickled_lists import SEXES
from medtop.evaluation.predictions import match_examples, parse_times, read_columns
from medtop.files.errors import DataError

OF_RECORDS = ("sex", "age_band")
OF_TIMES = ("year",)
AGE_EDGES = (18, 45, 65, 75, 85)
"""Years at which an age band begins; ages are whole years at the prediction time."""

_DAYS_PER_YEAR = 365.25


def age_bands(age_days):
    """Bands such as "45-64"; "" where the age is unknown (0 days).

    >>> age_bands(np.array([0, 16000, 31000, 3000])).tolist()
    ['', '18-44', '75-84', '0-17']
    """
    years = np.asarray(age_days) / _DAYS_PER_YEAR
    names = [f"0-{AGE_EDGES[0] - 1}"]
    names += [f"{low}-{high - 1}" for low, high in zip(AGE_EDGES, AGE_EDGES[1:], strict=False)]
    names.append(f"{AGE_EDGES[-1]}+")
    bands = np.array(names, object)[np.searchsorted(AGE_EDGES, years, side="right")]
    return np.where(np.asarray(age_days) > 0, bands, "")


def years(prediction_times):
    """The calendar year of each prediction time (int64 seconds since 1970) as text."""
    return (
        np.asarray(prediction_times, np.int64)
        .astype("datetime64[s]")
        .astype("datetime64[Y]")
        .astype(str)
        .astype(object)
    )


def groups_of_records(columns):
    """`sex` and `age_band` of every example, in file order.

    Args:
        columns: iterable of dicts as `data.tfrecord.read_examples` gives them, default layout.

    Returns:
        dict column -> str object [N]; a column that the records lack is left out.
    """
    sexes, ages = [], []
    for part in columns:
        if "sex" in part:
            sexes.append(np.array(SEXES, object)[np.asarray(part["sex"], np.int64)])
        if "age_days" in part:
            first = np.concatenate([[0], np.cumsum(part["counts"])[:-1]]).astype(np.int64)
            ages.append(age_bands(part["age_days"][first]))  # of [CLS]: the age at the prediction time
    names = {"sex": sexes, "age_band": ages}
    return {name: np.concatenate(parts) for name, parts in names.items() if parts}


def read_groups(path, columns, predictions):
    """Groups out of a CSV file with `patient_id`, perhaps `prediction_time`, and the named columns.

    Args:
        path: the file.
        columns: names of its columns.
        predictions: `Predictions`: whose examples are wanted.

    Returns:
        (dict column -> str object [N], "" where the file says nothing; number of examples that the file lacks).

    Raises:
        DataError: for a missing column, or a patient (and time) that stands twice.
    """
    with open(path, encoding="utf-8-sig") as file:
        header = [name.strip().strip('"') for name in file.readline().split(",")]
    with_times = "prediction_time" in header
    keys = ["patient_id", *(["prediction_time"] if with_times else [])]
    table = read_columns(path, [*keys, *columns])
    ids = table["patient_id"].to_pylist()
    if with_times:
        times = parse_times(table["prediction_time"], f"{path}: column prediction_time")
        own = predictions.prediction_times
    else:
        times, own = np.zeros(len(ids), np.int64), np.zeros(len(predictions), np.int64)
    place = _match(path, predictions.patient_ids, own, ids, times)
    groups = {}
    for name in columns:
        values = np.array([value or "" for value in table[name].to_pylist()], object)
        groups[name] = np.where(place >= 0, values[place] if len(values) else "", "")
    return groups, int((place < 0).sum())


def _match(path, ids, times, other_ids, other_times):
    """Places in the file; a patient may have several examples, and one row in the file."""
    keys, number = np.unique(np.array([f"{a}\x00{b}" for a, b in zip(ids, times, strict=True)]), return_inverse=True)
    if not len(keys):
        return np.zeros(0, np.int64)
    first = np.full(len(keys), -1, np.int64)
    first[number.reshape(-1)[::-1]] = np.arange(len(ids))[::-1]
    place = match_examples(
        np.asarray(ids, object)[first], np.asarray(times)[first], np.asarray(other_ids, object), other_times, str(path)
    )
    return place[number.reshape(-1)]


def choose_groups(wanted, of_records, predictions, groups_file=None):
    """The groups that a run asks for.

    Args:
        wanted: names of columns: `sex`, `age_band`, `year`, or columns of `groups_file`.
        of_records: dict column -> str [N] as `groups_of_records` gives, {} without records.
        predictions: `Predictions` with the same examples.
        groups_file: CSV, or None.

    Returns:
        (dict column -> str object [N]; sentences on examples without a group).

    Raises:
        DataError: for a column that is nowhere.
    """
    groups, notes = {}, []
    from_file = [name for name in wanted if name not in of_records and name not in OF_TIMES]
    if from_file and not groups_file:
        raise DataError(
            f"--subgroups: expected {', '.join([*of_records, *OF_TIMES])} or a column of --groups_file, "
            f"received {from_file[0]!r}"
        )
    read, lacking = read_groups(groups_file, from_file, predictions) if from_file else ({}, 0)
    if lacking:
        notes.append(f"{lacking} of {len(predictions)} examples are not in the groups file: group missing.")
    for name in wanted:
        if name in of_records:
            groups[name] = of_records[name]
        elif name in OF_TIMES:
            groups[name] = years(predictions.prediction_times)
        else:
            groups[name] = read[name]
    return groups, notes
