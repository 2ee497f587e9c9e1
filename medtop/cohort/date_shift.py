"""Dates of the stays table moved by each patient's own secret number of days, as de-identified notes are moved.

Everything of a patient moves alike (stays, birth, death, end of observation, given prediction times), so that visits,
intervals, ages and labels are those of the true dates: they are moved after all that looks at a calendar has looked.
"""

import pyarrow as pa

from medtop.files.errors import DataError
from medtop.files.keys import read_key
from medtop.files.sql import first_row

_LONGEST_AGE = 90


def key_of(source, outputs=()):
    """The key of `--shift_dates`, None without.

    Args:
        source: options with `shift_dates` and `key_file`.
        outputs: see `medtop.files.keys.read_key`.

    Raises:
        DataError: where one flag comes without the other; see `read_key`.
    """
    if source.shift_dates != bool(source.key_file):
        raise DataError(
            "--shift_dates needs --key_file" if source.shift_dates else "--key_file has no effect without --shift_dates"
        )
    return read_key(source.key_file, outputs) if source.shift_dates else None


def put_shifts(connection, key, ids):
    """Makes the table `date_shifts` (patient_id VARCHAR, days INTEGER) of a list of patients."""
    shifts = pa.table(
        {"patient_id": pa.array(ids, pa.string()), "days": pa.array(map(key.shift_days, ids), pa.int32())}
    )
    connection.register("shifts_in", shifts)
    connection.execute("CREATE OR REPLACE TEMP TABLE date_shifts AS SELECT * FROM shifts_in")
    connection.unregister("shifts_in")


def shift_stays(connection, key):
    """Moves `stays` and `patients` in place and leaves the table `date_shifts` (patient_id, days) for given times.

    Births are moved on to where the patient is 90 at the last discharge, where he or she is older: ages from 90 on are
    one class.

    Args:
        connection: DuckDB connection with the two tables.
        key: `medtop.files.keys.SecretKey`.

    Returns:
        dict of counts: `patients_with_shifted_dates`, and `ages_over_90_made_90` where there are any.
    """
    ids = [row[0] for row in connection.execute("SELECT patient_id FROM patients ORDER BY patient_id").fetchall()]
    put_shifts(connection, key, ids)
    old = f"last < birth + INTERVAL {_LONGEST_AGE + 1} YEAR"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE medtop_last AS SELECT patient_id, max(CAST(discharge AS DATE)) AS last "
        "FROM stays GROUP BY patient_id"
    )
    condition = f"patients.patient_id = medtop_last.patient_id AND NOT ({old})"
    aged = first_row(connection, f"SELECT count(*) FROM patients, medtop_last WHERE {condition}")[0]
    connection.execute(
        f"UPDATE patients SET birth = CAST(last - INTERVAL {_LONGEST_AGE} YEAR AS DATE) FROM medtop_last "
        f"WHERE {condition}"
    )
    moves = {"stays": ("admit", "discharge"), "patients": ("birth", "death", "observation_end")}
    for table, columns in moves.items():
        kinds = "TIMESTAMP" if table == "stays" else "DATE"
        changes = ", ".join(f"{name} = CAST({name} + to_days(days) AS {kinds})" for name in columns)
        connection.execute(
            f"UPDATE {table} SET {changes} FROM date_shifts WHERE {table}.patient_id = date_shifts.patient_id"
        )
    connection.execute("DROP TABLE medtop_last")
    return {"patients_with_shifted_dates": len(ids)} | ({"ages_over_90_made_90": aged} if aged else {})


def shift_times(connection):
    """Moves `read_times` as `shift_stays` moved the stays; nothing where it did not."""
    known = first_row(connection, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'date_shifts'")[0]
    if known:
        connection.execute(
            "UPDATE read_times SET time = time + to_days(days) FROM date_shifts "
            "WHERE read_times.patient_id = date_shifts.patient_id"
        )
