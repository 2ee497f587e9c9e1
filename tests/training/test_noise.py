"""Which noise dropout gets: of the seed, the step, the layer, the part of a batch and the replica, all of them."""

import pytest

tf = pytest.importorskip("tensorflow", reason="the step is TensorFlow's")

from small_data import all_tasks, small_config  # noqa: E402

from medtop.model.dropout import dropouts  # noqa: E402
from medtop.model.multitask import build_model, compile_arguments  # noqa: E402
from medtop.training.step import TensorFlowModel  # noqa: E402


@pytest.fixture(scope="module")
def model():
    made = build_model(small_config(hidden_dropout_prob=0.1), all_tasks(["long_stay"]), TensorFlowModel)
    made.compile("sgd", **compile_arguments(all_tasks(["long_stay"])), accumulation=2)
    return made


def states(model, seed, taken, place):
    """The noise's state of each layer of dropout."""
    model.seed = seed
    model._set_noise(tf.constant(taken, tf.int64), tf.constant(place))
    return [tuple(layer.noise.state.numpy().tolist()) for layer in dropouts(model)]


def test_no_two_seeds_steps_layers_or_parts_share_their_noise(model):
    seen = [
        state
        for seed in (0, 1, 7)
        for taken in (0, 1, 9)
        for place in (0, 1, 5)
        for state in states(model, seed, taken, place)
    ]
    assert len(dropouts(model)) > 2 and len(seen) == 27 * len(dropouts(model))
    assert len(set(seen)) == len(seen)
    assert states(model, 7, 9, 5) == states(model, 7, 9, 5)


class Context:
    """A replica's context, as far as the noise looks."""

    num_replicas_in_sync = 3

    def __init__(self, replica):
        self.replica_id_in_sync_group = replica


def test_parts_of_replicas_are_numbered_through(model, monkeypatch):
    """Part 0 and 1 of replicas 0, 1, 2: places 0 to 5, each once."""
    places = []
    monkeypatch.setattr(model, "_set_noise", lambda taken, place: places.append(int(place)), raising=False)
    batch = ({"a": tf.zeros([4, 1])}, {"a": tf.zeros([4, 1])}, {"a": tf.zeros([4, 1])})
    for replica in range(3):
        monkeypatch.setattr(tf.distribute, "get_replica_context", lambda replica=replica: Context(replica))
        model.parts(lambda weights, x, y, w: {"losses": tf.zeros([1])}, 0, None, batch)
    assert places == [0, 1, 2, 3, 4, 5]
