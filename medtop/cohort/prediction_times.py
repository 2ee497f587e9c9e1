"""When each patient's risk is predicted. Features hold what is known by then; labels look at what follows.

Letters: P patients of a batch, S their visits, E examples (a patient and a prediction time), K label columns.
"""

import dataclasses

import numpy as np

from medtop.cohort.date_shift import shift_times
from medtop.cohort.given_tables import read_text_table
from medtop.cohort.meds_labels import is_meds, read_meds_labels
from medtop.cohort.splits import uniform
from medtop.cohort.visits import DAY, UNKNOWN_DAY, ranges
from medtop.files.errors import DataError
from medtop.files.sql import first_row, numbers, quote_name
from medtop.sources.dates import DateRules, has_offset_sql, is_bare_sql, is_sentinel_sql, timestamp_sql
from medtop.sources.ids import settle_ids
from medtop.sources.unusable import check_columns

INDEXES = ("random_visit", "lineage", "none")
KEPT = ""
REASONS = (
    KEPT,
    "not_in_splits_file",
    "fewer_than_min_visits",
    "stay_ends_in_death",
    "endpoint_in_first_visit",
    "no_prediction_time",
    "no_stay_by_prediction_time",
    "death_before_prediction_time",
    "outside_period",
    "no_site",
    "sites_of_several_splits",
)
"""Why a patient, or a given prediction time, is left out; the place in this tuple is the reason's number."""

CARRIED = ("admission_id", "reason")
"""Columns of a file of prediction times that are no labels: they are there for those who read it."""

_NUMBER = {reason: number for number, reason in enumerate(REASONS)}


@dataclasses.dataclass
class TimesChoice:
    """The examples of a batch of patients.

    Attributes:
        slots: int64 [E], place of the patient within the batch, ascending.
        times: int64 [E], prediction time, seconds since 1970-01-01; a bare date as its midnight.
        known_until: int64 [E], last instant that features may know: the prediction time, or, where it is a bare date,
            the last second of that day.
        reasons: int8 [P], place in `REASONS`; 0 for patients with an example.
        given: int64 [E], row of `GivenTimes` of each example, or None.
        time_reasons: int8 [rows of this batch], reason for each given row, or None.
    """

    slots: np.ndarray
    times: np.ndarray
    known_until: np.ndarray
    reasons: np.ndarray
    given: np.ndarray | None = None
    time_reasons: np.ndarray | None = None


def _choice(visits, picked, reasons):
    """One example for each patient without a reason, at the discharge of its picked visit."""
    slots = np.flatnonzero(reasons == 0)
    visits_of = picked[slots]
    return TimesChoice(slots, visits.discharge_times[visits_of], visits.discharges[visits_of], reasons)


def leave_out(choice, patients, reason):
    """`choice` without some patients.

    Args:
        choice: `TimesChoice`.
        patients: bool [P], which to leave out.
        reason: one of `REASONS`; replaces the reason they may have had.
    """
    if not patients.any():
        return choice
    kept = ~patients[choice.slots]
    return dataclasses.replace(
        choice,
        slots=choice.slots[kept],
        times=choice.times[kept],
        known_until=choice.known_until[kept],
        reasons=np.where(patients, _NUMBER[reason], choice.reasons).astype(np.int8),
        given=None if choice.given is None else choice.given[kept],
    )


def last_visits(visits, inside=None):
    """`--index=none`: the whole history, up to the last discharge; with `inside` (bool [S]) the last one there."""
    if inside is None:
        return _choice(visits, visits.starts[1:] - 1, np.zeros(len(visits.patients), np.int8))
    last = np.maximum.reduceat(np.where(inside, np.arange(len(inside)), -1), visits.starts[:-1])
    reasons = np.where(last >= 0, 0, _NUMBER["outside_period"]).astype(np.int8)
    return _choice(visits, np.maximum(last, 0), reasons)


