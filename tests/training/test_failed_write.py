"""A checkpoint that could not be written is told of, whatever is asked next."""

import pytest

pytest.importorskip("tensorflow", reason="checkpoints hold TensorFlow's variables")

from medtop.training import checkpoints  # noqa: E402


class Variable:
    """What a checkpoint asks of a variable."""

    def numpy(self):
        return [1.0, 2.0]


@pytest.mark.parametrize("then", ["save", "wait"])
def test_a_failed_write_is_not_forgotten(tmp_path, monkeypatch, then):
    """The next call raises it, even where the write after it would succeed."""
    folder, write = checkpoints.CheckpointFolder(tmp_path), checkpoints.write_arrays
    folder.save({"a": Variable()}, {"step": 1})
    folder.wait()

    def full(path, arrays, state):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoints, "write_arrays", full)
    folder.save({"a": Variable()}, {"step": 2})
    folder._writer.submit(int).result()  # the write before this one is over
    monkeypatch.setattr(checkpoints, "write_arrays", write)
    with pytest.raises(OSError, match="No space left"):
        folder.save({"a": Variable()}, {"step": 3}) if then == "save" else folder.wait()
    folder.wait()  # told once
    folder.save({"a": Variable()}, {"step": 4})
    folder.wait()
    assert [path.name for path in folder.paths()] == ["step-000000001.npz", "step-000000004.npz"]
