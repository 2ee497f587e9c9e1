"""TF-IDF of notes against scikit-learn's own vectoriser on the texts, and words put together from pieces by hand."""

import collections
import dataclasses

import numpy as np
import pytest
from notes_data import FILLER, planted_notes, tokenizer, write_note_dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from medtop.data import tfrecord
from medtop.evaluation.aggregation import Admissions
from medtop.evaluation.linear_baselines import TFIDF_C_GRID
from medtop.evaluation.predictions import Predictions, sigmoid
from medtop.files.errors import DataError
from medtop.readmission.tfidf import count_words, fit_tfidf, word_codes

SPECIAL = tokenizer().vocabulary.special_ids


def dataset(folder, notes, name="d", length=8):
    """(`DatasetInfo`, `Admissions`) of texts in windows of `length` tokens."""
    info = write_note_dataset(folder / name, notes, max_seq_length=length)
    columns = list(tfrecord.read_examples(info))
    ids = [np.concatenate([part[key] for part in columns]) for key in ("patient_id", "admission_id", "prediction_time")]
    return info, Admissions.of(*ids)


def notes_of(texts, labels=None):
    count = len(texts)
    return {
        "patient_ids": [f"P{n}" for n in range(count)],
        "admission_ids": [f"A{n}" for n in range(count)],
        "prediction_times": [0] * count,
        "texts": texts,
        "labels": labels or [0.0] * count,
    }


def test_words_are_put_together_from_their_pieces():
    # [CLS] un ##able fever | [SEP] and a second record that begins within a word: ##able . un ##able
    ids = tokenizer().vocabulary.ids
    tokens = [ids[name] for name in "[CLS] un ##able fever [SEP] [CLS] ##able . un ##able ##able [SEP]".split()]
    starts = [1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 0, 1]
    codes, owners = word_codes(tokens, [5, 7], starts, SPECIAL)
    assert owners.tolist() == [0, 0, 1, 1, 1]
    unable, fever, able, dot, unableable = codes.tolist()
    assert len({unable, fever, able, dot, unableable}) == 5
    again, _ = word_codes([ids["un"], ids["##able"], ids["fever"]], [3], [1, 0, 1], SPECIAL)
    assert again.tolist() == [unable, fever]  # the same word anywhere
    backwards, _ = word_codes([ids["##able"], ids["un"]], [2], [1, 0], SPECIAL)
    assert backwards[0] != unable  # the order of pieces counts
    assert word_codes([ids["[CLS]"], ids["[SEP]"]], [2], [1, 1], SPECIAL)[0].size == 0


def test_many_words_have_distinct_numbers():
    rng = np.random.default_rng(0)
    words = {tuple(rng.integers(5, 30_000, rng.integers(1, 6)).tolist()) for _ in range(50_000)}
    flat = np.concatenate(list(words))
    counts = np.array([len(word) for word in words])
    starts = np.zeros(len(flat), np.int64)
    starts[np.cumsum(counts) - counts] = 1
    codes, _ = word_codes(flat, [len(flat)], starts, SPECIAL)
    assert len(np.unique(codes)) == len(words)


def test_counts_are_those_of_the_texts(tmp_path):
    """Windows of 8 tokens cut each text, never a word: all its words are counted for its admission."""
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(FILLER, rng.integers(1, 40))) for _ in range(30)]
    info, admissions = dataset(tmp_path, notes_of(texts))
    counts, words = count_words(tfrecord.read_examples(info, 7), admissions.groups, len(admissions), SPECIAL)
    expected = [collections.Counter(text.split()) for text in texts]
    assert counts.sum(axis=1).tolist() == [len(text.split()) for text in texts]
    for row, counter in enumerate(expected):
        assert sorted(counts[[row]].data.tolist()) == sorted(map(float, counter.values()))
    assert len(words) == sum(sum(word in counter for counter in expected) >= 2 for word in FILLER)


def test_rare_words_are_left_out_and_unseen_ones_do_not_count(tmp_path):
    info, admissions = dataset(tmp_path, notes_of(["fever cough", "fever pain", "fever fever"]))
    counts, words = count_words(tfrecord.read_examples(info), admissions.groups, 3, SPECIAL)
    assert counts.toarray().tolist() == [[1], [1], [2]]  # cough and pain stand in one admission each
    other, _ = dataset(tmp_path, notes_of(["heart fever heart", "heart"]), "e")
    found, same = count_words(tfrecord.read_examples(other), np.array([0, 1]), 2, SPECIAL, words)
    assert found.toarray().tolist() == [[1], [0]] and same is words
    with pytest.raises(DataError, match="expected 3 records, received 2"):
        count_words(tfrecord.read_examples(other), np.zeros(3, int), 1, SPECIAL)


