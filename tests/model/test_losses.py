"""Losses: one value per element, against NumPy; unknown labels weigh nothing, whatever they say (docs/contract.md)."""

import math

import numpy as np
import pytest
from small_data import VOCABULARY, all_tasks, small_config

tf = pytest.importorskip("tensorflow", reason="gradients are taken with TensorFlow")
import keras  # noqa: E402

from medtop.model.losses import ElementwiseAccuracy, ElementwiseCrossentropy, correct  # noqa: E402
from medtop.model.multitask import build_model, compile_arguments  # noqa: E402

LOGITS = np.array([-80.0, -20.0, -1.5, -1e-4, 0.0, 1e-4, 0.7, 20.0, 80.0], np.float32)
GRID = np.stack(np.meshgrid(LOGITS, [0.0, 1.0], indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)


def binary(y, x, weight=1.0):
    """-w y log s(x) - (1 - y) log(1 - s(x)) of one element, in plain Python and float64."""

    def softplus(z):
        return max(z, 0.0) + math.log1p(math.exp(-abs(z)))

    return weight * y * softplus(-x) + (1 - y) * softplus(x)


def softmax_losses(y, logits):
    """-log softmax(logits)[y] per element, in float64."""
    logits = logits.astype(np.float64)
    log_sum = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
    return log_sum - np.take_along_axis(logits, y[..., None], -1)[..., 0]


@pytest.mark.parametrize("weight", [1.0, 12.23])
def test_binary_values_and_gradients_at_all_logits(weight):
    loss = ElementwiseCrossentropy(False, None if weight == 1 else (weight,))
    x, y = GRID[:, :1], GRID[:, 1:]
    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        values = loss.call(tf.constant(y), variable)
    assert values.shape == y.shape  # one value per element
    expected = [[binary(float(b), float(a), weight)] for a, b in GRID]
    np.testing.assert_allclose(values, expected, rtol=2e-6, atol=1e-37)
    sigmoid = 1 / (1 + np.exp(-x.astype(np.float64)))
    slope = weight * y * (sigmoid - 1) + (1 - y) * sigmoid
    np.testing.assert_allclose(tape.gradient(values, variable), slope, rtol=2e-6, atol=1e-7)


def test_each_label_has_its_own_positive_weight():
    weights = (12.23, 8.27, 8.37, 36.45)  # top-BERT's
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 2, 4)).astype(np.float32), rng.integers(0, 2, (3, 2, 4)).astype(np.float32)
    values = ElementwiseCrossentropy(False, weights).call(tf.constant(y), tf.constant(x))
    expected = np.vectorize(binary)(y.astype(float), x.astype(float), np.broadcast_to(weights, y.shape))
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_sparse_values_and_gradients():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(3, 4, 7)).astype(np.float32) * 3
    logits[0, 0], logits[0, 1] = [80, -80, 0, 0, 0, 0, 0], [-80, 80, 80, -80, 0, 0, 0]
    y = rng.integers(0, 7, (3, 4))
    y[0, :2] = 1
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        values = ElementwiseCrossentropy(True).call(tf.constant(y, tf.float32), variable)
    assert values.shape == y.shape
    np.testing.assert_allclose(values, softmax_losses(y, logits), rtol=1e-5, atol=1e-6)
    shares = np.exp(logits - logits.max(-1, keepdims=True).astype(np.float64))
    slope = shares / shares.sum(-1, keepdims=True) - np.eye(7)[y]
    np.testing.assert_allclose(tape.gradient(values, variable), slope, atol=1e-5)


