"""Windows to admissions and recall at precision 80%: against cases worked out by hand, ClinicalBERT's own formula in
pandas, and scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_curve, roc_auc_score

from medtop.evaluation.aggregation import C_GRID, DEFAULT_C, METHODS, Admissions, Aggregation, tune_c
from medtop.evaluation.bootstrap import LabelStatistics, interval, resampled
from medtop.evaluation.metrics import evaluate, paired_bootstrap
from medtop.evaluation.predictions import Predictions, logit, sigmoid
from medtop.files.errors import DataError
from medtop.training.options import AGGREGATIONS

METRIC = "recall_at_precision_80"


def predictions_of(probabilities, targets, known=None, patients=None, admissions=None, times=None):
    """Predictions of one label."""
    count = len(targets)
    return Predictions(
        "readmission",
        ("readmission",),
        np.arange(count).astype(str) if patients is None else np.asarray(patients),
        np.zeros(count) if times is None else times,
        np.reshape(targets, (-1, 1)),
        np.ones((count, 1)) if known is None else np.reshape(known, (-1, 1)),
        logit(np.reshape(probabilities, (-1, 1))),
        admissions,
    )


@pytest.mark.parametrize(
    "method, c, expected",
    [
        # three windows 0.2, 0.8, 0.5: max 0.8, mean 0.5, n = 3; one window 0.3
        ("mean", 2.0, [0.5, 0.3]),
        ("max", 2.0, [0.8, 0.3]),
        ("max_mean", 2.0, [(0.8 + 0.5 * 1.5) / 2.5, 0.3]),  # 0.62
        ("max_mean", 1.0, [(0.8 + 0.5 * 3) / 4, 0.3]),  # 0.575
        ("max_mean", 3.0, [(0.8 + 0.5) / 2, 0.3]),  # n = c: the two weigh the same
    ],
)
def test_the_formula_by_hand(method, c, expected):
    windows, groups = [[0.2], [0.3], [0.8], [0.5]], [0, 1, 0, 0]
    assert Aggregation(method, c).combine(windows, groups, 2).ravel() == pytest.approx(expected, abs=1e-15)


def random_windows(seed, admissions=200, labels=1, ties=False):
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(admissions), rng.integers(admissions, size=3 * admissions)])
    rng.shuffle(groups)
    probabilities = rng.random((len(groups), labels))
    return (probabilities.round(1) if ties else probabilities), groups


def test_equals_clinicalberts_own_formula_in_pandas():
    """Its code: (max + sum / 2) / (1 + len / 2), grouped by admission."""
    probabilities, groups = random_windows(0)
    table = pd.DataFrame({"ID": groups, "score": probabilities[:, 0]}).groupby("ID")["score"]
    theirs = (table.max() + table.sum() / 2) / (1 + table.size() / 2)
    ours = Aggregation().combine(probabilities, groups, 200)
    assert np.allclose(ours[:, 0], theirs.sort_index().to_numpy(), rtol=0, atol=1e-12)


def test_it_lies_between_mean_and_max_and_c_moves_it_from_one_to_the_other():
    probabilities, groups = random_windows(1, labels=3)
    mean, highest = (Aggregation(method).combine(probabilities, groups, 200) for method in ("mean", "max"))
    before = mean
    for c in (1e-9, *C_GRID, 1e9):
        joint = Aggregation("max_mean", c).combine(probabilities, groups, 200)
        assert (joint >= before - 1e-12).all() and (joint <= highest + 1e-12).all()
        before = joint
    assert np.allclose(Aggregation("max_mean", 1e-9).combine(probabilities, groups, 200), mean, atol=1e-6)
    assert np.allclose(before, highest, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_equal_windows_stay_what_they_are_and_order_does_not_matter(method):
    same = Aggregation(method).combine(np.full((7, 1), 0.37), [0, 1, 1, 2, 2, 2, 2], 3)
    assert same.ravel() == pytest.approx([0.37] * 3, abs=1e-15)
    probabilities, groups = random_windows(2)
    order = np.random.default_rng(3).permutation(len(groups))
    shuffled = Aggregation(method).combine(probabilities[order], groups[order], 200)
    assert np.allclose(shuffled, Aggregation(method).combine(probabilities, groups, 200), rtol=0, atol=1e-15)


@pytest.mark.parametrize("method", METHODS)
def test_shares_add_up_to_the_joint_probability(method):
    probabilities, groups = random_windows(4, labels=2, ties=True)
    aggregation = Aggregation(method, 3.0)
    shares = aggregation.shares(probabilities, groups, 200)
    sums = np.stack([np.bincount(groups, column, 200) for column in shares.T], axis=1)
    assert np.allclose(sums, aggregation.combine(probabilities, groups, 200), rtol=0, atol=1e-12)
    assert (shares >= 0).all()
    by_hand = Aggregation("max_mean", 2.0).shares([[0.6], [0.2]], [0, 0], 1).ravel()
    assert by_hand == pytest.approx([(0.6 + 0.3) / 2, 0.1 / 2])  # max 0.6, mean 0.4 (0.3 and 0.1), weight 2 / 2


def test_settings_are_checked():
    assert AGGREGATIONS == ("none", *METHODS)
    for bad in (dict(method="median"), dict(c=0.0), dict(c=-1.0), dict(c=float("nan")), dict(c=float("inf"))):
        with pytest.raises(DataError, match="aggregation: expected"):
            Aggregation(**bad)
    with pytest.raises(DataError, match="expected windows of each of 3 admissions"):
        Aggregation().combine([[0.1], [0.2]], [0, 2], 3)


def test_windows_are_grouped_by_patient_admission_and_time_in_order_of_appearance():
    patients, stays = ["b", "a", "b", "a", "b", "a"], ["1", "1", "1", "2", "1", "1"]
    found = Admissions.of(patients, stays, [5, 5, 5, 5, 9, 5])
    assert found.groups.tolist() == [0, 1, 0, 2, 3, 1] and found.counts.tolist() == [2, 2, 1, 1]
    assert found.patient_ids.tolist() == ["b", "a", "a", "b"] and found.admission_ids.tolist() == ["1", "1", "2", "1"]
    assert found.prediction_times.tolist() == [5, 5, 5, 9] and found.first.tolist() == [0, 1, 3, 4]


def test_an_admission_keeps_label_and_ids_and_unknown_stays_unknown():
    windows = predictions_of([0.2, 0.4, 0.9, 0.5], [1, 1, 0, 7], [1, 1, 1, 0], patients=["p", "p", "q", "r"])
    found = Admissions.of(windows.patient_ids, ["1", "1", "2", "3"], windows.prediction_times)
    joint = found.aggregate(windows, Aggregation("mean"))
    assert joint.patient_ids.tolist() == ["p", "q", "r"] and joint.admission_ids.tolist() == ["1", "2", "3"]
    assert joint.known.ravel().tolist() == [True, True, False] and joint.targets.ravel().tolist()[:2] == [1, 0]
    assert joint.probabilities.ravel() == pytest.approx([0.3, 0.9, 0.5], abs=1e-6)
    mixed = predictions_of([0.2, 0.4], [1, 0], patients=["p", "p"])
    with pytest.raises(DataError, match="one label of readmission for all windows of an admission"):
        Admissions.of(["p", "p"], ["1", "1"], [0, 0]).aggregate(mixed, Aggregation())
    half_known = predictions_of([0.2, 0.4], [1, 1], [1, 0], patients=["p", "p"])
    with pytest.raises(DataError, match="one label"):
        Admissions.of(["p", "p"], ["1", "1"], [0, 0]).aggregate(half_known, Aggregation())


def test_c_is_chosen_by_validation_auroc():
    """Negatives have many middling windows, positives one high one among low ones: only the maximum tells."""
    rng = np.random.default_rng(5)
    scores, groups, targets = [], [], []
    for number in range(60):
        label = number % 2
        mine = rng.uniform(0.4, 0.5, 12) if not label else np.append(rng.uniform(0.0, 0.3, 11), 0.9)
        scores, groups, targets = [*scores, *mine], [*groups, *[number] * 12], [*targets, *[label] * 12]
    ids = np.array(groups).astype(str)
    windows = predictions_of(scores, targets, patients=ids)
    admissions = Admissions.of(ids, ids, windows.prediction_times)
    c, tried = tune_c(windows, admissions)
    best = max(tried.values())
    assert set(tried) == set(C_GRID) and tried[c] == best == 1.0 and tried[0.25] == 0.0 and c > DEFAULT_C
    # each tried value is scikit-learn's on the joint probabilities
    for value, area in tried.items():
        joint = Aggregation(c=value).combine(windows.probabilities, admissions.groups, 60)
        assert area == pytest.approx(roc_auc_score(np.arange(60) % 2, joint[:, 0]), abs=1e-12)
    assert c == min((value for value in C_GRID if tried[value] == best), key=lambda value: abs(np.log(value / 2)))
    one_class = predictions_of([0.1, 0.2], [0, 0])
    assert tune_c(one_class, Admissions.of(["0", "1"], ["0", "1"], [0, 0])) == (DEFAULT_C, {})


def recall_of(scores, targets):
    targets = np.asarray(targets)
    statistics = LabelStatistics(scores, targets, np.arange(len(targets)), len(targets), metrics=(METRIC,))
    return statistics.point()[METRIC]


@pytest.mark.parametrize(
    "scores, targets, expected",
    [
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [1, 1, 1, 1, 0, 1], 1.0),  # 5 of 6 is 0.83: all are found
        ([0.9, 0.8, 0.7, 0.6, 0.5], [1, 1, 1, 0, 1], 1.0),  # 4 of 5: exactly 80%, which counts
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1], 2 / 3),  # 3 of 4 is too little: stop after two
        ([0.9, 0.8, 0.7, 0.6], [0, 1, 1, 1], 0.0),  # never: 0, 1/2, 2/3, 3/4
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0, 1, 1, 1, 1, 0], 1.0),  # below 80% first, then 4 of 5
        ([0.5, 0.5, 0.5, 0.5, 0.5], [1, 1, 1, 1, 0], 1.0),  # all tied, 4 of 5
        ([0.5, 0.5, 0.5, 0.5], [1, 1, 1, 0], 0.0),  # all tied, 3 of 4
        ([0.9, 0.9, 0.2, 0.2], [1, 0, 1, 1], 0.0),  # the first tie is 1 of 2, all are 3 of 4
        ([0.9, 0.2], [1, 0], 1.0),
        ([0.2, 0.9], [1, 0], 0.0),
    ],
)
def test_recall_at_precision_80_by_hand(scores, targets, expected):
    assert recall_of(scores, targets) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("targets", [[1, 1, 1], [0, 0, 0]])
def test_one_class_has_no_value_and_a_reason(targets):
    entry = evaluate(predictions_of([0.1, 0.5, 0.9], targets), np.array([[0.1], [0.5], [0.9]]))["readmission"]
    assert entry[METRIC] == {"value": None, "low": None, "high": None} and entry["reason"].startswith("only")


def clinicalberts_rp80(targets, scores):
    """What ClinicalBERT's script computes: recall of the lowest threshold whose precision is above 0.799999, or 0."""
    precision, recall, thresholds = precision_recall_curve(targets, scores)
    rows = [(p, r) for p, r, _ in zip(precision, recall, thresholds, strict=False) if p > 0.799999]
    return rows[0][1] if rows else 0.0


