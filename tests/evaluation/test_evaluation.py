"""Metrics, intervals and comparisons against scikit-learn and against explicit resampling."""

import json
import math

import numpy as np
import pytest
from sklearn import metrics as oracle

from medtop.evaluation import bootstrap, tables
from medtop.evaluation import metrics as evaluation
from medtop.evaluation.metrics import Predictions, evaluate, paired_bootstrap, sigmoid
from medtop.files.errors import DataError


def cohort(examples=400, labels=3, *, patients=None, unknown=0.3, ties=True, seed=0, task="complications"):
    """Predictions with ties, unknown labels and (with `patients`) several examples per patient."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(examples, labels)) * 1.5 - 1
    targets = (rng.random((examples, labels)) < sigmoid(logits)).astype(np.float32)
    if ties:
        logits = logits.round(1)
    weights = (rng.random((examples, labels)) >= unknown).astype(np.float32)
    owners = rng.integers(patients, size=examples) if patients else np.arange(examples)
    return Predictions(
        task,
        tuple(f"label_{place}" for place in range(labels)),
        np.array([f"p{k}" for k in owners]),
        np.arange(examples),
        targets,
        weights,
        logits,
    )


def oracle_metrics(targets, scores, threshold, weights=None):
    said = scores >= threshold
    precision, recall, f1, _ = oracle.precision_recall_fscore_support(
        targets, said, average="binary", sample_weight=weights, zero_division=0
    )
    return {
        "roc_auc": oracle.roc_auc_score(targets, scores, sample_weight=weights),
        "average_precision": oracle.average_precision_score(targets, scores, sample_weight=weights),
        "brier": oracle.brier_score_loss(targets, scores, sample_weight=weights),
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }


@pytest.mark.parametrize("ties", [True, False])
def test_every_label_equals_scikit_learn_on_its_known_examples(ties):
    predictions = cohort(ties=ties)
    scores = predictions.probabilities
    thresholds = {"label_0": 0.2, "label_1": float(scores[0, 1]), "label_2": 0.6}
    result = evaluate(predictions, scores, thresholds=thresholds, num_bootstrap=0)
    for place, label in enumerate(predictions.labels):
        known = predictions.weights[:, place] > 0
        expected = oracle_metrics(predictions.targets[known, place], scores[known, place], thresholds[label])
        for name, value in expected.items():
            assert result[label][name]["value"] == pytest.approx(value, abs=1e-12), (label, name)
        assert result[label]["threshold"]["value"] == thresholds[label]
        assert (result[label]["n"], result[label]["unknown"]) == (known.sum(), (~known).sum())
        assert result[label]["positives"] == predictions.targets[known, place].sum()
        assert result[label]["reason"] is None


def test_micro_is_pooled_and_macro_is_the_mean():
    predictions = cohort()
    scores, known = predictions.probabilities, predictions.known
    thresholds = {"label_0": 0.2, "label_1": 0.3, "label_2": 0.6}
    result = evaluate(predictions, scores, thresholds=thresholds, num_bootstrap=0)
    pooled = oracle_metrics(predictions.targets[known], scores[known], 0.5)
    for name in ("roc_auc", "average_precision", "brier"):
        assert result["micro"][name]["value"] == pytest.approx(pooled[name], abs=1e-12)
    said = scores >= [0.2, 0.3, 0.6]  # each label keeps its own threshold
    f1 = oracle.f1_score(predictions.targets[known], said[known])
    assert result["micro"]["f1"]["value"] == pytest.approx(f1, abs=1e-12)
    for name in evaluation.METRICS:
        mean = np.mean([result[label][name]["value"] for label in predictions.labels])
        assert result["macro"][name]["value"] == pytest.approx(mean, abs=1e-12)
    assert result["macro"]["n"] == result["micro"]["n"] == known.sum()


def test_multilabel_micro_and_macro_equal_scikit_learns_averages_when_all_is_known():
    predictions = cohort(unknown=0)
    result = evaluate(predictions, predictions.probabilities, num_bootstrap=0)
    for average in ("micro", "macro"):
        for name in ("roc_auc", "average_precision"):
            expected = getattr(oracle, f"{name}_score")(predictions.targets, predictions.probabilities, average=average)
            assert result[average][name]["value"] == pytest.approx(expected, abs=1e-12)


def test_flipping_unknown_targets_changes_nothing():
    predictions = cohort()
    flipped = predictions.take(slice(None))
    flipped.targets = np.where(predictions.known, predictions.targets, 1 - predictions.targets)
    assert evaluate(predictions, predictions.probabilities, num_bootstrap=20) == evaluate(
        flipped, flipped.probabilities, num_bootstrap=20
    )


def test_order_of_examples_does_not_matter():
    predictions = cohort(patients=150)
    order = np.random.default_rng(1).permutation(len(predictions))
    first = evaluate(predictions, predictions.probabilities, num_bootstrap=0)
    second = evaluate(predictions.take(order), predictions.probabilities[order], num_bootstrap=0)
    for label, entry in first.items():
        for name in evaluation.METRICS:
            assert entry[name]["value"] == pytest.approx(second[label][name]["value"], abs=1e-12)


@pytest.mark.parametrize("ties", [True, False])
def test_resampled_metrics_equal_scikit_learns_sample_weight_and_explicit_resampling(ties):
    predictions = cohort(examples=300, labels=1, patients=120, unknown=0.2, ties=ties, seed=3)
    scores, targets = predictions.probabilities[:, 0], predictions.targets[:, 0]
    _, owner = np.unique(predictions.patient_ids, return_inverse=True)
    patients = owner.max() + 1
    known = predictions.known[:, 0]
    statistics = bootstrap.LabelStatistics(
        scores[known], targets[known], owner[known], patients, scores[known] >= 0.3, evaluation.METRICS
    )
    counts = next(bootstrap.resample_counts(patients, 25, seed=5))
    assert counts.shape == (patients, 25) and (counts.sum(axis=0) == patients).all()
    found = statistics.values(counts)
    for draw in range(25):
        weights = counts[owner, draw][known]
        expected = oracle_metrics(targets[known], scores[known], 0.3, weights)
        repeated = np.repeat(np.flatnonzero(known), weights.astype(int))  # a patient drawn twice stands there twice
        explicit = oracle_metrics(targets[repeated], scores[repeated], 0.3)
        for name, value in expected.items():
            assert found[name][draw] == pytest.approx(value, abs=1e-12), name
            assert explicit[name] == pytest.approx(value, abs=1e-12), name


def test_intervals_are_the_percentiles_of_explicit_resampling():
    predictions = cohort(examples=200, labels=2, patients=90, seed=4)
    scores = predictions.probabilities
    result = evaluate(predictions, scores, num_bootstrap=80, seed=11)
    names, owner = np.unique(predictions.patient_ids, return_inverse=True)
    rng, drawn = np.random.default_rng(11), {"label_0": [], "micro": [], "macro": []}
    for _ in range(80):
        chosen = rng.integers(len(names), size=len(names))
        rows = np.concatenate([np.flatnonzero(owner == patient) for patient in chosen])
        targets, resampled, known = predictions.targets[rows], scores[rows], predictions.known[rows]
        each = [oracle.roc_auc_score(targets[known[:, k], k], resampled[known[:, k], k]) for k in range(2)]
        drawn["label_0"].append(each[0])
        drawn["macro"].append(np.mean(each))
        drawn["micro"].append(oracle.roc_auc_score(targets[known], resampled[known]))
    for label, values in drawn.items():
        low, high = np.quantile(values, [0.025, 0.975])
        assert result[label]["roc_auc"]["low"] == pytest.approx(low, abs=1e-12)
        assert result[label]["roc_auc"]["high"] == pytest.approx(high, abs=1e-12)


def test_blocks_do_not_change_the_draws(monkeypatch):
    whole = np.concatenate(list(bootstrap.resample_counts(50, 30, seed=2)), axis=1)
    monkeypatch.setattr(bootstrap, "_CELLS_PER_BLOCK", 7 * 50)
    pieces = list(bootstrap.resample_counts(50, 30, seed=2))
    assert len(pieces) == 5
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


def test_bootstrap_goes_by_patient_not_by_example():
    single = cohort(examples=300, labels=1, unknown=0, seed=6)
    copies = single.take(np.repeat(np.arange(300), 9))
    copies.prediction_times = np.arange(len(copies))

    def width(predictions):
        entry = evaluate(predictions, predictions.probabilities, num_bootstrap=400)["label_0"]["roc_auc"]
        return entry["high"] - entry["low"]

    by_patient = width(copies)
    copies.patient_ids = np.arange(len(copies)).astype(str)  # pretends that each copy is a patient of its own
    assert by_patient == pytest.approx(width(single), rel=1e-9)  # copies carry no information
    assert by_patient > 2.3 * width(copies)  # 3 = sqrt(9) expected


def test_interval_covers_the_true_value():
    """Among 60 samples from a population of known AUROC, a 95% interval misses it rarely."""
    shift = 1.0
    true = 0.5 * (1 + math.erf(shift / 2))  # P(N(shift, 1) > N(0, 1))
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        targets = (rng.random(200) < 0.3).astype(np.float32)
        logits = rng.normal(size=200) + shift * targets
        predictions = Predictions(
            "t", ("a",), np.arange(200).astype(str), np.zeros(200), targets[:, None], np.ones((200, 1)), logits[:, None]
        )
        entry = evaluate(predictions, predictions.probabilities, num_bootstrap=300)["a"]["roc_auc"]
        covered += entry["low"] <= true <= entry["high"]
    assert 52 <= covered <= 60


@pytest.mark.parametrize("kind, targets", [("negatives", 0.0), ("positives", 1.0)])
def test_one_class_gives_null_and_a_reason(kind, targets):
    predictions = cohort()
    predictions.targets[:, 1] = targets
    result = evaluate(predictions, predictions.probabilities, num_bootstrap=10)
    entry = result["label_1"]
    for name in ("roc_auc", "average_precision", "precision", "recall", "f1"):
        assert entry[name] == {"value": None, "low": None, "high": None}
    assert entry["reason"] == f"only {kind} among the known labels"
    assert entry["brier"]["value"] is not None
    mean = (result["label_0"]["roc_auc"]["value"] + result["label_2"]["roc_auc"]["value"]) / 2
    assert result["macro"]["roc_auc"]["value"] == pytest.approx(mean)
    assert result["macro"]["reason"] == "mean over the labels that have a value; without: label_1"
    assert result["micro"]["reason"] is None


def test_no_known_label_and_no_example_give_null_and_a_reason():
    predictions = cohort()
    predictions.weights[:, 2] = 0
    entry = evaluate(predictions, predictions.probabilities, num_bootstrap=5)["label_2"]
    assert (entry["reason"], entry["n"], entry["unknown"]) == ("no known label", 0, 400)
    assert all(entry[name]["value"] is None for name in evaluation.METRICS)
    empty = predictions.take(slice(0, 0))
    result = evaluate(empty, empty.probabilities, num_bootstrap=5)
    assert result["micro"]["reason"] == "no known label" and result["macro"]["reason"] == "no label has both classes"


def test_a_class_from_one_patient_gives_no_interval():
    predictions = cohort(labels=1, unknown=0)
    predictions.targets[:] = 0
    predictions.targets[:2] = 1
    predictions.patient_ids[1] = predictions.patient_ids[0]
    entry = evaluate(predictions, predictions.probabilities, num_bootstrap=50)["label_0"]
    assert entry["roc_auc"]["value"] is not None and entry["roc_auc"]["low"] is None
    assert entry["reason"] == "no interval: the positives come from one patient"


def test_calibration_error_by_hand():
    """30 scores, three bins of 10: |0.2 - 0.1|, |0.5 - 0.5| and |0.9 - 0.6|, each a third of the scores."""
    scores = np.repeat([0.2, 0.5, 0.9], 10)
    targets = np.concatenate([np.arange(10) < positives for positives in (1, 5, 6)]).astype(np.float32)
    predictions = Predictions(
        "t", ("a",), np.arange(30).astype(str), np.zeros(30), targets[:, None], np.ones((30, 1)), np.zeros((30, 1))
    )
    result = evaluate(predictions, scores[:, None], num_bootstrap=200)["a"]["calibration_error"]
    assert result["value"] == pytest.approx((0.1 + 0.0 + 0.3) / 3)
    assert result["low"] < result["value"] < result["high"]


def test_bins_hold_equal_numbers_keep_ties_together_and_ignore_order():
    rng = np.random.default_rng(0)
    scores = rng.random(1505)
    bins = bootstrap.calibration_bins(scores)
    sizes = np.bincount(bins)
    assert len(sizes) == 15 and sizes.max() - sizes.min() <= 1
    assert (np.diff(bins[np.argsort(scores)]) >= 0).all()
    tied = scores.round(2)
    bins = bootstrap.calibration_bins(tied)
    assert all(len(set(bins[tied == value])) == 1 for value in np.unique(tied))
    order = rng.permutation(len(tied))
    np.testing.assert_array_equal(bootstrap.calibration_bins(tied[order]), bins[order])
    assert set(bootstrap.calibration_bins(np.full(500, 0.3))) == {7}
    assert bootstrap.calibration_bins(rng.random(45)).max() == 3  # at least ten in a bin


def test_uncalibrated_metrics_stand_beside_the_calibrated_ones():
    predictions = cohort()
    before = predictions.probabilities
    after = sigmoid(predictions.logits * np.array([2.0, 0.5, 1.0]) - 1)
    result = evaluate(predictions, after, uncalibrated=before, num_bootstrap=50)
    alone = evaluate(predictions, before, num_bootstrap=50)
    for label in (*predictions.labels, "micro", "macro"):
        for name in ("brier", "calibration_error"):
            assert result[label][f"{name}_uncalibrated"] == alone[label][name]
    assert result["micro"]["roc_auc_uncalibrated"] == alone["micro"]["roc_auc"]
    assert result["micro"]["roc_auc"]["value"] != alone["micro"]["roc_auc"]["value"]


def test_identical_models_differ_by_nothing():
    predictions = cohort(patients=150)
    result = paired_bootstrap(
        predictions, predictions.probabilities, predictions, predictions.probabilities, num_bootstrap=100
    )
    for entry in result.values():
        assert (entry["difference"], entry["low"], entry["high"], entry["p_value"]) == (0, 0, 0, 1)


def test_paired_bootstrap_equals_explicit_resampling_and_needs_no_common_order():
    first = cohort(examples=250, labels=1, patients=100, unknown=0.1, seed=8)
    other = sigmoid(first.logits + np.random.default_rng(9).normal(size=first.logits.shape))
    order = np.random.default_rng(10).permutation(250)
    result = paired_bootstrap(first, first.probabilities, first.take(order), other[order], num_bootstrap=150, seed=3)
    names, owner = np.unique(first.patient_ids, return_inverse=True)
    rng, drawn, known = np.random.default_rng(3), [], first.known[:, 0]
    for _ in range(150):
        rows = np.concatenate(
            [np.flatnonzero((owner == patient) & known) for patient in rng.integers(len(names), size=len(names))]
        )
        targets = first.targets[rows, 0]
        drawn.append(
            oracle.roc_auc_score(targets, first.probabilities[rows, 0]) - oracle.roc_auc_score(targets, other[rows, 0])
        )
    drawn, entry = np.array(drawn), result["label_0"]
    assert entry["n"] == known.sum()
    assert (entry["low"], entry["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=1e-12)
    assert entry["p_value"] == pytest.approx(min(1, 2 * (1 + min((drawn <= 0).sum(), (drawn >= 0).sum())) / 151))


def test_paired_interval_is_narrower_than_the_two_intervals_and_sees_a_small_difference():
    first = cohort(examples=2000, labels=1, unknown=0, ties=False, seed=12)
    worse = sigmoid(first.logits + 0.7 * np.random.default_rng(0).normal(size=first.logits.shape))
    entry = paired_bootstrap(first, first.probabilities, first, worse, num_bootstrap=500)["label_0"]
    alone = evaluate(first, first.probabilities, num_bootstrap=500)["label_0"]["roc_auc"]
    assert 0 < entry["low"] < entry["difference"] < entry["high"] and entry["p_value"] < 0.01
    assert entry["high"] - entry["low"] < alone["high"] - alone["low"]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda other: setattr(other, "labels", ("a", "b", "c")), "expected labels label_0"),
        (lambda other: setattr(other, "prediction_times", other.prediction_times + 10**6), "expected common examples"),
        (lambda other: other.targets.__setitem__((0, 0), 1 - other.targets[0, 0]), "received 1 that differ"),
        (lambda other: other.prediction_times.__setitem__(slice(None), 5), "received a pair twice"),
    ],
)
def test_paired_bootstrap_refuses_what_is_not_paired(change, message):
    first, other = cohort(patients=100, unknown=0), cohort(patients=100, unknown=0)
    change(other)
    with pytest.raises(DataError, match=message) as caught:
        paired_bootstrap(first, first.probabilities, other, other.probabilities, num_bootstrap=2)
    assert "\n" not in str(caught.value)


def test_predictions_file_round_trip(tmp_path, monkeypatch):
    monkeypatch.setattr("medtop.evaluation.predictions._EXAMPLES_PER_BLOCK", 64)  # several blocks
    predictions = cohort(patients=300)
    predictions.prediction_times = np.arange(400) * 86_400 - 10**9  # before 1970 too
    other = cohort(examples=3, labels=1, task="long_stay", unknown=0)
    other.patient_ids = np.array(['with "quotes"', "comma, here", "007"], object)
    path = tmp_path / "predictions.csv"
    evaluation.write_predictions(path, [(predictions, predictions.probabilities), (other, other.probabilities)])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "patient_id,prediction_time,task,label,target,probability"
    assert len(lines) == 1 + 400 * 3 + 3
    fields = lines[1].split(",")
    assert fields[:4] == [predictions.patient_ids[0], "1938-04-24T22:13:20", "complications", "label_0"]
    assert fields[4] == (str(int(predictions.targets[0, 0])) if predictions.known[0, 0] else "")
    read = evaluation.read_predictions(path)
    for before in (predictions, other):
        after, probabilities = read[before.task]
        np.testing.assert_array_equal(probabilities, before.probabilities)
        np.testing.assert_array_equal(after.known, before.known)
        np.testing.assert_array_equal(after.targets[after.known], before.targets[before.known])
        np.testing.assert_array_equal(after.prediction_times, before.prediction_times)
        assert list(after.patient_ids) == list(before.patient_ids) and after.labels == before.labels
    assert evaluate(read["complications"][0], read["complications"][1], num_bootstrap=20) == evaluate(
        predictions, predictions.probabilities, num_bootstrap=20
    )


def test_predictions_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("earlier", encoding="utf-8")
    predictions = cohort()
    with pytest.raises(DataError, match="expected values from 0 to 1"):
        evaluation.write_predictions(
            path, [(predictions, predictions.probabilities), (predictions, -predictions.probabilities)]
        )
    assert path.read_text(encoding="utf-8") == "earlier" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "content, message",
    [
        ("patient_id,task\na,b\n", "expected CSV with columns"),
        ("patient_id,prediction_time,task,label,target,probability\na,soon,t,x,1,0.5\n", "expected ISO 8601"),
        ("patient_id,prediction_time,task,label,target,probability\na,2010-05-01T00:00:00Z,t,x,1,0.5\n", "ISO 8601"),
        (
            "patient_id,prediction_time,task,label,target,probability\na,2010-05-01T00:00:00-05:00,t,x,1,0.5\n",
            "ISO 8601",
        ),
        (
            "patient_id,prediction_time,task,label,target,probability\na,2010-05-01T00:00:00+05:30,t,x,1,0.5\n",
            "ISO 8601",
        ),
        ("patient_id,prediction_time,task,label,target,probability\na,2010-01-01,t,x,1,high\n", "column probability"),
        (
            "patient_id,prediction_time,task,label,target,probability\na,2010-01-01,t,x,1,0.5\na,2010-01-01,t,y,1,0.5\n"
            "b,2010-01-01,t,y,1,0.5\n",
            "missing row",
        ),
        (
            "patient_id,prediction_time,task,label,target,probability\na,2010-01-01,t,x,2,0.5\n",
            "expected targets 0 or 1",
        ),
    ],
)
def test_bad_predictions_file_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "predictions.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        evaluation.read_predictions(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("times", ["iso", "seconds"])
def test_best_reachable_is_the_true_risk_on_the_same_examples(tmp_path, times):
    predictions = cohort(patients=200, ties=False)
    predictions.prediction_times = predictions.prediction_times * 86_400
    risks = np.random.default_rng(1).random(predictions.logits.shape)
    stamps = predictions.prediction_times
    if times == "iso":
        stamps = np.datetime_as_string(stamps.astype("datetime64[s]"), unit="D")
    rows = [
        f"{patient},{stamp},{task},{label},{risk}"
        for example, (patient, stamp) in enumerate(zip(predictions.patient_ids, stamps, strict=True))
        for task, shift in (("complications", 0), ("another", 1))
        for label, risk in zip(predictions.labels, (risks[example] + shift) % 1, strict=True)
        if not (label == "label_0" and example < 100)
    ]  # the file lacks some
    path = tmp_path / "risk.csv"
    np.random.default_rng(2).shuffle(rows)
    path.write_text("patient_id,prediction_time,task,label,risk\n" + "\n".join(rows) + "\n", encoding="utf-8")
    best = evaluation.best_reachable(predictions, path)
    known = predictions.known
    kept = known[:, 0] & (np.arange(400) >= 100)
    expected = oracle.roc_auc_score(predictions.targets[kept, 0], risks[kept, 0])
    assert best["label_0"]["roc_auc"] == pytest.approx(expected, abs=1e-12) and best["label_0"]["n"] == kept.sum()
    expected = oracle.roc_auc_score(predictions.targets[known[:, 1], 1], risks[known[:, 1], 1])
    assert best["label_1"]["roc_auc"] == pytest.approx(expected, abs=1e-12)
    assert best["macro"]["roc_auc"] == pytest.approx(np.mean([best[f"label_{k}"]["roc_auc"] for k in range(3)]))


def test_compare_and_table(tmp_path):
    predictions = cohort(labels=2)
    path = tmp_path / "risk.csv"
    rows = [
        f"{patient},{time},complications,{label},{risk}"
        for patient, time, risks in zip(
            predictions.patient_ids, predictions.prediction_times, predictions.probabilities, strict=True
        )
        for label, risk in zip(predictions.labels, risks, strict=True)
    ]
    path.write_text("patient_id,prediction_time,task,label,risk\n" + "\n".join(rows) + "\n", encoding="utf-8")
    worse = sigmoid(predictions.logits + np.random.default_rng(0).normal(size=predictions.logits.shape))
    results = {"complications": (predictions, predictions.probabilities)}
    rivals = {"noise": {"complications": (predictions, 1 - worse)}, "counts": {"complications": (predictions, worse)}}
    comparison = evaluation.compare(results, rivals, true_risk=path, num_bootstrap=50)
    metrics = {
        "masked_lm": {"masked_lm": evaluation.masked_metrics(12, loss=2.0, accuracy=0.25, top10_accuracy=0.5)},
        "complications": evaluate(predictions, predictions.probabilities, num_bootstrap=50),
    }
    json.dumps(comparison, allow_nan=False)
    table = tables.results_table(metrics, comparison).splitlines()
    assert len(table) == 2 + 5 + 1 and len({len(line) for line in table[:6]}) == 1
    assert [line.split("  ")[1].strip() for line in table[2:7]][:1] == ["macro"] and "micro of constants" in table[6]
    assert table[0].split()[:2] == ["task", "label"] and "counts AUROC" in table[0] and " share " in table[0]
    strongest = comparison["differences"]["counts"]["complications"]["label_0"]
    reached = comparison["baselines"]["counts"]["complications"]["label_0"]["roc_auc"]["value"]
    assert f"counts {reached:.3f} {strongest['difference']:+.3f} [" in " ".join(table[3].split())
    entry = metrics["complications"]["label_0"]["roc_auc"]
    assert f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]" in table[3]
    assert " 100% " in table[3]  # the model's risk is the true one here
    assert table[-1] == "masked_lm: n 12, loss 2.000, accuracy 0.250, top10_accuracy 0.500, perplexity 7.389"
    plain = tables.results_table({"complications": metrics["complications"]})
    assert "share" not in plain and "counts" not in plain


def test_metrics_file_has_the_contracts_shape(tmp_path):
    predictions = cohort()
    metrics = {
        "test": {
            "complications": evaluate(predictions, predictions.probabilities, num_bootstrap=10),
            "masked_lm": {"masked_lm": evaluation.masked_metrics(0)},
        }
    }
    evaluation.write_metrics(tmp_path / "metrics.json", metrics)
    read = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert read == metrics
    assert set(read["test"]["complications"]) == {"label_0", "label_1", "label_2", "micro", "macro"}
    for entry in read["test"]["complications"].values():
        assert set(entry["roc_auc"]) == {"value", "low", "high"}
        assert {"n", "positives", "unknown", "reason"} <= set(entry)
    assert read["test"]["masked_lm"]["masked_lm"]["perplexity"]["value"] is None


@pytest.mark.parametrize(
    "change, message",
    [
        ({"logits": np.full((3, 1), np.nan)}, "expected finite logits"),
        ({"targets": np.zeros((3, 2))}, "expected targets of shape"),
        ({"targets": np.full((3, 1), 0.5)}, "expected targets 0 or 1"),
        ({"prediction_times": np.zeros(2)}, "expected 3 prediction times"),
        ({"labels": ("micro",)}, "received a label named 'micro'"),
    ],
)
def test_predictions_are_checked(change, message):
    good = {
        "task": "t",
        "labels": ("a",),
        "patient_ids": ["x", "y", "z"],
        "prediction_times": np.zeros(3),
        "targets": np.ones((3, 1)),
        "weights": np.ones((3, 1)),
        "logits": np.zeros((3, 1)),
    }
    assert len(Predictions(**good)) == 3
    with pytest.raises(DataError, match=message):
        Predictions(**good | change)


@pytest.mark.slow
def test_twenty_thousand_patients_and_twelve_labels_stay_within_seconds():
    import time

    predictions = cohort(examples=20_000, labels=12, ties=False)
    start = time.process_time()
    evaluate(predictions, predictions.probabilities, num_bootstrap=100)
    assert time.process_time() - start < 8  # a tenth of the resamples, with room for a slow machine
