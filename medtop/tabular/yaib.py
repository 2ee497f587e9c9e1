"""YAIB's hourly intensive-care tables -> one row per stay: means of the first day, and what came after it.

YAIB (van de Water et al. 2024) writes a folder per task with `dyn.parquet` (one row per stay and hour), `sta.parquet`
(one row per stay) and `outc.parquet` (labels; the time is in seconds since admission).
"""

from pathlib import Path

import duckdb

from medtop.files.atomic import atomic_path
from medtop.files.errors import DataError
from medtop.files.shown import shown_error
from medtop.files.sql import quote

DAY = 24 * 3600
STATIC = ("age", "sex", "height", "weight")
TASKS = ("los", "mortality24", "kidney_function")


def write_table(folder, path, patients_file=None):
    """Writes a CSV with a row per stay of the task `los`.

    Columns: `stay_id`, `patient_id`; age, sex, height, weight; the mean of each hourly variable over the first 24
    hours; and the targets `los` (hours left after 24, capped by YAIB at 168), `mortality24` (death in the unit after
    the first day) and `kidney_function` (creatinine of the second day, mg/dL). A target is empty where YAIB has none.

    Args:
        folder: with the folders `los`, `mortality24` and `kidney_function`.
        path: CSV to write, whole or not at all.
        patients_file: MIMIC's ICUSTAYS (CSV, also .gz), which says whose stay it is; None: each stay for itself.

    Returns:
        number of rows.

    Raises:
        DataError: for a file that is missing or of another form.
    """
    files = {(task, part): Path(folder) / task / f"{part}.parquet" for task in TASKS for part in ("outc", "dyn", "sta")}
    needed = [files[task, "outc"] for task in TASKS] + [files["los", "dyn"], files["los", "sta"]]
    for file in [*needed, *([Path(patients_file)] if patients_file else [])]:
        if not file.is_file():
            raise DataError(f"{file}: expected a table of YAIB's or MIMIC's, found no such file")
    try:
        with duckdb.connect() as connection:
            return _write(connection, files, Path(path), patients_file)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise DataError(f"{folder}: expected YAIB's columns, received others ({shown_error(error)})") from error


def _write(connection, files, path, patients_file):
    hourly = connection.execute(f"SELECT * FROM {_table(files['los', 'dyn'])} LIMIT 0").description
    variables = [column[0] for column in hourly if column[0] not in ("stay_id", "time")]
    means = ", ".join(f"round(avg({name}), 6) AS {name}" for name in variables)
    patients = "SELECT stay_id, stay_id AS patient_id FROM statics"
    if patients_file:
        patients = f"SELECT icustay_id AS stay_id, subject_id AS patient_id FROM read_csv({quote(patients_file)})"
    query = f"""
        WITH statics AS (SELECT stay_id, {", ".join(STATIC)} FROM {_table(files["los", "sta"])}),
        hours AS (SELECT stay_id, {means} FROM {_table(files["los", "dyn"])} WHERE time < {DAY} GROUP BY stay_id),
        stays AS (SELECT stay_id, label AS los FROM {_table(files["los", "outc"])} WHERE time = {DAY}),
        deaths AS (SELECT stay_id, label AS mortality24 FROM {_table(files["mortality24", "outc"])}),
        kidneys AS (SELECT stay_id, label AS kidney_function FROM {_table(files["kidney_function", "outc"])}),
        people AS ({patients})
        SELECT stay_id, patient_id, {", ".join(STATIC)}, {", ".join(variables)}, los, mortality24, kidney_function
        FROM statics JOIN hours USING (stay_id) JOIN people USING (stay_id) LEFT JOIN stays USING (stay_id)
        LEFT JOIN deaths USING (stay_id) LEFT JOIN kidneys USING (stay_id) ORDER BY stay_id"""
    connection.execute(f"CREATE TABLE result AS {query}")
    with atomic_path(path) as temporary:
        connection.execute(f"COPY (SELECT * FROM result ORDER BY stay_id) TO {quote(temporary)} (FORMAT csv, HEADER)")
    return connection.execute("SELECT count(*) FROM result").fetchone()[0]


def _table(file):
    return f"read_parquet({quote(file)})"
