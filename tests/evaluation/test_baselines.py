"""Count baselines: features by hand, both routes to them, fits, unknown labels, one class, determinism."""

import importlib.metadata
import itertools

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score

from medtop.cohort.pickled_lists import Chunk
from medtop.evaluation import baselines, tree_baselines, windowed_baselines, xgboost_baseline
from medtop.evaluation.baselines import fit_baselines
from medtop.evaluation.count_features import (
    CONTEXT,
    features_from_chunks,
    features_from_columns,
    features_from_records,
)
from medtop.evaluation.predictions import sigmoid
from medtop.files.errors import DataError

TASKS = {"complications": ["MACE_365", "CKD_365"], "long_stay": ["long_stay"]}
VOCABULARY = 60


def chunk_of(count, seed=0, first=0):
    """A chunk whose labels depend on codes 5 and 6, on age and on past stays."""
    rng = np.random.default_rng(seed)
    visit_counts = rng.integers(1, 5, count)
    visits = visit_counts.sum()
    per_visit = rng.integers(1, 6, visits)  # codes in each visit
    visit_number = np.concatenate([np.arange(1, n + 1) for n in visit_counts])
    codes = rng.integers(5, VOCABULARY - 1, per_visit.sum())
    code_counts = np.add.reduceat(per_visit, np.cumsum(visit_counts) - visit_counts)
    owner = np.repeat(np.arange(count), code_counts)
    stays = rng.integers(0, 20, visits)
    gaps = np.where(visit_number == 1, 0, rng.integers(0, 400, visits))
    recencies, later = np.zeros(visits, int), 0
    for place in reversed(range(visits)):  # the last visit of each example ends 3 days before the prediction time
        last = place + 1 == visits or visit_number[place + 1] == 1
        recencies[place] = later = 3 if last else later + stays[place + 1] + gaps[place + 1]
    ages = rng.integers(20 * 365, 90 * 365, count)
    has = np.stack([np.bincount(owner[codes == code], minlength=count) > 0 for code in (5, 6)], 1)
    risk = sigmoid(2.5 * has + (ages[:, None] / 365.25 - 60) / 15 - 1)
    longest = np.maximum.reduceat(stays, np.cumsum(visit_counts) - visit_counts)
    labels = {
        "complications": (rng.random((count, 2)) < risk).astype(np.float32),
        "long_stay": (rng.random((count, 1)) < sigmoid((longest - 12) / 2)[:, None]).astype(np.float32),
    }
    weights = {
        "complications": (rng.random((count, 2)) < 0.8).astype(np.float32),
        "long_stay": np.ones((count, 1), np.float32),
    }
    return Chunk(
        patient_ids=[f"p{first + k}" for k in range(count)],
        prediction_times=np.arange(count) * 86_400,
        sexes=rng.integers(0, 3, count).astype(np.int8),
        ages_at_prediction=ages.astype(np.int32),
        code_counts=code_counts,
        visit_counts=visit_counts,
        codes=codes,
        visits=np.repeat(visit_number, per_visit),
        visit_positions=np.concatenate([np.arange(n) for n in per_visit]),
        stay_days=stays,
        gaps_before=gaps,
        recencies=recencies,
        ages=np.zeros(visits, np.int32),
        labels=labels,
        weights=weights,
    )


def splits_of(train=700, valid=300, test=500):
    return {
        split: features_from_chunks([chunk_of(size, seed)], VOCABULARY)
        for split, size, seed in (("train", train, 1), ("valid", valid, 2), ("test", test, 3))
    }


@pytest.fixture(scope="module")
def fitted():
    splits = splits_of()
    return splits, fit_baselines(splits, TASKS)


def test_features_by_hand():
    """Two visits (8 days long with codes 5, 5; 2 days, 30 days later, with code 7), 4 days before; and no history."""
    features = features_from_columns(
        [5, 5, 7],
        [3, 0],
        10,
        [1, 0],
        [36525, 0],
        [2, 0],
        [8, 2],
        [0, 30],
        [36, 4],
        patient_ids=["a", "b"],
        prediction_times=[0, 0],
        targets={},
        weights={},
    )
    assert features.counts.toarray().tolist() == [[0, 0, 0, 0, 0, 2, 0, 1, 0, 0], [0] * 10]
    assert dict(zip(CONTEXT, features.context[0], strict=True)) == {
        "age_years": 100,
        "age_unknown": 0,
        "female": 1,
        "male": 0,
        "visits": 2,
        "codes": 3,
        "days_since_last_discharge": 4,
        "gap_before_last_visit": 30,
        "days_since_first_admission": 44,
        "stay_days_max": 8,
        "stay_days_mean": 5,
        "stay_days_last": 2,
        "long_stays": 1,
    }
    assert features.context[1].tolist() == [0, 1] + [0] * 11
    without = features_from_columns(
        [5], [1], 10, [2], [1], [2], [8, 2], [0, 30], patient_ids=["a"], prediction_times=[0], targets={}, weights={}
    )
    place = CONTEXT.index("days_since_first_admission")
    assert without.context[0, place] == 8 + 30 + 2  # prediction at the last discharge


