"""AdamW with warm-up and linear decay, as google-research/bert trains."""

import keras
from keras import ops

from medtop.errors import DataError

NO_DECAY = ("bias", "gamma", "beta")
"""Parts of weight names that are not decayed: LayerNorm's scale and offset, and every bias (Devlin et al. 2018)."""


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
        step = ops.cast(step, "float32")
        up = (step + 1.0) / max(self.warmup_steps, 1)
        down = (self.total_steps - step) / max(self.total_steps - self.warmup_steps, 1)
        return self.peak * ops.maximum(ops.minimum(ops.minimum(up, down), 1.0), 0.0)

    def get_config(self):
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "total_steps": self.total_steps}


def build_optimizer(learning_rate, warmup_steps, total_steps, weight_decay=0.01, clip_norm=1.0):
    """AdamW (Loshchilov and Hutter 2019): beta 0.9 and 0.999, epsilon 1e-6, gradients clipped by their global norm."""
    optimizer = keras.optimizers.AdamW(
        WarmupLinearDecay(learning_rate, warmup_steps, total_steps),
        weight_decay=weight_decay,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        global_clipnorm=clip_norm,
        name="adamw",
    )
    optimizer.exclude_from_weight_decay(var_names=list(NO_DECAY))
    return optimizer
