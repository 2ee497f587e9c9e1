"""AdamW with warm-up and linear decay, as google-research/bert trains; one fused update for each weight."""

import numpy as np
import tensorflow as tf

from medtop.files.errors import DataError

NO_DECAY = ("bias", "gamma", "beta")
"""Ends of weight names that are not decayed: LayerNorm's scale and offset, and every bias (Devlin et al. 2018, A.2)."""


class WarmupLinearDecay:
    """Learning rate peak * min((s + 1) / warmup, (total - s) / (total - warmup)) at step s = 0, 1, ..., never below 0.

    Args:
        peak: highest learning rate.
        warmup_steps: steps until the peak; 0 starts at the peak.
        total_steps: steps at whose end the rate is 0.
    """

    def __init__(self, peak, warmup_steps, total_steps):
        if not 0 <= warmup_steps <= total_steps:
            raise DataError(
                f"expected warm-up steps between 0 and the {total_steps} training steps, received {warmup_steps}"
            )
        self.peak, self.warmup_steps, self.total_steps = peak, warmup_steps, total_steps

    def __call__(self, step):
        """The rate of the step after `step` steps: float32, of a number or a tensor."""
        step = tf.cast(step, tf.float32)
        up = (step + 1.0) / max(self.warmup_steps, 1)
        down = (self.total_steps - step) / max(self.total_steps - self.warmup_steps, 1)
        return self.peak * tf.maximum(tf.minimum(tf.minimum(up, down), 1.0), 0.0)


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2): beta 0.9 and 0.999, epsilon 1e-6.

    w <- w - rate decay w, then w <- w - rate sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon), with the means
    m and v of Kingma and Ba 2015 in the order of operations at the end of their section 2. Gradients come whole: summed
    over all replicas and clipped, which Keras's optimizers do in the other order (each replica clips its part).

    Args:
        weights: list of `keras.Variable`, made under the strategy that they are trained with.
        rate: function step -> learning rate, such as `WarmupLinearDecay`.
        weight_decay: factor of the decay; none on LayerNorm and biases (`NO_DECAY`).

    Attributes:
        variables: list of `tf.Variable`, the means m and v of each weight, which a checkpoint must hold.
    """

    beta_1, beta_2, epsilon = 0.9, 0.999, 1e-6

    def __init__(self, weights, rate, weight_decay=0.01):
        self.rate, self.weight_decay = rate, weight_decay
        self.weights = [weight.value for weight in weights]
        self.decayed = [bool(weight_decay) and not weight.path.endswith(NO_DECAY) for weight in weights]
        self.strategy = tf.distribute.get_strategy()
        self.means = []
        for weight, value in zip(weights, self.weights, strict=True):
            with self.strategy.extended.colocate_vars_with(value):
                self.means.append(
                    [
                        tf.Variable(np.zeros(weight.shape, np.float32), trainable=False, name=f"{weight.path}/{name}")
                        for name in ("mean", "square_mean")
                    ]
                )

    @property
    def variables(self):
        return [variable for pair in self.means for variable in pair]

    def apply(self, step, gradients):
        """Takes a step; outside of `strategy.run`.

        Args:
            step: int tensor, steps taken before.
            gradients: list of dense float32 tensors like the weights, or of per-replica values, the same on each.
        """
        rate = self.rate(step)
        taken = tf.cast(step, tf.float32) + 1.0
        powers = tf.pow(self.beta_1, taken), tf.pow(self.beta_2, taken)

        def update(weight, gradient, mean, square_mean, decayed):
            if decayed:
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=weight.handle, alpha=rate * self.weight_decay, delta=weight.read_value()
                )
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle,
                m=mean.handle,
                v=square_mean.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=rate,
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=gradient,
            )

        for weight, gradient, means, decayed in zip(self.weights, gradients, self.means, self.decayed, strict=True):
            self.strategy.extended.update(weight, update, args=(gradient, *means, decayed), group=False)
