"""The network for tables: a shared trunk of dense layers, one head per target; and its losses.

Letters: B rows, F inputs, n targets, K classes, W width of the trunk's last layer.
"""

import keras
import numpy as np
from keras import ops

from medtop.training.step import TensorFlowModel


def build_network(num_inputs, widths, hidden, seed, dropout=0.0):
    """The same kind of model as the encoder's: float32 [B, F] -> dict `head_<number>` -> float32 [B, width], in order.

    ReLU layers of the widths `hidden`, shared by all targets, then one dense layer per target.

    Args:
        num_inputs: F.
        widths: n widths of the heads: K for a classification (logits), 1 for a regression (standardised value).
        hidden: widths of the trunk's layers.
        seed: of the weights and of dropout.
        dropout: rate behind each trunk layer.

    Returns:
        `TensorFlowModel`; its layer `shared_<last>` is the last that all targets share.
    """
    x = inputs = keras.Input((num_inputs,), name="inputs")
    for number, width in enumerate(hidden):
        start = keras.initializers.HeUniform(seed=_seed(seed, number))
        shared = keras.layers.Dense(width, "relu", kernel_initializer=start, name=f"shared_{number}")
        x = shared(x)
        if dropout:
            x = keras.layers.Dropout(dropout, seed=_seed(seed, 1000 + number), name=f"dropout_{number}")(x)
    heads = {}
    for number, width in enumerate(widths):
        start = keras.initializers.GlorotUniform(seed=_seed(seed, 2000 + number))
        heads[f"head_{number}"] = keras.layers.Dense(width, kernel_initializer=start, name=f"head_{number}")(x)
    network = TensorFlowModel(inputs, heads, name="tabular")
    network.shared_layer = shared
    return network


def head_outputs(network, x, training):
    """list of the n heads' outputs on x."""
    outputs = network(x, training=training)
    return [outputs[f"head_{number}"] for number in range(len(outputs))]


def _seed(seed, number):
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0] % 2**31)


@keras.saving.register_keras_serializable("medtop")
class TargetLoss(keras.losses.Loss):
    """Cross-entropy -log softmax(output)[y], or squared error (output - y)^2; a value per row, summed with its weight.

    Call: y float32 [B], number of the class, or standardised value; output float32 [B, K], logits, or [B, 1].

    Args:
        is_classification: which of the two.
    """

    def __init__(self, is_classification, name="target"):
        super().__init__(name=name, reduction="sum")
        self.is_classification = is_classification

    def call(self, y_true, y_pred):
        if self.is_classification:
            return ops.sparse_categorical_crossentropy(ops.cast(y_true, "int32"), y_pred, from_logits=True)
        return ops.square(y_pred[:, 0] - y_true)

    def get_config(self):
        return {"is_classification": self.is_classification, "name": self.name}
