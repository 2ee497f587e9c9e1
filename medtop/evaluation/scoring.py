"""Runs a model over a data set: logits per example, and the measures of masked codes.

Letters: N examples, B rows in a batch, P patients in a row, M masked positions, K labels, V vocabulary.
"""

import functools
import itertools
import math

import keras
import numpy as np
import tensorflow as tf

from medtop.data import tfrecord
from medtop.data.batches import eval_batches, steps_per_epoch
from medtop.data.passes import Passes
from medtop.evaluation.aggregation import Admissions
from medtop.evaluation.forward import forward, side_by_side
from medtop.evaluation.predictions import Predictions
from medtop.evaluation.tagged_words import TOP, TaggedWords
from medtop.files.errors import DataError
from medtop.model.encoder import build_reading_encoder
from medtop.model.losses import softmax_crossentropy


def patient_model(model, tasks):
    """The part of a model that scores patients: x without masks -> {patient-level task: float32 logits [B, P, K]}.

    It has the model's own layers; of the last block only what the heads read (`build_reading_encoder`). Where the run
    has a wide part (`model.wide`), logits are the two together.
    """
    encoder, wide = build_reading_encoder(model.encoder, {"pooled_output"}), getattr(model, "wide", None)
    names = [task.name for task in tasks if task.level == "patient"]
    if wide is not None and wide.is_alone:  # the encoder is not even computed
        return keras.Model(encoder.input, wide.outputs(encoder.input, None, names))
    heads = {name: keras.Model(model.encoded["pooled_output"], model.output[name]) for name in names}
    deep = {name: head(encoder.output["pooled_output"]) for name, head in heads.items()}
    if wide is None:
        return keras.Model(encoder.input, deep)
    return keras.Model(encoder.input, wide.outputs(encoder.input, deep, names))


class KnownExamples:
    """What is known of the examples of a data set, without their sequences, in file order.

    Attributes:
        patient_ids: str [N].
        prediction_times: int64 [N], seconds since 1970-01-01.
        labels, weights: dict task -> float32 [N, K] of the given patient-level tasks.
        admissions: notes only: `medtop.evaluation.aggregation.Admissions`, which examples (windows) belong together.
    """

    def __init__(self, info, tasks):
        columns, count = tfrecord.record_columns(info), info.num_examples
        if not count:
            raise DataError(f"{info.names[0]}: expected at least one example, received none")
        self.labels, self.weights = {}, {}
        for task in tasks:
            if field := info.layout.label_fields.get(task.name):
                labels = columns[field].astype(np.float32)
                weights = np.ones_like(labels)
            else:
                unknown = np.zeros((count, task.num_outputs), np.float32)  # new patients come without labels
                labels, weights = (columns.get(f"{task.name}_{kind}", unknown) for kind in ("labels", "weights"))
            self.labels[task.name], self.weights[task.name] = labels, weights
        if info.layout.has_patients:
            self.patient_ids, self.prediction_times = columns["patient_id"], columns["prediction_time"]
        else:  # the place in the file stands for it
            self.patient_ids = np.array([str(number) for number in range(count)])
            self.prediction_times = np.zeros(count, np.int64)
        self.admissions = None
        if info.layout.has_windows:
            self.admissions = Admissions.of(self.patient_ids, columns["admission_id"], self.prediction_times)

    def __len__(self):
        return len(self.patient_ids)


