"""The configuration: what it accepts, what it refuses in one line, the shipped files."""

import dataclasses
import json

import pytest
from conftest import ROOT

from medtop.files.errors import DataError
from medtop.model.config import EMBEDDINGS, BertConfig

FOLDER = ROOT / "medtop" / "configs"
SHIPPED = sorted(set(FOLDER.glob("*.json")) - set(FOLDER.glob("*_schema.json")))  # those are of tables


def test_json_round_trip_keeps_every_field(tmp_path):
    config = BertConfig(
        vocab_size=7,
        hidden_size=8,
        num_attention_heads=2,
        activation="gelu_tanh",
        norm="pre",
        pooling="sum",
        embeddings=("code", "gap", "sex"),
        segment="visit",
        day_scale="days",
        layer_norm_eps=1e-7,
        wide_days=(31, 366),
        head="bigru",
        head_size=12,
        body="embeddings",
        code_start="ppmi",
    )
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    assert BertConfig.from_file(tmp_path / "config.json") == config
    assert set(config.to_dict()) == {field.name for field in dataclasses.fields(BertConfig)}
    later = {"wide_days", "head", "head_size", "body", "code_start"}  # runs from before them compare equal
    assert not later & BertConfig().to_dict().keys()


def test_inputs_are_the_batch_keys_of_the_embeddings_in_their_order():
    assert BertConfig(embeddings=("gap", "code", "age")).inputs == ["gaps", "token_ids", "ages"]
    wide = BertConfig(embeddings=("code", "age"), wide_days=(31,))
    assert wide.embedding_inputs == ["token_ids", "ages"]
    assert wide.inputs == ["token_ids", "ages", "visits", "stays", "recencies", "sexes"]
    assert len({key for key, _, _ in EMBEDDINGS.values()}) == len(EMBEDDINGS)  # no two read the same


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_configs_are_accepted(path):
    config = BertConfig.from_file(path)
    assert config.vocab_size == 0  # taken from the data


def test_shipped_configs_are_the_lineages():
    assert {path.stem for path in SHIPPED} >= {"medbert", "topbert", "small"}
    medbert, topbert = (
        BertConfig.from_file(ROOT / "medtop" / "configs" / f"{name}.json") for name in ("medbert", "topbert")
    )
    assert (medbert.activation, medbert.norm, medbert.segment, medbert.type_vocab_size) == (
        "gelu_tanh",
        "post",
        "visit",
        1000,
    )
    assert (
        topbert.hidden_size,
        topbert.num_hidden_layers,
        topbert.num_attention_heads,
        topbert.intermediate_size,
        topbert.embeddings,
    ) == (192, 6, 6, 768, ("code", "visit", "gap"))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"activation": "relu"}, "expected activation to be one of gelu, gelu_tanh, received activation='relu'"),
        ({"norm": "rms"}, "expected norm to be one of post, pre"),
        ({"pooling": "max"}, "expected pooling to be one of cls, mean, sum"),
        ({"segment": "both"}, "expected segment to be one of zero, alternating, visit"),
        ({"day_scale": "ln"}, "expected day_scale to be one of log2, days"),
        ({"embeddings": ["position"]}, "expected embeddings with code"),
        ({"embeddings": ["code", "code"]}, "each once"),
        ({"embeddings": ["code", "colour"]}, "received embeddings=['code', 'colour']"),
        ({"embeddings": "code"}, "expected embeddings to be a list of names, received embeddings='code'"),
        ({"embeddings": 5}, "expected embeddings to be a list of names, received embeddings=5"),
        ({"embeddings": [["code"]]}, "expected embeddings to be a list of names"),
        ({"hidden_size": 10, "num_attention_heads": 3}, "expected hidden_size to be a multiple of num_attention_heads"),
        ({"hidden_size": 0}, "expected hidden_size to be a positive whole number, received 0"),
        ({"hidden_size": "192"}, "expected hidden_size to be a positive whole number, received '192'"),
        ({"hidden_size": True}, "expected hidden_size to be a positive whole number, received True"),
        ({"num_hidden_layers": 1.5}, "expected num_hidden_layers to be a positive whole number"),
        ({"vocab_size": -1}, "expected vocab_size to be a positive whole number"),
        ({"hidden_dropout_prob": 1}, "expected hidden_dropout_prob to be a number in [0, 1), received 1"),
        ({"hidden_dropout_prob": float("nan")}, "expected hidden_dropout_prob to be a number in [0, 1)"),
        ({"initializer_range": "0.02"}, "expected initializer_range to be a number in [0, 1)"),
    ],
)
def test_wrong_values_are_refused_in_one_line(changes, message):
    with pytest.raises(DataError) as caught:
        BertConfig.from_dict({"activation": "gelu"} | changes, "my.json")
    assert message in str(caught.value)
    assert str(caught.value).startswith("my.json: ") and "\n" not in str(caught.value)


def test_unknown_key_is_refused_and_names_the_known_ones():
    with pytest.raises(
        DataError, match=r"my.json: expected keys among .*hidden_size.*; received hidden_sizes"
    ) as caught:
        BertConfig.from_dict({"activation": "gelu", "hidden_sizes": 5}, "my.json")
    assert "\n" not in str(caught.value)


def test_gelus_form_is_never_left_implicit():
    with pytest.raises(DataError, match="erf form.*tanh form.*received hidden_act='gelu'"):
        BertConfig.from_dict({"hidden_act": "gelu"})
    with pytest.raises(DataError, match="received hidden_act=None"):
        BertConfig.from_dict({})
    assert BertConfig.from_dict({"hidden_act": "gelu", "activation": "gelu_tanh"}).activation == "gelu_tanh"


def test_keys_that_begin_with_an_underscore_are_comments():
    assert BertConfig.from_dict({"_origin": "somewhere", "activation": "gelu"}) == BertConfig(activation="gelu")


@pytest.mark.parametrize(
    "content, message",
    [
        ("[1]", "expected a JSON object, received a list"),
        ("{", "expected a model configuration"),
        (b"\xff\xfe{", "expected a model configuration"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as caught:
        BertConfig.from_file(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="found no such file"):
        BertConfig.from_file(tmp_path / "none.json")
    with pytest.raises(DataError, match="expected a model configuration"):
        BertConfig.from_file(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "max_position_embeddings",
        "type_vocab_size", "visit_vocab_size", "visit_position_vocab_size", "age_vocab_size", "day_vocab_size",
        "sex_vocab_size", "word_channel_size", "gazetteer_vocab_size", "character_width",
    ],
)  # fmt: skip
def test_sizes_of_a_thousand_million_are_refused(name):
    """Before anything of that size is made; each in the embeddings that it belongs to."""
    codes = ["code", "position", "segment", "visit", "visit_position", "age", "gap", "sex"]
    words = ["code", "word", "gazetteer", "first_characters"]
    embeddings = words if name in ("word_channel_size", "gazetteer_vocab_size", "character_width") else codes
    values = {"activation": "gelu", "embeddings": embeddings, name: 10**9}
    with pytest.raises(DataError, match=r"c\.json: config: expected at most 2,000,000,000 weights") as error:
        BertConfig.from_dict(values, "c.json")
    assert str(10**9) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(DataError, match="expected"):
        BertConfig.from_dict(values | {"embeddings": ["code"], name: 10**30}, "c.json")


def test_bert_large_with_a_large_vocabulary_is_none_of_them():
    sizes = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
    assert BertConfig.from_dict({"activation": "gelu", "vocab_size": 200_000, **sizes}).hidden_size == 1024