@pytest.mark.parametrize("digits", [1, 2, 9])
@pytest.mark.parametrize("slope", [0.0, 1.0, 3.0, 8.0])
def test_equals_clinicalberts_rule_on_scikit_learns_curve(digits, slope):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores = rng.random(80).round(digits)
        targets = (rng.random(80) < sigmoid(slope * (scores - 0.5))).astype(int)
        if 0 < targets.sum() < 80:
            assert recall_of(scores, targets) == pytest.approx(clinicalberts_rp80(targets, scores), abs=1e-12)


def test_resampled_recall_equals_repeated_rows():
    """A patient drawn twice counts twice: the weighted value equals that of rows written out."""
    rng = np.random.default_rng(6)
    scores, patients = rng.random(60).round(2), rng.integers(25, size=60)
    targets = (rng.random(60) < sigmoid(6 * (scores - 0.4))).astype(int)
    statistics = LabelStatistics(scores, targets, patients, 25, metrics=(METRIC,))
    counts = rng.multinomial(25, [1 / 25] * 25, size=50)
    found = statistics.values(counts.T.astype(float))[METRIC]
    for row, value in zip(counts, found, strict=True):
        rows = np.repeat(np.arange(60), row[patients])
        assert value == pytest.approx(clinicalberts_rp80(targets[rows], scores[rows]), abs=1e-12)
    low, high = interval(statistics.point()[METRIC], resampled([statistics], 25, 300, 0)[0][METRIC])
    assert low <= statistics.point()[METRIC] <= high and low < high


def test_models_are_paired_by_admission_where_no_times_are_known():
    """A ClinicalBERT folder: two admissions of a patient, no prediction times."""
    targets, ids = [1, 0, 1, 0], ["10", "11", "20", "21"]
    first = predictions_of([0.9, 0.1, 0.8, 0.2], targets, patients=list("aabb"), admissions=np.array(ids))
    order = [2, 0, 3, 1]
    second = predictions_of(
        [0.4, 0.9, 0.3, 0.5], np.take(targets, order), patients=list("baba"), admissions=np.take(ids, order)
    )
    found = paired_bootstrap(first, first.probabilities, second, second.probabilities, num_bootstrap=0)
    assert found["readmission"]["n"] == 4
    area = roc_auc_score(targets, [0.9, 0.5, 0.4, 0.3])
    assert found["readmission"]["difference"] == pytest.approx(1 - area, abs=1e-12)
    second.admission_ids = None
    with pytest.raises(DataError, match="a pair twice"):
        paired_bootstrap(first, first.probabilities, second, second.probabilities)
    with pytest.raises(DataError, match="expected 4 admission ids"):
        predictions_of([0.1] * 4, targets, admissions=np.array(ids[:3]))
