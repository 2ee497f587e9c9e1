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


@keras.saving.register_keras_serializable("medtop")
class Dropout(keras.layers.Layer):
    """In training, sets a share `rate` of the values to 0 and multiplies the others by 1 / (1 - rate) (Srivastava et
    al. 2014).

    Args:
        rate: at least 0, below 1.

    Attributes:
        noise: `Noise`; `noise.state` int [2] may be assigned before a call.
    """

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.noise = Noise()

    def call(self, x, training=False):
        if not training or self.rate == 0.0:
            return x
        return keras.random.dropout(x, self.rate, seed=self.noise)

    def compute_output_spec(self, x, training=False):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate}


def dropouts(model):
    """All `Dropout` layers of a model, in the order of its layers, those that are a part of another layer included."""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += dropouts(layer)
        found += [part for part in (layer, *vars(layer).values()) if isinstance(part, Dropout)]
    return list(dict.fromkeys(found))
