"""Made-up losses and gradients for the balancers' tests, and how a balancer is taken through them."""

import numpy as np
import tensorflow as tf
from keras import ops

from medtop.model.balancing import make_balancer

NAMES = ["masked_lm", "dose", "long_stay"]
KINDS = ["classification", "regression", "classification"]
LEARNED = ["uncertainty", "gradnorm"]
STATEFUL_STARTS = [(name, start) for name in LEARNED for start in (True, False)]


def make(name, **settings):
    return make_balancer(name, NAMES, KINDS, **{"dtype": "float64", "learning_rate": 0.1, **settings})


def steps(count, tasks=3, scales=(1.0, 50.0, 0.01), seed=0):
    """Made-up losses [n], presence [n] and Gram matrices [n, n] of `count` steps; some tasks have no labels in some."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        losses = np.array(scales[:tasks]) * generator.uniform(0.5, 1.5, tasks) * 0.9**number
        gradients = generator.normal(size=(tasks, 7)) * np.array(scales[:tasks])[:, None]
        present = np.ones(tasks, bool)
        present[1] = number > 0  # the second task's labels come late
        present[2] = number != 3
        losses[~present], gradients[~present] = 0.0, 0.0
        found.append((losses, present, gradients @ gradients.T))
    return found


def follow(balancer, history, first=0):
    """The weights before each step, [steps, n]; the balancer sees the history from step `first` on."""
    seen = []
    for number, (losses, present, gram) in enumerate(history):
        if number >= first:
            seen.append(np.asarray(balancer.weights(number)))
            balancer.update(
                ops.convert_to_tensor(losses),
                ops.convert_to_tensor(present),
                ops.convert_to_tensor(gram) if balancer.needs_gram else None,
                number,
            )
    return np.array(seen)


def settle(balancer, losses, gram, count):
    """The weights after `count` steps with the same losses and gradients, in a graph."""
    losses, gram, here = tf.constant(losses), tf.constant(gram), tf.constant([True] * len(losses))

    @tf.function(autograph=False)
    def step(number):
        balancer.update(losses, here, gram, number)

    for number in range(count):
        step(tf.constant(number))
    return np.asarray(balancer.weights(count))
