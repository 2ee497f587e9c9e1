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
        kept = random_bytes(ops.shape(x), self.noise) >= dropped
        return ops.where(kept, x * (LEVELS / (LEVELS - dropped)), ops.zeros((), x.dtype))

    def compute_output_spec(self, x, training=False):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}


def random_bytes(shape, noise):
    """Integers from 0 to 255, evenly distributed, of a shape."""
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_bytes(shape, noise.next())
    return keras.random.randint(shape, 0, LEVELS, seed=noise)


def _tensorflow_bytes(shape, seed):
    """uint8, four from each 32-bit number: Keras has no function for random bits."""
    import tensorflow as tf

    size = tf.reduce_prod(shape)
    words = tf.random.stateless_uniform([(size + 3) // 4], seed, minval=None, maxval=None, dtype=tf.uint32)
    return tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:size], shape)


def dropouts(model):
    """All `Dropout` layers of a model, in the order of its layers, those that are a part of another layer included."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += dropouts(layer)
        found += [part for part in (layer, *vars(layer).values()) if isinstance(part, Dropout)]
    return list(dict.fromkeys(found))