def test_normalised_weights_make_the_sum_a_weighted_mean():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(8, 1, 3)).astype(np.float32), rng.integers(0, 2, (8, 1, 3)).astype(np.float32)
    w = rng.integers(0, 2, (8, 1, 3)).astype(np.float32)
    expected = np.average(np.vectorize(binary)(y.astype(float), x.astype(float)), weights=w)
    total = ElementwiseCrossentropy(False)(y, x, sample_weight=w / w.sum())
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    # split over two replicas of unequal weight, the parts add up to the same: nobody divides by a local sum
    halves = [
        ElementwiseCrossentropy(False)(y[part], x[part], sample_weight=w[part] / w.sum())
        for part in (slice(0, 3), slice(3, 8))
    ]
    np.testing.assert_allclose(sum(halves), expected, rtol=1e-6)


def test_loss_of_no_known_label_is_zero_with_zero_gradient():
    variable = tf.Variable(np.full((2, 1, 3), 80.0, np.float32))
    with tf.GradientTape() as tape:
        total = ElementwiseCrossentropy(False)(tf.zeros((2, 1, 3)), variable, sample_weight=tf.zeros((2, 1, 3)))
    assert float(total) == 0.0
    np.testing.assert_array_equal(tape.gradient(total, variable), np.zeros((2, 1, 3)))


def test_accuracy_is_the_weighted_share_on_the_right_side():
    metric = ElementwiseAccuracy()
    y, x = np.array([[[1.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]]]), np.array([[[2.0, -1.0, -3.0]], [[0.5, 4.0, -0.1]]])
    w = np.array([[[1.0, 1.0, 2.0]], [[0.0, 4.0, 1.0]]])
    metric.update_state(y, x, w)
    np.testing.assert_allclose(float(metric.result()), (1 + 1 + 4 + 1) / 9, rtol=1e-6)


def test_a_code_is_right_where_none_is_likelier():
    logits = np.random.default_rng(3).normal(size=(4, 5, 9)).astype(np.float32)
    y = np.where(np.arange(20).reshape(4, 5) % 3 == 0, logits.argmax(-1), 2)
    found = correct(True, tf.constant(y, tf.int32), tf.constant(logits)).numpy()
    np.testing.assert_array_equal(found, (logits.argmax(-1) == y).astype(np.float32))
    assert 0 < found.sum() < 20 and found.dtype == np.float32
    nothing = correct(True, tf.constant([[0]]), tf.constant([[[np.nan, np.nan]]]))
    assert nothing.numpy().tolist() == [[0.0]]


TASKS = all_tasks(weights={"masked_lm": 0.25, "complications": 2.0}, class_weights={"complications": (3.0, 0.5)})


def batch(slots):
    """x, y, w of 4 rows with `slots` patients each; in each patient-level task some labels are unknown."""
    rng = np.random.default_rng(slots)
    tokens = 4 * slots
    x = {
        "token_ids": rng.integers(5, len(VOCABULARY), (4, tokens)),
        "visits": rng.integers(0, 5, (4, tokens)),
        "ages": rng.integers(0, 9000, (4, tokens)),
        "patient_slots": np.repeat(np.arange(slots) + 1, 4)[None].repeat(4, 0),
        "cls_positions": np.arange(slots)[None].repeat(4, 0) * 4,
        "mask_positions": rng.integers(0, tokens, (4, 2)),
    }
    y = {
        "masked_lm": rng.integers(5, len(VOCABULARY), (4, 2)),
        "long_stay": rng.integers(0, 2, (4, slots, 1)),
        "complications": rng.integers(0, 2, (4, slots, 2)),
    }
    w = {name: rng.integers(0, 2, values.shape) for name, values in y.items()}
    for name, values in w.items():
        values[0, 0], values[1, 0] = 0, 1  # some of each, for any seed
        values[2].flat[:2] = [0, 1][: values[2].size]  # a patient with an unknown label beside a known one
        y[name][0, 0] = 5 if name == "masked_lm" else 0
    w = {name: (values / values.sum()).astype(np.float32) for name, values in w.items()}
    return {key: values.astype(np.int32) for key, values in x.items()}, y, w


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    made = build_model(small_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), TASKS)
    made.compile(run_eagerly=True, **compile_arguments(TASKS))
    return made


