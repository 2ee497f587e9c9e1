"""Labels with few positives or without a calibration are marked everywhere; macro leads, micro stands by constants."""

import types

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medtop.evaluation.calibration import Calibration, fit_calibration
from medtop.evaluation.marks import MINIMUM_POSITIVES, add_marks, mark_lines
from medtop.evaluation.metrics import evaluate
from medtop.evaluation.predictions import Predictions, sigmoid
from medtop.evaluation.tables import reading_order, result_rows, results_table
from medtop.reporting.card import Card, render

SHARES = (0.01, 0.2, 0.6)  # RARE has too few positives, COMMON and OFTEN enough


def drawn(count=300, seed=0, skill=1.0, shares=SHARES):
    """Predictions of three labels of unlike prevalence, which the logits know; they have the given skill besides."""
    rng = np.random.default_rng(seed)
    risks = rng.normal(size=(count, 3))
    base = np.log(np.array(shares) / (1 - np.array(shares)))
    targets = (rng.random((count, 3)) < sigmoid(base + risks)).astype(np.float32)
    logits = skill * risks + (1 - skill) * rng.normal(size=(count, 3)) + base
    labels, times = ("RARE", "COMMON", "OFTEN"), np.zeros(count)
    known = (rng.random((count, 3)) < 0.8).astype(np.float32)
    return Predictions("complications", labels, np.arange(count).astype(str), times, targets, known, logits)


def metrics_of(valid, test):
    calibration = fit_calibration(valid)
    found = {
        split: {
            "complications": evaluate(one, calibration.apply(one), thresholds=calibration.thresholds, num_bootstrap=20)
        }
        for split, one in (("valid", valid), ("test", test))
    }
    found["test"]["masked_lm"] = {"masked_lm": {"loss": {"value": 1.0}, "n": 3, "positives": None, "reason": None}}
    add_marks(found, {"complications": calibration})
    return found


def test_few_positives_and_failed_calibrations_are_marked():
    valid, test = drawn(seed=1), drawn(seed=2)
    valid.logits[:, 1] *= -1  # ranks the wrong way round
    metrics = metrics_of(valid, test)
    assert metrics["valid"]["complications"]["RARE"]["positives"] < MINIMUM_POSITIVES
    for split in ("valid", "test"):
        labels = metrics[split]["complications"]
        rare, common = labels["RARE"]["marks"], labels["COMMON"]["marks"]
        assert any("positives in valid" in text for text in rare) and any("positives in test" in text for text in rare)
        assert any(text.startswith("not calibrated: ") for text in rare)
        assert len(common) == 1 and common[0].startswith("slope held at 0.01")
        assert labels["OFTEN"]["marks"] == []
        assert labels["macro"]["marks"] == labels["micro"]["marks"] == ["holds marked labels: RARE, COMMON"]
    assert "marks" not in metrics["test"]["masked_lm"]["masked_lm"]
    assert [line.split(":")[0] for line in mark_lines(metrics["test"])] == [
        "* complications RARE",
        "* complications COMMON",
    ]


def test_too_few_negatives_are_marked_too_and_runs_without_validation():
    test = drawn(seed=2, shares=(0.5, 0.2, 0.99))
    entries = {"test": {"complications": evaluate(test, test.probabilities, num_bootstrap=0)}}
    add_marks(entries, {"complications": Calibration.identity("complications", test.labels)})
    labels = entries["test"]["complications"]
    assert labels["RARE"]["marks"] == ["no validation split"]
    assert labels["OFTEN"]["marks"][0].endswith("negatives in test")


def test_table_and_card_show_marks_and_bold_nothing_uncertain():
    uncertain = metrics_of(drawn(seed=1), drawn(seed=2))["test"]
    certain = metrics_of(drawn(seed=1, shares=(0.3, 0.2, 0.6)), drawn(seed=2, shares=(0.3, 0.2, 0.6)))["test"]
    names = [row[1] for row in result_rows(uncertain)[1]]
    assert names == ["macro", "RARE *", "COMMON", "OFTEN", "micro", "micro of constants"]
    lines = results_table(uncertain).splitlines()
    assert any(line.startswith("* complications RARE: ") for line in lines)
    assert not mark_lines(certain) and "*" not in results_table(certain)
    cards = {
        name: "\n".join(line for line in render(Card(split="test", metrics=found)) if line.startswith(("|", "- ")))
        for name, found in (("uncertain", uncertain), ("certain", certain))
    }
    assert "| **" not in cards["uncertain"] and r"RARE \*" in cards["uncertain"]
    assert "- complications RARE: " in cards["uncertain"] and "RARE: " not in cards["certain"]
    assert "| **macro** | **0." in cards["certain"]
    assert "(constants 0." in cards["certain"]


def test_micro_of_constants_is_scikit_learns():
    """A model without any skill within labels has a high micro AUROC; the constants beside it reach as much."""
    test = drawn(2000, seed=3, skill=0.0)
    found = evaluate(test, test.probabilities, num_bootstrap=0)
    known, targets = test.known, test.targets
    prevalence = np.stack([np.full(len(test), targets[known[:, k], k].mean()) for k in range(3)], 1)
    wanted = roc_auc_score(targets[known], prevalence[known])
    assert found["micro"]["roc_auc_constants"]["value"] == pytest.approx(wanted, abs=1e-12)
    assert found["micro"]["average_precision_constants"]["value"] == pytest.approx(
        average_precision_score(targets[known], prevalence[known]), abs=1e-12
    )
    assert found["micro"]["roc_auc"]["value"] > 0.7 and abs(found["macro"]["roc_auc"]["value"] - 0.5) < 0.06
    assert found["micro"]["roc_auc"]["value"] <= wanted
    rows = {row[1]: row for row in result_rows({"complications": found})[1]}
    assert rows["micro of constants"][4] == f"{wanted:.3f}" and rows["micro of constants"][2:4] == ["", ""]
    assert len({len(row) for row in rows.values()}) == 1


def test_a_single_label_stands_alone():
    entry = {"roc_auc": None}
    assert reading_order({"long_stay": entry, "micro": entry, "macro": entry}) == ["long_stay"]
    assert reading_order({"masked_lm": {"loss": None}}) == []


def scorer_of(predictions):
    return types.SimpleNamespace(predictions=lambda: {"complications": predictions}, exclusive_measures=lambda _: {})


def test_labels_with_few_positives_do_not_choose_the_best_epoch(caplog):
    pytest.importorskip("tensorflow")  # medtop.training loads it
    from medtop.training import validation
    from medtop.training.validation import validation_measures

    validation._warn_once.cache_clear()  # another test may have warned

    task = types.SimpleNamespace(name="complications", labels=drawn().labels, positive_weights=None, weight=1.0)
    valid = drawn(seed=1)
    measures = validation_measures(scorer_of(valid), [task])
    areas = [roc_auc_score(valid.targets[valid.known[:, k], k], valid.logits[valid.known[:, k], k]) for k in range(3)]
    assert measures["roc_auc"] == measures["complications.macro.roc_auc"] == pytest.approx(np.mean(areas[1:]))
    assert measures["complications.RARE.roc_auc"] == pytest.approx(areas[0])  # still shown, still to be asked for
    tiny = drawn(12, seed=5)
    found = validation_measures(scorer_of(tiny), [task])
    assert found["roc_auc"] is not None and "all choose the best epoch" in caplog.text
