"""Checkpoints: bit for bit there and back, damage noticed, the newest whole one taken, nothing run from a file."""

import io
import pickle
import zipfile

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="checkpoints hold a model in training")

import keras  # noqa: E402
from small_data import all_tasks, small_config  # noqa: E402

from medtop.files.errors import DataError  # noqa: E402
from medtop.model.multitask import build_model, compile_arguments  # noqa: E402
from medtop.training.checkpoints import (  # noqa: E402
    CheckpointFolder,
    read_arrays,
    set_weights,
    training_variables,
    weights_of,
    write_arrays,
)
from medtop.training.distribution import Distribution  # noqa: E402
from medtop.training.driver import Driver  # noqa: E402
from medtop.training.optimizer import AdamW, WarmupLinearDecay  # noqa: E402
from medtop.training.step import TensorFlowModel  # noqa: E402

TASKS = all_tasks(["long_stay"])


class InTraining:
    """A model, its optimizer, and the variables that a checkpoint of it holds."""

    def __init__(self, seed=0, **changes):
        keras.utils.set_random_seed(seed)
        self.model = build_model(small_config(**changes), TASKS, TensorFlowModel)
        optimizer = AdamW(WarmupLinearDecay(1e-2, 2, 50))
        self.model.compile(optimizer, **compile_arguments(TASKS), balancer="uncertainty")
        self.driver = Driver(self.model, Distribution(tf.distribute.get_strategy()))
        self.variables = training_variables(self.model)

    def steps(self, count, first=0):
        """Takes training steps with dropout, each with its own batch; the losses."""
        losses = []
        self.model.optimizer.iterations.assign(first)
        for number in range(first, first + count):
            rng = np.random.default_rng(number)
            x = {key: rng.integers(1, 5, (4, 6)).astype(np.int32) for key in ("token_ids", "visits", "ages")}
            x |= {"patient_slots": np.ones((4, 6), np.int32), "cls_positions": np.zeros((4, 1), np.int32)}
            y, w = rng.integers(0, 2, (4, 1, 1)).astype(np.float32), np.full((4, 1, 1), 0.25, np.float32)
            batch = tf.nest.map_structure(tf.constant, (x, {"long_stay": y}, {"long_stay": w}))
            losses.append(self.driver(batch)[0]["loss"])
        return losses


def save(folder, trained, state):
    folder.save(trained.variables, state)
    folder.wait()


def everything(trained):
    return [np.array(variable.numpy()) for variable in trained.variables.values()]


@pytest.fixture(scope="module")
def trained():
    trained = InTraining()
    trained.steps(3)
    return trained


@pytest.mark.slow
def test_round_trip_is_exact_and_training_goes_on_as_if_nothing_had_happened(tmp_path):
    first = InTraining()
    assert len(first.steps(3)) == 3
    folder = CheckpointFolder(tmp_path)
    state = {"step": 3, "epoch": 0, "best": 0.125, "finished": False}
    folder.save(first.variables, state)
    saved = everything(first)
    expected = first.steps(3, first=3)  # while the file may still be written: its values were copied before

    other = InTraining(seed=99)  # another process, with other numbers to start from
    folder.wait()
    assert CheckpointFolder(tmp_path).restore(other.variables) == state
    for mine, theirs in zip(everything(other), saved, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    assert other.steps(3, first=3) == expected  # dropout's masks too


def test_nothing_there_is_none(tmp_path, trained):
    assert CheckpointFolder(tmp_path / "checkpoints").restore(trained.variables) is None


def test_newest_few_are_kept(tmp_path, trained):
    folder = CheckpointFolder(tmp_path, keep=2)
    for step in (1, 9, 10, 100):
        save(folder, trained, {"step": step})
    assert [path.name for path in folder.paths()] == ["step-000000010.npz", "step-000000100.npz"]
    assert folder.restore(trained.variables) == {"step": 100}
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in folder.paths()}  # no half files


def damaged(content, kind):
    if kind == "cut":
        return content[: len(content) // 2]
    if kind == "empty":
        return b""
    place = content.index(b"PK\x01\x02") // 2 if kind == "flipped" else 40
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@pytest.mark.parametrize("kind", ["cut", "empty", "flipped", "flipped name"])
def test_damaged_newest_falls_back_with_a_warning(tmp_path, trained, caplog, kind):
    folder = CheckpointFolder(tmp_path)
    for step in (1, 2):
        save(folder, trained, {"step": step})
    before = everything(trained)
    newest = folder.paths()[-1]
    newest.write_bytes(damaged(newest.read_bytes(), kind))
    assert folder.restore(trained.variables) == {"step": 1}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert newest.name in caplog.text and "going back" in caplog.text
    for mine, theirs in zip(everything(trained), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_only_damaged_ones_are_an_error_not_a_fresh_start(tmp_path, trained):
    folder = CheckpointFolder(tmp_path)
    save(folder, trained, {"step": 1})
    folder.paths()[0].write_bytes(b"PK")
    with pytest.raises(DataError, match="expected at least one whole checkpoint, received 1 damaged"):
        folder.restore(trained.variables)


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path):
    """Zip has fields that nobody reads; a flip there changes nothing. Everywhere else it is one kind of error."""
    arrays, state = {"a/kernel": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.int64(7)}, {"step": 5}
    write_arrays(tmp_path / "whole.npz", arrays, state)
    content = (tmp_path / "whole.npz").read_bytes()
    noticed = 0
    for place in range(len(content)):
        flipped = bytes([content[place] ^ (1 << place % 8)])
        (tmp_path / "bad.npz").write_bytes(content[:place] + flipped + content[place + 1 :])
        try:
            found, found_state = read_arrays(tmp_path / "bad.npz")
        except DataError as error:
            assert "bad.npz" in str(error) and "\n" not in str(error)
            noticed += 1
            continue
        assert found_state == state and found.keys() == arrays.keys(), place
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)
    assert noticed > len(content) / 2


