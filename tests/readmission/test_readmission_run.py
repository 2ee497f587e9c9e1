"""run_readmission.py from texts to results: the script as a user types it, and each thing that it must refuse."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from notes_data import (
    READMISSION_FLAGS,
    TRAIN_READMISSION,
    finished_readmission,
    generated_texts,
    note_config,
    train_readmission,
)
from sklearn.metrics import average_precision_score, brier_score_loss, precision_recall_curve, roc_auc_score

from medtop.cohort.splits import read_split_file
from medtop.data import tfrecord
from medtop.files.errors import DataError
from medtop.readmission import prepare as readmission_run
from medtop.readmission.prepare import TextInput, prepare, resolve_start, vocabulary_source
from medtop.training.options import TrainingOptions
from medtop.training.run_directory import RunDirectory


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(run_script):
    """(folder, what the script said) after one run of the script."""
    return finished_readmission(run_script)


@pytest.fixture(scope="module")
def folder(trained):
    """Its folder, for what is refused before anything is written."""
    return trained[0]


def admissions_of(folder):
    """The admissions that are to be predicted: dict admission -> row of the Parquet file."""
    return {row["admission_id"]: row for row in parquet.read_table(folder / "n.notes.test.parquet").to_pylist()}


def test_one_risk_for_each_admission_of_the_test_split(trained):
    folder, said = trained
    rows, wanted = rows_of(folder / "run/restricted/readmission_predictions.csv"), admissions_of(folder)
    assert list(rows[0]) == [
        "patient_id",
        "admission_id",
        "prediction_time",
        "task",
        "label",
        "target",
        "probability",
        "windows",
    ]
    assert len(rows) == len(wanted) > 15 and {row["admission_id"] for row in rows} == set(wanted)
    for row in rows:
        known = wanted[row["admission_id"]]
        assert row["patient_id"] == known["patient_id"]
        assert row["prediction_time"] == known["prediction_time"].isoformat()
        assert row["target"] == ("" if known["readmission"] is None else str(known["readmission"]))
    (columns,) = tfrecord.read_examples(tfrecord.read_dataset(folder / "run/records/test.tfrecord"))
    windows = {name: columns["admission_id"].count(name) for name in wanted}
    assert {row["admission_id"]: int(row["windows"]) for row in rows} == windows and max(windows.values()) > 2
    assert "score_notes.py" in said and "best reachable" in said and "TF-IDF" in said


def test_measures_are_scikit_learns_on_the_file(trained):
    folder, said = trained
    rows = [row for row in rows_of(folder / "run/restricted/readmission_predictions.csv") if row["target"]]
    targets = np.array([int(row["target"]) for row in rows])
    scores = np.array([float(row["probability"]) for row in rows])
    precision, recall, _ = precision_recall_curve(targets, scores)
    enough = recall[:-1][precision[:-1] >= 0.8]
    entry = json.loads((folder / "run/metrics.json").read_text())["test"]["readmission"]["readmission"]
    expected = {
        "roc_auc": roc_auc_score(targets, scores),
        "average_precision": average_precision_score(targets, scores),
        "brier": brier_score_loss(targets, scores),
        "recall_at_precision_80": enough.max() if len(enough) else 0.0,
    }
    assert {name: entry[name]["value"] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert entry["n"] == len(rows) and entry["positives"] == targets.sum()
    assert all(entry[name]["low"] <= entry[name]["value"] <= entry[name]["high"] for name in expected)
    assert f"{expected['roc_auc']:.3f} [" in said


def test_the_other_ways_stand_beside_it(trained):
    folder, _ = trained
    comparison = json.loads((folder / "run/comparison.json").read_text())["test"]
    assert set(comparison["baselines"]) == set(comparison["differences"]) == {"mean", "max", "TF-IDF"}
    metrics = json.loads((folder / "run/metrics.json").read_text())["test"]["readmission"]["readmission"]
    own = metrics["roc_auc"]["value"]
    for name, tasks in comparison["baselines"].items():
        other = tasks["readmission"]["readmission"]["roc_auc"]["value"]
        difference = comparison["differences"][name]["readmission"]["readmission"]["difference"]
        assert difference == pytest.approx(own - other, abs=1e-9)
    assert comparison["best_reachable"]["readmission"]["readmission"]["roc_auc"] > 0.7
    for name in ("roc", "precision_recall", "calibration"):
        assert (folder / f"run/{name}.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "run/notes.json").read_text()) == {
        "version": 1,
        "mode": "discharge",
        "cleaning": "careful",
        "lower_case": True,
        "window_overlap": 0,
        "legacy": False,
    }


def test_no_patient_is_in_two_splits_at_any_step(trained):
    """Labels, texts, records, run directory and predictions, against the split file."""
    folder, _ = trained
    splits = read_split_file(folder / "n.splits.csv")
    seen = {"labels": {row["patient_id"] for row in rows_of(folder / "n.labels.csv")}}
    assert seen["labels"] <= set(splits)
    for split in ("train", "valid", "test"):
        mine = {patient for patient, name in splits.items() if name == split}
        texts = set(parquet.read_table(folder / f"n.notes.{split}.parquet")["patient_id"].to_pylist())
        (columns,) = tfrecord.read_examples(tfrecord.read_dataset(folder / f"run/records/{split}.tfrecord"))
        run = set(RunDirectory(folder / "run").read_splits()[split])
        assert texts == set(columns["patient_id"]) == run and texts <= mine and len(texts) >= 4
    assert {row["patient_id"] for row in rows_of(folder / "run/restricted/readmission_predictions.csv")} == texts


def test_a_patient_in_two_splits_is_refused(tmp_path):
    generated_texts(tmp_path)
    train = parquet.read_table(tmp_path / "n.notes.train.parquet")
    test = parquet.read_table(tmp_path / "n.notes.test.parquet")
    parquet.write_table(pa.concat_tables([test, train.slice(0, 1)]), tmp_path / "n.notes.test.parquet")
    (tmp_path / "n.manifest.json").unlink()  # its checksums would tell first
    with pytest.raises(DataError, match="each patient in one split, received 1 patients"):
        train_readmission(tmp_path)
    assert not RunDirectory(tmp_path / "run").exists()


RESULTS = ("metrics.json", "restricted/readmission_predictions.csv", "notes.json", "best/weights.npz")


@pytest.mark.slow
def test_evaluation_alone_gives_the_same(trained, run_script):
    """It takes vocabulary, configuration and aggregation from the run, and has no training texts to fit a baseline."""
    folder, _ = trained
    before = {name: (folder / "run" / name).read_bytes() for name in RESULTS}
    process = run_script("run_scripts/run_readmission.py", *READMISSION_FLAGS, "--do_eval", cwd=folder)
    assert process.returncode == 0 and "TF-IDF" not in process.stdout, process.stderr
    assert {name: (folder / "run" / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_the_same_command_again_changes_nothing(trained, run_script):
    folder, said = trained
    before = {name: (folder / "run" / name).read_bytes() for name in RESULTS}
    process = run_script("run_scripts/run_readmission.py", *TRAIN_READMISSION, cwd=folder)
    assert process.returncode == 0 and said == process.stdout, process.stderr
    assert {name: (folder / "run" / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--readmission_mode=early",), "--readmission_mode: expected discharge"),
        (("--data_dir=nothing",), "expected a folder with train.csv"),
        (("--data_dir=n", "--input_file=x"), "--data_dir and --input_file exclude each other"),
        (("--vocab_file=",), "--vocab_file: expected a WordPiece vocabulary"),
        (("--vocab_file=config.json",), "config.json"),
        (("--bert_config_file=",), "--bert_config_file: expected a model configuration"),
        (("--bert_model=raw",), "--bert_model: expected a run directory or a HuggingFace folder"),
        (("--bert_model=a", "--init_checkpoint=b"), "--bert_model and --init_checkpoint are two names of one flag"),
        (("--max_seq_length=65",), "--max_seq_length: expected at most 64 (max_position_embeddings of config.json)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_before_anything_is_written(folder, run_script, flags, message):
    process = run_script(
        "run_scripts/run_readmission.py", *TRAIN_READMISSION, "--output_dir=refused", *flags, cwd=folder
    )
    assert process.returncode == 1 and message in process.stderr, process.stderr
    assert process.stderr.splitlines()[-1].startswith("error: ") and not (folder / "refused").exists()


def write_folder(path, rows):
    """ClinicalBERT's data folder: rows of (split, text, admission, label)."""
    path.mkdir()
    for split in ("train", "val", "test"):
        with open(path / f"{split}.csv", "w", newline="") as file:
            csv.writer(file).writerows([("TEXT", "ID", "Label"), *(row[1:] for row in rows if row[0] == split)])


