"""Replicas: the same global batch gives the same losses and weights on one device, two, three, and two processes."""

import dataclasses
import json
import socket

import numpy as np
import pytest
from conftest import ROOT
from forked import Forked

tf = pytest.importorskip("tensorflow", reason="strategies are TensorFlow's")

from small_data import patients as random_ones  # noqa: E402
from small_data import small_config, with_labels, write_dataset  # noqa: E402

WORKER = ROOT / "tests/support/equal_worker.py"
CONFIG = dataclasses.asdict(small_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(name, folder, results, cases, devices=1, more=None):
    return Forked(
        [str(WORKER), name, str(folder), str(results), str(devices), json.dumps(cases)],
        {"CUDA_VISIBLE_DEVICES": "", **(more or {})},
    )


def finished(processes, seconds=900):
    for process in processes:
        output = process.wait(seconds)
        assert process.returncode == 0, output[-3000:]


def cluster(count):
    """TF_CONFIG of each of `count` workers on this machine."""
    workers = [f"localhost:{port}" for port in free_ports(count)]
    return [
        {"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": number}})}
        for number in range(count)
    ]


def read(result):
    with np.load(result, allow_pickle=False) as file:
        logs = json.loads(str(file["logs"]))
        return logs, {name: file[name] for name in file.files if name != "logs"}


def assert_equal(one, other, tolerance=1e-5, by_fit=False):
    """The same logs and weights; of what `fit` shows, the losses."""
    logs, weights = one
    other_logs, other_weights = other
    if by_fit:
        logs, other_logs = ([losses_of(row, other_logs[0]) for row in rows] for rows in (logs, other_logs))
        assert "loss" in logs[0]
    assert [row.keys() for row in logs] == [row.keys() for row in other_logs]
    for name in {name: None for row in logs for name in row}:
        mine, theirs = ([row[name] for row in rows if name in row] for rows in (logs, other_logs))
        # a cosine lies between -1 and 1: near 0 its own size says nothing
        least = tolerance if name.endswith("_cosine") else 1e-7
        np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=least, err_msg=name)
    assert weights.keys() == other_weights.keys()
    for path, weight in weights.items():
        np.testing.assert_allclose(weight, other_weights[path], rtol=tolerance, atol=1e-7, err_msg=path)


def losses_of(row, shown):
    return {name: value for name, value in row.items() if name.endswith("loss") and name in shown}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """40 patients in two files; known labels lie unevenly: in a batch's first rows, or with few patients only."""
    path = tmp_path_factory.mktemp("replicas")
    people = random_ones(42, seed=2)
    people = [
        with_labels(one, "long_stay", *([None] if number % 7 else [number % 2])) for number, one in enumerate(people)
    ]
    write_dataset(path / "train.tfrecord", people, num_shards=2)
    return path


COMMON = dict(config=CONFIG, batch_size=8, steps=20)
PACKED = {"packing": True, "row_lengths": [16, 32]}
ALL = ["masked_lm", "long_stay", "complications"]
CASES = {
    # every task mix; 42 patients in batches of 8: the last batch has fewer
    "packed": COMMON | dict(tasks=ALL, task_weights={"masked_lm": 0.5, "long_stay": 2.0}, options=PACKED),
    "uncertainty": COMMON | dict(tasks=ALL, balancing="uncertainty"),
    "gradnorm": COMMON | dict(tasks=ALL, balancing="gradnorm", options=PACKED, telemetry_steps=5),
    "random": COMMON | dict(tasks=["masked_lm", "complications"], balancing="random", clip_norm=0.05),  # always bites
    # rows that two devices cannot share evenly; the trainer's optimizer, with a large epsilon instead of plain descent
    "uneven": COMMON | dict(tasks=["long_stay"], batch_size=7, optimizer="adamw"),
}


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    """Function: results on one device of some cases, by name."""
    results = tmp_path_factory.mktemp("alone")
    found = {}

    def of(names):
        missing = {name: CASES[name] for name in names if name not in found}
        if missing:
            finished([start("one_device", folder, results, missing)])
            found.update({name: read(results / f"{name}.npz") for name in missing})
        return {name: found[name] for name in names}

    return of


def check_what_cases_say(results):
    """Losses change from step to step and end lower; unknown labels leave some batches without any; weights move."""
    for name, (logs, _) in results.items():
        losses = [row["loss"] for row in logs]
        assert len(losses) == 20 and np.ptp(losses) > 0.01
        assert "balancing" in CASES[name] or np.mean(losses[-5:]) < np.mean(losses[:5])
        if "balancing" in CASES[name]:
            weights = [[row[key] for key in row if key.endswith("_weight")] for row in logs]
            assert np.ptp(weights, axis=0).min() > 1e-3, name  # every task's
    for name in ("uncertainty", "uneven"):
        assert any(row["long_stay_loss"] == 0.0 for row in results[name][0])
    cosines = [key for row in results["gradnorm"][0] for key in row if key.endswith("_gradient_cosine")]
    assert len(cosines) == 4 * 3


def check_equal(folder, expected, results, strategy, places=(None,), fit=(), **about):
    """Runs the cases of `expected` under a strategy, in one process or several, those named in `fit` also by Keras's
    `fit`, and compares."""
    cases = {name: CASES[name] for name in expected} | {f"{name}, by fit": CASES[name] | {"fit": True} for name in fit}
    finished([start(strategy, folder, results, cases, more=place, **about) for place in places])
    for name in cases:
        alone, _, by_fit = name.partition(", ")
        assert_equal(expected[alone], read(results / f"{name}.npz"), by_fit=bool(by_fit))


@pytest.mark.slow
def test_every_case_on_two_devices_and_two_workers(folder, alone, tmp_path):
    expected = alone(tuple(CASES))
    check_what_cases_say(expected)
    by_fit = tuple(name for name in CASES if name != "packed")  # as "gradnorm" is
    check_equal(folder, expected, tmp_path, "mirrored", devices=2, fit=by_fit)
    check_equal(folder, expected, tmp_path, "multi_worker_mirrored", cluster(2))


@pytest.mark.slow
def test_fit_on_one_device_equals_the_trainers_steps(folder, alone, tmp_path):
    """Of the encoder, packed and padded; each balancer on small networks: `test_fit`, and above on two devices."""
    check_equal(folder, alone(names := ("gradnorm", "uneven")), tmp_path, "one_device", fit=names)


@pytest.mark.slow
def test_three_devices_and_parts_of_a_batch_equal_one(folder, alone, tmp_path):
    parts = {"packed": CASES["packed"] | {"accumulation": 2}}  # 8 rows in 6 parts: some are empty
    finished([start("mirrored", folder, tmp_path, parts, devices=3)])
    assert_equal(alone(("packed",))["packed"], read(tmp_path / "packed.npz"))