def same(first, second):
    assert (first.counts != second.counts).nnz == 0
    np.testing.assert_allclose(first.context, second.context)
    assert list(first.patient_ids) == list(second.patient_ids)
    np.testing.assert_array_equal(first.prediction_times, second.prediction_times)
    for task in TASKS:
        np.testing.assert_array_equal(first.targets[task], second.targets[task])
        np.testing.assert_array_equal(first.weights[task], second.weights[task])


def test_several_chunks_equal_one_by_one():
    parts = [chunk_of(40, seed, 100 * seed) for seed in range(3)]
    joined = features_from_chunks(iter(parts), VOCABULARY)
    assert len(joined) == 120
    for place, part in enumerate(parts):
        alone = features_from_chunks([part], VOCABULARY)
        rows = slice(40 * place, 40 * place + 40)
        np.testing.assert_array_equal(joined.counts[rows].toarray(), alone.counts.toarray())
        np.testing.assert_array_equal(joined.context[rows], alone.context)
        np.testing.assert_array_equal(joined.targets["complications"][rows], alone.targets["complications"])


@pytest.mark.parametrize("separator", [False, True])
def test_records_give_the_same_features_as_chunks(separator):
    chunk = chunk_of(50, 4)
    first_visit = np.cumsum(chunk.visit_counts) - chunk.visit_counts
    tokens = {name: [] for name in ("token_ids", "visits", "age_days", "stay_days", "recency_days")}
    counts, start = [], 0
    for example, n in enumerate(chunk.code_counts):
        rows = [(2, 0, chunk.ages_at_prediction[example], 0, 0)]  # [CLS]
        for place in range(start, start + n):
            visit = first_visit[example] + chunk.visits[place] - 1
            row = (chunk.visits[place], 0, chunk.stay_days[visit], chunk.recencies[visit])
            rows.append((chunk.codes[place], *row))
            if separator and (place + 1 == start + n or chunk.visits[place + 1] != chunk.visits[place]):
                rows.append((3, *row))  # [SEP]
        start += n
        counts.append(len(rows))
        for name, values in zip(tokens, zip(*rows, strict=True), strict=True):
            tokens[name].extend(values)
    columns = {name: np.array(values) for name, values in tokens.items()}
    columns |= {
        "counts": np.array(counts),
        "sex": chunk.sexes,
        "patient_id": chunk.patient_ids,
        "prediction_time": chunk.prediction_times,
    }
    for task in TASKS:
        columns |= {f"{task}_labels": chunk.labels[task], f"{task}_weights": chunk.weights[task]}
    same(features_from_records([columns], VOCABULARY, TASKS), features_from_chunks([chunk], VOCABULARY))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"codes": [5, 5, 99]}, "expected codes below 10"),
        ({"codes": [5]}, "expected 3 codes and 2 visits"),
        ({"gaps_before": [0]}, "gaps: 1"),
    ],
)
def test_wrong_columns_are_refused(change, message):
    good = {
        "codes": [5, 5, 7],
        "code_counts": [3],
        "vocabulary_size": 10,
        "sexes": [1],
        "ages_at_prediction": [1],
        "visit_counts": [2],
        "stay_days": [8, 2],
        "gaps_before": [0, 30],
    }
    with pytest.raises(DataError, match=message):
        features_from_columns(**good | change, patient_ids=["a"], prediction_times=[0], targets={}, weights={})


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_baselines_find_what_counts_and_context_tell(fitted, name):
    splits, results = fitted
    for task, labels in TASKS.items():
        predictions = results.predictions[name]["test"][task]
        assert predictions.labels == tuple(labels) and predictions.task == task
        np.testing.assert_array_equal(predictions.targets, splits["test"].targets[task])
        for column in range(len(labels)):
            known = predictions.known[:, column]
            auc = roc_auc_score(predictions.targets[known, column], predictions.logits[known, column])
            assert auc > 0.75, (task, column, auc)
    assert set(results.settings[name]["complications"]) == set(TASKS["complications"])
    assert results.reasons[name] == {"complications": {}, "long_stay": {}}
    assert set(results.predictions[name]) == {"valid", "test"}


