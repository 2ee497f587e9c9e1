"""A run on notes as a SavedModel: each rule inside the graph against medtop's own Python, on hostile texts, and the
risks of a process that has no medtop against score_notes.py."""

import csv
import itertools
import random
import re
import shutil

import numpy as np
import pytest
from conftest import ROOT

pytest.importorskip("tensorflow", reason="a SavedModel is TensorFlow's")

import tensorflow as tf  # noqa: E402
from notes_data import finished_readmission  # noqa: E402
from test_serving_docs import run_page  # noqa: E402

from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary  # noqa: E402
from medtop.evaluation.aggregation import Aggregation  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.serve.characters import every_character  # noqa: E402
from medtop.serve.note_cleaning import NoteCleaning  # noqa: E402
from medtop.serve.note_pieces import NotePieces, windows_of  # noqa: E402
from medtop.text.cleaning import clean, has_word  # noqa: E402
from medtop.text.windows import window_edges  # noqa: E402
from medtop.text.wordpiece import WordPiece  # noqa: E402

PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
(PYTHON,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "discharge_serving" in block]
LETTERS = [letter for letter in every_character() if letter and letter != "\0"]
PARTS = [
    *("\n", "\r", "1.", "12.", "123.", "3.14", "3", " ", "\t", "\x0b", "\x1c", "\x85", "\xa0", "\u2028", "\ufeff"),
    *("[**", "**]", "[**]", "[", "]", "--", "-", "_", "==", "=", "dr.", "Dr.", "_dr.", "édr.", "m.d.", "M.D."),
    *("admission date:", "Admission Date:", "di\u017fcharge date:", "Discharge date:", "\u212a", "\u0130", "\u1e9e"),
    *("a", "B", "\u03a3", "\u0391\u03a3", "\u03c3", "\u00df", "é", "\u0301", "\u00ad", "\u200b", "'", "\u0149"),
    *("\ufffe", "\uffff", "\U0010ffff", "\ufffd", "\x01", "\x7f", "\u6c49", "\ud55c", "\ufdfa", "\U00010400"),
    *("x" * 99, "x" * 101, "é" * 100, "e\u0301" * 60, "[SEP]", "[UNK]"),
]


def hostile_texts(count, seed):
    """Texts of parts that rules look for, and now and then any character of all."""
    rng = random.Random(seed)

    def part():
        return rng.choice(PARTS) if rng.random() < 0.8 else rng.choice(LETTERS)

    return ["".join(part() for _ in range(rng.randrange(30))) for _ in range(count)]


def characters_in_rows(width):
    """All characters, in texts of `width`: each stands between others, and at an end of some."""
    return ["".join(LETTERS[start : start + width]) for start in range(0, len(LETTERS), width)]


TEXTS = hostile_texts(4000, 1) + characters_in_rows(37)
ENCODED = [text.encode() for text in TEXTS]


CLEANINGS = [*itertools.product(("careful", "published"), (True, False))]


@pytest.mark.slow
@pytest.mark.parametrize(("cleaning", "lower_case"), CLEANINGS)
def test_cleaning_in_the_graph_is_pythons(cleaning, lower_case):
    graph = NoteCleaning(cleaning, lower_case)
    cleaned = tf.function(graph)(tf.constant(ENCODED)).numpy()
    expected = clean(TEXTS, cleaning, lower_case)
    assert [text.decode() for text in cleaned] == expected and expected != TEXTS
    words = graph.has_word(tf.constant([text.encode() for text in expected])).numpy()
    assert words.tolist() == [has_word(text) for text in expected] and 0 < words.mean() < 1


@pytest.mark.slow
@pytest.mark.parametrize("lower_case", [True, False])
def test_word_pieces_in_the_graph_are_pythons(lower_case):
    singles = list("abcdefghijklmnopqrstuvwxyz0123456789éßςσ\u6c49.,-[]'") + (
        [] if lower_case else ["A", "B", "\u03a3"]
    )
    tokens = [*SPECIAL_TOKENS, *singles, *("##" + letter for letter in singles), "dr", "xx", "##xx", "\u1112"]
    tokenizer = WordPiece(Vocabulary(tuple(dict.fromkeys(tokens))), lower_case)
    ids, owners = tf.function(NotePieces(tokenizer))(tf.constant(ENCODED))
    expected = tokenizer.tokenize(TEXTS)
    np.testing.assert_array_equal(ids, expected.ids)
    np.testing.assert_array_equal(np.bincount(owners.numpy(), minlength=len(TEXTS)), expected.counts)
    assert 0.1 < (expected.ids == tokenizer.unk_id).mean() < 0.95


@pytest.mark.parametrize(("length", "overlap"), [(3, 0), (32, 0), (32, 5), (64, 61)])
def test_windows_in_the_graph_are_pythons(length, overlap):
    counts = np.array([0, 1, 7, 30, 31, 32, 60, 61, 500, 0, 62, 1001])
    texts, _, starts, ends = window_edges(counts, length - 2, overlap)
    base = np.cumsum(counts) - counts
    for received, expected in zip(
        windows_of(tf.constant(counts), length, overlap, False),
        (texts, base[texts] + starts, ends - starts),
        strict=True,
    ):
        np.testing.assert_array_equal(received, expected)
    texts, first, sizes = windows_of(tf.constant(counts), length, 0, True)
    np.testing.assert_array_equal(texts, np.flatnonzero(counts))
    np.testing.assert_array_equal(first, base[counts > 0])
    np.testing.assert_array_equal(sizes, np.minimum(counts, length - 2)[counts > 0])


