"""Small TFRecord data sets, encoders and runs: what the tests of everything after the features start from."""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
from sequence_cases import TASKS, chunk_of, random_patients
from shared import shared_folder

from medtop.cohort.vocabulary import CLS_ID, SPECIAL_TOKENS, Vocabulary
from medtop.data import tfrecord
from medtop.data.sequences import chunk_examples, medbert_examples
from medtop.model.config import BertConfig
from medtop.model.tasks import choose_tasks
from medtop.training.options import TrainingOptions

VOCABULARY = Vocabulary((*SPECIAL_TOKENS, *(f"C{number:02d}" for number in range(55))))
DEFAULTS = {"max_seq_length": 64, "max_predictions_per_seq": 10, "masked_lm_prob": 0.15, "random_seed": 1}
ALL_EMBEDDINGS = (
    "code",
    "position",
    "visit_position",
    "visit",
    "segment",
    "age",
    "gap",
    "stay",
    "recency",
    "sex",
)
SEQUENCE_KEYS = ("token_ids", "visits", "visit_positions", "ages", "gaps", "stays", "recencies")
"""Keys of a batch that have a value per token, in the order of the tuples that `tokens_of_patient` makes."""


def small_config(**changes):
    """One narrow block; the vocabulary's size is filled in by `make_plan`, or here."""
    values = dict(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=64,
        embeddings=("code", "visit", "age"),
    )
    return BertConfig(**values | changes)


def all_tasks(tasks=None, **changes):
    """`Task` objects: masked_lm and those of `TASKS`, or the named ones."""
    return choose_tasks(tasks, TASKS, **changes)


def patients(count, seed=0, **changes):
    """Random patients, the age at prediction of each unlike all others': it tells who is in a row."""
    return [
        patient | {"age": 10_000 + seed * 1_000 + place} | changes
        for place, patient in enumerate(random_patients(count, seed, VOCABULARY))
    ]


def with_labels(patient, task, *values):
    """The patient with other labels of one task: 1, 0 or None (unknown)."""
    known = [float(value is not None) for value in values]
    return patient | {
        "labels": patient["labels"] | {task: [float(value or 0) for value in values]},
        "weights": patient["weights"] | {task: known},
    }


def planted(count, seed, code=7):
    """Patients of whom one code says `long_stay` and nothing says `complications`; all labels are known."""
    rng = np.random.default_rng(seed + 1)
    found = []
    for patient in patients(count, seed):
        visits = patient["visits"] or [([20], 1, 0, 3, 9_000)]
        visits = [([other if other != code else 8 for other in codes], *rest) for codes, *rest in visits]
        positive, *coins = rng.integers(0, 2, 3)
        if positive:
            codes, *rest = visits[-1]  # rows are cut to their latest codes
            visits[-1] = ([*codes, code], *rest)
        patient = with_labels(patient | {"visits": visits}, "long_stay", int(positive))
        found.append(with_labels(patient, "complications", *map(int, coins)))
    return found


def description(**changes):
    """What `medtop.data.tfrecord.DatasetWriter` wants to know."""
    return (
        dict(
            layout="default",
            split="train",
            vocabulary=VOCABULARY,
            tasks=TASKS,
            time_gap="before",
            visit_separator=False,
            defaults=DEFAULTS,
            flags={},
            source_manifest=None,
        )
        | changes
    )


def write_chunk(writer, chunk):
    """Appends a chunk of sequences to a `DatasetWriter`."""
    for examples in chunk_examples(chunk, writer.description):
        writer.write(examples)


def write_dataset(path, people, num_shards=1, **changes):
    """Writes TFRecord files and their description the way the feature script does; the `DatasetInfo`."""
    about = description(**changes)
    with tfrecord.DatasetWriter(path, num_shards, about) as writer:
        if people:
            write_chunk(writer, chunk_of(people, about["tasks"]))
    return tfrecord.read_dataset(path)


def write_medbert_dataset(path, rows, codes, **changes):
    """The same for Med-BERT's positional rows."""
    vocabulary = Vocabulary(("empty_pad", *(f"C{number}" for number in range(codes))))
    tasks = {"long_stay": ["long_stay"]}
    about = description(layout="medbert", vocabulary=vocabulary, tasks=tasks, time_gap="after", **changes)
    with tfrecord.DatasetWriter(path, 1, about) as writer:
        writer.write(medbert_examples(rows, about, np.random.default_rng(3)))
    return tfrecord.read_dataset(path)


