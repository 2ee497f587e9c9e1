"""A linear-chain conditional random field (Lafferty et al. 2001) on logits: partition, likelihood, marginals.

p(y | x) = exp(sum_t z_t[y_t] + start[y_1] + sum_t A[y_t-1, y_t] + end[y_n]) / Z, over the tokens of a patient that
carry a label (`active`). Tokens in between (later pieces of a word, [CLS]) hand the state on unchanged; where another
patient of a packed row begins, end[j] + start[k] stands in place of A[j, k]; so one chain runs through the whole row.

Letters: B rows, T tokens, K tags. Keras only.
"""

import keras
from keras import ops

from medtop.model.tokenwise import initializer

_NEVER = -1e9


def steps(active, slots, transitions, start, end):
    """Potentials of each step from token t-1 to t.

    Args:
        active: bool [B, T], the tokens that carry labels.
        slots: int [B, T], the patient of each token (0 = padding).
        transitions: [K, K] from, to; start, end: [K].

    Returns:
        float [B, T, K, K]; that of the first token is unused.
    """
    size = transitions.shape[0]
    places = ops.cumsum(ops.ones_like(slots), axis=1) - 1
    last = _running_maximum(ops.where(active, places, -1))  # newest active token up to here
    before = ops.concatenate([ops.full_like(last[:, :1], -1), last[:, :-1]], axis=1)
    owner = ops.take_along_axis(slots, ops.maximum(before, 0), axis=1)
    none_before = before < 0
    same = ops.logical_and(ops.equal(owner, slots), ops.logical_not(none_before))[:, :, None, None]
    begin = ops.broadcast_to(start[None, :], (size, size))
    inside = ops.where(same, transitions, end[:, None] + begin)
    # before any label the state is free: every value of it must give the same, and be counted once
    first = begin + (1.0 - ops.eye(size)[0][:, None]) * _NEVER
    inside = ops.where(none_before[:, :, None, None], first, inside)
    copy = (1.0 - ops.eye(size)) * _NEVER
    return ops.where(active[:, :, None, None], inside, copy)


def _running_maximum(values):
    """The largest value of each row up to each place, int [B, T]. (`ops.associative_scan` needs to know T.)"""

    def step(before, here):
        largest = ops.maximum(before, here)
        return largest, largest

    columns = ops.transpose(values)
    return ops.transpose(ops.scan(step, columns[0], columns)[1])


def _scan(logits, active, potentials, end):
    """(alpha, beta) [T, B, K] of the forward and backward recursions; inactive tokens have no logits."""
    emissions = ops.transpose(ops.where(active[:, :, None], logits, 0.0), (1, 0, 2))  # [T, B, K]
    # One array: with two of them, Keras's scan cannot do without knowing T.
    moves = ops.transpose(potentials, (1, 0, 2, 3)) + emissions[:, :, None, :]
    size = logits.shape[-1]
    begin = ops.broadcast_to((1.0 - ops.eye(size)[0]) * _NEVER, ops.shape(emissions[0]))

    def forward(alpha, move):
        alpha = ops.logsumexp(alpha[:, :, None] + move, axis=1)
        return alpha, alpha

    def backward(beta, move):
        return ops.logsumexp(move + beta[:, None, :], axis=2), beta

    _, alphas = ops.scan(forward, begin, moves)
    _, betas = ops.scan(backward, ops.broadcast_to(end, ops.shape(begin)), moves, reverse=True)
    return alphas, betas


def log_partition(logits, active, slots, transitions, start, end):
    """log Z of each row, [B]: the sum over its patients; 0 for a row without a label."""
    alphas, _ = _scan(logits, active, steps(active, slots, transitions, start, end), end)
    return ops.where(ops.any(active, axis=1), ops.logsumexp(alphas[-1] + end, axis=-1), 0.0)


def log_marginals(logits, active, slots, transitions, start, end):
    """log p(y_t = k | x) of the active tokens, [B, T, K]; the logits themselves elsewhere."""
    alphas, betas = _scan(logits, active, steps(active, slots, transitions, start, end), end)
    joint = ops.transpose(alphas + betas, (1, 0, 2))
    marginals = joint - ops.logsumexp(joint, axis=-1, keepdims=True)
    return ops.where(active[:, :, None], marginals, logits)


@keras.saving.register_keras_serializable("medtop")
class CRF(keras.layers.Layer):
    """Logits [B, T, K] -> log-marginals [B, T, K] of a chain whose transitions are learned.

    Softmax cross-entropy of log-marginals is -log p(y_t | x): the chain is trained by its tokens' likelihood (Kakade et
    al. 2002), with one value per element, like every other loss here.

    Call:
        logits [B, T, K], active bool or int [B, T], patient_slots int [B, T] -> float32 [B, T, K].
    """

    def build(self, logits_shape, active_shape=None, patient_slots_shape=None):
        size = logits_shape[-1]
        self.transitions = self.add_weight(name="transitions", shape=(size, size), initializer=initializer(0.02))
        self.begin = self.add_weight(name="begin", shape=(size,), initializer="zeros")
        self.end = self.add_weight(name="end", shape=(size,), initializer="zeros")

    def call(self, logits, active, patient_slots):
        logits, slots = ops.cast(logits, "float32"), ops.cast(patient_slots, "int32")
        weights = (ops.cast(weight, "float32") for weight in (self.transitions, self.begin, self.end))
        return log_marginals(logits, ops.cast(active, "bool"), slots, *weights)

    def compute_output_spec(self, logits, active, patient_slots):
        return keras.KerasTensor(logits.shape, dtype="float32")
