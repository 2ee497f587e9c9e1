"""run_entities.py: a dictionary and a CRF learn a small language, are scored, and mark new texts in every format."""

import json

import numpy as np
import pytest

from medtop.deidentification.model import load_model
from medtop.entities import marking, run, tables
from medtop.entities.convert import ConvertOptions, convert
from medtop.entities.crf_tagger import CrfTagger
from medtop.entities.dictionary import Dictionary
from medtop.entities.documents import Document, Span, Tally
from medtop.entities.formats import FORMATS
from medtop.entities.reading import input_files
from medtop.entities.tagging import predict, training_sentences
from medtop.files.errors import DataError
from medtop.model.config import WORD_CHANNELS

DRUGS, PROBLEMS = ("aspirin", "metformin", "lisinopril", "heparin"), ("chest pain", "fever", "acute renal failure")


def note(random, drugs=DRUGS):
    """A text and its spans, by construction."""
    text, spans = "", []
    for _ in range(int(random.integers(2, 6))):
        for piece, kind in (
            ("Patient has ", None),
            (random.choice(PROBLEMS), "problem"),
            (" and\r\nwas given ", None),
            (random.choice(drugs), "drug"),
            (". ", None),
        ):
            if kind:
                spans.append(Span(f"T{len(spans)}", kind, ((len(text), len(text) + len(piece)),)))
            text += piece
    return text, spans


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("entities"), np.random.default_rng(5)
    texts = [note(random) for _ in range(60)] + [note(random, ("warfarin",)) for _ in range(10)]
    documents = [Document(f"n{n}", text + str(n), spans) for n, (text, spans) in enumerate(texts)]
    FORMATS["jsonl"].write(folder / "in", documents, Tally())
    (folder / "splits.csv").write_text(
        "document_id,split\n"
        + "".join(f"n{n},{'train' if n < 50 else 'valid' if n < 53 else 'test'}\n" for n in range(70))
    )
    convert(ConvertOptions(((None, str(folder / "in")),), "jsonl", splits=str(folder / "splits.csv")), folder / "notes")
    return folder / "notes"


def test_dictionary_by_hand():
    sentences = [
        (["Chest", "pain", "no", "pain"], [(0, 2, "problem")]),
        (["chest", "pain", "pain", "x"], [(0, 2, "problem"), (3, 4, "y")]),
        (["pain"], [(0, 1, "problem")]),
    ]
    learned = Dictionary.learn(sentences)
    assert learned.terms == {("chest", "pain"): ("problem", 1.0), ("x",): ("y", 1.0)}, "pain is marked 1 of 5 times"
    again = Dictionary.from_json(json.loads(json.dumps(learned.to_json())))
    assert Dictionary({("a", "b"): ("t", 1.0), ("a",): ("t", 1.0)}).tag(["a"]) == [(0, 1, "t", 1.0)], (
        "no term beyond the end"
    )
    assert again.tag(["CHEST", "PAIN", "X"]) == [(0, 2, "problem", 1.0), (2, 3, "y", 1.0)]


def test_sentences_are_cut_without_a_look_at_spans():
    document = Document("a", "Seen today. He left. Bye", [Span("T1", "x", ((5, 14),))])
    tally = Tally()
    assert list(training_sentences([document], tally)) == [
        (["Seen", "today", "."], [(1, 3, "x")]), (["He", "left", "."], [(0, 1, "x")]), (["Bye"], []),
    ]  # fmt: skip
    assert tally.counts["spans_that_cross_sentences"] == 1


def test_run(prefix, tmp_path, run_script):
    """From tables to predictions: the CRF finds a drug that the dictionary never saw, by its neighbours."""
    pytest.importorskip("pycrfsuite", reason="python-crfsuite is not installed: the extra [entities]")
    flags = [f"--output_dir={tmp_path}/run", f"--input_prefix={prefix}"]
    done = run_script("run_scripts/run_entities.py", "--do_train", "--do_eval", *flags)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())["systems"]
    f1 = {name: found["scores"]["strict"]["micro"]["f1"]["value"] for name, found in metrics.items()}
    assert list(f1) == ["crf", "dictionary"] and f1["crf"] == 1.0 and 0.7 < f1["dictionary"] < 0.95
    assert metrics["crf"]["comparison"]["strict"]["micro"]["low"] > 0
    assert (tmp_path / "run/entities.html").is_file() and "dictionary" in done.stdout
    about = json.loads((tmp_path / "run/entities.json").read_text())
    del about["request"]["tag_scheme"]  # as if it had come later: it counts as its default
    (tmp_path / "run/entities.json").write_text(json.dumps(about))
    assert run_script("run_scripts/run_entities.py", "--do_train", *flags).returncode == 0
    again = run_script("run_scripts/run_entities.py", "--do_train", "--tag_scheme=bioes", *flags)
    assert again.returncode == 1 and "tag_scheme 'bio' -> 'bioes'; --overwrite" in again.stderr


