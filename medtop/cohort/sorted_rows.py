"""The stays table as integers, sorted by patient and time, in batches of whole patients.

All SQL of the cohort stands here: two dictionaries (patients, codes), one join, one sort. What follows is NumPy on
patient-sorted batches and does not care who sorted them.
"""

import dataclasses

import numpy as np
import pyarrow

from medtop.cohort.visits import UNKNOWN_DAY, segment_starts
from medtop.files.sql import first_row, has_values, numbers, quote

BATCH_ROWS = 131_072
"""Rows at a time, about; any number gives the same visits. This many fit a processor's cache column by column."""

_EXPORTED_ROWS = """
SELECT patient_index, epoch_us(admit) AS admit, epoch_us(discharge) AS discharge, code_index, stay_id,
       (hash(stay_id)::HUGEINT - 9223372036854775808)::BIGINT AS stay, order_1, order_2, order_3,
       coalesce(present_on_admission = 'N', false)::TINYINT AS acquired
FROM stays JOIN cohort_patients USING (patient_id) JOIN cohort_codes USING (code) {living}
"""
"""Without unsigned numbers, which other engines lack."""

_PATIENT_TYPES = {
    "birth": np.int32,
    "death": np.int32,
    "observation_end": np.int32,
    "sex": np.int8,
    "high": np.uint64,
    "low": np.uint64,
}

_PATIENTS = """
CREATE OR REPLACE TEMP TABLE cohort_patients AS
SELECT *, (row_number() OVER (ORDER BY {order}) - 1)::INTEGER AS patient_index
FROM (SELECT *, md5('{seed}:' || patient_id) AS digest FROM patients {sample})
"""

_CODES = """
CREATE OR REPLACE TEMP TABLE cohort_codes AS
SELECT code, (row_number() OVER (ORDER BY code) - 1)::INTEGER AS code_index, count AS code_rows
FROM ({counted})
"""

_SORTED_ROWS = """
SELECT patient_index, admit, discharge, code_index {extra}
FROM (SELECT patient_index, admit, discharge, code_index, stay_id, present_on_admission, order_1, order_2, order_3,
             stays.rowid AS place
      FROM stays JOIN cohort_patients USING (patient_id) JOIN cohort_codes USING (code) {living})
ORDER BY {order}
"""

_AFTER_DEATH = "admit::DATE > death"

_ROWS_AFTER_DEATH = f"""
WITH late AS (
    SELECT patient_index, count(*) AS late_rows FROM stays JOIN cohort_patients USING (patient_id)
    WHERE {_AFTER_DEATH} GROUP BY patient_index),
every AS (
    SELECT patient_index, count(*) AS rows FROM stays JOIN cohort_patients USING (patient_id)
    WHERE patient_index IN (SELECT patient_index FROM late) GROUP BY patient_index)
SELECT coalesce(sum(late_rows), 0)::BIGINT, count(*), count(*) FILTER (late_rows = rows)
FROM late JOIN every USING (patient_index)
"""

_ORDERS = {
    "stay": "patient_index, discharge, admit, {stay_id} order_1, order_2, order_3, code_index",
    "discharge_date": "patient_index, discharge::DATE, order_1, order_2, order_3, "
    "discharge, admit, {stay_id} code_index",
    "medbert": "patient_index, discharge::DATE, order_1, order_2, order_3, place",
}


@dataclasses.dataclass
class Patients:
    """The cohort's patients in order of id (numeric where all ids are whole numbers, else as text).

    Attributes:
        ids: pyarrow string array [A].
        numeric: whether all ids are whole numbers.
        births, deaths, observation_ends: int32 [A], days since 1970-01-01, `UNKNOWN_DAY` where unknown.
        sexes: int8 [A], place in `medtop.cohort.pickled_lists.SEXES`.
        hashes: uint64 [A, 2], two independent numbers from id and seed (for the split, for the choice of visit).
    """

    ids: object
    numeric: bool
    births: np.ndarray
    deaths: np.ndarray
    observation_ends: np.ndarray
    sexes: np.ndarray
    hashes: np.ndarray

    def __len__(self):
        return len(self.births)

    def names(self, places):
        """The ids at `places` (integers) as a list of strings. (Arrow's `take` imports `pyarrow.compute`, 0.05 s.)"""
        _, offsets, text = self.ids.buffers()
        offsets = np.frombuffer(offsets, np.int32 if self.ids.type == pyarrow.string() else np.int64)
        places = np.asarray(places) + self.ids.offset
        sizes = offsets[places + 1] - offsets[places]
        begins = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        letters = np.repeat(offsets[places] - begins[:-1], sizes) + np.arange(begins[-1])
        taken = np.frombuffer(text, np.uint8)[letters]
        buffers = [None, pyarrow.py_buffer(begins), pyarrow.py_buffer(taken)]
        return pyarrow.Array.from_buffers(pyarrow.large_string(), len(places), buffers).to_pylist()


