"""Vectors of terms, against BERT in NumPy: layers, pooling, contexts; and the script on texts."""

import dataclasses
import json
import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from notes_data import NOTE_VOCABULARY, note_config, tokenizer
from numpy_bert import NumpyBert

from medtop.model.config import BertConfig
from medtop.model.tasks import Task
from medtop.training.run_directory import RunDirectory


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """(`RunDirectory` of a random model of texts, its weights, its config)."""
    from medtop.model.multitask import build_model
    from medtop.training.checkpoints import weights_of, write_arrays

    run = RunDirectory(tmp_path_factory.mktemp("terms") / "run")
    tasks = [Task("masked_lm", "masked")]
    values = note_config(vocab_size=len(NOTE_VOCABULARY))
    config = BertConfig.from_dict(values, "test")
    arrays = weights_of(build_model(config, tasks))
    run.best_weights.parent.mkdir(parents=True)
    write_arrays(run.best_weights, arrays, {"step": 1, "value": None})
    about = {"tokenizer": {"kind": "wordpiece", "lower_case": True}}
    run.start({"data": {"train": about}, "max_seq_length": 32}, config, NOTE_VOCABULARY, tasks)
    return run, arrays, config


def states(arrays, config, text, layer):
    """float64 [n, H] after `layer` blocks of `[CLS] text [SEP]`, by NumPy."""
    words = tokenizer()
    ids = [words.cls_id, *words.tokenize([text]).ids.tolist(), words.sep_id]
    inputs = {"code": ids, "position": range(len(ids)), "segment": [0] * len(ids)}
    shallow = types.SimpleNamespace(**dataclasses.asdict(config) | {"num_hidden_layers": layer})
    return NumpyBert(shallow, arrays).sequence(inputs)


@pytest.mark.quick("-1-2")
@pytest.mark.parametrize("layer, blocks", [(0, 0), (1, 1), (-1, 2)])
def test_layers_and_pooling_are_numpys(model, layer, blocks):
    from medtop.similarity.terms import TermEncoder

    run, arrays, config = model
    terms = ["chest pain", "fever", "heart rate normal"]
    for pooling in ("mean", "first", "cls"):
        vectors = TermEncoder(run, layer, pooling).encode(terms)
        for term, vector in zip(terms, vectors, strict=True):
            state = states(arrays, config, term, blocks)
            expected = {"mean": state[1:-1].mean(axis=0), "first": state[1], "cls": state[0]}[pooling]
            np.testing.assert_allclose(vector, expected, atol=2e-5)


@pytest.mark.slow
def test_a_term_is_averaged_over_the_sentences_that_hold_it(model):
    from medtop.similarity.terms import TermEncoder, find_contexts

    run, arrays, config = model
    sentences = ["fever and Chest pain, cough", "no chest painful", "chest pain. stable", "third chest pain"]
    contexts = find_contexts(["chest pain", "relapse"], sentences, 2)
    assert contexts == [[(sentences[0], 10, 20), (sentences[2], 0, 10)], []]
    vectors = TermEncoder(run).encode(["chest pain", "relapse"], contexts)
    first, second = (states(arrays, config, sentence, 2) for sentence in (sentences[0], sentences[2]))
    before = len(tokenizer().tokenize([sentences[0][:10]]).ids)
    size = len(tokenizer().tokenize(["chest pain"]).ids)
    expected = (first[1 + before : 1 + before + size].mean(axis=0) + second[1 : 1 + size].mean(axis=0)) / 2
    np.testing.assert_allclose(vectors[0], expected, atol=2e-5)
    np.testing.assert_allclose(vectors[1], states(arrays, config, "relapse", 2)[1:-1].mean(axis=0), atol=2e-5)


def test_pairs_through_the_script(model, tmp_path, run_script):
    run, *_ = model
    (tmp_path / "pairs.csv").write_text(
        "Term1,Term2,Mean\nfever,cough,1\nchest pain,heart rate,2\nlungs clear,normal,3\nfever,oral,0\n"
    )
    texts = ["fever cough. chest pain and heart rate normal."] * 5 + ["lungs clear. oral stable. chest pain."] * 5
    names = [str(number) for number in range(10)]
    times = pa.array([0] * 10, pa.int64())
    parquet.write_table(
        pa.table({"patient_id": names, "admission_id": names, "prediction_time": times, "text": texts}),
        tmp_path / "n.parquet",
    )
    flags = (f"--model={run.path}", "--pairs=pairs.csv", "--corpus=n.parquet", "--context=sentences", "--neighbours=2")
    script = "run_scripts/run_term_similarity.py"
    process = run_script(script, *flags, "--num_bootstrap=50", "--output_dir=out", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    found = json.loads((tmp_path / "out/similarity.json").read_text())["results"]
    assert set(found["Spearman correlation with the scores"]) == {"model", "PPMI-SVD"}
    assert (tmp_path / "out/pairs.csv").read_text().count("\n") == 5
    assert "fever" in (tmp_path / "out/similarity.html").read_text() and "PPMI-SVD" in process.stdout