@pytest.mark.slow
def test_seed_decides_everything(fitted):
    splits, results = fitted
    again = fit_baselines(splits, TASKS)
    for name in baselines.BASELINES:
        for task in TASKS:
            np.testing.assert_array_equal(
                again.predictions[name]["test"][task].logits, results.predictions[name]["test"][task].logits
            )
    assert again.settings == results.settings


@pytest.mark.slow
def test_unknown_labels_and_test_labels_move_nothing(fitted):
    splits, results = fitted
    flipped = splits_of()
    for split in ("train", "valid"):
        for task, weights in flipped[split].weights.items():
            targets = flipped[split].targets[task]
            flipped[split].targets[task] = np.where(weights > 0, targets, 1 - targets)
    for task, targets in flipped["test"].targets.items():
        flipped["test"].targets[task] = 1 - targets
    again = fit_baselines(flipped, TASKS)
    for name in baselines.BASELINES:
        np.testing.assert_array_equal(
            again.predictions[name]["test"]["complications"].logits,
            results.predictions[name]["test"]["complications"].logits,
        )


def test_one_class_and_missing_validation_have_reasons():
    splits = splits_of(200, 100, 100)
    splits["train"].targets["complications"][:, 0] = 0
    splits["train"].weights["long_stay"][:] = 0
    results = fit_baselines(splits, TASKS)
    for name in baselines.BASELINES:
        assert results.reasons[name]["complications"] == {"MACE_365": "constant prediction: only negatives in training"}
        assert results.reasons[name]["long_stay"] == {"long_stay": "constant prediction: no known label in training"}
        logits = results.predictions[name]["test"]["complications"].logits
        assert len(set(logits[:, 0])) == 1 and logits[0, 0] < 0 and len(set(logits[:, 1])) > 10
        assert (results.predictions[name]["test"]["long_stay"].logits == 0).all()
    del splits["valid"]
    results = fit_baselines(splits, {"complications": TASKS["complications"]})
    for name in baselines.BASELINES:
        assert set(results.predictions[name]) == {"test"}
        default = results.reasons[name]["complications"].get("CKD_365", "")
        assert ("default settings" in default) == (name != "windowed_logistic_regression")  # it cross-validates
    with pytest.raises(DataError, match="expected a training split"):
        fit_baselines({"test": splits["test"]}, TASKS)


def test_training_examples_are_bounded():
    splits = splits_of()
    results = fit_baselines(splits, {"long_stay": ["long_stay"]}, max_examples=150)
    for name in baselines.BASELINES:
        assert results.settings[name]["long_stay"]["long_stay"]["examples"] == 150


@pytest.mark.slow
def test_codes_unseen_in_training_carry_no_weight(fitted):
    splits, results = fitted
    more = features_from_chunks([chunk_of(500, 3)], VOCABULARY)
    assert more.counts[:, [VOCABULARY - 1]].nnz == 0  # the generator never draws the last code
    more.counts = (
        more.counts
        + sparse.csr_array(
            (np.full(500, 9, np.float32), (np.arange(500), np.full(500, VOCABULARY - 1))), shape=more.counts.shape
        )
    ).tocsr()
    again = fit_baselines({**splits, "test": more}, TASKS)
    for name in baselines.BASELINES:
        np.testing.assert_allclose(
            again.predictions[name]["test"]["complications"].logits,
            results.predictions[name]["test"]["complications"].logits,
            atol=1e-6,
        )


def test_windows_see_when_a_code_occurred_and_counts_do_not():
    """The label is whether code 5 was seen within a month; every history has it."""
    rng = np.random.default_rng(0)

    def part(count):
        days = rng.integers(0, 700, count)
        recent = (days <= 31).astype(np.float32)
        counts = np.full(count, 1)
        return features_from_columns(
            np.full(count, 5), counts, 8, counts, counts * 9000, counts, counts, 0 * counts, days, days.copy(),
            patient_ids=[f"p{number}" for number in range(count)], prediction_times=0 * counts,
            targets={"long_stay": recent[:, None]}, weights={"long_stay": np.ones((count, 1), np.float32)},
        )  # fmt: skip

    splits = {split: part(600) for split in ("train", "valid", "test")}
    for part_of in splits.values():  # plain figures tell the days too: hide them, so that the codes alone decide
        part_of.context[:] = 1.0
        part_of.history.recencies[:] = 500
    results = fit_baselines(splits, {"long_stay": ["long_stay"]})
    found = {
        name: roc_auc_score(splits["test"].targets["long_stay"][:, 0], tasks["test"]["long_stay"].logits[:, 0])
        for name, tasks in results.predictions.items()
    }
    assert found["windowed_logistic_regression"] == 1.0 and found["recency_gradient_boosting"] > 0.99
    assert found["logistic_regression"] == found["gradient_boosting"] == 0.5


