"""The PyTorch twin against the Keras model: every embedding, pooling, packed rows; and without medtop installed."""

import json
import subprocess
import sys

import numpy as np
import pytest
from convert_cases import (
    STOCK,
    assert_close,
    convert_config,
    ours_of,
    padded_batch,
    random_model,
    write_run,
)
from small_data import ALL_EMBEDDINGS, all_tasks

pytest.importorskip("tensorflow", reason="runs are read and built with TensorFlow")
torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra [torch]")

import encoder_cases  # noqa: E402

from medtop.convert import torch_bert  # noqa: E402
from medtop.convert.export_weights import export, plan_export  # noqa: E402
from medtop.convert.import_weights import import_weights, plan_import  # noqa: E402
from medtop.model.config import DAYS_PER_YEAR, EMBEDDINGS  # noqa: E402
from medtop.model.encoder import table_rows  # noqa: E402
from medtop.training.checkpoints import read_arrays, weights_of  # noqa: E402
from medtop.training.run_directory import RunDirectory  # noqa: E402

KINDS = encoder_cases.KINDS
"""(norm, activation, pooling)."""


def twin_of(folder, x):
    """(model, outputs as numpy) of a folder on a batch of the pipeline's keys."""
    model = torch_bert.TorchBert.from_folder(folder).eval()
    with torch.no_grad():
        outputs = model({key: torch.from_numpy(np.ascontiguousarray(values)) for key, values in x.items()})
    return model, {name: values.numpy() for name, values in outputs.items()}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """kind -> (config, Keras model, run, folder for the twin), with every embedding; made once."""
    found = {}
    for kind in KINDS:
        norm, activation, pooling = kind
        config = convert_config(norm=norm, activation=activation, pooling=pooling, embeddings=ALL_EMBEDDINGS)
        model = random_model(config)
        run = write_run(tmp_path_factory.mktemp("run"), model, config)
        folder = tmp_path_factory.mktemp("out") / "twin"
        done = export(plan_export(run, folder, layout="medtop"))
        assert done.parity_value <= 1e-5 and "torch_bert" in done.parity and done.left_out == {}
        found[kind] = config, model, run, folder
    return found


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_twin_equals_keras_with_every_embedding(exported, kind):
    config, model, _, folder = exported[kind]
    x = padded_batch(config)
    ours, (_, theirs) = ours_of(model, x), twin_of(folder, x)
    real = x["patient_slots"] > 0
    assert_close(ours["hidden"][real], theirs["sequence_output"][real], "hidden states")
    assert_close(ours["pooled"], theirs["pooled_output"][:, 0], "pooled output")
    assert_close(ours["masked_lm"], theirs["masked_lm"], "masked-code logits")
    for task in ("long_stay", "complications"):
        assert_close(ours[task], theirs[task][:, 0], task)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[4], KINDS[5]], ids="-".join)
def test_twin_equals_keras_on_packed_rows_whatever_stands_in_the_padding(exported, kind):
    _, model, _, folder = exported[kind]
    x = encoder_cases.batch(encoder_cases.PACKED, 20, junk=np.random.default_rng(6))
    x = {key: np.minimum(values, 59) if key == "token_ids" else values for key, values in x.items()}
    logits = encoder_cases.outputs_of(model, x)
    _, theirs = twin_of(folder, x)
    for task, values in logits.items():
        assert_close(values, theirs[task], task)
    assert theirs["long_stay"].shape == (2, 3, 1)


def test_rows_of_the_tables_are_the_encoders():
    """The twin repeats these rules, because it must work without medtop; here both are held together."""
    assert torch_bert.EMBEDDINGS == EMBEDDINGS and torch_bert.DAYS_PER_YEAR == DAYS_PER_YEAR
    values = np.array([0, 1, 2, 5, 10, 11, 364, 365, 366, 730, 731, 3652, 3653, 22_000, 32_872, 40_000, -3], np.int32)
    values = np.concatenate([values, np.arange(0, 40_000, 37, dtype=np.int32)])
    for kind in ("identity", "years", "days"):
        for scale in ("log2", "days"):
            ours = np.asarray(table_rows(values, kind, 60, scale))
            theirs = torch_bert.table_rows(torch.from_numpy(values), kind, 60, scale)
            assert theirs.dtype == torch.int64
            np.testing.assert_array_equal(ours, theirs.numpy(), err_msg=f"{kind} {scale}")


