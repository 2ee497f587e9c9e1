"""Word pieces of a pretrained encoder, groups of overlapping types, and the chain on top, through the same records."""

import dataclasses
import json

import numpy as np
import pytest
from entity_cases import random_spans, random_text

from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary
from medtop.entities import run
from medtop.entities.convert import ConvertOptions, convert
from medtop.entities.dictionary import Dictionary
from medtop.entities.documents import Document, Span, Tally
from medtop.entities.formats import FORMATS
from medtop.entities.overlaps import clashes, find_groups, group_types, left_out
from medtop.entities.pretrained import find_start
from medtop.entities.records import FOLDS, Tagset, document_windows, word_labels, word_pieces
from medtop.entities.windows import cut
from medtop.entities.words import document_words, words_of_all
from medtop.files.errors import DataError
from medtop.model.config import BertConfig
from medtop.text.tags import decode, tag_set
from medtop.training.run_directory import RunDirectory

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES += [f"{begin}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789.-,()" for begin in ("", "##")]
PIECES += ["pain", "##cell", "chest", "asp", "##irin", "##ve"]


@pytest.fixture(scope="module")
def tokenizer():
    pytest.importorskip("tensorflow_text", reason="word pieces need TensorFlow Text")
    from medtop.text.wordpiece import WordPiece

    return WordPiece(Vocabulary(tuple(PIECES)), True)


def tagset_of(types, tokenizer=None, groups=None, chain=False):
    vocabulary = tokenizer.vocabulary if tokenizer else None
    empty = Dictionary({})
    return Tagset(vocabulary, types, "bio", empty, [empty] * FOLDS, 512, tokenizer, groups, chain)


def test_words_of_many_documents_are_those_of_each():
    """Those that bring their words (CoNLL) among them, and texts without a word."""
    random = np.random.default_rng(2)
    documents = [Document(str(number), random_text(random)) for number in range(60)]
    documents[7:7] = [
        Document("e", ""),
        Document("k", "a b. C", kept={"conll": {"words": [0, 3, 5, 6], "sentences": [2]}}),
    ]
    for document, found in zip(documents, words_of_all(documents), strict=True):
        own = document_words(document)
        parts = (found.starts, found.ends, found.words, found.counts)
        assert parts == (own.starts, own.ends, own.words, own.counts)
        assert found.words == [document.text[a:b] for a, b in zip(found.starts, found.ends, strict=True)]
        assert sum(found.counts) == len(found.words)
    assert words_of_all([]) == [] and words_of_all(documents)[8].words == ["a b", "C"]


def test_pieces_are_those_of_the_whole_text(tokenizer):
    """Cut word by word, as one text gives them; a word without a piece is [UNK], so that every word has its token."""
    random = np.random.default_rng(1)
    for _ in range(200):
        found = document_words(Document("a", random_text(random)))
        starts, ids = word_pieces(found.words, tokenizer)
        whole = tokenizer.tokenize([" ".join(found.words)])
        assert starts.sum() == len(found.words) and (not len(starts) or starts[0] == 1)
        empty = (tokenizer.tokenize(found.words).counts == 0).sum()
        if not empty:
            assert ids.tolist() == whole.ids.tolist()
    starts, ids = word_pieces(["Aspirin", "\x07", "tcell"], tokenizer)
    assert [tokenizer.vocabulary.tokens[i] for i in ids] == ["asp", "##irin", "[UNK]", "t", "##cell"]
    assert starts.tolist() == [1, 0, 1, 1, 0]


