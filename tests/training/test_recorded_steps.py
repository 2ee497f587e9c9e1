"""Losses and weights recorded in November 2026 from the training step that stood before the model was compiled."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="the training step is TensorFlow's")

import keras  # noqa: E402
from small_data import all_tasks, patients, small_config, with_labels, write_dataset  # noqa: E402

from medtop.data.batches import BatchOptions, TrainBatches  # noqa: E402
from medtop.model.multitask import build_model, compile_arguments  # noqa: E402
from medtop.training.distribution import Distribution  # noqa: E402
from medtop.training.driver import Driver  # noqa: E402
from medtop.training.optimizer import AdamW, WarmupLinearDecay  # noqa: E402
from medtop.training.step import TensorFlowModel  # noqa: E402

SETTINGS = {
    "uncertainty": ({"accumulation": 2}, {}),
    "gradnorm": ({}, {"packing": True, "row_lengths": [32]}),
}
RECORDED = {
    "uncertainty": {
        "loss": [0.0, 0.74809, 1.76483, 1.77008, 1.72427, 0.68927, 1.79006, 0.76103],
        "masked_lm_loss": [4.10293, 4.08471, 4.09131, 4.08294, 4.07841, 4.08094, 4.09917, 4.14532],
        "long_stay_loss": [0.0, 0.69607, 0.69316, 0.69315, 0.68124, 0.0, 0.74514, 0.0],
        "complications_loss": [0.69405, 0.69294, 0.69505, 0.68586, 0.68024, 0.61538, 0.63511, 0.68519],
        "complications_weight": [0.0, 0.72041, 0.73865, 0.72578, 0.71798, 0.71992, 0.72985, 0.74228],
    },
    "gradnorm": {
        "loss": [0.0, 2.56234, 2.56282, 2.60304, 2.62246, 1.85571, 2.58338, 2.607],
        "masked_lm_loss": [4.10929, 4.09571, 4.09012, 4.07911, 4.06013, 4.00816, 4.02359, 4.08005],
        "long_stay_loss": [0.69022, 0.69607, 0.67944, 0.72795, 0.7285, 0.0, 0.71233, 0.68083],
        "complications_loss": [0.69318, 0.69366, 0.69322, 0.68615, 0.68891, 0.70639, 0.67471, 0.69333],
        "complications_weight": [0.0, 2.39683, 2.37238, 2.36541, 2.34965, 2.34013, 2.33639, 2.32151],
    },
}
SQUARES = {"uncertainty": 72.8038737, "gradnorm": 72.0861818}
"""Sum of the squares of all weights after the last step."""


@pytest.fixture(scope="module", autouse=True)
def without_graphs():
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.slow
@pytest.mark.parametrize("balancer", RECORDED)
def test_steps_are_those_of_before(balancer, tmp_path):
    """AdamW with warm-up, a clip that bites, labels that are known unevenly, parts of a batch, packed rows."""
    people = [
        with_labels(one, "long_stay", *([None] if number % 7 else [number % 2]))
        for number, one in enumerate(patients(42, seed=2))
    ]
    info = write_dataset(tmp_path / "train", people, num_shards=2)
    config = small_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    tasks = all_tasks(weights={"masked_lm": 0.5, "long_stay": 2.0})
    settings, options = SETTINGS[balancer]
    batches = TrainBatches(info, config, tasks, BatchOptions(batch_size=8, max_seq_length=32, **options), seed=5)
    keras.utils.set_random_seed(3)
    model = build_model(config, tasks, TensorFlowModel)
    optimizer = AdamW(WarmupLinearDecay(1e-2, 2, 20), 0.1)
    model.compile(optimizer, **compile_arguments(tasks), balancer=balancer, clip_norm=0.5, **settings)
    driver, rows = Driver(model, Distribution(tf.distribute.get_strategy())), []
    for epoch in (0, 1):
        rows += [driver(batch)[0] for batch in batches.epoch(epoch).take(8 - len(rows))]
    for name, values in RECORDED[balancer].items():
        np.testing.assert_allclose([row[name] for row in rows], values, rtol=1e-4, atol=1e-5, err_msg=name)
    squares = sum(np.sum(np.square(np.asarray(weight, float))) for weight in model.weights)
    assert squares == pytest.approx(SQUARES[balancer], rel=1e-5)


def test_a_seed_gives_the_weights_of_before():
    """Layers draw their seeds as they are made: another order of the same code would start from other weights."""
    keras.utils.set_random_seed(3)
    model = build_model(small_config(num_hidden_layers=3), all_tasks())
    squares = {weight.path: np.sum(np.square(np.asarray(weight, float))) for weight in model.weights}
    for path, recorded in {
        "layer_0_attention/qkv_kernel": 0.2384176,
        "layer_1_attention/qkv_kernel": 0.238102,
        "layer_1_output/kernel": 0.1184307,
        "layer_2_attention/qkv_kernel": 0.2155659,
        "layer_2_output/kernel": 0.1114607,
        "pooler/kernel": 0.0807475,
        "complications_logits/kernel": 0.0119537,
    }.items():
        assert squares[path] == pytest.approx(recorded, rel=1e-5), path