def measured(model, x, y, w):
    """Losses and metrics by name, and the gradient of the total."""
    y, w = ({name: tf.constant(value, tf.float32) for name, value in values.items()} for values in (y, w))
    logs = model.test_on_batch(x, y, w, return_dict=True)
    with tf.GradientTape() as tape:
        total = model.compute_loss(x=x, y=y, y_pred=model(x, training=False), sample_weight=w)
    gradients = tape.gradient(total, model.trainable_variables, unconnected_gradients="zero")
    return logs, np.concatenate([np.asarray(tf.convert_to_tensor(g)).ravel() for g in gradients])


@pytest.mark.parametrize("slots", [1, 3])
def test_total_is_the_sum_of_task_weights_times_losses(model, slots):
    x, y, w = batch(slots)
    logs, gradient = measured(model, x, y, w)
    logits = {name: np.asarray(value) for name, value in model(x, training=False).items()}
    expected = {"masked_lm": (softmax_losses(y["masked_lm"], logits["masked_lm"]) * w["masked_lm"]).sum()}
    for name, positive in (("long_stay", 1.0), ("complications", np.array([3.0, 0.5]))):
        each = np.vectorize(binary)(
            y[name].astype(float), logits[name].astype(float), np.broadcast_to(positive, y[name].shape)
        )
        expected[name] = (each * w[name]).sum()
    for name, value in expected.items():
        np.testing.assert_allclose(logs[f"{name}_loss"], value, rtol=1e-5, err_msg=name)
    total = 0.25 * expected["masked_lm"] + expected["long_stay"] + 2 * expected["complications"]
    np.testing.assert_allclose(logs["loss"], total, rtol=1e-5)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-3


@pytest.mark.quick("3")
@pytest.mark.parametrize("slots", [1, 3])
def test_flipped_unknown_labels_move_nothing(model, slots):
    """An unknown label 0 -> 1 moves nothing; and the check of the check: a known label moves the loss."""
    x, y, w = batch(slots)
    logs, gradient = measured(model, x, y, w)
    for name in y:
        unknown, known = (np.argwhere((w[name] > 0) == side) for side in (False, True))
        assert len(unknown) and len(known)
        flipped = {key: values.copy() for key, values in y.items()}
        for place in map(tuple, unknown):
            flipped[name][place] = 7 if name == "masked_lm" else 1 - flipped[name][place]
        other_logs, other_gradient = measured(model, x, flipped, w)
        assert other_logs == logs, name
        np.testing.assert_array_equal(other_gradient, gradient)
        place = tuple(known[0])
        flipped[name][place] = (y[name][place] + 3) % len(VOCABULARY) if name == "masked_lm" else 1 - y[name][place]
        other_logs, other_gradient = measured(model, x, flipped, w)
        assert other_logs["loss"] != logs["loss"] and np.abs(other_gradient - gradient).max() > 1e-3


def test_task_without_known_labels_gives_zero_and_leaves_the_others(model):
    x, y, w = batch(1)
    logs, _ = measured(model, x, y, w)
    empty, gradient = measured(model, x, y, w | {"complications": np.zeros_like(w["complications"])})
    assert empty["complications_loss"] == 0.0 and np.isfinite(gradient).all()
    np.testing.assert_allclose(empty["loss"], logs["loss"] - 2 * logs["complications_loss"], rtol=1e-5)
    nothing, gradient = measured(model, x, y, {name: np.zeros_like(values) for name, values in w.items()})
    assert nothing["loss"] == 0.0 and not gradient.any()


def test_losses_survive_saving_and_loading():
    loss = ElementwiseCrossentropy(False, (2.0, 3.0), name="complications")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    y, x = np.array([[[1.0, 0.0]]], np.float32), np.array([[[0.3, -0.2]]], np.float32)
    assert float(again(y, x)) == float(loss(y, x)) and again.name == "complications"
