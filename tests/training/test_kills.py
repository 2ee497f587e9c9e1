"""Runs, each killed (kill -9) at a random moment and started again: each ends as the one that nobody killed.

KILLS says how many, twenty where it is unset; `make test-slow` takes ten, each time at other moments.
"""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT

pytest.importorskip("tensorflow", reason="training needs TensorFlow")

from small_data import small_config, write_splits  # noqa: E402

from medtop.training.log import read_log  # noqa: E402

RUNS, STEPS = int(os.environ.get("KILLS", "20")), 40


def trainer(folder, output):
    return subprocess.Popen(
        [
            sys.executable,
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
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder, output):
    process = trainer(folder, output)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return errors


def killed_and_finished(folder, output, seconds, steps):
    """Kills a run once it has taken so many steps and so many seconds more, and lets it finish; was it killed?"""
    process = trainer(folder, output)
    log = output / "train_log.jsonl"
    while process.poll() is None and len(read_log(log)) < steps:
        time.sleep(0.01)
    time.sleep(seconds)
    process.kill()
    process.communicate()
    errors = finish(folder, output)
    return process.returncode == -signal.SIGKILL, "going on from step" in errors


@pytest.mark.slow
def test_each_ends_with_the_same_bits(tmp_path):
    write_splits(tmp_path, (40, 16, 4))
    (tmp_path / "config.json").write_text(json.dumps(small_config().to_dict() | {"vocab_size": 0}))
    finish(tmp_path, tmp_path / "whole")
    expected = {name: read_log(tmp_path / "whole" / name) for name in ("train_log.jsonl", "eval_log.jsonl")}
    assert [row["step"] for row in expected["train_log.jsonl"]] == list(range(1, STEPS + 1))

    rng = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    # some while they start, most while they train; checkpoints are written every third step
    moments = [
        (rng.uniform(0, 6), 0) if number % 5 == 0 else (rng.uniform(0, 0.3), rng.integers(1, STEPS))
        for number in range(RUNS)
    ]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # two at a time, for two cores
        outcomes = list(
            pool.map(
                lambda number: killed_and_finished(tmp_path, tmp_path / f"run{number}", *moments[number]), range(RUNS)
            )
        )
    assert sum(killed for killed, _ in outcomes) >= RUNS // 2  # a run may be done before its moment
    assert sum(resumed for _, resumed in outcomes) >= RUNS // 3
    for number in range(RUNS):
        run = tmp_path / f"run{number}"
        assert {name: read_log(run / name) for name in expected} == expected, moments[number]
        for name in ("best/weights.npz", f"checkpoints/step-{STEPS:09d}.npz"):
            with np.load(run / name) as mine, np.load(tmp_path / "whole" / name) as theirs:
                assert mine.files == theirs.files
                for array in mine.files:
                    np.testing.assert_array_equal(mine[array], theirs[array], err_msg=f"{moments[number]} {array}")
