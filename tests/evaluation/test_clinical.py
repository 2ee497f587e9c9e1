"""Clinical measures against scikit-learn, against formulas by hand, and against resampling done explicitly."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, roc_auc_score

from medtop.evaluation import clinical, logistic
from medtop.evaluation.bootstrap import resample_counts, resampled
from medtop.evaluation.calibration_measures import CalibrationStatistics, SmoothCalibration, spline_columns
from medtop.evaluation.clinical import MEASURES, clinical_measures
from medtop.evaluation.decisions import DecisionStatistics, operating_points
from medtop.evaluation.groups import age_bands, choose_groups, groups_of_records, read_groups
from medtop.evaluation.logistic import fit_logistic
from medtop.evaluation.predictions import Predictions, sigmoid
from medtop.evaluation.recalibration import fitting_part, recalibrate
from medtop.files.errors import DataError


def sample(count=800, seed=0, shift=0.0, stretch=1.0, patients=None):
    """(probabilities, targets, patients) with true risk sigmoid((z - shift) / stretch) where z is the logit given."""
    generator = np.random.default_rng(seed)
    z = generator.normal(-1, 1.2, count)
    targets = generator.random(count) < sigmoid((z - shift) / stretch)
    return sigmoid(z), targets, np.arange(count) if patients is None else generator.integers(patients, size=count)


def predictions_of(probabilities, targets, ids, known=None):
    weights = np.ones((len(targets), 1)) if known is None else np.asarray(known, float)[:, None]
    logits = np.log(probabilities / (1 - probabilities))[:, None]
    return Predictions(
        "task", ("label",), ids, np.zeros(len(ids)), np.asarray(targets, float)[:, None], weights, logits
    )


def slope_of(x, y, weights=None):
    """(intercept, slope) by scikit-learn."""
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=2000).fit(x[:, None], y, weights)
    return model.intercept_[0], model.coef_[0, 0]


def test_weighted_fits_are_scikit_learns():
    p, y, _ = sample(300)
    x = np.log(p / (1 - p))
    counts = np.random.default_rng(1).poisson(1.0, (300, 5)).astype(float)
    fitted = fit_logistic(np.stack([np.ones(300), x], 1), y, counts)
    for number in range(5):
        drawn = counts[:, number] > 0
        assert fitted[:, number] == pytest.approx(slope_of(x[drawn], y[drawn], counts[drawn, number]), abs=1e-5)


@pytest.mark.parametrize("at_once", [0.5, 1, 2, 7])
def test_resamples_fitted_some_at_a_time_are_the_same(monkeypatch, at_once):
    p, y, _ = sample(200)
    rng = np.random.default_rng(2)
    counts, columns = rng.poisson(1.0, (200, 7)).astype(float), np.stack([np.ones(200), np.log(p / (1 - p))], 1)
    counts[:, 3] *= y  # one class: no value, in the middle
    offsets = rng.normal(size=(200, 7))
    monkeypatch.setattr(logistic, "_CELLS", int(200 * at_once))
    for offset in (None, offsets[:, 0], offsets):
        fitted = fit_logistic(columns, y, counts, offset=offset)
        for place in range(7):
            own = offset[:, place] if offset is offsets else offset
            each = fit_logistic(columns, y, counts[:, [place]], offset=own)[:, 0]
            assert np.isnan(fitted[:, place]).all() == np.isnan(each).all() == (place == 3)
            assert np.allclose(fitted[:, place], each, rtol=0, atol=1e-8, equal_nan=True)


def test_an_offset_makes_observed_equal_expected():
    p, y, _ = sample(300, shift=1.0)
    x = np.log(p / (1 - p))
    intercept = fit_logistic(np.ones((300, 1)), y, np.ones((300, 1)), offset=x)[0, 0]
    assert sigmoid(x + intercept).sum() == pytest.approx(y.sum(), abs=1e-8)


def test_where_no_maximum_exists_there_is_no_value():
    x = np.linspace(-1, 1, 40)
    columns = np.stack([np.ones(40), x], 1)
    assert np.isnan(fit_logistic(columns, x > 0, np.ones((40, 1)))).all(), "separable"
    assert np.isnan(fit_logistic(columns, np.zeros(40), np.ones((40, 1)))).all(), "one class"
    one_class = np.where(x > 0, 1.0, 0.0)[:, None]  # a resample that drew one class only
    noisy = (x > 0) ^ (np.arange(40) % 5 == 0)
    assert np.isnan(fit_logistic(columns, noisy, one_class * noisy[:, None])).all()


def test_calibration_by_hand():
    p, y, who = sample(600, shift=0.5, stretch=1.6)
    statistics = CalibrationStatistics(p, y, who, 600)
    values = statistics.point()
    assert values["calibration_slope"] == pytest.approx(slope_of(np.log(p / (1 - p)), y)[1], abs=1e-6)
    assert values["observed_expected"] == pytest.approx(y.sum() / p.sum())
    smooth = SmoothCalibration(p)
    curve = smooth.curve(smooth.fit(y, np.ones((600, 1))), p)[:, 0]
    assert values["integrated_calibration_index"] == pytest.approx(np.abs(curve - p).mean())
    assert 0.02 < values["integrated_calibration_index"] < 0.15


def test_resampled_calibration_is_that_of_the_resampled_patients():
    p, y, who = sample(400, patients=150)
    statistics = CalibrationStatistics(p, y, who, 150)
    drawn = resampled([statistics], 150, 3, seed=4)[0]
    counts = next(iter(resample_counts(150, 3, 4, rows=statistics.rows)))
    for number in range(3):
        rows = np.repeat(np.arange(400), counts[who, number].astype(int))
        again = CalibrationStatistics(p[rows], y[rows], np.arange(len(rows)), len(rows)).point()
        for name in ("calibration_slope", "calibration_intercept", "observed_expected"):
            assert drawn[name][number] == pytest.approx(again[name], abs=1e-4), name


@pytest.mark.slow
def test_true_risks_have_slope_1_and_intercept_0():
    inside = {"calibration_slope": 0, "calibration_intercept": 0, "observed_expected": 0}
    right = {"calibration_slope": 1, "calibration_intercept": 0, "observed_expected": 1}
    for seed in range(100):
        p, y, who = sample(1000, seed=seed)
        ids = np.array([f"p{number}" for number in who])
        measures = clinical_measures(predictions_of(p, y, ids), p[:, None], num_bootstrap=500, seed=seed)["label"]
        for name in inside:
            entry = measures["measures"][name]
            inside[name] += entry["low"] <= right[name] <= entry["high"]
    assert min(inside.values()) >= 92, inside  # 95% of 100 is 95


def test_a_spline_is_linear_outside_its_knots_and_smooth_inside():
    knots = np.array([-1.0, 0.0, 0.5, 2.0])
    grid = np.linspace(-4, 6, 2001)
    columns = spline_columns(grid, knots)
    second = np.diff(columns, 2, axis=0) / (grid[1] - grid[0]) ** 2
    outside = (grid[1:-1] < -1.01) | (grid[1:-1] > 2.01)
    assert columns.shape == (2001, 3) and np.abs(second[outside]).max() < 1e-6
    assert np.abs(np.diff(second, axis=0)).max() < 0.05 * np.abs(second).max(), "no jump in the second derivative"
    assert np.linalg.matrix_rank(columns) == 3


def test_decisions_by_hand():
    p, y, who = sample(500, patients=100)
    statistics = DecisionStatistics(p, y, who, 100, [0.3])
    values = {name: value for (name, _), value in statistics.point().items()}
    tn, fp, fn, tp = confusion_matrix(y, p >= 0.3).ravel()
    assert values["sensitivity"] == tp / (tp + fn) and values["specificity"] == tn / (tn + fp)
    assert values["positive_predictive_value"] == tp / (tp + fp)
    assert values["negative_predictive_value"] == tn / (tn + fn)
    assert values["alerts_per_1000"] == pytest.approx(2 * (tp + fp))
    assert values["net_benefit"] == pytest.approx(tp / 500 - fp / 500 * 3 / 7)
    assert values["treat_all"] == pytest.approx(y.mean() - (1 - y.mean()) * 3 / 7)
    nobody = DecisionStatistics(p, y, who, 100, [0.999999]).point()
    assert nobody["net_benefit", 0] == 0 and np.isnan(nobody["positive_predictive_value", 0])


def test_alert_rates_choose_thresholds():
    scores = np.array([0.1, 0.4, 0.4, 0.9])
    (point,) = operating_points(scores, alert_rates=[0.5])
    assert point.threshold == 0.4 and point.alert_rate == 0.5  # of equal scores all alert
    assert [point.threshold for point in operating_points(scores, [0.2], [0.25])] == [0.2, 0.9]


def test_measures_of_a_group_are_those_of_its_examples_and_unknown_labels_move_nothing():
    p, y, who = sample(600, patients=200)
    ids, known = np.array([f"p{number}" for number in who]), np.arange(600) % 7 > 0
    sex = np.where(who % 2, "F", "M").astype(object)
    sex[:30] = ""
    first = clinical_measures(predictions_of(p, y, ids, known), p[:, None], groups={"sex": sex}, num_bootstrap=20)
    changed = np.where(known, y, ~y)
    again = clinical_measures(predictions_of(p, changed, ids, known), p[:, None], groups={"sex": sex}, num_bootstrap=20)
    assert first == again
    groups = first["label"]["groups"]["sex"]
    assert list(groups) == ["F", "M", "missing"]
    assert sum(group["n"] for group in groups.values()) == known.sum()
    rows = known & (sex == "F")
    assert groups["F"]["measures"]["roc_auc"]["value"] == pytest.approx(roc_auc_score(y[rows], p[rows]))
    rest = known & (sex != "F")
    difference = roc_auc_score(y[rows], p[rows]) - roc_auc_score(y[rest], p[rest])
    assert groups["F"]["differences"]["roc_auc"]["value"] == pytest.approx(difference)
    assert groups["missing"]["few_positives"] and list(groups["M"]["measures"]) == list(MEASURES)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("known", [0, 1, 200])
def test_where_there_is_nobody_there_is_no_value(known):
    """A label that nobody has known; a group that is everybody, beside whom there are no others."""
    p, y, _ = sample(200)
    predictions = predictions_of(p, y, np.arange(200).astype(str), np.arange(200) < known)
    groups = {"sex": np.full(200, "F", object)}
    entry = clinical_measures(predictions, p[:, None], thresholds=[0.2], groups=groups, num_bootstrap=20)["label"]
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry and entry["n"] == known
    nothing = {"value": None, "low": None, "high": None}
    if not known:
        assert entry["groups"] == {"sex": {}} and set(map(str, entry["measures"].values())) == {str(nothing)}
        return
    alone = entry["groups"]["sex"]["F"]
    assert alone["measures"] == entry["measures"] and alone["differences"] == dict.fromkeys(MEASURES, nothing)
    assert entry["measures"]["brier"]["value"] == pytest.approx(((p - y) ** 2)[:known].mean())


def test_of_two_groups_each_is_the_others_of_the_other(monkeypatch):
    """What is measured of a group as such is not measured again as the rest of the other."""
    p, y, _ = sample(100)
    predictions, made = predictions_of(p, y, np.arange(100).astype(str)), []
    real = clinical.statistics_of

    def counted(elements, chosen, *more):
        made.append(int(chosen.sum()))
        return real(elements, chosen, *more)

    monkeypatch.setattr(clinical, "statistics_of", counted)
    groups = {"sex": np.array(["F", "M", "M", "M"] * 25, object)}
    found = clinical_measures(predictions, p[:, None], groups=groups, num_bootstrap=20)["label"]["groups"]["sex"]
    assert made == [100, 25, 75]
    for name in MEASURES:
        one, other = (found[group]["differences"][name] for group in "FM")
        assert one["value"] == pytest.approx(-other["value"]) and one["low"] == pytest.approx(-other["high"])
        assert one["value"] == pytest.approx(
            found["F"]["measures"][name]["value"] - found["M"]["measures"][name]["value"]
        )


def test_recalibration_is_fitted_on_one_part_of_the_patients():
    p, y, who = sample(2000, shift=1.0, patients=700)
    ids = np.array([f"p{number}" for number in who])
    part = fitting_part(ids, 0.5, seed=3)
    assert not {*ids[part]} & {*ids[~part]} and 0.4 < part.mean() < 0.6
    known = np.ones(2000, bool)
    after, about = recalibrate(p, y, known, part, "intercept")
    assert about["intercept"] == pytest.approx(-1.0, abs=0.25) and about["slope"] == 1
    assert after[part].sum() == pytest.approx(y[part].sum(), abs=1e-6)
    assert abs(np.log(after[~part].sum() / y[~part].sum())) < 0.2 < abs(np.log(p[~part].sum() / y[~part].sum()))
    flipped = np.where(part, y, ~y)  # what the judged part says must not matter
    assert (recalibrate(p, flipped, known, part, "platt")[0] == recalibrate(p, y, known, part, "platt")[0]).all()
    few, about = recalibrate(p[:30], y[:30], known[:30], np.arange(30) < 12, "platt")
    assert (few == p[:30]).all() and "at least 10 of each class" in about["reason"]
    with pytest.raises(DataError, match="recalibrate: expected one of none, intercept, platt"):
        recalibrate(p, y, known, part, "isotonic")


def test_groups_of_records_and_files(tmp_path):
    parts = [
        {"sex": np.array([1, 0]), "counts": np.array([2, 1]), "age_days": np.array([22000, 5, 0])},
        {"sex": np.array([2]), "counts": np.array([3]), "age_days": np.array([7000, 1, 1])},
    ]
    groups = groups_of_records(parts)
    assert groups["age_band"].tolist() == ["45-64", "", "18-44"] and len(groups["sex"]) == 3
    assert age_bands(np.array([18 * 365.25, 18 * 365.25 - 1])).tolist() == ["18-44", "0-17"]
    p, y, _ = sample(4)
    predictions = predictions_of(p, y, np.array(["a", "b", "b", "c"]))
    (tmp_path / "g.csv").write_text("\ufeffpatient_id,site\nb,north\na,\n")
    found, lacking = read_groups(tmp_path / "g.csv", ["site"], predictions)
    assert found["site"].tolist() == ["", "north", "north", ""] and lacking == 1
    chosen, notes = choose_groups(["year", "site"], {}, predictions, tmp_path / "g.csv")
    assert chosen["year"].tolist() == ["1970"] * 4 and "1 of 4 examples" in notes[0]
    with pytest.raises(DataError, match="--subgroups: expected year or a column"):
        choose_groups(["ward"], {}, predictions)
    (tmp_path / "twice.csv").write_text("patient_id,site\na,x\na,y\n")
    with pytest.raises(DataError, match="twice"):
        read_groups(tmp_path / "twice.csv", ["site"], predictions)
