"""Vectors of terms by a model of texts: word pieces, layer, pooling, alone or within the sentences that hold them."""

import re

import numpy as np
import tensorflow as tf

from medtop.evaluation.forward import forward
from medtop.files.errors import DataError
from medtop.model.multitask import build_model
from medtop.notes.create_features import open_tokenizer
from medtop.training.trainer import load_best

BATCH = 32
LONGEST = 128
"""Pieces around a term that are read; a longer sentence is cut around the term."""


class TermEncoder:
    """A model of texts, ready to give vectors.

    Args:
        run: `RunDirectory`.
        layer: 0 the embeddings, 1 to the number of blocks, negative ones from the last.
        pooling: "mean" of the term's pieces, its "first" piece, or "cls".

    Raises:
        DataError: for a layer that the model has not.
    """

    def __init__(self, run, layer=-1, pooling="mean"):
        import keras

        config, _, tasks = run.read()
        number = layer if layer >= 0 else config.num_blocks + 1 + layer
        if not 0 <= number <= config.num_blocks:
            raise DataError(f"--layer: expected -{config.num_blocks + 1} to {config.num_blocks}, received {layer}")
        self.pooling, self.tokenizer = pooling, open_tokenizer(run.vocabulary_file)
        self.room = min(LONGEST, config.max_position_embeddings) - 2
        model = build_model(config, tasks)
        load_best(model, run)
        encoder = model.encoder
        if number == config.num_blocks:
            state = encoder.output["sequence_output"]
        else:
            state = encoder.get_layer(f"layer_{number}_attention").input
            state = state[0] if isinstance(state, (list, tuple)) else state
            if config.norm == "pre":
                state = encoder.get_layer(f"layer_{number}_attention_norm").input
        inner = keras.Model(encoder.input, state)
        signature = {name: tf.TensorSpec([None, *value.shape[1:]], tf.int32) for name, value in inner.input.items()}
        self._states = tf.function(forward(inner), input_signature=[signature], autograph=False)
        self._names = list(inner.input)

    def encode(self, terms, contexts=None):
        """float64 [N, W].

        Args:
            terms: list of N str.
            contexts: list of N lists of (sentence, start, end of the term in characters), or None: each alone.

        Raises:
            DataError: for a term without pieces.
        """
        texts, owners, spans = [], [], []
        for number, term in enumerate(terms):
            sentences = (contexts[number] if contexts else None) or [(term, 0, len(term))]
            for sentence, start, end in sentences:
                texts.append(sentence)
                owners.append(number)
                spans.append((start, end))
        pieces = self.tokenizer.tokenize(texts)
        begins = np.cumsum(pieces.counts) - pieces.counts
        rows = [
            self._row(pieces, begin, count, *span)
            for begin, count, span in zip(begins.tolist(), pieces.counts.tolist(), spans, strict=True)
        ]
        bad = next((owner for owner, row in zip(owners, rows, strict=True) if row is None), None)
        if bad is not None:
            raise DataError(f"terms: expected words in each, received none in term {bad + 1} of {len(terms)}")
        sums, counts = None, np.zeros(len(terms))
        order = np.argsort([len(ids) for ids, *_ in rows], kind="stable")
        for first in range(0, len(order), BATCH):
            part = order[first : first + BATCH].tolist()
            states = self._run([rows[place][0] for place in part])
            for place, state in zip(part, states, strict=True):
                _, low, high = rows[place]
                vector = state[0] if self.pooling == "cls" else state[low:high].mean(axis=0)
                if sums is None:
                    sums = np.zeros((len(terms), len(vector)))
                sums[owners[place]] += vector
                counts[owners[place]] += 1
        return sums / counts[:, None]

    def _row(self, pieces, begin, count, start, end):
        """(ids with [CLS] and [SEP], first and last place of the term's pieces); None without any."""
        places = np.arange(begin, begin + count)
        mine = np.flatnonzero((pieces.ends[places] > start) & (pieces.starts[places] < end))
        if not len(mine):
            return None
        low = max(0, min(mine[0] - (self.room - len(mine)) // 2, count - self.room))
        kept = places[low : low + self.room]
        ids = [self.tokenizer.cls_id, *pieces.ids[kept].tolist(), self.tokenizer.sep_id]
        first, last = mine[0] - low + 1, min(mine[-1] - low + 2, len(ids) - 1)
        return ids, first, (first + 1 if self.pooling == "first" else last)

    def _run(self, rows):
        width = max(map(len, rows))
        there = np.arange(width) < np.array([len(ids) for ids in rows])[:, None]
        tokens = np.zeros((len(rows), width), np.int32)
        tokens[there] = np.concatenate(rows)
        x = {
            "token_ids": tokens,
            "patient_slots": there.astype(np.int32),
            "positions": np.where(there, np.arange(width), 0).astype(np.int32),
            "segments": np.zeros_like(tokens),
            "cls_positions": np.zeros((len(rows), 1), np.int32),
        }
        return self._states({name: tf.constant(x[name]) for name in self._names}).numpy().astype(np.float64)


def find_contexts(terms, sentences, most):
    """Sentences that hold each term as whole words, in any case: list of N lists of (sentence, start, end).

    Args:
        terms: list of N str.
        sentences: iterable of str.
        most: contexts of each, the first ones.
    """
    patterns = [re.compile(rf"(?<!\w){re.escape(term)}(?!\w)", re.IGNORECASE) for term in terms]
    firsts = {}
    for number, term in enumerate(terms):
        firsts.setdefault(re.findall(r"\w+", term.lower())[0] if re.search(r"\w", term) else term, []).append(number)
    contexts = [[] for _ in terms]
    for sentence in sentences:
        words = set(re.findall(r"\w+", sentence.lower()))
        for word in words & firsts.keys():
            for number in firsts[word]:
                if len(contexts[number]) < most and (match := patterns[number].search(sentence)):
                    contexts[number].append((sentence, match.start(), match.end()))
    return contexts
