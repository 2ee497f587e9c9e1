"""The convex fit: against finite differences, scikit-learn and an explicit matrix; unknown labels; folds; choice."""

import itertools

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from medtop.wide import cross_validation
from medtop.wide.cross_validation import choose, folds_of
from medtop.wide.fit import SEPARATE, Design, Sharing, design_of, fit, objective
from medtop.wide.history import History

DAYS, VOCABULARY = (31, 366), 12
ENDPOINTS = ["MACE", "MACE", "CKD"]


def history_of(count, seed=0):
    rng = np.random.default_rng(seed)
    visits = rng.integers(1, 4, count)
    per_visit = rng.integers(1, 4, visits.sum())
    recencies = rng.integers(0, 600, visits.sum())
    owner = np.repeat(np.arange(count), visits)
    codes = np.bincount(owner, per_visit, minlength=count)
    return History(
        codes,
        visits,
        rng.integers(0, 3, count),
        rng.integers(0, 30_000, count),
        rng.integers(5, VOCABULARY, per_visit.sum()),
        np.repeat(recencies, per_visit),
        rng.integers(0, 20, visits.sum()),
        recencies,
    )


def case(count=60, seed=0):
    """(design, targets [N, 3], weights [N, 3])."""
    rng = np.random.default_rng(seed)
    design, _ = design_of(history_of(count, seed), VOCABULARY, DAYS)
    truth = rng.normal(size=(design.columns, 3)) * 0.5
    targets = (rng.random((count, 3)) < 1 / (1 + np.exp(-design.times(truth)))).astype(float)
    return design, targets, (rng.random((count, 3)) < 0.8).astype(float)


def explicit(design):
    """The matrix of the fit, written out: one column for each code and window that holds its latest occurrence."""
    windows = design.windows.toarray().reshape(len(design), -1, design.width)
    return np.hstack([windows.cumsum(axis=2).reshape(len(design), -1), design.extra])


def test_design_is_the_explicit_matrix():
    design, *_ = case()
    matrix, rng = explicit(design), np.random.default_rng(1)
    right, left = rng.normal(size=(design.columns, 3)), rng.normal(size=(len(design), 3))
    np.testing.assert_allclose(design.times(right), matrix @ right, atol=1e-12)
    np.testing.assert_allclose(design.transposed_times(left), matrix.T @ left, atol=1e-12)


@pytest.mark.parametrize("exponent", [None, 0.5])
def test_gradient_against_finite_differences(exponent):
    design, targets, weights = case()
    mixing = np.linalg.cholesky(Sharing(1.0, 0.5, 0.3).covariance(ENDPOINTS))
    rng = np.random.default_rng(2)
    place = 0.3 * rng.normal(size=(design.columns + 1) * 3)
    last = 2.0, None if exponent is None else design.deviations(exponent)
    _, gradient = objective(place, design, targets, weights, mixing, *last)
    for direction in rng.normal(size=(5, len(place))):
        step = 1e-5
        above, below = (
            objective(place + sign * step * direction, design, targets, weights, mixing, *last)[0] for sign in (1, -1)
        )
        assert (above - below) / (2 * step) == pytest.approx(gradient @ direction, rel=1e-6)


def test_one_label_without_sharing_is_scikit_learns():
    design, targets, _ = case(200)
    weights, intercepts, _ = fit(
        design,
        targets[:, :1],
        np.ones((200, 1)),
        penalty=4.0,
        mixing=np.ones((1, 1)),
        tolerance=1e-15,
        max_iterations=5000,
    )
    theirs = LogisticRegression(C=1 / 4.0, tol=1e-12, max_iter=10_000).fit(explicit(design), targets[:, 0])
    np.testing.assert_allclose(weights[:, 0], theirs.coef_[0], atol=1e-6)
    assert intercepts[0] == pytest.approx(theirs.intercept_[0], abs=1e-6)


def few(lines, codes=4):
    """`Design` of codes 0 to 3 in one window and ever: each line is an example's codes, seen long ago."""
    sizes = [len(line) for line in lines]
    matrix = sparse.csr_array(
        (np.ones(sum(sizes)), 2 * np.concatenate(lines).astype(int) + 1, np.cumsum([0, *sizes])),
        (len(lines), 2 * codes),
    )
    return Design(matrix, np.zeros((len(lines), 2)), 2, np.array([-1, 1]))


