"""Losses of hidden words and answers on pairs against BERT in NumPy, and the script over several models."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

pytest.importorskip("tensorflow", reason="models")

from notes_data import NOTE_VOCABULARY, note_config  # noqa: E402
from numpy_bert import NumpyBert  # noqa: E402

from medtop.cohort.vocabulary import Vocabulary  # noqa: E402
from medtop.language.examples import HiddenWordsWindow, SentencePair  # noqa: E402
from medtop.model.config import BertConfig  # noqa: E402
from medtop.model.tasks import Task, available_tasks  # noqa: E402
from medtop.training.run_directory import RunDirectory  # noqa: E402

OTHER = Vocabulary(tuple(token for token in NOTE_VOCABULARY.tokens if token not in ("stable", "normal")))
WORDS = "patient stable fever cough lungs clear heart rate normal pain chest oral relapse discharge".split()


def random_model(folder, vocabulary=NOTE_VOCABULARY, seed=1, tasks=None):
    """(`RunDirectory` of random weights, its weights, its config)."""
    from medtop.model.multitask import build_model
    from medtop.training.checkpoints import weights_of, write_arrays

    run = RunDirectory(folder)
    tasks = tasks or [Task("masked_lm", "masked"), *available_tasks({"next_sentence": ["is_next"]}).values()]
    config = BertConfig.from_dict(note_config(vocab_size=len(vocabulary), num_hidden_layers=1), "test")
    model, rng = build_model(config, tasks), np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(float(weight.path.endswith("gamma")) + rng.normal(0, 0.4, weight.shape))
    arrays = weights_of(model)
    run.best_weights.parent.mkdir(parents=True)
    write_arrays(run.best_weights, arrays, {"step": 1, "value": None})
    about = {"tokenizer": {"kind": "wordpiece", "lower_case": True}}
    run.start({"data": {"train": about}, "max_seq_length": 32}, config, vocabulary, tasks)
    return run, arrays, config


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with the runs `first`, `second` (same vocabulary) and `other`, and held-out texts of 12 patients."""
    folder = tmp_path_factory.mktemp("language")
    made = random_model(folder / "first")
    random_model(folder / "second", seed=2, tasks=[Task("masked_lm", "masked")])
    random_model(folder / "other", OTHER)
    rng = np.random.default_rng(3)
    texts = [". ".join(" ".join(rng.choice(WORDS, 6)) for _ in range(8)) + "." for _ in range(24)]
    columns = {
        "patient_id": [f"p{number // 2}" for number in range(24)],
        "admission_id": [f"a{number}" for number in range(24)],
        "prediction_time": pa.array([0] * 24, pa.timestamp("s")),
        "text": texts,
    }
    parquet.write_table(pa.table(columns), folder / "n.notes.test.parquet")
    return folder, made


def test_hidden_words_and_pairs_are_numpys(models):
    from medtop.language.scores import NEXT, LanguageModel

    _, (run, arrays, config) = models
    model, bert = LanguageModel("first", run), NumpyBert(config, arrays)
    windows = [
        HiddenWordsWindow(0, ("Chest", "pain", "unable", ",", "fever"), (0, 2)),
        HiddenWordsWindow(1, ("stable",), (0,)),
        HiddenWordsWindow(1, ("relapsed", "heart"), (0, 1)),
    ]
    model.words.learn({word for window in windows for word in window.words})
    ids, tokenizer = NOTE_VOCABULARY.ids, model.tokenizer
    expected = []
    for window in windows:
        pieces = [tokenizer.tokenize([word]).ids.tolist() for word in window.words]
        flat = [ids["[CLS]"], *(piece for word in pieces for piece in word), ids["[SEP]"]]
        starts = np.cumsum([1, *map(len, pieces)])
        masked = list(flat)
        for place in window.hidden:
            masked[starts[place] : starts[place + 1]] = [ids["[MASK]"]] * len(pieces[place])
        state = bert.sequence({"code": masked, "position": range(len(flat)), "segment": [0] * len(flat)})
        for place in window.hidden:
            logits = bert.masked_logits(state, range(starts[place], starts[place + 1]))
            chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            own = chances[range(len(pieces[place])), pieces[place]]
            hits = chances.argmax(1) == pieces[place]
            expected.append([-np.log(own).sum(), hits.all(), len(own), hits.sum()])
    answers = model.hidden_words(windows)
    received = np.stack([answers[name] for name in ("loss", "right", "pieces", "pieces_right")], 1)
    np.testing.assert_allclose(received, np.array(expected, float), atol=2e-4)
    assert received[:, 2].max() > 1
    pairs = [SentencePair(0, ("chest", "pain"), ("fever",), 1), SentencePair(0, ("fever",), ("unable", "heart"), 0)]
    model.words.learn({"chest", "pain", "fever", "unable", "heart"})
    for pair, logit in zip(pairs, model.follows(pairs, NEXT), strict=True):
        first, second = (tokenizer.tokenize([" ".join(run)]).ids.tolist() for run in (pair.first, pair.second))
        flat = [ids["[CLS]"], *first, ids["[SEP]"], *second, ids["[SEP]"]]
        segments = [0] * (len(first) + 2) + [1] * (len(second) + 1)
        state = bert.sequence({"code": flat, "position": range(len(flat)), "segment": segments})
        assert logit == pytest.approx(float(bert.patient_logits(NEXT, state)[0]), abs=2e-4)


