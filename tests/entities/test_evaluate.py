"""evaluate_entities.py: formats are recognised, what cannot be scored stops it in one line."""

import dataclasses
import json

import numpy as np
import pytest
from entity_cases import random_text, whole_word_spans

from medtop.entities import evaluate
from medtop.entities.documents import Document, Span, Tally
from medtop.entities.formats import FORMATS
from medtop.files.errors import DataError


def given(count=20):
    random = np.random.default_rng(13)
    texts = [random_text(random, size=60, controls=False, without=("\r", "\n")) + " end\nx" for _ in range(count)]
    return [Document(f"d{n}", text, whole_word_spans(random, text)) for n, text in enumerate(texts)]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "i2b2_2010"])
def test_formats_are_recognised_and_score_1(name, tmp_path):
    documents = given()
    FORMATS[name].write(tmp_path / name, documents, Tally())
    assert evaluate.detect_format(tmp_path / name) == name
    system, tally = evaluate.load(tmp_path / name, None, None, "system", False)
    found = evaluate.evaluate(documents, system, num_bootstrap=10)
    assert found.result["scores"]["strict"]["micro"]["f1"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert not tally.rejects and not found.result["misses"]


def test_script(tmp_path, run_script):
    documents = given()
    FORMATS["brat"].write(tmp_path / "gold", documents, Tally())
    worse = [dataclasses.replace(d, spans=d.spans[::2]) for d in documents]
    FORMATS["jsonl"].write(tmp_path / "system", worse, Tally())
    flags = [f"--gold={tmp_path}/gold", f"--system={tmp_path}/gold", f"--second={tmp_path}/system"]
    done = run_script("run_scripts/evaluate_entities.py", *flags, f"--output_dir={tmp_path}/out")
    assert done.returncode == 0 and "strict micro +0." in done.stdout, done.stderr
    result = json.loads((tmp_path / "out/scores.json").read_text())
    total, kept = (sum(len(d.spans) for d in items) for items in (documents, worse))
    assert result["scores"]["strict"]["micro"]["gold"] == total
    difference = result["comparison"]["strict"]["micro"]
    assert abs(difference["difference"] - (1 - 2 * kept / (kept + total))) < 1e-12 and difference["low"] > 0
    assert (tmp_path / "out/entities.html").stat().st_size > 1000
    again = run_script("run_scripts/evaluate_entities.py", *flags, f"--output_dir={tmp_path}/out")
    assert again.returncode == 1 and "--overwrite" in again.stderr


def test_what_stops_it(tmp_path):
    with pytest.raises(DataError, match="found no such thing"):
        evaluate.load(tmp_path / "nothing", None, None, "gold", False)
    with pytest.raises(DataError, match="expected one of the formats"):
        evaluate.load(tmp_path, None, None, "gold", False)
    FORMATS["jsonl"].write(tmp_path / "a", [Document("a", "pain", [Span("T1", "x", ((0, 4),))])] * 2, Tally())
    assert len(evaluate.load(tmp_path / "a", None, None, "gold", False)[0]) == 1, "an equal second one is no error"
    with open(tmp_path / "a/documents.jsonl", "a") as file:
        file.write('{"document_id": "b", "text": "pain", "spans": [[0, 99, "x"]]}\n')
    with pytest.raises(
        DataError, match="received 1 spans that cannot be used .first: line 3, span: span beyond the text"
    ):
        evaluate.load(tmp_path / "a", None, None, "gold", False)
    documents, tally = evaluate.load(tmp_path / "a", None, None, "gold", True)
    assert len(documents) == 2 and tally.reasons == {"span beyond the text": 1}
    FORMATS["jsonl"].write(tmp_path / "a", [Document("a", "pain"), Document("a", "pain ")], Tally())
    with pytest.raises(DataError, match="1 documents that cannot be used"):
        evaluate.load(tmp_path / "a", None, None, "gold", False)
