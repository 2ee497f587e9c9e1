"""What the encoder sees of words, and records in which each word is labelled once. NumPy only."""

import numpy as np

from medtop.cohort.vocabulary import CLS_ID, SEP_ID, UNK_ID
from medtop.entities.channels import gazetteer_ids, hashed, packed_characters, word_channels
from medtop.entities.dictionary import Dictionary
from medtop.entities.documents import Document, Span
from medtop.entities.records import EntityMaker, EntitySettings, document_windows, fold_of, learn_tagset
from medtop.model.config import WORD_CHANNELS


def documents(count=12):
    texts = [f"He took aspirin and number{n % 3} for chest pain ." for n in range(count)]
    spans = [Span("T1", "drug", ((8, 15),)), Span("T2", "problem", ((32, 42),))]
    return [Document(f"d{n}", text, list(spans), patient_id=f"p{n}") for n, text in enumerate(texts)]


def test_channels_by_hand():
    found = word_channels(["Took", "5mg"], [0, 3], 100)
    assert found["words"] == [hashed("took", 100), hashed("5mg", 100)] and found["next_words"] == [
        hashed("5mg", 100),
        0,
    ]
    assert found["previous_words"] == [0, hashed("took", 100)] and found["gazetteer"] == [0, 3]
    letters = [found["first_characters"][1] // 32**place % 32 for place in range(6)]
    assert letters == [28, 13, 7, 0, 0, 0], "a digit, m, g, none"
    assert found["last_characters"][0] == packed_characters("koot") and max(found["last_characters"]) < 2**31
    assert all(0 < number < 100 for name in ("words", "shapes", "prefixes", "suffixes") for number in found[name])
    assert set(found) == {"words", "shapes", "prefixes", "suffixes", "short_suffixes", "previous_words", "next_words",
                          "gazetteer", "first_characters", "last_characters"}  # fmt: skip
    assert len(found) == len(WORD_CHANNELS)


def test_gazetteer_of_training_documents_does_not_know_their_answers():
    """A term that one document alone marks is no term of its own gazetteer, but of the whole dictionary."""
    given = documents()
    given[0] = Document("odd", "Odd drug zyzzx .", [Span("T1", "drug", ((9, 14),))])
    tagset = learn_tagset(given, "bio")
    assert ("zyzzx",) in tagset.dictionary.terms and ("zyzzx",) not in tagset.folds[fold_of("odd")].terms
    (own,), (new,) = (document_windows(given[0], tagset, 16, 2, training) for training in (True, False))
    assert max(own.columns["gazetteer"]) == 0 and new.columns["gazetteer"] == [0, 0, 0, 1, 0, 0]
    assert gazetteer_ids(["chest", "pain"], Dictionary({("chest", "pain"): ("b", 1.0)}), ["a", "b"]) == [3, 4]


def test_each_word_is_labelled_once_whatever_the_window():
    tagset = learn_tagset(documents(), "bio")
    text = " ".join(["aspirin and chest pain ."] * 40)
    spans = [Span(f"T{n}", "drug", ((n * 25, n * 25 + 7),)) for n in range(40)]
    for length, overlap in ((128, 32), (16, 4), (5, 1)):
        windows = document_windows(Document("long", text, spans), tagset, length, overlap, False)
        assert sum(sum(window.weights) for window in windows) == 200
        drugs = sum(
            w
            for window in windows
            for w, y in zip(window.weights, window.labels["entities"], strict=True)
            if tagset.tags[y] == "B-drug"
        )
        assert drugs == 40
        for window in windows:
            ids = window.columns["token_ids"]
            assert ids[0] == CLS_ID and ids[-1] == SEP_ID and window.weights[0] == window.weights[-1] == 0
            assert (
                len({len(values) for values in (*window.columns.values(), *window.labels.values(), window.weights)})
                == 1
            )


def test_maker_counts_words_and_labels():
    given = documents()
    tagset = learn_tagset(given, "bioes")
    settings = EntitySettings(
        input_file="", output_file="x", vocab_file="", max_seq_length=8, split="train", window_overlap=2
    )
    maker = EntityMaker(settings, tagset, lambda: iter(given))
    about = maker.open([])
    assert about["levels"] == {"entities": "token"} and about["tasks"]["entities"] == tagset.tags
    (examples,) = maker.examples([], about)
    assert examples.counts == {"documents": 12, "words": 108} and (examples.lengths <= 8).all()
    known = {c.name: c for c in examples.columns}
    assert (
        known["entities_weights"].values.sum() == 108 and len(known["entities_labels"].values) == examples.lengths.sum()
    )
    marked = (examples.labels["entities"] * examples.weights["entities"]).sum(0)
    assert dict(zip(tagset.tags, marked.tolist(), strict=True)) == {
        "O": 72, "B-drug": 0, "I-drug": 0, "E-drug": 0, "S-drug": 12, "B-problem": 12, "I-problem": 0, "E-problem": 12,
        "S-problem": 0,
    }  # fmt: skip
    assert UNK_ID not in known["token_ids"].values[:3]
    assert np.isin(known["patient_id"].values, [f"p{n}".encode() for n in range(12)]).all()
