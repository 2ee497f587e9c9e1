"""Counts over the whole cohort: rows, patients, labels, codes, lengths. In = out + a reason for everything else."""

import math

import numpy as np

from medtop.cohort.followup import cumulative_incidence
from medtop.cohort.label_patients import SIZE as LABEL_CELLS
from medtop.cohort.label_patients import add_batch, label_entry, patients_of
from medtop.cohort.labels import KNOWN_REASONS
from medtop.cohort.labels import REASONS as LABEL_REASONS
from medtop.cohort.prediction_times import REASONS as PATIENT_REASONS
from medtop.cohort.splits import SPLITS
from medtop.cohort.visits import DAY, UNKNOWN_DAY

SUMS = (
    "rows",
    "rows_out",
    "rows_merged",
    "overlaps",
    "births_later",
    "rows_later",
    "tokens_added",
    "rows_without_codes",
)
SUMS += ("patient_rows", "patients", "time_reasons", "code_counts", "examples", "split_patients", "lengths")
SUMS += ("observed_days", "code_patients")
"""Attributes of a `Tally` that add up over parts."""

MOST_COUNTED = 255
"""Patients that are counted by code at a time: as many as a byte counts, and sums of bytes are quick."""

MOST_DAYS = 36_525
"""Days of observation after a prediction that are told apart, a century."""

FEWEST_SHOWN = 11
"""Examples of an outcome below which the quartiles of their days are left out: those of one person are their days."""

TABLES = ("states", "positives", "later_codes", "ends", "outcome_days", "people")
"""Those that are dicts task -> array."""

