"""Layers that the encoder and its heads share.

Letters: B rows in a batch, T tokens in a row, M places in a row, n places in a batch, H width.
"""

import keras
from keras import ops

from medtop.model.dropout import Dropout
from medtop.model.tokenwise import activation, affine, initializer


@keras.saving.register_keras_serializable("medtop")
class GatherPositions(keras.layers.Layer):
    """Rows of a sequence at given places.

    Call:
        sequence [B, T, H], positions int [B, M] -> [B, M, H].
    """

    def call(self, sequence, positions):
        return ops.take_along_axis(sequence, ops.cast(positions, "int32")[:, :, None], axis=1)

    def compute_output_spec(self, sequence, positions):
        return keras.KerasTensor((*positions.shape, sequence.shape[-1]), dtype=sequence.dtype)


@keras.saving.register_keras_serializable("medtop")
class GatherTokens(keras.layers.Layer):
    """Tokens of a batch at given places, whatever rows they are in.

    Call:
        sequence [B, T, H], places int [n] among the B x T tokens, row by row -> [n, H].
    """

    def call(self, sequence, places):
        return ops.take(ops.reshape(sequence, (-1, sequence.shape[-1])), places, axis=0)

    def compute_output_spec(self, sequence, places):
        return keras.KerasTensor((*places.shape, sequence.shape[-1]), dtype=sequence.dtype)


@keras.saving.register_keras_serializable("medtop")
class SplitPositions(keras.layers.Layer):
    """What was computed for two sets of places side by side, apart again.

    Call:
        values [B, P + M, H], the first places [B, P] -> [B, P, H], [B, M, H].
    """

    def call(self, values, first):
        count = ops.shape(first)[1]
        return values[:, :count], values[:, count:]

    def compute_output_spec(self, values, first):
        sizes = (first.shape[1], None)
        return tuple(keras.KerasTensor((values.shape[0], n, values.shape[-1]), dtype=values.dtype) for n in sizes)


@keras.saving.register_keras_serializable("medtop")
class Neighbours(keras.layers.Layer):
    """A convolution over a token and its two neighbours, added to the token: x + dropout(gelu([x_-1, x, x_+1] W + b)).

    What stands beside a word is the first thing that a conditional random field with hand-made features sees; attention
    has to learn what "beside" means. Neighbours are of the same patient of a row, else they are 0.

    Args:
        width: H.
        stddev: of the weights at the start.
        rate: of dropout.

    Call:
        x [B, T, H], patient_slots int [B, T] -> [B, T, H].
    """

    def __init__(self, width, stddev, rate, **kwargs):
        super().__init__(**kwargs)
        self.width, self.stddev, self.rate = width, stddev, rate
        self.dropout = Dropout(rate)

    def build(self, x_shape, patient_slots_shape=None):
        size = (3 * self.width, self.width)
        self.kernel = self.add_weight(name="kernel", shape=size, initializer=initializer(self.stddev))
        self.bias = self.add_weight(name="bias", shape=(self.width,), initializer="zeros")

    def call(self, x, patient_slots, training=False):
        same = ops.cast(ops.equal(patient_slots[:, 1:], patient_slots[:, :-1]), x.dtype)[:, :, None]
        before = ops.pad(x[:, :-1] * same, [[0, 0], [1, 0], [0, 0]])
        after = ops.pad(x[:, 1:] * same, [[0, 0], [0, 1], [0, 0]])
        three = ops.concatenate([before, x, after], axis=-1)
        seen = activation("gelu")(ops.reshape(affine(three, self.kernel, self.bias), ops.shape(x)))
        return x + self.dropout(seen, training=training)

    def compute_output_spec(self, x, patient_slots, training=False):
        return keras.KerasTensor(x.shape, dtype=x.dtype)

    def get_config(self):
        return {**super().get_config(), "width": self.width, "stddev": self.stddev, "rate": self.rate}
