"""Dense layers, activations and LayerNorm against NumPy and SciPy, and the shapes in which TensorFlow fuses them."""

import math

import numpy as np
import pytest
from scipy.special import ndtr
from small_data import small_config

keras = pytest.importorskip("keras", reason="these layers are Keras's")
tf = pytest.importorskip("tensorflow", reason="gradients and graphs are TensorFlow's")

from medtop.model.encoder import build_encoder, encoder_inputs  # noqa: E402
from medtop.model.tokenwise import Dense, LayerNorm, activation, affine  # noqa: E402

RNG = np.random.default_rng(0)
WIDE = RNG.normal(3.0, 2.0, (2, 3, 4, 5))


def filled(layer, x, dtype="float64"):
    """Builds the layer and gives every weight numbers that none starts from."""
    layer.build(x.shape)
    for weight in layer.weights:
        weight.assign(RNG.normal(size=weight.shape).astype(dtype))
    return layer


@pytest.mark.parametrize(
    "name,formula",
    [
        ("gelu", lambda x: x * ndtr(x)),
        ("gelu_tanh", lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        ("tanh", np.tanh),
    ],
)
def test_activations_are_their_formulas(name, formula):
    x = np.linspace(-9, 9, 201)
    np.testing.assert_allclose(np.asarray(activation(name)(keras.ops.convert_to_tensor(x))), formula(x), atol=1e-14)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 3, 4, 5)])
def test_affine_is_one_row_per_token(shape):
    x, kernel, bias = RNG.normal(size=shape), RNG.normal(size=(5, 7)), RNG.normal(size=7)
    parts = [keras.ops.convert_to_tensor(part) for part in (x, kernel, bias)]
    np.testing.assert_allclose(np.asarray(affine(*parts)), (x @ kernel + bias).reshape(-1, 7), rtol=1e-12)


@pytest.mark.parametrize("act", [None, "gelu", "tanh"])
def test_dense_keeps_the_leading_sizes(act):
    layer = filled(Dense(7, 0.02, act, dtype="float64"), WIDE)
    kernel, bias = (weight.numpy() for weight in layer.weights)
    expected = WIDE @ kernel + bias
    expected = expected * ndtr(expected) if act == "gelu" else np.tanh(expected) if act else expected
    np.testing.assert_allclose(np.asarray(layer(WIDE)), expected, rtol=1e-12, atol=1e-14)
    assert layer.compute_output_spec(keras.KerasTensor((None, None, 5))).shape == (None, None, 7)


def test_dense_starts_as_bert_does():
    layer = Dense(300, 0.02)
    layer.build((None, 200))
    kernel = layer.kernel.numpy()
    assert abs(kernel.std() / 0.02 - 0.88) < 0.01  # a normal cut at two standard deviations has 0.88 of one
    assert np.abs(kernel).max() <= 0.04 and not layer.bias.numpy().any()


def normal(x, gamma, beta, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    return gamma * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) + beta


@pytest.mark.parametrize("epsilon", [1e-12, 0.5])
def test_layer_norm_is_its_formula(epsilon):
    layer = filled(LayerNorm(epsilon, dtype="float64"), WIDE)
    gamma, beta = (weight.numpy() for weight in layer.weights)
    np.testing.assert_allclose(np.asarray(layer(WIDE)), normal(WIDE, gamma, beta, epsilon), rtol=1e-12, atol=1e-14)


def test_layer_norms_gradient_by_differences():
    layer = filled(LayerNorm(1e-6, dtype="float64"), WIDE)
    gamma, beta = (weight.numpy() for weight in layer.weights)
    x, towards, weights = tf.constant(WIDE), RNG.normal(size=WIDE.shape), RNG.normal(size=WIDE.shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(layer(x) * weights)
    found = np.sum(tape.gradient(total, x).numpy() * towards)
    ends = [np.sum(normal(WIDE + step * towards, gamma, beta, 1e-6) * weights) for step in (1e-5, -1e-5)]
    assert found == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-7)


def test_layer_norm_of_a_large_mean_keeps_its_digits():
    """Variance as the mean square less the squared mean would lose all of them."""
    x = (WIDE + 3000.0).astype(np.float32)
    found = np.asarray(LayerNorm(1e-12)(x))
    np.testing.assert_allclose(found, normal(x.astype(np.float64), 1, 0, 1e-12), atol=2e-3)


def test_half_precision_is_rounded_once_at_the_end():
    layer = filled(LayerNorm(1e-6, dtype="mixed_bfloat16"), WIDE, "float32")
    gamma, beta = (weight.numpy() for weight in layer.weights)
    x = tf.cast(WIDE, tf.bfloat16)
    found = layer(x)
    expected = normal(tf.cast(x, tf.float64).numpy(), gamma, beta, 1e-6)
    assert found.dtype == tf.bfloat16
    assert (found.numpy() == tf.cast(expected, tf.bfloat16).numpy()).mean() > 0.95  # a tie may round the other way
    np.testing.assert_allclose(found.numpy().astype(float), expected, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("layer", [Dense(7, 0.02, "gelu", name="some"), LayerNorm(1e-5, name="some")])
def test_layers_are_made_again_from_their_config(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer) and again.get_config() == layer.get_config()


def test_products_are_followed_by_their_bias_and_gelu_alone():
    """What TensorFlow's optimizer of graphs fuses: MatMul of two dimensions -> BiasAdd -> GELU, with no other user."""
    config = small_config(num_hidden_layers=2, activation="gelu")
    encoder = build_encoder(config)
    signature = {name: tf.TensorSpec([None, None], tf.int32) for name in encoder_inputs(config)}
    graph = tf.function(lambda x: encoder(x, training=False), [signature]).get_concrete_function().graph
    products = [one for one in graph.get_operations() if one.type == "MatMul"]
    assert len(products) == 2 * 4 + 1  # of a block: query with key and value, output, intermediate, output; the pooler
    for product in products:
        (bias,) = product.outputs[0].consumers()
        assert bias.type == "BiasAdd"
        followers = sorted(one.type for one in bias.outputs[0].consumers())
        assert followers in (["Reshape"], ["Tanh"]) or followers == ["Mul", "Mul"], followers
    assert sum(one.type == "Erf" for one in graph.get_operations()) == 2
