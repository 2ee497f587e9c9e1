"""TFRecord both ways: datasets written shard by shard, parsed batch by batch, read back into NumPy.

Letters: B records in a batch, n tokens of a record, T padded length, M masked positions, K labels of a task.

Default layout, one example per record, un-padded and without masks (int64 unless said): `token_ids`, `visits`,
`visit_positions`, `age_days`, `gap_before_days` (or `gap_after_days`), `stay_days`, `recency_days` [n]; `sex` [1]
(place in `medtop.cohort.pickled_lists.SEXES`), `patient_id` [1] bytes, `prediction_time` [1] seconds since 1970-01-01;
`<task>_labels`, `<task>_weights` [K] float.
Notes, one window of a text per record: `token_ids`, `segment_ids`, `word_starts` (1 where a word begins) [n];
`patient_id`, `admission_id` [1] bytes; `window` (its number in the text, from 0), `window_start`, `window_end`
(characters of the text), `prediction_time` [1]; `<task>_labels`, `<task>_weights` [K] float.
Med-BERT's layout: `input_ids`, `input_mask`, `segment_ids` [T], `masked_lm_positions`, `masked_lm_ids` [M],
`masked_lm_weights` [M] float, `next_sentence_labels` [1].
"""

import collections
import contextlib
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from medtop.data.description import (
    FORMAT,
    LENGTH_BINS,
    SUFFIX,
    VERSION,
    DatasetInfo,
    read_dataset,
    read_dataset_json,
    shard_names,
)
from medtop.data.framing import check_frames
from medtop.data.layouts import EACH_RECORD, EACH_TOKEN, record_field
from medtop.data.protobuf import encode_examples
from medtop.files.atomic import atomic_path, write_json
from medtop.files.errors import DataError


