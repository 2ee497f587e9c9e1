"""The name tables alone: every weight used once or left out on purpose, both directions inverse. No PyTorch needed."""

import itertools

import numpy as np
import pytest
from convert_cases import LAYERS, convert_config, random_arrays
from small_data import ALL_EMBEDDINGS, all_tasks

from medtop.convert.names import LAYOUTS, build_table, extra_embeddings, shape_of, to_ours, to_theirs, token_type
from medtop.convert.rules import DIRECT, SPLIT, SPLIT_TRANSPOSED, TRANSPOSED, TWO_WAY
from medtop.files.errors import DataError

TASKS = {task.name: task for task in all_tasks()}
HEADS = {TASKS["masked_lm"]: "masked", TASKS["long_stay"]: "two_way"}
CLASSIFIER = {TASKS["complications"]: "classifier"}


def config_of(layout, **changes):
    return convert_config(norm=LAYOUTS[layout].norm, **changes)


def our_arrays(table, seed=0):
    return random_arrays({entry.ours: entry.shape for entry in table.entries}, seed)


@pytest.mark.parametrize(
    "rule, shape",
    [
        (DIRECT, (4, 6)),
        (TRANSPOSED, (4, 6)),
        (SPLIT, (4, 3, 4)),
        (SPLIT, (3, 4)),
        (SPLIT_TRANSPOSED, (4, 3, 4)),
        (TWO_WAY, (4, 1)),
        (TWO_WAY, (1,)),
    ],
)
def test_rules_are_their_own_inverse_and_know_their_shapes(rule, shape):
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    theirs = rule.there(array)
    assert [part.shape for part in theirs] == rule.shapes(shape)
    np.testing.assert_array_equal(rule.back(theirs), array)
    assert rule.back(theirs).flags["C_CONTIGUOUS"]


def test_query_key_and_value_are_the_thirds_in_this_order():
    flat = np.arange(12, dtype=np.float32).reshape(2, 6)  # [2, 3 x 2], as files from before December 2026 hold it
    query, key, value = SPLIT_TRANSPOSED.there(flat.reshape(2, 3, 2))
    assert query.tolist() == flat[:, :2].T.tolist()
    assert key.tolist() == flat[:, 2:4].T.tolist() and value.tolist() == flat[:, 4:].T.tolist()


@pytest.mark.parametrize("layout, heads", list(itertools.product(LAYOUTS, [{}, HEADS, CLASSIFIER])))
def test_there_and_back_bit_for_bit_and_each_name_once(layout, heads):
    config = config_of(layout)
    table = build_table(layout, config, heads)
    arrays = our_arrays(table)
    theirs = to_theirs(table, arrays)
    names = [name for entry in table.entries for name in entry.theirs]
    assert len(names) == len(set(names)) and set(names) | set(table.filled) == set(theirs)
    assert len({entry.ours for entry in table.entries}) == len(table.entries)
    back, left_out = to_ours(table, theirs, "file", "config")
    assert left_out == {} and back.keys() == arrays.keys()
    for path, array in arrays.items():
        np.testing.assert_array_equal(back[path], array, err_msg=path)
    assert not any("{" in name for name in names)


@pytest.mark.quick(first=1)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_tables_name_every_weight_of_the_keras_model_with_its_shape(layout):
    """The oracle of names and shapes is the model itself."""
    pytest.importorskip("keras", reason="the model is Keras's")
    from convert_cases import random_model

    config = config_of(layout, embeddings=("code", "position", "segment"))
    for heads in (HEADS, CLASSIFIER, {}):
        table = build_table(layout, config, heads)
        model = random_model(config, list(heads))
        assert {entry.ours: entry.shape for entry in table.entries} == {
            weight.path: tuple(weight.shape) for weight in model.weights
        }


@pytest.mark.parametrize("norm, pooling", [("post", "mean"), ("pre", "cls")])
def test_our_own_layout_names_every_embedding_and_all_heads(norm, pooling):
    pytest.importorskip("keras", reason="the model is Keras's")
    from convert_cases import random_model

    config = convert_config(norm=norm, pooling=pooling, embeddings=ALL_EMBEDDINGS)
    heads = {TASKS["masked_lm"]: "masked", TASKS["long_stay"]: "own", TASKS["complications"]: "own"}
    table = build_table({"post": "bert", "pre": "megatron-bert"}[norm], config, heads, extras=True)
    model = random_model(config, all_tasks())
    assert {entry.ours: entry.shape for entry in table.entries} == {w.path: tuple(w.shape) for w in model.weights}
    assert table.filled == {}


def test_what_huggingface_needs_and_we_lack_is_filled_with_zeros():
    config = config_of("bert", embeddings=("code",))
    table = build_table("bert", config, {})
    theirs = to_theirs(table, our_arrays(table))
    for name, rows in (("position", config.max_position_embeddings), ("token_type", config.type_vocab_size)):
        array = theirs[f"bert.embeddings.{name}_embeddings.weight"]
        assert array.shape == (rows, config.hidden_size) and not array.any() and array.dtype == np.float32
    _, left_out = to_ours(table, theirs, "file", "config")
    assert len(left_out) == 2 and all("zeros" in reason for reason in left_out.values())
    theirs["bert.embeddings.position_embeddings.weight"][3, 3] = 1  # trained since: not to be lost silently
    with pytest.raises(DataError, match="received one more: bert.embeddings.position_embeddings.weight"):
        to_ours(table, theirs, "file", "config")