def random_visits(visits, hashes, deaths, min_visits, inside=None):
    """`--index=random_visit`: the discharge of a visit drawn evenly from the eligible ones, whatever follows.

    Eligible is a visit with at least `min_visits` visits discharged up to its own discharge, at which the patient does
    not die: the date of death is unknown or after the date of discharge.

    Args:
        visits: `Visits`.
        hashes: uint64 [P], decides which of its eligible visits a patient gets.
        deaths: int32 [P], days, `UNKNOWN_DAY` where unknown.
        min_visits: at least 1.
        inside: bool [S], visits that may be drawn (`medtop.cohort.periods`), or None for all.
    """
    enough = visits.count_until(visits.slots, visits.discharges) >= min_visits
    death = deaths[visits.slots]
    eligible = enough & ((death == UNKNOWN_DAY) | (death > visits.discharge_days))
    patients = len(visits.patients)
    numbers = np.bincount(visits.slots[eligible], minlength=patients)
    drawable = numbers if inside is None else np.bincount(visits.slots[eligible & inside], minlength=patients)
    anything = np.bincount(visits.slots[enough], minlength=patients) > 0
    reasons = np.where(
        anything, np.where(numbers > 0, 0, _NUMBER["stay_ends_in_death"]), _NUMBER["fewer_than_min_visits"]
    )
    if inside is not None:
        reasons = np.where((reasons == 0) & (drawable == 0), _NUMBER["outside_period"], reasons)
        eligible, numbers = eligible & inside, drawable
    before = np.cumsum(numbers) - numbers
    wanted = before + np.minimum((uniform(hashes) * numbers).astype(np.int64), numbers - 1)
    picked = np.zeros(patients, np.int64)
    some = numbers > 0
    picked[some] = np.flatnonzero(eligible)[wanted[some]]
    return _choice(visits, picked, reasons.astype(np.int8))


def lineage_visits(visits):
    """`--index=lineage`: top-BERT's rule, which looks at the outcome: the last visit before the first endpoint (of any
    kind; discharged earlier than the visit that carries it), or the last visit where no endpoint occurs."""
    stop = visits.starts[1:].copy()
    places = np.flatnonzero(visits.endpoint_codes != 0)
    slots, first = np.unique(visits.slots[places], return_index=True)
    visit = places[first]
    stop[slots] = visits.starts[slots] + visits.count_until(slots, visits.discharges[visit] - 1)
    reasons = np.where(stop > visits.starts[:-1], 0, _NUMBER["endpoint_in_first_visit"])
    return _choice(visits, np.maximum(stop - 1, visits.starts[:-1]), reasons.astype(np.int8))


@dataclasses.dataclass
class GivenTimes:
    """Prediction times and labels from a user's file, in order of patient and time.

    Attributes:
        patients: int32 [N], place in the table of patients.
        times, known_until: int64 [N], see `TimesChoice`.
        tasks: dict task -> list of label names, from the label columns.
        labels: dict task -> float32 [N, K], NaN where unknown.
        report: dict for the manifest: rows, and rows left out by reason.
    """

    patients: np.ndarray
    times: np.ndarray
    known_until: np.ndarray
    tasks: dict
    labels: dict
    report: dict