@pytest.fixture(scope="module")
def served(run_script, tmp_path_factory):
    """(folder with the run of `finished_readmission` and its SavedModel at docs/serving.md's names, what was said)."""
    tf.config.run_functions_eagerly(False)
    source, _ = finished_readmission(run_script)
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(source / "run", folder / "checkpoints" / "discharge")
    process = run_script(
        "run_scripts/export_model.py",
        "--run_dir=checkpoints/discharge",
        "--output_dir=checkpoints/discharge_serving",
        cwd=folder,
    )
    assert process.returncode == 0, process.stderr
    return folder, process.stdout


def write_notes(path):
    """A table of 30 admissions: up to four notes each, hostile ones among them, all with a word."""
    rng = np.random.default_rng(5)
    drawn, hostile = "the patient was readmitted with pain fever and cough stable discharged home".split(), TEXTS[:4000]
    rows = []
    for admission in range(30):
        for hour in range(int(rng.integers(1, 5))):
            text = " ".join(rng.choice(drawn, int(rng.integers(1, 60)))) + hostile[int(rng.integers(4000))]
            rows.append([f"A{admission}", f"2101-01-05 {hour:02}:00:00", text])
    rng.shuffle(rows)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["admission_id", "note_time", "text"], *rows])


@pytest.mark.slow
def test_a_process_without_medtop_gives_the_risks_of_score_notes(served, run_script):
    folder, said = served
    assert "parity with score_notes.py: largest difference" in said and "tensorflow/serving" in said
    write_notes(folder / "notes.csv")
    run_page(PYTHON, folder)
    process = run_script(
        "run_scripts/score_notes.py",
        "--run_dir=checkpoints/discharge",
        "--input_file=notes.csv",
        "--output_file=risks.csv",
        cwd=folder,
    )
    assert process.returncode == 0, process.stderr
    with open(folder / "served_risks.csv", newline="", encoding="utf-8") as file:
        received = {row["admission_id"]: row for row in csv.DictReader(file)}
    with open(folder / "risks.csv", newline="", encoding="utf-8") as file:
        expected = {row["admission_id"]: row for row in csv.DictReader(file)}
    assert received.keys() == expected.keys() and len(expected) == 30
    assert all(received[name]["windows"] == expected[name]["windows"] for name in expected)
    values = np.array(
        [[float(received[name]["probability"]), float(expected[name]["probability"])] for name in expected]
    )
    slope = re.search(r'"slope": ([0-9.]+)', (folder / "checkpoints/discharge/calibration.json").read_text())
    assert np.abs(values[:, 0] - values[:, 1]).max() <= 1e-6 * max(1.0, float(slope[1]) / 4)
    assert values[:, 1].std() > 1e-3


@pytest.mark.slow
def test_requests_that_hold_nothing_or_damaged_bytes(served):
    folder, _ = served
    model = tf.saved_model.load(str(folder / "checkpoints/discharge_serving/1")).signatures["serving_default"]
    answer = model(texts=tf.constant([["", "...", ""], ["", "pain", "-"], ["", "", ""]]))
    assert np.isnan(answer["readmission.readmission"].numpy()).tolist() == [True, False, True]
    assert answer["windows"].numpy().tolist() == [0, 1, 0] and answer["notes_used"].numpy().tolist() == [0, 1, 0]
    same = model(texts=tf.constant([["pain"]]))["readmission"].numpy()
    np.testing.assert_allclose(answer["readmission"].numpy()[1], same[0], atol=1e-7)
    assert model(texts=tf.constant([["\u6c49\u5b57"]]))["unknown_pieces"].numpy().tolist() == [1.0]
    for shape in ((0, 0), (2, 0), (0, 3)):
        assert model(texts=tf.zeros(shape, tf.string))["readmission"].shape == (shape[0], 1)
    for text, expected in ((b"secret \xff", "valid UTF-8"), (b"\xed\xa0\x80", "valid UTF-8"), (b"secret\0", "no NUL")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"texts: expected {expected}") as caught:
            model(texts=tf.constant([[text]]))
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("aggregation", [Aggregation("max_mean", 2.0), Aggregation("mean"), Aggregation("max")])
def test_ways_of_joining_windows_in_the_graph(aggregation):
    from medtop.serve.notes_model import aggregated

    p, groups = np.random.default_rng(0).random((9, 2)), np.array([0, 0, 0, 2, 2, 3, 3, 3, 3])
    received = aggregated(tf.constant(p), tf.constant(groups), 4, aggregation).numpy()
    np.testing.assert_allclose(received[[0, 2, 3]], aggregation.combine(p, np.array([0, 0, 0, 1, 1, 2, 2, 2, 2]), 3))


@pytest.mark.slow
def test_a_run_on_notes_has_no_onnx(served, run_script):
    folder, _ = served
    arguments = ("--run_dir=checkpoints/discharge", "--output_dir=onnx", "--format=onnx")
    process = run_script("run_scripts/export_model.py", *arguments, cwd=folder)
    assert process.returncode == 1 and not (folder / "onnx").exists()
    assert re.fullmatch(r"error: --format: expected saved_model for a run on notes, received onnx.*\n", process.stderr)


@pytest.mark.slow
def test_an_export_that_differs_does_not_appear(served, monkeypatch, tmp_path):
    from medtop.readmission.score import NoteScorer
    from medtop.serve import notes_model

    folder, _ = served
    monkeypatch.setattr(notes_model, "_LIMIT", 0.4)  # probabilities are cut off
    with pytest.raises(DataError, match="expected the probabilities of the run, received some that differ by"):
        notes_model.export_notes_model(NoteScorer, folder / "checkpoints/discharge", tmp_path / "out")
    assert not list(tmp_path.iterdir())
