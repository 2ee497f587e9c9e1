"""Intervals hold their estimate: for every metric, on many small random data sets."""

import types

import numpy as np

from medtop.evaluation.bootstrap import DECISIONS, ERRORS, RANKING, LabelStatistics, interval, resampled
from medtop.evaluation.calibration_measures import CalibrationStatistics
from medtop.evaluation.clinical import value_entry
from medtop.evaluation.decisions import DecisionStatistics
from medtop.evaluation.predictions import sigmoid
from medtop.tabular.measures import TargetStatistics, measure


def test_an_interval_contains_its_estimate():
    outside, intervals = [], 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        count = int(generator.integers(40, 200))
        logits = generator.normal(-1, 1, count)
        targets = generator.random(count) < sigmoid(logits)
        scores, who = sigmoid(logits + generator.normal(0, 0.3, count)), np.arange(count)
        if not 5 <= targets.sum() <= count - 5:
            continue  # degenerate: a class of a handful
        label = LabelStatistics(scores, targets, who, count, scores > 0.4, RANKING + ERRORS + DECISIONS)
        items = [label, CalibrationStatistics(scores, targets, who, count)]
        items.append(DecisionStatistics(scores, targets, who, count, [0.2]))
        for item, drawn in zip(items, resampled(items, count, 200, seed), strict=True):
            for name, value in item.point().items():
                if name == "calibration_error":
                    low, high = interval(value, drawn[name], centred=True)
                else:
                    entry = value_entry(value, drawn[name], name)
                    low, high = entry["low"], entry["high"]
                if low is not None:
                    intervals += 1
                    outside += [(seed, name, low, value, high)] * (not low - 1e-12 <= value <= high + 1e-12)
    # recall at a precision is a maximum over cut-offs, which resampling can only push up: its interval may lie above
    assert intervals > 500 and [row for row in outside if row[1] != "recall_at_precision_80"] == []


def target_values(values, classes):
    values = np.asarray(values, float)
    return types.SimpleNamespace(
        name="t", values=values, known=np.ones(len(values), bool), is_classification=True, classes=classes
    )


def test_a_class_that_a_resample_lost_is_left_out_of_its_macro_f1():
    """Three classes, one of them with two rows, all predicted right: F1 is 1 in every resample that draws anything."""
    truth = np.array([0] * 20 + [1] * 20 + [2] * 2)
    predicted = np.eye(3)[truth] * 0.9 + 0.05
    predicted[0] = [0.1, 0.1, 0.8]  # one row of class 0 taken for class 2
    target = target_values(truth, 3)
    constant = np.full((42, 3), 1 / 3)
    statistics = TargetStatistics(target, predicted, constant, np.arange(42), 42)
    lost = np.ones((42, 1))
    lost[-2:] = 0  # no row of class 2, but the wrong prediction is drawn
    assert statistics.values(lost)["macro_f1"][0] == np.mean([2 * 19 / 39, 1.0])
    models = {"model": [predicted], "constant": [constant]}
    entry = measure([target], models, np.arange(42), 300, 0)["model"]["t"]["macro_f1"]
    assert entry["low"] <= entry["value"] <= entry["high"]


def test_intervals_of_classes_and_values_contain_their_estimate():
    """Accuracy, macro-F1, skill, MAE and R2 on random targets, rare classes and grouped rows among them."""
    outside, seen = [], 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        count, classes = int(generator.integers(60, 200)), int(generator.integers(2, 6))
        shares = generator.dirichlet(np.full(classes, 0.7))
        truth = generator.choice(classes, count, p=shares)
        predicted = np.eye(classes)[truth] * generator.uniform(0.2, 2) + generator.dirichlet(np.ones(classes), count)
        predicted /= predicted.sum(1, keepdims=True)
        constant = np.full((count, classes), 1 / classes)
        groups = generator.integers(0, count // 2, count)
        values = generator.normal(size=count)
        numbers = types.SimpleNamespace(
            name="v", values=values, known=generator.random(count) < 0.9, is_classification=False, classes=None
        )
        models = {"model": [predicted, values + generator.normal(size=count)], "constant": [constant, np.zeros(count)]}
        entries = measure([target_values(truth, classes), numbers], models, groups, 200, seed)["model"]
        for target in ("t", "v"):
            for name, entry in entries[target].items():
                if name != "n" and entry["low"] is not None:
                    seen += 1
                    inside = entry["low"] - 1e-12 <= entry["value"] <= entry["high"] + 1e-12
                    outside += [] if inside else [(seed, name, entry)]
    assert seen > 200 and outside == []