def test_faded_counts_by_hand():
    features = features_from_columns(
        [5, 5, 6], [3], 8, [0], [0], [2], [1, 1], [0, 9], [180, 0], [180, 0, 0],
        patient_ids=["a"], prediction_times=[0], targets={}, weights={},
    )  # fmt: skip
    counts = tree_baselines.faded_counts(features.history, 8, half_life=180).toarray()
    assert counts.tolist() == [[0, 0, 0, 0, 0, 1.5, 1, 0]]
    windows = windowed_baselines.windowed_counts(features.history, 8, (31,)).toarray()
    assert np.expm1(windows).round(6).tolist() == [[0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 2, 1, 0]]


def test_columns_of_windows_say_which_code_they_are_of():
    """So that rare codes' counts are pulled to 0 as hard as whether they were seen."""
    splits = splits_of(300, 150, 100)
    design = windowed_baselines.encode_windows(splits["train"], np.arange(300), splits)["fit"]
    has = design.windows.toarray().reshape(300, -1, design.width).any(axis=2)
    extra, context = design.extra.toarray(), design.extra_codes < 0
    assert context.sum() == len(CONTEXT) + 2 * len(windowed_baselines.WINDOW_DAYS) and context[-1]
    for column, code in zip(extra.T[~context], design.extra_codes[~context], strict=True):
        assert column.any() and not column[~has[:, code]].any()
    for code in np.flatnonzero(has.any(axis=0)):  # the last of a code's columns is its count ever
        (*_, ever) = np.flatnonzero(design.extra_codes == code)
        np.testing.assert_array_equal(extra[:, ever] > 0, has[:, code])


def test_xgboost_is_its_own_with_the_settings_that_validation_chose():
    xgboost = pytest.importorskip("xgboost", reason="the extra [xgboost]")
    splits = splits_of(300, 150, 100)
    tasks = {"long_stay": ["long_stay"]}
    results = fit_baselines(splits, tasks, names=(baselines.XGBOOST,))
    chosen = results.settings[baselines.XGBOOST]["long_stay"]["long_stay"]
    matrices = tree_baselines.encode_faded(splits["train"], np.arange(300), splits)

    def of(split):
        counts, context, dense = matrices[split]
        known = splits[split].weights["long_stay"][:, 0] > 0
        return dense(counts, context), known, splits[split].targets["long_stay"][:, 0]

    losses, logits = {}, {}
    for values in itertools.product(*xgboost_baseline.SEARCH.values()):
        settings = dict(zip(xgboost_baseline.SEARCH, values, strict=True))
        model = xgboost.XGBClassifier(
            n_estimators=300, early_stopping_rounds=10, tree_method="hist", random_state=0, n_jobs=1, **settings
        )
        (x, known, y), (x_valid, known_valid, y_valid) = of("train"), of("valid")
        model.fit(x[known], y[known], eval_set=[(x_valid[known_valid], y_valid[known_valid])], verbose=False)
        losses[values] = model.best_score
        logits[values] = model.predict(of("test")[0], output_margin=True)
    best = min(losses, key=losses.get)
    assert tuple(chosen[name] for name in xgboost_baseline.SEARCH) == best
    predictions = results.predictions[baselines.XGBOOST]["test"]["long_stay"]
    np.testing.assert_allclose(predictions.logits[:, 0], logits[best], rtol=1e-4, atol=1e-5)
    splits["train"].targets["long_stay"][:] = 0
    constant = fit_baselines(splits, tasks, names=(baselines.XGBOOST,))
    assert constant.reasons[baselines.XGBOOST]["long_stay"]["long_stay"].startswith("constant prediction")


def test_xgboost_that_is_not_installed_is_refused(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(DataError, match=r"expected the package xgboost, received none; pip install '.\[xgboost\]'"):
        xgboost_baseline.require_xgboost()
