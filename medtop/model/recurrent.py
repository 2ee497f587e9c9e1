"""Recurrent nets over a patient's tokens: Med-BERT's heads (Rasmy et al. 2021) and RETAIN (Choi et al. 2016).

Patients share rows: a state starts at 0 where a patient's tokens begin and is read where they end, so that neither
padding nor the other patients of a row change it. Gates stand in PyTorch's order, so that weights go there transposed.

Letters: B rows in a batch, T tokens in a row, P patients in a row, H width, U units, G gates.
"""

import keras
from keras import ops

from medtop.model.config import PARTS
from medtop.model.encoder_layers import GatherPositions
from medtop.model.tokenwise import affine

GATES = {"gru": 3, "lstm": 4}
"""Kind of net -> G: reset, update, new of a GRU (Cho et al. 2014); input, forget, cell, output of an LSTM (Hochreiter
and Schmidhuber 1997)."""


def _gru(h, x, kernel, bias):
    """`h' = (1 - z) n + z h`, `n = tanh(x_n + r (h U_n + b_n))`: PyTorch's and cuDNN's form, whose reset gate comes
    after the product."""
    x_r, x_z, x_n = ops.split(x, 3, axis=-1)
    h_r, h_z, h_n = ops.split(ops.matmul(h, kernel) + bias, 3, axis=-1)
    z = ops.sigmoid(x_z + h_z)
    return (1.0 - z) * ops.tanh(x_n + ops.sigmoid(x_r + h_r) * h_n) + z * h


def _lstm(h, c, x, kernel, bias):
    """`c' = f c + i tanh(g)`, `h' = o tanh(c')`."""
    i, f, g, o = ops.split(x + ops.matmul(h, kernel) + bias, 4, axis=-1)
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    return ops.sigmoid(o) * ops.tanh(c), c


class _Cell:
    """What `keras.layers.RNN` runs at each token; the weights are `Recurrent`'s."""

    compute_dtype = "float32"

    def __init__(self, units, states, step):
        self.state_size, self.call = [units] * states, step

    def __call__(self, inputs, states):
        return self.call(inputs, states)


@keras.saving.register_keras_serializable("medtop")
class Recurrent(keras.layers.Layer):
    """A GRU or LSTM in one direction, in float32.

    Args:
        kind: key of `GATES`.
        units: U.
        backwards: whether it reads from the last token to the first.

    Call:
        sequence [B, T, H], patient_slots int [B, T]; steps bool [B, T] or None -> states [B, T, U], at each token the
        state after it was read. Where `steps` is False the state stays as it was.
    """

    def __init__(self, kind, units, backwards=False, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.kind, self.units, self.backwards = kind, units, backwards
        cell = _Cell(units, 2 if kind == "lstm" else 1, self._step)
        self._net = keras.layers.RNN(cell, return_sequences=True, dtype="float32")

    def build(self, sequence_shape, patient_slots_shape, steps_shape=None):
        width, bound = GATES[self.kind] * self.units, self.units**-0.5
        for name, shape in {
            "kernel": (sequence_shape[-1], width),
            "recurrent_kernel": (self.units, width),
            "bias": (width,),
            "recurrent_bias": (width,),
        }.items():
            start = keras.initializers.RandomUniform(-bound, bound)  # PyTorch's
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer=start))

    def call(self, sequence, patient_slots, steps=None):
        rows, tokens = ops.shape(sequence)[0], ops.shape(sequence)[1]
        inputs = ops.reshape(affine(sequence, self.kernel, self.bias), (rows, tokens, GATES[self.kind] * self.units))
        slots = ops.cast(patient_slots, "int32")
        moves = ops.ones_like(slots) if steps is None else ops.cast(steps, "int32")
        if self.backwards:
            inputs, slots, moves = (ops.flip(values, axis=1) for values in (inputs, slots, moves))
        before = ops.concatenate([ops.full_like(slots[:, :1], -1), slots[:, :-1]], axis=1)
        kept = ops.cast(ops.equal(slots, before), "float32")  # 0 where another patient begins
        marks = [ops.cast(values, "float32")[:, :, None] for values in (kept, moves)]
        states = self._net(ops.concatenate([inputs, *marks], axis=-1))
        return ops.flip(states, axis=1) if self.backwards else states

    def _step(self, inputs, states):
        x, kept, moves = inputs[:, :-2], inputs[:, -2:-1], inputs[:, -1:]
        states = [kept * state for state in states]
        if self.kind == "lstm":
            new = _lstm(*states, x, self.recurrent_kernel, self.recurrent_bias)
        else:
            new = (_gru(*states, x, self.recurrent_kernel, self.recurrent_bias),)
        states = [moves * after + (1.0 - moves) * state for after, state in zip(new, states, strict=True)]
        return states[0], states

    def compute_output_spec(self, sequence, patient_slots, steps=None):
        return keras.KerasTensor((*sequence.shape[:2], self.units), dtype="float32")

    def get_config(self):
        return {**super().get_config(), "kind": self.kind, "units": self.units, "backwards": self.backwards}


@keras.saving.register_keras_serializable("medtop")
class LastPositions(keras.layers.Layer):
    """Where each patient's last token stands; 0 for an empty place.

    Call:
        patient_slots int [B, T], cls_positions int [B, P] -> int32 [B, P].
    """

    def call(self, patient_slots, cls_positions):
        slots = ops.arange(1, ops.shape(cls_positions)[1] + 1, dtype="int32")
        mine = ops.equal(ops.cast(patient_slots, "int32")[:, None, :], slots[None, :, None])  # [B, P, T]
        places = ops.arange(ops.shape(patient_slots)[1], dtype="int32")
        return ops.max(ops.where(mine, places[None, None, :], 0), axis=-1)

    def compute_output_spec(self, patient_slots, cls_positions):
        return keras.KerasTensor(cls_positions.shape, dtype="int32")