def given_times(visits, given, deaths, in_period=None):
    """Examples at the times of a file; a patient without any is left out.

    A time before the first discharge has no history, and one on a day after the patient's death is a mistake: both are
    left out and counted.

    Args:
        visits: `Visits`.
        given: `GivenTimes`.
        deaths: int32 [P], days, `UNKNOWN_DAY` where unknown.
        in_period: function (days [N], slots [N]) -> bool [N]; other times are left out. None for all.
    """
    low, high = (np.searchsorted(given.patients, visits.patients, side=side) for side in ("left", "right"))
    slots = np.repeat(np.arange(len(visits.patients)), high - low)
    rows = ranges(low, high - low)
    death = deaths[slots]
    dead = (death != UNKNOWN_DAY) & (death < given.times[rows] // DAY)
    empty = visits.count_until(slots, given.known_until[rows]) == 0
    time_reasons = np.where(
        empty, _NUMBER["no_stay_by_prediction_time"], np.where(dead, _NUMBER["death_before_prediction_time"], 0)
    ).astype(np.int8)
    if in_period is not None:
        outside = (time_reasons == 0) & ~in_period(given.times[rows] // DAY, slots)
        time_reasons[outside] = _NUMBER["outside_period"]
    reasons = np.full(len(visits.patients), _NUMBER["no_prediction_time"], np.int8)
    for reason in (
        "outside_period",
        "death_before_prediction_time",
        "no_stay_by_prediction_time",
        KEPT,
    ):  # the last one that holds stays
        reasons[slots[time_reasons == _NUMBER[reason]]] = _NUMBER[reason]
    kept = time_reasons == 0
    rows = rows[kept]
    return TimesChoice(slots[kept], given.times[rows], given.known_until[rows], reasons, rows, time_reasons)


def read_given_times(connection, path, dates=None, subject_ids=None, accepted=()):
    """Reads `patient_id,prediction_time[,labels]` and joins it to the table `cohort_patients`.

    A time is a date (the whole day is known; it is stored as its midnight) or a date and time; times that are all
    midnight are dates. Label columns are called `<task>` or `<task>.<label>` and hold 1, 0 or nothing (unknown). Rows
    of one patient and time are one example. Times that stand for missing ones, or lie in the future, are left out and
    counted.

    Args:
        connection: DuckDB connection.
        path: the file, or MEDS labels (`medtop.cohort.meds_labels`), whose times are instants.
        dates: `medtop.sources.dates.DateRules` of the cohort; its `date_format` is not meant for this file.
        subject_ids: file that maps the subjects of MEDS labels to patients, or None.
        accepted: `--accept_unusable`; with `prediction_time` more than half of the times may be left out so.

    Raises:
        DataError: for a time or label that cannot be read, two rows of one patient and time whose labels differ, or
            more than half of the times left out that nobody accepted.
    """
    meds = is_meds(path)
    if meds:
        columns = read_meds_labels(connection, path, "given_times", subject_ids)
    else:
        columns = read_text_table(connection, path, "given_times", ["patient_id", "prediction_time"])
    tasks, sources = _label_columns(
        [name for name in columns if name not in ("patient_id", "prediction_time", *CARRIED)], path
    )
    counts = settle_ids(connection, "given_times")
    dates = dataclasses.replace(dates or DateRules(), date_format=None, two_digit_years_from=None)
    stamp = timestamp_sql("prediction_time", dates)
    _check_values(connection, path, stamp, sum(sources.values(), []))
    labels = [
        f"coalesce(TRY_CAST({quote_name(source)} AS FLOAT), 'nan'::FLOAT) AS label_{number}"
        for number, source in enumerate(sum(sources.values(), []))
    ]
    counts |= _read_times(connection, stamp, dates, labels, meds)
    wrong = {name: counts.pop(name) for name in ("time_sentinel", "time_in_future") if name in counts}
    rows, unknown, outside = first_row(
        connection,
        "SELECT count(*), "
        "count(*) FILTER (patient_index IS NULL AND patient_id NOT IN (SELECT patient_id FROM patients)), "
        "count(*) FILTER (patient_index IS NULL) FROM cohort_times JOIN given_times USING (line)",
    )
    total = rows + sum(wrong.values())
    check_columns(path, {"prediction_time": sum(wrong.values())}, {"prediction_time": total}, accepted)
    table = _distinct_times(connection, path, len(labels))
    arrays = {
        name: numbers(table[name], dtype)
        for name, dtype in (("patient_index", np.int32), ("time", np.int64), ("known_until", np.int64))
    }
    report = {
        "file": str(path),
        "rows": total,
        "repeated_rows": rows - outside - table.num_rows,
        "rows_dropped": {"patient_without_stays": unknown, "not_in_subset": outside - unknown, **wrong},
        "counts": counts,
    }
    places = iter(range(len(labels)))
    arrays_of = {
        task: np.stack([numbers(table[f"label_{next(places)}"], np.float32) for _ in names], 1)
        for task, names in tasks.items()
    }
    return GivenTimes(arrays["patient_index"], arrays["time"], arrays["known_until"], tasks, arrays_of, report)


def _check_values(connection, path, stamp, sources):
    """Refuses rows without a patient or a readable time, and labels that are no 1, 0 or nothing."""
    _refuse(
        connection,
        path,
        f"patient_id IS NULL OR {stamp} IS NULL",
        "expected a patient and a prediction time such as 2014-03-26 or 2014-03-26 17:15:00, received another value",
    )
    for source in sources:
        column = quote_name(source)
        _refuse(
            connection,
            path,
            f"{column} IS NOT NULL AND coalesce(TRY_CAST({column} AS DOUBLE) NOT IN (0, 1), true)",
            f"column {source}: expected 1, 0 or nothing, received another value",
        )


def _distinct_times(connection, path, num_labels):
    """Arrow table of the known patients' times and labels, each once; refuses a time whose labels differ."""
    values = "".join(f", label_{number}" for number in range(num_labels))
    double = first_row(
        connection,
        f"SELECT max(line) FROM (SELECT DISTINCT patient_index, time, known_until{values}, "
        "max(line) OVER (PARTITION BY patient_index, time) AS line FROM cohort_times WHERE patient_index IS NOT NULL) "
        "GROUP BY patient_index, time HAVING count(*) > 1 ORDER BY 1 LIMIT 1",
    )
    if double:
        raise DataError(
            f"{path}: line {double[0]}: expected one row for a patient and prediction time, or equal ones; "
            "received two that differ"
        )
    return connection.sql(
        f"SELECT DISTINCT patient_index, time, known_until{values} FROM cohort_times "
        "WHERE patient_index IS NOT NULL ORDER BY patient_index, time"
    ).to_arrow_table()


def _read_times(connection, stamp, dates, labels, instants=False):
    """Makes `cohort_times` (with `instants` midnights are no dates); returns dict name -> rows that were left out or
    read in a way to know of."""
    bare, future = is_bare_sql("prediction_time", dates), f"time >= TIMESTAMP '{dates.latest}'"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE read_times AS SELECT patient_id, {stamp} AS time, {bare} AS bare, "
        f"{has_offset_sql('prediction_time', dates)} AS with_offset, line{''.join(', ' + label for label in labels)} "
        "FROM given_times"
    )
    sentinel = is_sentinel_sql("time", dates)
    sentinels, late, offsets, midnights, others = first_row(
        connection,
        f"SELECT count(*) FILTER ({sentinel}), count(*) FILTER (NOT {sentinel} AND {future}), "
        "count(*) FILTER (with_offset), count(*) FILTER (NOT bare AND time = date_trunc('day', time)), "
        "count(*) FILTER (time <> date_trunc('day', time)) FROM read_times",
    )
    taken = 0 if others or instants else midnights
    if taken:
        connection.execute("UPDATE read_times SET bare = true")
    connection.execute(f"DELETE FROM read_times WHERE {sentinel} OR {future}")
    shift_times(connection)
    values = "".join(f", label_{number}" for number in range(len(labels)))
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE cohort_times AS SELECT patient_index, epoch(time)::BIGINT AS time, "
        f"epoch(time)::BIGINT + CASE WHEN bare THEN {DAY - 1} ELSE 0 END AS known_until, "
        f"line{values} FROM read_times LEFT JOIN cohort_patients USING (patient_id)"
    )
    counts = {"time_sentinel": sentinels, "time_in_future": late, "times_with_offset": offsets}
    counts["times_at_midnight_taken_for_dates"] = taken
    return {name: count for name, count in counts.items() if count}


def _label_columns(columns, path):
    """(dict task -> label names, dict task -> columns) from the names `<task>` or `<task>.<label>`."""
    tasks, sources = {}, {}
    for column in columns:
        task, _, label = column.partition(".")
        if not task or (not label and "." in column) or '"' in column:
            raise DataError(
                f"{path}: line 1: expected label columns called <task> or <task>.<label>, received {column!r}"
            )
        tasks.setdefault(task, []).append(label or task)
        sources.setdefault(task, []).append(column)
    for task, labels in tasks.items():
        if len(set(labels)) < len(labels):
            raise DataError(f"{path}: line 1: expected distinct labels of task {task}, received {', '.join(labels)}")
    return tasks, sources


def _refuse(connection, path, condition, message):
    line = first_row(connection, f"SELECT min(line) FROM given_times WHERE {condition}")[0]
    if line is not None:
        raise DataError(f"{path}: line {line}: {message}")
