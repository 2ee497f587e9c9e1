"""The encoder and the heads on it, against BERT in NumPy; what padding, packing and neighbours must not change.

Letters: B rows in a batch, T tokens in a row, P patients in a row, M masked positions in a row.
"""

import itertools

import numpy as np
import pytest
from encoder_cases import CONFIG, KINDS, LENGTHS, MASKED, PACKED, PATIENTS, TASKS, batch, outputs_of, perturbed
from numpy_bert import NumpyBert
from small_data import ALL_EMBEDDINGS, VOCABULARY, all_tasks, small_config

keras = pytest.importorskip("keras", reason="the encoder is a Keras model")

from medtop.cohort.vocabulary import CLS_ID, MASK_ID, PAD_ID  # noqa: E402
from medtop.evaluation.scoring import patient_model  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.model.config import EMBEDDINGS  # noqa: E402
from medtop.model.encoder import SmoothRows, build_encoder, table_rows  # noqa: E402
from medtop.model.multitask import build_model, compile_arguments  # noqa: E402
from medtop.training.checkpoints import weights_of  # noqa: E402


def models():
    """One perturbed model and its NumPy twin per kind; built once."""
    for norm, act, pooling in KINDS:
        config = small_config(norm=norm, activation=act, pooling=pooling, **CONFIG)
        model = perturbed(build_model(config, TASKS))
        yield (norm, act, pooling), (config, model, NumpyBert(config, weights_of(model)))


@pytest.fixture(scope="module")
def built():
    return dict(models())


@pytest.mark.quick("post-gelu-cls", "pre-gelu-mean")
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_equals_numpy_packed_and_unpacked_whatever_stands_in_the_padding(built, kind):
    """Faults 12 and 2's cousin: pooled vector, sequence and logits are the patient's own, wherever it stands."""
    config, model, oracle = built[kind]
    alone = [oracle.sequence(patient) for patient in PATIENTS]
    unpacked = batch([[i] for i in range(6)], 9)
    packed = batch(PACKED, 17, junk=np.random.default_rng(3))
    for x, where in (
        (unpacked, [(i, 0, 0) for i in range(6)]),
        (packed, [(b, slot, sum(LENGTHS[j] for j in row[:slot])) for b, row in enumerate(PACKED) for slot in range(3)]),
    ):
        encoded, logits = outputs_of(model.encoder, x), outputs_of(model, x)
        for i, (b, slot, start) in enumerate(where):
            mine = slice(start, start + LENGTHS[i])
            np.testing.assert_allclose(encoded["sequence_output"][b, mine], alone[i], atol=1e-5, rtol=1e-5)
            np.testing.assert_allclose(encoded["pooled_output"][b, slot], oracle.pooled(alone[i]), atol=1e-5, rtol=1e-5)
            for task in ("long_stay", "complications"):
                np.testing.assert_allclose(
                    logits[task][b, slot], oracle.patient_logits(task, alone[i]), atol=1e-5, rtol=1e-5
                )
            asked = [m for m, p in enumerate(x["mask_positions"][b]) if start < p < start + LENGTHS[i]]
            guesses = oracle.masked_logits(alone[i], MASKED[i])
            np.testing.assert_allclose(logits["masked_lm"][b, asked], guesses, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_the_model_that_scores_equals_numpy(built, kind):
    """`patient_model` computes its last block at [CLS] only: packed rows, noise in the padding, empty slots."""
    _, model, oracle = built[kind]
    scorer = patient_model(model, TASKS)
    rows = (*PACKED, (5, 2))
    logits = outputs_of(scorer, batch(rows, 19, junk=np.random.default_rng(4)))
    assert sorted(logits) == ["complications", "long_stay"]
    for b, row in enumerate(rows):
        for slot, i in enumerate(row):
            for task, found in logits.items():
                expected = oracle.patient_logits(task, oracle.sequence(PATIENTS[i]))
                np.testing.assert_allclose(found[b, slot], expected, atol=1e-5, rtol=1e-5)


def test_scoring_computes_of_the_last_block_what_is_read(built):
    """Rows of the products: 2 x 17 tokens in the first block; in the last one keys and values only, the rest 2 x 3."""
    tf = pytest.importorskip("tensorflow")
    scorer = patient_model(built[KINDS[0]][1], TASKS)
    x = {name: tf.constant(value) for name, value in batch(PACKED, 17).items() if name in scorer.input}
    run = tf.function(lambda some: scorer(some, training=False), autograph=False)
    graph = run.get_concrete_function(x).graph
    rows = [one.outputs[0].shape[0] for one in graph.get_operations() if one.type == "MatMul"]
    # query with key and value, output, intermediate, output of the first block; then the last one, pooler and two heads
    assert sorted(rows) == sorted([34] * 4 + [34] + [6] * 4 + [6] * 3)


def targets(rows, x):
    """y and w of a batch, from fixed labels per patient; some unknown, weights as the pipeline normalises them."""
    rng = np.random.default_rng(8)
    label = {"long_stay": rng.integers(0, 2, (6, 1)), "complications": rng.integers(0, 2, (6, 2))}
    known = {"long_stay": np.array([[1], [0], [1], [1], [0], [1]]), "complications": rng.integers(0, 2, (6, 2))}
    code = [rng.integers(5, len(VOCABULARY), len(places)) for places in MASKED]
    y, w = {}, {}
    for task in label:
        shape = (len(rows), x["cls_positions"].shape[1], label[task].shape[1])
        y[task], w[task] = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for b, row in enumerate(rows):
            y[task][b, : len(row)], w[task][b, : len(row)] = label[task][list(row)], known[task][list(row)]
    y["masked_lm"], w["masked_lm"] = np.zeros((2, *x["mask_positions"].shape), np.float32)
    for b, row in enumerate(rows):
        values = np.concatenate([code[i] for i in row])
        y["masked_lm"][b, : len(values)], w["masked_lm"][b, : len(values)] = values, 1
    return y, {task: weights / weights.sum() for task, weights in w.items()}


@pytest.mark.slow
def test_packed_rows_have_the_losses_of_unpacked_ones(built):
    for kind in KINDS:
        _, model, _ = built[kind]
        model.compile(run_eagerly=True, **compile_arguments(all_tasks(weights={"masked_lm": 0.5, "long_stay": 3.0})))
        losses = []
        for rows, tokens in (([[i] for i in range(6)], 16), (PACKED, 24)):
            x = batch(rows, tokens)
            x = {key: x[key] for key in model.input}
            losses.append(model.test_on_batch(x, *targets(rows, batch(rows, tokens)), return_dict=True))
        assert losses[0].keys() == losses[1].keys() and len(losses[0]) == 7
        for name, value in losses[0].items():
            np.testing.assert_allclose(losses[1][name], value, rtol=1e-5, err_msg=name)
        parts = {task: losses[0][f"{task}_loss"] for task in ("masked_lm", "long_stay", "complications")}
        total = 0.5 * parts["masked_lm"] + 3 * parts["long_stay"] + parts["complications"]
        np.testing.assert_allclose(losses[0]["loss"], total, rtol=1e-6)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[4]], ids="-".join)
