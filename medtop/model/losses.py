"""Losses and training metrics with one value per element of y.

Letters: B rows in a batch, P patients in a row, M masked positions, K labels, V vocabulary.
"""

import keras
from keras import ops


def _right_and_largest(y, logits):
    """(logits [n, V], n = B M; the right codes' [n, 1]; the largest [n, 1]), of y int [B, M] and logits [B, M, V]."""
    flat = ops.reshape(logits, (-1, ops.shape(logits)[-1]))
    right = ops.take_along_axis(flat, ops.reshape(ops.cast(y, "int32"), (-1, 1)), axis=-1)
    return flat, right, ops.max(flat, axis=-1, keepdims=True)


def softmax_crossentropy(y, logits):
    """-log softmax(z)[y] = log sum_v exp(z_v - m) - (z_y - m), m the largest logit, so that no exponent overflows.

    Its gradient softmax(z) - 1[y] is written down, from the exponents that the sum needs anyhow: over a large
    vocabulary this takes less than half of the time of TensorFlow's own operation on a CPU (docs/speed.md).

    Args:
        y: int [B, M]; logits: float [B, M, V].

    Returns:
        [B, M].
    """

    @ops.custom_gradient
    def losses(logits):
        flat, right, largest = _right_and_largest(y, logits)
        exponents = ops.exp(flat - largest)
        total = ops.sum(exponents, axis=-1, keepdims=True)

        def gradient(*arguments, upstream=None):
            upstream = ops.reshape(arguments[0] if upstream is None else upstream, (-1, 1))
            shares = upstream / total
            codes = ops.reshape(ops.cast(y, "int32"), (-1,))
            places = ops.stack([ops.arange(ops.shape(codes)[0], dtype="int32"), codes], axis=1)
            theirs = ops.exp(right - largest) * shares - upstream
            slopes = ops.scatter_update(exponents * shares, places, theirs[:, 0])
            return ops.reshape(slopes, ops.shape(logits))

        return ops.reshape(ops.log(total) + largest - right, ops.shape(logits)[:-1]), gradient

    return losses(logits)


@keras.saving.register_keras_serializable("medtop")
class ElementwiseCrossentropy(keras.losses.Loss):
    """Cross-entropy per element, summed with its weights.

    The pipeline normalises a task's weights to sum 1 over the whole global batch, so that the sum is the weighted mean
    and stays so when the batch is split over replicas. Returns one value per element, of y's shape: Keras's own
    BinaryCrossentropy averages over the last axis, and then per-label weights cannot silence an unknown label.

    With `sparse`: y int [B, M], logits [B, M, V]; -log softmax(logits)[y].
    Else: y float [B, P, K], logits [B, P, K]; -w y log s(x) - (1 - y) log(1 - s(x)), s the sigmoid, w the label's
    positive weight (1 unless class weights are used).

    Args:
        sparse: softmax over V (True) or a sigmoid per label (False).
        positive_weights: None or K numbers > 0.
    """

    def __init__(self, sparse, positive_weights=None, name="crossentropy"):
        super().__init__(name=name, reduction="sum")
        self.sparse, self.positive_weights = sparse, positive_weights

    def call(self, y_true, y_pred):
        if self.sparse:
            return softmax_crossentropy(y_true, y_pred)
        # softplus is stable at both ends, and its gradient is right at 0 too, where max(x, 0) has none.
        positive = ops.softplus(-y_pred)  # -log s(x)
        negative = ops.softplus(y_pred)  # -log (1 - s(x))
        weights = 1.0 if self.positive_weights is None else ops.convert_to_tensor(self.positive_weights, y_pred.dtype)
        return weights * y_true * positive + (1.0 - y_true) * negative

    def correct(self, y_true, y_pred):
        """1 per element that is right, see the function `correct`."""
        return correct(self.sparse, y_true, y_pred)

    def get_config(self):
        return {"sparse": self.sparse, "positive_weights": self.positive_weights, "name": self.name}


def correct(sparse, y_true, y_pred):
    """1 where no code is likelier than the right one (`sparse`), or the logit lies on the right side of 0; else 0.

    Shapes as in `ElementwiseCrossentropy`; float32 like y.
    """
    if sparse:
        # The largest value is found much sooner than its place (docs/speed.md); of equal ones, each would be right.
        _, right, largest = _right_and_largest(y_true, y_pred)
        return ops.reshape(ops.cast(ops.equal(right, largest), "float32"), ops.shape(y_true))
    return ops.cast(ops.equal(ops.cast(y_true, "float32") > 0.5, y_pred > 0), "float32")


@keras.saving.register_keras_serializable("medtop")
class ElementwiseAccuracy(keras.metrics.Mean):
    """Share of labels whose logit lies on the right side of 0; weights have y's shape."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(correct(False, y_true, y_pred), sample_weight)