def test_the_visit_number_is_their_token_type_and_the_rest_has_no_place():
    assert token_type(convert_config(embeddings=("code", "visit", "segment"))) == "visit"
    assert token_type(convert_config(embeddings=("code", "segment"))) == "segment"
    assert token_type(convert_config(embeddings=("code",))) is None
    every = convert_config(embeddings=ALL_EMBEDDINGS)
    assert extra_embeddings(every) == ["visit_position", "segment", "age", "gap", "stay", "recency", "sex"]
    with pytest.raises(DataError, match="expected code, position, visit or segment, received visit_position, segment"):
        build_table("bert", every, {})
    with pytest.raises(DataError, match="expected norm='post', received norm='pre'"):
        build_table("tf1", convert_config(norm="pre"), {})
    with pytest.raises(DataError, match="expected neighbour_layers=0, received 2"):
        build_table("bert", convert_config(neighbour_layers=2), {}, extras=True)


def test_a_weight_that_is_neither_used_nor_left_out_is_an_error():
    table = build_table("bert", config_of("bert"), HEADS)
    arrays = our_arrays(table)
    more = arrays | {"complications_logits/kernel": np.zeros((32, 2), np.float32)}
    with pytest.raises(DataError, match="each in the table or left out on purpose: complications_logits/kernel"):
        to_theirs(table, more)
    assert to_theirs(table, more, left_out=["complications_logits/kernel"]).keys() == to_theirs(table, arrays).keys()
    with pytest.raises(DataError, match="missing: pooler/bias"):
        to_theirs(table, {path: array for path, array in arrays.items() if path != "pooler/bias"})


@pytest.mark.parametrize(
    "layout, name",
    [("bert", "bert.encoder.layer.1.output.dense.bias"), ("tf1", "bert/encoder/layer_1/output/dense/bias")],
)
def test_foreign_weights_must_be_exactly_those_of_the_table(layout, name):
    table = build_table(layout, config_of(layout), HEADS)
    theirs = to_theirs(table, our_arrays(table))
    cases = [
        ({key: array for key, array in theirs.items() if key != name}, f"missing: {name}"),
        (theirs | {"bert.extra": np.zeros(2)}, "received one more: bert.extra"),
        (theirs | {name: np.zeros(31, np.float32)}, rf"expected {name} of shape \(32,\) \(config.json\), received"),
    ]
    for arrays, message in cases:
        with pytest.raises(DataError, match=message) as error:
            to_ours(table, arrays, "model.safetensors", "config.json")
        assert "\n" not in str(error.value) and str(error.value).startswith("model.safetensors: ")


def test_copies_are_checked_and_buffers_left_out():
    """decoder.weight repeats the code table, position_ids is no weight; an untied decoder is no model of ours."""
    table = build_table("bert", config_of("bert"), HEADS)
    theirs = to_theirs(table, our_arrays(table))
    table_name, bias = "bert.embeddings.word_embeddings.weight", "cls.predictions.bias"
    more = theirs | {
        "cls.predictions.decoder.weight": theirs[table_name].copy(),
        "cls.predictions.decoder.bias": theirs[bias].copy(),
        "bert.embeddings.position_ids": np.arange(24, dtype=np.float32)[None],
    }
    back, left_out = to_ours(table, more, "file", "config")
    assert back.keys() == to_ours(table, theirs, "file", "config")[0].keys()
    assert set(left_out) == more.keys() - theirs.keys() and len(set(left_out.values())) == 3
    only_copy = {key: array for key, array in more.items() if key != bias}
    np.testing.assert_array_equal(to_ours(table, only_copy, "file", "config")[0]["masked_lm_logits/bias"], theirs[bias])
    more["cls.predictions.decoder.weight"][0, 0] += 1
    with pytest.raises(DataError, match=r"expected cls.predictions.decoder.weight to repeat .*tied"):
        to_ours(table, more, "file", "config")
    encoder = build_table("bert", config_of("bert"), {})  # without the head, its decoder may be anything
    assert "cls.predictions.decoder.weight" in to_ours(encoder, more, "file", "config")[1]


def test_optimizer_slots_of_tf1_are_left_out_with_their_reason():
    table = build_table("tf1", config_of("tf1"), HEADS)
    theirs = to_theirs(table, our_arrays(table))
    slots = {f"{name}/{slot}": array for name, array in theirs.items() for slot in ("adam_m", "adam_v")}
    back, left_out = to_ours(table, theirs | slots | {"global_step": np.float32(9)}, "ckpt", "bert_config.json")
    assert set(left_out) == {*slots, "global_step"} and len(back) == len(table.entries)
    assert left_out["global_step"] != left_out["bert/pooler/dense/bias/adam_m"]


def test_shape_of_by_hand():
    config = convert_config()
    assert shape_of("embeddings/visit_embeddings", config) == (8, 32)
    assert shape_of("layer_{layer}_attention/qkv_kernel", config) == (32, 3, 32)
    assert shape_of("layer_{layer}_attention/qkv_bias", config) == (3, 32)
    assert shape_of("layer_{layer}_intermediate/kernel", config) == (32, 40)
    assert shape_of("layer_{layer}_output/kernel", config) == (40, 32)
    assert shape_of("layer_{layer}_output/bias", config) == (32,)
    assert shape_of("{task}_logits/kernel", config, 2) == (32, 2)
    assert LAYERS == config.num_hidden_layers