class DatasetWriter:
    """Writes one dataset; its files, then `dataset.json`, appear when the `with` block ends without an error.

    Records go round robin over the shards. An earlier dataset of the same name stays whole until then.

    Args:
        output_file: the dataset's name.
        num_shards: number of files.
        description: dict, see `medtop.data.record_maker.description`.
    """

    def __init__(self, output_file, num_shards, description):
        self.output_file, self.description = Path(output_file), description
        self.names = shard_names(output_file, num_shards)
        self.examples_in, self.records, self.tokens = 0, [0] * num_shards, 0
        self.patients, self.dropped, self.more_counts, self._failed = set(), {}, {}, True
        self.lengths, self.longest = np.zeros(len(LENGTH_BINS), np.int64), 0
        self.labels = {task: np.zeros((2, len(labels)), np.int64) for task, labels in description["tasks"].items()}

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._temporary = [stack.enter_context(atomic_path(name)) for name in self.names]
            stack.callback(self._remove_earlier)  # runs before the renames above, because exits run backwards
            with self._writing():
                self._writers = [tf.io.TFRecordWriter(str(name)) for name in self._temporary]
            self._stack = stack.pop_all()
        return self

    def write(self, examples, records=None):
        """Appends `medtop.data.record_maker.Examples`.

        Args:
            examples: what they are.
            records: list of bytes, the records themselves where they are copied; None: made of the columns.
        """
        writers, lengths = self._writers, examples.lengths
        with self._writing():
            if records is None:
                records = encode_examples(examples.columns) if len(lengths) else ()
            for place, record in enumerate(records, sum(self.records)):
                writers[place % len(writers)].write(record)
                self.records[place % len(writers)] += 1
        self.examples_in += len(lengths) if examples.examples_in is None else examples.examples_in
        for counted, more in ((self.dropped, examples.dropped), (self.more_counts, examples.counts)):
            for name, count in more.items():
                counted[name] = counted.get(name, 0) + count
        self.tokens += int(np.sum(lengths))
        self.longest = max(self.longest, int(np.max(lengths, initial=0)))
        bins = np.minimum(np.searchsorted(LENGTH_BINS, lengths), len(LENGTH_BINS) - 1)
        self.lengths += np.bincount(bins, minlength=len(LENGTH_BINS))
        self.patients.update(examples.patient_ids)
        for task, counted in self.labels.items():
            known = examples.weights[task] > 0
            counted += [known.sum(axis=0), ((examples.labels[task] > 0.5) & known).sum(axis=0)]

    @contextlib.contextmanager
    def _writing(self):
        """Turns TensorFlow's refusal to write (disk full, file too large, too many open files) into one line."""
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            about = str(getattr(error, "message", None) or error).rpartition("; ")[2].splitlines()[0]
            hint = "; --num_shards asks for too many files" if "open files" in about else ""
            raise DataError(f"{self.output_file}: expected room to write, received: {about:.200}{hint}") from error

    def _remove_earlier(self):
        """Makes way for the new files: an earlier description must never stand beside another dataset's files."""
        if self._failed:
            return
        description = Path(f"{self.output_file}{SUFFIX}")
        if description.is_file():
            with contextlib.suppress(DataError):  # another version's description names no files that we know
                earlier = read_dataset_json(self.output_file)["shards"]
                description.unlink()
                for shard in earlier:
                    (self.output_file.parent / shard["file"]).unlink(missing_ok=True)
            description.unlink(missing_ok=True)

    def __exit__(self, kind, value, trace):
        self._failed = kind is not None
        try:
            with self._writing():
                for writer in self._writers:
                    writer.close()
        except DataError as error:
            if kind is None:  # the disk is full: nothing of this appears
                self._failed = True
                self._stack.__exit__(type(error), error, error.__traceback__)
                raise
        if kind is None:
            for name in self._temporary:  # before an earlier dataset goes, the new one is on the disk
                with open(name, "rb+") as file:
                    os.fsync(file.fileno())
            self._sizes = [os.path.getsize(name) for name in self._temporary]
        self._stack.__exit__(kind, value, trace)
        if kind is None:
            write_json(f"{self.output_file}{SUFFIX}", self._content())

    def _content(self):
        about, records = self.description, sum(self.records)
        used = np.flatnonzero(self.lengths)
        bins = int(used[-1]) + 1 if len(used) else 1
        return {
            "format": FORMAT,
            "version": VERSION,
            "layout": about["layout"],
            "split": about["split"],
            "tasks": {
                task: {"labels": list(labels), "level": about.get("levels", {}).get(task, "patient")}
                for task, labels in about["tasks"].items()
            },
            "time_gap": about["time_gap"],
            "visit_separator": about["visit_separator"],
            "defaults": about["defaults"],
            "counts": {
                "examples_in": self.examples_in,
                "examples": records,
                "patients": len(self.patients),
                "tokens": self.tokens,
                "dropped": self.dropped,
                **self.more_counts,
            },
            "labels": {
                task: {
                    label: {"known": int(known), "positives": int(positives)}
                    for label, known, positives in zip(about["tasks"][task], *counted, strict=True)
                }
                for task, counted in self.labels.items()
            },
            "lengths": {
                "upper": list(LENGTH_BINS[:bins]),
                "counts": self.lengths[:bins].tolist(),
                "max": self.longest,
                "mean": self.tokens / records if records else 0.0,
            },
            "shards": [
                {"file": name.name, "records": count, "bytes": size}
                for name, count, size in zip(self.names, self.records, self._sizes, strict=True)
            ],
            "flags": about["flags"],
            "vocabulary_hash": about["vocabulary"].hash,
            "vocabulary": list(about["vocabulary"].tokens),
            **({"code_map": about["vocabulary"].code_map.to_dict()} if about["vocabulary"].code_map else {}),
            "source_manifest": about["source_manifest"],
            **({"tokenizer": about["tokenizer"]} if "tokenizer" in about else {}),
        }


def feature_spec(info):
    """What `tf.io.parse_example` must know: dict of feature -> RaggedFeature or FixedLenFeature."""
    kinds = {"int64": tf.int64, "float": tf.float32, "bytes": tf.string}
    spec = {}
    for field in info.layout.fields:
        name, kind = record_field(field.name, info.time_gap), kinds[field.kind]
        if field.size == EACH_TOKEN:
            spec[name] = tf.io.RaggedFeature(kind, row_splits_dtype=tf.int64)
        elif field.size == EACH_RECORD:
            spec[name] = tf.io.FixedLenFeature([], kind)
        else:
            spec[name] = tf.io.FixedLenFeature([info.defaults.get(field.size, field.size)], kind)
    for task, labels in info.tasks.items():
        if info.levels.get(task) == "token":
            spec[f"{task}_labels"] = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
            spec[f"{task}_weights"] = tf.io.RaggedFeature(tf.float32, row_splits_dtype=tf.int64)
        elif task not in info.layout.label_fields:
            shape = [len(labels)]
            spec |= {f"{task}_{kind}": tf.io.FixedLenFeature(shape, tf.float32) for kind in ("labels", "weights")}
    return spec


