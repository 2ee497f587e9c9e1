"""The network for tables: a shared trunk of dense layers, one head per target; and its losses.

Letters: B rows, F inputs, n targets, K classes, W width of the trunk's last layer.
"""

import keras
import numpy as np
from keras import ops


def build_network(num_inputs, widths, hidden, seed, dropout=0.0):
    """A functional Keras model: float32 [B, F] -> dict `head_<number>` -> float32 [B, width], in the heads' order.

    ReLU layers of the widths `hidden`, shared by all targets, then one dense layer per target.

    Args:
        num_inputs: F.
        widths: n widths of the heads: K for a classification (logits), 1 for a regression (standardised value).
        hidden: widths of the trunk's layers.
        seed: of the weights and of dropout.
        dropout: rate behind each trunk layer.

    Returns:
        `keras.Model`; its layer `shared_<last>` is the last that all targets share.
    """
    x = inputs = keras.Input((num_inputs,), name="inputs")
    for number, width in enumerate(hidden):
        start = keras.initializers.HeUniform(seed=_seed(seed, number))
        x = keras.layers.Dense(width, "relu", kernel_initializer=start, name=f"shared_{number}")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, seed=_seed(seed, 1000 + number), name=f"dropout_{number}")(x)
    heads = {}
    for number, width in enumerate(widths):
        start = keras.initializers.GlorotUniform(seed=_seed(seed, 2000 + number))
        heads[f"head_{number}"] = keras.layers.Dense(width, kernel_initializer=start, name=f"head_{number}")(x)
    return keras.Model(inputs, heads, name="tabular")


def head_outputs(network, x, training):
    """list of the n heads' outputs on x."""
    outputs = network(x, training=training)
    return [outputs[f"head_{number}"] for number in range(len(outputs))]


def last_shared_kernel(network):
    """The kernel [., W] of the last layer that all targets share: where tasks' gradients are compared."""
    shared = [layer for layer in network.layers if layer.name.startswith("shared_")]
    return shared[-1].kernel


def _seed(seed, number):
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0] % 2**31)


def element_losses(is_classification, y, output):
    """Cross-entropy -log softmax(output)[y], or squared error (output - y)^2; float32 [B].

    Args:
        is_classification: which of the two.
        y: float32 [B], number of the class, or standardised value.
        output: float32 [B, K], logits, or [B, 1].
    """
    if is_classification:
        return ops.sparse_categorical_crossentropy(ops.cast(y, "int32"), output, from_logits=True)
    return ops.square(output[:, 0] - y)
