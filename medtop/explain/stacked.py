"""A run whose logit is a wide part and an encoder together: what each part adds, code by code.

The logit of a label is `a wide + c deep + b` (`medtop.wide.stacking`). The encoder's integrated gradients count c
times.
The wide part is linear in its columns, so that each column's share is exact: a code adds its coefficient at its latest
occurrence, a figure of the history adds its coefficient times (its value - its value where nothing is known). The
baseline of both parts is the same patient without codes, of unknown age and sex. So over all occurrences and channels
the attributions sum to F(x) - F(baseline), up to the error of the encoder's integral.

Letters: B rows, T tokens, L labels explained, V vocabulary, W windows in days (`ever` is one more), F context columns.
"""

import numpy as np
import tensorflow as tf

from medtop.cohort.vocabulary import UNK_ID
from medtop.evaluation.scoring import patient_model
from medtop.wide.history import context_names, context_of, history_of_tokens, windows_of

HISTORY = "history"
"""Channel of the wide part's figures of the history: numbers, lengths and recency of stays, number of codes."""

UNKNOWN = "unknown"
"""Channel of the codes that the vocabulary does not hold: [UNK] is no code that a table of codes could name, and the
wide part gives it a coefficient all the same."""

_CHANNEL_OF = {"age_years": "age", "age_unknown": "age", "female": "sex", "male": "sex"}


class WideContributions:
    """What the wide part adds to each label's logit, exactly.

    Args:
        part: `medtop.model.wide.WidePart`.
        labels: list of (task name, label number).
    """

    def __init__(self, part, labels):
        layer, self.days = part.layer, tuple(part.layer.days)
        places = [part.columns[task].start + number for task, number in labels]
        scale = np.array([part.stack[task]["wide_scale"][number] for task, number in labels], np.float64)
        table, context, intercepts = (
            np.asarray(getattr(layer, name), np.float64)[..., places] * scale
            for name in ("tables", "context", "intercepts")
        )
        self.offsets = np.array([part.stack[task]["offset"][number] for task, number in labels]) + intercepts
        self.deep_scales = np.array([part.stack[task]["deep_scale"][number] for task, number in labels], np.float64)
        self.table = table.reshape(layer.vocab_size, len(self.days) + 1, len(labels))  # [V, W + 1, L]
        self.context, self.names = context, context_names(self.days)  # [F, L]
        self.nothing = np.array(
            [name == "age_unknown" for name in self.names], np.float64
        )  # [F], where nothing is known
        self.baseline = self.nothing @ context + self.offsets
        """float64 [L], the wide part's share of the logit, offset included, where nothing is known."""

    def __call__(self, x):
        """Contributions of a batch of unpacked rows: dict channel -> float64 [B, T, L].

        `code` and `unknown` stand at each code's latest occurrence; `age`, `sex` and `history` at [CLS].
        """
        x = {name: np.asarray(values) for name, values in x.items()}
        shape = (*x["token_ids"].shape, self.table.shape[-1])
        values = {name: np.zeros(shape) for name in ("code", UNKNOWN, "age", "sex", HISTORY)}
        history = history_of_tokens(_columns(x))
        change = context_of(history, self.days) - self.nothing  # [B, F]
        first = x["cls_positions"][:, 0]
        for number, name in enumerate(self.names):
            channel = values[_CHANNEL_OF.get(name, HISTORY)]
            channel[np.arange(len(first)), first] += change[:, [number]] * self.context[number]
        for row, ids in enumerate(x["token_ids"]):
            standing = np.flatnonzero((x["patient_slots"][row] > 0) & ((ids == UNK_ID) | (ids >= 5)))
            _, back = np.unique(ids[standing[::-1]], return_index=True)
            last = standing[::-1][back]  # tokens are in time order
            own = self.table[ids[last], windows_of(x["recencies"][row, last], self.days)]
            unknown = ids[last] == UNK_ID
            values["code"][row, last[~unknown]], values[UNKNOWN][row, last[unknown]] = own[~unknown], own[unknown]
        return values


def _columns(x):
    """Rows of a batch as the flat columns of `history_of_tokens`, padding and what was taken out left away."""
    standing = x["patient_slots"] > 0
    names = {"visits": "visits", "stays": "stay_days", "recencies": "recency_days", "ages": "age_days"}
    columns = {name: x[key][standing] for key, name in names.items()}
    sex = x["sexes"][np.arange(len(standing)), x["cls_positions"][:, 0]]
    return columns | {"token_ids": x["token_ids"][standing], "counts": standing.sum(1), "sex": sex}


class StackedAttributor:
    """As `medtop.explain.gradients.Attributor`, of a run with a wide part.

    Args:
        model: `build_model`'s, weights set and with its `wide`.
        tasks: list of `Task`.
        labels: list of (task name, label number).
        encoder: `Attributor` of the same model and labels.
    """

    def __init__(self, model, tasks, labels, encoder):
        self.wide, self.encoder, self.labels = WideContributions(model.wide, labels), encoder, list(labels)
        self._model = patient_model(model, tasks)
        self._inputs = [tensor.name for tensor in tf.nest.flatten(self._model.input)]
        self._whole = tf.function(self._of_batch, autograph=False, reduce_retracing=True)

    def __call__(self, x):
        """(dict channel -> float64 [B, T, L]; logits float [B, L] of the patients, and of the baseline)."""
        values = self.wide(x)
        logits = np.asarray(self.logits(x), np.float64)
        baseline = np.repeat(self.wide.baseline[None], len(logits), 0)
        if self.wide.deep_scales.any():
            deep, _, start = self.encoder(x)
            for name, part in deep.items():
                values[name] = values.get(name, 0.0) + self.wide.deep_scales * part
            baseline = baseline + self.wide.deep_scales * start
        return values, logits, baseline

    def logits(self, x):
        """float32 [B, L]: the labels' logits of a batch, both parts together."""
        return self._whole({name: tf.cast(x[name], tf.int32) for name in self._inputs})

    def _of_batch(self, x):
        outputs = self._model(x, training=False)
        return tf.stack([outputs[task][:, 0, number] for task, number in self.labels], -1)


def shuffled(part, seed):
    """Gives each code of a wide part the coefficients of another one, drawn at random: what was learned is gone."""
    tables = np.asarray(part.layer.tables)
    by_code = tables.reshape(part.layer.vocab_size, -1)
    codes = np.arange(5, len(by_code))
    by_code = by_code.copy()
    by_code[codes] = by_code[np.random.default_rng(seed).permutation(codes)]
    part.layer.tables.assign(by_code.reshape(tables.shape))
