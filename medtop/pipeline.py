"""tf.data: parse, mask, bucket, batch. Records in, `(x, y, w)` of CONTRACT 6 out.

Work goes in windows of some thousand patients: a window is parsed at once, truncated, masked, sorted by length and cut
into batches, so that no step handles patients one by one and rows of a batch have like lengths. All randomness is a
function of (seed, epoch, window): the same numbers give the same batches, whatever came before, and a run that resumes
skips whole windows.

Letters: B rows in a batch, T tokens in a row, P patients in a row, M masked positions in a row, K labels, W patients in
a window.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from medtop import records
from medtop.config import EMBEDDINGS
from medtop.errors import DataError
from medtop.masking import draw_masks

ROW_LENGTHS = (*range(16, 128, 8), *range(128, 256, 16), *range(256, 512, 32), 512, 768, 1024, 2048, 4096)
"""Lengths that a batch's rows may have, close enough that little is padding: within a tenth of the row from 64 on."""

SEQUENCE_FIELDS = {
    # key of the batch: field of the record; `gap` stands for `info.gap_feature`
    "token_ids": "token_ids",
    "visit_positions": "visit_positions",
    "visits": "visits",
    "ages": "age_days",
    "gaps": "gap",
    "stays": "stay_days",
    "recencies": "recency_days",
}
plain = tf.autograph.experimental.do_not_convert
"""For functions given to tf.data: nothing here needs AutoGraph, and its conversion takes longer than the tracing."""

SHUFFLE_BLOCK = 100_000
"""Records held in memory for shuffling, about 300 bytes each."""


@dataclasses.dataclass(frozen=True)
class BatchOptions:
    """How batches are made.

    Attributes:
        batch_size: patients in a batch (rows, when unpacked), over all replicas.
        max_seq_length: longest row; longer patients keep [CLS] and their latest codes.
        masked_lm_prob: share of codes that are selected for prediction.
        max_predictions: most selected codes of a patient.
        row_lengths: allowed row lengths, rising; the last one is at least max_seq_length.
        windows_of: batches in a window; more of them give rows of more equal length.
    """

    batch_size: int = 32
    max_seq_length: int = 512
    masked_lm_prob: float = 0.15
    max_predictions: int = 77
    row_lengths: tuple = ROW_LENGTHS
    windows_of: int = 64

    def __post_init__(self):
        for name in ("batch_size", "max_seq_length", "max_predictions", "windows_of"):
            if getattr(self, name) < 1:
                raise DataError(f"expected {name} of at least 1, received {name}={getattr(self, name)}")
        if self.max_seq_length < 2:
            raise DataError(f"expected max_seq_length of at least 2 ([CLS] and a code), received {self.max_seq_length}")
        if not 0 < self.masked_lm_prob < 1:
            raise DataError(f"expected masked_lm_prob between 0 and 1, received {self.masked_lm_prob}")
        lengths = tuple(
            sorted({min(length, self.max_seq_length) for length in self.row_lengths} | {self.max_seq_length})
        )
        object.__setattr__(self, "row_lengths", lengths)

    @property
    def window(self):
        """W, patients in a window: a multiple of the batch size, so that only an epoch's last batch is partial."""
        return self.batch_size * self.windows_of


