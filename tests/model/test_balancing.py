"""Balancers against plain NumPy written from the papers' formulas, against Keras's Adam, and against autodiff."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from balancing_cases import KINDS, NAMES, follow, make, settle, steps
from keras import ops

from medtop.model.balancing import Adam, GradNorm, RandomWeights, Uncertainty, make_balancer, norms_and_cosines


class ScalarAdam:
    """Kingma and Ba 2015, algorithm 1, for one number."""

    def __init__(self, rate):
        self.rate, self.m, self.v, self.t = rate, 0.0, 0.0, 0

    def moved(self, value, gradient):
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.999 * self.v + 0.001 * gradient**2
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        return value - self.rate * m / (v**0.5 + 1e-7)


def numpy_uncertainty(history, rate, balanced_start):
    n = len(NAMES)
    c = [{"classification": 1.0, "regression": 0.5}[kind] for kind in KINDS]
    s, started, adam = [0.0] * n, [not balanced_start] * n, [ScalarAdam(rate) for _ in range(n)]
    seen = []
    for losses, present, _ in history:
        seen.append([c[i] * np.exp(-s[i]) if started[i] else 0.0 for i in range(n)])
        for i in range(n):
            if present[i] and started[i]:
                s[i] = adam[i].moved(s[i], 0.5 - c[i] * np.exp(-s[i]) * losses[i])
            elif present[i]:
                s[i], started[i] = np.log(2 * c[i] * losses[i]), True
    return np.array(seen)


def numpy_gradnorm(history, rate, alpha, balanced_start):
    n = len(NAMES)
    log_w, first, adam = [0.0] * n, [None] * n, [ScalarAdam(rate) for _ in range(n)]
    counted = [not balanced_start] * n
    seen = []
    for losses, present, gram in history:
        seen.append([np.exp(log_w[i]) if counted[i] else 0.0 for i in range(n)])
        new = [i for i in range(n) if present[i] and first[i] is None]
        for i in new:
            first[i] = losses[i]
        here = [i for i in range(n) if present[i] and not (balanced_start and i in new)]
        norm = [np.sqrt(gram[i, i]) for i in range(n)]
        G = {i: np.exp(log_w[i]) * norm[i] for i in here}
        if here:
            mean_G = np.mean([G[i] for i in here])
            ratio = {i: losses[i] / first[i] for i in here}
            mean_ratio = np.mean(list(ratio.values()))
            for i in here:
                target = mean_G * (ratio[i] / mean_ratio) ** alpha
                log_w[i] = adam[i].moved(log_w[i], np.exp(log_w[i]) * norm[i] * np.sign(G[i] - target))
        if balanced_start:
            for i in new:
                log_w[i], counted[i] = np.log((mean_G if here else 1.0) / norm[i]), True
        total = sum(counted)
        resting = sum(np.exp(log_w[i]) for i in range(n) if counted[i] and not present[i])
        moving = [i for i in range(n) if counted[i] and present[i]]
        factor = (total - resting) / sum(np.exp(log_w[i]) for i in moving)
        for i in moving:
            log_w[i] += np.log(factor)
    return np.array(seen)


# The formulas


@pytest.mark.parametrize("balanced_start", [True, False])
def test_uncertainty_is_the_papers(balanced_start):
    history = steps(12)
    found = follow(make("uncertainty", balanced_start=balanced_start), history)
    np.testing.assert_allclose(found, numpy_uncertainty(history, 0.1, balanced_start), rtol=1e-9)


@pytest.mark.parametrize("balanced_start", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.12, 1.5])
def test_gradnorm_is_the_papers(alpha, balanced_start):
    history = steps(12)
    found = follow(make("gradnorm", alpha=alpha, balanced_start=balanced_start), history)
    np.testing.assert_allclose(found, numpy_gradnorm(history, 0.1, alpha, balanced_start), rtol=1e-9)


def test_the_first_weights_by_hand():
    """Losses 2 and 8, gradient norms 3 and 12: everything that the first step decides, worked out on paper."""
    losses, gram, here = np.array([2.0, 8.0]), np.diag([9.0, 144.0]), np.array([True, True])
    kinds = ["classification", "regression"]
    for name, expected in (("uncertainty", [1 / (2 * 2), 0.5 / (2 * 0.5 * 8)]), ("gradnorm", [2 * 4 / 5, 2 * 1 / 5])):
        balancer = make_balancer(name, ["a", "b"], kinds, dtype="float64")
        balancer.update(losses, here, gram, 0)
        np.testing.assert_allclose(np.asarray(balancer.weights(1)), expected, rtol=1e-12)
    # The papers' start: s = 0 gives c; one Adam step of 0.025 against the gradient's sign. w = 1, G = (3, 12), target
    # 7.5: the first weight grows by exp(0.025), the second falls, and both are scaled to sum 2.
    balancer = make_balancer("uncertainty", ["a", "b"], kinds, dtype="float64", balanced_start=False)
    np.testing.assert_allclose(np.asarray(balancer.weights(0)), [1.0, 0.5], rtol=1e-12)
    balancer.update(losses, here, None, 0)
    np.testing.assert_allclose(np.asarray(balancer.weights(1)), np.exp(-0.025) * np.array([1.0, 0.5]), rtol=1e-7)
    balancer = make_balancer("gradnorm", ["a", "b"], kinds, dtype="float64", balanced_start=False)
    balancer.update(losses, here, gram, 0)
    up, down = np.exp(0.025), np.exp(-0.025)
    np.testing.assert_allclose(np.asarray(balancer.weights(1)), 2 * np.array([up, down]) / (up + down), rtol=1e-7)


def small_network(seed):
    """Two regressions and a classification on a shared tanh layer, float64: (W, heads, losses of (W, heads, x))."""
    generator = np.random.default_rng(seed)
    shared = tf.Variable(generator.normal(size=(4, 5)) / 2)
    heads = [tf.Variable(generator.normal(size=(5, 1)) / 2) for _ in NAMES]
    x, y = generator.normal(size=(32, 4)), generator.normal(size=(32, 3))

    def losses():
        outputs = [tf.tanh(x @ shared) @ head for head in heads]
        plain = [tf.reduce_mean((outputs[i][:, 0] - y[:, i]) ** 2) for i in (0, 1)]
        binary = tf.nn.sigmoid_cross_entropy_with_logits(labels=(y[:, 2:] > 0).astype(float), logits=outputs[2])
        return [100 * plain[0], plain[1], tf.reduce_mean(binary)]

    return shared, heads, losses


def test_gradnorm_equals_autodiff_through_the_gradient_norms():
    """Chen et al.'s algorithm 1 as printed: L_grad is differentiated through the norms of the weighted gradients."""
    ours = GradNorm(NAMES, learning_rate=0.05, dtype="float64", balanced_start=False)
    log_w, adam = tf.Variable(np.zeros(3)), [ScalarAdam(0.05) for _ in NAMES]
    shared, heads, losses = small_network(0)
    first = None
    for step in range(15):
        with tf.GradientTape() as outer:
            w = tf.exp(log_w)
            with tf.GradientTape(persistent=True) as inner:
                L = losses()
                weighted = [w[i] * L[i] for i in range(3)]
            G = tf.stack([tf.norm(inner.gradient(one, shared)) for one in weighted])
            first = first or [float(one) for one in L]
            r = tf.stack([one / start for one, start in zip(L, first, strict=True)])
            target = tf.stop_gradient(tf.reduce_mean(G) * (r / tf.reduce_mean(r)) ** 1.5)
            L_grad = tf.reduce_sum(tf.abs(G - target))
        flat = [tf.reshape(inner.gradient(one, shared), [-1]) for one in L]
        gram = tf.stack([[tf.reduce_sum(a * b) for b in flat] for a in flat])
        np.testing.assert_allclose(np.asarray(ours.weights(step)), w, rtol=1e-9)
        ours.update(tf.stack(L), tf.constant([True] * 3), gram, step)
        for variable in (shared, *heads):
            gradients = [inner.gradient(one, variable, unconnected_gradients="zero") for one in weighted]
            variable.assign_sub(1e-3 * tf.add_n(gradients))
        slope = outer.gradient(L_grad, log_w).numpy()
        moved = [one.moved(*pair) for one, *pair in zip(adam, log_w.numpy(), slope, strict=True)]
        log_w.assign(moved - np.log(np.exp(moved).sum() / 3))


