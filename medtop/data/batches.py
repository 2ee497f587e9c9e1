"""tf.data: parse, mask, bucket, batch. Records in, `(x, y, w)` of docs/contract.md, "Batch, outputs, losses", out.

Work goes in windows of some thousand patients: a window is parsed at once, truncated, masked, sorted by length and cut
into batches, so that no step handles patients one by one and rows of a batch have like lengths. All randomness is a
function of (seed, epoch, window): the same numbers give the same batches, whatever came before, and a run that resumes
skips whole windows.

Letters: B rows in a batch, T tokens in a row, P patients in a row, M masked positions in a row, K labels, W patients in
a window.
"""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from medtop.data import tfrecord
from medtop.data.fields import sequence_fields
from medtop.data.framing import check_frames
from medtop.data.masking import draw_masks
from medtop.data.packing import WindowPlan, plan_window
from medtop.files.errors import DataError

ROW_LENGTHS = (*range(8, 128, 4), *range(128, 256, 8), *range(256, 512, 16), 512, 768, 1024, 2048, 4096)
"""Lengths that a batch's rows may have, close enough that little is padding: a sixteenth of the row from 64 to 512.
"""

FEW_ROW_LENGTHS = (*range(16, 128, 8), *range(128, 256, 16), *range(256, 512, 32), 512, 768, 1024, 2048, 4096)
"""Half as many, for a step that is compiled anew for each shape of a batch."""

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
        packing: whether patients share rows.
        windows_of: batches in a window; more of them give rows of more equal length.
        whole_words: whether all pieces of a word are selected together (notes).
        few_shapes: whether M is rounded up to a multiple of 4, for a step that is compiled anew for each shape of a
            batch; else it is the most that a row of the batch needs.
    """

    batch_size: int = 32
    max_seq_length: int = 512
    masked_lm_prob: float = 0.15
    max_predictions: int = 77
    row_lengths: tuple = ROW_LENGTHS
    packing: bool = False
    windows_of: int = 64
    whole_words: bool = False
    few_shapes: bool = False

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


def _truncate(sequences, limit, keep_first=True):
    """Keeps each patient's first token ([CLS]) and the latest `limit - 1`, or the latest `limit`; dict of ragged
    [W, (T)] in and out."""
    some = sequences["token_ids"]
    lengths = some.row_lengths()
    place = tf.ragged.range(lengths).flat_values
    first_kept = tf.repeat(tf.maximum(lengths - (limit - 1), 1) if keep_first else lengths - limit, lengths)
    keep = (place >= first_kept) | (keep_first & (place == 0))
    kept = tf.minimum(lengths, limit)
    return {
        name: tf.RaggedTensor.from_row_lengths(tf.boolean_mask(ragged.flat_values, keep), kept, validate=False)
        for name, ragged in sequences.items()
    }


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
        self.static_masks = info.layout.static_masks
        self.masked = [task for task in tasks if task.level == "masked"] if masking else []
        self.patient = [task for task in tasks if task.level == "patient"]
        self.token = [task for task in tasks if task.level == "token"]
        self.more = {key for task in tasks for key in task.inputs}
        self.fields = sequence_fields(info, config, bool(self.masked) and options.whole_words, self.more)

    def window(self, serialized, seed, epoch, number, shuffle, balanced=None):
        """A window's tensors: ragged sequences, labels, and the plan of its batches.

        Args:
            serialized: string [W].
            balanced: None or (task name, label number).
        """
        parsed = tfrecord.parse_batch(serialized, self.info)
        parsed["example"] = number * self.options.window + tf.range(tf.size(serialized, out_type=tf.int64))
        pair = _seed_pair(seed, epoch, number)
        if balanced is not None:
            parsed = _balance(parsed, *balanced, pair)
        if self.static_masks:
            window = self._medbert_window(parsed)
        else:
            window = self._window(parsed, pair)
        lengths = window["token_ids"].row_lengths()
        return window, self._plan(lengths, seed, epoch, number, shuffle)

    def _plan(self, lengths, seed, epoch, number, shuffle):
        """The `WindowPlan` as int64 tensors, in the order of its fields."""
        options = self.options

        def planned(lengths, *place):
            rng = np.random.default_rng([seed, *map(int, place)]) if shuffle else None
            plan = plan_window(lengths, options.batch_size, options.row_lengths, options.packing, rng)
            return tuple(getattr(plan, field.name) for field in dataclasses.fields(WindowPlan))

        fields = len(dataclasses.fields(WindowPlan))
        plan = tf.numpy_function(planned, [lengths, epoch, number], (tf.int64,) * fields)
        for part in plan:
            part.set_shape([None])
        return plan

    def _window(self, parsed, pair):
        wanted = {key: parsed[field] for key, field in self.fields.items()}
        wanted |= self._token_labels(parsed)
        sequences = _truncate(wanted, self.options.max_seq_length, keep_first=not self.info.vocabulary.is_medbert)
        window = dict(sequences)
        if self.masked:
            word_starts = window.pop("word_starts", None)
            hidden, selected = draw_masks(sequences["token_ids"], pair, self.info.vocabulary, self.options, word_starts)
            window["original_ids"] = sequences["token_ids"]
            window["token_ids"] = hidden
            window["selected"] = hidden.with_flat_values(selected)
        for task in self.patient:
            for kind in ("labels", "weights"):
                name = f"{task.name}_{kind}"  # new patients come without labels: all unknown
                unknown = tf.zeros([tf.size(parsed["example"]), task.num_outputs])
                window[name] = parsed.get(name, unknown)
        window["example"] = parsed["example"]
        if "sexes" in self.config.inputs:
            window["sexes"] = tf.reshape(parsed["sex"], [-1])
        return window

    def _token_labels(self, parsed):
        """Labels and weights [W, (T)] of the tasks of each token; texts that come without have weight 0."""
        some = parsed[self.fields["token_ids"]]
        blank = {"labels": tf.zeros_like(some), "weights": tf.zeros_like(some, tf.float32)}
        return {
            f"{task.name}_{kind}": parsed.get(f"{task.name}_{kind}", blank[kind])
            for task in self.token
            for kind in blank
        }

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
        """Batch `number` of a window: `(x, y, w, examples)`; examples int64 [B, P] are record numbers, -1 for none."""
        row_lengths, sizes, num_rows, num_slots, order, *places = plan
        start = tf.reduce_sum(sizes[:number])
        mine = slice(start, start + sizes[number])
        row, first, slot = (place[mine] for place in places)
        patients = {name: tf.gather(value, order[mine]) for name, value in window.items()}
        lengths = patients["token_ids"].row_lengths()
        rows, tokens, slots = num_rows[number], row_lengths[number], num_slots[number]
        if not self.options.packing:  # a shape that is known beforehand
            rows, slots = self.options.batch_size, 1
        within = tf.ragged.range(lengths).flat_values  # each token's place in its patient
        flat = tf.repeat(row * tokens + first, lengths) + within
        seats = tf.stack([row, slot], 1)

        def placed(values, kind=tf.int32):
            """Values per token [N] in rows [B, T]."""
            whole = tf.scatter_nd(flat[:, None], tf.cast(values, kind), [tf.cast(rows, tf.int64) * tokens])
            return tf.ensure_shape(tf.reshape(whole, [rows, tokens]), [self._rows, None])

        def seated(values):
            """Values per patient [n, ...] in [B, P, ...]."""
            whole = tf.scatter_nd(seats, values, tf.concat([[rows, slots], tf.shape(values, tf.int64)[1:]], 0))
            return tf.ensure_shape(whole, [self._rows, None if self.options.packing else 1, *values.shape[1:]])

        x = {key: placed(patients[key].flat_values) for key in self.fields if key in patients}
        x["patient_slots"] = placed(tf.repeat(slot + 1, lengths))
        x["cls_positions"] = tf.cast(seated(first), tf.int32)
        x["positions"] = placed(within)
        if "segments" not in x:
            x["segments"] = self._segments(x)
        if "sexes" in patients:
            x["sexes"] = placed(tf.repeat(patients["sexes"], lengths))
        y, w = {}, {}
        for task in self.masked:
            x["mask_positions"], y[task.name], w[task.name] = self._masked(patients, placed)
        for task in self.patient:
            for part, target in ((y, "labels"), (w, "weights")):
                values = tf.ensure_shape(patients[f"{task.name}_{target}"], [None, task.num_outputs])
                part[task.name] = seated(values)
        for task in self.token:
            y[task.name] = placed(patients[f"{task.name}_labels"].flat_values)
            w[task.name] = placed(patients[f"{task.name}_weights"].flat_values, tf.float32)
        wanted = {*self.config.inputs, *self.more, "patient_slots", "cls_positions"}
        wanted |= {"mask_positions"} if self.masked else set()
        return {key: x[key] for key in sorted(wanted)}, y, w, seated(patients["example"] + 1) - 1

    @property
    def _rows(self):
        """B where it is known beforehand."""
        return None if self.options.packing else self.options.batch_size

    def _segments(self, x):
        """Segments [B, T] made from the visit numbers; 0 where the config does not read them."""
        if self.config.segment == "visit":
            return x["visits"]
        return x["visits"] % 2 if self.config.segment == "alternating" else 0 * x["patient_slots"]

    def _masked(self, patients, placed):
        """mask_positions, labels, weights, each [B, M]; unused places point at 0 with weight 0."""
        selected = placed(patients["selected"].flat_values)
        most = tf.reduce_max(tf.reduce_sum(selected, axis=1))
        most = tf.cast(tf.maximum(most, 1), tf.int32)
        if self.options.few_shapes:
            most = tf.minimum((most + 3) // 4 * 4, tf.shape(selected)[1])
        weights, positions = tf.math.top_k(selected, k=most)  # of equal values the lower place comes first
        labels = tf.gather(placed(patients["original_ids"].flat_values), positions, batch_dims=1)
        return positions * weights, labels * weights, tf.cast(weights, tf.float32)


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
    """Training batches, epoch after epoch.

    Every record is in one batch of an epoch; new order and new masks in every epoch; the same seed, epoch and place
    give the same batches. The graph is made once: tracing it anew would take longer than a small epoch.

    Args:
        balanced: None or (task name, label number), see `--balanced_sampling`.
    """

    def __init__(self, info, config, tasks, options, seed, balanced=None):
        check_frames(info)
        self.steps_per_epoch = steps_per_epoch(info.num_examples, options)
        self._start, self._end, self._first = (tf.Variable(0, dtype=tf.int64, trainable=False) for _ in range(3))
        self._info, self._options, self._seed, self._balanced = info, options, seed, balanced
        self._maker = BatchMaker(info, config, tasks, options)
        self._dataset = tfrecord.without_autotune(self._epochs(lambda *batch: normalised(*batch[:3])).prefetch(8))

    def _epochs(self, pick):
        """The batches that `epochs` describes, for what the three variables hold when the iteration begins; `pick`
        takes its part of (x, y, w, examples)."""
        maker, options, seed = self._maker, self._options, self._seed
        files = [str(file) for file in self._info.files]

        @plain
        def all_batches(_):
            start, end, first = self._start.read_value(), self._end.read_value(), self._first.read_value()
            return tf.data.Dataset.range(start, end).flat_map(
                lambda epoch: epoch_batches(epoch, tf.where(epoch == start, first, 0))
            )

        def epoch_batches(epoch, first):
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

        return tf.data.Dataset.range(1).flat_map(all_batches)

    def epochs(self, start, end, first_batch=0):
        """The batches of the epochs from `start` to before `end`, one after the other, the first of them from
        `first_batch` on: tf.data.Dataset of `(x, y, w)`, weights normalised; `steps_per_epoch` batches an epoch.

        To begin an iteration takes longer than to read a small epoch: one goes through all of them. The arguments are
        read with the first batch, so the next call comes after that.
        """
        self._ask(start, end, first_batch)
        return self._dataset

    def epoch(self, epoch, first_batch=0):
        """The batches of one epoch, as `epochs`."""
        return self.epochs(epoch, epoch + 1, first_batch)

    def _ask(self, start, end, first):
        for variable, value in ((self._start, start), (self._end, end), (self._first, first)):
            variable.assign(value)

    def locate(self, epoch, batch):
        """Where the examples of a batch lie: list of (file, place of the record in it, from 0).

        For error messages: it reads the data up to that batch once more.
        """
        self._ask(epoch, epoch + 1, batch)
        examples = next(iter(self._examples.take(1))).numpy().reshape(-1)
        return [self._record(epoch, int(place)) for place in examples if place >= 0]

    @functools.cached_property
    def _examples(self):
        """The places of each batch's patients, [B, P]; like the batches, the graph is made once."""
        return tfrecord.without_autotune(self._epochs(lambda x, y, w, examples: examples))

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
    check_frames(info)
    maker = BatchMaker(info, config, tasks, options, masking=masking)
    windows = _windows([str(file) for file in info.files], options).enumerate()

    @plain
    def batches(number, serialized):
        window, plan = maker.window(serialized, seed, 0, number, shuffle=False)
        return tf.data.Dataset.range(tf.size(plan[0], out_type=tf.int64)).map(
            lambda k: maker.batch(window, plan, k), num_parallel_calls=tf.data.AUTOTUNE
        )

    return tfrecord.without_autotune(
        windows.interleave(batches, cycle_length=1, num_parallel_calls=1, deterministic=True).prefetch(4)
    )
