"""Generated patients on whom a served model is held against the Keras model before it appears under its name.

The reference goes the way that training data go (`data.tokens`, then Keras, then `evaluation.calibration`), one patient
at a time and without padding; the export is asked both one by one and with all of them in one batch.

Letters: N patients, T tokens of the longest one, K labels of a task.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from medtop.cohort.codes import CATEGORY
from medtop.cohort.pickled_lists import SEXES, Chunk
from medtop.cohort.vocabulary import UNK_ID
from medtop.data.tokens import medbert_rows, tokens_of, truncate
from medtop.evaluation.predictions import Predictions
from medtop.files.errors import DataError

TOLERANCE = 1e-5
"""Largest difference of a probability that an export may show."""

PATIENTS = 12
UNKNOWN_CODE = "no such code "
_COLUMN_OF = {
    "token_ids": "token_ids",
    "visits": "visits",
    "visit_positions": "visit_positions",
    "ages": "age_days",
    "gaps": "gap_days",
    "stays": "stay_days",
    "recencies": "recency_days",
}


@dataclasses.dataclass(frozen=True)
class Visit:
    """A stay: its codes (distinct strings, in clinical order) and days, as `pickled_lists.Chunk` defines them."""

    codes: tuple
    stay: int
    gap: int
    recency: int
    age: int


@dataclasses.dataclass(frozen=True)
class ParityPerson:
    """A patient as a client knows one: visits in order of time, age in days at the prediction time, sex."""

    visits: tuple
    age: int
    sex: str

    @property
    def num_codes(self):
        """Codes of all visits."""
        return sum(len(visit.codes) for visit in self.visits)


@dataclasses.dataclass(frozen=True)
class ServingParity:
    """What the comparison found.

    Attributes:
        patients: N.
        shortest, longest: codes of a patient.
        largest: largest absolute difference of a probability.
        low, high: smallest and largest probability met: a comparison among saturated ones would show nothing.
    """

    patients: int
    shortest: int
    longest: int
    largest: float
    low: float
    high: float

    def line(self):
        """One sentence."""
        return (
            f"parity with the Keras model: largest difference of a probability {self.largest:.1e} over {self.patients} "
            f"generated patients ({self.shortest} to {self.longest} codes, probabilities {self.low:.3f} to "
            f"{self.high:.3f}), one by one and in one batch"
        )


def generate_people(served, count=PATIENTS, seed=0):
    """Random patients: the first without codes (where the vocabulary allows it), the last longer than the longest row.

    Args:
        served: `ServedRun`.
        count: N, at least 3.
        seed: of `numpy.random.default_rng`.

    Returns:
        list of `ParityPerson`; about one visit in five holds a code unknown to the model.
    """
    rng = np.random.default_rng(seed)
    medbert = served.vocabulary.is_medbert
    limit = served.max_seq_length
    lengths = rng.integers(1, max(2, min(limit - 1, 80)), count)
    lengths[0] = 1 if medbert else 0
    lengths[-1] = limit if medbert else limit + 7  # Med-BERT's feature script leaves longer patients out
    return [_person(served, int(length), rng) for length in lengths]


def _person(served, length, rng):
    known = _raw_codes(served)
    sizes = []
    while sum(sizes) < length:
        sizes.append(int(min(rng.integers(1, 7), length - sum(sizes), len(known))))
    ages = np.sort(rng.integers(1, 90 * 365, len(sizes) + 1))
    if rng.random() < 0.1:
        ages[:] = 0
    visits = []
    for number, size in enumerate(sizes):
        codes = [known[place] for place in rng.choice(len(known), size, replace=False)]
        if rng.random() < 0.2 and not served.vocabulary.is_medbert:
            codes[0] = f"{UNKNOWN_CODE}{number}"
        gap = int(rng.integers(0, 2000)) if number else 0
        visits.append(Visit(tuple(codes), int(rng.integers(0, 60)), gap, int(rng.integers(0, 4000)), int(ages[number])))
    return ParityPerson(tuple(visits), int(ages[-1]), SEXES[int(rng.integers(0, len(SEXES)))])


def _raw_codes(served):
    """Codes as a client sends them, of which the model knows what the map makes of them."""
    tokens = served.vocabulary.tokens[served.vocabulary.first_code_id :]
    code_map = served.vocabulary.code_map
    if code_map is None:
        return tokens
    if code_map.kind == CATEGORY:  # a code below each category, where there is room for one
        below = (f"{token}9" for token in tokens)
        raw = [code if code_map.targets(code) == (token,) else token for code, token in zip(below, tokens, strict=True)]
        return [code for code in raw if set(code_map.targets(code)) <= served.vocabulary.ids.keys()]
    known = [code for code, targets in code_map.entries.items() if set(targets) <= served.vocabulary.ids.keys()]
    kept = [token for token in tokens if code_map.targets(token) == (token,)]
    if not known and not kept:
        raise DataError(f"{served.run.path}: expected a map of codes that leads to a code of the vocabulary")
    return sorted({*known, *kept})


def mapped(served, people):
    """The patients after the vocabulary's map of codes: what the model is given."""
    code_map = served.vocabulary.code_map
    if code_map is None:
        return people

    def through(visit):
        codes = dict.fromkeys(target for code in visit.codes for target in code_map.targets(code))
        return dataclasses.replace(visit, codes=tuple(codes))

    return [dataclasses.replace(person, visits=tuple(map(through, person.visits))) for person in people]