@pytest.mark.slow
def test_clinicalberts_folder_and_a_run_to_start_from(trained, tmp_path, caplog):
    """Each row is a text of its own; its first window alone is read, as the original does."""
    folder, _ = trained
    texts = ["fever and cough " * 30, "the patient was discharged home", "chest pain " * 10]
    splits = enumerate(("train", "val", "test"))
    rows = [
        (split, text, 1000 + 10 * place + number, number % 2)
        for place, split in splits
        for number in range(8)
        for text in texts
    ]
    write_folder(tmp_path / "data", rows)
    with caplog.at_level("WARNING"):
        run = train_readmission(
            tmp_path,
            data_dir="data",
            texts={"legacy": True},
            bert_config_file="",
            num_train_steps=2,
            init_checkpoint=str(folder / "run"),
        )
    assert any("names no patients" in message for message in caplog.messages)
    found = rows_of(run.readmission_predictions_file)
    assert [(row["admission_id"], row["windows"], row["target"]) for row in found] == [
        (str(1020 + number), "3", str(number % 2)) for number in range(8)
    ]
    assert run.read()[1] == RunDirectory(folder / "run").read()[1]
    settings = readmission_run.read_text_settings(run)
    assert settings["legacy"] is True and settings["cleaning"] == "published"


def test_a_huggingface_folder_is_imported_once(trained, tmp_path):
    """What imports is handed in; here it copies a run."""
    folder, _ = trained
    calls = []

    def import_folder(source, target):
        calls.append(str(source))
        run, own = RunDirectory(target), RunDirectory(folder / "run")
        config, vocabulary, tasks = own.read()
        run.start({"imported_from": str(source)}, config, vocabulary, tasks)
        return "all weights"

    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/config.json").write_text(json.dumps(note_config()))
    start = resolve_start(str(tmp_path / "theirs"), str(tmp_path / "out"), import_folder)
    assert start == resolve_start(str(tmp_path / "theirs"), str(tmp_path / "out"), import_folder)
    assert start == str(tmp_path / "out/imported") and calls == [str(tmp_path / "theirs")]
    (tmp_path / "others").mkdir()
    (tmp_path / "others/config.json").write_text("{}")
    with pytest.raises(DataError, match=r"imported: expected the import of .*others, found that of .*theirs"):
        resolve_start(str(tmp_path / "others"), str(tmp_path / "out"), import_folder)
    assert vocabulary_source(start, "") == str(tmp_path / "out/imported/vocab.txt")
    (tmp_path / "other.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    with pytest.raises(DataError, match="--vocab_file: expected the vocabulary of"):
        vocabulary_source(start, str(tmp_path / "other.txt"))


@pytest.mark.slow
def test_codes_alone_stand_beside_the_notes(trained, tmp_path):
    """Predictions of another run for some of the admissions: the difference is over those."""
    folder, _ = trained
    rows = rows_of(folder / "run/restricted/predictions.csv")
    some = [row | {"probability": "0.9" if row["target"] == "1" else "0.1"} for row in rows[::2]]
    with open(tmp_path / "codes.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(some)
    texts = {"vocab_file": str(folder / "vocab.txt")}
    options = dict(codes_predictions=str(tmp_path / "codes.csv"), output_dir=str(tmp_path / "run"), num_train_steps=2)
    run = train_readmission(folder, texts=texts, **options)
    baselines = json.loads(run.comparison_file.read_text())["test"]["baselines"]
    entry = baselines["codes alone"]["readmission"]["readmission"]
    assert entry["roc_auc"]["value"] == 1.0 and entry["n"] == sum(1 for row in some if row["target"])
    assert f"for {len(some)} of {len(rows)} test admissions" in (tmp_path / "run/report.html").read_text()


def test_a_folder_without_a_run_cannot_be_evaluated(tmp_path):
    """ClinicalBERT's command names the finished model as --bert_model and a new output folder."""
    write_folder(tmp_path / "data", [])
    texts, message = TextInput(str(tmp_path / "data")), "--output_dir: expected the folder of a run to evaluate .*"
    for start, hint in (("", "none'$"), ("model", "--bert_model is where training starts$")):
        options = TrainingOptions(output_dir=str(tmp_path / "none"), do_eval=True, init_checkpoint=start)
        with pytest.raises(DataError, match=message + hint):
            prepare(options, texts, None)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("do_train", [True, False])
def test_a_run_of_the_other_mode_is_refused_whatever_the_texts_say(tmp_path, do_train):
    """ClinicalBERT's folders say nothing; the run does."""
    write_folder(tmp_path / "data", [])
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.run_file.write_text("{}")
    settings = {"mode": "discharge", "cleaning": "careful", "lower_case": True, "window_overlap": 0, "legacy": False}
    readmission_run.write_text_settings(run, settings)
    options = TrainingOptions(output_dir=str(run.path), do_train=do_train, do_eval=True)
    texts = TextInput(str(tmp_path / "data"), readmission_mode="early")
    with pytest.raises(DataError, match=r"--readmission_mode: expected discharge \(the run in .*\), received early"):
        prepare(options, texts, None)


def test_texts_without_a_training_split_are_refused(tmp_path):
    write_folder(tmp_path / "data", [])
    (tmp_path / "data/train.csv").unlink()
    options = TrainingOptions(output_dir=str(tmp_path / "run"), do_train=True)
    with pytest.raises(DataError, match="expected texts of the train split, received valid, test only"):
        prepare(options, TextInput(str(tmp_path / "data")), None)
