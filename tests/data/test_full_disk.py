"""A feature script that cannot write: disk full, too many open files, another run on its output. One line, no file."""

import contextlib
import fcntl
import os
import resource

import pytest

from medtop.files.errors import DataError

pytest.importorskip("tensorflow", reason="records are written by TensorFlow")

from sequence_cases import chunk_of  # noqa: E402
from small_data import description, patients, write_chunk, write_dataset  # noqa: E402

from medtop.data import create, tfrecord  # noqa: E402


@contextlib.contextmanager
def limited(which, value):
    """A limit of this process, put back afterwards."""
    soft, hard = resource.getrlimit(which)
    resource.setrlimit(which, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(which, (soft, hard))


def write(path, shards, people=300):
    about = description()
    with tfrecord.DatasetWriter(path, shards, about) as writer:
        write_chunk(writer, chunk_of(patients(people), about["tasks"]))


@pytest.mark.quick("disk-False", "files-False")
@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize(
    "which, value, shards, message",
    [
        (resource.RLIMIT_FSIZE, 20_000, 2, "expected room to write, received: File too large"),
        (resource.RLIMIT_NOFILE, None, 200, "Too many open files"),
    ],
    ids=["disk", "files"],
)
def test_no_room(tmp_path, which, value, shards, message, earlier):
    """Before, TensorFlow's own exceptions, with a traceback and exit code 70. An earlier data set stays whole."""
    path = tmp_path / "train"
    if earlier:
        write_dataset(path, patients(3))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    value = len(os.listdir("/proc/self/fd")) + 40 if value is None else value
    with pytest.raises((DataError, OSError), match=message) as error, limited(which, value):
        write(path, shards)
    assert "\n" not in str(error.value) and "train" in str(error.value)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    write(path, shards)
    assert tfrecord.read_dataset(path).num_examples == 300


def test_two_runs_on_one_output(tmp_path):
    """The second is refused while the first writes, and what it leaves behind is nothing."""
    path = tmp_path / "train"
    with create._alone(str(path)):
        with pytest.raises(DataError, match="train: expected no other run on this output, found one"):
            with create._alone(str(path)):
                pass
    assert not any(tmp_path.iterdir())
    with open(tmp_path / ".train.lock", "w") as left:  # of a killed run: nobody holds it
        left.write("")
    with create._alone(str(path)):
        pass
    with open(tmp_path / ".train.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="found one that is still writing"):
            with create._alone(str(path)):
                pass
    os.unlink(tmp_path / ".train.lock")
    os.symlink(tmp_path / "elsewhere", tmp_path / ".train.lock")
    with pytest.raises((DataError, OSError)):
        with create._alone(str(path)):
            pass
    assert not (tmp_path / "elsewhere").exists()