def parse_batch(serialized, info, names=None):
    """Parses serialized records, for `dataset.batch(B).map(...)`: one call per batch is far faster than one per record.

    Args:
        serialized: string [B].
        info: `DatasetInfo`.
        names: the features wanted (the fewer, the faster); None: all.

    Returns:
        dict by the names of the layout's fields and the tasks': a field per token as RaggedTensor [B, n], a field per
        record [B], padded fields (Med-BERT's) [B, T], [B, M] or [B, 1]; `<task>_labels`, `<task>_weights` float32
        [B, K].
    """
    spec = feature_spec(info)
    return tf.io.parse_example(serialized, spec if names is None else {name: spec[name] for name in names})


DAMAGE = (
    tf.errors.DataLossError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.InvalidArgumentError,
)
"""What TensorFlow raises for TFRecord files that are cut, changed, gone, closed, or hold other records."""


@contextlib.contextmanager
def reading(name="TFRecord"):
    """Turns TensorFlow's complaint about a damaged TFRecord file into one line.

    Args:
        name: the file; or a `DatasetInfo`: its files are then read once more, to say which one is damaged.
    """
    try:
        yield
    except DAMAGE as error:
        if isinstance(name, DatasetInfo):
            for _ in read_examples(name):
                pass
            raise  # the files are whole: the error is not about them
        line = str(error.message).splitlines()[0]
        raise DataError(f"{name}: expected whole records, received a damaged or cut file ({line:.200})") from error


def without_autotune(dataset):
    """The same dataset without tf.data's tuner of parallelism and buffers. Every dataset that is iterated needs it.

    The tuner's thread sleeps for ever longer times, up to a minute, and the end of an iterator now and then waits until
    it wakes (docs/speed.md). What the tuner would choose is fixed instead: the depth of each prefetch by its caller,
    the number of parallel calls by TensorFlow, for the machine's cores.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def read_examples(path, chunk_size=5000):
    """Reads a dataset back into NumPy, up to `chunk_size` records of a file at a time, in the order of the files.

    Args:
        path: as for `read_dataset`, or a `DatasetInfo`.

    Yields:
        dict by feature name: `counts` int64 [N] and the layout's fields per token, flat int64 [Z], laid end to end; its
        fields per record [N], bytes as list of str; padded fields (Med-BERT's) [N, T], [N, M], [N, 1];
        `<task>_labels`, `<task>_weights` float32 [N, K].

    Raises:
        DataError: as `read_dataset`; for a damaged file; for another number of records than was written.
    """
    info = path if isinstance(path, DatasetInfo) else read_dataset(path)
    check_frames(info)
    for name, expected in zip(info.files, info.file_records, strict=True):
        received = 0
        with reading(name):
            for serialized in without_autotune(tf.data.TFRecordDataset(str(name)).batch(chunk_size)):
                received += int(serialized.shape[0])
                yield _columns(parse_batch(serialized, info))
        if received != expected:
            raise DataError(f"{name}: expected {expected} records, received {received}")


_LABELS = ("labels", "weights")


def record_columns(info):
    """The columns that have one value (or K labels) per record: who, when, what is known. Read once, kept with `info`.

    Args:
        info: `DatasetInfo`.

    Returns:
        dict by feature name: array [N, ...]; of bytes, str [N].
    """
    if info.record_columns is None:
        for _ in read_and_keep(info):
            pass
    return info.record_columns


def read_and_keep(info):
    """`read_examples` that keeps what `record_columns` gives while it passes by."""
    kept = collections.defaultdict(list)
    per_token = {record_field(field.name, info.time_gap) for field in info.layout.fields if field.size == EACH_TOKEN}
    per_token |= {f"{task}_{kind}" for task, level in info.levels.items() if level == "token" for kind in _LABELS}
    padded = {field.name for field in info.layout.fields if field.size in info.defaults}
    for columns in read_examples(info):
        for name in columns.keys() - per_token - padded - {"counts"}:
            kept[name].append(np.asarray(columns[name]))
        yield columns
    info.record_columns = {name: np.concatenate(parts) for name, parts in kept.items()}


def _columns(features):
    columns = {}
    for name, value in features.items():
        if isinstance(value, tf.RaggedTensor):
            columns["counts"] = value.row_lengths().numpy().astype(np.int64)
            columns[name] = value.flat_values.numpy()
        elif value.dtype == tf.string:
            columns[name] = [text.decode() for text in value.numpy()]
        else:
            columns[name] = value.numpy()
    return columns