def test_uncertainty_equals_autodiff_of_its_objective():
    ours = Uncertainty(NAMES, KINDS, learning_rate=0.05, dtype="float64", balanced_start=False)
    s, adam = tf.Variable(np.zeros(3)), [ScalarAdam(0.05) for _ in NAMES]
    for step, (losses, _, _) in enumerate(steps(10)):
        with tf.GradientTape() as tape:
            variance = tf.exp(s)
            total = sum(
                L / variance[i] / (2 if kind == "regression" else 1) + tf.math.log(variance[i]) / 2
                for i, (L, kind) in enumerate(zip(losses, KINDS, strict=True))
            )
        ours.update(losses, [True] * 3, None, step)
        slope = tape.gradient(total, s).numpy()
        s.assign([one.moved(*pair) for one, *pair in zip(adam, s.numpy(), slope, strict=True)])
        np.testing.assert_allclose(np.asarray(ours.log_variances), s, rtol=1e-9)


def test_uncertainty_weights_are_the_objectives_gradient():
    """The network's gradient must be that of the paper's total: weight_i = d total / d L_i."""
    balancer = make("uncertainty", task_weights={"dose": 3.0})
    follow(balancer, steps(5))
    s = np.asarray(balancer.log_variances)
    c, t = np.array([1, 0.5, 1]), np.array([1, 3.0, 1])
    np.testing.assert_allclose(np.asarray(balancer.weights(5)), t * c * np.exp(-s), rtol=1e-12)


