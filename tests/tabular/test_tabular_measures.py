"""Measures against scikit-learn's, on the data and under explicit resampling; baselines and folds."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_absolute_error, mean_squared_error, r2_score
from tabular_cases import loaded, rows_of

from medtop.evaluation.bootstrap import resample_counts
from medtop.files.errors import DataError
from medtop.tabular import baselines
from medtop.tabular.cross_validation import fold_numbers, inner_split
from medtop.tabular.encoding import TargetValues
from medtop.tabular.measures import TargetStatistics, measure
from medtop.tabular.schema import Target

N, K = 80, 4


def made_up(seed=0):
    """(classification, regression) with some unknown, predictions of a model and of the constant model, groups."""
    generator = np.random.default_rng(seed)
    known = generator.random((2, N)) < 0.9
    classes = generator.choice(K, N, p=[0.5, 0.3, 0.15, 0.05])
    mode = TargetValues(Target("mode", "classification"), classes.astype(float), known[0], list("abcd"))
    flow = TargetValues(Target("flow", "regression"), generator.normal(300, 40, N), known[1], [])
    model = [generator.dirichlet(np.ones(K), N), flow.values + generator.normal(0, 30, N)]
    constant = [np.tile([0.4, 0.3, 0.2, 0.1], (N, 1)), np.full(N, 310.0)]
    return [mode, flow], {"model": model, "constant": constant}, generator.integers(0, 30, N)


def sklearn_values(target, predicted, constant, rows):
    """scikit-learn's values on some rows, which may repeat."""
    y = target.values[rows]
    if target.is_classification:
        losses = [log_loss(y, one[rows], labels=range(K)) for one in (predicted, constant)]
        found = predicted[rows].argmax(1)
        return {
            "accuracy": accuracy_score(y, found),
            "macro_f1": f1_score(y, found, average="macro", zero_division=0),
            "skill": 1 - losses[0] / losses[1],
        }
    losses = [mean_squared_error(y, one[rows]) for one in (predicted, constant)]
    return {
        "mae": mean_absolute_error(y, predicted[rows]),
        "r2": r2_score(y, predicted[rows]),
        "skill": 1 - losses[0] / losses[1],
    }


@pytest.mark.parametrize("seed", range(3))
def test_measures_are_scikit_learns(seed):
    targets, predictions, groups = made_up(seed)
    found = measure(targets, predictions, groups, 0, 0)
    for number, target in enumerate(targets):
        rows = np.flatnonzero(target.known)
        expected = sklearn_values(target, predictions["model"][number], predictions["constant"][number], rows)
        entry = found["model"][target.name]
        assert entry["n"] == len(rows)
        for name, value in expected.items():
            assert entry[name]["value"] == pytest.approx(value, abs=1e-12), name
    skills = [found["model"][target.name]["skill"]["value"] for target in targets]
    assert found["model"][""]["mean_skill"]["value"] == pytest.approx(np.mean(skills), abs=1e-12)
    assert found["constant"][""]["mean_skill"]["value"] == 0.0


@pytest.mark.parametrize("number", [0, 1])
def test_resampled_measures_are_scikit_learns_on_the_drawn_rows(number):
    targets, predictions, groups = made_up()
    target, model, constant = targets[number], predictions["model"][number], predictions["constant"][number]
    names, numbered = np.unique(groups, return_inverse=True)
    (counts,) = resample_counts(len(names), 20, 7)
    found = TargetStatistics(target, model, constant, numbered, len(names)).values(counts)
    for draw in range(20):
        rows = np.repeat(np.arange(N), counts[numbered, draw].astype(int))
        expected = sklearn_values(target, model, constant, rows[target.known[rows]])
        assert {name: values[draw] for name, values in found.items()} == pytest.approx(expected, abs=1e-9)


def test_intervals_and_paired_differences():
    targets, predictions, groups = made_up()
    predictions["worse"] = [predictions["constant"][0], predictions["model"][1] + 50]
    found = measure(targets, predictions, groups, 400, 3, against="model")
    for method, entries in found.items():
        for name, entry in entries.items():
            for one in [value for value in entry.values() if isinstance(value, dict)]:
                assert one["low"] <= one["value"] <= one["high"], (method, name)
                assert ("difference" in one) == (method != "model")
    mae = found["worse"]["flow"]["mae"]["difference"]
    single = found["worse"]["flow"]["mae"]
    assert mae["low"] > 0 and mae["value"] == single["value"] - found["model"]["flow"]["mae"]["value"]
    again = measure(targets, predictions, groups, 400, 3, against="model")
    assert again == found


