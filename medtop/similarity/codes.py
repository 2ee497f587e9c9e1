"""Codes of a run: their vectors, what the hierarchy says of them, and which stand near each other in histories."""

import numpy as np

from medtop.cohort.pickled_lists import read_chunks
from medtop.files.errors import DataError
from medtop.training.checkpoints import read_arrays

TABLE = "embeddings/code_embeddings"


def code_vectors(run):
    """(tokens, float32 [N, W], vocabulary ids int [N]) of a run of codes, special tokens left out.

    Args:
        run: `RunDirectory`.

    Raises:
        DataError: for a run on texts.
    """
    _, vocabulary, _ = run.read()
    if (run.settings().get("data") or {}).get("train", {}).get("tokenizer"):
        raise DataError(f"{run.path}: expected a run on codes (--codes), received one on texts: leave --codes out")
    arrays, _ = read_arrays(run.best_weights)
    ids = np.array(list(vocabulary.ordinary_ids))
    return [vocabulary.tokens[place] for place in ids], arrays[TABLE][ids], ids


def histories(path, ids, size):
    """Yields the sequences of `<prefix>.bencs.<split>` as places among `ids`; other tokens are -1.

    Args:
        path: the file.
        ids: int [N], vocabulary ids of the codes.
        size: of the vocabulary.
    """
    places = np.full(size, -1)
    places[ids] = np.arange(len(ids))
    for chunk in read_chunks(path):
        codes = np.where(chunk.codes < size, chunk.codes, 0)
        yield from np.split(places[codes], np.cumsum(chunk.code_counts)[:-1])


def code_counts(path, ids, size):
    """How often each code stands in the histories: int64 [N]."""
    counts = np.zeros(len(ids), np.int64)
    for sequence in histories(path, ids, size):
        np.add.at(counts, sequence[sequence >= 0], 1)
    return counts
