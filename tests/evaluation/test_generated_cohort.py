"""Clinical measures on the generated cohort, whose true risks are known: intervals hold the truth, sex makes no
difference, and a model of one prevalence is put right at another."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from medtop.evaluation.clinical import calibration_in_brief, clinical_measures
from medtop.evaluation.predictions import Predictions, logit
from medtop.evaluation.recalibration import fitting_part, recalibrate
from medtop.synthetic.blocks import LABEL_TASKS, generate, observed_history
from medtop.synthetic.codes import CODES

NAMES = [label for _, label in LABEL_TASKS]
WANTED = ("long_stay", "CKD_1095")


def cohort(patients, seed):
    """One block of generated patients."""
    (block,) = generate(patients, seed, block_size=patients)
    return block


def scored(block, risks, label, rows=None):
    """(`Predictions`, probabilities) of one label with the risks [N]."""
    rows = np.arange(len(block)) if rows is None else rows
    targets = block.targets[rows, NAMES.index(label)][:, None]
    ids = np.char.add("P", rows.astype(str))
    risks = risks[rows][:, None]
    known = (targets >= 0).astype(np.float32)
    times = block.prediction_times[rows]
    return Predictions("t", (label,), ids, times, np.maximum(targets, 0), known, logit(risks)), risks


@pytest.mark.slow
def test_true_risks_are_calibrated_and_sexes_do_not_differ():
    """95% intervals over 100 cohorts: slope, intercept and O : E hold the truth in at least 92 (measured: 92 to 98).

    Differences between the sexes hold 0 in at least 92 on the mean of the six counts (measured: 93.8) and in at least
    90 each (measured: 91 to 98). A count of 100 exact 95% intervals has a standard deviation of 2.2: it lies below 92
    in 6% of all sets of seeds, one of six counts in about a quarter. docs/evaluation.md has more cohorts.
    """
    right = {"calibration_slope": 1, "calibration_intercept": 0, "observed_expected": 1}
    inside = {(label, name, part): 0 for label in WANTED for name in right for part in ("all", "sex")}
    for seed in range(100):
        block = cohort(2000, seed)
        for label in WANTED:
            predictions, risks = scored(block, block.risks[:, NAMES.index(label)], label)
            groups = {"sex": block.sexes.astype(object)}
            entry = clinical_measures(predictions, risks, groups=groups, num_bootstrap=400, seed=seed)[label]
            differences = entry["groups"]["sex"]["F"]["differences"]
            for name, truth in right.items():
                found = entry["measures"][name]
                inside[label, name, "all"] += found["low"] <= truth <= found["high"]
                inside[label, name, "sex"] += differences[name]["low"] <= 0 <= differences[name]["high"]
    least = {part: min(count for key, count in inside.items() if key[2] == part) for part in ("all", "sex")}
    mean = np.mean([count for key, count in inside.items() if key[2] == "sex"])
    assert least["all"] >= 92 and least["sex"] >= 90 and mean >= 92, inside


def features(block):
    """Whether each code stands in the history, and age: float [N, F]."""
    history = observed_history(block)
    table = np.zeros((len(block), len(CODES) + 1))
    table[history.visit_patients[history.code_visits], history.codes] = 1
    table[:, -1] = history.ages / 50
    return table


@pytest.mark.slow
@pytest.mark.parametrize("label", WANTED)
def test_recalibration_brings_another_prevalence_into_its_interval(label):
    """Trained on one cohort, evaluated on six others of which two thirds of the negatives are missing.

    Fitted on half of the patients, as run_evaluation.py does; the intervals hold the error of that fit (over 60 cohorts
    a label: 1 inside in 93% to 97%, docs/external_validation.md).
    """
    column, train = NAMES.index(label), cohort(3000, 1)
    known = train.targets[:, column] >= 0
    model = LogisticRegression(C=0.02, max_iter=300).fit(features(train)[known], train.targets[known, column])
    inside, ratios = dict.fromkeys(("intercept", "platt"), 0), []
    for seed in range(2, 8):
        site = cohort(3000, seed)
        risks = model.predict_proba(features(site))[:, 1]
        rng = np.random.default_rng(seed)
        rows = np.flatnonzero((site.targets[:, column] != 0) | (rng.random(len(site)) < 1 / 3))
        predictions, before = scored(site, risks, label, rows)
        assert predictions.targets[predictions.known].mean() > 1.5 * np.mean(train.targets[known, column])
        entry = calibration_in_brief(predictions, before)[label]["observed_expected"]
        assert entry["low"] > 1.2, "the risks are too low at the new site"
        part = fitting_part(predictions.patient_ids, seed=seed)
        for method in inside:
            after, about = recalibrate(before[:, 0], predictions.targets[:, 0], predictions.known[:, 0], part, method)
            fitted_on = predictions.take(part), before[part], {label: about}
            judged = predictions.take(~part), after[~part][:, None]
            entry = calibration_in_brief(*judged, fitted_on=fitted_on)[label]["observed_expected"]
            inside[method] += entry["low"] <= 1 <= entry["high"]
            ratios.append(entry["value"])
            assert about["reason"] is None and about["intercept"] > 0.3
    assert min(inside.values()) >= 5 and abs(np.mean(ratios) - 1) < 0.1, (inside, ratios)  # standard error 0.03


def sex_coefficients(planted, cohorts=12):
    """Coefficient of sex in a linear model of prolonged stays, cohort by cohort; planted: women's labels turned 1."""
    found = []
    for seed in range(cohorts):
        block = cohort(1500, 100 + seed)
        column, female = NAMES.index("long_stay"), block.sexes == "F"
        known = block.targets[:, column] >= 0
        targets = block.targets[:, column].copy()
        if planted:
            targets[female & (np.random.default_rng(seed).random(len(block)) < 0.1)] = 1
        table = np.concatenate([features(block), female[:, None]], 1)
        found.append(LogisticRegression(C=0.1, max_iter=300).fit(table[known], targets[known]).coef_[0, -1])
    return np.array(found)


@pytest.mark.slow
def test_sex_is_not_distinguishable_from_0():
    """Risks do not depend on sex. One model's coefficient (its exact attribution) is never 0; their mean over cohorts
    is, within its interval, and where labels were made to depend on sex it is not."""
    for planted in (False, True):
        found = sex_coefficients(planted)
        half = 2.2 * found.std(ddof=1) / np.sqrt(len(found))  # Student's t, 11 degrees of freedom
        assert (abs(found.mean()) <= half) is not planted, (found.mean(), half)
