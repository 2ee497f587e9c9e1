"""Med-BERT's own layout: positional rows, ids by first appearance, its own split. Rules from ZhiGroup/Med-BERT,
preprocess_pretrain_data.py; one of its habits is mended: `.ptencs` keeps every visit, not only the last.

Visits are what ends on one day, patients come by id, and codes within a visit by (order_1, order_2, order_3), ties as
in the input. Cut from arrays like the default layout; only the lists themselves are made patient by patient, because
they are the format.
"""

import contextlib
import dataclasses
import pickle

import numpy as np

from medtop.cohort.sorted_rows import load_codes, load_patients, sorted_rows, table_sizes
from medtop.cohort.splits import SPLITS, write_splits
from medtop.cohort.visits import build_visits
from medtop.cohort.vocabulary import MEDBERT_PAD, Vocabulary
from medtop.files.atomic import atomic_path
from medtop.files.errors import DataError

PATIENTS_PER_SPLIT = 100_000
"""The original splits and writes so many patients at a time."""


@dataclasses.dataclass
class MedbertResult:
    """What `build_medbert` made, for the manifest.

    Attributes:
        vocabulary: `Vocabulary`, `empty_pad` first.
        patients, rows: in the stays table.
        rows_out: codes written; the other rows of the subset repeat a code within its visit.
        subset_patients, subset_rows: after `subset_size`.
        splits: dict split -> patients, codes, longest, prolonged (patients with a stay of more than 7 days).
        new_codes: codes that were not in the vocabulary given, None without one.
        dates: (earliest admission, latest discharge), ISO dates or None.
    """

    vocabulary: Vocabulary
    patients: int
    rows: int
    rows_out: int
    subset_patients: int
    subset_rows: int
    splits: dict
    new_codes: int | None
    dates: tuple


def build_medbert(connection, folder, vocabulary_file=None, subset_size=0, seed=0, write=True, progress=None):
    """Turns the tables `stays` and `patients` into `out.bencs.*`, `out.ptencs.*`, `out.types`, `out.splits.csv`.

    Rows of `.bencs` are `[patient, [stay days], [days to the next admission], [code ids], [visit no. of each code]]`,
    one pickled list for each 100,000 patients; `.ptencs` holds in the same order `[[visit, ...]]` with a visit
    `[stay days, days to the next admission, [codes], [ids]]`. Days to the next admission may be negative; 0 at the end.

    Args:
        connection: DuckDB connection.
        folder: existing folder for the outputs.
        vocabulary_file: `.types` to start from, or None; as in the original, unseen codes get new ids.
        subset_size: patients to keep (a seeded sample), 0 for all.
        seed: of the sample.
        write: False for a dry run.
        progress: None, or a function called with (what is counted, how many so far).

    Returns:
        `MedbertResult`.
    """
    patients = load_patients(connection, seed, subset_size)
    codes, _ = load_codes(connection)
    start = Vocabulary.read(vocabulary_file) if vocabulary_file else Vocabulary([MEDBERT_PAD])
    if not start.is_medbert:
        raise DataError(
            f"{vocabulary_file}: expected Med-BERT's vocabulary, which begins with {MEDBERT_PAD}, received "
            f"one that begins with {start.tokens[0]}"
        )
    numbering = _Numbering(codes, start)
    rows_in = rows_out = done = 0
    with _Writers(folder, write) as writers:
        for rows in sorted_rows(connection, "medbert"):
            visits = build_visits(
                rows,
                "discharge_date",
                np.arange(len(codes), dtype=np.int32),
                max(len(codes), 1),
            )
            rows_in, rows_out = rows_in + len(rows), rows_out + len(visits.codes)
            ids = numbering.number(visits.codes)
            names = patients.names(visits.patients)
            writers.add(
                _rows(visits, ids, [int(name) for name in names] if patients.numeric else names, numbering.names), names
            )
            done += len(names)
            if progress:
                progress("patients", done)
    if not done:
        raise DataError("stays: expected at least one patient, received none")
    vocabulary = Vocabulary(numbering.tokens)
    if write:
        vocabulary.write(folder / "out")
        write_splits(folder / "out.splits.csv", [writers.assigned()])
    rows, all_patients, first, last = table_sizes(connection)
    return MedbertResult(
        vocabulary,
        all_patients,
        rows,
        rows_out,
        done,
        rows_in,
        writers.counts,
        len(vocabulary) - len(start) if vocabulary_file else None,
        (first, last),
    )


