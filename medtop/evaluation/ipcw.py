"""Discrimination corrected for censoring: AUROC with inverse-probability-of-censoring weights.

Among the known labels early events are too many: an event is known although observation ends before the horizon, its
absence is not. Weights stand for those who were lost: an element known on day d after the prediction (day of the event
or of death, or the horizon) counts `1 / G(d)`, G the Kaplan-Meier estimate of being observed on day d, over all who
were at risk (Uno et al., JASA 2007; Hung and Chiang 2010). It estimates the AUROC in all at risk, if the end of
observation tells nothing of the outcome; a death without event is a negative, as in the labels.

Letters: E elements, R resamples.
"""

import csv
import re

import numpy as np

from medtop.evaluation.bootstrap import interval, resample_counts
from medtop.files.bounded import reading_csv, whole_number
from medtop.files.errors import DataError

COLUMNS = ("patient_id", "prediction_time", "endpoint", "days", "end")
ENDS = ("event", "death", "censored")
NAME = "roc_auc_ipcw"


def censoring_weights(days, ends, horizon):
    """Weights of the elements at a horizon; 0 where observation ends before the horizon without event or death.

    An event or a death on the last observed day is seen: on each day, censoring comes after them.

    Args:
        days: int64 [E], days to the end of each.
        ends: int [E], places in `ENDS`.
        horizon: days.

    Returns:
        float64 [E].

    >>> days, ends = np.array([1, 2, 2, 4, 3, 5]), np.array([0, 2, 0, 2, 1, 0])
    >>> [round(weight, 4) for weight in censoring_weights(days, ends, 3).tolist()]
    [1.0, 0.0, 1.0, 1.3333, 1.3333, 1.3333]
    """
    longest = int(max(days.max(initial=0), horizon)) + 1
    ended = np.bincount(days, minlength=longest + 1)
    lost = np.bincount(days[ends == ENDS.index("censored")], minlength=longest + 1)
    at_risk = ended[::-1].cumsum()[::-1] - (ended - lost)  # whose censoring could be seen on that day
    observed = np.concatenate([[1.0], np.cumprod(1 - lost / np.maximum(at_risk, 1))[:-1]])
    until = np.minimum(days, horizon)
    known = (ends != ENDS.index("censored")) | (days >= horizon)
    return np.where(known, 1 / np.maximum(observed[until], 1e-12), 0.0)


def weighted_auroc(scores, targets, weights):
    """AUROC in which a pair counts the product of its weights, ties half.

    Args:
        scores: float [E].
        targets: bool [E].
        weights: float [E, R].

    Returns:
        float64 [R], NaN where one class has no weight.
    """
    _, place = np.unique(scores, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    positive = np.add.reduceat(np.where(targets[:, None], weights, 0)[order], starts)
    negative = np.add.reduceat(np.where(targets[:, None], 0, weights)[order], starts)
    below = np.cumsum(negative, 0) - negative
    total = positive.sum(0) * negative.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (positive * (below + 0.5 * negative)).sum(0) / np.where(total > 0, total, np.nan)


def read_follow_up(path):
    """`<prefix>.follow_up.csv` of preprocess_pretrain_data.py: dict endpoint -> {(patient_id, time): (days, end)}.

    Raises:
        DataError: for other columns or values.
    """
    ends = {name: place for place, name in enumerate(ENDS)}
    table = {}
    with reading_csv(path), open(path, encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        if tuple(next(reader, ())) != COLUMNS:
            raise DataError(f"{path}: line 1: expected the columns {','.join(COLUMNS)}")
        for row in reader:
            if len(row) != len(COLUMNS) or row[4] not in ends or not re.fullmatch("[0-9]{1,9}", row[3]):
                raise DataError(f"{path}: line {reader.line_num}: expected days and one of {', '.join(ENDS)}")
            table.setdefault(row[2], {})[row[0], row[1]] = int(row[3]), ends[row[4]]
    return table


def add_ipcw(clinical, predictions, probabilities, table, *, num_bootstrap=1000, seed=0):
    """Adds the measure `roc_auc_ipcw` to the entries of labels `<endpoint>_<horizon>` whose examples are in the table.

    G is estimated once, on all evaluated examples at risk; intervals resample patients with their weights.

    Args:
        clinical: dict label -> entry of `clinical_measures`; changed in place.
        predictions: `Predictions`.
        probabilities: float [N, K].
        table: of `read_follow_up`.

    Returns:
        list of sentences: known examples that the table lacks, by label.
    """
    patients = np.asarray(predictions.patient_ids, str)
    times = np.datetime_as_string(predictions.prediction_times.astype("datetime64[s]"))
    keys = list(zip(patients.tolist(), times.tolist(), strict=True))
    _, number = np.unique(patients, return_inverse=True)
    notes = []
    for place, label in enumerate(predictions.labels):
        endpoint, _, horizon = label.rpartition("_")
        if endpoint not in table or (whole_number(horizon) or 0) < 1:
            continue
        rows = np.array([row for row, key in enumerate(keys) if key in table[endpoint]], np.int64)
        missing = int(predictions.known[:, place].sum() - predictions.known[rows, place].sum())
        if missing:
            notes.append(f"{label}: {missing:,} known examples are not in --follow_up and take no part in {NAME}.")
        days, ends = np.array([table[endpoint][keys[row]] for row in rows], np.int64).reshape(-1, 2).T
        weights = (censoring_weights(days, ends, int(horizon)) * predictions.known[rows, place])[:, None]
        parts = np.asarray(probabilities)[rows, place], predictions.targets[rows, place] > 0
        value = weighted_auroc(*parts, weights)[0]
        blocks = resample_counts(int(number.max()) + 1, num_bootstrap, seed, rows=len(rows))
        drawn = [weighted_auroc(*parts, weights * counts[number[rows]]) for counts in blocks]
        low, high = interval(value, np.concatenate([*drawn, np.zeros(0)]))
        shown = float(value) if np.isfinite(value) else None
        clinical[label]["measures"][NAME] = {"value": shown, "low": low, "high": high}
    return notes
