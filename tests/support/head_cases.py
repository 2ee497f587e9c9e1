"""Patients in visits, alone or packed, for the heads over the encoder's outputs, and a plain reading of these heads.

Letters: T tokens of a patient, H width, U units, G gates.
"""

import numpy as np
from small_data import VOCABULARY, all_tasks, small_config

from medtop.cohort.vocabulary import CLS_ID

VISITS = ([2, 1, 3], [], [1], [4, 2], [1, 1, 1, 2])
"""Codes in each visit of five patients; the second has [CLS] only."""
PACKED = ((0, 1, 2), (3, 4))
TASKS = all_tasks(["long_stay", "complications"])
HEADS = ("gru", "bigru", "lstm", "bilstm", "retain")


def head_config(head, **changes):
    """A small `BertConfig` of a head over plain vectors; RETAIN's are of codes alone, as published."""
    embeddings = ("code",) if head == "retain" else ("code", "visit", "age")
    return small_config(**{"head": head, "head_size": 12, "body": "embeddings", "embeddings": embeddings} | changes)


def some_patients(seed=3):
    """Five patients: list of dict input -> int [T]."""
    rng, people = np.random.default_rng(seed), []
    for sizes in VISITS:
        visits = np.concatenate([[0], np.repeat(np.arange(1, len(sizes) + 1), sizes)]).astype(int)
        codes = rng.integers(5, len(VOCABULARY), len(visits))
        codes[0] = CLS_ID
        people.append({"token_ids": codes, "visits": visits, "ages": 9_000 + 400 * visits})
    return people


PATIENTS = some_patients()


def batch(rows, tokens, junk=None):
    """x of rows that hold the given patients one after another; `junk` fills the padding with noise."""
    names, most = ("token_ids", "visits", "ages"), max(map(len, rows))
    x = {name: np.zeros((len(rows), tokens), np.int32) for name in (*names, "patient_slots")}
    if junk is not None:
        x |= {name: junk.integers(0, 5, x[name].shape).astype(np.int32) for name in names}
    x["cls_positions"] = np.zeros((len(rows), most), np.int32)
    for b, row in enumerate(rows):
        start = 0
        for slot, number in enumerate(row):
            span = (b, slice(start, start + len(PATIENTS[number]["visits"])))
            for name in names:
                x[name][span] = PATIENTS[number][name]
            x["patient_slots"][span], x["cls_positions"][b, slot] = slot + 1, start
            start += len(PATIENTS[number]["visits"])
    return x


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def read(kind, weights, sequence):
    """States [T, U] of a net that reads [T, H] from the first row to the last, one row after another.

    Args:
        kind: gru or lstm.
        weights: (kernel [H, G U], recurrent kernel [U, G U], bias, recurrent bias), PyTorch's order of gates.
    """
    kernel, inner, bias, inner_bias = weights
    h, c, states = np.zeros(len(inner)), np.zeros(len(inner)), []
    for x in sequence:
        if kind == "gru":
            (a_r, a_z, a_n), (b_r, b_z, b_n) = np.split(x @ kernel + bias, 3), np.split(h @ inner + inner_bias, 3)
            r, z = sigmoid(a_r + b_r), sigmoid(a_z + b_z)
            h = (1 - z) * np.tanh(a_n + r * b_n) + z * h
        else:
            i, f, g, o = np.split(x @ kernel + bias + h @ inner + inner_bias, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.array(states)


def retain(weights_of, vectors, visits):
    """RETAIN's context vector [H], section 2.2 of Choi et al. 2016, steps 1 to 5 in their order.

    Args:
        weights_of: dict path -> array.
        vectors: [T, H], W_emb's row of each code.
        visits: int [T], the visit of each code, 0 for none.
    """
    v = [vectors[visits == number].sum(axis=0) for number in range(1, visits.max() + 1)]  # 1: v_j = W_emb x_j
    if not v:
        return np.zeros(vectors.shape[1])

    def net(name):
        return [weights_of[f"{name}/{part}"] for part in ("kernel", "recurrent_kernel", "bias", "recurrent_bias")]

    g = read("gru", net("retain_visits"), v[::-1])[::-1]  # 2: g_i, ..., g_1 = RNN(v_i, ..., v_1)
    e = np.array([(one @ weights_of["retain/visit_kernel"] + weights_of["retain/visit_bias"])[0] for one in g])
    shares = np.exp(e - e.max()) / np.exp(e - e.max()).sum()
    h = read("gru", net("retain_codes"), v[::-1])[::-1]  # 3: h_i, ..., h_1; b_j = tanh(W h_j + b)
    b = [np.tanh(one @ weights_of["retain/code_kernel"] + weights_of["retain/code_bias"]) for one in h]
    return sum(a * gate * vector for a, gate, vector in zip(shares, b, v, strict=True))  # 4: c = sum a_j b_j * v_j


def pooled(config, weights_of, vectors, visits):
    """What stands for one patient, by plain loops: [U], [2U] or [H]."""
    if config.head == "retain":
        return retain(weights_of, vectors, visits)
    kind, parts = config.head.removeprefix("bi"), ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
    ends = [read(kind, [weights_of[f"recurrent_forward/{part}"] for part in parts], vectors)[-1]]
    if config.head.startswith("bi"):
        ends.append(read(kind, [weights_of[f"recurrent_backward/{part}"] for part in parts], vectors[::-1])[-1])
    return np.concatenate(ends)
