"""Six patients, alone or packed, and six kinds of encoder: what the encoder and its exports are held against.

Letters: B rows in a batch, T tokens in a row, P patients in a row, M masked positions in a row.
"""

import numpy as np
from small_data import ALL_EMBEDDINGS, VOCABULARY, all_tasks

from medtop.cohort.vocabulary import CLS_ID
from medtop.model.config import EMBEDDINGS

LENGTHS = (5, 1, 9, 3, 7, 4)
"""Tokens of six patients; packed three to a row."""
PACKED = ((0, 1, 2), (3, 4, 5))
KINDS = [
    ("post", "gelu", "cls"),
    ("post", "gelu_tanh", "mean"),
    ("post", "gelu", "sum"),
    ("pre", "gelu", "cls"),
    ("pre", "gelu_tanh", "sum"),
    ("pre", "gelu", "mean"),
]
CONFIG = dict(
    embeddings=ALL_EMBEDDINGS,
    num_hidden_layers=2,
    max_position_embeddings=16,
    visit_vocab_size=5,
    visit_position_vocab_size=4,
    type_vocab_size=3,
    age_vocab_size=80,
    day_vocab_size=40,
)
TASKS = all_tasks()


def perturbed(model, seed=0):
    """Sets every weight, biases and LayerNorm too, to numbers that no weight starts from."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.normal(scale=0.4, size=weight.shape) + (1.0 if weight.name == "gamma" else 0.0))
    return model


def some_patients(seed=1):
    """Six patients: dict embedding -> int [n], many values beyond the tables of `CONFIG`."""
    rng = np.random.default_rng(seed)
    found = []
    for n in LENGTHS:
        patient = {
            "code": rng.integers(5, len(VOCABULARY), n),
            "position": np.arange(n),
            "visit_position": rng.integers(0, 8, n),
            "visit": rng.integers(0, 12, n),
            "segment": rng.integers(0, 6, n),
            "age": rng.choice([0, 1, 364, 366, 20_000, 36_000], n),
            "gap": rng.integers(0, 3000, n),
            "stay": rng.integers(0, 60, n),
            "recency": rng.choice([0, 1, 2, 40_000], n),
            "sex": np.full(n, rng.integers(0, 3)),
        }
        patient["code"][0] = CLS_ID
        found.append(patient)
    return found


PATIENTS = some_patients()
MASKED = [np.arange(1, n, 2) for n in LENGTHS]
"""Places of each patient that the masked head is asked about."""


def batch(rows, tokens, junk=None):
    """x of rows that hold the given patients one after another.

    Args:
        rows: list of lists of places in `PATIENTS`.
        tokens: T; what no patient fills is padding.
        junk: a generator that fills the padding of every input but `patient_slots` with noise; None: zeros.
    """
    slots, most = max(map(len, rows)), max(sum(len(MASKED[i]) for i in row) for row in rows)
    x = {key: np.zeros((len(rows), tokens), np.int32) for key, _, _ in EMBEDDINGS.values()}
    if junk is not None:
        x = {key: junk.integers(0, 5, values.shape).astype(np.int32) for key, values in x.items()}
    x["patient_slots"] = np.zeros((len(rows), tokens), np.int32)
    x["cls_positions"] = np.zeros((len(rows), slots), np.int32)
    x["mask_positions"] = np.zeros((len(rows), most), np.int32)
    for b, row in enumerate(rows):
        start = used = 0
        for slot, i in enumerate(row):
            place = slice(start, start + LENGTHS[i])
            for name, (key, _, _) in EMBEDDINGS.items():
                x[key][b, place] = PATIENTS[i][name]
            x["patient_slots"][b, place] = slot + 1
            x["cls_positions"][b, slot] = start
            x["mask_positions"][b, used : used + len(MASKED[i])] = start + MASKED[i]
            start, used = start + LENGTHS[i], used + len(MASKED[i])
    return x


def outputs_of(model, x):
    keys = model.input.keys()
    return {name: np.asarray(value) for name, value in model({key: x[key] for key in keys}, training=False).items()}