def tokens_of_patient(patient, max_seq_length=None, time_gap="before"):
    """docs/contract.md, "TFRecord", as a loop, the oracle of a patient's row: tuples, see `SEQUENCE_KEYS`."""
    visits = patient["visits"]
    tokens = [(CLS_ID, 0, 0, patient["age"], 0, 0, 0)]
    for number, (codes, stay, gap, recency, age) in enumerate(visits, 1):
        if time_gap == "after":
            gap = visits[number][2] if number < len(visits) else 0
        tokens += [(code, number, place, age, gap, stay, recency) for place, code in enumerate(codes)]
    if max_seq_length is None or len(tokens) <= max_seq_length:
        return tokens
    return tokens[:1] + tokens[len(tokens) - (max_seq_length - 1) :]


def split_files(folder):
    """Where `write_splits` writes: dict of flag -> path."""
    return {name: str(folder / f"{name}.tfrecord") for name in ("input_file", "valid_file", "test_file")}


def write_splits(folder, sizes=(40, 24, 24), make=patients):
    """Writes train, valid and test, patients apart; dict of flag -> path."""
    paths = split_files(folder)
    for seed, ((name, path), size) in enumerate(zip(paths.items(), sizes, strict=True), 1):
        write_dataset(path, make(size, seed), split=name.removesuffix("_file"))
    return paths


def training_options(folder, files, config=None, **changes):
    """`TrainingOptions` of a run of few steps in `folder/run`; `files` as `write_splits` gives them."""
    config_file = folder / "config.json"
    text = json.dumps((config or small_config()).to_dict() | {"vocab_size": 0})
    if not config_file.exists() or config_file.read_text() != text:  # another worker may be reading it
        config_file.write_text(text)
    options = dict(
        output_dir=str(folder / "run"),
        bert_config_file=str(config_file),
        do_train=True,
        train_batch_size=8,
        eval_batch_size=16,
        learning_rate=1e-3,
        num_train_epochs=2,
        baselines=False,
        num_bootstrap=20,
    )
    return TrainingOptions(**options | files | changes)


def replaced(options, **changes):
    """A copy of a dataclass with other values."""
    return dataclasses.replace(options, **changes)


@dataclasses.dataclass
class FinishedRun:
    """A run that learned `planted` patients and was evaluated.

    Attributes:
        folder: holds `run`, the data sets and config.json.
        options: `TrainingOptions`.
        people: dict split -> patients.
    """

    folder: Path
    options: TrainingOptions
    people: dict


@functools.cache
def finished_run():
    """One run for all tests of all workers that need a trained one; they must leave its folder as it is."""
    folder = shared_folder("finished_run", _finish)
    sizes = zip(("train", "valid", "test"), SIZES, (1, 2, 3), strict=True)
    return FinishedRun(folder, _finished_options(folder), {split: planted(size, seed) for split, size, seed in sizes})


SIZES = (320, 120, 120)


def _finished_options(folder):
    config = small_config(embeddings=("code", "visit"), pooling="mean", initializer_range=0.3)  # it learns in few steps
    return training_options(
        folder,
        split_files(folder),
        config,
        tasks=("long_stay", "complications"),
        do_eval=True,
        train_batch_size=32,
        max_seq_length=24,
        learning_rate=1.3e-2,
        num_train_epochs=6,
        best_metric="long_stay.loss",
        num_bootstrap=100,
    )


def _finish(folder):
    """Trains and evaluates. The test split's file is away while the run trains: reading it then would be an error."""
    import tensorflow as tf

    from medtop.runs import execute

    write_splits(folder, SIZES, planted)
    options, train = _finished_options(folder), execute.Trainer.train
    test_file = Path(options.test_file)

    def train_without_test_file(trainer):
        test_file.rename(f"{test_file}.away")
        train(trainer)
        Path(f"{test_file}.away").rename(test_file)

    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(False)  # as users train, whatever the test that comes first prefers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute.Trainer, "train", train_without_test_file)
        execute.execute(options, command="python run_scripts/run_toppretraining.py --made=up")
    tf.config.run_functions_eagerly(eager)