def test_adam_is_kerass():
    ours, theirs = Adam(4, 0.01, "float64"), keras.optimizers.Adam(0.01, epsilon=1e-7)
    value, variable = ops.ones(4, "float64"), keras.Variable(np.ones(4), dtype="float64")
    for step, gradient in enumerate(np.random.default_rng(1).normal(size=(20, 4))):
        value = ours.moved(value, ops.convert_to_tensor(gradient), ops.ones(4, "bool"), step)
        theirs.apply([ops.convert_to_tensor(gradient)], [variable])
        np.testing.assert_allclose(np.asarray(value), np.asarray(variable), rtol=1e-6)


def test_adam_leaves_inactive_elements_and_their_means_alone():
    adam = Adam(2, 0.01, "float64")
    value = ops.zeros(2, "float64")
    for step in range(3):
        value = adam.moved(value, ops.convert_to_tensor([1.0, 5.0], "float64"), np.array([True, False]), step)
    assert np.asarray(value)[1] == 0.0 and all(np.asarray(variable)[1] == 0.0 for variable in adam.variables)
    np.testing.assert_allclose(np.asarray(value)[0], -0.03, rtol=1e-6)


def test_learning_rate_may_be_a_schedule():
    schedule = make("uncertainty", learning_rate=lambda step: ops.where(step < 3, 0.1, 0.0))
    weights = follow(schedule, steps(6))
    np.testing.assert_allclose(weights[:4], follow(make("uncertainty"), steps(6))[:4], rtol=1e-7)
    assert np.array_equal(weights[4], weights[5])


# Where they come to rest


def test_uncertainty_rests_at_the_inverse_losses():
    losses = np.array([3.0, 6.0, 0.02])
    balancer = make("uncertainty", learning_rate=0.02, balanced_start=False)
    np.testing.assert_allclose(settle(balancer, losses, np.eye(3), 800), 1 / (2 * losses), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("balanced_start", [True, False])
def test_gradnorm_rests_at_equal_norms(balanced_start):
    norms = np.array([1.0, 30.0, 0.1])
    balancer = make("gradnorm", learning_rate=0.01, balanced_start=balanced_start)
    weights = settle(balancer, np.ones(3), np.diag(norms**2), 900)
    np.testing.assert_allclose(weights * norms, (weights * norms).mean(), rtol=0.05)
    np.testing.assert_allclose(weights.sum(), 3.0, rtol=1e-12)


@pytest.mark.parametrize("balanced_start", [True, False])
def test_gradnorm_prefers_the_task_that_learns_slowly(balanced_start):
    balancer = make("gradnorm", balanced_start=balanced_start)
    for step in range(20):
        balancer.update(np.array([1.0, 1.0, 0.5**step]), np.ones(3, bool), np.eye(3), step)
    slow, also, fast = np.asarray(balancer.weights(20))
    assert slow == pytest.approx(also) and slow > 1 > fast > 0


# The control


def test_random_weights():
    """n softmax of normal draws (Lin et al. 2022), by TensorFlow's own stateless normals and by their moments."""
    balancer = RandomWeights(NAMES, seed=3, dtype="float64")
    draw = tf.function(balancer.weights, autograph=False)
    weights = np.array([draw(tf.constant(step)) for step in range(1000)])
    np.testing.assert_allclose(weights.sum(1), 3.0, rtol=1e-12)
    assert (weights > 0).all() and len(np.unique(weights)) == weights.size
    np.testing.assert_allclose(weights.mean(0), 1.0, atol=0.09)
    logs = np.log(weights)  # the logarithms' differences are those of normals: variance 2
    np.testing.assert_allclose(np.var(logs[:, 0] - logs[:, 1]), 2.0, rtol=0.1)
    normal = tf.random.stateless_normal([3], seed=[3, 123], dtype=tf.float64).numpy()
    np.testing.assert_allclose(weights[123], 3 * np.exp(normal) / np.exp(normal).sum(), rtol=1e-12)
    again = RandomWeights(NAMES, seed=3, dtype="float64")
    assert np.array_equal(np.asarray(again.weights(123)), weights[123])
    assert not np.array_equal(np.asarray(RandomWeights(NAMES, seed=4, dtype="float64").weights(0)), weights[0])


# Telemetry


def test_norms_and_cosines():
    gradients = np.array([[3.0, 4.0], [0.0, 2.0], [-6.0, -8.0], [0.0, 0.0]])
    norms, cosines = map(np.asarray, norms_and_cosines(ops.convert_to_tensor(gradients @ gradients.T)))
    np.testing.assert_allclose(norms, [5, 2, 10, 0])
    np.testing.assert_allclose(cosines, [[1, 0.8, -1, 0], [0.8, 1, -0.8, 0], [-1, -0.8, 1, 0], [0, 0, 0, 0]])
