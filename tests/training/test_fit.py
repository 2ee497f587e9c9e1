"""`fit` of the compiled model is the trainer's training: same weights, no step more, no wrong argument unnoticed.

On small networks for tables where a graph is needed: they are the same class, and a graph of them takes a second.
"""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="the training step is TensorFlow's")

import keras  # noqa: E402
from small_data import all_tasks, small_config  # noqa: E402

from medtop.files.errors import DataError  # noqa: E402
from medtop.model.balancing import BALANCERS  # noqa: E402
from medtop.model.multitask import MultiTaskModel, build_model, compile_arguments  # noqa: E402
from medtop.tabular.network import TargetLoss, build_network  # noqa: E402
from medtop.training.distribution import Distribution  # noqa: E402
from medtop.training.driver import Driver  # noqa: E402
from medtop.training.optimizer import AdamW, WarmupLinearDecay  # noqa: E402

HEADS = ("head_0", "head_1")


def batches(count=5, rows=6):
    """Batches whose known values lie unevenly; weights sum to 1 over a batch, or are all 0."""
    rng = np.random.default_rng(1)
    for number in range(count):
        x, known = rng.normal(size=(rows, 3)), rng.random((rows, 2)) < (0.6, 0.3)
        known[:, 1] &= number % 2 == 0
        y = np.where(known, np.stack([x[:, 0] > 0, 2 * x[:, 1]], 1), 0)
        w = known / np.maximum(known.sum(0), 1)
        yield tf.nest.map_structure(
            lambda part: part.astype(np.float32),
            (x, *({head: part[:, place] for place, head in enumerate(HEADS)} for part in (y, w))),
        )


def network(optimizer=None, **settings):
    made = build_network(3, [2, 1], (5, 4), seed=2)
    made.compile(
        optimizer or AdamW(WarmupLinearDecay(0.05, 2, 20), 0.1),
        loss={head: TargetLoss(head == "head_0") for head in HEADS},
        loss_weights={"head_0": 0.5},
        **{"clip_norm": 0.3, "jit_compile": False, **settings},
    )
    return made


def state_of(model):
    return [np.asarray(part) for part in [*model.weights, *model.balancer.variables, *model.optimizer.variables]]


def dataset():
    kind = tf.nest.map_structure(lambda part: tf.TensorSpec([None, *part.shape[1:]]), next(batches()))
    return tf.data.Dataset.from_generator(batches, output_signature=kind)


@pytest.mark.quick("fixed-1")
@pytest.mark.parametrize("balancer, accumulation", [*((name, 1) for name in BALANCERS), ("gradnorm", 4)])
def test_fit_equals_the_drivers_steps(balancer, accumulation):
    """To the end of the data: the graph that meets it must not count, decay or balance once more."""
    driven, fitted = (network(balancer=balancer, accumulation=accumulation) for _ in range(2))  # 6 rows in 4 parts
    driver, start = Driver(driven, Distribution(tf.distribute.get_strategy())), state_of(driven)
    logs = [driver(tf.nest.map_structure(tf.constant, batch))[0] for batch in batches()]
    history = fitted.fit(dataset(), shuffle=False, verbose=0).history
    assert int(fitted.optimizer.iterations) == 5
    for before, mine, theirs in zip(start, state_of(fitted), state_of(driven), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-7)
        assert not np.array_equal(before, theirs) or before.size <= 3  # a head without labels may rest
    assert np.ptp([row["loss"] for row in logs]) > 0.01
    for name in ("loss", "head_0_loss", "head_1_loss"):
        np.testing.assert_allclose(history[name], [np.mean([row[name] for row in logs])], rtol=1e-5)


def test_a_step_by_hand():
    """Plain gradient descent with a clip that bites, against gradients of the total that TensorFlow gives by itself."""
    model = network(keras.optimizers.SGD(0.5), clip_norm=0.05)
    x, y, w = tf.nest.map_structure(tf.constant, next(batches()))
    with tf.GradientTape() as tape:
        out = model(x)
        label = tf.one_hot(tf.cast(y["head_0"], tf.int32), 2)
        entropy = -tf.reduce_sum(label * tf.nn.log_softmax(out["head_0"]), 1)
        loss = 0.5 * tf.reduce_sum(w["head_0"] * entropy)
        loss += tf.reduce_sum(w["head_1"] * (out["head_1"][:, 0] - y["head_1"]) ** 2)
    gradients = [np.asarray(part) for part in tape.gradient(loss, model.trainable_variables)]
    norm = np.sqrt(sum((part**2).sum() for part in gradients))
    assert norm > 0.05
    expected = [
        np.asarray(v) - 0.5 * g * 0.05 / norm for v, g in zip(model.trainable_variables, gradients, strict=True)
    ]
    logs, _ = Driver(model, Distribution(tf.distribute.get_strategy()))((x, y, w))
    assert logs["loss"] == pytest.approx(float(loss), rel=1e-6)
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(np.asarray(variable), value, rtol=1e-5, atol=1e-7)


