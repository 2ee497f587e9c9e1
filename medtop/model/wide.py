"""The wide part as a layer: frozen coefficients of codes within time windows, and of a few plain figures.

`medtop.wide` fits them; `medtop.wide.history` computes the same columns in NumPy, and a test holds the two together.

Letters: B rows in a batch, T tokens in a row, P patients in a row, K labels, V vocabulary, W windows in days (`ever` is
one more), F context columns.
"""

import keras
from keras import ops

from medtop.model.config import DAYS_PER_YEAR, WIDE_INPUTS

UNK_ID, FIRST_CODE_ID = 1, 5
LONG_STAY_DAYS = 7
_FAR = 1e9


@keras.saving.register_keras_serializable("medtop")
class WideLogits(keras.layers.Layer):
    """Sum over a patient's codes of `tables[code, window of its latest occurrence]`, plus context and an intercept.

    Tokens are in time order, as the records have them, so the latest occurrence of a code is its last one in the row.
    Nothing here is trained by gradient descent.

    Args:
        vocab_size: V.
        days: W ascending numbers of days.
        num_context: F.
        num_labels: K.

    Call:
        dict of int [B, T] `token_ids`, `patient_slots` and `WIDE_INPUTS`, and `cls_positions` [B, P] ->
        float32 [B, P, K]. Codes must not be masked.
    """

    def __init__(self, vocab_size, days, num_context, num_labels, **kwargs):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.vocab_size, self.days = vocab_size, tuple(days)
        self.num_context, self.num_labels = num_context, num_labels

    def build(self, input_shape):
        width = len(self.days) + 1
        for name, shape in (
            ("tables", (self.vocab_size * width, self.num_labels)),
            ("context", (self.num_context, self.num_labels)),
            ("intercepts", (self.num_labels,)),
        ):
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer="zeros", trainable=False))

    def call(self, inputs):
        x = {name: ops.cast(values, "int32") for name, values in inputs.items()}
        places = ops.arange(1, ops.shape(x["cls_positions"])[1] + 1, dtype="int32")  # P
        mine = ops.cast(ops.equal(x["patient_slots"][:, None, :], places[None, :, None]), "float32")  # [B, P, T]
        tokens, recencies = x["token_ids"], x["recencies"]
        code = ops.logical_or(ops.equal(tokens, UNK_ID), ops.greater_equal(tokens, FIRST_CODE_ID))
        window = sum(ops.cast(ops.greater(recencies, day), "int32") for day in self.days)
        rows = ops.take(self.tables, tokens * (len(self.days) + 1) + window, axis=0)  # [B, T, K]
        last = ops.cast(self._is_last(tokens, x["patient_slots"], code), "float32")
        by_codes = ops.matmul(mine, rows * last[:, :, None])
        return by_codes + ops.matmul(self._context(x, code, mine), self.context) + self.intercepts

    def _is_last(self, tokens, slots, code):
        """bool [B, T]: codes that do not come again in the same patient."""
        place = ops.arange(ops.shape(tokens)[1])
        again = ops.logical_and(
            ops.equal(tokens[:, :, None], tokens[:, None, :]), ops.equal(slots[:, :, None], slots[:, None, :])
        )
        again = ops.logical_and(again, place[None, None, :] > place[None, :, None])
        return ops.logical_and(code, ops.logical_not(ops.any(again, axis=-1)))

    def _context(self, x, code, mine):
        """float32 [B, P, F], the columns of `medtop.wide.history.context_names`, in their order."""
        slots, visits = x["patient_slots"], x["visits"]
        key = slots * 65_536 + visits
        before = ops.concatenate([ops.full_like(key[:, :1], -1), key[:, :-1]], axis=1)
        opens = ops.cast(ops.logical_and(code, ops.not_equal(key, before)), "float32")  # first code of its visit
        stays, recencies = ops.cast(x["stays"], "float32"), ops.cast(x["recencies"], "float32")
        code = ops.cast(code, "float32")
        long = opens * ops.cast(ops.greater(x["stays"], LONG_STAY_DAYS), "float32")
        within = [ops.cast(ops.less_equal(x["recencies"], day), "float32") for day in self.days]

        def total(values):  # [B, T] -> [B, P]
            return ops.squeeze(ops.matmul(mine, values[:, :, None]), axis=-1)

        def largest(values):  # of values from 0 up
            return ops.max(mine * (code * values)[:, None, :], axis=-1)

        number = total(opens)
        nearest = -ops.max(ops.where(mine * code[:, None, :] > 0, -recencies[:, None, :], -_FAR), axis=-1)
        first = ops.cast(x["cls_positions"], "int32")
        ages = ops.cast(ops.take_along_axis(x["ages"], first, axis=1), "float32")
        sexes = ops.take_along_axis(x["sexes"], first, axis=1)
        logged = [
            total(code),
            number,
            total(long),
            ops.where(number > 0, nearest, ops.zeros_like(nearest)),
            largest(recencies + stays),
            largest(stays),
            total(opens * stays) / ops.maximum(number, 1.0),
            *(total(opens * inside) for inside in within),
            *(total(long * inside) for inside in within),
        ]
        plain = [ages / DAYS_PER_YEAR, ops.equal(ages, 0), ops.equal(sexes, 1), ops.equal(sexes, 2)]
        columns = [*(ops.cast(column, "float32") for column in plain), *(ops.log(1.0 + column) for column in logged)]
        return ops.stack(columns, axis=-1)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor((*inputs["cls_positions"].shape, self.num_labels), dtype="float32")

    def get_config(self):
        own = ("vocab_size", "num_context", "num_labels")
        return {**super().get_config(), "days": list(self.days), **{name: getattr(self, name) for name in own}}


