"""What an encoder computes for each token by itself: dense layers, activations, LayerNorm.

Written with keras only, in the shapes that TensorFlow recognises: a product of two-dimensional arrays, its bias and its
GELU then are one operation when a model scores (docs/speed.md).
"""

import contextlib
import contextvars
import math

import keras
from keras import ops


def initializer(stddev):
    """BERT's: a normal distribution cut at two standard deviations."""
    return keras.initializers.TruncatedNormal(stddev=stddev)


def activation(name):
    """`gelu(x) = x Phi(x)`, with Phi written with erf ("gelu") or its tanh approximation ("gelu_tanh"); Hendrycks and
    Gimpel 2016, section 2. "tanh" is the pooler's."""

    def exact(x):
        return x * (0.5 * (1.0 + ops.erf(x * (1.0 / math.sqrt(2.0)))))

    def approximate(x):
        return x * (0.5 * (1.0 + ops.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x))))

    return {"gelu": exact, "gelu_tanh": approximate, "tanh": ops.tanh}[name]


def affine(x, kernel, bias):
    """`x W + b` for every token.

    Args:
        x: [..., I]; kernel: [I, O]; bias: [O].

    Returns:
        [n, O], n the product of x's leading sizes.
    """
    # ops.add, not +: only that becomes the BiasAdd that TensorFlow looks for behind a product.
    return ops.add(ops.matmul(ops.reshape(x, (-1, kernel.shape[0])), kernel), bias)


def affine_parts(x, kernel, bias):
    """`x W_p + b_p` for every token, with n kernels that lie side by side.

    Args:
        x: [..., I]; kernel: [I, n, O]; bias: [n, O].

    Returns:
        [m, n, O], m the product of x's leading sizes.
    """
    inner, parts, outer = kernel.shape
    if keras.backend.backend() == "tensorflow":  # the one product that it recognises
        flat = affine(x, ops.reshape(kernel, (inner, parts * outer)), ops.reshape(bias, (parts * outer,)))
        return ops.reshape(flat, (-1, parts, outer))
    return ops.tensordot(ops.reshape(x, (-1, inner)), kernel, axes=1) + bias  # no axis that may be sharded is merged


@keras.saving.register_keras_serializable("medtop")
class Dense(keras.layers.Layer):
    """A dense layer with BERT's initialisation: `act(x W + b)`.

    Args:
        units: O.
        stddev: of the kernel's initial entries.
        act: of `activation`; None: linear.

    Call:
        x [..., I] -> [..., O].
    """

    def __init__(self, units, stddev, act=None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.stddev, self.act = units, stddev, act

    def build(self, x_shape):
        self.kernel = self.add_weight(
            name="kernel", shape=(x_shape[-1], self.units), initializer=initializer(self.stddev)
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def call(self, x):
        flat = affine(x, self.kernel, self.bias)
        if self.act is not None:
            flat = activation(self.act)(flat)
        return ops.reshape(flat, (*ops.shape(x)[:-1], self.units))

    def compute_output_spec(self, x):
        return keras.KerasTensor((*x.shape[:-1], self.units), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "stddev": self.stddev, "act": self.act}


_NORM = contextvars.ContextVar("layer_norm", default=None)


@contextlib.contextmanager
def layer_norm_as(function):
    """Within it a `LayerNorm` in float32 computes `function(x, gamma, beta, epsilon)`: the same in other operations.

    Args:
        function: None: the layer's own.
    """
    token = _NORM.set(function)
    try:
        yield
    finally:
        _NORM.reset(token)


@keras.saving.register_keras_serializable("medtop")
class LayerNorm(keras.layers.Layer):
    """`gamma (x - mean) / sqrt(variance + epsilon) + beta` over the width (Ba et al. 2016), in float32 or better.

    Keras's own layer multiplies gamma and the mean by the root for every token: a twentieth more time for the whole
    forward pass of a small encoder.

    Call:
        x [..., H] -> [..., H].
    """

    def __init__(self, epsilon, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, x_shape):
        self.gamma = self.add_weight(name="gamma", shape=(x_shape[-1],), initializer="ones", autocast=False)
        self.beta = self.add_weight(name="beta", shape=(x_shape[-1],), initializer="zeros", autocast=False)

    def call(self, x):
        dtype, given = keras.backend.result_type(x.dtype, "float32"), _NORM.get()
        x = ops.cast(x, dtype)
        if given is not None and dtype == "float32":
            weights = [ops.convert_to_tensor(weight) for weight in (self.gamma, self.beta)]
            return ops.cast(given(x, *weights, self.epsilon), self.compute_dtype)
        x = x - ops.mean(x, axis=-1, keepdims=True)
        x = x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + self.epsilon)
        x = ops.add(x * ops.cast(self.gamma, dtype), ops.cast(self.beta, dtype))
        return ops.cast(x, self.compute_dtype)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


def dense(config, units, name, act=None, dtype=None):
    """`Dense` of a `BertConfig`'s encoder or head; dtype None: Keras's policy."""
    return Dense(units, config.initializer_range, act, name=name, dtype=dtype)


def layer_norm(config, name):
    """`LayerNorm` of a `BertConfig`'s encoder or head."""
    return LayerNorm(config.layer_norm_eps, name=name)
