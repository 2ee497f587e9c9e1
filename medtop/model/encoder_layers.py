"""Layers that the encoder and its heads share.

Letters: B rows in a batch, T tokens in a row, M places, H width.
"""

import keras
from keras import ops


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
