"""The encoder and the CRF together: the fit against a grid, log-probabilities by hand. NumPy only."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import special

from medtop.entities import stack
from medtop.entities.documents import Document, Span
from medtop.entities.words import document_words
from medtop.files.errors import DataError

TAGS = ["O", "B-drug", "I-drug"]


class Field:
    """Stands for a CRF of two types: `pain` begins a problem with 0.4 and a drug with 0.3, goes on in one with 0.2;
    anything else is O."""

    def tag_scores(self, words):
        pain = [word == "pain" for word in words]
        scores = {"B-problem": 0.4, "B-drug": 0.3, "I-drug": 0.2}
        return {tag: [score * here for here in pain] for tag, score in scores.items()}


def data(count, noise, seed=1):
    """Labels, a distribution that is right about them, and one that is a mixture of it with chance."""
    random = np.random.default_rng(seed)
    right = special.log_softmax(2 * random.normal(size=(count, 3)), axis=-1)
    labels = np.array([random.choice(3, p=np.exp(row)) for row in right])
    other = special.log_softmax((1 - noise) * right + noise * 2 * random.normal(size=(count, 3)), axis=-1)
    return right, other, labels


def test_log_probabilities_of_a_crf_by_hand():
    split = document_words(Document("a", "Has pain. No fever"))
    found = stack.crf_scores(split, Field(), TAGS)
    assert split.words == ["Has", "pain", ".", "No", "fever"] and found.shape == (5, 3)
    np.testing.assert_allclose(np.exp(found[1]), [0.5, 0.3, 0.2])
    np.testing.assert_allclose(np.exp(found[0]), [1.0, 1e-6, 1e-6])
    assert stack.crf_scores(document_words(Document("a", "")), Field(), TAGS).shape == (0, 3)


def test_weights_are_the_likeliest_of_a_grid():
    right, other, labels = data(400, 0.5)
    weights, rows = stack.fit_weights(right, other, labels), np.arange(400)

    def loss(pair):
        logs = stack.pooled(right, other, pair)
        np.testing.assert_allclose(np.exp(logs).sum(-1), 1.0)
        return -logs[rows, labels].mean()

    best = min(loss((a, c)) for a in np.linspace(0, 2, 21) for c in np.linspace(0, 2, 21))
    assert loss(weights) <= best + 1e-9 and best - loss(weights) < 0.01
    assert loss((0, 0)) == pytest.approx(np.log(3))


def test_who_says_nothing_has_no_weight():
    """The one that the labels are drawn from gets 1, chance gets 0; against the labels would be less than 0."""
    right, chance, labels = data(20_000, 1.0)
    a, c = stack.fit_weights(right, chance, labels)
    assert a == pytest.approx(1.0, abs=0.05) and c == pytest.approx(0.0, abs=0.03)
    assert stack.fit_weights(right, -right, labels)[1] == 0.0 or stack.fit_weights(right, -right, labels)[0] > 1.0
    a, c = stack.fit_weights(chance, right, labels)
    assert a == pytest.approx(0.0, abs=0.03) and c == pytest.approx(1.0, abs=0.05)


@dataclasses.dataclass
class Encoder:
    """Stands for an `EncoderTagger`: it says that `pain` is a drug."""

    tagset: object

    def word_scores(self, documents):
        for document in documents:
            words = document_words(document)
            logits = np.array([[0.0, 4.0 * (word == "pain"), -9.0] for word in words.words])
            yield document, words, {"entities": special.log_softmax(logits, axis=-1)} if words.words else {}


def test_fitted_on_documents_and_read_back(tmp_path):
    tagset = type("Tagset", (), {"tasks": {"entities": ["drug"]}, "labels": {"entities": TAGS}, "scheme": "bio"})
    documents = [Document(f"d{n}", "Has pain.", [Span("T1", "drug", ((4, 8),))]) for n in range(9)]
    documents += [Document("other", "No pain."), Document("empty", "")]
    about = stack.fit(tmp_path, Encoder(tagset), Field(), documents)["entities"]
    assert json.loads((tmp_path / stack.FILE).read_text()) == {"entities": about}
    losses = about["log_loss"]
    assert about["words"] == 30 and losses["stack"] < min(losses["crf"], losses["encoder"])
    assert losses["stack"] * 30 == pytest.approx(-9 * np.log(0.9) - np.log(0.1), rel=0.02), "nine of ten are drugs"
    both = stack.load(tmp_path, Field(), ["entities"])
    assert both.weights == {"entities": (about["crf"], about["encoder"])}
    (_, words, scores), *_ = Encoder(tagset).word_scores(documents)
    assert np.exp(both(words, "entities", TAGS, scores["entities"])[1, 1]) == pytest.approx(0.9, abs=0.01)
    with pytest.raises(DataError, match="expected words in the validation split, found none"):
        stack.fit(tmp_path, Encoder(tagset), Field(), documents[-1:])


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="expected fitted weights, found none"):
        stack.load(tmp_path, Field(), ["entities"])
    for content in ("[]", '{"entities": {"crf": "x"}}', '{"other": {"crf": 1, "encoder": 1}}', "{"):
        (tmp_path / stack.FILE).write_text(content)
        with pytest.raises(DataError, match="expected what --do_train --model=stack writes"):
            stack.load(tmp_path, Field(), ["entities"])