def test_older_files_hold_query_key_and_value_side_by_side(tmp_path):
    """The same numbers, read as [H, 3, H] and [3, H]; so do the optimizer's means; everything else stays."""
    kernel, bias = np.arange(48, dtype=np.float32).reshape(4, 12), np.arange(12, dtype=np.float32)
    older = {
        "layer_0_attention/qkv_kernel": kernel,
        "00007|layer_1_attention/qkv_kernel/square_mean:0": kernel,
        "layer_0_attention/qkv_bias": bias,
        "layer_0_attention/output_kernel": kernel,
        "pooler/bias": bias,
    }
    write_arrays(tmp_path / "older.npz", older, {"step": 1})
    read, _ = read_arrays(tmp_path / "older.npz")
    shapes = [array.shape for array in read.values()]
    assert shapes == [(4, 3, 4), (4, 3, 4), (3, 4), (4, 12), (12,)]
    for part in range(3):
        place = slice(4 * part, 4 * part + 4)
        np.testing.assert_array_equal(read["layer_0_attention/qkv_kernel"][:, part], kernel[:, place])
        np.testing.assert_array_equal(read["layer_0_attention/qkv_bias"][part], bias[place])
    write_arrays(tmp_path / "newer.npz", read, {"step": 1})
    again, _ = read_arrays(tmp_path / "newer.npz")
    assert [array.shape for array in again.values()] == shapes


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_cut_files_are_noticed(tmp_path, share):
    write_arrays(tmp_path / "x.npz", {"a": np.arange(50)}, {"step": 1})
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match="expected whole saved weights, received a damaged or cut file"):
        read_arrays(tmp_path / "x.npz")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="none.npz: expected saved weights, found no such file"):
        read_arrays(tmp_path / "none.npz")


class Evil:
    def __reduce__(self):
        return (open, ("evil_was_here", "w"))


def test_pickles_are_never_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    payload = io.BytesIO()
    np.save(payload, np.array([Evil()], dtype=object), allow_pickle=True)
    state = io.BytesIO()
    np.save(state, np.frombuffer(b'{"step": 1}', np.uint8))
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as file:
        file.writestr("weights.npy", payload.getvalue())
        file.writestr("state.json.npy", state.getvalue())
    with pytest.raises(DataError, match="bad.npz"):
        read_arrays(tmp_path / "bad.npz")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Evil()))  # np.load unpickles what is no zip
    with pytest.raises(DataError, match="pickle.npz"):
        read_arrays(tmp_path / "pickle.npz")
    assert not (tmp_path / "evil_was_here").exists()


@pytest.mark.quick(first=1)
@pytest.mark.parametrize(
    "changes", [{"num_hidden_layers": 2}, {"hidden_size": 8}, {"embeddings": ("code", "gap", "age")}]
)
def test_another_models_checkpoint_is_refused(tmp_path, trained, changes):
    folder = CheckpointFolder(tmp_path)
    save(folder, InTraining(**changes), {"step": 1})
    before = everything(trained)
    with pytest.raises(DataError, match="expected a checkpoint of this model, received another model's"):
        folder.restore(trained.variables)
    for mine, theirs in zip(everything(trained), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_weights_by_name_go_there_and_back(tmp_path, trained):
    arrays = weights_of(trained.model)
    assert arrays.keys() == {weight.path for weight in trained.model.weights}
    write_arrays(tmp_path / "w.npz", arrays, {"step": 4, "value": None})
    found, state = read_arrays(tmp_path / "w.npz")
    other = InTraining(seed=5).model
    set_weights(other, found, tmp_path / "w.npz")
    assert state == {"step": 4, "value": None}
    for path, array in weights_of(other).items():
        np.testing.assert_array_equal(array, arrays[path])
    missing = {path: array for path, array in arrays.items() if path != "pooler/bias"}
    with pytest.raises(DataError, match="w.npz: .*pooler/bias"):
        set_weights(other, missing, "w.npz")
    with pytest.raises(DataError, match=r"w.npz: expected pooler/bias of shape \(16,\), received \(17,\)"):
        set_weights(other, arrays | {"pooler/bias": np.zeros(17)}, "w.npz")