def test_a_certain_and_wrong_model_weighs_finitely():
    targets, predictions, groups = made_up()
    predictions["model"][0] = np.eye(K)[(targets[0].values.astype(int) + 1) % K]
    skill = measure(targets, predictions, groups, 10, 0)["model"]["mode"]["skill"]
    assert -20 < skill["value"] < 0 and np.isfinite(skill["low"])


def test_r2_of_one_value_is_undefined():
    targets, predictions, groups = made_up()
    targets[1].known[:] = np.arange(N) == 3
    entry = measure(targets, predictions, groups, 10, 0)["model"]["flow"]
    assert entry["n"] == 1 and entry["r2"] == {"value": None, "low": None, "high": None}


# Folds


def test_folds_hold_whole_groups_and_are_level():
    groups = np.random.default_rng(0).integers(0, 40, 200)
    folds = fold_numbers(groups, 5, seed=1)
    assert all(len(set(folds[groups == name])) == 1 for name in set(groups))
    assert np.ptp(np.bincount(folds, minlength=5)) <= 5
    assert np.array_equal(folds, fold_numbers(groups, 5, seed=1))
    assert not np.array_equal(folds, fold_numbers(groups, 5, seed=2))
    assert np.array_equal(np.bincount(fold_numbers(np.arange(10), 5, 0)), np.full(5, 2))


def test_the_inner_split_holds_whole_groups():
    groups = np.random.default_rng(0).integers(0, 40, 200)
    rows = np.flatnonzero(groups % 4)
    train, valid = inner_split(groups, rows, 0.2, seed=0)
    assert sorted([*train, *valid]) == rows.tolist() and not {*groups[train]} & {*groups[valid]}
    assert len({*groups[valid]}) == round(0.2 * len({*groups[rows]}))
    assert not np.array_equal(valid, inner_split(groups, rows, 0.2, seed=1)[1])


@pytest.mark.parametrize("folds", [0, 1, 11])
def test_too_few_groups(folds):
    with pytest.raises(DataError, match=f"--folds: expected 2 to 10 .the groups of rows., received {folds}"):
        fold_numbers(np.arange(10), folds, 0)
    with pytest.raises(DataError, match="expected two groups"):
        inner_split(np.zeros(5), np.arange(5), 0.2, 0)


# Baselines


def test_baselines_are_scikit_learns(tmp_path):
    data = loaded(tmp_path, rows_of(80))
    train, test = np.arange(60), np.arange(60, len(data.table))
    x = data.encoder.encoded(train)
    mode, flow = data.targets
    rows = train[mode.known[train]]
    expected = LogisticRegression(max_iter=1000).fit(x[rows], mode.values[rows]).predict_proba(x[test])
    np.testing.assert_allclose(baselines.predict("linear", x, mode, train, test, 0), expected)
    rows = train[flow.known[train]]
    expected = Ridge().fit(x[rows], flow.values[rows]).predict(x[test])
    np.testing.assert_allclose(baselines.predict("linear", x, flow, train, test, 0), expected, rtol=1e-5)
    assert mode.known[test].sum() < len(test) or flow.known[test].sum() < len(test)
    boosted = baselines.predict("gradient_boosting", x, mode, train, test, 0)
    assert boosted.shape == (len(test), 2) and boosted.sum(1) == pytest.approx(1)


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_a_class_that_a_fold_lacks(tmp_path, name):
    rows = rows_of(60)
    for number in (50, 52, 55):
        rows[number][6] = "HF"
    data = loaded(tmp_path, rows)
    mode, train, test = data.targets[0], np.arange(40), np.arange(40, 60)
    found = baselines.predict(name, data.encoder.encoded(train), mode, train, test, 0)
    assert found.shape == (20, 3) and found.sum(1) == pytest.approx(1) and found[:, 2].max() < 0.05


def test_nothing_to_learn_gives_the_constant(tmp_path):
    data = loaded(tmp_path)
    flow = data.targets[1]
    flow.known[:] = False
    flow.known[3] = True
    found = baselines.predict("linear", data.encoder.encoded(np.arange(40)), flow, np.arange(40), np.arange(40, 60), 0)
    assert np.array_equal(found, np.full(20, flow.values[3]))
