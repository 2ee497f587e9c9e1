"""medtop, as a contender of entities_speed.py: `bucketed` (windows of like lengths side by side) or `packed`."""

import tempfile

import keras
import tensorflow as tf

from medtop.data.batches import BatchOptions, TrainBatches
from medtop.data.tfrecord import read_dataset
from medtop.entities.encoder_tagger import EncoderTagger, WindowOptions, make_records
from medtop.model.multitask import build_model, compile_arguments
from medtop.model.tasks import choose_tasks
from medtop.training.checkpoints import set_weights
from medtop.training.distribution import Distribution
from medtop.training.driver import Driver
from medtop.training.optimizer import AdamW, WarmupLinearDecay
from medtop.training.step import TensorFlowModel
from speed.entities_data import MAX_SEQ_LENGTH, OVERLAP
from speed.entities_start import LEARNING_RATE, read_start


class Contender:
    """Steps over batches that lie ready in memory, made by the pipeline; prediction from documents to spans."""

    def __init__(self, case, kind, precision="float32"):
        keras.utils.set_random_seed(0)
        keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
        self.case, self.place = case, 0
        options = BatchOptions(batch_size=case.batch_size, max_seq_length=MAX_SEQ_LENGTH, packing=kind == "packed")
        windows = WindowOptions(MAX_SEQ_LENGTH, OVERLAP, True)
        with tempfile.TemporaryDirectory() as folder:
            info = read_dataset(make_records(folder, case.documents, case.tagset, "train", windows))
            tasks = choose_tasks(list(case.tagset.tasks), info.tasks, levels=info.levels)
            batches = TrainBatches(info, case.config, tasks, options, seed=1)
            self.batches = list(batches.epoch(0))
        numbers = [int(x["patient_slots"].numpy().max(axis=1).sum()) for x, *_ in self.batches]
        self.documents = [number * len(case.documents) / sum(numbers) for number in numbers]
        self.tasks = tasks
        self.model = build_model(case.config, tasks, TensorFlowModel)
        set_weights(self.model, read_start(case.start), case.start)
        self.model.compile(
            AdamW(WarmupLinearDecay(LEARNING_RATE, 100, 100_000)), **compile_arguments(tasks), jit_compile=False
        )
        self.take_step = Driver(self.model, Distribution(tf.distribute.get_strategy()))
        self.tagger = EncoderTagger(self.model, case.tagset, windows, batch_size=case.predict_batch)

    def steps(self, count):
        """Takes so many steps, 0: a pass over all batches; `done` counts documents, windows as their mean share."""
        done = 0.0
        for _ in range(count or len(self.batches)):
            place = self.place % len(self.batches)
            self.take_step(self.batches[place])
            done += self.documents[place]
            self.place += 1
        return {"done": done}

    def predict(self, count):
        """Tags the first documents, 0: all."""
        documents = self.case.documents[: count or None]
        spans = sum(len(document.spans) for document in self.tagger.predict_all(documents))
        return {"done": len(documents), "spans": spans}
