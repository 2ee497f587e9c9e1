"""Encoder + one head per task -> one Keras model with named outputs.

Letters: B rows in a batch, T tokens in a row, P patients in a row, M masked positions, K labels, V vocabulary, H width.
"""

import keras
from keras import ops

from medtop.dropout import Dropout
from medtop.encoder import GatherPositions, build_encoder, encoder_inputs
from medtop.tokenwise import affine, dense, layer_norm


@keras.saving.register_keras_serializable("medtop")
class TiedLogits(keras.layers.Layer):
    """Vocabulary logits with the code table as output matrix (tied, Devlin et al. 2018), plus a bias.

    Call:
        x [B, M, H] -> float32 [B, M, V].
    """

    def __init__(self, embeddings, **kwargs):
        super().__init__(**kwargs)
        # A function, because Keras tracks attributes, lists too, and would count the table as this layer's own weight.
        self._table_of = lambda: embeddings.tables["code"]

    def build(self, input_shape):
        self.bias = self.add_weight(name="bias", shape=(self._table.shape[0],), initializer="zeros")

    @property
    def _table(self):
        return self._table_of()

    def call(self, x):
        logits = affine(x, ops.transpose(ops.cast(self._table, x.dtype)), ops.cast(self.bias, x.dtype))
        return ops.cast(ops.reshape(logits, (*ops.shape(x)[:-1], self._table.shape[0])), "float32")

    def compute_output_spec(self, x):
        return keras.KerasTensor((*x.shape[:-1], self._table.shape[0]), dtype="float32")


def _masked_head(task, config, encoder, inputs, outputs):
    """BERT's prediction head, at the masked positions only."""
    inputs["mask_positions"] = inputs.get("mask_positions", keras.Input((None,), dtype="int32", name="mask_positions"))
    x = GatherPositions(name=f"{task.name}_gather")(outputs["sequence_output"], inputs["mask_positions"])
    x = dense(config, config.hidden_size, f"{task.name}_transform", config.activation)(x)
    x = layer_norm(config, f"{task.name}_transform_norm")(x)
    return TiedLogits(encoder.get_layer("embeddings"), name=f"{task.name}_logits", dtype="float32")(x)


def _patient_head(task, config, encoder, inputs, outputs):
    """Dropout and one dense layer on the pooled patient vector."""
    x = Dropout(config.hidden_dropout_prob, name=f"{task.name}_dropout")(outputs["pooled_output"])
    return dense(config, task.num_outputs, f"{task.name}_logits", dtype="float32")(x)


HEADS = {"masked": _masked_head, "patient": _patient_head}
"""Level of a task -> its head. A new level is one function here."""


def build_model(config, tasks):
    """One functional model: x (CONTRACT 6) -> {task name: float32 logits}.

    Args:
        config: `BertConfig` with vocab_size > 0.
        tasks: list of `Task`.

    Returns:
        `keras.Model` with outputs `masked_lm` [B, M, V] and [B, P, K] per patient-level task, and attribute `encoder`.
    """
    encoder = build_encoder(config)
    inputs = encoder_inputs(config)
    outputs = encoder(inputs)
    logits = {task.name: HEADS[task.level](task, config, encoder, inputs, outputs) for task in tasks}
    model = keras.Model(inputs, logits, name="medtop")
    model.encoder = encoder
    return model


def compile_arguments(tasks):
    """`loss`, `loss_weights` and `weighted_metrics` for `model.compile`: total = sum of weight x task loss."""
    return {
        "loss": {task.name: task.loss() for task in tasks},
        "loss_weights": {task.name: task.weight for task in tasks},
        "weighted_metrics": {task.name: task.metrics() for task in tasks},
    }
