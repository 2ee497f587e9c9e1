"""Small chunks of sequences for tests: patients written as plain Python, and random ones."""

import numpy as np

from medtop.cohort.pickled_lists import Chunk, SequenceWriter
from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary

TASKS = {"long_stay": ["long_stay"], "complications": ["MACE_365", "CKD_365"]}
VOCABULARY = Vocabulary((*SPECIAL_TOKENS, "I10", "E119", "N183", "J45", "K21"))

TWO_VISITS = {
    "patient_id": "p1",
    "prediction_time": 1_000_000_000,
    "sex": 1,
    "age": 20_000,
    # codes, stay days, gap before, recency, age at admission
    "visits": [([7, 5], 3, 0, 55, 19_942), ([9, 1, 6], 10, 35, 0, 19_990)],
    "labels": {"long_stay": [1.0], "complications": [0.0, 1.0]},
    "weights": {"long_stay": [1.0], "complications": [0.0, 1.0]},
}
NO_CODES = {
    "patient_id": "pé",
    "prediction_time": -5,
    "sex": 0,
    "age": 0,
    "visits": [],
    "labels": {"long_stay": [0.0], "complications": [0.0, 0.0]},
    "weights": {"long_stay": [0.0], "complications": [1.0, 1.0]},
}


def chunk_of(patients, tasks=None):
    """The `Chunk` of patients like `TWO_VISITS`."""
    tasks = TASKS if tasks is None else tasks
    visits = [[visit for visit in patient["visits"]] for patient in patients]
    flat = [visit for patient in visits for visit in patient]

    def ints(values, dtype=np.int32):
        return np.array(list(values), dtype)

    return Chunk(
        patient_ids=[patient["patient_id"] for patient in patients],
        prediction_times=ints((patient["prediction_time"] for patient in patients), np.int64),
        sexes=ints((patient["sex"] for patient in patients), np.int8),
        ages_at_prediction=ints(patient["age"] for patient in patients),
        code_counts=ints(sum(len(visit[0]) for visit in patient) for patient in visits),
        visit_counts=ints(len(patient) for patient in visits),
        codes=ints(code for visit in flat for code in visit[0]),
        visits=ints(number + 1 for patient in visits for number, visit in enumerate(patient) for _ in visit[0]),
        visit_positions=ints(place for visit in flat for place in range(len(visit[0]))),
        stay_days=ints(visit[1] for visit in flat),
        gaps_before=ints(visit[2] for visit in flat),
        recencies=ints(visit[3] for visit in flat),
        ages=ints(visit[4] for visit in flat),
        labels={task: np.array([patient["labels"][task] for patient in patients], np.float32) for task in tasks},
        weights={task: np.array([patient["weights"][task] for patient in patients], np.float32) for task in tasks},
    )


def random_patients(count, seed, vocabulary=VOCABULARY):
    """`count` patients with 0 to 8 visits of 1 to 12 codes, numbers of up to five varint bytes."""
    rng = np.random.default_rng(seed)

    def number(high=40_000):
        return int(rng.integers(0, high))

    patients = []
    for place in range(count):
        visits = [
            (rng.integers(5, len(vocabulary), rng.integers(1, 13)).tolist(), number(40), number(), number(), number())
            for _ in range(rng.integers(0, 9))
        ]
        weights = {task: rng.integers(0, 2, len(labels)).astype(float) for task, labels in TASKS.items()}
        patients.append(
            {
                "patient_id": f"r{seed}-{place}",
                "prediction_time": number(1 << 33) - (1 << 32),
                "sex": number(3),
                "age": number(),
                "visits": visits,
                "weights": {task: values.tolist() for task, values in weights.items()},
                "labels": {
                    task: (rng.integers(0, 2, len(values)) * values).tolist() for task, values in weights.items()
                },
            }
        )
    return patients


def write_sequences(path, patients, vocabulary=VOCABULARY, chunk_size=100, **header):
    """Writes `<prefix>.bencs.*` of these patients in the default layout."""
    header = {"split": "train", "vocabulary_hash": vocabulary.hash, **header}
    with SequenceWriter(path, TASKS, **header) as writer:
        for first in range(0, len(patients), chunk_size):
            writer.write(chunk_of(patients[first : first + chunk_size]))
