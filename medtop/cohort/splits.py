"""Which patient is for training, validation and test: by patient, always."""

import csv
import hashlib
from pathlib import Path

import numpy as np

from medtop.cohort.given_tables import read_text_table
from medtop.files.atomic import atomic_path
from medtop.files.bounded import lines
from medtop.files.errors import DataError
from medtop.files.shown import shown_headers
from medtop.files.sql import first_row, numbers
from medtop.sources.ids import normal_id, settle_ids
from medtop.sources.reading import parquet_sql
from medtop.sources.text_files import is_parquet

SPLITS = ("train", "valid", "test")
SHARES = (0.7, 0.1, 0.2)
"""Med-BERT's 7:1:2."""


def patient_hash(patient_id, seed):
    """Two independent 64-bit numbers from a patient's id and a seed: the halves of MD5 of "<seed>:<id>", big-endian.

    Used for spreading, not for security. The same in every SQL engine, on every machine, whatever other patients there
    are: a patient stays in its split when the data grow.
    """
    digest = hashlib.md5(f"{int(seed)}:{patient_id}".encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


def uniform(hashes):
    """Numbers in [0, 1) from uint64 hashes: their upper 53 bits, float64."""
    return (np.asarray(hashes, np.uint64) >> np.uint64(11)) * 2.0**-53


def split_by_hash(hashes):
    """Split of each patient: int8 [N], place in `SPLITS`.

    Args:
        hashes: uint64 [N], the first number of `patient_hash`.
    """
    return np.searchsorted(np.cumsum(SHARES)[:-1], uniform(hashes), side="right").astype(np.int8)


def assign_splits(patient_ids, seed):
    """Split of each patient id: list of "train", "valid" or "test"."""
    hashes = np.array([patient_hash(patient, seed)[0] for patient in patient_ids], np.uint64)
    return [SPLITS[place] for place in split_by_hash(hashes)]


def choose_splits(connection, splits, hashes, counts=None):
    """Split of each patient in order of `patient_index`: int8 [A], place in `SPLITS`; -1 for none.

    Args:
        splits: a file (`read_splits`); the name of a split that takes all patients, as new ones who are only scored; or
            None for the seeded hash.
        hashes: uint64 [A], the first number of `patient_hash`.
        counts: dict that gets what `medtop.sources.ids.settle_ids` changed in the file, or None.
    """
    if splits is None:
        return split_by_hash(hashes)
    if splits in SPLITS:
        return np.full(len(hashes), SPLITS.index(splits), np.int8)
    return read_splits(connection, splits, counts)


def read_splits(connection, path, counts=None):
    """Reads `patient_id,split` and joins it to the table `cohort_patients` (see `medtop.cohort.sorted_rows`).

    Returns:
        int8 [A], place in `SPLITS` for each patient in order of `patient_index`; -1 where the file does not hold them.

    Raises:
        DataError: for another split's name, or a patient in two splits; names the line.
    """
    if Path(path).is_file() and is_parquet(path):
        _read_meds_splits(connection, path)
    else:
        read_text_table(connection, path, "given_splits", ["patient_id", "split"])
    changed = settle_ids(connection, "given_splits")
    if counts is not None:
        counts |= changed
    names = ", ".join(f"'{name}'" for name in SPLITS)
    bad = first_row(
        connection,
        f"SELECT line FROM given_splits WHERE patient_id IS NULL OR split IS NULL "
        f"OR split NOT IN ({names}) ORDER BY line LIMIT 1",
    )
    if bad:
        raise DataError(
            f"{path}: line {bad[0]}: expected a patient and one of {', '.join(SPLITS)}, received another value"
        )
    double = first_row(
        connection,
        "SELECT max(line) FROM given_splits GROUP BY patient_id HAVING count(DISTINCT split) > 1 ORDER BY 1 LIMIT 1",
    )
    if double:
        raise DataError(f"{path}: line {double[0]}: expected each patient in one split, received a patient in two")
    places = connection.sql(
        f"SELECT coalesce(list_position([{names}], any_value(split)) - 1, -1)::TINYINT AS split FROM cohort_patients "
        "LEFT JOIN given_splits USING (patient_id) GROUP BY patient_index ORDER BY patient_index"
    ).to_arrow_table()
    return numbers(places["split"], np.int8)


def _read_meds_splits(connection, path):
    """Reads `metadata/subject_splits.parquet` of MEDS (train, tuning, held_out) as the table `given_splits`."""
    rows = connection.sql(f"SELECT * FROM {parquet_sql(path)}")
    if not {"subject_id", "split"} <= set(rows.columns):
        raise DataError(
            f"{path}: expected the columns subject_id and split of MEDS, received {', '.join(rows.columns)}"
        )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE given_splits AS SELECT CAST(subject_id AS VARCHAR) AS patient_id, CASE split "
        "WHEN 'tuning' THEN 'valid' WHEN 'held_out' THEN 'test' ELSE split END AS split, row_number() OVER () AS line "
        f"FROM {parquet_sql(path)}"
    )


def read_split_file(path):
    """Reads `patient_id,split` alone, where no cohort is at hand: dict patient id -> "train", "valid" or "test".

    Raises:
        DataError: for a missing file or column, another split's name, or a patient in two splits; names the line.
    """
    split_of = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(lines(file, path))
            header = [name.strip().lower() for name in next(reader, [])]
            if not {"patient_id", "split"} <= set(header):
                raise DataError(
                    f"{path}: line 1: expected columns patient_id, split, received {shown_headers(header, 80)}"
                )
            patient, split = header.index("patient_id"), header.index("split")
            for row in filter(None, reader):
                if len(row) <= max(patient, split) or not row[patient] or row[split] not in SPLITS:
                    raise DataError(
                        f"{path}: line {reader.line_num}: expected a patient and one of {', '.join(SPLITS)}, "
                        "received another value"
                    )
                if split_of.setdefault(normal_id(row[patient]), row[split]) != row[split]:
                    raise DataError(
                        f"{path}: line {reader.line_num}: expected each patient in one split, received a patient in two"
                    )
    except FileNotFoundError:
        raise DataError(f"{path}: expected a file of patient_id,split, found no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected UTF-8 CSV of patient_id,split, received another content") from error
    return split_of


def write_splits(path, chunks):
    """Writes `patient_id,split` in order of patient id, whole or not at all.

    Args:
        path: the file.
        chunks: iterable of (list of ids, int8 places in `SPLITS`), each id once.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write("patient_id,split\n")
        for patient_ids, places in chunks:
            names = patient_ids if _is_plain("".join(patient_ids)) else map(_quoted, patient_ids)
            lines = zip(names, map(SPLITS.__getitem__, places.tolist()), strict=True)
            file.write("".join(f"{line}\n" for line in map(",".join, lines)))


def _is_plain(text):
    return not any(letter in text for letter in ',"\r\n')


def _quoted(text):
    return text if _is_plain(text) else '"' + text.replace('"', '""') + '"'