def load_patients(connection, seed, subset_size=0):
    """Numbers the patients (table `cohort_patients`) and returns their `Patients`.

    Args:
        subset_size: how many patients to keep, 0 for all: those with the smallest seeded hash, so that a larger
            sample contains a smaller one.
    """
    numeric = first_row(connection, "SELECT bool_and(regexp_full_match(patient_id, '-?[0-9]{1,18}')) FROM patients")[0]
    sample = (
        f"ORDER BY md5('subset:{int(seed)}:' || patient_id), patient_id LIMIT {int(subset_size)}" if subset_size else ""
    )
    order = "patient_id::BIGINT, patient_id" if numeric else "patient_id"
    connection.execute(_PATIENTS.format(seed=int(seed), sample=sample, order=order))
    day = f"coalesce(({{0}} - DATE '1970-01-01')::INTEGER, CAST({UNKNOWN_DAY} AS INTEGER)) AS {{0}}"
    table = connection.sql(
        f"SELECT patient_id, {day.format('birth')}, {day.format('death')}, {day.format('observation_end')}, "
        "CASE sex WHEN 'F' THEN 1 WHEN 'M' THEN 2 ELSE 0 END::TINYINT AS sex, "
        "('0x' || digest[1:16])::UBIGINT AS high, ('0x' || digest[17:32])::UBIGINT AS low "
        "FROM cohort_patients ORDER BY patient_index"
    ).to_arrow_table()
    column = {name: numbers(table[name], dtype) for name, dtype in _PATIENT_TYPES.items()}
    return Patients(
        ids=table["patient_id"].combine_chunks(),
        numeric=bool(numeric),
        births=column["birth"],
        deaths=column["death"],
        observation_ends=column["observation_end"],
        sexes=column["sex"],
        hashes=np.stack([column["high"], column["low"]], 1),
    )


def load_codes(connection, code_rows=None):
    """Numbers the distinct codes (table `cohort_codes`) in text order.

    Args:
        connection: DuckDB connection.
        code_rows: dict code -> rows of `stays`, where they were counted before; None counts them.

    Returns:
        (list of strings [D], int64 [D] how many rows carry each).
    """
    if code_rows:  # as parameters: `pyarrow.table` of lists imports pandas
        counted = "SELECT unnest($1::VARCHAR[]) AS code, unnest($2::BIGINT[]) AS count"
        connection.execute(_CODES.format(counted=counted), [list(code_rows), list(code_rows.values())])
    else:
        connection.execute(_CODES.format(counted="SELECT code, count(*) AS count FROM stays GROUP BY code"))
    table = connection.sql("SELECT code, code_rows FROM cohort_codes ORDER BY code_index").to_arrow_table()
    return table["code"].to_pylist(), numbers(table["code_rows"], np.int64)


def table_sizes(connection):
    """(rows, patients, earliest admission, latest discharge) of the stays table; ISO dates or None."""
    return first_row(
        connection,
        "SELECT count(*), (SELECT count(*) FROM patients), min(admit)::DATE::VARCHAR, "
        "max(discharge)::DATE::VARCHAR FROM stays",
    )


def rows_after_death(connection):
    """Rows of stays whose day of admission lies after the patient's day of death.

    Death ends a life: such stays are no input, no event and no next stay, whatever they are (a day of death that is
    wrong, an autopsy, a late claim, another person's stay). Needs `load_patients` before.

    Returns:
        (rows, patients with such rows, patients who have no others).
    """
    if not has_values(connection, "cohort_patients", "death"):
        return 0, 0, 0
    dead = "(SELECT patient_id, death FROM cohort_patients WHERE death IS NOT NULL)"
    if not first_row(connection, f"SELECT count(*) FROM stays JOIN {dead} USING (patient_id) WHERE {_AFTER_DEATH}")[0]:
        return 0, 0, 0
    return first_row(connection, _ROWS_AFTER_DEATH)


