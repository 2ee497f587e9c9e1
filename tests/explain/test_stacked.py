"""A wide part and an encoder together: the sum, the wide part by hand and against scoring without a code."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="the encoder is Keras's on TensorFlow")

from small_data import VOCABULARY, all_tasks, small_config  # noqa: E402

from medtop.explain.deletion import Deleter, codes_of_row  # noqa: E402
from medtop.explain.faithfulness import completeness  # noqa: E402
from medtop.explain.gradients import Attributor  # noqa: E402
from medtop.explain.stacked import HISTORY, UNKNOWN, StackedAttributor, shuffled  # noqa: E402
from medtop.model.multitask import build_model  # noqa: E402
from medtop.model.wide import WideLogits, WidePart  # noqa: E402
from medtop.runs.explain import parts_of  # noqa: E402
from medtop.wide.history import context_names  # noqa: E402

DAYS = (31, 366)
TASKS = ("long_stay", "complications")
LABELS = [("long_stay", 0), ("complications", 1)]
BATCH = {  # [CLS] 7 8 7 | 9 | 8 ; [CLS] 9 [UNK], padded
    "token_ids": [[2, 7, 8, 7, 9, 8], [2, 9, 1, 0, 0, 0]],
    "patient_slots": [[1] * 6, [1, 1, 1, 0, 0, 0]],
    "visits": [[0, 1, 1, 1, 2, 3], [0, 1, 1, 0, 0, 0]],
    "visit_positions": [[0, 0, 1, 2, 0, 0], [0, 0, 1, 0, 0, 0]],
    "ages": [[22000, 21000, 21000, 21000, 21900, 21990], [9000, 8990, 8990, 0, 0, 0]],
    "stays": [[0, 9, 9, 9, 2, 1], [0, 3, 3, 0, 0, 0]],
    "recencies": [[0, 900, 900, 900, 100, 10], [0, 5, 5, 0, 0, 0]],
    "sexes": [[1] * 6, [2, 2, 2, 0, 0, 0]],
    "cls_positions": [[0], [0]],
}


def make(config, deep_scale=0.5):
    tf.keras.utils.set_random_seed(4)
    tasks = all_tasks(list(TASKS))
    model = build_model(config, tasks)
    sizes = {task.name: task.num_outputs for task in tasks}
    layer = WideLogits(config.vocab_size, DAYS, len(context_names(DAYS)), sum(sizes.values()), name="wide")
    layer.build(None)
    rng = np.random.default_rng(0)
    for name in ("tables", "context", "intercepts"):
        weight = getattr(layer, name)
        weight.assign(rng.normal(size=weight.shape).astype("float32"))
    columns, end, stack = {}, 0, {}
    for number, (name, size) in enumerate(sizes.items()):
        columns[name], end = slice(end, end + size), end + size
        stack[name] = {"wide_scale": [0.75] * size, "deep_scale": [deep_scale] * size, "offset": [0.1 + number] * size}
    model.wide = WidePart(layer, columns, stack)
    encoder = Attributor(model, config, tasks, LABELS, VOCABULARY, steps=64)
    return StackedAttributor(model, tasks, LABELS, encoder), model


@pytest.fixture(scope="module")
def config():
    return small_config(embeddings=("code", "visit", "age", "sex"), initializer_range=0.5, wide_days=DAYS)


@pytest.fixture(scope="module")
def stacked(config):
    return make(config)


@pytest.fixture(scope="module")
def batch():
    return {name: tf.constant(values, tf.int32) for name, values in BATCH.items()}


@pytest.mark.slow
def test_both_parts_add_up(stacked, batch):
    attributor, model = stacked
    values, logits, baseline = attributor(batch)
    assert set(values) == {"code", UNKNOWN, "age", "sex", HISTORY}
    total = sum(part.sum(1) for part in values.values())
    assert completeness(total, logits, baseline).max() < 0.05
    deep, own, start = attributor.encoder(batch)
    wide = attributor.wide(batch)
    assert np.allclose(values["code"], wide["code"] + 0.5 * deep["code"], atol=1e-6)
    layer = model.wide.layer({name: batch[name] for name in model.wide.inputs}).numpy()[:, 0]
    places = [model.wide.columns[task].start + number for task, number in LABELS]
    assert np.allclose(logits, 0.75 * layer[:, places] + 0.5 * own + [0.1, 1.1], atol=1e-5)
    exact = sum(part.sum(1) for part in wide.values()) + attributor.wide.baseline
    assert np.allclose(exact, 0.75 * layer[:, places] + [0.1, 1.1], atol=1e-5), "NumPy's route and the layer's"
    assert np.allclose(baseline, attributor.wide.baseline + 0.5 * start, atol=1e-6)


def test_the_wide_part_by_hand(stacked, batch):
    attributor, model = stacked
    wide = attributor.wide(batch)
    tables = np.asarray(model.wide.layer.tables).reshape(-1, 3, model.wide.layer.num_labels)
    place = model.wide.columns["complications"].start + 1
    expected = np.zeros((2, 6))
    expected[0, 3], expected[0, 4], expected[0, 5] = tables[7, 2, place], tables[9, 1, place], tables[8, 0, place]
    expected[1, 1] = tables[9, 0, place]
    assert np.allclose(wide["code"][..., 1], 0.75 * expected, atol=1e-6), "at the latest occurrence only"
    unknown = np.zeros((2, 6))
    unknown[1, 2] = tables[1, 0, place]
    assert np.allclose(wide[UNKNOWN][..., 1], 0.75 * unknown, atol=1e-6), "[UNK] is no code"
    context = np.asarray(model.wide.layer.context)[:, place]
    names = context_names(DAYS)
    of = {name: 0.75 * context[names.index(name)] for name in names}
    assert wide["sex"][0, 0, 1] == pytest.approx(of["female"], abs=1e-5)
    assert wide["age"][1, 0, 1] == pytest.approx(9000 / 365.25 * of["age_years"] - of["age_unknown"], abs=1e-4)
    assert not wide[HISTORY][:, 1:].any() and wide[HISTORY][0, 0, 1] != 0


def test_taking_a_code_out_is_scoring_the_record_without_it(stacked, batch):
    """A code out of the middle of a stay: the figures of the history must not count that stay twice."""
    attributor, _ = stacked
    codes, standing = codes_of_row(batch, 0, VOCABULARY.special_ids)
    middle = np.array([[False, False, True, False, False, False]])
    masks = np.concatenate([standing, middle])
    without = Deleter(attributor.logits).without(batch, 0, masks)
    for place, mask in enumerate(masks):
        kept = np.flatnonzero(~mask)
        shorter = {n: np.asarray(v)[:1] if n == "cls_positions" else np.asarray(v)[:1, kept] for n, v in batch.items()}
        again = attributor.logits({name: tf.constant(values) for name, values in shorter.items()})
        assert np.allclose(without[place], again[0], atol=1e-5)


@pytest.mark.slow
def test_codes_and_channels_are_complete_where_codes_are_unknown(config, batch):
    """As the command counts it: codes that have a name, and channels; [UNK] is among the latter."""
    attributor, _ = make(config, deep_scale=0.0)
    values, logits, baseline = attributor(batch)
    for row in range(2):
        _, standing = codes_of_row(batch, row, VOCABULARY.special_ids)
        named = (standing.astype(float) @ values["code"][row]).sum(0)
        total = named + sum(part[row].sum(0) for name, part in values.items() if name != "code")
        assert completeness(total[None], logits[row : row + 1], baseline[row : row + 1]).max() < 1e-5


def test_a_wide_part_alone_is_explained_exactly(config, batch):
    attributor, model = make(config, deep_scale=0.0)
    attributor.encoder = None  # is not asked
    values, logits, baseline = attributor(batch)
    total = sum(part.sum(1) for part in values.values())
    assert np.allclose(total, logits - baseline, atol=1e-5)
    (sentence,) = parts_of(model.wide, LABELS, {"long_stay": ("long",), "complications": ("a", "b")})
    assert sentence.startswith("The logit of long, b is 0.75 wide + 0.00 encoder;") and parts_of(None, LABELS, {}) == []
    before = np.asarray(model.wide.layer.tables).reshape(config.vocab_size, -1)
    shuffled(model.wide, 1)
    after = np.asarray(model.wide.layer.tables).reshape(config.vocab_size, -1)
    assert np.array_equal(before[:5], after[:5]) and not np.array_equal(before, after)
    assert np.array_equal(np.sort(before, axis=0), np.sort(after, axis=0))