class _Numbering:
    """Ids in order of first appearance, from 1."""

    def __init__(self, codes, start):
        self.tokens = list(start.tokens)
        self.names = np.array(codes, object)
        self.ids = np.array([start.ids.get(code, 0) for code in codes], np.int64)

    def number(self, places):
        """Ids of codes, int64; `places` in the list of distinct codes, in order of appearance."""
        fresh = places[self.ids[places] == 0]
        values, first = np.unique(fresh, return_index=True)
        values = values[np.argsort(first)]
        self.ids[values] = np.arange(len(self.tokens), len(self.tokens) + len(values))
        self.tokens += self.names[values].tolist()
        return self.ids[places]


def _rows(visits, ids, patients, names):
    """Yields (row of `.bencs`, row of `.ptencs`) of each patient of a batch."""
    first, last = visits.starts[:-1], visits.starts[1:] - 1
    gaps = np.zeros(len(visits.admissions), np.int64)
    gaps[:-1] = visits.admission_days[1:] - visits.discharge_days[:-1]
    gaps[last] = 0
    numbers = np.arange(len(gaps)) - first[visits.slots] + 1
    stays, gaps, ids, strings = visits.stay_days.tolist(), gaps.tolist(), ids.tolist(), names[visits.codes].tolist()
    numbers = np.repeat(numbers, np.diff(visits.code_starts)).tolist()
    ends, starts = visits.code_starts.tolist(), visits.starts.tolist()
    full = [
        [stays[visit], gaps[visit], strings[ends[visit] : ends[visit + 1]], ids[ends[visit] : ends[visit + 1]]]
        for visit in range(len(stays))
    ]
    for place, patient in enumerate(patients):
        low, high = starts[place], starts[place + 1]
        codes = slice(ends[low], ends[high])
        yield [patient, stays[low:high], gaps[low:high], ids[codes], numbers[codes]], [full[low:high]]


class _Writers:
    """Splits each 100,000 patients as the original does and appends one pickled list to each file."""

    def __init__(self, folder, write):
        self.folder, self.write = folder, write
        self.rows, self.full, self.names = [], [], []
        self.counts = {split: {"patients": 0, "codes": 0, "longest": 0, "prolonged": 0} for split in SPLITS}
        self._assigned = ([], [])

    def __enter__(self):
        self._stack = contextlib.ExitStack()
        self._files = (
            {
                (kind, split): open(self._stack.enter_context(atomic_path(self.folder / f"out.{kind}.{split}")), "wb")
                for kind in ("bencs", "ptencs")
                for split in SPLITS
            }
            if self.write
            else {}
        )
        return self

    def add(self, rows, names):
        """Adds the pairs of rows of a batch."""
        for (row, full), name in zip(rows, names, strict=True):
            self.rows.append(row)
            self.full.append(full)
            self.names.append(name)
            if len(self.rows) == PATIENTS_PER_SPLIT:
                self._flush()

    def _flush(self):
        order = np.random.RandomState(0).permutation(len(self.rows))  # what np.random.seed(0) gave the original
        tests, valids = int(0.2 * len(self.rows)), int(0.1 * len(self.rows))
        parts = {"test": order[:tests], "valid": order[tests : tests + valids], "train": order[tests + valids :]}
        for number, split in enumerate(SPLITS):
            rows = [self.rows[place] for place in parts[split]]
            count = self.counts[split]
            count["patients"] += len(rows)
            count["codes"] += sum(len(row[3]) for row in rows)
            count["longest"] = max([count["longest"], *(len(row[3]) for row in rows)])
            count["prolonged"] += sum(max(row[1]) > 7 for row in rows)
            self._assigned[0].extend(self.names[place] for place in parts[split])
            self._assigned[1].extend([number] * len(rows))
            if self.write:
                pickle.dump(rows, self._files["bencs", split], protocol=4)
                pickle.dump([self.full[place] for place in parts[split]], self._files["ptencs", split], protocol=4)
        self.rows, self.full, self.names = [], [], []

    def assigned(self):
        """(patient ids in text order, int8 places in `SPLITS`)."""
        names = np.array(self._assigned[0], object)
        order = np.argsort(names, kind="stable")
        return names[order].tolist(), np.array(self._assigned[1], np.int8)[order]

    def __exit__(self, kind, value, trace):
        if kind is None and self.rows:
            self._flush()
        for file in self._files.values():
            file.close()
        return self._stack.__exit__(kind, value, trace)
