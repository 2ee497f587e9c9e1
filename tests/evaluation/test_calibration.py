"""Calibration and thresholds against scikit-learn, algebra and hand-worked cases."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss

from medtop.evaluation import calibration, platt
from medtop.evaluation.calibration import Calibration, choose_threshold, fit_calibration
from medtop.evaluation.platt import SMALLEST_SLOPE, fit_platt
from medtop.evaluation.predictions import Predictions, sigmoid
from medtop.files.errors import DataError


def predictions_of(logits, targets, weights=None, labels=None):
    logits, targets = (np.asarray(values, np.float32).reshape(len(values), -1) for values in (logits, targets))
    weights = np.ones_like(targets) if weights is None else np.asarray(weights, np.float32).reshape(targets.shape)
    labels = labels or tuple(f"label_{place}" for place in range(targets.shape[1]))
    return Predictions(
        "complications", labels, np.arange(len(logits)).astype(str), np.zeros(len(logits)), targets, weights, logits
    )


def drawn(count=4000, slope=0.6, intercept=0.7, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1.5, 1.5, count)
    return logits, (rng.random(count) < sigmoid(slope * logits + intercept)).astype(np.float32)


def test_platt_is_logistic_regression_on_the_logit():
    logits, targets = drawn()
    weights = np.random.default_rng(1).integers(0, 4, len(logits))
    for sample_weight in (None, weights):
        model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000)
        model.fit(logits[:, None], targets, sample_weight=sample_weight)
        slope, intercept, reason = fit_platt(logits, targets, sample_weight, prior=0)
        assert (slope, intercept) == pytest.approx((model.coef_[0, 0], model.intercept_[0]), abs=1e-5)
        assert reason is None
        default = fit_platt(logits, targets, sample_weight)
        assert default[:2] == pytest.approx((slope, intercept), abs=2e-3)  # the prior is weak


def test_platt_recovers_the_truth_and_temperature_keeps_one_half():
    logits, targets = drawn(100_000)
    assert fit_platt(logits, targets)[:2] == pytest.approx((0.6, 0.7), abs=0.03)
    logits, targets = drawn(100_000, slope=0.5, intercept=0.0)
    slope, intercept, _ = fit_platt(logits, targets, fit_intercept=False)
    assert slope == pytest.approx(0.5, abs=0.02) and intercept == 0


def test_many_examples_take_no_more_steps_than_few(monkeypatch):
    """Losses of 200,000 examples agree to their rounding long before the minimum: no search may live on that."""
    taken, logaddexp = [], np.logaddexp
    for count in (2_000, 200_000):
        logits, targets = drawn(count)
        calls = []
        with monkeypatch.context() as patch:
            patch.setattr(platt.np, "logaddexp", lambda *given, calls=calls: calls.append(1) or logaddexp(*given))
            found = fit_platt(logits, targets)
        slope, intercept, _ = fit_platt(logits, targets, prior=0)
        missed = sigmoid(slope * logits + intercept) - targets
        assert max(abs(missed.sum()), abs(missed @ logits)) < 1e-12 * count, "at the minimum both sums are 0"
        mixed = np.random.default_rng(1).permutation(count)
        assert fit_platt(logits[mixed], targets[mixed])[:2] == pytest.approx(found[:2], rel=1e-10)
        taken.append(len(calls))
    assert taken[1] <= taken[0] + 2 < 15, taken


def test_separable_data_stay_finite():
    slope, intercept, reason = fit_platt(np.repeat([-1.0, 1.0], 20), np.repeat([0, 1], 20))
    assert 1 < slope < 20 and abs(intercept) < 1e-6 and reason is None


@pytest.mark.parametrize("prior", [0.1, 1.0, 4.0])
def test_the_prior_is_worth_what_it_says(prior):
    """It equals so many more observations: half a standard deviation below the mean logit, half above, of base rate."""
    logits, targets = drawn(60)
    share, ends = targets.mean(), logits.mean() + logits.std() * np.array([-1, -1, 1, 1])
    more = prior / 2 * np.array([share, 1 - share, share, 1 - share])
    plain = fit_platt(np.append(logits, ends), np.append(targets, [1, 0, 1, 0]), np.append(np.ones(60), more), prior=0)
    assert fit_platt(logits, targets, prior=prior)[:2] == pytest.approx(plain[:2], abs=1e-5)


@pytest.mark.parametrize("size, seed", [(20, 0), (60, 1), (2000, 2)])
@pytest.mark.parametrize("scale, shift", [(1e-4, 0.0), (0.03, -0.9), (1.0, 40.0), (25.0, -3.0), (1e5, 1e4)])
def test_scaling_and_shifting_all_logits_changes_no_probability(size, seed, scale, shift):
    logits, targets = drawn(size, seed=seed)
    for target in (targets, logits > np.median(logits), -logits > np.median(-logits)):  # separable; turned round
        slope, intercept, reason = fit_platt(logits, target)
        moved_slope, moved_intercept, moved_reason = fit_platt(scale * logits + shift, target)
        np.testing.assert_allclose(
            sigmoid(moved_slope * (scale * logits + shift) + moved_intercept),
            sigmoid(slope * logits + intercept),
            atol=1e-6,
        )
        assert reason == moved_reason


def test_temperature_does_not_depend_on_the_scale():
    logits, targets = drawn(50)
    slopes = [fit_platt(scale * logits, targets, fit_intercept=False)[0] * scale for scale in (1e-3, 1, 1e3)]
    assert slopes == pytest.approx([slopes[1]] * 3, rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 0.03, 0.01])
def test_logits_that_lie_close_together(scale):
    """P = sigmoid(2 t - 1) behind logits scale * t - 0.9: slope 2 / scale, and no flattened tenths."""
    rng = np.random.default_rng(5)
    t = rng.normal(size=2000)
    targets = (rng.random(2000) < sigmoid(2 * t - 1)).astype(np.float32)
    logits = (scale * t - 0.9).astype(np.float32)
    fitted = fit_calibration(predictions_of(logits, targets))
    assert fitted.labels["label_0"].slope * scale == pytest.approx(2.0, abs=0.2)
    risks = fitted.apply(predictions_of(logits, targets))[:, 0]
    order = np.argsort(t)
    for tenth in (order[:200], order[-200:]):
        assert risks[tenth].mean() == pytest.approx(targets[tenth].mean(), abs=0.05)


def test_equal_logits_give_the_base_rate():
    targets = np.repeat([1, 0], [3, 17])
    for value in (0.0, -7.25):
        slope, intercept, reason = fit_platt(np.full(20, value), targets)
        assert sigmoid(slope * value + intercept) == pytest.approx(0.15, abs=1e-6) and "equal" in reason and slope > 0


def test_slope_stays_positive_where_scores_are_turned_round():
    logits, targets = drawn()
    slope, intercept, reason = fit_platt(-logits, targets)
    assert slope == pytest.approx(SMALLEST_SLOPE / logits.std(), rel=1e-12) and "do not rank" in reason
    assert sigmoid(slope * -logits + intercept).mean() == pytest.approx(targets.mean(), abs=1e-3)


@pytest.mark.parametrize("method", ["platt", "temperature"])
def test_calibration_improves_log_loss_keeps_order_and_ignores_unknown(method):
    logits, targets = drawn()
    weights = (np.random.default_rng(2).random(len(logits)) < 0.7).astype(np.float32)
    valid = predictions_of(logits, targets, weights)
    fitted = fit_calibration(valid, method=method)
    flipped = predictions_of(logits, np.where(weights > 0, targets, 1 - targets), weights)
    assert fit_calibration(flipped, method=method) == fitted
    fresh, truth = drawn(seed=3)
    test = predictions_of(fresh, truth)
    after, before = fitted.apply(test)[:, 0], fitted.uncalibrated(test)[:, 0]
    np.testing.assert_array_equal(np.argsort(after, kind="stable"), np.argsort(before, kind="stable"))
    assert log_loss(truth, after) < log_loss(truth, before)
    assert fitted.labels["label_0"].n == weights.sum()


def test_positive_weight_in_the_loss_is_taken_back():
    """The best probability under weight w is w p / (w p + 1 - p); its logit is that of p plus log w."""
    p, weight = np.linspace(0.01, 0.99, 99), 12.23
    weighted = weight * p / (weight * p + 1 - p)
    shown = predictions_of(np.log(weighted / (1 - weighted)), np.zeros(99))
    plain = Calibration.identity("complications", ("label_0",), class_weights=[weight])
    np.testing.assert_allclose(plain.apply(shown)[:, 0], p, atol=1e-6)
    np.testing.assert_allclose(plain.uncalibrated(shown)[:, 0], p, atol=1e-6)


def test_weighted_and_plain_logits_end_in_the_same_calibration():
    logits, targets = drawn()
    weighted = fit_calibration(predictions_of(logits + np.log(8.0), targets), class_weights={"label_0": 8.0})
    plain = fit_calibration(predictions_of(logits, targets))
    assert weighted.labels["label_0"].slope == pytest.approx(plain.labels["label_0"].slope, abs=1e-4)
    assert weighted.labels["label_0"].threshold == pytest.approx(plain.labels["label_0"].threshold, abs=1e-4)


@pytest.mark.parametrize(
    "weights, message",
    [
        ({"other": 2.0}, "received 'other'"),
        ([1.0, 2.0], "expected 1"),
        ([0.0], "expected numbers above 0"),
    ],
)
def test_wrong_class_weights_are_refused(weights, message):
    with pytest.raises(DataError, match=message):
        fit_calibration(predictions_of([0.0], [1]), class_weights=weights)


def test_tiny_and_one_class_validation_fall_back_with_a_reason():
    logits, targets = drawn(200)
    few = np.zeros(200)
    few[:9] = 1
    shown = predictions_of(
        np.stack([logits] * 4, 1),
        np.stack([targets, few, np.zeros(200), targets], 1),
        np.stack([np.ones(200)] * 3 + [np.zeros(200)], 1),
    )
    fitted = fit_calibration(shown)
    good, tiny, single, unknown = fitted.labels.values()
    assert good.reason is None and good.threshold_reason is None
    for entry, start in (
        (tiny, "not calibrated: 9 positives among 200"),
        (single, "not calibrated: 0 positives"),
        (unknown, "not calibrated: 0 positives among 0"),
    ):
        assert (entry.slope, entry.intercept) == (1, 0) and entry.reason.startswith(start)
    assert tiny.threshold_reason is None
    assert single.threshold == unknown.threshold == 0.5 and "both classes" in single.threshold_reason
    np.testing.assert_array_equal(fitted.apply(shown)[:, 1:], shown.probabilities[:, 1:])


def test_threshold_has_the_highest_f1_of_all_cuts():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scores = rng.random(60).round(1)
        targets = rng.random(60) < scores
        threshold = choose_threshold(scores, targets)
        best = max(f1_score(targets, scores >= cut) for cut in np.unique(scores))
        assert f1_score(targets, scores >= threshold) == pytest.approx(best, abs=1e-12)
        assert threshold not in scores  # between two scores: rounding flips nothing


def test_threshold_ties_take_the_fewest_alarms():
    # cuts at 0.9 (1 of 1 hit, 1 of 2 found) and at 0.5 (2 of 4, 2 of 2): F1 is 2/3 both times
    assert choose_threshold(np.array([0.9, 0.7, 0.6, 0.5]), np.array([1, 0, 0, 1])) == pytest.approx(0.8)
    assert choose_threshold(np.array([0.4, 0.4]), np.array([0, 1])) == pytest.approx(0.2)
    neighbours = np.array([0.5, np.nextafter(0.5, 0)])
    assert choose_threshold(neighbours, np.array([1, 0])) == 0.5
    with pytest.raises(ValueError, match="both classes"):
        choose_threshold(np.array([0.4, 0.4]), np.array([1, 1]))


def test_file_round_trip(tmp_path):
    logits, targets = drawn()
    shown = predictions_of(np.stack([logits, -logits], 1), np.stack([targets, targets], 1))
    fitted = {"complications": fit_calibration(shown, class_weights=[2.0, 1.0])}
    path = tmp_path / "calibration.json"
    calibration.write_calibrations(path, fitted)
    read = calibration.read_calibrations(path)
    assert read == fitted
    np.testing.assert_array_equal(read["complications"].apply(shown), fitted["complications"].apply(shown))
    assert read["complications"].thresholds == fitted["complications"].thresholds


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda plain: plain.update(version=2), "expected a calibration of version 1"),
        (lambda plain: plain.pop("labels"), "expected a calibration"),
        (lambda plain: plain["labels"]["label_0"].update(extra=1), "expected a calibration"),
        (lambda plain: plain["labels"]["label_0"].update(slope=-1.0), "expected slope"),
        (lambda plain: plain["labels"]["label_0"].update(slope=0.0), "expected slope"),
        (lambda plain: plain["labels"]["label_0"].update(class_weight=0.0), "expected slope"),
        (lambda plain: plain["labels"]["label_0"].update(intercept=float("inf")), "expected slope"),
    ],
)
def test_damaged_file_is_refused_in_one_line(tmp_path, damage, message):
    plain = Calibration.identity("complications", ("label_0",)).to_dict()
    damage(plain)
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({"complications": plain}), encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        calibration.read_calibrations(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="expected JSON"):
        calibration.read_calibrations(path)
    with pytest.raises(DataError, match="no such file"):
        calibration.read_calibrations(tmp_path / "absent.json")


def test_other_labels_are_refused():
    fitted = Calibration.identity("complications", ("label_0",))
    with pytest.raises(DataError, match="expected labels label_0, received another"):
        fitted.apply(predictions_of([0.0], [1], labels=("another",)))