@pytest.mark.parametrize("length, overlap", [(8, 3), (12, 0), (64, 20)])
def test_every_word_is_decided_once_in_windows_of_pieces(tokenizer, length, overlap):
    random = np.random.default_rng(2)
    tagset = tagset_of(["Disease"], tokenizer)
    for number in range(40):
        text = random_text(random, size=60)
        document = Document(f"d{number}", text, random_spans(random, text, fragments=False))
        document.spans = [dataclasses.replace(span, type="Disease") for span in document.spans]
        found = document_words(document)
        windows = document_windows(document, tagset, length, overlap, False)
        starts, ids = word_pieces(found.words, tokenizer) if found.words else (np.zeros(0, int), [])
        edges = cut(starts, length, overlap) if len(ids) else None
        read, words = {}, 0
        for place, window in enumerate(windows):
            assert len(window.weights) <= length and len(set(map(len, window.columns.values()))) == 1
            inside = np.flatnonzero(window.weights)
            words += len(inside)
            assert all(window.columns["word_starts"][n] == 1 for n in inside)
            for n in inside:
                first = edges.starts[place] + n - 1
                assert first not in read and window.columns["token_ids"][n] == ids[first]
                read[first] = window.labels["entities"][n]
        assert words == len(found.words) and sorted(read) == np.flatnonzero(starts).tolist()
        expected = word_labels(document, found, ["Disease"], "bio").tolist() if words else []
        assert [read[place] for place in sorted(read)] == expected


def test_groups_hold_what_overlaps():
    """No two types of a group clash; tags of all groups give every span back."""
    text = "acute left chest pain after aspirin"
    spans = [Span("T1", "problem", ((0, 21),)), Span("T2", "site", ((6, 16),)), Span("T3", "drug", ((28, 35),))]
    document = Document("a", text, spans)
    assert clashes(spans) == {("problem", "site")}
    groups = find_groups([document])
    assert groups == [["drug", "problem"], ["site"]] and left_out([document], groups) == 0
    assert left_out([document], [["drug", "problem", "site"]]) == 1
    for chain in (False, True):
        tagset = dataclasses.replace(
            tagset_of(["drug", "problem", "site"], None, groups, chain), vocabulary=Vocabulary(tuple(SPECIAL_TOKENS))
        )
        (window,) = document_windows(document, tagset, 32, 0, False)
        assert list(window.labels) == (["entities_crf", "entities_crf_2"] if chain else ["entities", "entities_2"])
        found = {
            (first, after, kind)
            for task, types in tagset.tasks.items()
            for first, after, kind in decode([tag_set(types)[n] for n in window.labels[task][1:-1]])[0]
        }
        assert found == {(0, 4, "problem"), (1, 3, "site"), (5, 6, "drug")}
    random = np.random.default_rng(4)
    for _ in range(100):
        types = [f"t{n}" for n in range(8)]
        pairs = {tuple(sorted(random.choice(types, 2, replace=False).tolist())) for _ in range(6)}
        made = group_types(types, pairs)
        assert sorted(kind for group in made for kind in group) == types
        assert not any(a in group and b in group for group in made for a, b in pairs)
    many = [f"t{n}" for n in range(9)]
    with pytest.raises(DataError, match="expected at most 8 groups"):
        group_types(many, {(a, b) for a in many for b in many if a < b})


def test_flags_that_need_the_encoder():
    for flag, value in (("overlaps", "groups"), ("tag_head", "crf"), ("bert_model", "x")):
        with pytest.raises(DataError, match=f"--{flag}={value} has no effect without --model=encoder"):
            run.check_options(run.EntityOptions(do_train=True, input_prefix="x", **{flag: value}))


def a_run(folder, train):
    tokens = tuple(PIECES) if "tokenizer" in train else (*SPECIAL_TOKENS, "ICD9_250")
    RunDirectory(folder).path.mkdir()
    RunDirectory(folder).start({"data": {"train": train}}, BertConfig(), Vocabulary(tokens), [])
    return str(folder)


def test_where_an_encoder_starts(tmp_path):
    text = a_run(tmp_path / "text", {"layout": "notes", "tokenizer": {"kind": "wordpiece", "lower_case": True}})
    cased = a_run(tmp_path / "cased", {"layout": "notes", "tokenizer": {"kind": "wordpiece", "lower_case": False}})
    words, codes = a_run(tmp_path / "words", {"layout": "entities"}), a_run(tmp_path / "codes", {"layout": "default"})
    assert find_start(tmp_path, "", "") is None and find_start(tmp_path, "", words) is None
    for flags in ((text, ""), ("", text)):
        start = find_start(tmp_path, *flags)
        assert start.tokenizer.lower_case and start.config_file == tmp_path / "text" / "config.json"
        assert len(start.tokenizer.vocabulary) == len(PIECES)
    assert not find_start(tmp_path, cased, "").tokenizer.lower_case
    for flags, said in (
        ((text, text), "either it or --init_checkpoint"),
        (("", str(tmp_path / "none")), "expected a run directory, found none"),
        ((str(tmp_path / "none"), ""), "expected a folder with config.json or a run"),
        ((codes, ""), "pretrained on text"),
        ((words, ""), "expected word pieces, received words"),
    ):
        with pytest.raises(DataError, match=said):
            find_start(tmp_path, *flags)
    assert not (tmp_path / "imported").exists()


