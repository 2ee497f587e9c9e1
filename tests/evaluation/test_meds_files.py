"""MEDS prediction files: columns, known labels only, ids; meds-evaluation gives the same AUROC."""

import numpy as np
import pytest
from pyarrow import parquet
from sklearn.metrics import roc_auc_score

from medtop.evaluation.meds_files import subject_ids, write_meds_predictions
from medtop.evaluation.predictions import Predictions


def predictions_of(ids):
    generator = np.random.default_rng(0)
    count = len(ids)
    targets, weights = generator.integers(0, 2, (count, 2)), generator.random((count, 2)) > 0.2
    times = np.arange(count) * 3600 + 1_262_304_000
    return Predictions("task", ("a", "b/c"), ids, times, targets, weights, generator.normal(targets, 1))


def test_known_examples_with_their_ids(tmp_path):
    ids = np.array(["12", "7", "7", "100"] * 20)
    predictions = predictions_of(ids)
    first, second = write_meds_predictions(tmp_path / "meds", {"task": (predictions, predictions.probabilities)})
    assert (first.name, second.name) == ("task.a.parquet", "task.b_c.parquet")
    table = parquet.read_table(first)
    known = predictions.known[:, 0]
    assert table["subject_id"].to_pylist() == ids[known].astype(int).tolist()
    assert table["prediction_time"].to_pylist()[0].isoformat() == "2010-01-01T00:00:00"
    assert table["boolean_value"].to_pylist() == (predictions.targets[known, 0] > 0).tolist()
    expected = roc_auc_score(predictions.targets[known, 0], predictions.probabilities[known, 0])
    assert roc_auc_score(table["boolean_value"], table["predicted_boolean_probability"]) == pytest.approx(expected)
    assert not list((tmp_path / "meds").glob("*.csv"))


def test_ids_that_are_no_plain_numbers_get_a_map(tmp_path):
    numbers, names = subject_ids(["007", "7", 'a"b', "7"])
    assert numbers.tolist() == [0, 1, 2, 1] and names.tolist() == ["007", "7", 'a"b']
    predictions = predictions_of(np.array(["x,1", "y"] * 10))
    write_meds_predictions(tmp_path / "meds", {"task": (predictions, predictions.probabilities)})
    assert (tmp_path / "meds/task.subject_ids.csv").read_text() == 'patient_id,subject_id\n"x,1",0\n"y",1\n'


def test_meds_evaluation_reads_them(tmp_path):
    polars = pytest.importorskip("polars", reason="meds-evaluation is not installed")
    evaluation = pytest.importorskip("meds_evaluation.evaluate", reason="meds-evaluation is not installed")
    predictions = predictions_of(np.arange(200).astype(str))
    path, _ = write_meds_predictions(tmp_path / "meds", {"task": (predictions, predictions.probabilities)})
    theirs = evaluation.evaluate_binary_classification(polars.read_parquet(path))
    known = predictions.known[:, 0]
    ours = roc_auc_score(predictions.targets[known, 0], predictions.probabilities[known, 0])
    assert theirs["samples_equally_weighted"]["roc_auc_score"] == pytest.approx(ours, abs=1e-6)