def client_request(served, people):
    """The request of the SavedModel: dict input name -> array, padded; exactly the inputs of the signature."""
    after = served.time_gap == "after"
    columns = {"codes": [], "visits": [], "ages": [], "gaps": [], "stays": [], "recencies": []}
    for person in people:
        rows = {name: [] for name in columns}
        for number, visit in enumerate(person.visits, 1):
            later = person.visits[number].gap if number < len(person.visits) else 0
            days = {
                "ages": visit.age,
                "gaps": later if after else visit.gap,
                "stays": visit.stay,
                "recencies": visit.recency,
            }
            rows["codes"] += visit.codes
            rows["visits"] += [number] * len(visit.codes)
            for name, value in days.items():
                rows[name] += [value] * len(visit.codes)
        for name, values in rows.items():
            columns[name].append(values)
    width = max(1, *(len(row) for row in columns["codes"]))
    request = {}
    for name, rows in columns.items():
        blank = "" if name == "codes" else 0
        padded = [row + [blank] * (width - len(row)) for row in rows]
        request[name] = np.array(padded, object if name == "codes" else np.int64)
    request["age_at_prediction"] = np.array([person.age for person in people], np.int64)
    request["sex"] = np.array([person.sex for person in people], object)
    return {entry["name"]: request[entry["name"]] for entry in served.client_inputs()}


def numeric_batch(served, people):
    """The model's batch, one patient a row: dict of int32 [N, T] and `cls_positions` [N, 1]."""
    people = mapped(served, people)
    sequences = _medbert_sequences(served, people) if served.vocabulary.is_medbert else _sequences(served, people)
    lengths = np.array([len(sequence["token_ids"]) for sequence in sequences])
    slots = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int32)
    x = {}
    for key in sequences[0]:
        x[key] = np.zeros(slots.shape, np.int32)
        x[key][slots > 0] = np.concatenate([sequence[key] for sequence in sequences])
    x["patient_slots"], x["cls_positions"] = slots, np.zeros((len(people), 1), np.int32)
    x["positions"] = np.arange(slots.shape[1], dtype=np.int32) * slots
    segments = {"zero": 0 * slots, "visit": x["visits"], "alternating": x["visits"] % 2}
    x["segments"] = segments[served.config.segment]
    x["sexes"] = np.array([[SEXES.index(person.sex)] for person in people], np.int32) * slots
    return {key: x[key] for key in (*served.config.inputs, "patient_slots", "cls_positions")}


def _sequences(served, people):
    ids = {code: number for code, number in served.vocabulary.ids.items() if number >= served.vocabulary.first_code_id}
    visits = [visit for person in people for visit in person.visits]
    numbers = [number for person in people for number in range(1, len(person.visits) + 1)]
    chunk = Chunk(
        patient_ids=[str(place) for place in range(len(people))],
        prediction_times=np.zeros(len(people), np.int64),
        sexes=np.array([SEXES.index(person.sex) for person in people], np.int8),
        ages_at_prediction=np.array([person.age for person in people], np.int32),
        code_counts=np.array([person.num_codes for person in people], np.int32),
        visit_counts=np.array([len(person.visits) for person in people], np.int32),
        codes=np.array([ids.get(code, UNK_ID) for visit in visits for code in visit.codes], np.int32),
        visits=np.repeat(np.array(numbers, np.int32), [len(visit.codes) for visit in visits]),
        visit_positions=np.array([place for visit in visits for place in range(len(visit.codes))], np.int32),
        stay_days=np.array([visit.stay for visit in visits], np.int32),
        gaps_before=np.array([visit.gap for visit in visits], np.int32),
        recencies=np.array([visit.recency for visit in visits], np.int32),
        ages=np.array([visit.age for visit in visits], np.int32),
        labels={},
        weights={},
    )
    tokens = tokens_of(chunk, served.vocabulary, served.visit_separator, served.time_gap)
    cut = [truncate(tokens[place], served.max_seq_length) for place in range(len(people))]
    return [{key: sequence[column] for key, column in _COLUMN_OF.items()} for sequence in cut]


