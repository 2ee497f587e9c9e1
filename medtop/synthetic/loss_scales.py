"""A generated table on which summing the losses as they are fails: one loss is 1,000 times the others.

Each of three targets is the difference of two absolute values along directions of its own, |u x| - |v x|, and noise:
no linear model finds it, and the narrow trunk has to learn six directions. The squared error of `flow` counts in the
data's units (mL/min squared, standard deviation sqrt(1000)), that of `ratio` in standard units, `answer` by
cross-entropy.
"""

import csv

import numpy as np

from medtop.files.atomic import atomic_path, write_json

LOSS_SCALE = 1000.0
NUM_INPUTS = 9
NOISE = np.array([0.7, 0.7, 0.3])  # standard deviations of what no input explains; the signals' are 1


def scale_rows(num_rows, seed, loss_scale=LOSS_SCALE):
    """dict column -> array [num_rows].

    Args:
        num_rows: rows.
        seed: of the rows; the functions are always the same.
        loss_scale: variance of `flow`.
    """
    directions, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(NUM_INPUTS, 6)))  # orthogonal, of length 1
    generator = np.random.default_rng([1, seed])
    x = generator.normal(size=(num_rows, NUM_INPUTS))
    parts = np.abs(x @ directions)
    signals = (parts[:, :3] - parts[:, 3:]) / np.sqrt(2 - 4 / np.pi)  # variance 1
    flow, ratio, answer = signals.T + NOISE[:, None] * generator.normal(size=(3, num_rows))
    columns = {f"x{number + 1}": x[:, number] for number in range(NUM_INPUTS)}
    columns["flow"] = 300 + np.sqrt(loss_scale) * flow
    columns["ratio"] = 1 + 0.2 * ratio
    columns["answer"] = np.array(["low", "middle", "high"])[np.digitize(answer, [-0.5, 0.5])]
    return columns


def scale_schema(weight=1.0):
    """The schema file's content; `weight`: of `flow`. 1 / LOSS_SCALE is what somebody who knows the scale would fix."""
    return {
        "version": 1,
        "inputs": [{"column": f"x{number + 1}", "kind": "numeric"} for number in range(NUM_INPUTS)],
        "targets": [
            {"column": "flow", "kind": "regression", "loss_units": "data", "weight": weight},
            {"column": "ratio", "kind": "regression"},
            {"column": "answer", "kind": "classification"},
        ],
    }


def write_case(folder, num_rows, seed, weight=1.0):
    """Writes `scale.csv` and `scale_schema.json` into a folder; returns both paths."""
    columns = scale_rows(num_rows, seed)
    with atomic_path(folder / "scale.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    write_json(folder / "scale_schema.json", scale_schema(weight))
    return folder / "scale.csv", folder / "scale_schema.json"
