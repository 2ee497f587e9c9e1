"""The wide part as a layer: equal to the NumPy route, packed or not; a code's coefficient; what is ignored."""

import keras
import numpy as np
import pytest

from medtop.model.wide import Stacked, WideLogits, WidePart
from medtop.wide.fit import Design, tables_of
from medtop.wide.history import context_names, context_of, history_of_tokens, latest_windows

VOCABULARY, DAYS, LABELS = 14, (31, 92, 366), 3


def sequences(count, seed=0, separators=False):
    """Sequences as the records hold them, oldest visit first; the first one has no codes."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        visits = 0 if number == 0 else int(rng.integers(1, 6))
        days = np.sort(rng.integers(0, 900, visits))[::-1]
        tokens = [(2, 0, int(rng.integers(0, 30_000)) * (number != 1), 0, 0)]  # [CLS]; the second has no age
        for visit, recency in enumerate(days, 1):
            stay = int(rng.integers(0, 20))
            for code in rng.integers(5, VOCABULARY, rng.integers(1, 5)):
                tokens.append((1 if code == 5 else code, visit, 9000 + visit, stay, recency))  # [UNK] is a code
            if separators:
                tokens.append((3, visit, 9000 + visit, stay, recency))
        found.append((np.array(tokens), int(rng.integers(0, 3))))
    return found


def columns_of(found):
    tokens = np.concatenate([tokens for tokens, _ in found])
    names = ("token_ids", "visits", "age_days", "stay_days", "recency_days")
    return {
        "counts": [len(tokens) for tokens, _ in found],
        "sex": [sex for _, sex in found],
        **dict(zip(names, tokens.T, strict=True)),
    }


def batch_of(rows):
    """The model's batch: each row a list of sequences that share it."""
    length = max(sum(len(tokens) for tokens, _ in row) for row in rows) + 2
    places = max(len(row) for row in rows)
    names = ("token_ids", "visits", "ages", "stays", "recencies")
    x = {name: np.zeros((len(rows), length), np.int32) for name in (*names, "sexes", "patient_slots")}
    x["cls_positions"] = np.zeros((len(rows), places), np.int32)
    for place, row in enumerate(rows):
        start = 0
        for slot, (tokens, sex) in enumerate(row, 1):
            span = (place, slice(start, start + len(tokens)))
            for name, values in zip(names, tokens.T, strict=True):
                x[name][span] = values
            x["sexes"][span], x["patient_slots"][span] = sex, slot
            x["cls_positions"][place, slot - 1] = start
            start += len(tokens)
    return x


def coefficients(seed=0):
    rng, features = np.random.default_rng(seed), len(context_names(DAYS))
    return {
        "tables": tables_of(rng.normal(size=(VOCABULARY * (len(DAYS) + 1), LABELS)), len(DAYS) + 1),
        "context": 0.2 * rng.normal(size=(features, LABELS)),
        "intercepts": rng.normal(size=LABELS),
    }


def layer_of(values):
    layer = WideLogits(VOCABULARY, DAYS, len(context_names(DAYS)), LABELS)
    layer.build(None)
    for name, array in values.items():
        getattr(layer, name).assign(array)
    return layer


@pytest.mark.parametrize("separators", [False, True])
def test_layer_is_the_numpy_route_packed_or_not(separators):
    found, values = sequences(9, separators=separators), coefficients()
    history = history_of_tokens(columns_of(found))
    expected = latest_windows(history, VOCABULARY, DAYS) @ values["tables"]
    expected = expected + context_of(history, DAYS) @ values["context"] + values["intercepts"]
    layer = layer_of(values)
    alone = np.asarray(layer(batch_of([[one] for one in found])))[:, 0]
    np.testing.assert_allclose(alone, expected, rtol=0, atol=1e-5)
    packed = np.asarray(layer(batch_of([found[:4], found[4:]])))
    np.testing.assert_allclose(packed[0, :4], expected[:4], rtol=0, atol=1e-5)
    np.testing.assert_allclose(packed[1], expected[4:], rtol=0, atol=1e-5)
    assert not layer.trainable_weights