def steps_per_epoch(examples, options):
    """Batches in an epoch; every example is in exactly one."""
    return -(-examples // options.batch_size)


def _seed_pair(seed, epoch, number):
    """Two int32 for TensorFlow's stateless functions out of (seed, epoch, window number)."""
    first = (tf.cast(seed, tf.int64) * 1_000_003 + tf.cast(epoch, tf.int64)) % 2_147_483_647
    return tf.stack([tf.cast(first, tf.int32), tf.cast(number, tf.int32)])


def _truncate(sequences, limit):
    """Keeps each patient's first token ([CLS]) and the latest `limit - 1`; dict of ragged [W, (T)] in and out."""
    some = sequences["token_ids"]
    lengths = some.row_lengths()
    place = tf.ragged.range(lengths).flat_values
    first_kept = tf.repeat(tf.maximum(lengths - (limit - 1), 1), lengths)
    keep = (place == 0) | (place >= first_kept)
    kept = tf.minimum(lengths, limit)
    return {
        name: tf.RaggedTensor.from_row_lengths(tf.boolean_mask(ragged.flat_values, keep), kept, validate=False)
        for name, ragged in sequences.items()
    }


def plan_batches(lengths, options, rng):
    """Cuts a window into batches of rows.

    Patients are sorted by length (ties in random order), cut into batches, and the batches are shuffled.

    Args:
        lengths: int [W], tokens of each patient after truncation.
        rng: NumPy generator, or None for no shuffling (evaluation).

    Returns:
        (row_length int64 [batches], batch_sizes int64 [batches], order int64 [W]: patients batch after batch).
    """
    shuffled = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    order = shuffled[np.argsort(lengths[shuffled], kind="stable")]
    cuts = list(range(options.batch_size, len(order), options.batch_size))
    batches = np.split(order, cuts)
    if rng is not None and len(batches) > 1:
        # A short last batch stays last, so that batches of a window can be counted from its size alone.
        full = len(batches) - (len(batches[-1]) < options.batch_size)
        batches = [batches[i] for i in rng.permutation(full)] + batches[full:]
    row_lengths = [options.row_lengths[np.searchsorted(options.row_lengths, lengths[batch].max())] for batch in batches]
    return (
        np.array(row_lengths, np.int64),
        np.array([len(b) for b in batches], np.int64),
        np.concatenate(batches).astype(np.int64),
    )


def _balance(parsed, task, label, seed_pair):
    """Draws a window anew, with replacement, so that a label's positives and negatives weigh the same.

    Unknown ones keep their share. Patients keep their own weights; only how often they are seen changes.
    """
    target = parsed[f"{task}_labels"][:, label]
    known = parsed[f"{task}_weights"][:, label] > 0
    positive, negative = known & (target > 0.5), known & (target <= 0.5)
    count = [tf.reduce_sum(tf.cast(group, tf.float32)) for group in (positive, negative)]
    # What each of the two gets; a window with one of them only gives it all, or unknown ones would gain.
    share = (count[0] + count[1]) / (1 + tf.cast((count[0] > 0) & (count[1] > 0), tf.float32))
    odds = tf.where(positive, share / tf.maximum(count[0], 1), tf.where(negative, share / tf.maximum(count[1], 1), 1.0))
    drawn = tf.random.stateless_categorical(tf.math.log(odds)[None, :], tf.size(target), seed_pair)[0]
    return {name: tf.gather(value, drawn) for name, value in parsed.items()}


class BatchMaker:
    """Turns windows of serialized records into batches.

    Args:
        info: `records.DatasetInfo`.
        config: `BertConfig`: which inputs the model reads, how segments are made.
        tasks: list of `Task`.
        options: `BatchOptions`.
        masking: whether codes are masked (training, and the evaluation of masked codes) or left visible.
    """

    def __init__(self, info, config, tasks, options, masking=True):
        self.info, self.config, self.options = info, config, options
        self.static_masks = info.layout == "medbert"
        self.masked = [task for task in tasks if task.level == "masked"] if masking else []
        self.patient = [task for task in tasks if task.level == "patient"]
        # `segments` has no field of its own: it is made from the visit numbers
        wanted = set(config.inputs) | {"token_ids", "visits"}
        self.fields = {
            key: info.gap_feature if field == "gap" else field
            for key, field in SEQUENCE_FIELDS.items()
            if key in wanted
        }
        if self.static_masks:
            lost = [
                key
                for key in config.inputs
                if key in ("visit_positions", "ages", "gaps", "stays", "recencies", "sexes")
            ]
            if lost:
                names = [name for name, (key, *_) in EMBEDDINGS.items() if key in lost]
                raise DataError(
                    f"{info.names[0]}: expected records with {', '.join(names)} (the config's embeddings), "
                    "received Med-BERT's layout, which has code, position, visit and segment only"
                )

    def window(self, serialized, seed, epoch, number, shuffle, balanced=None):
        """A window's tensors: ragged sequences, labels, and the plan of its batches.

        Args:
            serialized: string [W].
            balanced: None or (task name, label number).
        """
        parsed = records.parse_batch(serialized, self.info)
        parsed["example"] = number * self.options.window + tf.range(tf.size(serialized, out_type=tf.int64))
        pair = _seed_pair(seed, epoch, number)
        if balanced is not None:
            parsed = _balance(parsed, *balanced, pair)
        if self.static_masks:
            window = self._medbert_window(parsed)
        else:
            window = self._window(parsed, pair)
        lengths = window["token_ids"].row_lengths()
        plan = tf.numpy_function(
            lambda lengths, *place: plan_batches(
                lengths, self.options, np.random.default_rng([seed, *map(int, place)]) if shuffle else None
            ),
            [lengths, epoch, number],
            (tf.int64, tf.int64, tf.int64),
        )
        for part in plan:
            part.set_shape([None])
        return window, plan

    def _window(self, parsed, pair):
        sequences = _truncate({key: parsed[field] for key, field in self.fields.items()}, self.options.max_seq_length)
        window = dict(sequences)
        if self.masked:
            hidden, selected = draw_masks(sequences["token_ids"], pair, self.info.vocabulary, self.options)
            window["original_ids"] = sequences["token_ids"]
            window["token_ids"] = hidden
            window["selected"] = hidden.with_flat_values(selected)
        for task in self.patient:
            for kind in ("labels", "weights"):
                name = f"{task.name}_{kind}"  # new patients come without labels: all unknown
                window[name] = parsed[name] if name in parsed else tf.zeros([tf.size(parsed["sex"]), task.num_outputs])
        window["example"] = parsed["example"]
        if "sexes" in self.config.inputs:
            window["sexes"] = tf.reshape(parsed["sex"], [-1])
        return window

    def _medbert_window(self, parsed):
        """Med-BERT's padded records, whose masks are in the file, in the shape of a default window."""
        lengths = tf.reduce_sum(parsed["input_mask"], axis=1)
        width = tf.shape(parsed["input_ids"])[1]
        rows = tf.shape(parsed["input_ids"])[0]
        places = tf.stack(
            [
                tf.repeat(tf.range(rows), tf.shape(parsed["masked_lm_positions"])[1]),
                tf.cast(tf.reshape(parsed["masked_lm_positions"], [-1]), tf.int32),
            ],
            axis=1,
        )
        used = tf.reshape(parsed["masked_lm_weights"], [-1]) > 0
        places = tf.boolean_mask(places, used)
        labels = tf.boolean_mask(tf.reshape(parsed["masked_lm_ids"], [-1]), used)
        selected = tf.scatter_nd(places, tf.ones_like(labels), [rows, width]) > 0
        original = tf.tensor_scatter_nd_update(parsed["input_ids"], places, labels)
        ragged = {
            name: tf.RaggedTensor.from_tensor(value, lengths=lengths)
            for name, value in {
                "token_ids": parsed["input_ids"] if self.masked else original,
                "visits": parsed["segment_ids"],
                "original_ids": original,
                "selected": selected,
            }.items()
        }
        window = {key: ragged[key] for key in ("token_ids", "visits")}
        if self.masked:
            window |= {key: ragged[key] for key in ("original_ids", "selected")}
        for task in self.patient:
            window[f"{task.name}_labels"] = tf.cast(parsed["next_sentence_labels"], tf.float32)
            window[f"{task.name}_weights"] = tf.ones_like(window[f"{task.name}_labels"])
        window["example"] = parsed["example"]
        return window

    def batch(self, window, plan, number):
        """Batch `number` of a window: `(x, y, w, examples)`; examples int64 [B, 1] are record numbers, -1 for none."""
        row_lengths, sizes, order = plan
        start = tf.reduce_sum(sizes[:number])
        chosen = order[start : start + sizes[number]]
        rows, tokens = self.options.batch_size, row_lengths[number]
        mine = {name: tf.gather(value, chosen) for name, value in window.items()}
        missing = rows - tf.shape(chosen)[0]

        def padded(ragged):
            whole = ragged.to_tensor()
            right = tf.cast(tokens, tf.int32) - tf.shape(whole)[1]
            return tf.ensure_shape(tf.pad(whole, [[0, missing], [0, right]]), [rows, None])

        x = {key: tf.cast(padded(mine[key]), tf.int32) for key in self.fields}
        real = tf.sequence_mask(mine["token_ids"].row_lengths(), tokens)
        x["patient_slots"] = tf.ensure_shape(tf.pad(tf.cast(real, tf.int32), [[0, missing], [0, 0]]), [rows, None])
        x["cls_positions"] = tf.zeros([rows, 1], tf.int32)
        x["positions"] = tf.range(tf.cast(tokens, tf.int32))[None, :] * x["patient_slots"]
        x["segments"] = self._segments(x["visits"], x["patient_slots"])
        if "sexes" in mine:
            x["sexes"] = tf.cast(tf.pad(mine["sexes"], [[0, missing]])[:, None], tf.int32) * x["patient_slots"]
        y, w = {}, {}
        for task in self.masked:
            x["mask_positions"], y[task.name], w[task.name] = self._masked(mine, padded)
        for task in self.patient:
            for part, target in ((y, "labels"), (w, "weights")):
                values = tf.pad(mine[f"{task.name}_{target}"], [[0, missing], [0, 0]])
                part[task.name] = tf.ensure_shape(values, [rows, task.num_outputs])[:, None, :]
        wanted = {*self.config.inputs, "patient_slots", "cls_positions", *(["mask_positions"] if self.masked else [])}
        examples = tf.pad(mine["example"], [[0, missing]], constant_values=-1)[:, None]
        return {key: x[key] for key in sorted(wanted)}, y, w, examples

    def _segments(self, visits, slots):
        if self.config.segment == "zero":
            return tf.zeros_like(visits)
        return visits if self.config.segment == "visit" else (visits % 2) * slots

    def _masked(self, mine, padded):
        """mask_positions, labels, weights, each [B, M]; unused places point at 0 with weight 0."""
        selected = padded(mine["selected"].with_flat_values(tf.cast(mine["selected"].flat_values, tf.int64)))
        most = tf.reduce_max(tf.reduce_sum(selected, axis=1))
        most = tf.cast(tf.maximum((most + 3) // 4 * 4, 4), tf.int32)  # multiples of 4: few distinct shapes
        most = tf.minimum(most, tf.shape(selected)[1])
        weights, positions = tf.math.top_k(selected, k=most)  # of equal values the lower place comes first
        labels = tf.gather(padded(mine["original_ids"]), positions, batch_dims=1)
        return (
            positions * tf.cast(weights, tf.int32),
            tf.cast(labels, tf.int32) * tf.cast(weights, tf.int32),
            tf.cast(weights, tf.float32),
        )


def normalised(x, y, w):
    """Divides each task's weights by their sum over the global batch: a sum of losses is then the weighted mean.

    A task without known labels keeps weights 0: its loss is 0, not NaN.
    """
    return x, y, {name: tf.math.divide_no_nan(value, tf.reduce_sum(value)) for name, value in w.items()}


def _windows(files, options):
    return tf.data.TFRecordDataset(files, buffer_size=1 << 20).batch(options.window)


def _block_size(options):
    """Records that are shuffled at once: whole windows."""
    return options.window * max(1, SHUFFLE_BLOCK // options.window)


def _shuffled_windows(files, options, seed, epoch):
    """Windows of an epoch: files in random order, then records in random order within blocks of `SHUFFLE_BLOCK`.

    Stateless, unlike `Dataset.shuffle`: the order depends on seed and epoch alone, and a resumed run can skip windows.
    """
    block = _block_size(options)
    order = tf.random.experimental.stateless_shuffle(tf.constant(files), _seed_pair(seed, epoch, -1))

    @plain
    def windows_of(number, records_of_block):
        mixed = tf.random.experimental.stateless_shuffle(records_of_block, _seed_pair(seed, epoch, -2 - number))
        return tf.data.Dataset.from_tensor_slices(mixed).batch(options.window)

    return tf.data.TFRecordDataset(order, buffer_size=1 << 20).batch(block).enumerate().flat_map(windows_of)


class TrainBatches:
    """Training batches, one epoch at a time.

    Every record is in one batch of an epoch; new order and new masks in every epoch; the same seed, epoch and place
    give the same batches. The graph is made once: tracing it anew for each epoch would take longer than a small epoch.

    Args:
        balanced: None or (task name, label number), see `--balanced_sampling`.
    """

    def __init__(self, info, config, tasks, options, seed, balanced=None):
        self.steps_per_epoch = steps_per_epoch(info.num_examples, options)
        self._epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._first = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._info, self._options, self._seed, self._balanced = info, options, seed, balanced
        self._maker = BatchMaker(info, config, tasks, options)
        self._dataset = self._epochs(lambda *batch: normalised(*batch[:3])).prefetch(8)

    def _epochs(self, pick):
        """The batches of epoch `self._epoch` from `self._first` on; `pick` takes what is wanted of (x, y, w, examples).
        """
        maker, options, seed = self._maker, self._options, self._seed
        files = [str(file) for file in self._info.files]

        @plain
        def epoch_batches(_):
            epoch, first = self._epoch.read_value(), self._first.read_value()
            skipped = first // options.windows_of
            windows = _shuffled_windows(files, options, seed, epoch).skip(skipped).enumerate(skipped)
            # Cycle length 1 keeps the order; the prefetch prepares what comes next.
            return windows.interleave(
                lambda number, serialized: batches(epoch, number, serialized),
                cycle_length=1,
                num_parallel_calls=1,
                deterministic=True,
            ).skip(first % options.windows_of)

        def batches(epoch, number, serialized):
            window, plan = maker.window(serialized, seed, epoch, number, shuffle=True, balanced=self._balanced)
            return tf.data.Dataset.range(tf.size(plan[0], out_type=tf.int64)).map(
                lambda k: pick(*maker.batch(window, plan, k)), num_parallel_calls=tf.data.AUTOTUNE
            )

        return tf.data.Dataset.range(1).flat_map(epoch_batches)

    def epoch(self, epoch, first_batch=0):
        """The batches of an epoch from `first_batch` on: tf.data.Dataset of `(x, y, w)`, weights normalised.

        One epoch is read at a time: the dataset reads `epoch` and `first_batch` when its iteration begins.
        """
        self._epoch.assign(epoch)
        self._first.assign(first_batch)
        return self._dataset

    def locate(self, epoch, batch):
        """Where the examples of a batch lie: list of (file, place of the record in it, from 0).

        For error messages: it reads the data up to that batch once more.
        """
        self._epoch.assign(epoch)
        self._first.assign(batch)
        examples = next(iter(self._epochs(lambda x, y, w, examples: examples).take(1))).numpy().reshape(-1)
        return [self._record(epoch, int(place)) for place in examples if place >= 0]

    def _record(self, epoch, place):
        """(file, record) at a place of an epoch's order; `_shuffled_windows` once more, with numbers for records."""
        info, size = self._info, _block_size(self._options)
        shuffle = tf.random.experimental.stateless_shuffle
        order = shuffle(tf.range(len(info.files)), _seed_pair(self._seed, epoch, -1)).numpy()
        counts = np.array(info.file_records)[order]
        block, within = divmod(place, size)
        numbers = tf.range(min(size, int(counts.sum()) - block * size))
        unshuffled = block * size + int(shuffle(numbers, _seed_pair(self._seed, epoch, -2 - block))[within])
        file = int(np.searchsorted(np.cumsum(counts), unshuffled, side="right"))
        return info.files[order[file]], unshuffled - int(np.cumsum(counts)[file] - counts[file])


def eval_batches(info, config, tasks, options, seed, masking):
    """All records once, in file order within windows sorted by length: `(x, y, w, examples)`, weights as recorded.

    Masks, when asked for, are the same at every iteration: a validation loss can be compared between epochs.

    Returns:
        tf.data.Dataset; examples int64 [B, P] are the records' numbers in file order, -1 where a place is empty.
    """
    maker = BatchMaker(info, config, tasks, options, masking=masking)
    windows = _windows([str(file) for file in info.files], options).enumerate()

    @plain
    def batches(number, serialized):
        window, plan = maker.window(serialized, seed, 0, number, shuffle=False)
        return tf.data.Dataset.range(tf.size(plan[0], out_type=tf.int64)).map(
            lambda k: maker.batch(window, plan, k), num_parallel_calls=tf.data.AUTOTUNE
        )

    return windows.interleave(batches, cycle_length=1, num_parallel_calls=1, deterministic=True).prefetch(4)