@pytest.mark.parametrize("kind", [KINDS[1], KINDS[3]], ids="-".join)
def test_round_trip_of_our_own_layout_is_bit_for_bit_with_all_heads(exported, kind, tmp_path):
    config, model, _, folder = exported[kind]
    done = import_weights(plan_import(folder, tmp_path / "back"))
    arrays, _ = read_arrays(tmp_path / "back" / "best" / "weights.npz")
    before = weights_of(model)
    assert arrays.keys() == before.keys() and done.parity_value <= 1e-5
    for path, array in before.items():
        np.testing.assert_array_equal(arrays[path], array, err_msg=path)
    assert RunDirectory(tmp_path / "back").read()[0] == config
    assert RunDirectory(tmp_path / "back").read()[2] == all_tasks()


@pytest.mark.parametrize("head", ["pretraining", "complications", "masked_lm", "encoder"])
@pytest.mark.parametrize("file_format", ["safetensors", "bin"])
def test_the_twin_loads_the_stock_folders_too(head, file_format, tmp_path):
    """The same file: HuggingFace's names where HuggingFace has a place, zero tables and two-way head included."""
    config = convert_config(embeddings=("code", "visit"))
    model = random_model(config)
    run = write_run(tmp_path / "run", model, config)
    export(plan_export(run, tmp_path / "out", head=head, file_format=file_format))
    x = padded_batch(config)
    ours, (_, theirs) = ours_of(model, x), twin_of(tmp_path / "out", x)
    real = x["patient_slots"] > 0
    assert_close(ours["hidden"][real], theirs["sequence_output"][real], "hidden states")
    assert ("pooled_output" in theirs) == (head != "masked_lm")
    tasks = {"pretraining": ["masked_lm", "long_stay"], "complications": ["complications"], "masked_lm": ["masked_lm"]}
    for task in tasks.get(head, []):
        assert_close(ours[task], theirs[task] if task == "masked_lm" else theirs[task][:, 0], task)
    del x["positions"], x["segments"], x["cls_positions"]  # what may be left out
    again = twin_of(tmp_path / "out", x)[1]
    np.testing.assert_array_equal(again["sequence_output"], theirs["sequence_output"])


def test_packed_rows_need_positions(exported):
    _, _, _, folder = exported[KINDS[0]]
    x = encoder_cases.batch(encoder_cases.PACKED, 20)
    del x["positions"]
    with pytest.raises(ValueError, match="expected positions with packed rows"):
        twin_of(folder, x)


def test_a_folder_of_another_origin_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="expected a folder that medtop wrote"):
        torch_bert.TorchBert.from_folder(tmp_path)


def test_the_twin_trains(exported):
    """Dropout is on in training, gradients reach every weight, and a step lowers the loss."""
    config, _, _, folder = exported[KINDS[0]]
    torch.manual_seed(0)
    model = torch_bert.TorchBert.from_folder(folder)
    x = {key: torch.from_numpy(np.ascontiguousarray(values)) for key, values in padded_batch(config).items()}
    target = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]], [[0.0, 0.0]]])

    def loss():
        return torch.nn.functional.binary_cross_entropy_with_logits(model(x)["complications"], target)

    assert model.train()(x)["complications"].ne(model(x)["complications"]).any()
    model.eval()
    (loss() + model(x)["masked_lm"].square().mean() + model(x)["long_stay"].square().mean()).backward()
    assert [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()] == []
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    before = loss().item()
    for _ in range(3):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < before


ALONE = """
import re, sys
sys.modules["medtop"] = None  # not installed
code = re.search(r"```python\\n(.*?)```", open("README.md").read(), re.S)[1]
exec(code)
assert not [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras")], "PyTorch only"
print({name: list(values.shape) for name, values in outputs.items()})
"""


def test_the_cards_lines_run_in_the_folder_where_medtop_is_not_installed(exported):
    _, _, _, folder = exported[KINDS[0]]
    process = subprocess.run([sys.executable, "-c", ALONE], cwd=folder, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert "'complications': [1, 1, 2]" in process.stdout and "'masked_lm': [1, 4, 60]" in process.stdout


def test_automodel_does_not_take_our_own_layout_for_bert(exported):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    _, _, _, folder = exported[KINDS[0]]
    with pytest.raises(Exception, match="medtop-bert"):
        transformers.AutoModel.from_pretrained(str(folder), local_files_only=True)
    assert STOCK[0] in ALL_EMBEDDINGS
