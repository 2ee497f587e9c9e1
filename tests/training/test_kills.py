"""Runs, each killed (kill -9) at a random moment and started again: each ends as the one that nobody killed.

KILLS says how many, twenty where it is unset; `make test-slow` takes six, each time at other moments.
"""

import concurrent.futures
import json
import os
import time

import numpy as np
import pytest
from conftest import ROOT
from forked import KILLED, Forked

pytest.importorskip("tensorflow", reason="training needs TensorFlow")

from small_data import small_config, write_splits  # noqa: E402

from medtop.training.log import read_log  # noqa: E402

RUNS, STEPS = int(os.environ.get("KILLS", "20")), 40


def trainer(folder, output):
    return Forked(
        [
            str(ROOT / "run_scripts/run_toppretraining.py"),
            "--do_train",
            "--deterministic",
            f"--input_file={folder}/input_file.tfrecord",
            f"--valid_file={folder}/valid_file.tfrecord",
            f"--bert_config_file={folder}/config.json",
            f"--output_dir={output}",
            "--train_batch_size=8",
            "--num_train_epochs=8",
            "--save_checkpoints_steps=3",
            "--learning_rate=1e-2",
            "--seed=7",
        ]
    )


def finish(folder, output):
    process = trainer(folder, output)
    errors = process.wait(600)
    assert process.returncode == 0, errors
    return errors


def started_and_killed(folder, output, seconds, steps):
    """Kills a run once its log has so many steps and so many seconds have passed; was it killed?"""
    process = trainer(folder, output)
    log = output / "train_log.jsonl"
    while process.returncode is None and len(read_log(log)) < steps:
        time.sleep(0.01)
    time.sleep(seconds)
    process.kill()
    process.wait(60)
    return process.returncode == KILLED


def killed_and_finished(folder, output, seconds, steps):
    """Kills a run and lets it finish: (was it killed?, did it go on from a checkpoint?)."""
    killed = started_and_killed(folder, output, seconds, steps)
    return killed, "going on from step" in finish(folder, output)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with training and validation records, a config, and `whole`, the run that nobody killed."""
    folder = tmp_path_factory.mktemp("kills")
    write_splits(folder, (40, 16, 4))
    (folder / "config.json").write_text(json.dumps(small_config().to_dict() | {"vocab_size": 0}))
    finish(folder, folder / "whole")
    rows = read_log(folder / "whole" / "train_log.jsonl")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    return folder


def assert_as_whole(folder, run, about):
    """The same logs and weights, to the bit."""
    for name in ("train_log.jsonl", "eval_log.jsonl"):
        assert read_log(run / name) == read_log(folder / "whole" / name), about
    for name in ("best/weights.npz", f"checkpoints/step-{STEPS:09d}.npz"):
        with np.load(run / name) as mine, np.load(folder / "whole" / name) as theirs:
            assert mine.files == theirs.files
            for array in mine.files:
                np.testing.assert_array_equal(mine[array], theirs[array], err_msg=f"{about} {array}")


@pytest.mark.slow
def test_each_ends_with_the_same_bits(data, tmp_path):
    rng = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    # some while they start, most while they train; checkpoints are written every third step
    moments = [
        (rng.uniform(0, 4), 0) if number % 5 == 0 else (rng.uniform(0, 0.3), rng.integers(1, STEPS))
        for number in range(RUNS)
    ]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # two at a time, for two cores
        outcomes = list(
            pool.map(lambda number: killed_and_finished(data, tmp_path / f"run{number}", *moments[number]), range(RUNS))
        )
    assert sum(killed for killed, _ in outcomes) >= RUNS // 2  # a run may be done before its moment
    assert sum(resumed for _, resumed in outcomes) >= max(RUNS // 4, 1)  # or killed before its first checkpoint
    for number in range(RUNS):
        assert_as_whole(data, tmp_path / f"run{number}", moments[number])


@pytest.mark.slow
def test_one_that_is_killed_again_and_again_ends_with_the_same_bits(data, tmp_path):
    rng = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    moments = [(rng.uniform(0, 2), 0), *((rng.uniform(0, 0.3), steps) for steps in (4, 14, 25))]
    killed = [started_and_killed(data, tmp_path / "run", *moment) for moment in moments]
    assert sum(killed) >= 3
    finish(data, tmp_path / "run")
    assert_as_whole(data, tmp_path / "run", moments)
