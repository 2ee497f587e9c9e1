"""AdamW by hand: schedule, decay, clipping, and three steps in NumPy."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="the optimizer is TensorFlow's")

import keras  # noqa: E402
from small_data import ALL_EMBEDDINGS, all_tasks, small_config  # noqa: E402

from medtop.files.errors import DataError  # noqa: E402
from medtop.model.multitask import build_model  # noqa: E402
from medtop.training.optimizer import AdamW, WarmupLinearDecay  # noqa: E402


def rates(*arguments, steps):
    schedule = WarmupLinearDecay(*arguments)
    return [float(schedule(step)) for step in range(steps)]


def test_schedule_by_hand():
    # up over 4 steps, then down to 0 over the remaining 6
    expected = [2, 4, 6, 8, 8, 8 * 5 / 6, 8 * 4 / 6, 4, 8 * 2 / 6, 8 / 6, 0, 0]
    np.testing.assert_allclose(rates(8.0, 4, 10, steps=12), expected, rtol=1e-6)
    np.testing.assert_allclose(rates(1.0, 0, 4, steps=6), [1, 0.75, 0.5, 0.25, 0, 0])  # without warm-up
    np.testing.assert_allclose(rates(1.0, 4, 4, steps=5), [0.25, 0.5, 0.75, 1, 0])  # warm-up only
    assert max(rates(3.0, 7, 50, steps=60)) == 3.0 and min(rates(3.0, 7, 50, steps=60)) == 0.0


@pytest.mark.parametrize("warmup, total", [(-1, 10), (11, 10)])
def test_impossible_warm_up_is_refused(warmup, total):
    with pytest.raises(DataError, match=f"between 0 and the {total} training steps, received {warmup}"):
        WarmupLinearDecay(1.0, warmup, total)


def adamw(values, gradients, rate, decay, clip, decayed):
    """AdamW (Loshchilov and Hutter 2019, algorithm 2) in float64, gradients clipped by their global norm.

    Adam as Kingma and Ba 2015, the more efficient order at the end of their section 2: the step is
    rate x sqrt(1 - beta2^t) / (1 - beta1^t) x m / (sqrt(v) + epsilon).
    """
    values = [value.astype(np.float64) for value in values]
    first, second = [np.zeros_like(value) for value in values], [np.zeros_like(value) for value in values]
    for t, step in enumerate(gradients, 1):
        norm = np.sqrt(sum((gradient.astype(np.float64) ** 2).sum() for gradient in step))
        step = [gradient.astype(np.float64) * min(1.0, clip / norm) for gradient in step]
        for i, gradient in enumerate(step):
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            size = rate(t - 1) * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            values[i] = values[i] * (1 - rate(t - 1) * decay * decayed[i]) - size * first[i] / (
                np.sqrt(second[i]) + 1e-6
            )
    return values


def test_three_steps_equal_numpy():
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=shape).astype(np.float32) for shape in ((4, 3), (3,), (5,))]
    steps = [
        [(rng.normal(size=start.shape) * scale).astype(np.float32) for start in starts] for scale in (0.05, 3.0, 0.5)
    ]
    norms = [np.sqrt(sum((gradient**2).sum() for gradient in step)) for step in steps]
    assert norms[0] < 1 < norms[1]  # one below the clip, one above
    variables = [
        keras.Variable(start, name=name) for start, name in zip(starts, ("kernel", "bias", "gamma"), strict=True)
    ]
    optimizer = AdamW(WarmupLinearDecay(0.1, 2, 10), weight_decay=0.3)
    for step in steps:
        gradients, _ = tf.clip_by_global_norm([tf.constant(gradient) for gradient in step], 1.0)
        optimizer.apply(gradients, variables)
    assert int(optimizer.iterations) == 3

    def rate(s):
        return 0.1 * min((s + 1) / 2, (10 - s) / 8, 1.0)

    expected = adamw(starts, steps, rate, 0.3, 1.0, decayed=(1, 0, 0))
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(np.asarray(variable), value, rtol=2e-5, atol=2e-6, err_msg=variable.name)


@pytest.mark.slow
def test_many_steps_equal_kerass_adamw():
    """A second route: Keras's optimizer, step for step, also where a gradient is 0 for a long time."""
    rng = np.random.default_rng(3)
    starts = [rng.normal(size=shape).astype(np.float32) for shape in ((6, 5), (5,))]
    mine, theirs = (
        [keras.Variable(start, name=name) for start, name in zip(starts, ("kernel", "bias"), strict=True)]
        for _ in range(2)
    )
    optimizer = AdamW(0.01, weight_decay=0.1)
    optimizer.build(mine)
    other = keras.optimizers.AdamW(0.01, weight_decay=0.1, epsilon=1e-6)
    other.build(theirs)
    other.exclude_from_weight_decay(var_names=["bias"])
    for step in range(60):
        size = float(step % 7 > 1)
        gradients = [tf.constant(size * rng.normal(size=start.shape), tf.float32) for start in starts]
        optimizer.apply(gradients)
        other.apply(gradients)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-6)
    assert list(optimizer.slots) == [
        f"{name}/{mean}:0" for name in ("kernel", "bias") for mean in ("mean", "square_mean")
    ]


def test_optimizer_and_schedule_survive_saving_and_loading():
    made = AdamW(WarmupLinearDecay(0.1, 2, 10), weight_decay=0.3, epsilon=1e-7, no_decay=("bias",))
    again = keras.optimizers.deserialize(keras.optimizers.serialize(made))
    assert type(again) is AdamW and again.get_config() == made.get_config()
    np.testing.assert_array_equal(
        rates(0.1, 2, 10, steps=10), [float(again._learning_rate(step)) for step in range(10)]
    )


def test_zero_gradients_move_kernels_and_tables_only():
    """No decay on biases and LayerNorm (Devlin et al. 2018, A.2), by the names that our model gives its weights."""
    model = build_model(small_config(embeddings=ALL_EMBEDDINGS), all_tasks())
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) + 1)
    before = {weight.path: np.asarray(weight).copy() for weight in model.weights}
    optimizer = AdamW(WarmupLinearDecay(0.5, 0, 1000), weight_decay=0.1)
    optimizer.apply([tf.zeros(weight.shape) for weight in model.trainable_variables], model.trainable_variables)
    moved = set()
    for weight in model.weights:
        if not np.array_equal(np.asarray(weight), before[weight.path]):
            np.testing.assert_allclose(np.asarray(weight), before[weight.path] * (1 - 0.5 * 0.1), rtol=1e-5)
            moved.add(weight.path)
    kept = before.keys() - moved
    assert all(path.rpartition("/")[2] in ("gamma", "beta") or path.endswith("bias") for path in kept), kept
    assert all(path.endswith(("kernel", "_embeddings")) for path in moved), moved
    assert (
        len(kept) == 8 + 4 + 2 + 3 and len(moved) == 10 + 4 + 2 + 2
    )  # norms or tables; block; pooler, transform; heads
