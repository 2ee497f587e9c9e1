"""The chain's partition and marginals against all sequences: padding, pieces in between, patients in one row."""

import itertools

import numpy as np
import pytest

pytest.importorskip("keras")

from keras import ops

from medtop.model import crf

K = 3


def by_hand(logits, active, slots, transitions, start, end):
    """log Z and marginals of one row, patient by patient, from all sequences."""
    total, marginals = 0.0, np.full(logits.shape, np.nan)
    for slot in sorted(set(slots[active]) - {0}):
        places = np.flatnonzero(active & (slots == slot))
        values, table = [], []
        for path in itertools.product(range(K), repeat=len(places)):
            value = start[path[0]] + end[path[-1]] + sum(logits[p, k] for p, k in zip(places, path, strict=True))
            values.append(value + sum(transitions[a, b] for a, b in itertools.pairwise(path)))
            table.append(path)
        values, table = np.array(values), np.array(table)
        largest = values.max()
        z = largest + np.log(np.exp(values - largest).sum())
        total += z
        for column, place in enumerate(places):
            for k in range(K):
                chosen = values[table[:, column] == k]
                marginals[place, k] = np.log(np.exp(chosen - z).sum())
    return total, marginals


ROWS = [  # patients of each token (0 = padding), and which tokens carry labels
    ([1, 1, 1, 1, 1, 1], [0, 1, 1, 0, 1, 1]),
    ([1, 1, 1, 2, 2, 2], [0, 1, 1, 0, 1, 0]),
    ([1, 2, 2, 2, 0, 0], [1, 0, 1, 1, 0, 0]),
    ([1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]),
]


def test_partition_and_marginals_against_all_sequences():
    random = np.random.default_rng(3)
    slots, active = (np.array(part) for part in zip(*ROWS, strict=True))
    logits = random.normal(size=(*slots.shape, K)) * 3
    weights = random.normal(size=(K, K)), random.normal(size=K), random.normal(size=K)
    tensors = [ops.convert_to_tensor(value.astype("float32")) for value in weights]
    arguments = (
        ops.convert_to_tensor(logits.astype("float32")),
        ops.convert_to_tensor(active > 0),
        ops.convert_to_tensor(slots),
    )
    partition = ops.convert_to_numpy(crf.log_partition(*arguments, *tensors))
    marginals = ops.convert_to_numpy(crf.log_marginals(*arguments, *tensors))
    for row in range(len(slots)):
        total, expected = by_hand(logits[row], active[row] > 0, slots[row], *weights)
        assert np.isclose(partition[row], total, atol=1e-4)
        known = np.isfinite(expected)
        assert np.allclose(marginals[row][known], expected[known], atol=1e-4)
        assert np.allclose(marginals[row][~known], logits[row][~known], atol=1e-5), "the rest is handed on"


def test_layer_trains_its_transitions():
    """Gradients reach the chain, and a padded row gives none that is not a number."""
    tf = pytest.importorskip("tensorflow")
    layer = crf.CRF()
    slots, active = (np.array(part, "int32") for part in zip(*ROWS, strict=True))
    logits = tf.constant(np.random.default_rng(4).normal(size=(*slots.shape, K)), tf.float32)
    with tf.GradientTape() as tape:
        found = layer(logits, active, slots)
        loss = -tf.reduce_sum(found[:, :, 1] * tf.constant(active, tf.float32))
    gradients = tape.gradient(loss, layer.trainable_weights)
    assert len(gradients) == 3 and all(np.isfinite(g.numpy()).all() and np.abs(g.numpy()).sum() > 0 for g in gradients)
    assert found.shape == logits.shape


@pytest.mark.slow
def test_rows_of_any_length():
    """One traced function for rows whose length is not known before, as in training: values and gradients as without
    tracing, which the other tests hold against all sequences."""
    tf = pytest.importorskip("tensorflow", reason="tracing is TensorFlow's")
    layer, random = crf.CRF(), np.random.default_rng(4)
    layer.build((None, None, K))

    def value_and_slope(logits, active, slots):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(layer(logits, active, slots)[:, :, 0] * tf.cast(active, tf.float32))
        return value, tape.gradient(value, layer.transitions.value)

    kinds = [
        tf.TensorSpec((None, None, K)),
        tf.TensorSpec((None, None), tf.int32),
        tf.TensorSpec((None, None), tf.int32),
    ]
    traced = tf.function(value_and_slope, input_signature=kinds)
    for length in (2, 4):
        active = random.integers(0, 2, (2, length)).astype(np.int32)
        arguments = random.normal(size=(2, length, K)).astype(np.float32), active, np.ones((2, length), np.int32)
        arguments = [tf.constant(each) for each in arguments]
        for ours, theirs in zip(traced(*arguments), value_and_slope(*arguments), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
