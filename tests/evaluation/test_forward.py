"""The forward pass of scoring: LayerNorm as one operation of oneDNN's, and two batches at a time."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT

tf = pytest.importorskip("tensorflow", reason="graphs are TensorFlow's")
keras = pytest.importorskip("keras", reason="models are Keras's")

from small_data import small_config  # noqa: E402

from medtop.evaluation import forward  # noqa: E402
from medtop.evaluation.forward import one_layer_norm, side_by_side  # noqa: E402
from medtop.model.encoder import build_encoder  # noqa: E402
from medtop.model.tokenwise import LayerNorm, layer_norm_as  # noqa: E402

GAMMA, BETA = (np.random.default_rng(seed).normal(size=24).astype(np.float32) for seed in (1, 2))


def normal(x, epsilon):
    centred = np.asarray(x, np.float64) - np.mean(x, -1, keepdims=True, dtype=np.float64)
    return GAMMA * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) + BETA


@pytest.mark.parametrize("epsilon", [1e-12, 0.5])
@pytest.mark.parametrize("shape", [(3, 7, 24), (21, 24), (1, 24), (0, 24), (2, 0, 24)])
def test_one_operation_is_the_formula(shape, epsilon):
    """Of any number of tokens, none among them; what has small values, and a mean that is far from them."""
    open_sizes = tf.TensorSpec([None] * (len(shape) - 1) + [24])
    norm = tf.function(lambda x: one_layer_norm(x, GAMMA, BETA, epsilon), input_signature=[open_sizes], autograph=False)
    rng = np.random.default_rng(0)
    for scale, mean in ((1, 0), (1e-4, 0), (1, 300)):
        x = (rng.normal(size=shape) * scale + mean).astype(np.float32)
        found = norm(x)
        assert found.shape == shape
        np.testing.assert_allclose(found, normal(x, epsilon), atol=2e-6 * (1 + 100 * bool(mean)))


def test_layers_compute_what_they_are_told_to_for_so_long():
    def doubled(x, gamma, beta, epsilon):
        return 2 * x * gamma + beta + epsilon

    layer, other = LayerNorm(0.5), LayerNorm(0.5, dtype="float64")
    x = np.arange(24.0, dtype=np.float32)[None]
    before = layer(x)
    with layer_norm_as(doubled):
        np.testing.assert_array_equal(layer(x), 2 * x + 0.5)
        np.testing.assert_allclose(other(x.astype(np.float64)), before, rtol=1e-5)  # only float32 has another way
        with layer_norm_as(None):
            np.testing.assert_array_equal(layer(x), before)
        with pytest.raises(ZeroDivisionError), layer_norm_as(None):
            raise ZeroDivisionError
        np.testing.assert_array_equal(layer(x), 2 * x + 0.5)
    np.testing.assert_array_equal(layer(x), before)


@pytest.mark.parametrize("has_onednn,gpus,norms", [(True, [], 5), (True, ["GPU:0"], 0), (False, [], 0)])
def test_only_cpus_with_onednn_have_it(monkeypatch, has_onednn, gpus, norms):
    monkeypatch.setattr(forward, "ONEDNN", has_onednn)
    monkeypatch.setattr(forward.tf.config, "list_logical_devices", lambda kind: gpus)
    encoder = build_encoder(small_config(num_hidden_layers=2))
    x = {name: np.ones((2, 5), np.int32) for name in encoder.input} | {"cls_positions": np.zeros((2, 1), np.int32)}
    signature = {name: tf.TensorSpec([None, None], tf.int32) for name in x}
    scores = tf.function(forward.forward(encoder), input_signature=[signature], autograph=False)
    graph = scores.get_concrete_function().graph
    assert sum(one.type == "FusedBatchNormV3" for one in graph.get_operations()) == norms
    expected = encoder(x, training=False)["sequence_output"]
    np.testing.assert_allclose(scores(x)["sequence_output"], expected, atol=1e-5)


ONE_EACH = """
from medtop.cli.heavy_imports import prepare_imports
prepare_imports()
import numpy as np, tensorflow as tf
from tensorflow.python.eager import context
from medtop.evaluation import forward
from medtop.model.config import BertConfig
from medtop.model.encoder import build_encoder
assert forward.ONEDNN
encoder = build_encoder(BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2))
rng = np.random.default_rng(0)
for weight in encoder.weights:
    weight.assign(weight + 0.3 * rng.normal(size=weight.shape))
x = {name: np.ones((2, 5), np.int32) for name in encoder.input}
x |= {"token_ids": rng.integers(5, 50, (2, 5)).astype(np.int32), "cls_positions": np.zeros((2, 1), np.int32)}
signature = {name: tf.TensorSpec([None, None], tf.int32) for name in x}
scores = tf.function(forward.forward(encoder), input_signature=[signature], autograph=False)
context.context().enable_graph_collection()
found = scores(x)["sequence_output"]
graphs = context.context().export_run_metadata().partition_graphs
print(sum(node.op == "_MklLayerNorm" for graph in graphs for node in graph.node))
print(abs(found - encoder(x, training=False)["sequence_output"]).numpy().max() < 1e-5)
"""


@pytest.mark.slow
def test_tensorflow_makes_one_operation_of_it():
    """In a process of its own: TensorFlow asks once whether it may use oneDNN."""
    kept = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    process = subprocess.run(
        [sys.executable, "-c", ONE_EACH],
        cwd=ROOT,
        env={**kept, "TF_ENABLE_ONEDNN_OPTS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.stdout.split() == ["5", "True"], process.stderr


def test_batches_are_computed_two_at_a_time_and_come_in_their_order(monkeypatch):
    """The first call is alone (it traces); then slow and quick ones run together; an error reaches the caller."""
    running, most = [], []

    def square(number, pause):
        running.append(number)
        most.append(len(running))
        time.sleep(pause)
        running.remove(number)
        if number == 7:
            raise ValueError("seventh")
        return number**2

    batches = [(number, 0.05 * (number % 2)) for number in range(7)]
    assert list(side_by_side(square, iter(batches))) == [(batch, batch[0] ** 2) for batch in batches]
    assert most[0] == 1 and max(most) == 2
    assert list(side_by_side(square, [])) == []
    with pytest.raises(ValueError, match="seventh"):
        list(side_by_side(square, [*batches, (7, 0.0), (8, 0.0)]))
    most.clear()
    monkeypatch.setattr(forward.tf.config, "list_logical_devices", lambda kind: [kind])
    assert [found for _, found in side_by_side(square, batches)] == [number**2 for number in range(7)]
    assert max(most) == 1