@pytest.mark.slow
def test_one_table_of_three_models(models, run_script):
    folder, _ = models
    arguments = ("--input_file=n.notes.test.parquet", "--num_bootstrap=50", "--max_seq_length=32")
    process = run_script(
        "run_scripts/run_language_comparison.py",
        "--models=first,second,other",
        "--output_dir=out",
        *arguments,
        cwd=folder,
    )
    assert process.returncode == 0, process.stderr
    content = json.loads((folder / "out" / "language.json").read_text())
    entries = {entry["name"]: entry for entry in content["models"]}
    assert list(entries) == ["first", "second", "other", "word frequencies"]
    hidden = {entry["measures"]["word_loss"]["n"] for entry in entries.values()}
    assert hidden == {content["about"]["hidden words"]}
    assert content["about"]["words that some model cannot read, never hidden"] > 0
    assert "next_sentence_accuracy" not in entries["second"]["measures"]
    assert entries["second"]["same_vocabulary"] and not entries["other"]["same_vocabulary"]
    assert "difference" in entries["second"]["measures"]["piece_loss"]
    assert "difference" not in entries["other"]["measures"]["piece_loss"]
    assert "difference" in entries["other"]["measures"]["word_loss"]
    frequencies = entries["word frequencies"]["measures"]["word_loss"]["value"]
    assert all(entries[name]["measures"]["word_loss"]["value"] > frequencies for name in ("first", "second"))
    assert len(content["notes"]) == 3 and "not known here" in content["notes"][0]
    with open(folder / "out" / "language.csv", newline="") as file:
        assert {row["model"] for row in csv.DictReader(file)} == set(entries)
    page = (folder / "out" / "language.html").read_text()
    assert "stable" not in page and "first" in process.stdout and "| other |" in process.stdout
    process = run_script(
        "run_scripts/run_language_comparison.py", "--models=first", "--output_dir=out", *arguments, cwd=folder
    )
    assert process.returncode == 1 and "expected a new folder" in process.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--models=first,first"], "--models: expected different folders"),
        (["--models=first,gone"], "found no folder gone"),
        (["--input_file=gone.parquet"], "--input_file: expected a file"),
        (["--share=0"], "--share"),
        (["--splits=splits.csv"], "expected texts with words of patients of the test split, received none"),
        (["--splits=splits.csv", "--split=valid"], "received 12 patients of trained's own"),
    ],
)
def test_what_cannot_be_compared(models, run_script, changes, message):
    folder, _ = models
    (folder / "splits.csv").write_text("patient_id,split\n" + "".join(f"p{n},valid\n" for n in range(12)))
    if not (folder / "trained").exists():
        run, *_ = random_model(folder / "trained", tasks=[Task("masked_lm", "masked")])
        run.splits_file.parent.mkdir(exist_ok=True)
        run.splits_file.write_text((folder / "splits.csv").read_text())
    arguments = ["--models=trained", "--input_file=n.notes.test.parquet", "--output_dir=bad", *changes]
    process = run_script("run_scripts/run_language_comparison.py", *arguments, cwd=folder)
    assert process.returncode == 1 and message in process.stderr and len(process.stderr.splitlines()) == 1
    assert not (folder / "bad").exists()
