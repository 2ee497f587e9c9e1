"""AdamW with warm-up and linear decay, as google-research/bert trains; one fused update for each weight."""

import keras
import tensorflow as tf
from keras import ops

from medtop.files.errors import DataError

NO_DECAY = ("bias", "gamma", "beta")
"""Ends of weight names that are not decayed: LayerNorm's scale and offset, and every bias (Devlin et al. 2018, A.2)."""


@keras.saving.register_keras_serializable("medtop")
class WarmupLinearDecay(keras.optimizers.schedules.LearningRateSchedule):
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
        step = ops.cast(step, "float32")
        up = (step + 1.0) / max(self.warmup_steps, 1)
        down = (self.total_steps - step) / max(self.total_steps - self.warmup_steps, 1)
        return self.peak * ops.maximum(ops.minimum(ops.minimum(up, down), 1.0), 0.0)

    def get_config(self):
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "total_steps": self.total_steps}


@keras.saving.register_keras_serializable("medtop")
class AdamW(keras.optimizers.Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2): beta 0.9 and 0.999, epsilon 1e-6.

    w <- w - rate decay w, then w <- w - rate sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon), with the means
    m and v of Kingma and Ba 2015 in the order of operations at the end of their section 2.

    Gradients come whole: summed over all replicas and clipped, the same on each of them (`takes_sums`). Keras's own
    optimizers clip each replica's part and sum afterwards.

    Args:
        learning_rate: float or schedule, such as `WarmupLinearDecay`.
        weight_decay: factor of the decay.
        epsilon: see above.
        no_decay: ends of the paths of weights that are not decayed.

    Attributes:
        slots: dict name -> `keras.Variable`, the means m and v of each weight, after `build`; with the weights and
            `iterations` all that an optimizer step depends on.
    """

    takes_sums = True
    beta_1, beta_2 = 0.9, 0.999

    def __init__(self, learning_rate=1e-3, weight_decay=0.01, epsilon=1e-6, no_decay=NO_DECAY, name="adamw"):
        super().__init__(learning_rate, weight_decay=weight_decay, name=name)
        self.epsilon, self.no_decay = epsilon, tuple(no_decay)

    def build(self, variables):
        """Makes the means.

        Args:
            variables: list of `keras.Variable`, made under the strategy that they are trained with.
        """
        if self.built:
            return
        super().build(variables)
        self.slots = {
            # The names stand in checkpoints, with TensorFlow's `:0` at their ends.
            f"{variable.path}/{name}:0": self.add_variable_from_reference(variable, name)
            for variable in variables
            for name in ("mean", "square_mean")
        }

    def apply(self, grads, trainable_variables=None):
        """Takes a step.

        Args:
            grads: list of dense float32 tensors, summed over the replicas; in the context of one of these.
            trainable_variables: list of the `keras.Variable`s that the optimizer was built with; None = the same.
        """
        if not self.built:
            self.build(list(trainable_variables))
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        taken = tf.cast(tf.convert_to_tensor(self.iterations.value), tf.float32) + 1.0
        powers = tf.pow(self.beta_1, taken), tf.pow(self.beta_2, taken)

        def update_all(strategy, rate, powers, grads):
            for variable, grad in zip(variables, grads, strict=True):
                means = [self.slots[f"{variable.path}/{name}:0"].value for name in ("mean", "square_mean")]
                decay = self.weight_decay if self._is_decayed(variable) else 0.0
                strategy.extended.update(
                    variable.value, self._update, args=(grad, rate, powers, *means, decay), group=False
                )

        context = tf.distribute.get_replica_context()
        context.merge_call(update_all, args=(self.learning_rate, powers, list(grads)))
        self.iterations.assign_add(1)

    def _is_decayed(self, variable):
        return bool(self.weight_decay) and not variable.path.endswith(self.no_decay)

    def _update(self, weight, grad, rate, powers, mean, square_mean, decay):
        """One weight on one device."""
        if decay:
            tf.raw_ops.ResourceApplyGradientDescent(var=weight.handle, alpha=rate * decay, delta=weight.read_value())
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
            grad=grad,
        )

    def get_config(self):
        return {
            "learning_rate": super().get_config()["learning_rate"],
            "weight_decay": self.weight_decay,
            "epsilon": self.epsilon,
            "no_decay": list(self.no_decay),
            "name": self.name,
        }
