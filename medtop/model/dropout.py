"""Dropout whose noise a trainer can set, as a function of (seed, step, replica, layer): no checkpoint need hold it.

Outside such a trainer the noise advances by itself with every call, as Keras's own layer does.
"""

import keras
from keras import ops


class Noise(keras.random.SeedGenerator):
    """The seed of a layer's noise; each replica of a distribution strategy has its own.

    Keras's own generator keeps one for all replicas, which none of them may change while it computes.
    """

    def __init__(self, seed=None):
        super().__init__(seed)
        name = self.state.name
        start = ops.convert_to_tensor(self.state)
        self.state = keras.Variable(
            lambda *_, **__: start,
            shape=(2,),
            dtype=self.state.dtype,
            trainable=False,
            synchronization="on_read",
            aggregation="only_first_replica",
            name=name,
        )


LEVELS = 256
"""Dropout rates are multiples of 1 / 256, because a random byte decides on each value: a quarter of the random numbers
that a float for each would take, and they are a large part of a small encoder's step."""


@keras.saving.register_keras_serializable("medtop")
class Dropout(keras.layers.Layer):
    """In training, sets a share of the values to 0, multiplies the others by 1 / (1 - share) (Srivastava et al. 2014).

    Args:
        rate: at least 0, below 1; the share is the nearest multiple of 1 / 256 (0.1016 for 0.1).

    Attributes:
        noise: `Noise`; `noise.state` int [2] may be assigned before a call.
    """

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.noise = Noise()

    def call(self, x, training=False):
        dropped = min(max(round(self.rate * LEVELS), 1 if self.rate else 0), LEVELS - 1)
        if not training or not dropped:
            return x
        return ops.where(_kept(x, dropped, self.noise), x * (LEVELS / (LEVELS - dropped)), ops.zeros((), x.dtype))

    def compute_output_spec(self, x, training=False):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}


def _kept(x, dropped, noise):
    """bool of x's shape, False for a share of dropped / 256; each random 32-bit number decides on four values.

    Each of its bytes is compared where it stands; the highest one by the number's own order, from -2^31. The four lie
    along the last axis, which no device shares with another: the rows, which devices share, stay where they are.
    """
    *rows, width = ops.shape(x)
    words = keras.random.randint((*rows, (width + 3) // 4), -(2**31), 2**31 - 1, dtype="int32", seed=noise)
    quarters = [ops.bitwise_and(words, 255 << shift) >= dropped << shift for shift in (0, 8, 16)]
    quarters.append(words >= (dropped << 24) - 2**31)
    return ops.concatenate(quarters, axis=-1)[..., :width]


def dropouts(model):
    """All `Dropout` layers of a model, in the order of its layers, those that are a part of another layer included."""
    layers = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            layers += dropouts(layer)
        layers += [part for part in (layer, *vars(layer).values()) if isinstance(part, Dropout)]
    return list(dict.fromkeys(layers))