@pytest.mark.slow
def test_encoder_is_trained_resumed_and_marks_texts(prefix, tmp_path, run_script):
    """The trainers' flags, a run that is done before, the rivals beside, and a folder of texts."""
    pytest.importorskip("pycrfsuite", reason="python-crfsuite is not installed: the extra [entities]")
    pytest.importorskip("tensorflow", reason="training needs TensorFlow")
    config = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
              "activation": "gelu", "initializer_range": 0.15, "hidden_dropout_prob": 0.0, "word_channel_size": 512,
              "embeddings": ["code", "position", *WORD_CHANNELS]}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    flags = [f"--output_dir={tmp_path}/run", f"--input_prefix={prefix}", "--model=stack", "--do_train",
             f"--bert_config_file={tmp_path}/config.json", "--num_train_epochs=30", "--learning_rate=5e-3",
             "--max_seq_length=24", "--window_overlap=6", "--train_batch_size=32"]  # fmt: skip
    for more in ([], ["--do_eval"]):  # the second time training is done before
        done = run_script("run_scripts/run_entities.py", *flags, *more, timeout=600)
        assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())["systems"]
    f1 = {name: found["scores"]["strict"]["micro"]["f1"]["value"] for name, found in metrics.items()}
    assert list(f1) == ["stack", "encoder", "crf", "dictionary"] and f1["encoder"] > f1["dictionary"]
    assert f1["stack"] == 1.0 == f1["crf"] and "x CRF + " in done.stdout
    (tmp_path / "a.txt").write_text("Patient has fever and\r\nwas given aspirin. ")
    for model in ("encoder", "stack"):
        done = run_script("run_scripts/run_entities.py", "--do_predict", f"--model={model}", flags[0],
                          f"--predict_input={tmp_path}/a.txt", f"--predict_output={tmp_path}/{model}",
                          timeout=300)  # fmt: skip
        assert done.returncode == 0 and "T2\tdrug" in (tmp_path / model / "a.ann").read_text(), done.stderr
    model, thresholds, settings = load_model(f"{tmp_path}/run")
    (spans,) = model([Document("a", "Patient has fever and was given aspirin. ")])
    sure = {(span.start, span.end, span.type) for span in spans if span.score >= thresholds[span.type][1]}
    assert settings[0] == run.trained_model(tmp_path / "run") == "stack"
    assert sure == {(12, 17, "problem"), (32, 39, "drug")}
    refused = run_script("run_scripts/run_entities.py", *flags, "--input_file=x")
    assert refused.returncode == 1 and "--input_file: expected --input_prefix instead" in refused.stderr


def test_stack_needs_a_valid_split(trained, prefix, tmp_path):
    """Refused before an encoder is trained for nothing."""
    for part in ("documents", "spans"):
        for split in ("train", "test"):
            name = f"{prefix.name}.{part}.{split}.parquet"
            (tmp_path / name).write_bytes((prefix.parent / name).read_bytes())
    options = run.EntityOptions(
        output_dir=str(trained), input_prefix=str(tmp_path / prefix.name), do_train=True, model="stack"
    )
    with pytest.raises(DataError, match="expected a valid split, on which --model=stack is weighed, found none"):
        run.train_encoder(options, None)


@pytest.fixture(scope="module")
def trained(prefix, tmp_path_factory):
    pytest.importorskip("pycrfsuite", reason="python-crfsuite is not installed: the extra [entities]")
    folder = tmp_path_factory.mktemp("trained") / "run"
    run.train(run.EntityOptions(output_dir=str(folder), input_prefix=str(prefix), tag_scheme="bioes", do_train=True))
    return folder