def test_padding_and_other_rows_change_nothing(built, kind):
    _, model, _ = built[kind]
    alone = outputs_of(model, batch([[2]], 9))
    longer = outputs_of(model, batch([[2]], 16, junk=np.random.default_rng(5)))
    among = outputs_of(model, batch([[0], [2], [4]], 9))
    for name, values in alone.items():
        np.testing.assert_allclose(longer[name], values, atol=1e-5, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(among[name][1:2, : values.shape[1]], values, atol=1e-5, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[4]], ids="-".join)
def test_attention_never_crosses_patients(built, kind):
    _, model, _ = built[kind]
    x = batch(PACKED, 17)
    before = outputs_of(model, x)
    second = x["patient_slots"] == 2
    changed = {
        key: np.where(second, 3, x[key]) if key in ("token_ids", "ages", "gaps", "visits") else x[key] for key in x
    }
    after = outputs_of(model, changed)
    for name in ("long_stay", "complications"):
        np.testing.assert_array_equal(after[name][:, [0, 2]], before[name][:, [0, 2]])
        assert np.abs(after[name][:, 1] - before[name][:, 1]).min() > 1e-3  # the check itself sees a change


def test_empty_rows_are_finite(built):
    """A partial last batch has rows without any patient: they may hold anything, but no NaN."""
    _, model, _ = built[KINDS[1]]
    x = batch([[0], [1]], 9)
    for key in x:
        x[key][1] = 0
    assert all(np.isfinite(values).all() for values in outputs_of(model, x).values())


def test_a_mask_is_attended_to_and_padding_is_not(built):
    """Fault 3: PAD and MASK are two ids. In place of a code, [MASK] is seen by the others."""
    assert len({PAD_ID, MASK_ID, CLS_ID}) == 3 and VOCABULARY.mask_id == MASK_ID != PAD_ID
    _, model, _ = built[KINDS[0]]
    x = batch([[2]], 9)
    plain, hidden = outputs_of(model, x)["long_stay"], dict(x, token_ids=x["token_ids"].copy())
    hidden["token_ids"][0, 3] = MASK_ID
    masked = outputs_of(model, hidden)["long_stay"]
    assert np.abs(masked - plain).max() > 1e-3
    shorter = dict(hidden, patient_slots=hidden["patient_slots"] * (np.arange(9) != 3))
    assert np.abs(outputs_of(model, shorter)["long_stay"] - masked).max() > 1e-3


