"""One head per level of task: what stands between the encoder and a task's logits.

Letters: B rows in a batch, T tokens in a row, P patients in a row, M masked positions, K labels, V vocabulary, H width.
"""

import keras
from keras import ops

from medtop.model.crf import CRF
from medtop.model.dropout import Dropout
from medtop.model.tokenwise import affine, dense, layer_norm


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
    x = dense(config, config.hidden_size, f"{task.name}_transform", config.activation)(outputs["masked_output"])
    x = layer_norm(config, f"{task.name}_transform_norm")(x)
    return TiedLogits(encoder.get_layer("embeddings"), name=f"{task.name}_logits", dtype="float32")(x)


def _patient_head(task, config, encoder, inputs, outputs):
    """Dropout and one dense layer on the pooled patient vector."""
    x = Dropout(config.hidden_dropout_prob, name=f"{task.name}_dropout")(outputs["pooled_output"])
    return dense(config, task.num_outputs, f"{task.name}_logits", dtype="float32")(x)


def _token_head(task, config, encoder, inputs, outputs):
    """Dropout and one dense layer on each token: [B, T, K]."""
    x = Dropout(config.hidden_dropout_prob, name=f"{task.name}_dropout")(outputs["sequence_output"])
    return dense(config, task.num_outputs, f"{task.name}_logits", dtype="float32")(x)


def _chain_head(task, config, encoder, inputs, outputs):
    """The token head, and a conditional random field over the tokens that begin words: log-marginals [B, T, K]."""
    inputs["word_starts"] = inputs.get("word_starts", keras.Input((None,), dtype="int32", name="word_starts"))
    x = Dropout(config.hidden_dropout_prob, name=f"{task.name}_dropout")(outputs["sequence_output"])
    x = dense(config, task.num_outputs, f"{task.name}_emissions", dtype="float32")(x)
    return CRF(name=f"{task.name}_logits", dtype="float32")(x, inputs["word_starts"], inputs["patient_slots"])


HEADS = {"masked": _masked_head, "patient": _patient_head, "token": _token_head, "chain": _chain_head}
"""A task's `head` (its level, unless its class says otherwise) -> what builds it. Another one is one function and one
entry, from within the package or from outside."""

READS = {"masked": "masked_output", "patient": "pooled_output"}
"""Heads that read few tokens -> the encoder's output that they read. All others get `sequence_output` too."""