def note(random):
    """Problems with a site within them, and what was given."""
    text, spans = "", []
    for _ in range(int(random.integers(2, 5))):
        site, drug = str(random.choice(["chest", "knee", "back"])), str(random.choice(["aspirin", "heparin", "zofran"]))
        problem = f"{site} pain"
        text += "he has "
        spans.append(Span(f"T{len(spans)}", "problem", ((len(text), len(text) + len(problem)),)))
        spans.append(Span(f"T{len(spans)}", "site", ((len(text), len(text) + len(site)),)))
        text += f"{problem}. given "
        spans.append(Span(f"T{len(spans)}", "drug", ((len(text), len(text) + len(drug)),)))
        text += f"{drug} and {site} brace. "  # a site only within a problem
    return text, spans


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("nested"), np.random.default_rng(5)
    documents = [Document(f"n{n}", *note(random)) for n in range(60)]
    FORMATS["jsonl"].write(folder / "in", documents, Tally())
    rows = "".join(f"n{n},{'train' if n < 50 else 'test'}\n" for n in range(60))
    (folder / "splits.csv").write_text("document_id,split\n" + rows)
    convert(ConvertOptions(((None, str(folder / "in")),), "jsonl", splits=str(folder / "splits.csv")), folder / "notes")
    return folder / "notes"


@pytest.mark.slow
def test_an_encoder_starts_from_a_huggingface_folder(prefix, tmp_path, run_script):
    """megatron-bert with padded rows, as GatorTron: its weights come in, tasks of two groups with chains are trained on
    top, and a text is marked."""
    pytest.importorskip("pycrfsuite", reason="python-crfsuite is not installed: the extra [entities]")
    pytest.importorskip("tensorflow", reason="training needs TensorFlow")
    pytest.importorskip("transformers", reason="HuggingFace's model comes from transformers")
    from convert_cases import huggingface_model, save_huggingface

    sizes = dict(type_vocab_size=2, hidden_size=32, num_hidden_layers=1, intermediate_size=32)
    rows = len(PIECES) + 11  # Megatron pads its table
    theirs = huggingface_model("pre", "gelu", vocab_size=rows, max_position_embeddings=64, **sizes)
    folder = save_huggingface(theirs, tmp_path / "theirs", PIECES)
    flags = [f"--output_dir={tmp_path}/run", f"--input_prefix={prefix}", "--model=encoder", "--do_train",
             f"--bert_model={folder}", "--tag_head=crf", "--overlaps=groups", "--max_seq_length=24",
             "--window_overlap=6", "--train_batch_size=16", "--num_train_steps=1", "--learning_rate=1e-12"]  # fmt: skip
    done = run_script("run_scripts/run_entities.py", *flags, timeout=600)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "run/encoder/best/weights.npz") as arrays:
        table = next(arrays[name] for name in arrays.files if name.endswith("code_embeddings"))
    given = next(value for name, value in theirs.state_dict().items() if name.endswith("word_embeddings.weight"))
    np.testing.assert_allclose(table, given.numpy(), atol=1e-6)
    tasks = json.loads((tmp_path / "run/encoder/tasks.json").read_text())["tasks"]
    assert [(task["name"], len(task["labels"])) for task in tasks] == [("entities_crf", 5), ("entities_crf_2", 3)]
    (tmp_path / "a.txt").write_text("he has knee pain. given zofran and knee brace. ")
    done = run_script("run_scripts/run_entities.py", "--do_predict", "--model=encoder", f"--output_dir={tmp_path}/run",
                      f"--predict_input={tmp_path}/a.txt", f"--predict_output={tmp_path}/out", timeout=600)  # fmt: skip
    assert done.returncode == 0 and (tmp_path / "out/a.ann").is_file(), done.stderr
