"""Encoded inputs against scikit-learn's transformers, fitted on the training rows alone."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tabular_cases import loaded, rows_of

TRAIN = np.arange(0, 40)


def encoded(tmp_path, inputs, rows=None, train=TRAIN):
    data = loaded(tmp_path, rows, {"inputs": [inputs]})
    x = data.encoder.encoded(train)
    assert x.dtype == np.float32 and x.shape == (len(data.table), len(data.encoder.names()))
    return data, x


def column(data, name):
    return data.table.columns[name]


@pytest.mark.parametrize("policy", ["median", "mean"])
@pytest.mark.parametrize("log", [False, True])
def test_numeric(tmp_path, policy, log):
    data, x = encoded(tmp_path, {"column": "age", "kind": "numeric", "missing": policy, "indicator": True, "log": log})
    ages = np.array([[np.nan if text is None else float(text)] for text in column(data, "age")])
    assert np.isnan(ages[TRAIN]).any()
    ages = np.log1p(ages) if log else ages
    filled = SimpleImputer(strategy=policy).fit(ages[TRAIN]).transform(ages)
    expected = StandardScaler().fit(filled[TRAIN]).transform(filled)
    np.testing.assert_allclose(x[:, :1], expected, atol=1e-5)
    assert np.array_equal(x[:, 1], np.isnan(ages[:, 0])) and data.encoder.names() == ["age", "age missing"]


def test_numeric_outliers_are_cut(tmp_path):
    rows = rows_of(60)
    rows[50][2] = "1e9"
    assert encoded(tmp_path, {"column": "age", "kind": "numeric"}, rows)[1].max() == 5.0


def test_categorical(tmp_path):
    rows = rows_of(60)
    rows[55][3] = "X"  # in no training row
    data, x = encoded(tmp_path, {"column": "sex", "kind": "categorical"}, rows)
    sexes = np.array([["missing" if text is None else text] for text in column(data, "sex")])
    theirs = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(sexes[TRAIN])
    names = [name.removeprefix("x0_") for name in theirs.get_feature_names_out()]
    order = [data.encoder.names().index(f"sex={name}") for name in names]
    np.testing.assert_array_equal(x[:, order], theirs.transform(sexes))
    assert x[55].sum() == 0 and not x[:, data.encoder.names().index("sex=X")].any()


def test_categorical_filled_with_the_commonest_training_category(tmp_path):
    rows = rows_of(60)
    for number, row in enumerate(rows):
        row[3] = "M" if number < 25 else "F"  # F is commoner in all rows, M in the training rows
    rows[58][3] = ""
    data, x = encoded(tmp_path, {"column": "sex", "kind": "categorical", "missing": "most_frequent"}, rows)
    assert data.encoder.names() == ["sex=F", "sex=M"] and x[58].tolist() == [0.0, 1.0]


def test_multi_hot_columns_and_their_components(tmp_path):
    plain = {"name": "illness", "kind": "multi_hot", "columns": ["stroke", "diabetes"]}
    data, x = encoded(tmp_path, plain)
    hot = np.array([[text == "1" for text in column(data, name)] for name in ("stroke", "diabetes")], float).T
    np.testing.assert_array_equal(x, hot)
    data, x = encoded(tmp_path, plain | {"components": 2})
    theirs = PCA(2, svd_solver="full").fit(hot[TRAIN]).transform(hot)
    np.testing.assert_allclose(x, theirs / theirs[TRAIN].std(0), atol=1e-5)
    assert data.encoder.names() == ["illness component 1", "illness component 2"]


def test_multi_hot_in_one_column(tmp_path):
    rows = rows_of(60)
    for number, row in enumerate(rows):
        row[3] = ["a|b", " b ", "", "c|c"][number % 4] if number < 59 else "z"
    data, x = encoded(tmp_path, {"column": "sex", "kind": "multi_hot", "separator": "|"}, rows)
    assert data.encoder.names() == ["sex=a", "sex=b", "sex=c", "sex=z"]
    assert x[:4, :3].tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert not x[59].any()  # a label that no training row has


def test_nothing_outside_the_training_rows_is_looked_at(tmp_path):
    """Every other row changed: the training rows' inputs stay the same."""
    schema = {
        "inputs": [
            {"column": "age", "kind": "numeric", "indicator": True},
            {"column": "sex", "kind": "categorical"},
            {"name": "illness", "kind": "multi_hot", "columns": ["stroke", "diabetes"], "components": 1},
        ]
    }
    rows = rows_of(60)
    before = loaded(tmp_path, rows, schema)
    one = before.encoder.encoded(TRAIN)[TRAIN]
    constants = [target.constant(TRAIN) for target in before.targets]
    for number in range(40, 60):
        rows[number] = [*rows[number][:2], str(900 + number), "F", "1", "1", "HDF", "9999"]
    after = loaded(tmp_path, rows, schema)
    np.testing.assert_array_equal(one, after.encoder.encoded(TRAIN)[TRAIN])
    for a, b in zip(constants, (target.constant(TRAIN) for target in after.targets), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_column_without_any_training_value(tmp_path):
    rows = rows_of(60)
    for row in rows[:40]:
        row[2] = ""
    assert np.isfinite(encoded(tmp_path, {"column": "age", "kind": "numeric"}, rows)[1]).all()


def test_targets(tmp_path):
    data = loaded(tmp_path)
    mode, flow = data.targets
    assert mode.classes == ["HD", "HDF"] and mode.outputs == 2 and flow.outputs == 1 and not flow.classes
    texts = column(data, "mode")
    assert mode.known.tolist() == [text is not None for text in texts] and not mode.known.all()
    assert [mode.classes[int(value)] for value in mode.values[mode.known]] == [text for text in texts if text]
    counts = [sum(text == name for text in texts[TRAIN]) for name in mode.classes]
    np.testing.assert_allclose(mode.constant(TRAIN), (np.array(counts) + 1) / (sum(counts) + 2))
    known = [float(text) for text in column(data, "flow")[TRAIN] if text]
    np.testing.assert_allclose(flow.constant(TRAIN), [np.mean(known), np.std(known)])


def test_classes_that_are_numbers_stand_by_size(tmp_path):
    rows = rows_of(60)
    for number, row in enumerate(rows):
        row[6] = ["10", "9", "2.5"][number % 3]
    assert loaded(tmp_path, rows).targets[0].classes == ["2.5", "9", "10"]
    listed = {"targets": [{"column": "mode", "kind": "classification", "classes": ["10", "2.5", "9", "8"]}]}
    assert loaded(tmp_path, rows, listed).targets[0].classes == ["10", "2.5", "9", "8"]
