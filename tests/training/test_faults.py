"""Faults on purpose: a full disk, a folder that cannot be written, damaged data, a wild loss, a clock that is set back.

Each ends in one line, and nothing that was finished is lost. Kills and lost workers: test_kills, test_workers.
"""

import errno
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

tf = pytest.importorskip("tensorflow", reason="training needs TensorFlow")

from small_data import patients as random_ones  # noqa: E402
from small_data import replaced, small_config, training_options, write_dataset, write_splits  # noqa: E402

from medtop.data import description, tfrecord  # noqa: E402
from medtop.data.batches import BatchOptions, TrainBatches  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.model.tasks import choose_tasks  # noqa: E402
from medtop.runs import execute  # noqa: E402
from medtop.training import checkpoints  # noqa: E402
from medtop.training.checkpoints import read_arrays  # noqa: E402
from medtop.training.log import read_log  # noqa: E402
from medtop.training.options import make_plan  # noqa: E402
from medtop.training.run_directory import RunDirectory  # noqa: E402
from medtop.training.trainer import Trainer, describe_places  # noqa: E402


@pytest.fixture(autouse=True)
def step_by_step():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def options(tmp_path):
    """Two epochs of five steps, a checkpoint after every second."""
    files = write_splits(tmp_path, (40, 16, 4)) | {"test_file": ""}
    config = small_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)  # fewer operations in each step
    return training_options(tmp_path, files, config, tasks=("long_stay",), save_checkpoints_steps=2)


def whole_checkpoints(folder):
    """Steps of the checkpoints of a run, all of which can be read."""
    return [read_arrays(path)[1]["step"] for path in sorted((Path(folder) / "checkpoints").glob("step-*.npz"))]


class DiskFull:
    """np.savez until the disk is full: the n-th file is begun and not finished."""

    def __init__(self, allowed):
        self.left, self.savez = allowed, np.savez

    def __call__(self, file, **arrays):
        if self.left == 0:
            file.write(b"PK half a file")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.left -= 1
        self.savez(file, **arrays)


@pytest.mark.parametrize(
    "allowed, left",
    [(1, [2]), (2, [2, 4]), (3, [2, 4])],
)
@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_leaves_what_was_finished(options, monkeypatch, allowed, left):
    """The second or third checkpoint, or the best weights, cannot be written any more."""
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.np, "savez", DiskFull(allowed))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            execute.execute(options)
    assert whole_checkpoints(options.output_dir) == left
    assert [path.name for path in Path(options.output_dir).rglob("*") if "tmp" in path.suffix] == []
    execute.execute(options)  # room again: the same command goes on
    assert [row["step"] for row in read_log(RunDirectory(options.output_dir).log_file)] == list(range(1, 11))


def command(folder, output):
    """A trainer's command line."""
    return [
        "run_scripts/run_toppretraining.py",
        "--do_train",
        "--tasks=long_stay",
        f"--input_file={folder}/input_file.tfrecord",
        f"--output_dir={output}",
        "--train_batch_size=8",
        f"--bert_config_file={folder}/config.json",
        "--num_train_epochs=1",
    ]


def last_line(process, code=1):
    assert process.returncode == code, process.stderr
    line = process.stderr.splitlines()[-1]
    assert line.startswith("error: ") and "Traceback" not in process.stderr
    return line


@pytest.mark.slow
def test_a_quota_ends_the_script_in_one_line(options, tmp_path):
    """No file may grow beyond 20 kB: the weights do not fit."""

    def quota():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    words = [sys.executable, *command(tmp_path, tmp_path / "run")]
    line = last_line(subprocess.run(words, cwd=ROOT, capture_output=True, text=True, preexec_fn=quota))
    assert "File too large" in line
    assert not list((tmp_path / "run").rglob("*.npz"))


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(options, tmp_path, run_script):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    folder = Path("/proc/medtop") if os.access(closed, os.W_OK) else closed / "run"  # root may write everywhere else
    line = last_line(run_script(*command(tmp_path, folder)))
    assert str(folder) in line


def flip(shard):
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)


