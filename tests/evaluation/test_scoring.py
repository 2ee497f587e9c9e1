"""Scores of a split: means over all selected codes, against NumPy; examples in file order, whatever the layout."""

import math

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="models are Keras's")

from numpy_bert import NumpyBert  # noqa: E402
from small_data import DEFAULTS, all_tasks, patients, small_config, write_dataset, write_medbert_dataset  # noqa: E402

from medtop.data import tfrecord  # noqa: E402
from medtop.data.batches import BatchOptions, eval_batches  # noqa: E402
from medtop.data.checks import first_look, patients_of  # noqa: E402
from medtop.evaluation.scoring import KnownExamples, Scorer  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.model.multitask import build_model  # noqa: E402
from medtop.model.tasks import choose_tasks  # noqa: E402
from medtop.training.checkpoints import weights_of  # noqa: E402


@pytest.mark.slow
def test_measures_of_masked_codes_are_means_over_codes_not_over_batches(tmp_path):
    """Fault 10. Batches hold different numbers of masked codes; NumPy takes the codes one by one."""
    info = write_dataset(tmp_path / "valid", patients(21, 1))
    config, tasks = small_config(), all_tasks(["masked_lm"])
    options = BatchOptions(batch_size=8, max_seq_length=64, max_predictions=9)
    model = build_model(config, tasks)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(scale=0.5, size=weight.shape) + (weight.name == "gamma"))
    oracle = NumpyBert(config, weights_of(model))
    ranks, losses, counts = [], [], []
    for x, y, w, _ in eval_batches(info, config, tasks, options, seed=4, masking=True).as_numpy_iterator():
        counts.append(0)
        for row in np.flatnonzero(x["patient_slots"][:, 0]):
            n, asked = x["patient_slots"][row].sum(), int(w["masked_lm"][row].sum())
            sequence = oracle.sequence(
                {"code": x["token_ids"][row, :n], "visit": x["visits"][row, :n], "age": x["ages"][row, :n]}
            )
            logits = oracle.masked_logits(sequence, x["mask_positions"][row, :asked])
            for values, code in zip(logits, y["masked_lm"][row, :asked], strict=True):
                losses.append(math.log(np.exp(values - values[code]).sum()))
                ranks.append(int((values > values[code]).sum()))
            counts[-1] += asked
    assert len(set(counts)) > 1 and 0 < np.mean(np.array(ranks) < 10) < 1
    scorer = Scorer(model, info, config, tasks, options, seed=4)
    found = scorer.exclusive_measures()["masked_lm"]
    assert found == {
        "loss": pytest.approx(np.mean(losses), rel=1e-5),
        "perplexity": pytest.approx(math.exp(np.mean(losses)), rel=1e-4),
        "accuracy": pytest.approx(np.mean(np.array(ranks) == 0)),
        "n": sum(counts),
        "top10_accuracy": pytest.approx(np.mean(np.array(ranks) < 10)),
    }
    some = scorer.exclusive_measures(max_batches=1)["masked_lm"]
    assert some["n"] == counts[0] and some["loss"] == pytest.approx(np.mean(losses[: counts[0]]), rel=1e-5)
    assert scorer.predictions() == {}  # no patient-level task


def test_examples_are_in_file_order_with_what_is_known_of_them(tmp_path):
    people = patients(11, 3)
    info = write_dataset(tmp_path / "x", people, num_shards=3)
    found = KnownExamples(info, all_tasks(["complications"]))
    order = [person for first in range(3) for person in people[first::3]]
    assert found.patient_ids.tolist() == [person["patient_id"] for person in order]
    assert found.prediction_times.tolist() == [person["prediction_time"] for person in order]
    for kind in ("labels", "weights"):
        assert getattr(found, kind).keys() == {"complications"}
        assert getattr(found, kind)["complications"].tolist() == [person[kind]["complications"] for person in order]
    assert len(found) == 11


def test_examples_without_labels_are_unknown_and_no_examples_are_refused(tmp_path):
    info = write_dataset(tmp_path / "x", patients(3, 3), tasks={})
    found = KnownExamples(info, all_tasks(["complications"]))
    assert found.weights["complications"].tolist() == [[0, 0]] * 3
    none = write_dataset(tmp_path / "none", [])
    with pytest.raises(DataError, match="expected at least one example, received none"):
        KnownExamples(none, all_tasks(["complications"]))


def test_medberts_examples_are_known_by_their_place(tmp_path):
    rows = [["p", [stay], [0], [1, 2], [1, 1]] for stay in (3, 8, 7, 30)]
    info = write_medbert_dataset(tmp_path / "m", rows, 3, defaults=DEFAULTS | {"max_seq_length": 8})
    found = KnownExamples(info, choose_tasks(["long_stay"], info.tasks))
    assert found.patient_ids.tolist() == ["0", "1", "2", "3"]
    assert found.labels["long_stay"].tolist() == [[0], [1], [0], [1]]  # more than 7 days
    assert found.weights["long_stay"].tolist() == [[1]] * 4


def test_records_are_described_by_one_reading(tmp_path, monkeypatch):
    """The first look at a split keeps what scoring and the check of patients want to know of its records."""
    info = write_dataset(tmp_path / "d", patients(30, seed=3))
    whole = list(tfrecord.read_examples(info))
    look = first_look({"valid": info}, small_config())
    monkeypatch.setattr(tfrecord, "read_examples", None)  # nobody reads again
    assert patients_of({"valid": info}) == look.patients == {"valid": sorted(whole[0]["patient_id"])}
    tasks = [task for task in all_tasks() if task.level == "patient"]
    examples = KnownExamples(info, tasks)
    assert examples.patient_ids.tolist() == whole[0]["patient_id"]
    for task in tasks:
        for kind, values in (("labels", examples.labels), ("weights", examples.weights)):
            np.testing.assert_array_equal(values[task.name], whole[0][f"{task.name}_{kind}"])
    assert not {"token_ids", "counts"} & info.record_columns.keys()
