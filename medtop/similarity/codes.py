"""Codes of a run: their vectors, what the hierarchy says of them, and which stand near each other in histories."""

import re

import numpy as np

from medtop.cohort.pickled_lists import read_chunks
from medtop.files.errors import DataError
from medtop.similarity.pairs import place_of
from medtop.training.checkpoints import read_arrays

TABLE = "embeddings/code_embeddings"

# First and last category of each chapter: ICD-10-CM (CMS, 2024) and ICD-9-CM (CMS, version 32).
ICD10_CHAPTERS = tuple(
    tuple(span.split("-"))
    for span in (
        "A00-B99 C00-D49 D50-D89 E00-E89 F01-F99 G00-G99 H00-H59 H60-H95 I00-I99 J00-J99 K00-K95 L00-L99 M00-M99 "
        "N00-N99 O00-O9A P00-P96 Q00-Q99 R00-R99 S00-T88 U00-U85 V00-Y99 Z00-Z99"
    ).split()
)
ICD9_CHAPTERS = tuple(
    tuple(span.split("-"))
    for span in (
        "001-139 140-239 240-279 280-289 290-319 320-389 390-459 460-519 520-579 580-629 630-679 680-709 710-739 "
        "740-759 760-779 780-799 800-999 E00-E99 V01-V91"
    ).split()
)

_CODE = re.compile(r"(ICD10|ICD9)(?:CM)?_(.+)")


def hierarchy_of(token):
    """(category, chapter) of a code as the vocabulary writes it; "" where it is no diagnosis of ICD.

    >>> hierarchy_of("ICD10_E11.9"), hierarchy_of("ICD9_25000"), hierarchy_of("RX_1")
    (('ICD10 E11', 'ICD10 E00-E89'), ('ICD9 250', 'ICD9 240-279'), ('', ''))
    """
    match = _CODE.fullmatch(token.upper())
    if not match:
        return "", ""
    system, code = match[1], match[2].replace(".", "")
    category = code[:3]
    spans = ICD10_CHAPTERS if system == "ICD10" else ICD9_CHAPTERS
    place = place_of(category, spans)
    chapter = f"{system} {'-'.join(spans[place])}" if place >= 0 else ""
    return f"{system} {category}", chapter


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
