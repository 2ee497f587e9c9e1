"""Heads over the encoder's outputs: plain loops and the papers' equations, packed rows, refused configurations."""

import numpy as np
import pytest

pytest.importorskip("keras")

from encoder_cases import perturbed  # noqa: E402
from head_cases import HEADS, PACKED, PATIENTS, TASKS, batch, head_config, pooled  # noqa: E402
from small_data import small_config  # noqa: E402

from medtop.files.errors import DataError  # noqa: E402
from medtop.model.config import BertConfig  # noqa: E402
from medtop.model.multitask import build_model, freeze_encoder  # noqa: E402

ALONE = [[number] for number in range(len(PATIENTS))]


def outputs_of(model, x):
    return {name: np.asarray(v) for name, v in model({key: x[key] for key in model.input}, training=False).items()}


@pytest.fixture(scope="module")
def built():
    """head -> (config, model with weights of any size)."""
    return {head: (config, perturbed(build_model(config, TASKS))) for head in HEADS for config in [head_config(head)]}


@pytest.mark.quick("bilstm")
@pytest.mark.parametrize("head", HEADS)
def test_logits_are_those_of_plain_loops_packed_or_not(built, head):
    config, model = built[head]
    weights = {weight.path: np.asarray(weight) for weight in model.weights}
    sequences = np.asarray(model.encoder({k: v for k, v in batch(ALONE, 9).items() if k in model.encoder.input})
                           ["sequence_output"])  # fmt: skip
    expected = {}
    for number, person in enumerate(PATIENTS):
        vector = pooled(config, weights, sequences[number, : len(person["visits"])].astype(float), person["visits"])
        for task in TASKS:
            kernel, bias = weights[f"{task.name}_logits/kernel"], weights[f"{task.name}_logits/bias"]
            expected[task.name, number] = vector @ kernel + bias
    for rows, tokens, junk in ((ALONE, 9, None), (ALONE, 13, 1), (PACKED, 15, None), (PACKED, 18, 2)):
        x = batch(rows, tokens, None if junk is None else np.random.default_rng(junk))
        for task, logits in outputs_of(model, x).items():
            for b, row in enumerate(rows):
                for slot, number in enumerate(row):
                    np.testing.assert_allclose(logits[b, slot], expected[task, number], atol=1e-5, rtol=1e-5)
    assert np.isfinite(logits).all()  # empty places too


@pytest.mark.slow
@pytest.mark.parametrize("head", ["bigru", "retain"])
def test_gradients_of_a_packed_row_are_those_of_its_patients(built, head):
    tf = pytest.importorskip("tensorflow")
    config, model = built[head]

    def gradients(rows, tokens):
        x = {key: tf.constant(value) for key, value in batch(rows, tokens).items() if key in model.input}
        signs = np.zeros((len(rows), max(map(len, rows)), 1), np.float32)
        for b, row in enumerate(rows):
            signs[b, : len(row), 0] = [1 if number % 2 else -2 for number in row]
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(model(x)["long_stay"]) * signs)
        kernel = next(weight for weight in model.weights if weight.path.endswith("/recurrent_kernel"))
        return tape.gradient(loss, kernel.value).numpy()

    np.testing.assert_allclose(gradients(ALONE, 11), gradients(PACKED, 16), atol=1e-4, rtol=1e-4)
    assert np.abs(gradients(ALONE, 9)).max() > 1e-2


def test_a_net_over_blocks_reads_what_they_put_out():
    """`--head=bigru --body=bert`: the same loops over the transformer's outputs, and no pooler beside them."""
    config = head_config("bigru", body="bert")
    model = perturbed(build_model(config, TASKS))
    weights = {weight.path: np.asarray(weight) for weight in model.weights}
    assert not any(path.startswith("pooler") for path in weights) and any("attention" in path for path in weights)
    x = {key: value for key, value in batch(PACKED, 15).items() if key in model.encoder.input}
    encoded = {name: np.asarray(values) for name, values in model.encoder(x, training=False).items()}
    assert encoded["pooled_output"].shape == (2, 3, config.pooled_size) == (2, 3, 24)
    for b, row in enumerate(PACKED):
        for slot, number in enumerate(row):
            mine = encoded["sequence_output"][b][x["patient_slots"][b] == slot + 1].astype(float)
            expected = pooled(config, weights, mine, PATIENTS[number]["visits"])
            np.testing.assert_allclose(encoded["pooled_output"][b, slot], expected, atol=1e-5, rtol=1e-5)


def test_freezing_leaves_the_head_to_learn():
    model = build_model(head_config("bilstm", body="bert"), TASKS)
    freeze_encoder(model)
    learning = {weight.path.split("/")[0] for weight in model.trainable_weights}
    assert learning == {"recurrent_forward", "recurrent_backward", "long_stay_logits", "complications_logits"}
    model = build_model(small_config(), TASKS)
    freeze_encoder(model)
    assert {weight.path.split("/")[0] for weight in model.trainable_weights} == {
        "long_stay_logits",
        "complications_logits",
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"head": "rnn"}, "expected head to be one of linear, gru, bigru, lstm, bilstm, retain, received head='rnn'"),
        ({"body": "cnn"}, "expected body to be one of bert, embeddings, received body='cnn'"),
        ({"head": "retain"}, "expected body='embeddings' with head='retain', received body='bert'"),
        ({"body": "embeddings"}, r"expected pooling mean or sum with body=embeddings and head=linear"),
        ({"head": "gru", "head_size": -1}, "head_size to be a positive whole number"),
        ({"head": "gru", "head_size": 100_000}, "at most 2,000,000,000 weights"),
    ],
)
def test_what_a_configuration_refuses(changes, words):
    with pytest.raises(DataError, match=words):
        small_config(**changes)


def test_a_configuration_says_what_it_uses_only():
    """Runs from before these fields compare equal to runs with their defaults."""
    assert not {"head", "head_size", "body", "wide_days"} & small_config().to_dict().keys()
    config = head_config("retain")
    values = config.to_dict()
    assert (values["head"], values["head_size"], values["body"]) == ("retain", 12, "embeddings")
    assert BertConfig.from_dict(values) == config and config.inputs == ["token_ids", "visits"]
