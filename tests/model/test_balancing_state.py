"""Balancers in use: every task takes part, missing labels, a run that is stopped, replicas, what is refused."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from balancing_cases import LEARNED, NAMES, STATEFUL_STARTS, follow, make, settle, steps
from conftest import ROOT
from keras import ops

from medtop.files.errors import DataError
from medtop.model import choices
from medtop.model.balancing import BALANCERS, Balancer, make_balancer

# Every task takes part


@pytest.mark.quick("fixed-masked_lm", "uncertainty-dose", "gradnorm-long_stay", "random-masked_lm")
@pytest.mark.parametrize("task", NAMES)
@pytest.mark.parametrize("name", BALANCERS)
def test_a_tasks_weight_has_an_effect(name, task):
    """Fault 14: two of ten weights in use. A priority multiplies its own task's balanced weight, and no other's."""
    plain, changed = (follow(make(name, task_weights=given), steps(8)) for given in (None, {task: 3.0}))
    expected = np.where(np.array(NAMES) == task, 3.0, 1.0)
    np.testing.assert_allclose(changed, plain * expected, rtol=1e-9)
    assert (plain[-1] > 0).all()


@pytest.mark.quick("uncertainty-True-0", "gradnorm-True-0")
@pytest.mark.parametrize("task", range(3))
@pytest.mark.parametrize("name, balanced_start", STATEFUL_STARTS)
def test_every_tasks_numbers_move_its_weight(name, balanced_start, task):
    history = steps(8, scales=(1.0, 1.0, 1.0))
    other = [
        (losses * np.where(np.arange(3) == task, 2.0**number, 1.0), present, gram)
        for number, (losses, present, gram) in enumerate(history)
    ]
    weights = [follow(make(name, balanced_start=balanced_start), one)[-1] for one in (history, other)]
    assert abs(weights[0] / weights[1] - 1)[task] > 1e-3


@pytest.mark.parametrize("name, balanced_start", STATEFUL_STARTS)
def test_a_task_without_labels_keeps_its_weight(name, balanced_start):
    balancer = make(name, balanced_start=balanced_start)
    follow(balancer, steps(3))
    before = np.asarray(balancer.weights(3))
    for step in range(3, 8):
        balancer.update(np.array([2.0, 9.0, 0.0]), np.array([True, True, False]), np.diag([1.0, 4.0, 0.0]), step)
    after = np.asarray(balancer.weights(8))
    assert after[2] == before[2] and (after[:2] != before[:2]).all()
    if name == "gradnorm":
        np.testing.assert_allclose(after.sum(), 3.0, rtol=1e-12)


@pytest.mark.parametrize("name", LEARNED)
def test_no_weight_before_the_first_labels(name):
    """With a balanced start, a loss of unknown scale does not touch the network; the network's first step is empty."""
    weights = follow(make(name), steps(3))
    assert (weights[0] == 0).all()
    assert (weights[1] > 0).tolist() == [True, False, True]
    assert (weights[2] > 0).all()


@pytest.mark.parametrize("name, balanced_start", STATEFUL_STARTS)
def test_nothing_is_present_at_all(name, balanced_start):
    balancer = make(name, balanced_start=balanced_start)
    follow(balancer, steps(3))
    before = [variable.numpy().copy() for variable in balancer.variables]
    balancer.update(np.zeros(3), np.zeros(3, bool), np.zeros((3, 3)), 3)
    assert all(np.array_equal(a, b) for a, b in zip(before, balancer.variables, strict=True))


@pytest.mark.quick("uncertainty-True", "gradnorm-True")
@pytest.mark.parametrize("name, balanced_start", STATEFUL_STARTS)
def test_losses_and_gradients_of_zero_end_in_no_infinity(name, balanced_start):
    balancer = make(name, balanced_start=balanced_start, learning_rate=1.0, dtype="float32")
    follow(balancer, [(np.array([1.0, 1.0, 1.0]), np.ones(3, bool), np.diag([1.0, 0.0, 1.0]))])
    assert np.isfinite(settle(balancer, np.array([0.0, 1.0, 1e30]), np.diag([0.0, 0.0, 1.0]), 200)).all()


# A run that is stopped, and replicas


@pytest.mark.parametrize("name", BALANCERS)
def test_restored_is_never_stopped(name):
    history = steps(12)
    whole = follow(make(name), history)
    begun, resumed = make(name), make(name)
    follow(begun, history[:5])
    assert [v.path for v in begun.variables] == [v.path for v in resumed.variables]
    for variable, saved in zip(resumed.variables, begun.variables, strict=True):
        variable.assign(np.asarray(saved))
    assert np.array_equal(follow(resumed, history, first=5), whole[5:])


