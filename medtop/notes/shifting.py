"""Dates of a run on notes moved by each patient's secret number of days, as de-identified texts and stays are moved.

They are moved after all that looks at a calendar has looked: which notes are read, labels and splits are those of the
true dates; notes whose dates have been moved before are moved back for it.
"""

import numpy as np

from medtop.cohort.date_shift import put_shifts
from medtop.files.sql import numbers

_DAY = 86_400


def put_patients_shifts(connection, key):
    """Makes `date_shifts` of the patients of `admissions`; returns how many there are."""
    rows = connection.execute("SELECT DISTINCT patient_id FROM admissions ORDER BY patient_id").fetchall()
    put_shifts(connection, key, [row[0] for row in rows])
    return len(rows)


def move_notes_back(connection):
    """Moves `notes` to their true dates; those of patients without an admission stay, they are not read."""
    changes = ", ".join(
        f"{name} = CAST({name} - to_days(days) AS {kind})"
        for name, kind in (("known_at", "TIMESTAMP"), ("day", "DATE"), ("stored", "TIMESTAMP"))
    )
    connection.execute(f"UPDATE notes SET {changes} FROM date_shifts WHERE notes.patient_id = date_shifts.patient_id")


def move_outputs(connection, chosen):
    """Moves `examples`, `admissions` and the times of the chosen notes in place.

    Args:
        connection: DuckDB connection with `date_shifts`.
        chosen: `medtop.notes.choice.ChosenNotes`.
    """
    table = connection.sql(
        "SELECT days FROM examples JOIN date_shifts USING (patient_id) ORDER BY place"
    ).to_arrow_table()
    chosen.times = chosen.times + numbers(table["days"], np.int32).astype(np.int64)[chosen.examples] * _DAY
    for name, columns in (
        ("examples", ("prediction_time", "admit", "discharge")),
        ("admissions", ("admit", "discharge")),
    ):
        changes = ", ".join(f"{column} = {column} + to_days(days)" for column in columns)
        connection.execute(
            f"UPDATE {name} SET {changes} FROM date_shifts WHERE {name}.patient_id = date_shifts.patient_id"
        )
