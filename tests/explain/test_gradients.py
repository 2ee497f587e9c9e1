"""Integrated gradients: complete on a random encoder, exact on a linear model; deletion as computing anew."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="gradients are TensorFlow's")

from small_data import VOCABULARY, all_tasks, small_config  # noqa: E402

from medtop.explain.deletion import Deleter, codes_of_row  # noqa: E402
from medtop.explain.faithfulness import completeness  # noqa: E402
from medtop.explain.gradients import Attributor  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.model.multitask import build_model  # noqa: E402

CONFIG = small_config(
    embeddings=("code", "visit", "age", "sex"), initializer_range=0.5, num_hidden_layers=2, hidden_dropout_prob=0.1
)
LABELS = [("long_stay", 0), ("complications", 1)]
BATCH = {
    "token_ids": [[2, 7, 8, 7, 9, 0], [2, 20, 30, 0, 0, 0]],
    "patient_slots": [[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]],
    "visits": [[0, 1, 1, 2, 2, 0], [0, 1, 1, 0, 0, 0]],
    "ages": [[22000, 21000, 21000, 21900, 21900, 0], [9000, 8000, 8000, 0, 0, 0]],
    "sexes": [[1] * 6, [2] * 6],
    "cls_positions": [[0], [0]],
}


@pytest.fixture(scope="module")
def batch():
    return {name: tf.constant(values, tf.int32) for name, values in BATCH.items()}


@pytest.fixture(scope="module")
def model():
    tf.keras.utils.set_random_seed(3)
    return build_model(CONFIG, all_tasks(["long_stay", "complications"]))


def attributor_of(model, **changes):
    tasks = all_tasks(["long_stay", "complications"])
    return Attributor(model, CONFIG, tasks, LABELS, VOCABULARY, **{"steps": 64} | changes)


def test_attributions_add_up_and_padding_has_none(model, batch):
    attributor = attributor_of(model)
    values, logits, baseline = attributor(batch)
    whole = model({**batch}, training=False)
    assert np.allclose(logits[:, 0], whole["long_stay"][:, 0, 0], atol=1e-5)
    assert np.allclose(logits[:, 1], whole["complications"][:, 0, 1], atol=1e-5)
    assert set(values) == {"code", "age", "sex"}, "visit numbers only say where a code stands"
    total = sum(part.sum(1) for part in values.values())
    assert np.median(completeness(total, logits, baseline)) < 0.01
    assert completeness(total, logits, baseline).max() < 0.05
    for part in values.values():
        assert not part[0, 5].any() and not part[1, 3:].any()
    assert not values["code"][:, 0].any(), "[CLS] stays"
    assert np.abs(values["code"][0, 1:5]).min() > 0
    few = attributor_of(model, steps=4)(batch)[0]["code"]
    assert np.abs(few - values["code"]).max() > 1e-7  # the steps take part


def test_a_linear_model_gets_its_coefficients(model, batch):
    attributor = attributor_of(model, steps=3)
    weights = np.random.default_rng(0).normal(size=(CONFIG.hidden_size, 2)).astype("float32")

    def linear(inputs, training):
        embeddings, slots, _ = inputs
        mine = tf.cast(slots > 0, tf.float32)[..., None]
        logits = tf.reduce_sum(embeddings * mine, 1) @ weights
        return {"long_stay": logits[:, None, :1], "complications": tf.repeat(logits[:, None, 1:], 2, 2)}

    attributor._rest = linear
    values, _, _ = attributor(batch)
    table = np.asarray(attributor.tables["code"])
    expected = (table[BATCH["token_ids"][0][1]] - table[4]) @ weights  # against [MASK]
    assert np.allclose(values["code"][0, 1], expected, atol=1e-6)
    ages = np.asarray(attributor.tables["age"])
    assert np.allclose(values["age"][1, 0], (ages[int(9000 / 365.25) + 1] - ages[0]) @ weights, atol=1e-6)


def test_taking_a_code_out_is_scoring_the_patient_without_it(model, batch):
    attributor = attributor_of(model)
    codes, standing = codes_of_row(batch, 0, VOCABULARY.special_ids)
    assert codes.tolist() == [7, 8, 9] and standing[0].tolist() == [False, True, False, True, False, False]
    without = Deleter(attributor.logits).without(batch, 0, standing)
    shorter = {name: np.asarray(values)[:1] for name, values in batch.items()}
    kept = [0, 2, 4]  # without both 7s
    for name in ("token_ids", "patient_slots", "visits", "ages", "sexes"):
        shorter[name] = shorter[name][:, kept]
    again = attributor.logits({name: tf.constant(values) for name, values in shorter.items()})
    assert np.allclose(without[0], again[0], atol=1e-5)
    assert np.abs(without[1] - again[0]).max() > 1e-4


@pytest.mark.slow
def test_the_logit_after_each_stay_is_that_of_the_record_then(batch):
    """Records built by hand: later stays gone, days counted from that discharge, the age of that day."""
    config = small_config(
        embeddings=("code", "visit", "age", "recency"), initializer_range=0.5, hidden_dropout_prob=0.0
    )
    tasks = all_tasks(["long_stay", "complications"])
    attributor = Attributor(build_model(config, tasks), config, tasks, LABELS, VOCABULARY, steps=2)
    x = {name: values for name, values in batch.items() if name != "sexes"}
    x["recencies"] = tf.constant([[0, 100, 100, 7, 7, 0], [0, 4, 4, 0, 0, 0]])
    found, numbers = Deleter(attributor.logits).after(x, 0)
    assert numbers.tolist() == [1, 2] and found.shape == (2, 2)
    first = {
        "token_ids": [[2, 7, 8]],
        "patient_slots": [[1, 1, 1]],
        "visits": [[0, 1, 1]],
        "ages": [[22000 - 100, 21000, 21000]],
        "recencies": [[0, 0, 0]],
        "cls_positions": [[0]],
    }
    expected = attributor.logits({name: tf.constant(values, tf.int32) for name, values in first.items()})
    assert np.allclose(found[0], expected[0], atol=1e-5)
    second = {name: np.asarray(values)[:1].copy() for name, values in x.items()}
    second["recencies"] = np.array([[0, 93, 93, 0, 0, 0]], np.int32)
    second["ages"][0, 0] = 22000 - 7
    expected = attributor.logits({name: tf.constant(values, tf.int32) for name, values in second.items()})
    assert np.allclose(found[1], expected[0], atol=1e-5)
    now = attributor.logits(x)
    assert not np.allclose(found[1], now[0], atol=1e-4), "days count"


def test_an_unknown_baseline_is_refused(model):
    with pytest.raises(DataError, match="--baseline: expected one of mask, unk, received 'zero'"):
        attributor_of(model, baseline="zero")
