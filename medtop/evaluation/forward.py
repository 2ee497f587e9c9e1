"""A model's forward pass where nothing is trained: what it computes, and how batches go through it.

Letters: n tokens, H width.
"""

import collections
import concurrent.futures
import itertools
import os

import tensorflow as tf

from medtop.model.tokenwise import layer_norm_as

ONEDNN = os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1"
"""Whether TensorFlow was told to compute with oneDNN. It asks once, when it is loaded, so this does too."""


def forward(model):
    """x -> model(x, training=False), to be traced by a tf.function whose sizes are open, not to be exported.

    Where TensorFlow computes with oneDNN on a CPU, each LayerNorm is one operation (`one_layer_norm`). Results differ
    in the last digits of float32.

    Args:
        model: `keras.Model`.
    """

    def call(x):
        on_a_cpu = ONEDNN and not tf.config.list_logical_devices("GPU")
        with layer_norm_as(one_layer_norm if on_a_cpu else None):
            return model(x, training=False)

    return call


def one_layer_norm(x, gamma, beta, epsilon):
    """LayerNorm in the operations of which TensorFlow's optimizer makes a single one of oneDNN's.

    That is how Keras 2 computed it: each token is a channel of a batch normalization with statistics of its own. Other
    forms it does not recognise, or only with constant weights and then with an epsilon of its own (docs/entities.md).
    Where it makes nothing of it (sizes known ahead, no oneDNN), this is as right, and slower than other forms.

    Args:
        x: float32 [n, H] or [B, T, H]; gamma, beta: [H]; epsilon: float.

    Returns:
        float32, as x.
    """
    sizes = tf.shape(x)
    tokens = tf.reduce_prod(sizes[:-1])
    none = tf.constant([], tf.float32)
    normal, *_ = tf.raw_ops.FusedBatchNormV3(
        x=tf.reshape(x, tf.stack([1, tokens, x.shape[-1], 1])),
        scale=tf.fill([tokens], 1.0),
        offset=tf.fill([tokens], 0.0),
        mean=none,
        variance=none,
        epsilon=epsilon,
        data_format="NCHW",
        is_training=True,
    )
    normal = tf.reshape(normal, sizes)
    normal.set_shape(x.shape)
    return normal * gamma + beta


def side_by_side(function, batches):
    """Yields (batch, function(*batch)) in the order of the batches, two of them computed at a time; on GPUs one.

    An operation on a small batch leaves a core idle at its beginning and end, which the other batch then uses.

    Args:
        function: a tf.function, or what calls one. The first call is made alone, because it traces.
        batches: iterable of tuples; an error of it, or of the function, is raised here.
    """
    batches = iter(batches)
    for batch in itertools.islice(batches, 1):
        yield batch, function(*batch)
    workers = 1 if tf.config.list_logical_devices("GPU") else 2
    waiting = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for batch in batches:
            waiting.append((batch, pool.submit(function, *batch)))
            if len(waiting) > workers:
                batch, result = waiting.popleft()
                yield batch, result.result()
        for batch, result in waiting:
            yield batch, result.result()
