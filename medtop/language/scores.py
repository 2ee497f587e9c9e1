"""A model's answers: how likely it holds the hidden words, and whether it says that runs follow each other.

Letters: B rows in a batch, T tokens in a row, M masked positions in a row, V vocabulary, K labels.
"""

import numpy as np
import tensorflow as tf

from medtop.evaluation.forward import forward
from medtop.files.errors import DataError
from medtop.language.examples import WordPieces
from medtop.model.multitask import build_model
from medtop.notes.create_features import open_tokenizer
from medtop.training.trainer import load_best

BATCH = 16
MASKED, NEXT, ORDER = "masked_lm", "next_sentence", "sentence_order"


class LanguageModel:
    """A run of ours (imported ones too) that has a masked head.

    Args:
        name: for tables.
        run: `RunDirectory`.

    Attributes:
        tasks: names of those of `masked_lm`, `next_sentence`, `sentence_order` that it was trained for.
        words: `WordPieces`.

    Raises:
        DataError: for a model without a masked head, or of codes.
    """

    def __init__(self, name, run):
        import keras

        config, vocabulary, tasks = run.read()
        self.name, self.longest = name, config.max_position_embeddings
        self.vocabulary_hash = vocabulary.hash
        self.tasks = [task.name for task in tasks if task.name in (MASKED, NEXT, ORDER)]
        if MASKED not in self.tasks:
            raise DataError(f"--models: {name}: expected a model with a masked head (masked_lm), received one without")
        self.tokenizer = open_tokenizer(run.vocabulary_file)
        self.words = WordPieces(self.tokenizer)
        mask = vocabulary.ids.get("[MASK]")
        self.mask_id = mask
        model = build_model(config, tasks)
        load_best(model, run)
        inner = keras.Model(model.input, {task: model.output[task] for task in self.tasks})
        known = {"token_ids", "patient_slots", "positions", "segments", "cls_positions", "mask_positions"}
        if strange := set(inner.input) - known:
            raise DataError(f"--models: {name}: expected a model of texts, received one that reads {min(strange)}")
        signature = {key: tf.TensorSpec([None, *value.shape[1:]], tf.int32) for key, value in inner.input.items()}
        self._names = list(inner.input)
        self._outputs = tf.function(forward(inner), input_signature=[signature], autograph=False)

    def hidden_words(self, windows):
        """What it makes of the hidden words, end to end in the order of windows and places.

        Args:
            windows: list of `Window`.

        Returns:
            dict of arrays, one value a hidden word: `loss` float64 (-log of the product of its pieces' probabilities,
            nats), `right` (each piece is the likeliest), `pieces`, `pieces_right`.
        """
        rows, targets = [], []
        for window in windows:
            ids, places, wanted = [self.tokenizer.cls_id], [], []
            for place, word in enumerate(window.words):
                pieces = self.words.of(word)
                if place in window.hidden:
                    places += range(len(ids), len(ids) + len(pieces))
                    wanted.append(pieces)
                    ids += [self.mask_id] * len(pieces)
                else:
                    ids += pieces
            rows.append(([*ids, self.tokenizer.sep_id], [0] * (len(ids) + 1), places))
            targets.append(wanted)
        result = {name: [] for name in ("loss", "right", "pieces", "pieces_right")}
        answers = self._run(rows, MASKED)
        for logits, wanted in zip(answers, targets, strict=True):
            place = 0
            for pieces in wanted:
                own = logits[place : place + len(pieces)]
                place += len(pieces)
                hits = own.argmax(1) == np.array(pieces)
                result["loss"].append(float(-_log_softmax(own)[np.arange(len(pieces)), list(pieces)].sum()))
                result["right"].append(bool(hits.all()))
                result["pieces"].append(len(pieces))
                result["pieces_right"].append(int(hits.sum()))
        return {name: np.array(values, float) for name, values in result.items()}

    def follows(self, pairs, task):
        """float64 [pairs]: the logit of "the second run follows the first", by a head of `NEXT` or `ORDER`."""
        rows = []
        for pair in pairs:
            runs = pair.first, pair.second
            first, second = ([piece for word in run for piece in self.words.of(word)] for run in runs)
            ids = [self.tokenizer.cls_id, *first, self.tokenizer.sep_id, *second, self.tokenizer.sep_id]
            rows.append((ids, [0] * (len(first) + 2) + [1] * (len(second) + 1), []))
        logits = np.array([float(answer[0, 0]) for answer in self._run(rows, task)])
        return -logits if task == ORDER else logits  # sentence_order's label is `swapped`

    def _run(self, rows, task):
        """list of float64 arrays, the task's logits of each row: [masked, V], or [1, K].

        Args:
            rows: list of (ids, segments, masked places).
        """
        order = np.argsort([len(ids) for ids, *_ in rows], kind="stable")
        answers = [None] * len(rows)
        for first in range(0, len(order), BATCH):
            part = order[first : first + BATCH].tolist()
            outputs = self._outputs(self._batch([rows[place] for place in part]))[task].numpy().astype(np.float64)
            for place, logits in zip(part, outputs, strict=True):
                answers[place] = logits[: len(rows[place][2])] if task == MASKED else logits
        return answers

    def _batch(self, rows):
        width, most = max(len(ids) for ids, *_ in rows), max(max(len(places) for *_, places in rows), 1)
        per_token = ("token_ids", "segments", "patient_slots", "positions")
        x = {name: np.zeros((len(rows), width), np.int32) for name in per_token}
        x["mask_positions"] = np.zeros((len(rows), most), np.int32)
        x["cls_positions"] = np.zeros((len(rows), 1), np.int32)
        for number, (ids, segments, places) in enumerate(rows):
            x["token_ids"][number, : len(ids)] = ids
            x["segments"][number, : len(ids)] = segments
            x["patient_slots"][number, : len(ids)] = 1
            x["positions"][number, : len(ids)] = np.arange(len(ids))
            x["mask_positions"][number, : len(places)] = places
        return {name: tf.constant(x[name]) for name in self._names}


def _log_softmax(logits):
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
