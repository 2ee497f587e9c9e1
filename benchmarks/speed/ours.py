"""medtop, as a contender of training_speed.py: `padded` to 512, `bucketed`, or `packed`."""

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary
from medtop.data.batches import ROW_LENGTHS, BatchOptions, TrainBatches, eval_batches
from medtop.data.packing import best_row_lengths
from medtop.data.protobuf import Column
from medtop.data.record_maker import Examples
from medtop.data.tfrecord import DatasetWriter, read_dataset
from medtop.data.tokens import TOKEN_COLUMNS
from medtop.evaluation.forward import forward, side_by_side
from medtop.evaluation.scoring import patient_model
from medtop.model.multitask import build_model, compile_arguments
from medtop.model.tasks import choose_tasks
from medtop.training.distribution import Distribution
from medtop.training.driver import Driver
from medtop.training.optimizer import AdamW, WarmupLinearDecay
from medtop.training.step import TensorFlowModel
from speed.data import BATCH, LONGEST, MASKED_SHARE, MOST_MASKED, WINDOW_BATCHES, Patients

TASKS = {"long_stay": ["long_stay"]}


class Contender:
    """Steps over batches that lie ready in memory, made by the pipeline."""

    def __init__(self, config, patients, kind, precision="float32", jit_compile=False):
        keras.utils.set_random_seed(0)
        keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
        tasks = choose_tasks(["masked_lm", "long_stay"], TASKS)
        width = config.hidden_size
        linear = 8 * width**2 + 4 * width * config.intermediate_size
        row_lengths = {
            "padded": (LONGEST,),
            "bucketed": ROW_LENGTHS,
            "packed": best_row_lengths(patients.lengths[:4096], LONGEST, BATCH, linear, 4 * width),
        }[kind]
        options = BatchOptions(
            batch_size=BATCH,
            max_seq_length=LONGEST,
            masked_lm_prob=MASKED_SHARE,
            max_predictions=MOST_MASKED,
            row_lengths=row_lengths,
            packing=kind == "packed",
            windows_of=WINDOW_BATCHES,
            few_shapes=jit_compile,
        )
        with tempfile.TemporaryDirectory() as folder:
            info = write_records(Path(folder) / "patients", patients, config.vocab_size)
            batches = TrainBatches(info, config, tasks, options, seed=1)
            wanted = 4 if kind == "padded" else len(patients.tokens) // BATCH
            self.batches = list(batches.epoch(0).take(wanted))
            scored = eval_batches(info, config, tasks[1:], options, seed=1, masking=False)
            self.visible = [x for x, *_ in scored.take(wanted)]
        np.random.default_rng(3).shuffle(self.visible)  # they come sorted by length
        self.model = build_model(config, tasks, TensorFlowModel)
        optimizer = AdamW(WarmupLinearDecay(5e-5, 100, 100_000))
        self.model.compile(optimizer, **compile_arguments(tasks), jit_compile=jit_compile)
        self.take_step = Driver(self.model, Distribution(tf.distribute.get_strategy()))
        scorer = patient_model(self.model, tasks)
        signature = {name: tf.TensorSpec([None, None], tf.int32) for name in self.visible[0] if name in scorer.input}
        self.logits = tf.function(forward(scorer), input_signature=[signature], autograph=False)
        self.lengths = [_lengths(x) for x, *_ in self.batches]
        self.visible = [{name: x[name] for name in signature} for x in self.visible]
        self.visible_lengths = [_lengths(x) for x in self.visible]
        self.place = 0

    def steps(self, count):
        """Takes so many steps, 0: a pass over all batches; (real codes, list of the patients' lengths)."""
        codes, lengths = 0, []
        for _ in range(count or len(self.batches)):
            place = self.place % len(self.batches)
            self.take_step(self.batches[place])
            lengths.append(self.lengths[place])
            codes += int(self.lengths[place].sum()) - len(self.lengths[place])
            self.place += 1
        return codes, lengths

    def score(self, count):
        """Scores so many batches, 0: all of them once, nothing masked."""
        count = count or len(self.visible)
        places = [(self.place + number) % len(self.visible) for number in range(count)]
        self.place += count
        for _, logits in side_by_side(self.logits, ((self.visible[place],) for place in places)):
            logits["long_stay"].numpy()
        lengths = [self.visible_lengths[place] for place in places]
        return sum(map(len, lengths)), lengths


def _lengths(x):
    """Tokens of each patient of a batch."""
    slots = x["patient_slots"].numpy()
    return np.array([np.sum(row == slot) for row in slots for slot in range(1, row.max() + 1)])


def write_records(path, patients, vocab_size, num_shards=1):
    """A data set of these patients, without the fields that the models here do not read.

    Args:
        path: its name.
        patients: `Patients`, or an iterable of several.
        vocab_size: special tokens included.
        num_shards: number of files.

    Returns:
        its `DatasetInfo`.
    """
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *(f"C{number}" for number in range(vocab_size - len(SPECIAL_TOKENS)))))
    about = dict(
        layout="default",
        split="train",
        vocabulary=vocabulary,
        tasks=TASKS,
        time_gap="before",
        visit_separator=False,
        flags={},
        source_manifest=None,
        defaults=dict(
            max_seq_length=LONGEST, max_predictions_per_seq=MOST_MASKED, masked_lm_prob=MASKED_SHARE, random_seed=1
        ),
    )
    with DatasetWriter(path, num_shards, about) as writer:
        for some in [patients] if isinstance(patients, Patients) else patients:
            columns, ids = _columns(some, writer.examples_in)
            labels = {"long_stay": some.labels[:, None]}
            weights = {"long_stay": np.ones_like(labels["long_stay"])}
            writer.write(Examples(columns, some.lengths, ids, labels, weights))
    return read_dataset(path)


def _columns(patients, first):
    """(list of `Column`, patient ids, counted from `first`)."""
    counts, labels = patients.lengths, patients.labels[:, None]
    flat = {name: np.zeros(counts.sum(), np.int64) for name in TOKEN_COLUMNS}
    flat["token_ids"], flat["visits"] = np.concatenate(patients.tokens), np.concatenate(patients.visits)
    names = {name: "gap_before_days" if name == "gap_days" else name for name in TOKEN_COLUMNS}
    size = len(counts)
    ids = [str(first + number) for number in range(size)]
    columns = [Column(names[name], "int64", flat[name], counts) for name in TOKEN_COLUMNS]
    columns += [Column(name, "int64", np.zeros(size, np.int64)) for name in ("sex", "prediction_time")]
    columns += [
        Column("patient_id", "bytes", [name.encode() for name in ids]),
        Column.of_matrix("long_stay_labels", "float", labels),
        Column.of_matrix("long_stay_weights", "float", np.ones_like(labels)),
    ]
    return columns, ids