@keras.saving.register_keras_serializable("medtop")
class Stacked(keras.layers.Layer):
    """`wide_scale * wide + deep_scale * deep + offset`, label by label, nothing trained: float32 [B, P, K].

    Args:
        wide_scale, deep_scale, offset: K numbers each; the scales are 0 or more.

    Call:
        wide [B, P, K], deep [B, P, K].
    """

    def __init__(self, wide_scale, deep_scale, offset, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.scales = {"wide_scale": wide_scale, "deep_scale": deep_scale, "offset": offset}
        self.scales = {name: [float(value) for value in values] for name, values in self.scales.items()}

    def call(self, wide, deep):
        a, c, b = (
            ops.convert_to_tensor(self.scales[name], "float32") for name in ("wide_scale", "deep_scale", "offset")
        )
        return a * wide + c * ops.cast(deep, "float32") + b

    def compute_output_spec(self, wide, deep):
        return keras.KerasTensor(wide.shape, dtype="float32")

    def get_config(self):
        return {**super().get_config(), **self.scales}


class WidePart:
    """A fitted wide part beside an encoder: `model.wide` where a run has one.

    Args:
        layer: `WideLogits` with its weights set, labels of all tasks end to end.
        columns: dict task -> slice of its labels.
        stack: dict task -> {"wide_scale", "deep_scale", "offset": K numbers each}.
    """

    inputs = ("token_ids", "patient_slots", "cls_positions", *WIDE_INPUTS)

    def __init__(self, layer, columns, stack):
        self.layer, self.columns, self.stack = layer, columns, stack

    @property
    def is_alone(self):
        """Whether the encoder takes no part in any task."""
        return not any(any(scales["deep_scale"]) for scales in self.stack.values())

    def outputs(self, inputs, deep, tasks):
        """Symbolic logits of the patient-level tasks.

        Args:
            inputs: dict of `keras.Input`, with `WIDE_INPUTS`.
            deep: dict task -> the encoder's logits; not read where `is_alone`.
            tasks: names of the tasks that are asked for.
        """
        wide = self.layer({name: inputs[name] for name in self.inputs})
        outputs = {}
        for task in tasks:
            mine = wide[:, :, self.columns[task]]
            outputs[task] = Stacked(**self.stack[task], name=f"{task}_stacked")(
                mine, ops.zeros_like(mine) if self.is_alone else deep[task]
            )
        return outputs
