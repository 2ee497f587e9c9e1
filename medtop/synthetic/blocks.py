"""Blocks of generated patients: lives, observed history, true risks and realised labels put together.

Patients are drawn in blocks, each from its own random stream, so that a patient does not depend on how many follow and
memory stays bounded. `synthetic_patients` draws lives, `synthetic_risk` holds the written risk function,
`synthetic_codes` the codes; `synthetic` writes what this file makes. docs/synthetic_cohort.md describes the whole.

Letters: N patients in a block, S stays, C rows (stay and code), E endpoints, K = 13 labels.
"""

import dataclasses

import numpy as np

from medtop.files.errors import DataError
from medtop.synthetic import patients as lives
from medtop.synthetic import risk, tree
from medtop.synthetic.codes import CODES, CONDITION_OF, ENDPOINTS, NUM_CHRONIC

BLOCK_SIZE = 5000
SECONDS_PER_DAY = 86400
LABEL_TASKS = tuple((task, label) for task, labels in risk.TASKS.items() for label in labels)
"""The K (task, label) pairs in the order of `Block.risks`."""


@dataclasses.dataclass
class Block:
    """Some generated patients with their stays, codes and truth. Rows are grouped by patient, in time order.

    Attributes:
        first: number of the first patient, from 0; patient n is written `P%08d`.
        births, death_days, observation_days: int64 [N], days since 1970-01-01; death -1 where none was seen.
        sexes: str [N], `F` or `M`.
        prediction_times: int64 [N], seconds since 1970-01-01.
        visit_patients: int64 [S], place of the patient in the block.
        admits, discharges: int64 [S], seconds since 1970-01-01.
        code_visits: int64 [C], place of the stay.
        codes: int64 [C], place in `synthetic_codes.CODES`.
        priorities: int64 [C], from 1 within a stay.
        present: str [C], present on admission: `Y`, `N` or empty.
        risks: float64 [N, K], P(label = 1 | observed history, label known).
        targets: int8 [N, K], realised label by docs/contract.md, "Time and labels": 1, 0, or -1 for unknown.
        components: dict of arrays with N rows, what `synthetic_risk.observed_components` gave.
        hierarchical: whether background codes follow ICD-10's tree; `codes` then are places in `tree.NAMES`.
    """

    first: int
    births: np.ndarray
    death_days: np.ndarray
    observation_days: np.ndarray
    sexes: np.ndarray
    prediction_times: np.ndarray
    visit_patients: np.ndarray
    admits: np.ndarray
    discharges: np.ndarray
    code_visits: np.ndarray
    codes: np.ndarray
    priorities: np.ndarray
    present: np.ndarray
    risks: np.ndarray
    targets: np.ndarray
    components: dict
    hierarchical: bool = False

    @property
    def names(self):
        """The codes that `codes` names, undotted."""
        return tree.NAMES if self.hierarchical else CODES

    def __len__(self):
        return len(self.births)

    def head(self, count):
        """The block's first `count` patients."""
        stays = np.searchsorted(self.visit_patients, count)
        rows = np.searchsorted(self.code_visits, stays)
        size = {
            "visit_patients": stays,
            "admits": stays,
            "discharges": stays,
            "code_visits": rows,
            "codes": rows,
            "priorities": rows,
            "present": rows,
        }
        cut = {
            f.name: getattr(self, f.name)[: size.get(f.name, count)]
            for f in dataclasses.fields(self)
            if f.name not in ("first", "components", "hierarchical")
        }
        cut["hierarchical"] = self.hierarchical
        return Block(first=self.first, components={k: v[:count] for k, v in self.components.items()}, **cut)


def generate(num_patients, seed, block_size=BLOCK_SIZE, hierarchical=False):
    """Yields `Block`s of together `num_patients` patients; memory holds one.

    Patients depend on the seed, their number and the block size, not on `num_patients`. Background codes of
    `hierarchical` ones follow ICD-10's tree (`tree`).

    Raises:
        DataError: for a number of patients or a block size below 1, or a negative seed.
    """
    if num_patients < 1:
        raise DataError(f"num_patients: expected at least 1, received {num_patients}")
    if block_size < 1:
        raise DataError(f"block_size: expected at least 1, received {block_size}")
    if seed < 0:
        raise DataError(f"seed: expected 0 or more, received {seed}")
    for number, first in enumerate(range(0, num_patients, block_size)):
        yield _draw_block(seed, number, first, block_size, hierarchical).head(min(block_size, num_patients - first))


