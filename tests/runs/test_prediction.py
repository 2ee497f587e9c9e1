"""New patients: the probabilities of docs/contract.md, "Results", worked out once more with NumPy."""

import csv
import datetime
import json
import shutil

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="models are Keras's")

from numpy_bert import NumpyBert  # noqa: E402
from small_data import (  # noqa: E402
    DEFAULTS,
    VOCABULARY,
    finished_run,
    tokens_of_patient,
    write_dataset,
    write_medbert_dataset,
)

from medtop.cohort.vocabulary import Vocabulary  # noqa: E402
from medtop.evaluation.predictions import read_predictions, sigmoid  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.model.config import BertConfig  # noqa: E402
from medtop.runs.predict import check_input, predict  # noqa: E402
from medtop.training.checkpoints import read_arrays  # noqa: E402


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def logits_by_numpy(folder, people, max_seq_length):
    """dict (patient, task, label) -> logit, one patient at a time; only the run's weights and config are used."""
    config = BertConfig.from_file(folder / "config.json")
    oracle = NumpyBert(config, read_arrays(folder / "best" / "weights.npz")[0])
    tasks = json.loads((folder / "tasks.json").read_text())["tasks"]
    found = {}
    for person in people:
        tokens = tokens_of_patient(person, max_seq_length)
        sequence = oracle.sequence({"code": [token[0] for token in tokens], "visit": [token[1] for token in tokens]})
        for task in tasks:
            values = oracle.patient_logits(task["name"], sequence)
            found |= {
                (person["patient_id"], task["name"], label): value
                for label, value in zip(task["labels"], values, strict=True)
            }
    return found


def calibrated(folder, logits):
    """Platt scaling as calibration.json says it: sigmoid(slope x logit + intercept)."""
    tasks = json.loads((folder / "calibration.json").read_text())
    found = {}
    for (patient, task, label), value in logits.items():
        entry = tasks[task]["labels"][label]
        found[patient, task, label] = float(sigmoid(entry["slope"] * value + entry["intercept"]))
    return found


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """predictions of the finished run's test patients as if they were new: no labels in their records."""
    folder = tmp_path_factory.mktemp("new")
    run = finished_run()
    write_dataset(folder / "new", run.people["test"], num_shards=2, tasks={}, split=None)
    done = predict(run.folder / "run", str(folder / "new"), folder / "new.csv", batch_size=50)
    assert (done.examples, done.without_probability, done.known_codes) == (120, 0, 1.0)
    return rows_of(folder / "new.csv")


def test_probabilities_equal_numpys_patient_by_patient(predicted):
    run = finished_run()
    expected = calibrated(run.folder / "run", logits_by_numpy(run.folder / "run", run.people["test"], 24))
    found = {(row["patient_id"], row["task"], row["label"]): float(row["probability"]) for row in predicted}
    assert found.keys() == expected.keys() and len(predicted) == 120 * 3
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=2e-5), key


def test_new_patients_get_what_the_runs_own_test_patients_got(predicted):
    """The same people scored at the end of training, with their labels: the probabilities do not know of labels."""
    own = {
        (row["patient_id"], row["task"], row["label"]): row
        for row in rows_of(finished_run().folder / "run" / "restricted" / "predictions.csv")
    }
    assert len(own) == len(predicted)
    for row in predicted:
        mine = own[row["patient_id"], row["task"], row["label"]]
        assert float(row["probability"]) == pytest.approx(float(mine["probability"]), abs=1e-5)
        assert row["prediction_time"] == mine["prediction_time"] and row["target"] == "" and mine["target"] in "01"


def test_rows_are_the_contracts(predicted):
    columns = ["patient_id", "prediction_time", "task", "label", "target", "probability", "known_codes"]
    assert list(predicted[0]) == columns and {row["known_codes"] for row in predicted} == {"1"}
    people = {person["patient_id"]: person for person in finished_run().people["test"]}
    for row in predicted:
        time = datetime.datetime.fromisoformat(row["prediction_time"]).replace(tzinfo=datetime.UTC)
        assert time.timestamp() == people[row["patient_id"]]["prediction_time"]
        assert 0 <= float(row["probability"]) <= 1


def test_runs_predictions_have_the_tables_targets():
    people = {person["patient_id"]: person for person in finished_run().people["test"]}
    for row in rows_of(finished_run().folder / "run" / "restricted" / "predictions.csv"):
        person = people[row["patient_id"]]
        place = ["MACE_365", "CKD_365"].index(row["label"]) if row["task"] == "complications" else 0
        assert float(row["target"]) == person["labels"][row["task"]][place]


