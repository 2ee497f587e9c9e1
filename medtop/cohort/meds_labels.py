"""Labels of the Medical Event Data Standard (MEDS 0.4) as prediction times: one label a file, or a folder of shards.

A row is a subject, a time up to and including which its data may be used, and a boolean value. The label is called as
its file (without `.parquet`) or its folder.
"""

from pathlib import Path

import duckdb

from medtop.cohort.given_tables import read_text_table
from medtop.files.errors import DataError
from medtop.files.sql import first_row, quote, quote_name

SUFFIX = ".parquet"
KNOWN = ("subject_id", "prediction_time", "boolean_value")
OTHERS = ("integer_value", "float_value", "categorical_value")


def is_meds(path):
    """Whether a value of `--prediction_times` names MEDS labels: Parquet files or folders, a comma list of them.

    >>> is_meds("labels/mortality.parquet,labels/readmission.parquet"), is_meds("times.csv")
    (True, False)
    """
    parts = [Path(part) for part in str(path).split(",")]
    return all(part.suffix.lower() == SUFFIX or part.is_dir() for part in parts)


def label_files(path):
    """The files of a value of `--prediction_times`: list of `Path`; one text file, or all Parquet files."""
    if not is_meds(path):
        return [Path(path)]
    return [file for files in _labels(path).values() for file in files]


def _labels(path):
    """Dict label -> its files, in the order given; shards in order of name."""
    labels = {}
    for part in map(Path, str(path).split(",")):
        files = sorted(part.rglob(f"*{SUFFIX}")) if part.is_dir() else [part]
        if not files or not all(file.is_file() for file in files):
            raise DataError(f"{part}: expected MEDS labels, a Parquet file or a folder of them, found none")
        name = part.resolve().name if part.is_dir() else part.stem
        if name in labels:
            raise DataError(f"--prediction_times: expected labels of different names, received {name!r} twice")
        labels[name] = files
    return labels


def read_meds_labels(connection, path, name, id_file=None):
    """Reads MEDS labels into the temporary table `name`, as `given_tables.read_text_table` would: text columns.

    Where all discharges of the table `stays` are bare dates, a midnight stands for its day, which is how such dates
    look in MEDS; elsewhere it is the instant.

    Args:
        connection: DuckDB connection with the table `stays`.
        path: value of `--prediction_times`.
        name: of the new table: patient_id, prediction_time, one column a label (1, 0, NULL), line (number of the row).
        id_file: table `patient_id,subject_id`, where patients are called otherwise; None where subject ids are theirs.

    Returns:
        list of the columns' names, without line.

    Raises:
        DataError: for a file that is no label file, or two rows of one subject and time that disagree.
    """
    dated = first_row(connection, "SELECT coalesce(bool_and(discharge::TIME >= TIME '23:59:59'), false) FROM stays")[0]
    labels = _labels(path)
    parts = [_read_label(connection, *entry[::-1], place) for place, entry in enumerate(labels.items())]
    with_values = [label for label, has_values in zip(labels, parts, strict=True) if has_values]
    stamp = "strftime(prediction_time, '%Y-%m-%d %H:%M:%S')"
    if dated:
        stamp = f"CASE WHEN prediction_time = date_trunc('day', prediction_time) THEN {stamp}[:10] ELSE {stamp} END"
    ids = "subject_id::VARCHAR"
    joined = ""
    if id_file:
        read_text_table(connection, id_file, "meds_subjects", ["patient_id", "subject_id"])
        _check_ids(connection, id_file)
        ids = "coalesce(meds_subjects.patient_id, 'subject ' || meds_rows.subject_id)"  # the latter names no patient
        joined = "LEFT JOIN meds_subjects ON meds_subjects.subject_id = meds_rows.subject_id::VARCHAR"
    columns = "".join(f", max({label}) AS {label}" for label in map(quote_name, with_values))
    union = " UNION ALL BY NAME ".join(f"SELECT * FROM meds_label_{place}" for place in range(len(parts)))
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {ids} AS patient_id, {stamp} AS prediction_time {columns}, "
        f"row_number() OVER (ORDER BY meds_rows.subject_id, prediction_time) AS line "
        f"FROM ({union}) AS meds_rows {joined} GROUP BY meds_rows.subject_id, patient_id, prediction_time"
    )
    return ["patient_id", "prediction_time", *with_values]


def _check_ids(connection, id_file):
    double = first_row(
        connection, "SELECT max(line) FROM meds_subjects GROUP BY subject_id HAVING count(*) > 1 ORDER BY 1 LIMIT 1"
    )
    if double:
        raise DataError(f"{id_file}: line {double[0]}: expected each subject_id once, received one again")


def _read_label(connection, files, label, place):
    """Makes the table `meds_label_<place>`; returns whether it has values."""
    if '"' in label or not label or label in KNOWN:
        raise DataError(f"{files[0]}: expected a label's name without quotes, received {label!r}")
    listed = "[" + ", ".join(quote(file) for file in files) + "]"
    try:
        relation = connection.sql(f"SELECT * FROM read_parquet({listed}, union_by_name = true) LIMIT 0")
        types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise DataError(f"{files[0]}: expected a Parquet file of MEDS labels, received another content") from error
    has_values = "boolean_value" in types
    if missing := [column for column in KNOWN[:2] if column not in types]:
        raise DataError(f"{files[0]}: expected MEDS labels with {missing[0]}, received {', '.join(types)[:200]}")
    if others := [column for column in OTHERS if column in types and not has_values]:
        raise DataError(
            f"{files[0]}: expected boolean_value, received {others[0]}: only labels of two classes are read"
        )
    if not types["prediction_time"].startswith("TIMESTAMP"):
        raise DataError(f"{files[0]}: expected prediction_time as a timestamp, received {types['prediction_time']}")
    value = f", boolean_value::BOOLEAN::INTEGER::VARCHAR AS {quote_name(label)}" if has_values else ""
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE meds_label_{place} AS SELECT DISTINCT subject_id, "
        f"prediction_time::TIMESTAMP AS prediction_time {value} FROM read_parquet({listed}, union_by_name = true)"
    )
    nulls, twice = first_row(
        connection,
        f"SELECT (SELECT count(*) FROM meds_label_{place} WHERE subject_id IS NULL OR prediction_time IS NULL), "
        f"(SELECT count(*) FROM (SELECT 1 FROM meds_label_{place} GROUP BY subject_id, prediction_time "
        "HAVING count(*) > 1))",
    )
    if nulls:
        raise DataError(
            f"{files[0]}: expected subject_id and prediction_time in each row, received {nulls} rows without"
        )
    if twice:
        raise DataError(f"{files[0]}: expected one value for a subject and time, received {twice} with two that differ")
    return has_values