def _draw_block(seed, number, first, size, hierarchical):
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
    people = lives.draw_people(rng, size, hierarchical)
    past = lives.draw_history(rng, people)
    past_codes = lives.draw_codes(rng, people, past)
    history = lives.history_of(people, past, *past_codes[:2])
    components = risk.observed_components(history)
    prevalent = components["stages"][:, NUM_CHRONIC:] > 0
    future = lives.draw_future(rng, people, components, prevalent)
    future_codes = lives.draw_codes(rng, people, future.visits, lives.possible_endpoints(future, prevalent))
    order, visits = _in_time(past, future.visits)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    code_visits = place[np.r_[past_codes[0], future_codes[0] + len(past.patients)]]
    rows = np.argsort(code_visits, kind="stable")
    columns = [np.r_[a, b][rows] for a, b in zip(past_codes[1:], future_codes[1:], strict=True)]
    admits, discharges = _clocks(rng, visits)
    last = np.cumsum(np.bincount(past.patients, minlength=size)) - 1
    prediction_times = discharges[place[last]]
    block = Block(
        first=first,
        births=people.births,
        death_days=future.death_days,
        observation_days=future.observation_days,
        sexes=np.where(people.female, "F", "M"),
        prediction_times=prediction_times,
        visit_patients=visits.patients,
        admits=admits,
        discharges=discharges,
        code_visits=code_visits[rows],
        codes=columns[0],
        present=columns[1],
        priorities=columns[2],
        risks=risk.true_risks(components),
        targets=None,
        components=components,
        hierarchical=hierarchical,
    )
    block.targets = realised_labels(block)
    return block


def _in_time(past, future):
    """Order of past and future stays by patient and day, and the ordered `Visits`."""
    patients = np.r_[past.patients, future.patients]
    admit_days = np.r_[past.admit_days, future.admit_days]
    order = np.lexsort((admit_days, patients))
    return order, lives.Visits(patients[order], admit_days[order], np.r_[past.stay_days, future.stay_days][order])


def _clocks(rng, visits):
    """Admission and discharge in seconds. Stays begin before noon and end after it, so that whole days between the two
    times equal calendar days; a stay of exactly 7 days lasts 7 times 24 hours, so that no reading finds it longer."""
    count = len(visits.patients)
    begin = rng.integers(0, 12 * 60, count) * 60
    end = np.where(visits.stay_days == risk.LONG_STAY_DAYS, begin, rng.integers(12 * 60, 20 * 60, count) * 60)
    return visits.admit_days * SECONDS_PER_DAY + begin, visits.discharge_days * SECONDS_PER_DAY + end


def observed_history(block):
    """The `synthetic_risk.History` of a block: its rows up to the prediction times, as the written table has them."""
    past = block.discharges <= block.prediction_times[block.visit_patients]
    rows = past[block.code_visits]
    patients = block.visit_patients[past]
    admit_days, discharge_days = block.admits[past] // SECONDS_PER_DAY, block.discharges[past] // SECONDS_PER_DAY
    first = np.r_[True, patients[1:] != patients[:-1]]
    days = block.prediction_times // SECONDS_PER_DAY
    return risk.RiskHistory(
        ages=(days - block.births) / risk.DAYS_PER_YEAR,
        visit_patients=patients,
        stay_days=discharge_days - admit_days,
        gaps_before=np.where(first, 0, admit_days - np.r_[0, discharge_days[:-1]]),
        recencies=days[patients] - discharge_days,
        code_visits=(np.cumsum(past) - 1)[block.code_visits[rows]],
        codes=block.codes[rows],
        hierarchical=block.hierarchical,
    )


def realised_labels(block):
    """Labels by docs/contract.md, "Time and labels", from what the table shows: int8 [N, K], -1 unknown.

    Days are calendar days.

    An event is dated by the admission of the first later stay with a code of the endpoint.
    """
    count, never = len(block), np.iinfo(np.int64).max
    start = block.prediction_times // SECONDS_PER_DAY
    admit_days = block.admits // SECONDS_PER_DAY
    future = admit_days[block.code_visits] > start[block.visit_patients[block.code_visits]]
    endpoint = CONDITION_OF[block.codes] - NUM_CHRONIC
    rows = endpoint >= 0
    patients = block.visit_patients[block.code_visits]
    cells = patients * len(ENDPOINTS) + endpoint
    prevalent = np.zeros(count * len(ENDPOINTS), bool)
    prevalent[cells[rows & ~future]] = True
    first = np.full(count * len(ENDPOINTS), never)
    np.minimum.at(first, cells[rows & future], (admit_days[block.code_visits] - start[patients])[rows & future])
    prevalent, first = prevalent.reshape(count, -1), first.reshape(count, -1)
    observed = (block.observation_days - start)[:, None]
    dead = np.where(block.death_days >= 0, block.death_days - start, never)[:, None]
    targets = []
    for place in range(len(ENDPOINTS)):
        for days in risk.HORIZONS:
            known_zero = (observed >= days) | (dead <= days)
            label = np.where(first[:, [place]] <= days, 1, np.where(known_zero, 0, -1))
            targets.append(np.where(prevalent[:, [place]], -1, label))
    targets.append(_realised_long_stay(block, admit_days, start)[:, None])
    return np.concatenate(targets, 1).astype(np.int8)


def _realised_long_stay(block, admit_days, start):
    later = np.flatnonzero(admit_days > start[block.visit_patients])
    patients, index = np.unique(block.visit_patients[later], return_index=True)
    visit = later[index]
    within = admit_days[visit] - start[patients] <= risk.LONG_STAY_WITHIN_DAYS
    long = block.discharges[visit] // SECONDS_PER_DAY - admit_days[visit] > risk.LONG_STAY_DAYS
    label = np.full(len(block), -1)
    label[patients] = np.where(within, long, -1)
    return label
