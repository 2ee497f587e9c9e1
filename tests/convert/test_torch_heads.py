"""Heads over the encoder's outputs against PyTorch's own GRU and LSTM, and their export as the PyTorch twin."""

import numpy as np
import pytest
from convert_cases import assert_close, random_model, write_run
from small_data import small_config

pytest.importorskip("tensorflow", reason="runs are read and built with TensorFlow")
torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra [torch]")

from head_cases import HEADS, PACKED, PATIENTS, TASKS, batch, head_config  # noqa: E402

from medtop.convert import torch_bert  # noqa: E402
from medtop.convert.export_weights import export, plan_export  # noqa: E402
from medtop.convert.import_weights import import_weights, plan_import  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.model.recurrent import Recurrent  # noqa: E402
from medtop.training.checkpoints import read_arrays, weights_of  # noqa: E402
from medtop.training.run_directory import RunDirectory  # noqa: E402


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("backwards", [False, True])
def test_states_and_gradients_are_pytorchs(kind, backwards):
    """PyTorch's own layer and start, on rows of one patient: values and gradients to 1e-5."""
    import tensorflow as tf

    torch.manual_seed(4)
    peer = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[kind](7, 10, batch_first=True)
    x = np.random.default_rng(1).normal(size=(3, 12, 7)).astype(np.float32)
    ours = Recurrent(kind, 10, backwards=backwards)
    ours.build((None, None, 7), (None, None))
    for name, theirs in (("kernel", "weight_ih_l0"), ("recurrent_kernel", "weight_hh_l0")):
        getattr(ours, name).assign(getattr(peer, theirs).detach().numpy().T)
    for name, theirs in (("bias", "bias_ih_l0"), ("recurrent_bias", "bias_hh_l0")):
        getattr(ours, name).assign(getattr(peer, theirs).detach().numpy())
    with tf.GradientTape() as tape:
        states = ours(x, np.ones((3, 12), np.int32))
        loss = tf.reduce_sum(tf.sin(states))
    given = torch.from_numpy(x[:, ::-1].copy() if backwards else x)
    expected = peer(given)[0].flip(1) if backwards else peer(given)[0]
    torch.sin(expected).sum().backward()
    np.testing.assert_allclose(states.numpy(), expected.detach().numpy(), rtol=0, atol=1e-5)
    gradient = tape.gradient(loss, ours.recurrent_kernel.value).numpy()
    np.testing.assert_allclose(gradient, peer.weight_hh_l0.grad.numpy().T, rtol=1e-5, atol=2e-5)
    bound = 10**-0.5  # both start alike: uniform within 1 / sqrt(U)
    fresh = Recurrent(kind, 10)
    fresh.build((None, None, 7), (None, None))
    assert 0.8 * bound < np.abs(np.asarray(fresh.kernel)).max() <= bound
    assert 0.8 * bound < peer.weight_ih_l0.abs().max() <= bound


QUICK = [("gru", "embeddings"), ("bilstm", "bert"), ("retain", "embeddings")]
SLOW = [pytest.param(head, "embeddings", marks=pytest.mark.slow) for head in HEADS if (head, "embeddings") not in QUICK]


@pytest.mark.parametrize(("head", "body"), [*QUICK, *SLOW])
def test_twin_equals_keras_packed_or_not_and_comes_back(head, body, tmp_path):
    config = head_config(head, body=body)
    model = random_model(config, TASKS)
    run = write_run(tmp_path / "run", model, config, TASKS)
    folder = tmp_path / "twin"
    done = export(plan_export(run, folder, layout="medtop"))
    assert done.parity_value <= 1e-5 and "torch_bert" in done.parity and done.left_out == {}
    twin = torch_bert.TorchBert.from_folder(folder).eval()
    for x in (batch([[n] for n in range(len(PATIENTS))], 9), batch(PACKED, 17, junk=np.random.default_rng(3))):
        x["positions"] = np.zeros_like(x["token_ids"])  # not read
        with torch.no_grad():
            theirs = twin({key: torch.from_numpy(values) for key, values in x.items()})
        ours = model({key: x[key] for key in model.input}, training=False)
        real = x["patient_slots"].max(axis=1)
        for task, logits in ours.items():
            for b, patients in enumerate(real):
                assert_close(np.asarray(logits)[b, :patients], theirs[task].numpy()[b, :patients], task)
    import_weights(plan_import(folder, tmp_path / "back"))
    arrays, before = read_arrays(tmp_path / "back" / "best" / "weights.npz")[0], weights_of(model)
    assert arrays.keys() == before.keys() and RunDirectory(tmp_path / "back").read()[0] == config
    for path, array in before.items():
        np.testing.assert_array_equal(arrays[path], array, err_msg=path)


@pytest.mark.parametrize("layout", ["huggingface", "tf1"])
def test_stock_layouts_have_no_place_for_them(layout, tmp_path):
    config = head_config("bigru", body="bert")
    run = write_run(tmp_path / "run", random_model(config, TASKS), config, TASKS)
    words = f"--layout={layout}: expected a transformer with linear heads, received head=bigru, body=bert; --layout=me"
    for drop in (False, True):
        with pytest.raises(DataError, match=words):
            plan_export(run, tmp_path / "out", layout=layout, head="long_stay", drop_extra=drop)
    assert not (tmp_path / "out").exists()
    bag = small_config(body="embeddings", pooling="mean")
    run = write_run(tmp_path / "bag", random_model(bag, TASKS), bag, TASKS)
    with pytest.raises(DataError, match="received head=linear, body=embeddings"):
        plan_export(run, tmp_path / "out", layout=layout, head="long_stay")
    assert export(plan_export(run, tmp_path / "twin", layout="medtop")).parity_value <= 1e-5