@pytest.mark.slow
def test_without_calibration_the_probabilities_are_the_models_own(tmp_path, caplog):
    run = finished_run()
    folder = tmp_path / "run"
    shutil.copytree(run.folder / "run", folder, ignore=shutil.ignore_patterns("checkpoints", "calibration.json"))
    people = run.people["test"][:7]
    write_dataset(tmp_path / "new", people, tasks={})
    predict(folder, str(tmp_path / "new"), tmp_path / "out.csv", batch_size=4, max_seq_length=12)
    assert "holds no calibration" in caplog.text
    expected = {key: float(sigmoid(value)) for key, value in logits_by_numpy(folder, people, 12).items()}
    for row in rows_of(tmp_path / "out.csv"):
        assert float(row["probability"]) == pytest.approx(
            expected[row["patient_id"], row["task"], row["label"]], abs=2e-5
        )


def with_unknown_codes(person, known, unknown):
    """The person with so many known codes and [UNK]s in a single visit."""
    _, *rest = person["visits"][-1]
    return {**person, "visits": [([5] * known + [1] * unknown, *rest)]}


def test_patients_whose_codes_are_unknown_get_no_probability(tmp_path):
    run = finished_run()
    cases = [(3, 0), (2, 2), (2, 3), (0, 4), (1, 1)]
    people = [with_unknown_codes(person, *case) for person, case in zip(run.people["test"], cases, strict=False)]
    write_dataset(tmp_path / "new", people, tasks={})
    arguments = (run.folder / "run", str(tmp_path / "new"))
    done = predict(*arguments, tmp_path / "half.csv", min_known_codes=0.5)
    assert (done.examples, done.without_probability) == (5, 2)
    assert done.known_codes == pytest.approx((1 + 0.5 + 0.4 + 0 + 0.5) / 5)
    rows = rows_of(tmp_path / "half.csv")
    shares = {row["patient_id"]: (row["known_codes"], row["probability"] == "") for row in rows}
    assert [shares[person["patient_id"]] for person in people] == [
        ("1", False),
        ("0.5", False),
        ("0.4", True),
        ("0", True),
        ("0.5", False),
    ]
    assert predict(*arguments, tmp_path / "some.csv", min_known_codes=0.1).without_probability == 1  # none is too few
    assert predict(*arguments, tmp_path / "all.csv", min_known_codes=0).without_probability == 0
    all_rows = rows_of(tmp_path / "all.csv")
    assert all(0 < float(row["probability"]) < 1 for row in all_rows)
    assert [row for row in all_rows if not shares[row["patient_id"]][1]] == [row for row in rows if row["probability"]]
    with pytest.raises(DataError, match="expected a number in every row, received 2 empty ones"):
        read_predictions(tmp_path / "half.csv")


def test_another_vocabulary_or_layout_is_refused(tmp_path):
    run = finished_run().folder / "run"
    write_dataset(
        tmp_path / "other",
        finished_run().people["test"][:2],
        vocabulary=Vocabulary((*VOCABULARY.tokens[:-1], "Z")),
        tasks={},
    )
    with pytest.raises(DataError, match="expected the vocabulary of .*give its vocab.txt"):
        check_input(run, str(tmp_path / "other"))
    write_medbert_dataset(
        tmp_path / "medbert", [["p", [1], [0], [1, 2], [1, 1]]], 3, defaults=DEFAULTS | {"max_seq_length": 8}
    )
    with pytest.raises(DataError, match="expected the vocabulary of"):
        check_input(run, str(tmp_path / "medbert"))


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(time_gap="after"), "time_gap"),
        (dict(visit_separator=True), "visit_separator"),
    ],
)
def test_records_that_mean_something_else_are_refused(tmp_path, changes, message):
    """The same vocabulary and shapes, but gaps after instead of before, or separators: silently wrong otherwise."""
    write_dataset(tmp_path / "new", finished_run().people["test"][:2], tasks={}, **changes)
    with pytest.raises(DataError, match=f"expected {message}=.* as in training, received"):
        check_input(finished_run().folder / "run", str(tmp_path / "new"))


def test_a_run_of_masked_codes_only_predicts_nobody(tmp_path):
    shutil.copytree(finished_run().folder / "run", tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    content = {
        "version": 1,
        "tasks": [{"name": "masked_lm", "level": "masked", "labels": [], "weight": 1.0, "positive_weights": None}],
    }
    (tmp_path / "run" / "tasks.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="expected a run with a patient-level task, received masked codes only"):
        check_input(tmp_path / "run", finished_run().options.test_file)
    with pytest.raises(DataError, match="expected a run directory"):
        check_input(tmp_path, finished_run().options.test_file)


def test_finite_probabilities_are_not_saturated(predicted):
    """A planted signal is learned, yet no probability is exactly 0 or 1."""
    values = np.array([float(row["probability"]) for row in predicted])
    assert 0 < values.min() < 0.2 and 0.8 < values.max() < 1
