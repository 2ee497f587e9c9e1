"""How wide and deep logits are put together: planted scales come back, noise gets no part, unknown labels no say."""

import numpy as np
import pytest

from medtop.wide.stacking import alone, choose_scales, fit_scales


def case(count=1500, c=0.8, seed=0):
    """Labels drawn from wide + c deep - 0.5, two thirds of them known: (wide, deep, targets, weights, ids)."""
    rng = np.random.default_rng(seed)
    wide, deep = rng.normal(size=(2, count, 3))
    risk = 1 / (1 + np.exp(-(wide + c * deep - 0.5)))
    targets = (rng.random((count, 3)) < risk).astype(float)
    weights = (rng.random((count, 3)) < 0.67).astype(float)
    return wide, deep, targets, weights, np.array([f"p{number}" for number in range(count)])


def test_planted_scales_come_back():
    found = choose_scales(*case())
    assert found.wide_scale == pytest.approx(1.0, abs=0.15) and found.deep_scale == pytest.approx(0.8, abs=0.15)
    np.testing.assert_allclose(found.offset, -0.5, atol=0.2)


@pytest.mark.parametrize("seed", range(5))
def test_an_encoder_of_noise_or_one_that_misleads_takes_no_part(seed):
    wide, deep, *labels = case(400, c=0.0, seed=seed)
    assert choose_scales(wide, -wide, *labels).deep_scale == 0
    wide, deep, *labels = case(400, c=0.8, seed=seed)
    a, c, _ = fit_scales(wide, -deep, *labels[:2])  # what it says, turned round
    assert a > 0 and c == 0


def test_noise_seldom_gets_a_part():
    chosen = [choose_scales(*case(300, c=0.0, seed=seed)).deep_scale > 0 for seed in range(20)]
    assert sum(chosen) <= 4  # one standard error: some one in six by chance


def test_unknown_labels_move_nothing_and_nan_is_no_harm():
    wide, deep, targets, weights, ids = case(600)
    found = choose_scales(wide, deep, targets, weights, ids)
    again = choose_scales(wide, deep, np.where(weights > 0, targets, np.nan), weights, ids)
    assert (again.wide_scale, again.deep_scale) == (found.wide_scale, found.deep_scale)
    np.testing.assert_array_equal(again.offset, found.offset)


def test_with_nothing_to_choose_by_the_wide_part_stands_alone():
    wide, deep, targets, weights, ids = case(40)
    found = choose_scales(wide, deep, targets, weights, ids)
    assert (found.wide_scale, found.deep_scale, found.offset.tolist()) == (1.0, 0.0, [0.0] * 3)
    assert "too few" in found.reason
    nobody = choose_scales(wide, deep, targets, 0 * weights, ids)
    assert nobody.deep_scale == 0 and nobody.to_dict()["wide_scale"] == [1.0] * 3
    assert alone(2, "because").to_dict() == {
        "wide_scale": [1.0, 1.0], "deep_scale": [0.0, 0.0], "offset": [0.0, 0.0], "reason": "because",
    }  # fmt: skip


def test_a_label_of_one_class_keeps_its_level():
    wide, deep, targets, weights, ids = case(800)
    targets[:, 1] = 0
    found = choose_scales(wide, deep, targets, weights, ids)
    assert found.offset[1] == 0 and found.deep_scale > 0.5


def test_examples_of_one_patient_are_not_independent_evidence():
    """The same few patients many times over: the standard error is that of patients, not of examples."""
    wide, deep, targets, weights, _ = case(60, c=0.3, seed=3)
    many = [np.repeat(part, 20, axis=0) for part in (wide, deep, targets, weights)]
    ids = np.repeat([f"p{number}" for number in range(60)], 20)
    once = choose_scales(wide, deep, targets, weights, [f"p{number}" for number in range(60)])
    often = choose_scales(*many, ids)
    assert once.reason.split(",")[0].split()[:4] == often.reason.split(",")[0].split()[:4]
    assert (often.deep_scale > 0) == (once.deep_scale > 0)