@pytest.mark.parametrize("day_scale", ["log2", "days"])
def test_rows_of_the_tables_equal_plain_python(day_scale):
    from numpy_bert import table_row

    config = small_config(**CONFIG, day_scale=day_scale)
    values = np.array([*range(0, 2000), 2922, 2923, 30_000, 36_524, 36_525, 60_000, 2**30])
    for name, (_, size, kind) in EMBEDDINGS.items():
        expected = [table_row(int(value), name, config) for value in values]
        rows = np.asarray(table_rows(values.astype(np.int32), kind, getattr(config, size), day_scale))
        np.testing.assert_array_equal(rows, expected, err_msg=name)
    assert np.asarray(table_rows(np.int32([-7]), "days", 40, day_scale)).tolist() == [0]


def test_weights_start_as_bert_does():
    """Fault 13: LayerNorm starts at 1 and 0, biases at 0, all else at a truncated normal of the config's width."""
    config = small_config(
        hidden_size=64,
        num_attention_heads=4,
        intermediate_size=96,
        initializer_range=0.03,
        **{"embeddings": ALL_EMBEDDINGS},
    )
    keras.utils.set_random_seed(0)
    for norm in ("post", "pre"):
        model = build_model(small_config(**config.to_dict() | {"norm": norm}), TASKS)
        norms = [weight for weight in model.weights if weight.name in ("gamma", "beta")]
        assert len(norms) == 2 * (2 + 2)  # embeddings or final, two in the block, masked head
        for weight in model.weights:
            values = np.asarray(weight)
            if weight.name == "gamma":
                assert (values == 1).all(), weight.path
            elif weight.name == "beta" or "bias" in weight.name:
                assert (values == 0).all(), weight.path
            else:
                assert np.abs(values).max() <= 2 * 0.03 + 1e-6, weight.path  # cut at two standard deviations
                if values.size > 1000:
                    assert 0.75 < values.std() / 0.03 < 1.05, weight.path  # a normal cut at two: 0.88 of its deviation


def test_rows_of_days_and_years_start_like_their_neighbours():
    keras.utils.set_random_seed(3)
    model = build_model(small_config(hidden_size=64, num_attention_heads=4, embeddings=ALL_EMBEDDINGS), TASKS)

    def likeness(name, distance):
        table = np.asarray(model.get_layer("encoder").get_layer("embeddings").tables[name])
        rows = table / np.linalg.norm(table, axis=1, keepdims=True)
        return (rows[distance:] * rows[:-distance]).sum(1).mean()

    for name in ("age", "gap", "stay", "recency"):
        assert likeness(name, 1) > 0.8 > 0.4 > likeness(name, 20), name
    for name in ("code", "visit"):
        assert likeness(name, 1) < 0.2, name
    tables = [np.asarray(SmoothRows(0.5, seed=seed)((2000, 50))) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(tables[0], tables[1])
    assert abs(tables[0] - tables[2]).max() > 0.1
    assert abs(np.sqrt((tables[0] ** 2).mean()) - 0.5) < 0.02


def test_no_two_weights_start_from_the_same_numbers():
    """Keras gives equal numbers to two weights that share an initializer."""
    model = build_model(small_config(embeddings=ALL_EMBEDDINGS, num_hidden_layers=2), TASKS)
    drawn = {weight.path: np.asarray(weight).ravel()[:30] for weight in model.weights if np.asarray(weight).std() > 0}
    assert len(drawn) > 15
    for (one, first), (other, second) in itertools.combinations(drawn.items(), 2):
        size = min(len(first), len(second))
        assert not np.allclose(first[:size], second[:size]), (one, other)


def test_dropout_acts_in_training_only(built):
    _, model, _ = built[KINDS[0]]
    x = {key: value for key, value in batch([[2]], 9).items() if key in model.input}
    calm = [np.asarray(model(x, training=False)["long_stay"]) for _ in range(2)]
    wild = [np.asarray(model(x, training=True)["long_stay"]) for _ in range(2)]
    np.testing.assert_array_equal(*calm)
    assert np.abs(wild[0] - wild[1]).max() > 1e-4


def test_a_config_without_vocabulary_is_refused():
    with pytest.raises(DataError, match="expected vocab_size > 0"):
        build_encoder(small_config(vocab_size=0))


def test_the_tied_head_owns_its_bias_only(built):
    """The code table is one weight, trained from both sides, and counted once."""
    _, model, _ = built[KINDS[0]]
    tables = [weight for weight in model.weights if tuple(weight.shape) == (len(VOCABULARY), 16)]
    assert [weight.path for weight in tables] == ["embeddings/code_embeddings"]
    assert [weight.path for weight in model.get_layer("masked_lm_logits").weights] == ["masked_lm_logits/bias"]


def test_only_the_configured_inputs_are_asked_for():
    model = build_model(small_config(embeddings=("code", "gap")), all_tasks(["long_stay"]))
    assert set(model.input) == {"token_ids", "gaps", "patient_slots", "cls_positions"}
    assert set(model.output) == {"long_stay"}
