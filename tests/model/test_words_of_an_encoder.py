"""An encoder of words: neighbours through a convolution, and embeddings that are left out in training."""

import dataclasses
import math

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="models are Keras's")

from medtop.model.config import BertConfig  # noqa: E402
from medtop.model.dropout import dropouts  # noqa: E402
from medtop.model.encoder import Embeddings, build_encoder  # noqa: E402
from medtop.model.encoder_layers import Neighbours  # noqa: E402


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def test_neighbours_by_hand():
    """Token by token in NumPy; a token of another patient, and padding, stand for nothing."""
    random = np.random.default_rng(0)
    layer, x = Neighbours(4, 0.3, 0.5), random.normal(size=(2, 5, 4)).astype(np.float32)
    slots = np.array([[1, 1, 2, 2, 0], [1, 1, 1, 1, 1]])
    found = keras.ops.convert_to_numpy(layer(x, slots))
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    for row in range(2):
        for place in range(5):
            three = np.zeros((3, 4))
            for side in (-1, 0, 1):
                if 0 <= place + side < 5 and slots[row, place + side] == slots[row, place]:
                    three[1 + side] = x[row, place + side]
            expected = x[row, place] + gelu(three.ravel() @ kernel)
            np.testing.assert_allclose(found[row, place], expected, atol=1e-5)
    assert np.abs(keras.ops.convert_to_numpy(layer(x, slots, training=True)) - found).max() > 0.01, "dropout"


def test_channels_are_left_out_in_training_only():
    """With rows of 1, 10 and 100 each sum says which of three embeddings stood in it, doubled at a rate of a half."""
    config = BertConfig(
        vocab_size=9, hidden_size=4, num_attention_heads=2, embeddings=("code", "shape", "suffix"),
        channel_dropout_prob=0.5,
    )  # fmt: skip
    layer, inputs = Embeddings(config), [np.ones((40, 50), np.int32)] * 3
    layer(inputs)
    for number, name in enumerate(config.embeddings):
        layer.tables[name].assign(np.full(layer.tables[name].shape, 10.0**number))
    still, moved = (keras.ops.convert_to_numpy(layer(inputs, training=training)) for training in (False, True))
    assert (still == 111).all()
    assert (moved == moved[:, :, :1]).all(), "a channel goes as a whole"
    sums, counts = np.unique(moved[:, :, 0], return_counts=True)
    assert sums.tolist() == [2 * value for value in (0, 1, 10, 11, 100, 101, 110, 111)]
    assert (np.abs(counts / 2000 - 1 / 8) < 4 * math.sqrt(7 / 64 / 2000)).all()


def test_encoders_without_it_draw_the_noise_that_they_drew():
    """A layer's noise follows from its place among those that a model has: none is added where nothing is dropped."""
    config = BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=2, intermediate_size=4)
    plain = [layer.rate for layer in dropouts(build_encoder(config))]
    more = dataclasses.replace(config, channel_dropout_prob=0.25, neighbour_layers=1)
    assert plain == [0.1] * 3
    assert sorted(layer.rate for layer in dropouts(build_encoder(more))) == [0.1] * 4 + [0.25]