def test_deviations_by_hand():
    """Shares 4, 1, 3 and 0 of 4 examples; their mean over occurrences is (16 + 1 + 9) / 8 of a fourth."""
    design = few([[0, 2], [0, 1, 2], [0, 2], [0]])
    mean = 26 / 8
    expected = np.sqrt([4 / mean, 4 / mean, 1 / mean, 1 / mean, 3 / mean, 3 / mean, 0, 0, 1, 1 / mean])
    expected[8] = 1  # of no code
    np.testing.assert_allclose(design.deviations(0.5), expected)
    assert design.deviations(0).tolist() == [1.0] * 10
    assert few([[], []]).deviations(0.5).tolist() == [0.0] * 8 + [1.0, 0.0]
    whole, _ = design_of(history_of(60), VOCABULARY, DAYS)
    assert (whole.deviations(0.5)[whole.windows.shape[1] :] == 1).all(), "context is of no code"


def test_rare_codes_pulled_harder_is_scikit_learns_ridge_on_scaled_columns():
    design, targets, _ = case(200)
    deviations = design.deviations(0.5)
    weights, intercepts, _ = fit(
        design, targets[:, :1], np.ones((200, 1)), penalty=4.0, mixing=np.ones((1, 1)), deviations=deviations,
        tolerance=1e-15, max_iterations=5000,
    )  # fmt: skip
    theirs = LogisticRegression(C=1 / 4.0, tol=1e-12, max_iter=10_000).fit(explicit(design) * deviations, targets[:, 0])
    np.testing.assert_allclose(weights[:, 0], deviations * theirs.coef_[0], atol=1e-6)
    assert intercepts[0] == pytest.approx(theirs.intercept_[0], abs=1e-6)


@pytest.mark.parametrize("shrinkage", ["even", "by_frequency"])
def test_the_data_say_whether_rare_codes_are_pulled_harder(shrinkage):
    """Risk in 40 codes of one patient in fifty, or in 4 codes of every second patient; the others mean nothing."""
    rng = np.random.default_rng(1)
    share = np.repeat([0.5, 0.02], [4, 40])
    has = rng.random((1500, 44)) < share
    strength = np.where((share < 0.1) == (shrinkage == "even"), 2.0, 0.0) * rng.choice([-1, 1], 44)
    targets = (rng.random(1500) < 1 / (1 + np.exp(-(has @ strength))))[:, None].astype(float)
    design = few([np.flatnonzero(row) for row in has], 44)
    ids = [f"p{number}" for number in range(1500)]
    found = choose(design, targets, np.ones((1500, 1)), ids, ["a"], ["A"], sharings=("separate",))
    assert found.chosen["a"].shrinkage == shrinkage
    setting, deviations = found.chosen["a"], design.deviations(cross_validation.SHRINKAGES[shrinkage])
    mixing, ones = np.ones((1, 1)), np.ones((1500, 1))
    again, _, _ = fit(design, targets, ones, penalty=setting.penalty, mixing=mixing, deviations=deviations)
    np.testing.assert_array_equal(found.weights, again)
    for name in cross_validation.SHRINKAGES:  # from the strictest on, until the loss has risen
        losses = [losses["a"] for tried, losses in found.losses.items() if tried.shrinkage == name]
        assert all(after < before for before, after in itertools.pairwise(losses[:-1]))


def test_sharing_is_ridge_in_the_parts():
    """W = A + B_endpoint + D_label, each with its own squared norm, by plain gradient descent on the parts."""
    design, targets, weights = case(80)
    sharing, penalty, matrix = Sharing(1.0, 0.6, 0.3), 3.0, explicit(case(80)[0])
    mixing = np.linalg.cholesky(sharing.covariance(ENDPOINTS))
    found, intercepts, _ = fit(
        design, targets, weights, penalty=penalty, mixing=mixing, tolerance=1e-15, max_iterations=5000
    )
    member = np.array([[1, 1, 0, 1, 0, 0], [1, 1, 0, 0, 1, 0], [1, 0, 1, 0, 0, 1]]).T  # common, 2 endpoints, 3 labels
    scales = np.array([1.0, 0.6, 0.6, 0.3, 0.3, 0.3])[:, None] * member  # [parts, K]
    probabilities = 1 / (1 + np.exp(-(design.times(found) + intercepts)))
    slope = matrix.T @ (weights * (probabilities - targets))  # of the loss by W
    # At the minimum each part is -1/penalty times its slope: the weights follow from the slope alone.
    parts = -(slope @ scales.T) / penalty
    np.testing.assert_allclose(parts @ scales, found, atol=1e-5)