def _medbert_sequences(served, people):
    ids = served.vocabulary.ids
    rows = [
        [
            place,
            [visit.stay for visit in person.visits],
            [visit.gap for visit in person.visits],
            [ids[code] for visit in person.visits for code in visit.codes],
            [number for number, visit in enumerate(person.visits, 1) for _ in visit.codes],
        ]
        for place, person in enumerate(people)
    ]
    columns, _, _ = medbert_rows(rows, served.max_seq_length)
    counts = columns["input_mask"].sum(axis=1)
    return [
        {"token_ids": columns["input_ids"][place, :count], "visits": columns["segment_ids"][place, :count]}
        for place, count in enumerate(counts)
    ]


def reference(served, model, people):
    """Calibrated probabilities of the Keras model, one patient at a time: dict task -> float64 [N, K], NaN where the
    run withholds them.

    Args:
        served: `ServedRun`.
        model: `keras.Model` of the patient-level tasks.
        people: list of `ParityPerson`.
    """
    spec = {key: tf.TensorSpec([None, None], tf.int32) for key in numeric_batch(served, people[:1])}
    # One trace for all lengths, as medtop.evaluation.scoring does.
    infer = tf.function(lambda x: model(x, training=False), input_signature=[spec])
    logits = {task.name: [] for task in served.tasks}
    for person in people:
        for name, values in infer(numeric_batch(served, [person])).items():
            logits[name].append(values.numpy()[0, 0])
    probabilities = {}
    for task in served.tasks:
        blank = np.zeros((len(people), len(task.labels)), np.float32)
        names = np.array([str(place) for place in range(len(people))])
        predictions = Predictions(
            task.name,
            task.labels,
            names,
            np.zeros(len(people), np.int64),
            blank,
            blank,
            np.array(logits[task.name], np.float32),
        )
        probabilities[task.name] = served.calibrations[task.name].apply(predictions)
        probabilities[task.name][_withheld(served, people)] = np.nan
    return probabilities


def _withheld(served, people):
    """bool [N]: patients of whom too small a share of codes is known, counted as in `medtop.runs.predict`."""
    ids, first = served.vocabulary.ids, served.vocabulary.first_code_id
    codes = [[code for visit in person.visits for code in visit.codes] for person in mapped(served, people)]
    shares = [sum(ids.get(code, -1) >= first for code in some) / max(len(some), 1) for some in codes]
    return np.array([served.min_known_codes > 0 and (not share or share < served.min_known_codes) for share in shares])


def check(served, model, call, where):
    """Compares an export with the Keras model.

    Args:
        served: `ServedRun`.
        model: `keras.Model` of the patient-level tasks.
        call: function of a list of `ParityPerson` that gives dict task -> probabilities [N, K].
        where: names the export in the error.

    Returns:
        `ServingParity`.

    Raises:
        DataError: when a probability differs by more than `TOLERANCE`, or is none.
    """
    people = generate_people(served)
    expected = reference(served, model, people)
    together = call(people)
    alone = [call([person]) for person in people]
    largest = 0.0
    for name, values in expected.items():
        for received in (together[name], np.concatenate([single[name] for single in alone])):
            received = np.asarray(received, np.float64)
            differences = np.abs(received - values)
            differences[np.isnan(received) & np.isnan(values)] = 0  # withheld by both
            difference = float(np.max(differences))
            if not difference <= TOLERANCE:  # NaN too
                raise DataError(
                    f"{where}: expected probabilities of {name} within {TOLERANCE} of the Keras model's, received a "
                    f"difference of {difference:.1e}"
                )
            largest = max(largest, difference)
    everything = np.concatenate([values.ravel() for values in expected.values()])
    codes = [person.num_codes for person in people]
    return ServingParity(
        len(people), min(codes), max(codes), largest, float(np.nanmin(everything)), float(np.nanmax(everything))
    )