def splits_of(folder, sizes=(80, 40, 40), planted="relapsed", **changes):
    """What `fit_tfidf` takes, beside the notes: patients apart; `planted` is the word that says the label."""
    notes, splits = {}, {}
    for seed, (split, size) in enumerate(zip(("train", "valid", "test"), sizes, strict=True), 1):
        notes[split] = planted_notes(size, seed, **changes)
        notes[split]["texts"] = [text.replace("relapsed", planted) for text in notes[split]["texts"]]
        info, admissions = dataset(folder, notes[split], split, length=16)
        targets = np.reshape(notes[split]["labels"], (-1, 1))
        one = Predictions(
            "readmission",
            ("readmission",),
            admissions.patient_ids,
            admissions.prediction_times,
            targets,
            np.ones_like(targets),
            np.zeros_like(targets),
            admissions.admission_ids,
        )
        splits[split] = tfrecord.read_examples(info), admissions, {"readmission": one}
    return notes, splits


def test_equals_scikit_learns_tfidf_and_logistic_regression(tmp_path):
    """The oracle reads the texts; ours reads the pieces of their windows, whose edges cut no word of one piece."""
    notes, splits = splits_of(tmp_path, planted="discharge", words=25)
    rng = np.random.default_rng(7)
    for split, (examples, admissions, predictions) in splits.items():  # noisy labels, so that C matters
        flip = rng.random(len(admissions)) < 0.25
        one = predictions["readmission"]
        targets = np.where(flip[:, None], 1 - one.targets, one.targets)
        splits[split] = examples, admissions, {"readmission": dataclasses.replace(one, targets=targets)}
    truth = {split: part[2]["readmission"].targets[:, 0] for split, part in splits.items()}
    found, reasons = fit_tfidf(splits, SPECIAL)
    assert reasons == {"readmission": {}}
    vectoriser = TfidfVectorizer(token_pattern=r"\w+|\.", sublinear_tf=True, min_df=2).fit(notes["train"]["texts"])
    matrices = {split: vectoriser.transform(part["texts"]) for split, part in notes.items()}
    models = [
        LogisticRegression(C=c, max_iter=2000, tol=1e-6).fit(matrices["train"], truth["train"]) for c in TFIDF_C_GRID
    ]
    losses = [log_loss(truth["valid"], model.predict_proba(matrices["valid"])) for model in models]
    best = models[int(np.argmin(losses))]
    theirs = best.predict_proba(matrices["test"])[:, 1]
    ours = sigmoid(found["test"]["readmission"].logits[:, 0])
    assert np.abs(ours - theirs).max() < 5e-3
    assert found["test"]["readmission"].admission_ids.tolist() == notes["test"]["admission_ids"]


def test_it_finds_the_planted_word_wherever_it_stands(tmp_path):
    notes, splits = splits_of(tmp_path, words=40)
    found, _ = fit_tfidf(splits, SPECIAL)
    logits = found["test"]["readmission"].logits[:, 0]
    labels = np.array(notes["test"]["labels"])
    assert logits[labels == 1].min() > logits[labels == 0].max() and set(found) == {"valid", "test"}


def test_what_cannot_be_fitted_says_so(tmp_path):
    notes, splits = splits_of(tmp_path, (6, 4, 4), words=5)
    with pytest.raises(DataError, match="expected a training split, received valid, test"):
        fit_tfidf({name: splits[name] for name in ("valid", "test")}, SPECIAL)
    info, admissions = dataset(tmp_path, notes_of(["fever", "cough"]), "apart")
    one = splits["train"][2]["readmission"].take(np.arange(2))
    with pytest.raises(DataError, match="words that stand in 2 training admissions, received none"):
        fit_tfidf({"train": (tfrecord.read_examples(info), admissions, {"readmission": one})}, SPECIAL)
    predictions = splits["train"][2]["readmission"]
    predictions.targets[:] = 0
    found, reasons = fit_tfidf(splits, SPECIAL)
    assert reasons["readmission"]["readmission"] == "constant prediction: only negatives in training"
    assert np.ptp(found["test"]["readmission"].logits) == 0