@pytest.mark.parametrize("name", ["brat", "conll", "pubtator", "i2b2_2010", "i2b2_2012", "i2b2_2014", "bioc", "jsonl"])
def test_predictions_in_every_format(name, trained, tmp_path):
    """Offsets hold in the source texts, and scores come along where the format has a place."""
    random = np.random.default_rng(6)
    texts = {f"ward/{n}": "\ufeff" * (n == 0) + "\U0001d4d0 " + note(random)[0] for n in range(3)}
    for document_id, text in texts.items():
        path = tmp_path / "in" / f"{document_id}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    options = run.EntityOptions(
        output_dir=str(trained), do_predict=True, predict_input=str(tmp_path / "in"), predict_format=name,
        predict_output=str(tmp_path / "out"), decode="viterbi",
    )  # fmt: skip
    run.check_options(options)
    documents, spans, tally = marking.predict_texts(options)
    assert documents == 3 and spans > 10 and not tally.rejects
    found = list(FORMATS[name].read(input_files(tmp_path / "out", FORMATS[name].suffixes), Tally(strict=True)))
    assert {document.document_id for document in found} == set(texts) and sum(len(d.spans) for d in found) == spans
    marked = {document.text[span.start : span.end] for document in found for span in document.spans}
    if name != "i2b2_2010":  # its tokens take the full stop along
        assert marked <= {*DRUGS, *PROBLEMS}
    if name not in ("conll", "brat"):
        assert all(0.5 < span.score <= 1 for document in found for span in document.spans)
    with pytest.raises(DataError, match="--overwrite"):
        run.check_options(options)


def test_constrained_decoding_agrees_where_all_is_clear(trained, prefix):
    document = next(tables.read_tables(prefix, "test", Tally()))
    spans = [predict(document, CrfTagger(trained / "crf.bin", "bioes", way).tag).spans for way in (False, True)]
    assert spans[0] == spans[1] and len(spans[0]) == len(document.spans)


def test_fewer_documents(prefix, tmp_path):
    pytest.importorskip("pycrfsuite", reason="python-crfsuite is not installed: the extra [entities]")
    options = run.EntityOptions(output_dir=str(tmp_path / "run"), input_prefix=str(prefix), train_documents=5)
    about, before = run.train(options)
    assert about["training"]["documents"] == 5 and not before and run.train(options) == (about, True)
    with pytest.raises(DataError, match="expected at most 50, received 51"):
        run.train(run.EntityOptions(output_dir=str(tmp_path / "x"), input_prefix=str(prefix), train_documents=51))
    assert not (tmp_path / "x").exists()


def test_what_stops_it(prefix, trained, tmp_path):
    def refused(match, **options):
        with pytest.raises(DataError, match=match):
            run.check_options(run.EntityOptions(output_dir=str(tmp_path), **options))

    refused("at least one of --do_train")
    refused("--input_prefix: expected the prefix", do_train=True)
    refused("--do_predict needs --predict_input", do_predict=True)
    refused("--do_predict needs --predict_output", do_predict=True, predict_input="x")
    with pytest.raises(DataError, match="expected a run that was trained, found none"):
        run.load(tmp_path, "crf")
    with pytest.raises(DataError, match="expected a trained encoder, found none"):
        run.load(trained, "encoder")
    with pytest.raises(DataError, match="expected x.documents.train.parquet"):
        tables.splits_of(tmp_path / "x")
    other = [Document("a", "pain", [Span("T1", "Other", ((0, 4),))])]
    FORMATS["jsonl"].write(tmp_path / "in", other, Tally())
    convert(ConvertOptions(((None, str(tmp_path / "in")),), "jsonl", splits="test"), tmp_path / "other")
    with pytest.raises(DataError, match="expected types drug, problem, received Other"):
        run.evaluate_run(run.EntityOptions(output_dir=str(trained), input_prefix=str(tmp_path / "other")))
    both = [Document("a", "chest pain", [Span("T1", "x", ((0, 10),)), Span("T2", "y", ((6, 10),))])]
    FORMATS["jsonl"].write(tmp_path / "both", both, Tally())
    convert(ConvertOptions(((None, str(tmp_path / "both")),), "jsonl", splits="train"), tmp_path / "over")
    with pytest.raises(DataError, match="expected spans that share no word, received 1 that do"):
        run.train(
            run.EntityOptions(output_dir=str(tmp_path / "y"), input_prefix=str(tmp_path / "over"), overlaps="refuse")
        )
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found none"):
        list(marking.read_texts(tmp_path / "empty"))
