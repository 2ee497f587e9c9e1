"""Two workers on this machine, as a cluster runs them: together, one killed, one stopped, alone the next time."""

import json
import signal
import time

import numpy as np
import pytest
from conftest import ROOT
from forked import Forked

pytest.importorskip("tensorflow", reason="training needs TensorFlow")

from small_data import small_config, write_splits  # noqa: E402
from test_distribution import cluster  # noqa: E402

from medtop.training.checkpoints import read_arrays  # noqa: E402
from medtop.training.log import read_log  # noqa: E402

pytestmark = pytest.mark.slow
PATIENCE, BOUND = 1800, 600  # seconds by the clock, on a machine that many may share
"""Seconds within which a worker whose peer is gone must have ended."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    write_splits(folder, (40, 16, 16))
    config = small_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    (folder / "config.json").write_text(json.dumps(config.to_dict() | {"vocab_size": 0}))
    return folder


def worker(data, output, *flags, place=None):
    strategy = ["--distribution_strategy=multi_worker_mirrored"] if place else []
    return Forked(
        [
            str(ROOT / "run_scripts/run_toppretraining.py"),
            "--do_train",
            *strategy,
            *(f"--{name}={data}/{name}.tfrecord" for name in ("input_file", "valid_file", "test_file")),
            f"--bert_config_file={data}/config.json",
            f"--output_dir={output}",
            "--train_batch_size=8",
            "--nobaselines",
            "--num_bootstrap=20",
            "--save_checkpoints_steps=4",
            "--learning_rate=1e-3",
            *flags,
        ],
        place,
    )


def together(data, output, *flags, count=2):
    return [worker(data, output, *flags, place=place) for place in cluster(count)]


def ended(process, code, seconds=PATIENCE):
    errors = process.wait(seconds)
    assert process.returncode == code, errors[-3000:]
    return errors


def wait_for_step(output, step, processes):
    deadline = time.monotonic() + PATIENCE
    while len(read_log(output / "train_log.jsonl")) < step:
        assert all(process.returncode is None for process in processes), [process.wait(60) for process in processes]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_workers_train_and_evaluate_as_one(data, tmp_path):
    flags = ("--num_train_epochs=3", "--do_eval")
    for process in together(data, tmp_path / "two", *flags):
        ended(process, 0)
    ended(worker(data, tmp_path / "one", *flags), 0)
    for log in ("train_log.jsonl", "eval_log.jsonl"):
        two, one = (read_log(tmp_path / name / log) for name in ("two", "one"))
        assert [row["step"] for row in two] == [row["step"] for row in one] and len(one) in (15, 3)
        for mine, theirs in zip(two, one, strict=True):
            assert mine.keys() == theirs.keys()
            known = [name for name in mine if mine[name] is not None]
            np.testing.assert_allclose([mine[name] for name in known], [theirs[name] for name in known], rtol=2e-3,
                                       atol=2e-4)  # fmt: skip  # AdamW divides by gradients that are almost 0
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("two", "one")]
    assert metrics[0].keys() == metrics[1].keys() == {"valid", "test"}


def test_a_killed_worker_ends_the_other_and_fewer_go_on(data, tmp_path):
    """Within a bounded time and in one line; then one worker alone finishes what two began, each step once."""
    output = tmp_path / "run"
    processes = together(data, output, "--num_train_epochs=400")
    wait_for_step(output, 12, processes)
    processes[1].kill()
    started = time.monotonic()
    text = ended(processes[0], 75, BOUND)
    assert time.monotonic() - started < BOUND
    assert "stopped: another worker ended or cannot be reached" in text.splitlines()[-1]
    processes[1].wait(60)
    taken = read_arrays(sorted((output / "checkpoints").glob("step-*.npz"))[-1])[1]["step"]
    assert taken >= 12

    alone = worker(data, output, "--num_train_epochs=400")  # one worker, with the same global batch
    wait_for_step(output, taken + 20, [alone])
    alone.send_signal(signal.SIGTERM)
    text = ended(alone, 75)
    assert f"going on from step {taken} of 2000" in text

    again = together(data, output, "--num_train_epochs=400")  # and two again
    wait_for_step(output, taken + 40, again)
    again[1].send_signal(signal.SIGTERM)  # not the chief: both know, and the chief saves
    texts = [ended(process, 75, BOUND) for process in again]
    assert "stopped by signal SIGTERM of another worker after step" in texts[0]
    rows = read_log(output / "train_log.jsonl")
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1)) and len(rows) >= taken + 40
    assert read_arrays(sorted((output / "checkpoints").glob("step-*.npz"))[-1])[1]["step"] == len(rows)


def test_a_killed_chief_ends_the_others(data, tmp_path):
    output = tmp_path / "run"
    processes = together(data, output, "--num_train_epochs=400")
    wait_for_step(output, 3, processes)
    processes[0].kill()
    processes[0].wait(60)
    errors = processes[1].wait(BOUND)
    assert processes[1].returncode != 0, errors