def test_unknown_labels_move_nothing():
    design, targets, weights = case(60)
    ids = [f"p{number}" for number in range(60)]
    found = choose(design, targets, weights, ids, list("aab"), ENDPOINTS, penalties=(100.0, 30.0))
    flipped = np.where(weights > 0, targets, 1 - targets)
    flipped[weights == 0] = np.nan  # not even what is no number
    again = choose(design, flipped, weights, ids, list("aab"), ENDPOINTS, penalties=(100.0, 30.0))
    assert again.chosen == found.chosen
    np.testing.assert_array_equal(again.weights, found.weights)
    np.testing.assert_array_equal(again.out_of_fold, found.out_of_fold)


def test_folds_keep_a_patients_examples_together_and_do_not_hang_on_order():
    ids = np.array([f"p{number % 40}" for number in range(100)])
    folds = folds_of(ids)
    assert all(len(set(folds[ids == name])) == 1 for name in set(ids))
    assert np.bincount(folds[:40]).tolist() == [8] * 5
    order = np.random.default_rng(0).permutation(100)
    assert folds_of(ids[order]).tolist() == folds[order].tolist()


def test_choice_is_the_lowest_out_of_fold_loss_and_never_sees_its_own_patient():
    design, targets, weights = case(80, seed=3)
    ids = [f"p{number}" for number in range(80)]
    found = choose(design, targets, weights, ids, list("aab"), ENDPOINTS, penalties=(300.0, 100.0, 30.0))
    for task, chosen in found.chosen.items():
        assert found.losses[chosen][task] == min(losses[task] for losses in found.losses.values())
    folds, changed = folds_of(ids), targets.copy()
    changed[folds == 2] = 1 - changed[folds == 2]  # what a fold's own labels say does not reach its logits
    mixing = np.linalg.cholesky(cross_validation.SHARINGS["common"].covariance(ENDPOINTS))
    one, other = (
        dict(cross_validation.out_of_fold_logits(design, y, weights, folds, mixing, (100.0,)))[100.0]
        for y in (targets, changed)
    )
    np.testing.assert_array_equal(one[folds == 2], other[folds == 2])
    assert not np.allclose(one[folds != 2], other[folds != 2])


def test_penalties_are_tried_until_the_loss_has_risen():
    design, targets, weights = case(80)
    noise = np.random.default_rng(4).integers(0, 2, targets.shape).astype(float)
    ids, penalties = [f"p{number}" for number in range(80)], (100.0, 1.0, 0.1, 0.01)
    found = choose(design, noise, weights, ids, list("aab"), ENDPOINTS, sharings=("separate",), penalties=penalties)
    tried = [setting.penalty for setting in found.losses if setting.shrinkage == "even"]
    assert tried == [100.0, 1.0]


def test_labels_of_one_class_are_constant():
    design, targets, weights = case(60)
    targets[:, 1] = 0
    weights[:, 2] = 0
    ids = [f"p{number}" for number in range(60)]
    found = choose(design, targets, weights, ids, list("aab"), ENDPOINTS, penalties=(30.0,))
    assert found.constant.tolist() == [False, True, True] and not found.weights[:, 1:].any()
    known = weights[:, 1].sum()
    assert found.intercepts[1:].tolist() == pytest.approx([np.log(0.5 / (known + 0.5)), 0.0])
    nothing = choose(design, targets, np.zeros_like(weights), ids, list("aab"), ENDPOINTS)
    assert nothing.constant.all() and not nothing.chosen


def test_separate_labels_do_not_touch_each_other():
    design, targets, weights = case(100)
    both = fit(design, targets, weights, penalty=5.0, mixing=np.linalg.cholesky(SEPARATE.covariance(ENDPOINTS)),
               tolerance=1e-14, max_iterations=3000)  # fmt: skip
    for place in range(3):
        alone = fit(design, targets[:, [place]], weights[:, [place]], penalty=5.0, mixing=np.ones((1, 1)),
                    tolerance=1e-14, max_iterations=3000)  # fmt: skip
        np.testing.assert_allclose(both[0][:, place], alone[0][:, 0], atol=1e-5)
