"""Encoder + one head per task -> one Keras model with named outputs.

Letters: B rows in a batch, T tokens in a row, P patients in a row, M masked positions, K labels, V vocabulary, H width.
"""

import keras

from medtop.model.encoder import build_encoder, encoder_inputs
from medtop.model.heads import HEADS


def build_model(config, tasks):
    """One functional model: x (CONTRACT 6) -> {task name: float32 logits}.

    Args:
        config: `BertConfig` with vocab_size > 0.
        tasks: list of `Task`.

    Returns:
        `keras.Model` with outputs `masked_lm` [B, M, V] and [B, P, K] per patient-level task, and attributes `encoder`
        and `encoded`, the encoder's outputs that the heads read.
    """
    encoder = build_encoder(config)
    inputs = encoder_inputs(config)
    outputs = encoder(inputs)
    logits = {task.name: HEADS[task.head](task, config, encoder, inputs, outputs) for task in tasks}
    model = keras.Model(inputs, logits, name="medtop")
    model.encoder, model.encoded = encoder, outputs
    return model


def compile_arguments(tasks):
    """`loss`, `loss_weights` and `weighted_metrics` for `model.compile`: total = sum of weight x task loss."""
    return {
        "loss": {task.name: task.loss() for task in tasks},
        "loss_weights": {task.name: task.weight for task in tasks},
        "weighted_metrics": {task.name: task.metrics() for task in tasks},
    }
