"""The last block, computed at [CLS] and at masked tokens only, gives what the whole of it gives (the NumPy oracle of
its outputs is in test_encoder.py)."""

import numpy as np
import pytest
from encoder_cases import CONFIG, PACKED, TASKS, batch, outputs_of, perturbed
from small_data import small_config

keras = pytest.importorskip("keras", reason="the encoder is a Keras model")
tf = pytest.importorskip("tensorflow", reason="gradients are taken with TensorFlow")

from medtop.model import multitask  # noqa: E402
from medtop.model.encoder import build_encoder, build_reading_encoder  # noqa: E402
from medtop.model.heads import HEADS  # noqa: E402
from medtop.model.multitask import build_model  # noqa: E402
from medtop.model.tasks import Task  # noqa: E402
from medtop.training.checkpoints import weights_of  # noqa: E402

MASKED, *PATIENT = TASKS
CHOSEN = {"masked and patients": TASKS, "masked": [MASKED], "patients": PATIENT}


def gradients(model, x):
    """dict path -> gradient of a sum of squares of all outputs, each with a factor of its own; training's graph."""
    rng = np.random.default_rng(6)
    with tf.GradientTape() as tape:
        outputs = model({name: x[name] for name in model.input}, training=True)
        factors = {name: rng.normal(size=outputs[name].shape) for name in sorted(outputs)}
        total = sum(tf.reduce_sum(factors[name] * tf.square(outputs[name])) for name in factors)
    values = tape.gradient(total, [weight.value for weight in model.trainable_weights])
    named = zip(model.trainable_weights, values, strict=True)
    return {weight.path: tf.convert_to_tensor(value).numpy() for weight, value in named if value is not None}


@pytest.mark.quick("post-masked and patients")
@pytest.mark.parametrize("chosen", CHOSEN)
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_outputs_and_gradients_are_those_of_the_whole_last_block(norm, chosen, monkeypatch):
    rates = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0)
    config, tasks = small_config(norm=norm, **CONFIG, **rates), CHOSEN[chosen]
    part = perturbed(build_model(config, tasks))
    build = multitask.build_reading_encoder
    monkeypatch.setattr(multitask, "build_reading_encoder", lambda *a: build(a[0], {*a[1], "sequence_output"}))
    whole = perturbed(build_model(config, tasks))
    assert "sequence_output" in whole.encoded and "sequence_output" not in part.encoded

    names, others = weights_of(part), weights_of(whole)
    assert list(names) == list(others)  # a checkpoint of either is one of the other
    assert all(np.array_equal(names[path], others[path]) for path in names)
    x = batch(PACKED, 17)
    one, other = outputs_of(part, x), outputs_of(whole, x)
    assert sorted(one) == sorted(task.name for task in tasks)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-5, rtol=1e-5, err_msg=name)
    one, other = gradients(part, x), gradients(whole, x)
    read = set(other)  # with masked codes alone nobody reads the pooler
    assert read <= set(one) and all("pooler" in path and not one[path].any() for path in set(one) - read)
    assert len(read) > 30
    for path in other:
        scale = np.abs(other[path]).max()
        np.testing.assert_allclose(one[path], other[path], atol=1e-5 * scale, rtol=1e-4, err_msg=path)


@pytest.mark.quick("masked and patients")
@pytest.mark.parametrize("chosen", CHOSEN)
def test_the_last_block_is_computed_where_it_is_read(chosen):
    """Rows of the products: 2 x 17 tokens in the first block; in the last one keys and values only, the rest 2 x (3
    [CLS] and 6 masked codes)."""
    tasks = CHOSEN[chosen]
    model = build_model(small_config(**CONFIG), tasks)
    x = {name: tf.constant(value) for name, value in batch(PACKED, 17).items() if name in model.input}
    read = 3 + (x["mask_positions"].shape[1] if MASKED in tasks else 0)
    run = tf.function(lambda some: model(some, training=True), autograph=False)
    products = [one for one in run.get_concrete_function(x).graph.get_operations() if one.type == "MatMul"]
    rows = [one.outputs[0].shape[0] for one in products]
    heads = [2 * (read - 3)] * 2 if MASKED in tasks else []  # the transform and the codes' logits
    heads += [6] * (len(tasks) - (MASKED in tasks))
    # query with key and value, output, intermediate, output of the first block; then the last one, pooler and heads
    assert sorted(rows) == sorted([34] * 4 + [34] + [2 * read] * 4 + [6] + heads)


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{"pooling": "mean"}, {"head": "gru"}])
def test_where_patients_are_made_of_all_tokens_the_last_block_is_whole(changed):
    encoder = build_encoder(small_config(**CONFIG, **changed))
    reading = build_reading_encoder(encoder, {"masked_output", "pooled_output"})
    assert list(reading.output) == ["pooled_output", "masked_output"]
    x = batch(PACKED, 17)
    whole, part = outputs_of(encoder, x), outputs_of(reading, x)
    np.testing.assert_array_equal(part["pooled_output"], whole["pooled_output"])
    rows = np.arange(2)[:, None]
    np.testing.assert_array_equal(part["masked_output"], whole["sequence_output"][rows, x["mask_positions"]])


def test_a_head_that_reads_all_tokens_finds_them_beside_masked_ones():
    encoder = perturbed(build_encoder(small_config(**CONFIG)))
    reading = build_reading_encoder(encoder, {"masked_output", "sequence_output"})
    x = batch(PACKED, 17)
    whole, part = outputs_of(encoder, x), outputs_of(reading, x)
    assert sorted(part) == ["masked_output", "pooled_output", "sequence_output"]
    np.testing.assert_array_equal(part["sequence_output"], whole["sequence_output"])
    rows = np.arange(2)[:, None]
    np.testing.assert_array_equal(part["masked_output"], whole["sequence_output"][rows, x["mask_positions"]])


def test_a_head_from_outside_finds_all_tokens_whatever_its_level(monkeypatch):
    """Its level is that of patients, who are read at [CLS]; the head says nothing in `READS`."""

    class Loudest(Task):
        head = "loudest"

    def loudest(task, config, encoder, inputs, outputs):
        return keras.ops.max(outputs["sequence_output"], axis=1, keepdims=True)

    monkeypatch.setitem(HEADS, "loudest", loudest)
    model = perturbed(build_model(small_config(**CONFIG), [MASKED, Loudest("loud", "patient", ("a",))]))
    x = batch(PACKED, 17)
    encoded = outputs_of(model.encoder, x)["sequence_output"]
    np.testing.assert_allclose(outputs_of(model, x)["loud"][:, 0], encoded.max(axis=1), atol=1e-6)