@pytest.mark.quick(first=2)
@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("number", range(5))
def test_every_variable_is_needed(name, number):
    """A checkpoint without one of them would change the run."""
    history = steps(12)
    begun, resumed = make(name), make(name)
    follow(begun, history[:5])
    for place, (variable, saved) in enumerate(zip(resumed.variables, begun.variables, strict=True)):
        if place != number:
            variable.assign(np.asarray(saved))
    assert len(begun.variables) == 5
    assert not np.array_equal(follow(resumed, history, first=5), follow(begun, history, first=5))


@pytest.mark.parametrize("name", BALANCERS)
def test_in_a_graph_as_outside(name):
    history = steps(5)
    eager, graphed = follow(make(name), history), make(name)

    @tf.function(autograph=False)
    def step(number, losses, present, gram):
        weights = graphed.weights(number)
        graphed.update(losses, present, gram, number)
        return weights

    found = [step(tf.constant(number, tf.int64), *map(tf.constant, one)) for number, one in enumerate(history)]
    np.testing.assert_allclose(np.array(found), eager, rtol=1e-12)


REPLICAS = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import numpy as np, tensorflow as tf
from medtop.model.balancing import BALANCERS, make_balancer
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
history = [(np.random.default_rng(s).uniform(0.1, 9, 3), np.diag(np.random.default_rng(s).uniform(1, 9, 3)))
           for s in range(6)]
def run(strategy, inside):
    found = []
    for name in BALANCERS:
        with strategy.scope():
            balancer = make_balancer(name, ["a", "b", "c"], dtype="float64")
        def replica(step, losses, gram):
            weights = balancer.weights(step)
            balancer.update(losses, tf.constant([True] * 3), gram, step)
            return weights
        @tf.function(autograph=False)
        def step(number, losses, gram):
            if not inside:
                return replica(number, losses, gram)
            return strategy.experimental_local_results(strategy.run(replica, args=(number, losses, gram)))[-1]
        for number, (losses, gram) in enumerate(history):
            found.append(step(tf.constant(number), tf.constant(losses), tf.constant(gram)).numpy())
        for variable in balancer.variables:  # every copy, not the first alone
            copies = strategy.experimental_local_results(variable.value)
            assert all(np.array_equal(copies[0].numpy(), copy.numpy()) for copy in copies), variable.path
    return np.array(found)
one = run(tf.distribute.get_strategy(), False)
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert two.num_replicas_in_sync == 2
for inside in (True, False):
    np.testing.assert_array_equal(run(two, inside), one)
print("equal")
"""


@pytest.mark.slow
def test_two_replicas_are_one():
    """Every balancer in replica context and across replicas, over six steps: the very same numbers as on one device."""
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.stdout.strip().endswith("equal"), done.stderr[-2000:]


# Another balancer


def test_every_balancer_that_flags_offer_has_a_class():
    """Flags are checked before Keras is loaded, so their names stand in a file of their own."""
    assert BALANCERS is choices.BALANCERS and all(issubclass(made, Balancer) for made in BALANCERS.values())


def test_another_balancer_is_one_more_small_class(monkeypatch):
    """What docs and CONTRIBUTING promise: the class, its entry, nothing else."""

    class InverseLoss(Balancer):
        """weight_i = t_i / L_i of the step before."""

        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            self.last = keras.Variable(np.ones(self.size), dtype=self.dtype, trainable=False, name="balancer_last")
            self.variables = [self.last]

        def weights(self, step):
            return self.priorities / self.last

        def update(self, losses, present, gram, step):
            self.last.assign(ops.where(present, losses, self.last))

    monkeypatch.setitem(BALANCERS, "inverse_loss", InverseLoss)
    history = steps(4)
    weights = follow(make("inverse_loss", task_weights={"dose": 2.0}), history)
    np.testing.assert_allclose(weights[3, :2], np.array([1.0, 2.0]) / history[2][0][:2], rtol=1e-12)


# What is refused


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"name": "gradnrm"},
            "loss balancing: expected one of fixed, uncertainty, gradnorm, random, received 'gradnrm'",
        ),
        (
            {"kinds": ["classification", "ranking"]},
            "task b: expected a kind among classification, regression, received",
        ),
        ({"kinds": ["regression"]}, "expected a kind for each of 2 tasks, received 1"),
        ({"task_weights": {"c": 1.0}}, "task weights: expected names among a, b, received 'c'"),
        ({"task_weights": [1.0, -1.0]}, "task weights: expected 2 numbers of 0 or more, received"),
        ({"task_weights": [1.0, float("nan")]}, "task weights: expected 2 numbers of 0 or more, received"),
        ({"task_weights": [1.0]}, "task weights: expected 2 numbers of 0 or more, received [1.0]"),
        ({"learning_rate": 0.0}, "balancing: expected a learning rate above 0, received 0.0"),
        ({"name": "gradnorm", "alpha": -1.0}, "balancing: expected alpha of 0 or more, received -1.0"),
    ],
)
def test_refused_in_one_line(settings, message):
    with pytest.raises(DataError) as caught:
        make_balancer(**{"name": "uncertainty", "task_names": ["a", "b"], **settings})
    assert message in str(caught.value) and "\n" not in str(caught.value)