def test_training_drops_and_evaluation_does_not():
    """The step, and what is computed for a balancer, see the values that dropout leaves: under the same noise the
    losses and gradients are those of the network in training; an evaluation's are those of the whole network."""
    model = build_network(3, [2, 1], (16, 8), seed=2, dropout=0.5)
    model.compile("sgd", loss={head: TargetLoss(head == "head_0") for head in HEADS}, run_eagerly=True)
    x, y, w = tf.nest.map_structure(tf.constant, next(batches()))
    noise = [layer.seed_generator.state for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    starts = [np.asarray(state) for state in noise]

    def under_the_same_noise(function, *arguments, **settings):
        for state, start in zip(noise, starts, strict=True):
            state.assign(start)
        return function(*arguments, **settings)

    def losses(outputs):
        return np.array(model.each_loss(y, outputs, w))

    with tf.GradientTape() as tape:
        outputs = under_the_same_noise(model, x, training=True)
        total = tf.reduce_sum(tf.stack(model.each_loss(y, outputs, w)))
    gradients = tape.gradient(total, model.trainable_variables)
    dropped, whole = losses(outputs), losses(model(x, training=False))
    assert len(noise) == 2 and np.abs(dropped - whole).min() > 1e-3
    measured = under_the_same_noise(model.measured, False, True, tf.ones(2), x, y, w)
    np.testing.assert_allclose(measured["losses"], dropped, rtol=1e-6)
    for mine, theirs in zip(measured["gradients"], gradients, strict=True):
        np.testing.assert_allclose(mine, tf.convert_to_tensor(theirs), rtol=1e-6, atol=1e-8)
    forward = under_the_same_noise(model.forward, tf.ones(2), x, y, w)
    np.testing.assert_allclose(forward["losses"], dropped, rtol=1e-6)
    logs = model.test_step((x, y, w))
    np.testing.assert_allclose([logs[f"{head}_loss"] for head in HEADS], whole, rtol=1e-6)


class Replicas:
    """The context of one of `count` replicas that all hold the same."""

    def __init__(self, count):
        self.num_replicas_in_sync = count

    def all_reduce(self, operation, values):
        assert operation is tf.distribute.ReduceOp.SUM
        return [value * self.num_replicas_in_sync for value in values]


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_sums_are_over_all_replicas_however_many(monkeypatch, count):
    monkeypatch.setattr(tf.distribute, "get_replica_context", lambda: Replicas(count))
    summed = network().summed({"losses": tf.constant([2.0, 3.0]), "gradients": [tf.constant([[1.0]])]})
    assert summed["losses"].numpy().tolist() == [2.0 * count, 3.0 * count]
    assert summed["gradients"][0].numpy().tolist() == [[1.0 * count]]


def test_the_balancer_is_made_from_loss_weights():
    model = network(balancer="uncertainty", balancer_settings={"kinds": ["classification", "regression"]})
    assert model.balancer.task_weights == [0.5, 1.0] and model.balancer.kinds == ["classification", "regression"]
    assert model.task_names == list(HEADS) and model.with_accuracy == []
    with pytest.raises(DataError, match="task weights: expected names among head_0, head_1, received 'head_2'"):
        model.compile(loss={head: TargetLoss(True) for head in HEADS}, loss_weights={"head_2": 1.0})


@pytest.mark.parametrize(
    "loss, message",
    [
        ({"head_0": TargetLoss(True)}, "expected a loss for each of head_0, head_1, received head_0"),
        ({head: keras.losses.MeanSquaredError() for head in HEADS}, "with reduction='sum' for head_0"),
        ({head: "mse" for head in HEADS}, "with reduction='sum' for head_0"),
    ],
)
def test_losses_that_would_be_averaged_wrongly_are_refused(loss, message):
    with pytest.raises(DataError, match=message):
        network().compile(loss=loss)


def test_batches_without_weights_are_refused():
    model = network()
    x, y, _ = next(batches())
    with pytest.raises(DataError, match="fit: expected batches .x, y, w. with normalised weights"):
        model.train_step((x, y))


def test_float16_is_refused():
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        with pytest.raises(DataError, match="expected float32 or mixed_bfloat16, received mixed_float16"):
            network()
    finally:
        keras.mixed_precision.set_dtype_policy("float32")


def test_the_encoders_model_knows_its_last_shared_layer():
    model = build_model(small_config(num_hidden_layers=2), all_tasks())
    assert type(model) is MultiTaskModel and len(model.encoder.blocks) == 2
    assert model.shared_layer.kernel.path == "layer_1_output/kernel"
    paths = [weight.path for weight in model.weights]
    assert len(set(paths)) == len(paths) and paths.index("layer_1_output/kernel") > paths.index("layer_0_output/kernel")
    model.compile(**compile_arguments(all_tasks(weights={"masked_lm": 0.5})))
    assert model.balancer.task_weights == [0.5, 1.0, 1.0]
    assert model.with_accuracy == model.task_names == ["masked_lm", "long_stay", "complications"]