@dataclasses.dataclass
class Rows:
    """Sorted rows of some whole patients, one per stay and code.

    Attributes:
        patients: int32 [R], place in `Patients`.
        admissions, discharges: int64 [R], microseconds since 1970-01-01, as the database keeps them.
        codes: int32 [R], place in the list of distinct codes.
        stays: uint64 [R], hash of the stay id, or None where the source has none.
        acquired: bool [R], whether the diagnosis was marked as not present on admission; None where nobody asked.
    """

    patients: np.ndarray
    admissions: np.ndarray
    discharges: np.ndarray
    codes: np.ndarray
    stays: np.ndarray | None = None
    acquired: np.ndarray | None = None

    def __len__(self):
        return len(self.patients)

    def part(self, start, stop):
        """Rows `start` to `stop - 1`."""
        return Rows(*(None if column is None else column[start:stop] for column in self._columns()))

    def _columns(self):
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    @staticmethod
    def join(parts):
        """One `Rows` from several."""
        columns = zip(*(part._columns() for part in parts), strict=True)
        return Rows(*(None if column[0] is None else np.concatenate(column) for column in columns))


def sorted_rows(connection, visit="stay", acquired=False, living=False, span=None):
    """Yields `Rows` of whole patients, in order of patient, visit and clinical order; ties within a visit by code, in
    Med-BERT's order by place in the input.

    Memory holds one batch and the longest patient. Needs `load_patients` and `load_codes` before.

    Args:
        visit: "stay", "discharge_date", or "medbert" (by discharge date, Med-BERT's order).
        acquired: also say which diagnoses were marked as not present on admission.
        living: leave out what `rows_after_death` counts.
        span: (first, after): only patients of these places; None: all.
    """
    with_stays = has_values(connection, "stays", "stay_id")
    extra = ", hash(stay_id) AS stay" * with_stays
    extra += ", coalesce(present_on_admission = 'N', false)::UTINYINT AS acquired" * acquired
    order = _ORDERS[visit].format(stay_id="stay_id," * with_stays)
    tests = [f"coalesce(NOT ({_AFTER_DEATH}), true)"] * living
    if span is not None:
        tests.append(f"patient_index >= {int(span[0])} AND patient_index < {int(span[1])}")
    kept = f"WHERE {' AND '.join(tests)}" if tests else ""
    reader = connection.sql(_SORTED_ROWS.format(extra=extra, order=order, living=kept)).to_arrow_reader(BATCH_ROWS)
    return whole_patients(_batch(batch, with_stays, acquired) for batch in reader if batch.num_rows)


@dataclasses.dataclass(frozen=True)
class Sorting:
    """How rows are chosen and sorted, see `sorted_rows`."""

    visit: str
    acquired: bool
    living: bool


def export_rows(connection, path, living=False):
    """Writes the rows of `sorted_rows`, unsorted and as signed whole numbers, to a Parquet file for another engine.

    Needs `load_patients` and `load_codes` before.

    Returns:
        bool, whether any row has a stay id.
    """
    kept = f"WHERE coalesce(NOT ({_AFTER_DEATH}), true)" if living else ""
    connection.execute(f"COPY ({_EXPORTED_ROWS.format(living=kept)}) TO {quote(path)} (FORMAT parquet)")
    return has_values(connection, "stays", "stay_id")


def exported_batch(batch, with_stays, acquired):
    """`Rows` of an Arrow batch of exported rows that another engine sorted."""
    rows = _batch(batch, False, False)
    if with_stays:
        rows.stays = numbers(batch.column("stay"), np.int64).view(np.uint64)
    if acquired:
        rows.acquired = numbers(batch.column("acquired"), np.int8).astype(bool)
    return rows


def _batch(batch, with_stays, acquired):
    def column(name, dtype):
        return numbers(batch.column(name), dtype)

    return Rows(
        patients=column("patient_index", np.int32),
        admissions=column("admit", np.int64),
        discharges=column("discharge", np.int64),
        codes=column("code_index", np.int32),
        stays=column("stay", np.uint64) if with_stays else None,
        acquired=column("acquired", np.uint8).astype(bool) if acquired else None,
    )


def whole_patients(batches):
    """Cuts patient-sorted `Rows` anew so that each batch ends with a whole patient.

    The last patient of a batch may go on in the next one, so it is carried over.
    """
    carried = []
    for rows in batches:
        last = int(segment_starts(rows.patients)[-1])
        if carried and last == 0 and carried[-1].patients[-1] == rows.patients[0]:
            carried.append(rows)  # one patient longer than the batch
            continue
        if carried or last:
            head = rows.part(0, last)
            yield Rows.join([*carried, head]) if carried else head
        carried = [rows.part(last, len(rows))]
    if carried:
        yield Rows.join(carried)
