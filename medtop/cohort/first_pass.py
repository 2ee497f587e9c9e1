"""The first pass over a cohort: sorted rows of whole patients -> examples with features and labels, counted.

Pure NumPy. It does not know who sorted the rows, nor whether they are all patients or a part of them.
"""

import dataclasses

import numpy as np

from medtop.cohort import labels as labelling
from medtop.cohort import prediction_times as timing
from medtop.cohort.example_columns import example_columns, example_groups
from medtop.cohort.follow_up_file import follow_up_columns
from medtop.cohort.splits import SPLITS
from medtop.cohort.tally import Tally
from medtop.cohort.visits import build_visits


@dataclasses.dataclass
class FirstPass:
    """What the first pass needs to know; places of patients and codes are those of the whole cohort.

    Attributes:
        options: `medtop.cohort.build.Options`.
        tasks: dict task -> label names.
        num_endpoints: how many endpoints are in use, None without.
        found: `medtop.cohort.endpoint_codes.EndpointCodes`, or None.
        rolled: `medtop.cohort.codes.RollUp`.
        patients: `medtop.cohort.sorted_rows.Patients`.
        division: `medtop.cohort.division.Division`.
        given: `medtop.cohort.prediction_times.GivenTimes`, or None.
        latest_end: day on which the last observation ends, or None where nobody asks.
    """

    options: object
    tasks: dict
    num_endpoints: int | None
    found: object
    rolled: object
    patients: object
    division: object
    given: object
    latest_end: int | None

    def new_tally(self):
        """An empty `Tally` for `run`."""
        return Tally(self.tasks, len(self.rolled.names), self.options.horizons)

    @property
    def splits(self):
        """int8 [A], the split of each patient."""
        return self.division.places

    def run(self, batches, spilled, tally, progress):
        """Turns rows into examples.

        Args:
            batches: `medtop.cohort.sorted_rows.Rows` of whole patients, in order of patients.
            spilled: list of `ColumnFiles`, one a split, that get the examples; None for a dry run.
            tally: `Tally` that counts them.
            progress: function called with ("rows", rows so far).
        """
        for rows in batches:
            visits = build_visits(
                rows, self.options.visit, self.rolled.places, len(self.rolled.names), self.found, self.rolled.starts
            )
            choice = self._choose(visits)
            splits = self.splits[visits.patients]
            tally.add_patients(visits, choice, splits)
            order = np.argsort(splits[choice.slots], kind="stable")  # one split after another, patients in order
            choice = dataclasses.replace(
                choice,
                slots=choice.slots[order],
                times=choice.times[order],
                known_until=choice.known_until[order],
                given=None if choice.given is None else choice.given[order],
            )
            for split in range(len(SPLITS)):
                low, high = np.searchsorted(splits[choice.slots], [split, split + 1])
                for group in example_groups(visits, choice.slots[low:high]):
                    self._add(spilled, tally, visits, choice, split, slice(group.start + low, group.stop + low))
            progress("rows", tally.rows)

    def _choose(self, visits):
        options, deaths = self.options, self.patients.deaths[visits.patients]
        splits, periods = self.splits[visits.patients], self.division.periods
        inside = periods.inside(visits.discharge_days, splits[visits.slots]) if periods else None
        if self.given:
            in_period = (lambda days, slots: periods.inside(days, splits[slots])) if periods else None
            choice = timing.given_times(visits, self.given, deaths, in_period)
        elif options.index == "none":
            choice = timing.last_visits(visits, inside)
        elif options.index == "lineage":
            choice = timing.lineage_visits(visits)
        else:
            hashes = self.patients.hashes[visits.patients, 1]
            choice = timing.random_visits(visits, hashes, deaths, options.min_visits, inside)
        for reason, patients in self.division.left_out.items():
            choice = timing.leave_out(choice, patients[visits.patients], reason)
        return choice

    def _add(self, spilled, tally, visits, choice, split, part):
        slots, times, known_until = choice.slots[part], choice.times[part], choice.known_until[part]
        columns = example_columns(visits, self.patients.births[visits.patients], slots, times, known_until)
        known = self.division.known(visits, self.patients)
        labels = self._labels(visits, known, choice, part)
        tally.add_examples(split, columns, labels)
        tally.add_observation(split, times, known.observation_ends[slots], labels)
        if spilled:
            for task, values in labels.items():
                columns |= {f"labels_{task}": values.values, f"weights_{task}": values.weights}
            if self.options.follow_up:
                columns |= follow_up_columns(labels["complications"].follow_up)
            spilled[split].append(columns)

    def _labels(self, visits, known, choice, part):
        options, slots = self.options, choice.slots[part]
        boundaries = known.boundaries[slots]
        pairs = labelling.pair_up(known.visits, slots, choice.times[part], choice.known_until[part], boundaries)
        result = {}
        for task in self.tasks:
            if self.given and task in self.given.tasks:
                result[task] = labelling.given_labels(self.given.labels[task][choice.given[part]])
            elif task == "complications":
                result[task] = labelling.complications(
                    pairs,
                    self.num_endpoints,
                    options.horizons,
                    known.observation_ends[slots],
                    known.deaths[slots],
                    self.latest_end,
                )
            elif options.long_stay_label == "any":
                result[task] = labelling.long_stay_any(pairs)
            else:
                result[task] = labelling.long_stay_next(pairs, options.long_stay_within_days)
        return result