LENGTH_BINS = (0, 1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


_OUTCOMES = {"with": 1, "without": 0, "unknown": 2}


def _quartiles(counts):
    """n, median, low, high of days of which each was counted so often (int [days]); n alone where nothing was."""
    total = int(counts.sum())
    if not total:
        return {"n": 0}
    places = np.searchsorted(np.cumsum(counts), [math.ceil(share * total) for share in (0.25, 0.5, 0.75)])
    low, middle, high = places.tolist()
    return {"n": total, "median": middle, "low": low, "high": high}


class Tally:
    """Sums of what `cohort` sees, batch by batch.

    Args:
        tasks: dict task -> label names.
        num_codes: distinct (rolled-up) codes.
        horizons: days, of labels that have follow-up.
    """

    def __init__(self, tasks, num_codes, horizons=()):
        self.horizons = tuple(horizons)
        self.ends = {}
        """dict task -> int64 [splits, endpoints, days, 3], see `followup.cumulative_incidence`."""
        self.tasks = {task: list(names) for task, names in tasks.items()}
        self.rows = self.rows_out = self.rows_merged = self.overlaps = self.births_later = 0
        self.patient_rows = np.zeros(len(PATIENT_REASONS), np.int64)
        self.patients = np.zeros(len(PATIENT_REASONS), np.int64)
        self.rows_later = self.tokens_added = self.rows_without_codes = 0
        self.time_reasons = np.zeros(len(PATIENT_REASONS), np.int64)
        size = (len(SPLITS), len(LABEL_REASONS))
        self.states = {task: np.zeros((len(names), *size), np.int64) for task, names in self.tasks.items()}
        self.positives = {task: np.zeros((len(names), len(SPLITS)), np.int64) for task, names in self.tasks.items()}
        self.later_codes = {task: np.zeros((len(names), len(SPLITS)), np.int64) for task, names in self.tasks.items()}
        self.people = {
            task: np.zeros((len(names), len(SPLITS), LABEL_CELLS), np.int64) for task, names in self.tasks.items()
        }
        """dict task -> int64 [labels, splits, cells], see `medtop.cohort.label_patients`."""
        self._latest_labels = {}
        self.code_counts = np.zeros((len(SPLITS), num_codes), np.int64)
        self.code_patients = np.zeros(num_codes, np.int64)
        """Patients of the training split who have each code in an example."""
        self._latest = (-1, np.zeros(num_codes, bool))  # the last patient and whether each code was counted for them
        self.examples = np.zeros(len(SPLITS), np.int64)
        self.split_patients = np.zeros(len(SPLITS), np.int64)
        self.lengths = np.zeros((len(SPLITS), len(LENGTH_BINS)), np.int64)
        self.longest = np.zeros(len(SPLITS), np.int64)
        self._times = [[] for _ in SPLITS]
        self.observed_days = np.zeros((len(SPLITS), MOST_DAYS + 1), np.int64)
        self.outcome_days = {}
        """dict task -> int64 [labels, 3 (0, 1, unknown), days], days of observation over all splits."""

    def add(self, other):
        """Adds the sums of another `Tally` of the same tasks, codes and horizons (a part of the same cohort)."""
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in TABLES:
            own = getattr(self, name)
            for task, values in getattr(other, name).items():
                own[task] = own[task] + values if task in own else values
        self.longest = np.maximum(self.longest, other.longest)
        both = [[*own, *theirs] for own, theirs in zip(self._times, other._times, strict=True)]
        self._times = [[min(times), max(times)] if times else [] for times in both]

    def arrays(self):
        """The sums as arrays, dict name -> array, for `load` in another process."""
        sums = {name: np.asarray(getattr(self, name)) for name in (*SUMS, "longest")}
        for name in TABLES:
            sums |= {f"{name}.{task}": values for task, values in getattr(self, name).items()}
        return sums | {f"times.{split}": np.array(times, np.int64) for split, times in enumerate(self._times)}

    def load(self, arrays):
        """Takes the sums that `arrays` gave for the same tasks, codes and horizons."""
        for name in (*SUMS, "longest"):
            setattr(self, name, arrays[name] if arrays[name].ndim else int(arrays[name]))
        for name in TABLES:
            own = {key.partition(".")[2]: arrays[key] for key in arrays if key.startswith(f"{name}.")}
            setattr(self, name, own)
        self._times = [arrays[f"times.{split}"].tolist() for split in range(len(SPLITS))]

    def add_patients(self, visits, choice, splits):
        """Counts a batch: what becomes of each patient and each row.

        A row is out when its visit is in the features of at least one example (then in the one with the latest time).

        Args:
            visits: `Visits`.
            choice: `Choice`.
            splits: int8 [P], place in `SPLITS`.
        """
        rows = np.add.reduceat(visits.row_counts, visits.starts[:-1])
        self.rows += int(rows.sum())
        self.patients += np.bincount(choice.reasons, minlength=len(PATIENT_REASONS))
        self.patient_rows += np.bincount(choice.reasons, rows, minlength=len(PATIENT_REASONS)).astype(np.int64)
        self.split_patients += np.bincount(splits[choice.reasons == 0], minlength=len(SPLITS))
        self.overlaps += visits.overlaps
        until = np.full(len(visits.patients), np.iinfo(np.int64).min)
        np.maximum.at(until, choice.slots, choice.known_until)
        known = (visits.discharges <= until[visits.slots]) & (choice.reasons == 0)[visits.slots]
        codes = int(np.diff(visits.code_starts)[known].sum())
        given, without = codes, 0
        if visits.rows_with_new_codes is not None:  # a map gave rows several codes, or none
            given, without = (int(v[known].sum()) for v in (visits.rows_with_new_codes, visits.rows_without_codes))
        self.rows_out += given
        self.tokens_added += codes - given
        self.rows_without_codes += without
        self.rows_merged += int(visits.row_counts[known].sum()) - given - without
        self.rows_later += int(visits.row_counts[~known & (choice.reasons == 0)[visits.slots]].sum())
        if choice.time_reasons is not None:
            self.time_reasons += np.bincount(choice.time_reasons, minlength=len(PATIENT_REASONS))

    def add_examples(self, split, columns, labels):
        """Counts examples of one split; those of a patient come one after another, over calls too.

        Args:
            split: place in `SPLITS`.
            columns: of `example_columns`.
            labels: dict task -> `Labels`.
        """
        count = len(columns["patients"])
        if not count:
            return
        self.examples[split] += count
        self.code_counts[split] += np.bincount(columns["codes"], minlength=self.code_counts.shape[1])
        if SPLITS[split] == "train":
            self._count_patients(columns)
        lengths = columns["code_counts"]
        self.lengths[split] += np.bincount(
            np.searchsorted(LENGTH_BINS, lengths, side="right") - 1, minlength=len(LENGTH_BINS)
        )
        self.longest[split] = max(self.longest[split], lengths.max())
        low, high = int(columns["prediction_times"].min()), int(columns["prediction_times"].max())
        known = self._times[split]
        self._times[split] = [min([low, *known]), max([high, *known])]
        for task, values in labels.items():
            latest = self._latest_labels.get((task, split))
            self._latest_labels[task, split] = add_batch(self.people[task], latest, split, columns["patients"], values)
            self.positives[task][:, split] += values.values.sum(0).astype(np.int64)
            states = self.states[task][:, split]
            cells = values.reasons + np.arange(len(states)) * states.shape[1]
            states += np.bincount(cells.ravel(), minlength=states.size).reshape(states.shape)
            if values.later_codes is not None:
                self.later_codes[task][:, split] += values.later_codes.sum(0)
            if values.follow_up is not None:
                self._add_follow_up(task, split, values.follow_up)

    def add_observation(self, split, times, ends, labels):
        """Counts for how many days after its prediction each example of one split is observed, also by outcome.

        Args:
            split: place in `SPLITS`.
            times: int64 [E], prediction times, seconds.
            ends: int32 [E], last day of observation, `UNKNOWN_DAY` where unknown.
            labels: dict task -> `Labels`.
        """
        known = ends != UNKNOWN_DAY
        days = np.clip(ends[known] - times[known] // DAY, 0, MOST_DAYS)
        self.observed_days[split] += np.bincount(days, minlength=MOST_DAYS + 1)
        for task, names in self.tasks.items():
            if task not in self.outcome_days:
                self.outcome_days[task] = np.zeros((len(names), 3, MOST_DAYS + 1), np.int64)
            outcomes = np.where(labels[task].weights > 0, labels[task].values, 2).astype(np.int64)[known]  # [E, K]
            cells = (np.arange(len(names)) * 3 + outcomes) * (MOST_DAYS + 1) + days[:, None]
            np.add.at(self.outcome_days[task].reshape(-1), cells.ravel(), 1)  # one axis: NumPy's fast way

    def observation(self):
        """Dict split -> n, median, low, high: quartiles of the days of observation after the prediction; {} without."""
        summary = {split: _quartiles(counts) for split, counts in zip(SPLITS, self.observed_days, strict=True)}
        return {split: entry for split, entry in summary.items() if entry["n"]}

    def observation_by_outcome(self):
        """Dict task -> label -> "with", "without", "unknown" -> the same over all splits; of fewer than `FEWEST_SHOWN`
        examples only n; {} without."""
        outcomes = {}
        for task, table in self.outcome_days.items():
            for label, counts in zip(self.tasks[task], table, strict=True):
                entries = {name: _quartiles(counts[place]) for name, place in _OUTCOMES.items()}
                few = {name: {"n": entry["n"]} for name, entry in entries.items() if entry["n"] < FEWEST_SHOWN}
                outcomes.setdefault(task, {})[label] = entries | few
        return outcomes if self.observed_days.any() else {}

    def _count_patients(self, columns):
        """Patients by code, over a table of patients and codes: a pass over it is quicker than sorting the codes."""
        size = len(self.code_patients)
        starts = np.flatnonzero(np.diff(columns["patients"], prepend=-1) != 0)  # the first example of each patient
        code_ends = np.cumsum(columns["code_counts"])
        code_starts = np.append((code_ends - columns["code_counts"])[starts], code_ends[-1])
        names = columns["patients"][starts]
        for begin in range(0, len(names), MOST_COUNTED):
            edges = code_starts[begin : begin + MOST_COUNTED + 1]
            owners = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
            has = np.zeros((len(edges) - 1, size), bool)
            has[owners, columns["codes"][edges[0] : edges[-1]]] = True
            latest, counted = self._latest
            again = counted & has[0] if latest == names[begin] else 0  # a patient goes on from the last call
            self.code_patients += has.view(np.uint8).sum(axis=0, dtype=np.uint8) - again
            last = names[begin + len(edges) - 2]
            self._latest = (last, has[-1] | counted if last == latest else has[-1])

    def _add_follow_up(self, task, split, follow_up):
        shape = (follow_up.days.shape[1], max(self.horizons) + 2, 3)
        if task not in self.ends:
            self.ends[task] = np.zeros((len(SPLITS), *shape), np.int64)
        endpoints = np.broadcast_to(np.arange(shape[0]), follow_up.days.shape)
        cells = np.ravel_multi_index((endpoints, follow_up.days, follow_up.kinds), shape)[follow_up.at_risk]
        self.ends[task][split] += np.bincount(cells, minlength=np.prod(shape)).reshape(shape)

    @property
    def times(self):
        """First and last prediction time, seconds; None without any."""
        every = sum(self._times, [])
        return [min(every), max(every)] if every else [None, None]

    def split_times(self):
        """Dict split -> [first, last] prediction time, seconds; [] without any."""
        return dict(zip(SPLITS, self._times, strict=True))

    def rows_dropped(self):
        """Dict reason -> rows, of what stands in the stays table but in no feature."""
        dropped = {
            reason: int(rows) for reason, rows in zip(PATIENT_REASONS[1:], self.patient_rows[1:], strict=True) if rows
        }
        others = {"after_prediction_time": self.rows_later, "code_not_in_map": self.rows_without_codes}
        return dropped | {reason: rows for reason, rows in others.items() if rows}

    def patients_dropped(self):
        """Dict reason -> patients."""
        return {
            reason: int(number) for reason, number in zip(PATIENT_REASONS[1:], self.patients[1:], strict=True) if number
        }

    def times_dropped(self):
        """Dict reason -> rows of the prediction-time file."""
        return {
            reason: int(number)
            for reason, number in zip(PATIENT_REASONS[1:], self.time_reasons[1:], strict=True)
            if number
        }

    def labels(self):
        """Dict split -> task -> label -> examples, known, positives, share_known, prevalence (None where nothing is
        known), deaths_without_event, negatives_with_later_codes (label 0 although a code of the endpoint that is no
        event stands in a later stay), unknown {reason: examples}, and risk_ipcw for labels with a horizon; where
        patients have several examples, `patients`: the same counts of patients."""
        return {
            split: {
                task: {
                    label: self._label(task, place, number) | self._risk(task, place, number)
                    for place, label in enumerate(names)
                }
                for task, names in self.tasks.items()
            }
            for number, split in enumerate(SPLITS)
        }

    def _risk(self, task, label, split):
        """`risk_ipcw`: the risk of labels with follow-up, corrected for censoring."""
        if task not in self.ends:
            return {}
        endpoint, horizon = divmod(label, len(self.horizons))
        return {"risk_ipcw": cumulative_incidence(self.ends[task][split, endpoint], [self.horizons[horizon]])[0]}

    def _label(self, task, label, split):
        states, positives = self.states[task][label, split], int(self.positives[task][label, split])
        known = int(states[:KNOWN_REASONS].sum())
        unknown = zip(LABEL_REASONS[KNOWN_REASONS:], states[KNOWN_REASONS:].tolist(), strict=True)
        counts = {
            "examples": int(states.sum()),
            "known": known,
            "positives": positives,
            "negatives": known - positives,
            "deaths_without_event": int(states[LABEL_REASONS.index("death_without_event")]),
            "negatives_with_later_codes": int(self.later_codes[task][label, split]),
            "unknown": {reason: number for reason, number in unknown if number},
        }
        return label_entry(counts, patients_of(self.people[task][label, split]))

    def splits(self):
        """Dict split -> patients, examples, codes and a histogram of codes per example."""
        names = [
            f"{low}-{high - 1}" if high - low > 1 else str(low)
            for low, high in zip(LENGTH_BINS, LENGTH_BINS[1:], strict=False)
        ]
        names.append(f"{LENGTH_BINS[-1]}-")
        return {
            split: {
                "patients": int(self.split_patients[place]),
                "examples": int(self.examples[place]),
                "codes": int(self.code_counts[place].sum()),
                "longest": int(self.longest[place]),
                "codes_per_example": {
                    name: int(number) for name, number in zip(names, self.lengths[place], strict=True) if number
                },
            }
            for place, split in enumerate(SPLITS)
        }
