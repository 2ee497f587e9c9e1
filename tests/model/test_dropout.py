"""Dropout: how much it drops, what it keeps, and what its noise depends on."""

import itertools

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="dropout is a Keras layer")

from keras import ops  # noqa: E402

from medtop.model.dropout import LEVELS, Dropout, _kept, dropouts  # noqa: E402


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9])
def test_share_and_scale(rate):
    layer = Dropout(rate)
    x = np.full((400, 501), 3.0, np.float32)  # no multiple of four
    y = np.asarray(layer(x, training=True))
    share = max(round(rate * LEVELS), 1) / LEVELS
    kept = y != 0
    assert abs((1 - kept.mean()) - share) < 5 * np.sqrt(share * (1 - share) / x.size)
    np.testing.assert_allclose(y[kept], 3.0 / (1 - share), rtol=1e-6)
    for axis in (0, 1):  # no row and no column is special
        assert np.ptp(kept.mean(axis=axis)) < 0.35
    np.testing.assert_array_equal(np.asarray(layer(x, training=False)), x)
    np.testing.assert_array_equal(np.asarray(layer(x)), x)


def test_no_rate_drops_nothing():
    x = np.ones((3, 5), np.float32)
    np.testing.assert_array_equal(np.asarray(Dropout(0.0)(x, training=True)), x)


def test_noise_is_its_states_and_advances_by_itself():
    layer, x = Dropout(0.5), np.ones((20, 20), np.float32)

    def drawn(state=None):
        if state is not None:
            layer.noise.state.assign(state)
        return np.asarray(layer(x, training=True)) > 0

    first, second = drawn([3, 0]), drawn()
    assert (drawn([3, 0]) == first).all() and (drawn() == second).all()
    for other in (second, drawn([4, 0]), drawn([3, 65_536])):
        assert 0.4 < (other == first).mean() < 0.6  # unrelated


def test_neighbouring_states_give_unrelated_noise():
    """Steps and layers differ by one or by 65,536 in their states."""
    layer, x = Dropout(0.5), np.ones(4096, np.float32)
    drawn = []
    for state in [(step, layer_number * 65_536) for step in range(6) for layer_number in range(6)]:
        layer.noise.state.assign(state)
        drawn.append(np.asarray(layer(x, training=True)) > 0)
    correlation = np.corrcoef(np.array(drawn, float))
    np.fill_diagonal(correlation, 0)
    assert np.abs(correlation).max() < 5 / np.sqrt(4096)


def test_gradient_passes_where_the_value_does():
    tf = pytest.importorskip("tensorflow")
    layer, x = Dropout(0.3), tf.ones([1000])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    np.testing.assert_allclose(tape.gradient(y, x), y)


def test_all_layers_of_a_model_are_found_once():
    from small_data import all_tasks, small_config

    from medtop.model.multitask import build_model

    model = build_model(small_config(num_hidden_layers=3), all_tasks())
    found = dropouts(model)
    # embeddings; a block's own and its attention's; the heads of two patient-level tasks
    assert len(found) == len(set(map(id, found))) == 1 + 3 * 2 + 2
    seeds = {id(variable) for variable in model.variables} - {id(weight) for weight in model.weights}
    assert {id(layer.noise.state) for layer in found} == seeds


@pytest.mark.parametrize("dropped", [1, 25, 26, 127, 128, 231, 255])
def test_each_value_has_a_byte_of_its_own(dropped, monkeypatch):
    """Two bytes take all pairs of values, the other two stay as they are: of 65,536 numbers, `dropped` x 256 fall by
    each of the two, `dropped` x `dropped` by both, to the last one. Values that shared a bit would fall together."""
    pairs = np.stack(np.divmod(np.arange(65_536), 256))
    for places in itertools.combinations(range(4), 2):
        bytes_of = np.full((4, 65_536), 200, np.uint8)
        bytes_of[list(places)] = pairs
        words = np.ascontiguousarray(bytes_of.T).view("<i4")
        for kind in ("int32", "int64"):  # no bound is right because it wraps around in 32 bits
            drawn = words.astype(kind)
            monkeypatch.setattr(keras.random, "randint", lambda shape, *_, drawn=drawn, **__: ops.reshape(drawn, shape))
            fallen = ~np.asarray(_kept(np.zeros((65_536, 4), np.float32), dropped, None))
            changing = fallen[:, fallen.any(axis=0) & ~fallen.all(axis=0)].astype(int)
            joint = [[dropped * 256, dropped * dropped], [dropped * dropped, dropped * 256]]
            assert (changing.T @ changing).tolist() == joint, (places, kind)


def test_layers_within_models_within_models_are_all_there_in_order():
    """Before, between and behind models that hold some themselves: none is lost, each stands once."""
    layers = [Dropout(0.1, name=f"d{number}") for number in range(6)]
    innermost = keras.Sequential([layers[2]])
    inner = keras.Sequential([layers[1], innermost, layers[3]])
    model = keras.Sequential([layers[0], inner, layers[4], keras.Sequential([layers[5]])])
    assert [layer.name for layer in dropouts(model)] == [f"d{number}" for number in range(6)]
