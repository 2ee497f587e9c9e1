"""`<prefix>.follow_up.csv`: how the time after each prediction ends, for each endpoint, of those who were at risk.

Rows: patient_id, prediction_time, endpoint, days, end (event, death, censored). It holds outcomes of patients, as the
lists do. `medtop.evaluation.ipcw` reads it.
"""

import csv

import numpy as np

ENDS = ("event", "death", "censored")
"""By number, `medtop.cohort.followup`."""
FOLLOW_UP_COLUMNS = {"end_days": np.int32, "end_kinds": np.int8}
"""Of spilled examples, [E, K] each; kind -1 where nobody was at risk."""
HEADER = ("patient_id", "prediction_time", "endpoint", "days", "end")
_ROWS = 50_000


def follow_up_columns(ends):
    """Columns to spill: dict of arrays [E, K].

    Args:
        ends: `medtop.cohort.followup.FollowUp`.
    """
    return {
        "end_days": ends.days.astype(np.int32),
        "end_kinds": np.where(ends.at_risk, ends.kinds, -1).astype(np.int8),
    }


def write_follow_up(path, spilled, names, endpoints):
    """Writes the file.

    Args:
        path: the CSV file.
        spilled: list of `medtop.cohort.spill.ColumnFiles`, one a split.
        names: function of places of patients -> list of ids.
        endpoints: names of the endpoints, K.
    """
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for files in spilled:
            files.rewind()
            while len(patients := files.read("patients", _ROWS)):
                times = files.read("prediction_times", len(patients)).astype("datetime64[s]")
                days, kinds = (
                    files.read(name, len(patients) * len(endpoints)).reshape(-1, len(endpoints))
                    for name in FOLLOW_UP_COLUMNS
                )
                ids, times = names(patients), np.datetime_as_string(times).tolist()
                rows, places = np.nonzero(kinds >= 0)
                writer.writerows(
                    (ids[row], times[row], endpoints[place], int(days[row, place]), ENDS[kinds[row, place]])
                    for row, place in zip(rows.tolist(), places.tolist(), strict=True)
                )
