"""Predictions in the Medical Event Data Standard (MEDS 0.4): one Parquet file per label, as meds-evaluation reads."""

import re

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from medtop.files.atomic import atomic_path

SCHEMA = pa.schema(
    [
        ("subject_id", pa.int64()),
        ("prediction_time", pa.timestamp("us")),
        ("boolean_value", pa.bool_()),
        ("predicted_boolean_value", pa.bool_()),
        ("predicted_boolean_probability", pa.float32()),
    ]
)
ID_FILE = "subject_ids.csv"


def subject_ids(patient_ids):
    """MEDS's whole numbers for patient ids: the ids themselves where all are whole numbers in their plain form.

    Args:
        patient_ids: str [N].

    Returns:
        (int64 [N]; None, or the distinct ids [A] in text order, whose places the numbers are).
    """
    names, number = np.unique(np.asarray(patient_ids, str), return_inverse=True)
    plain = all(re.fullmatch(r"0|-?[1-9][0-9]{0,17}", name) for name in names)
    if plain:
        return np.asarray(patient_ids, str).astype(np.int64), None
    return number.reshape(-1).astype(np.int64), names


def write_meds_predictions(folder, results, threshold=0.5):
    """Writes `<task>.<label>.parquet` for each label: known examples only, for a MEDS label cannot be unknown.

    Where the patient ids are no whole numbers, subject ids count the patients of the task in text order, and
    `<task>.subject_ids.csv` says which is which.

    Args:
        folder: a new folder.
        results: dict task -> (`Predictions`, probabilities float64 [N, K]).
        threshold: of `predicted_boolean_value`.

    Returns:
        list of the files' paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for task, (predictions, probabilities) in results.items():
        numbers, names = subject_ids(predictions.patient_ids)
        if names is not None:
            rows = "".join(f'"{name.replace(chr(34), chr(34) * 2)}",{place}\n' for place, name in enumerate(names))
            with atomic_path(folder / f"{_plain(task)}.{ID_FILE}") as temporary:
                temporary.write_text("patient_id,subject_id\n" + rows, encoding="utf-8")
        for place, label in enumerate(predictions.labels):
            known = predictions.known[:, place]
            chosen = probabilities[known, place]
            columns = [
                numbers[known],
                predictions.prediction_times[known] * 1_000_000,
                predictions.targets[known, place] > 0,
                chosen >= threshold,
                chosen.astype(np.float32),
            ]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
            path = folder / f"{_plain(task)}.{_plain(label)}.parquet"
            with atomic_path(path) as temporary:
                parquet.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), temporary)
            paths.append(path)
    return paths


def _plain(name):
    """A name as a file may have it."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)