def test_tables_are_the_fits_weights():
    history, rng = history_of_tokens(columns_of(sequences(9))), np.random.default_rng(1)
    windows, width = latest_windows(history, VOCABULARY, DAYS), len(DAYS) + 1
    weights = rng.normal(size=(VOCABULARY * width, LABELS))
    design = Design(windows, np.zeros((9, 0)), width)
    np.testing.assert_allclose(windows @ tables_of(weights, width), design.times(weights), atol=1e-12)


def test_leaving_a_code_out_changes_the_logit_by_its_coefficient():
    """A code that was seen twice, and once more in the same visit as another: the figures stay as they are."""
    tokens = np.array([(2, 0, 9000, 0, 0), (6, 1, 1, 3, 500), (7, 1, 1, 3, 500), (6, 2, 1, 3, 40), (8, 2, 1, 3, 40)])
    values = coefficients()
    values["context"][context_names(DAYS).index("log_codes")] = 0  # the one figure that counts codes
    layer = layer_of(values)
    other = tokens[[0, 2, 4]]
    whole, without = (np.asarray(layer(batch_of([[(rows, 1)]])))[0, 0] for rows in (tokens, other))
    last_seen = 1  # 40 days: within 92
    np.testing.assert_allclose(whole - without, values["tables"][6 * (len(DAYS) + 1) + last_seen], atol=1e-5)


def test_masked_codes_and_padding_are_no_codes():
    found, values = sequences(4), coefficients()
    layer, x = layer_of(values), batch_of([[one] for one in sequences(4)])
    wider = {name: np.pad(array, ((0, 0), (0, 5))) if name != "cls_positions" else array for name, array in x.items()}
    np.testing.assert_allclose(np.asarray(layer(wider)), np.asarray(layer(x)), atol=1e-6)
    masked = dict(x, token_ids=np.where(x["token_ids"] > 4, 4, x["token_ids"]))
    history = history_of_tokens(columns_of([(np.where(t > 4, t, t), s) for t, s in found[:1]]))
    assert history.code_counts.tolist() == [0]
    assert not np.allclose(np.asarray(layer(masked)), np.asarray(layer(x)))


def test_stacked_is_a_weighted_sum_and_comes_back_from_its_config():
    rng = np.random.default_rng(0)
    wide, deep = rng.normal(size=(2, 3, 2, LABELS)).astype(np.float32)
    layer = Stacked([1.0, 0.5, 2.0], [0.0, 0.25, 1.0], [0.0, -1.0, 0.5])
    expected = np.array([1.0, 0.5, 2.0]) * wide + np.array([0.0, 0.25, 1.0]) * deep + np.array([0.0, -1.0, 0.5])
    np.testing.assert_allclose(np.asarray(layer(wide, deep)), expected, atol=1e-6)
    again = Stacked.from_config(layer.get_config())
    np.testing.assert_allclose(np.asarray(again(wide, deep)), expected, atol=1e-6)
    kept = WideLogits.from_config(layer_of(coefficients()).get_config())
    assert kept.days == DAYS and kept.num_labels == LABELS


def test_part_splits_labels_by_task_and_leaves_the_encoder_out_where_it_does_not_count():
    layer = layer_of(coefficients())
    scales = {"wide_scale": [1.0], "deep_scale": [0.0], "offset": [0.0]}
    stack = {"long_stay": scales, "complications": {name: value * 2 for name, value in scales.items()}}
    part = WidePart(layer, {"long_stay": slice(0, 1), "complications": slice(1, 3)}, stack)
    assert part.is_alone
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in part.inputs}
    model = keras.Model(inputs, part.outputs(inputs, None, ["complications"]))
    x = {name: array for name, array in batch_of([[one] for one in sequences(5)]).items() if name in part.inputs}
    np.testing.assert_allclose(np.asarray(model(x)["complications"]), np.asarray(layer(x))[:, :, 1:], atol=1e-6)