def cut(shard):
    os.truncate(shard, shard.stat().st_size // 2)


@pytest.mark.slow
@pytest.mark.parametrize("harm", [flip, cut, Path.unlink])
def test_a_shard_that_is_harmed_while_training_is_named(options, tmp_path, harm):
    """After the first epoch, while the batches of the next are ready; the checkpoint of an epoch's end stays."""
    write_dataset(tmp_path / "shards", random_ones(40), num_shards=4)
    plan = make_plan(replaced(options, input_file=str(tmp_path / "shards"), num_train_epochs=6))
    done = Trainer(plan, RunDirectory(tmp_path / "run"))
    shard = description.shard_names(tmp_path / "shards", 4)[2]

    def step_done(logs, stop, last, original=done.step_done):
        original(logs, stop, last)
        if done.state.step == 5:
            harm(shard)

    done.step_done = step_done
    with pytest.raises(DataError, match=f"^{shard}: ") as caught:
        done.train()
    assert "\n" not in str(caught.value)
    assert whole_checkpoints(tmp_path / "run")[-1] in range(5, 30, 5)


def test_a_missing_shard_is_refused_before_anything_is_written(options, tmp_path):
    write_dataset(tmp_path / "shards", random_ones(12), num_shards=3)
    gone = description.shard_names(tmp_path / "shards", 3)[1]
    gone.unlink()
    shutil.rmtree(options.output_dir, ignore_errors=True)
    with pytest.raises(DataError, match=gone.name):
        execute.execute(replaced(options, input_file=str(tmp_path / "shards")))
    assert not Path(options.output_dir).exists()


@pytest.mark.slow
def test_each_batch_says_where_its_records_lie(tmp_path, monkeypatch):
    """Every patient of an epoch, by the age that only they have: the file and the place that they were written to."""
    from medtop.data import batches as pipeline

    tf.config.run_functions_eagerly(False)
    monkeypatch.setattr(pipeline, "SHUFFLE_BLOCK", 16)
    people = random_ones(42, seed=1)
    write_dataset(tmp_path / "train", people, num_shards=3)
    info = tfrecord.read_dataset(tmp_path / "train")
    written = {}  # age -> (file, record)
    for file in info.files:
        records = tf.stack(list(tf.data.TFRecordDataset(str(file))))
        for number, ages in enumerate(tfrecord.parse_batch(records, info)["age_days"].to_list()):
            written[ages[0]] = (file, number)
    assert len(written) == 42
    options = BatchOptions(batch_size=4, max_seq_length=32, windows_of=2)
    batches = TrainBatches(info, small_config(), choose_tasks(["long_stay"], info.tasks), options, seed=9)
    for epoch in (0, 3):
        for number, (x, _, _) in enumerate(list(batches.epoch(epoch))):
            ages = x["ages"].numpy()[:, 0]
            expected = {written[int(age)] for age in ages if age}
            assert {*batches.locate(epoch, number)} == expected and expected


def test_places_are_listed_by_file():
    places = [(Path("b"), 4), (Path("a"), 7), (Path("a"), 2), *[(Path("c"), number) for number in range(10)]]
    assert describe_places(places) == "a: records 2, 7; b: records 4; c: records 0, 1, 2, 3, 4, 5, 6, 7 and 2 more"


@pytest.mark.slow
def test_a_loss_that_is_no_number_names_step_file_and_records(options, tmp_path):
    """Injected: from the seventh step on every loss is NaN."""
    done = Trainer(make_plan(options), RunDirectory(tmp_path / "run"))
    read = done.driver.read
    located = []

    def wild(started):
        logs, stop = read(started)
        if done.state.step >= 6:
            located.append(sorted(record for _, record in done.batches.locate(1, 1)))
            logs |= {"loss": float("nan")}
        return logs, stop

    done.driver.read = wild
    with pytest.raises(DataError) as caught:
        done.train()
    message = str(caught.value)
    first = ", ".join(map(str, located[0][:8]))
    assert "received nan at step 7 (epoch 1, batch 2: " in message and "the last checkpoint is kept" in message
    assert f"{options.input_file}: records {first}" in message and len(located[0]) == 8
    assert whole_checkpoints(tmp_path / "run") == [4, 5, 6]
    assert read_log(done.run.log_file)[-1]["loss"] is None


@pytest.mark.slow
def test_a_clock_that_is_set_back_changes_nothing(options, tmp_path, monkeypatch):
    logs = []
    for name in ("steady", "jumping"):
        with monkeypatch.context() as patch:
            if name == "jumping":
                start = time.time()
                ticks = iter(range(10**9))
                patch.setattr(time, "time", lambda: start - 3600.0 * next(ticks))  # noqa: B023
            seven = replaced(options, save_checkpoints_minutes=0.001, num_train_steps=7)
            done = Trainer(make_plan(seven), RunDirectory(tmp_path / name))
            done.train()
        logs.append(read_log(done.run.log_file))
    assert logs[0] == logs[1] and len(logs[0]) == 7
