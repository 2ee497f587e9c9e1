"""Integrated gradients on the sum of embeddings, one value per code occurrence and label, in logits.

`IG_c = (E_c - E'_c) . integral over a of dF/dE (E' + a (E - E')) da` (Sundararajan, Taly and Yan 2017, equation 1), for
each channel c of the embedding sum E = sum_c E_c. E' has the baseline's code in place of each code and "unknown" in
place of age, gap, stay, recency and sex; [CLS], [SEP] and places stay. The integral is a Gauss-Legendre sum.

Letters: B rows, T tokens, H width, L labels explained, S steps.
"""

import keras
import numpy as np
import tensorflow as tf

from medtop.cohort.vocabulary import MEDBERT_PAD, UNK
from medtop.files.errors import DataError
from medtop.model.config import EMBEDDINGS
from medtop.model.encoder import table_rows

BASELINES = ("mask", "unk")
"""What stands where nothing is known: [MASK] or [UNK], wherever the vocabulary has them."""

CONTEXT = ("age", "gap", "stay", "recency", "sex")
"""Channels that are attributed as well; positions, visit numbers and segments only say where a code stands."""


def model_from_embeddings(model, tasks):
    """The part of a model behind the embedding sum: ([B, T, H], patient_slots, cls_positions) -> dict of logits.

    It has the model's own layers and no dropout when called with `training=False`.

    Args:
        model: `build_model`'s.
        tasks: list of `Task`; the patient-level ones are kept.
    """
    encoder = model.encoder
    start = encoder.get_layer("embeddings").output
    slots, places = encoder.input["patient_slots"], encoder.input["cls_positions"]
    heads = {task.name: model.get_layer(f"{task.name}_logits") for task in tasks if task.level == "patient"}
    pooled = encoder.output["pooled_output"]
    return keras.Model([start, slots, places], {name: head(pooled) for name, head in heads.items()})


class Attributor:
    """Attributes labels of a model to the codes and the context of each patient.

    Args:
        model: `build_model`'s, weights set.
        config: `BertConfig`.
        tasks: list of `Task`.
        labels: list of (task name, label number).
        vocabulary: `Vocabulary`.
        steps: S, places at which the gradient is taken.
        baseline: one of `BASELINES`.
    """

    def __init__(self, model, config, tasks, labels, vocabulary, steps=64, baseline="mask"):
        if config.head == "retain":
            raise DataError("expected a model whose head reads tokens, to explain it; received head=retain")
        if baseline not in BASELINES:
            raise DataError(f"--baseline: expected one of {', '.join(BASELINES)}, received {baseline!r}")
        self.labels, self.config = list(labels), config
        self.special = tf.constant(vocabulary.special_ids, tf.int32)
        unknown = MEDBERT_PAD if vocabulary.is_medbert else UNK
        self.baseline = vocabulary.mask_id if baseline == "mask" else vocabulary.ids[unknown]
        self.tables = model.encoder.get_layer("embeddings").tables
        self.channels = ["code", *(name for name in CONTEXT if name in config.embeddings)]
        self._rest = model_from_embeddings(model, tasks)
        places, weights = np.polynomial.legendre.leggauss(steps)
        self.places, self.weights = (places + 1) / 2, weights / 2
        self._attribute = tf.function(self._batch, autograph=False, reduce_retracing=True)
        self._whole = tf.function(self._of_batch, autograph=False, reduce_retracing=True)
        self._gradients = tf.function(self._gradients_at, autograph=False, reduce_retracing=True)

    def __call__(self, x):
        """Attributions of a batch of unpacked rows (one patient a row).

        Args:
            x: dict as the pipeline makes it (codes not masked).

        Returns:
            (dict channel -> float32 [B, T, L]; logits float32 [B, L] of the patients, and of the baseline). Summed over
            tokens and channels, the attributions are the first minus the second, up to the error of the sum over steps.
        """
        parts, total, start = self._attribute(x)
        slots, places = x["patient_slots"], x["cls_positions"]
        gradients = None
        for place, weight in zip(self.places, self.weights, strict=True):
            step = self._gradients(start + tf.cast(place, start.dtype) * (total - start), slots, places) * weight
            gradients = step if gradients is None else gradients + step
        values = {name: tf.einsum("bth,lbth->btl", part, gradients).numpy() for name, part in parts.items()}
        ends = [self._logits(point, slots, places).numpy() for point in (total, start)]
        return values, *ends

    def logits(self, x):
        """float32 [B, L]: the labels' logits of a batch."""
        return self._whole(x)

    def _of_batch(self, x):
        _, total, _ = self._batch(x)
        return self._logits(total, x["patient_slots"], x["cls_positions"])

    def _batch(self, x):
        """(dict channel -> its part of the difference [B, T, H]; embedding sum; the baseline's)."""
        total, start, parts = 0.0, 0.0, {}
        ids = tf.cast(x["token_ids"], tf.int32)
        is_code = (tf.cast(x["patient_slots"], tf.int32) > 0) & ~tf.reduce_any(ids[..., None] == self.special, -1)
        for name in self.config.embeddings:
            key, size, kind = EMBEDDINGS[name]
            table = tf.convert_to_tensor(self.tables[name].value)
            rows = table_rows(x[key], kind, getattr(self.config, size), self.config.day_scale)
            here = tf.gather(table, rows)
            there = here
            if name == "code":
                there = tf.where(is_code[..., None], table[self.baseline], here)
            elif name in CONTEXT:
                there = tf.where((tf.cast(x["patient_slots"], tf.int32) > 0)[..., None], table[0], here)
            if name in self.channels:
                parts[name] = here - there
            total, start = total + here, start + there
        return parts, total, start

    def _logits(self, embeddings, slots, places):
        outputs = self._rest([embeddings, slots, places], training=False)
        return tf.stack([outputs[task][:, 0, number] for task, number in self.labels], -1)

    def _gradients_at(self, embeddings, slots, places):
        """Gradient of each label's logits by the embedding sum, [L, B, T, H]; rows do not see each other."""
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(embeddings)
            logits = tf.unstack(tf.reduce_sum(self._logits(embeddings, slots, places), 0))
        return tf.stack([tape.gradient(logit, embeddings) for logit in logits])