class Scorer:
    """Scores one data set again and again while a model trains.

    Args:
        model: `build_model`'s.
        info: `records.DatasetInfo`.
        config, tasks, options: `BertConfig`, list of `Task`, `BatchOptions`.
        seed: seed of the masks, which are the same at every call.
        aggregation: notes: `medtop.evaluation.aggregation.Aggregation` that makes one prediction per admission;
            None: one per record.
    """

    def __init__(self, model, info, config, tasks, options, seed, aggregation=None):
        self.aggregation = aggregation
        self.patient = [task for task in tasks if task.level == "patient"]
        self.exclusive = [task for task in tasks if task.exclusive]
        self.examples = KnownExamples(info, self.patient) if self.patient else None
        self.info = info
        if self.patient:
            self._visible = _passes(info, config, self.patient, options, seed, masking=False)
            inputs, *_ = self._visible.element_spec
            # One signature for all row lengths: a trace for each would take longer than the scoring itself.
            self._logits = tf.function(forward(patient_model(model, tasks)), input_signature=[inputs], autograph=False)
        self._sums, self._batches = {}, {}
        for level, masking in (("masked", True), ("token", False)):
            mine = [task for task in self.exclusive if task.level == level]
            if not mine:
                continue
            heads = keras.Model(model.input, {task.name: model.output[task.name] for task in mine})
            self._batches[level] = batches = _passes(info, config, mine, options, seed, masking=masking)
            inputs, labels, weights, _ = batches.element_spec
            if level == "token":
                self._token_logits = tf.function(forward(heads), input_signature=[inputs], autograph=False)
                continue
            for task in mine:
                self._sums[task.name] = tf.function(
                    _exclusive_sums(heads, task.name),
                    input_signature=[inputs, labels[task.name], weights[task.name]],
                    autograph=False,
                )

    @property
    def admissions(self):
        """The `Admissions` of the records; None where they are no notes, or no task is of patients."""
        return self.examples and self.examples.admissions

    def predictions(self):
        """dict task -> `Predictions`, one per record, or per admission with an `aggregation`; codes are not masked."""
        of_records = self.record_predictions()
        if self.aggregation is None:
            return of_records
        return {task: self.admissions.aggregate(scores, self.aggregation) for task, scores in of_records.items()}

    def record_predictions(self):
        """dict task -> `Predictions`, one per record, in file order."""
        if not self.patient:
            return {}
        logits = {
            task.name: np.full((len(self.examples), task.num_outputs), np.nan, np.float32) for task in self.patient
        }
        with tfrecord.reading(self.info):
            for (_, _, _, examples), outputs in side_by_side(lambda x, *_: self._logits(x), self._visible):
                places = examples.numpy().reshape(-1)
                for name, values in outputs.items():
                    logits[name][places[places >= 0]] = values.numpy().reshape(len(places), -1)[places >= 0]
        about = self.examples
        return {
            task.name: Predictions(
                task=task.name,
                labels=task.labels,
                patient_ids=about.patient_ids,
                prediction_times=about.prediction_times,
                targets=about.labels[task.name],
                weights=about.weights[task.name],
                logits=logits[task.name],
            )
            for task in self.patient
        }

    def _sums_of(self, name, x, y, w, _):
        return self._sums[name](x, y[name], w[name])

    def exclusive_measures(self, max_batches=0):
        """Measures of masked codes and of tokens: dict task -> loss, accuracy, top10_accuracy, perplexity, n; of tags
        also f1 (`tagged_words.TaggedWords`).

        Means over all selected codes (labelled tokens) of the split, not over batches.

        Args:
            max_batches: stop after so many batches; 0 = all.
        """
        of_tags = self._tag_measures(max_batches)
        return {
            task.name: of_tags[task.name] if task.level == "token" else self._masked_measures(task, max_batches)
            for task in self.exclusive
        }

    def _masked_measures(self, task, max_batches):
        total = np.zeros(4)
        with tfrecord.reading(self.info):
            batches = itertools.islice(self._batches["masked"], max_batches or None)
            for _, sums in side_by_side(functools.partial(self._sums_of, task.name), batches):
                total += sums.numpy()
        count = total[0]
        mean = total[1:] / count if count else np.full(3, math.nan)
        return {
            "loss": float(mean[0]),
            "accuracy": float(mean[1]),
            "top10_accuracy": float(mean[2]),
            "perplexity": float(np.exp(mean[0])),
            "n": int(count),
        }

    def _tag_measures(self, max_batches):
        """Of all tasks of tokens, out of one pass."""
        words = {task.name: TaggedWords(task.labels) for task in self.exclusive if task.level == "token"}
        if not words:
            return {}
        with tfrecord.reading(self.info):
            batches = itertools.islice(self._batches["token"], max_batches or None)
            for (_, y, w, examples), logits in side_by_side(lambda x, *_: self._token_logits(x), batches):
                rows = np.flatnonzero((examples.numpy() >= 0).any(axis=1))
                for name, mine in words.items():
                    parts = [part[name].numpy() for part in (logits, y, w)]
                    for row in rows:
                        mine.add(*(part[row] for part in parts))
        return {name: mine.measures() for name, mine in words.items()}

    def token_logits(self, task):
        """Logits of a task (its name) of each token, record by record in file order: list of float32 [n, K]."""
        by_place = [None] * self.info.num_examples
        with tfrecord.reading(self.info):
            for (x, _, _, examples), logits in side_by_side(
                lambda x, *_: self._token_logits(x)[task], self._batches["token"]
            ):
                counts = (x["patient_slots"].numpy() > 0).sum(axis=1)
                for row, place in enumerate(examples.numpy()[:, 0]):
                    if place >= 0:
                        by_place[place] = logits[row, : counts[row]].numpy()
        return by_place


def _passes(info, config, tasks, options, *more, **masking):
    """`eval_batches`, to be gone through again and again."""
    dataset = eval_batches(info, config, tasks, options, *more, **masking)
    return Passes(dataset, steps_per_epoch(info.num_examples, options))


def _exclusive_sums(model, name):
    """Returns a function: sums over selected codes or labelled tokens of (1, -log p, right, among the best ten) [4]."""

    outputs = forward(model)

    def sums(x, labels, weights):
        logits = outputs(x)[name]  # [B, M, V] or [B, T, K]
        losses = softmax_crossentropy(labels, logits)
        mine = tf.gather(logits, labels, batch_dims=2)
        above = tf.reduce_sum(tf.cast(logits > mine[..., None], tf.int32), axis=-1)  # logits that beat the label's
        parts = [tf.ones_like(losses), losses, tf.cast(above < 1, tf.float32), tf.cast(above < TOP, tf.float32)]
        return tf.stack([tf.reduce_sum(tf.cast(part * weights, tf.float64)) for part in parts])

    return sums


def task_losses(predictions, tasks):
    """Weighted mean cross-entropy of patient-level predictions: dict task -> float, NaN without known labels.

    The same formula as training's loss, over the whole split instead of a batch.
    """
    losses = {}
    for task in tasks:
        if task.name in predictions:
            p = predictions[task.name]
            x, y = p.logits.astype(np.float64), p.targets.astype(np.float64)
            positive = np.ones(len(task.labels)) if task.positive_weights is None else np.asarray(task.positive_weights)
            each = positive * y * np.logaddexp(0, -x) + (1 - y) * np.logaddexp(0, x)
            known = p.weights.sum()
            losses[task.name] = float((each * p.weights).sum() / known) if known else math.nan
    return losses
