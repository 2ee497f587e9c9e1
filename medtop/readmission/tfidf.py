"""TF-IDF and logistic regression on the words of the same windows that the model reads: the baseline of notes.

The words are put together again from their pieces, so that the baseline needs nothing but the records, and sees neither
more nor less than the model. Order does not count, only which words an admission's notes hold, and how often.

Letters: S windows, N admissions, Z tokens laid end to end, V words.
"""

import dataclasses

import numpy as np
from scipy import sparse

from medtop.evaluation.baselines import TFIDF, fit_baselines
from medtop.evaluation.count_features import BaselineFeatures
from medtop.files.errors import DataError

MIN_ADMISSIONS = 2
"""Words that stand in fewer admissions of the training split are left out."""
MAX_WORDS = 50_000
"""The words that most training admissions have."""

_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: distinct pieces stay distinct modulo 2**64 (Fibonacci hashing)


def word_codes(token_ids, counts, word_starts, special_ids):
    """One number for each word of some records; equal words have equal numbers, in every record and data set.

    A word is a run of pieces; its number is a 64-bit hash of their ids: of a million words, two share one with a
    probability of 3 in 10**8.

    Args:
        token_ids, word_starts: int64 [Z].
        counts: int64 [S], tokens of each record.
        special_ids: ids that are no pieces of words.

    Returns:
        (uint64 [words], int64 [words] the record of each).
    """
    token_ids, counts = np.asarray(token_ids, np.int64), np.asarray(counts, np.int64)
    kept = ~np.isin(token_ids, special_ids)
    records = np.repeat(np.arange(len(counts)), counts)[kept]
    pieces = token_ids[kept].astype(np.uint64)
    opens = np.asarray(word_starts)[kept] > 0
    opens |= np.diff(records, prepend=-1) != 0  # what a window's edge has cut off counts as a word
    first = np.flatnonzero(opens)
    if not len(first):
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    place = np.arange(len(pieces)) - np.repeat(first, np.diff(np.append(first, len(pieces))))
    with np.errstate(over="ignore"):
        mixed = (pieces + np.uint64(1)) * _FACTOR
        mixed = (mixed ^ (mixed >> np.uint64(29))) * (np.uint64(2) * place.astype(np.uint64) + np.uint64(0xBF58476D))
        mixed ^= mixed >> np.uint64(32)
        return np.add.reduceat(mixed, first), records[first]


def count_words(examples, groups, num_admissions, special_ids, words=None):
    """How often each word stands in the windows of each admission.

    Args:
        examples: iterable of dicts as `tfrecord.read_examples` gives them for notes, S records in all.
        groups: int64 [S], the admission of each record.
        num_admissions: N.
        special_ids: ids that are no pieces of words.
        words: uint64 [V], rising: count these only; None: find those of `MIN_ADMISSIONS` and `MAX_WORDS`.

    Returns:
        (CSR float64 [N, V], words).
    """
    parts, done = [], 0
    for columns in examples:
        size = len(columns["counts"])
        codes, records = word_codes(columns["token_ids"], columns["counts"], columns["word_starts"], special_ids)
        distinct, numbers = np.unique(codes, return_inverse=True)
        pairs = groups[done : done + size][records] * len(distinct) + numbers
        pairs, times = np.unique(pairs, return_counts=True)
        parts.append((pairs // max(len(distinct), 1), distinct[pairs % max(len(distinct), 1)], times))
        done += size
    if done != len(groups):
        raise DataError(f"tf-idf: expected {len(groups)} records, received {done}")
    rows, codes, times = (np.concatenate(column) for column in zip(*parts, strict=True))
    known, columns = np.unique(codes, return_inverse=True)
    counts = sparse.csr_array((times.astype(np.float64), (rows, columns)), shape=(num_admissions, len(known)))
    counts.sum_duplicates()
    if words is None:
        present = np.bincount(counts.indices, minlength=len(known))
        chosen = np.argsort(-present, kind="stable")[:MAX_WORDS]
        chosen = np.sort(chosen[present[chosen] >= MIN_ADMISSIONS])
        return counts[:, chosen], known[chosen]
    places = np.searchsorted(known, words)
    there = (places < len(known)) & (known[np.minimum(places, len(known) - 1)] == words)
    picker = sparse.csr_array(
        (np.ones(there.sum()), (places[there], np.flatnonzero(there))), shape=(len(known), len(words))
    )
    return counts @ picker, words


def fit_tfidf(splits, special_ids, *, seed=0):
    """Fits the baseline on the training split; see `baselines.fit_baselines` for what validation chooses.

    Args:
        splits: dict split -> (iterable of dicts as `tfrecord.read_examples` gives them, `Admissions`, dict task
            -> `Predictions` of the admissions, whose logits are not looked at); "train" is needed.
        special_ids: ids that are no pieces of words.
        seed: of the solver.

    Returns:
        (dict split other than "train" -> task -> `Predictions`, dict task -> label -> reason for a constant prediction
        or default settings).

    Raises:
        DataError: without a training split, or without a word that two of its admissions share.
    """
    if "train" not in splits:
        raise DataError(f"tf-idf: expected a training split, received {', '.join(splits) or 'none'}")
    features, words = {}, None
    for split in ["train", *(name for name in splits if name != "train")]:
        examples, admissions, predictions = splits[split]
        counts, words = count_words(examples, admissions.groups, len(admissions), special_ids, words)
        if not len(words):
            raise DataError(f"tf-idf: expected words that stand in {MIN_ADMISSIONS} training admissions, received none")
        features[split] = BaselineFeatures(
            counts,
            np.zeros((len(admissions), 0)),
            admissions.patient_ids,
            admissions.prediction_times,
            {task: scores.targets for task, scores in predictions.items()},
            {task: scores.weights for task, scores in predictions.items()},
        )
    tasks = {task: list(scores.labels) for task, scores in splits["train"][2].items()}
    fitted = fit_baselines(features, tasks, names=(TFIDF,), predict=("valid", "test"), seed=seed)
    joined = {
        split: {
            task: dataclasses.replace(scores, admission_ids=splits[split][1].admission_ids)
            for task, scores in of_tasks.items()
        }
        for split, of_tasks in fitted.predictions[TFIDF].items()
    }
    return joined, fitted.reasons[TFIDF]