def recurrent_pooling(config, inputs, sequence):
    """What stands for each patient, [B, P, U] or [B, P, 2U]: the state after its last token and, of a net in both
    directions, the one that reads backwards, after its first.

    Args:
        config: `BertConfig` with `head` gru, bigru, lstm or bilstm.
        inputs: dict of `keras.Input`.
        sequence: [B, T, H].
    """
    kind, slots, first = config.head.removeprefix("bi"), inputs["patient_slots"], inputs["cls_positions"]
    states = Recurrent(kind, config.head_units, name="recurrent_forward")(sequence, slots)
    last = LastPositions(name="last_positions")(slots, first)
    ends = [GatherPositions(name="recurrent_last", dtype="float32")(states, last)]
    if config.head != kind:
        states = Recurrent(kind, config.head_units, backwards=True, name="recurrent_backward")(sequence, slots)
        ends.append(GatherPositions(name="recurrent_first", dtype="float32")(states, first))
    return keras.layers.Concatenate(name="recurrent_ends", dtype="float32")(ends) if len(ends) > 1 else ends[0]


@keras.saving.register_keras_serializable("medtop")
class VisitSums(keras.layers.Layer):
    """The sum of each visit's tokens, at its first one: RETAIN's `v = W_emb x` (equation 1) for the codes of a visit.

    Call:
        sequence [B, T, H], patient_slots, visits int [B, T] (0: no visit) -> [B, T, H], 0 but at visits' first tokens;
        bool [B, T], where these are.
    """

    def call(self, sequence, patient_slots, visits):
        slots, visits = ops.cast(patient_slots, "int32"), ops.cast(visits, "int32")
        key = slots * 65_536 + visits
        before = ops.concatenate([ops.full_like(key[:, :1], -1), key[:, :-1]], axis=1)
        first = ops.logical_and(ops.not_equal(key, before), ops.logical_and(visits > 0, slots > 0))
        same = ops.logical_and(ops.equal(key[:, :, None], key[:, None, :]), first[:, :, None])
        return ops.matmul(ops.cast(same, sequence.dtype), sequence), first

    def compute_output_spec(self, sequence, patient_slots, visits):
        spec = keras.KerasTensor(sequence.shape, dtype=sequence.dtype)
        return spec, keras.KerasTensor(patient_slots.shape, dtype="bool")


@keras.saving.register_keras_serializable("medtop")
class VisitAttention(keras.layers.Layer):
    """RETAIN's two attentions put together (equations 2 to 4): `c = sum_j a_j b_j * v_j`, with `a = softmax(w g + b)`
    over a patient's visits and `b_j = tanh(W h_j + b)`.

    Call:
        v [B, T, H] and first bool [B, T] of `VisitSums`; g, h [B, T, U]; patient_slots int [B, T], cls_positions
        int [B, P] -> [B, P, H], 0 for a patient without visits.
    """

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, v_shape, first_shape, g_shape, h_shape, patient_slots_shape, cls_positions_shape):
        shapes = {"visit_kernel": (g_shape[-1], 1), "code_kernel": (g_shape[-1], v_shape[-1])}
        for name, shape in shapes.items():
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer="glorot_uniform"))
            bias = name.replace("kernel", "bias")
            setattr(self, bias, self.add_weight(name=bias, shape=shape[1:], initializer="zeros"))

    def call(self, v, first, g, h, patient_slots, cls_positions):
        shape = ops.shape(v)
        scores = ops.reshape(affine(g, self.visit_kernel, self.visit_bias), (shape[0], 1, shape[1]))
        slots = ops.arange(1, ops.shape(cls_positions)[1] + 1, dtype="int32")
        mine = ops.equal(ops.cast(patient_slots, "int32")[:, None, :], slots[None, :, None])  # [B, P, T]
        mine = ops.logical_and(mine, first[:, None, :])
        shares = ops.softmax(ops.where(mine, scores, -30000.0), axis=-1) * ops.cast(mine, "float32")
        each = ops.reshape(ops.tanh(affine(h, self.code_kernel, self.code_bias)), shape) * v
        return ops.matmul(shares, each)

    def compute_output_spec(self, v, first, g, h, patient_slots, cls_positions):
        return keras.KerasTensor((*cls_positions.shape, v.shape[-1]), dtype="float32")


def retain_pooling(config, inputs, sequence):
    """RETAIN's context vector of each patient, [B, P, H]; both nets read from the last visit to the first.

    Args:
        config: `BertConfig` with `head` retain.
        inputs: dict of `keras.Input`.
        sequence: [B, T, H].
    """
    slots = inputs["patient_slots"]
    v, first = VisitSums(name="visit_sums", dtype="float32")(sequence, slots, inputs["visits"])
    g, h = (
        Recurrent("gru", config.head_units, backwards=True, name=f"retain_{name}")(v, slots, first)
        for name in ("visits", "codes")
    )
    return VisitAttention(name="retain")(v, first, g, h, slots, inputs["cls_positions"])


def is_part(layer):
    """Whether a layer belongs to a head over the encoder's outputs, not to the encoder itself."""
    return layer.name.startswith(PARTS)
