"""Weights to and from HuggingFace, against transformers itself: outputs, keys, tokenizer, round trips."""

import json

import numpy as np
import pytest
from convert_cases import (
    KINDS,
    STOCK,
    assert_close,
    at_masks,
    convert_config,
    edited_json,
    huggingface_inputs,
    huggingface_model,
    huggingface_of,
    ours_of,
    padded_batch,
    random_model,
    save_huggingface,
    write_run,
)
from small_data import VOCABULARY, all_tasks

pytest.importorskip("tensorflow", reason="runs are read and built with TensorFlow")
pytest.importorskip("torch", reason="PyTorch is not installed: the extra [torch]")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: it is the oracle here")

from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary  # noqa: E402
from medtop.convert.export_weights import export, plan_export  # noqa: E402
from medtop.convert.import_weights import import_weights, plan_import  # noqa: E402
from medtop.convert.parity import quiet_transformers  # noqa: E402
from medtop.files.atomic import sha256  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.model.multitask import build_model  # noqa: E402
from medtop.training.checkpoints import read_arrays, weights_of  # noqa: E402
from medtop.training.run_directory import RunDirectory  # noqa: E402
from medtop.training.trainer import load_best  # noqa: E402

CLASSES = {
    "encoder": "Model",
    "masked_lm": "ForMaskedLM",
    "pretraining": "ForPreTraining",
    "complications": "ForSequenceClassification",
    "long_stay": "ForSequenceClassification",
}
PATIENT_HEADS = {"pretraining": "long_stay", "complications": "complications", "long_stay": "long_stay"}


def load(folder, name):
    """A transformers model; no key may be missing, unexpected or of another shape."""
    with quiet_transformers():
        cls = getattr(transformers, name)
        model, report = cls.from_pretrained(str(folder), output_loading_info=True, local_files_only=True)
    assert not any(report.values()), report
    return model


def loaded_run(folder):
    """(config, tasks, Keras model) of a run directory."""
    config, _, tasks = RunDirectory(folder).read()
    model = build_model(config, tasks)
    load_best(model, RunDirectory(folder))
    return config, tasks, model


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(norm, activation) -> (config, Keras model, run directory), made once."""
    found = {}
    for norm, activation in KINDS:
        config = convert_config(norm=norm, activation=activation)
        model = random_model(config)
        found[norm, activation] = config, model, write_run(tmp_path_factory.mktemp("run"), model, config)
    return found


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@pytest.mark.parametrize("head", CLASSES)
def test_exported_folders_load_without_a_stray_key_and_give_our_outputs(runs, kind, head, tmp_path):
    """Hidden states, pooled output, masked-code logits, head logits, on a batch with padding."""
    config, model, run = runs[kind]
    done = export(plan_export(run, tmp_path / "out", head=head))
    family = {"post": "Bert", "pre": "MegatronBert"}[kind[0]]
    theirs_model = load(tmp_path / "out", family + CLASSES[head])
    assert type(theirs_model.config).model_type == {"post": "bert", "pre": "megatron-bert"}[kind[0]]
    x = padded_batch(config)
    ours, theirs = ours_of(model, x), huggingface_of(theirs_model, huggingface_inputs(x))
    real = x["patient_slots"] > 0
    assert_close(ours["hidden"][real], theirs["hidden"][real], "hidden states")
    if head != "masked_lm":
        assert_close(ours["pooled"], theirs["pooled"], "pooled output")
    if head in ("masked_lm", "pretraining"):
        logits = theirs["prediction_logits" if head == "pretraining" else "logits"]
        assert_close(ours["masked_lm"], at_masks(logits, x), "masked-code logits")
    if head == "pretraining":
        two = theirs["seq_relationship_logits"]
        assert not two[:, 0].any()  # rows (0, w)
        assert_close(ours["long_stay"], two[:, 1:], "long_stay")
    elif head in PATIENT_HEADS:
        assert_close(ours[head], theirs["logits"], head)
    assert done.parity_value <= 1e-5 and f"transformers {family}{CLASSES[head]}" in done.parity


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_automodel_loads_the_encoder(runs, kind, tmp_path):
    _, _, run = runs[kind]
    export(plan_export(run, tmp_path / "out", head="encoder"))
    assert load(tmp_path / "out", "AutoModel").num_parameters() > 1000


def test_every_layers_hidden_state_agrees(runs, tmp_path):
    """Post-norm: what each block hands to the next."""
    import keras

    config, model, run = runs["post", "gelu"]
    export(plan_export(run, tmp_path / "out", head="encoder"))
    x = padded_batch(config)
    theirs = huggingface_of(load(tmp_path / "out", "BertModel"), huggingface_inputs(x))["layers"]
    names = ["embeddings_norm", *(f"layer_{n}_output_norm" for n in range(config.num_hidden_layers))]
    inside = keras.Model(model.encoder.input, [model.encoder.get_layer(name).output for name in names])
    for name, one, other in zip(names, inside({k: x[k] for k in model.encoder.input}), theirs, strict=True):
        real = x["patient_slots"] > 0
        assert_close(np.asarray(one)[real], other[real], name)


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_imported_folders_give_transformers_outputs(kind, safe, tmp_path):
    """The other direction: random BertForPreTraining and MegatronBertForPreTraining, saved by transformers."""
    theirs_model = huggingface_model(*kind)
    folder = save_huggingface(theirs_model, tmp_path / "theirs", safe=safe)
    model = import_weights(plan_import(folder, tmp_path / "run", seq_relationship="long_stay"))
    config, tasks, keras_model = loaded_run(tmp_path / "run")
    assert [task.name for task in tasks] == ["masked_lm", "long_stay"] and config.segment == "visit"
    assert (config.norm, config.activation) == kind and config.embeddings == ("code", "position", "segment")
    x = padded_batch(config)
    x["segments"] = np.where(x["patient_slots"] > 0, (x["positions"] * 3) % 8, 0).astype(np.int32)
    ours, theirs = ours_of(keras_model, x), huggingface_of(theirs_model, huggingface_inputs(x, "segments"))
    real = x["patient_slots"] > 0
    assert_close(ours["hidden"][real], theirs["hidden"][real], "hidden states")
    assert_close(ours["pooled"], theirs["pooled"], "pooled output")
    assert_close(ours["masked_lm"], at_masks(theirs["prediction_logits"], x), "masked-code logits")
    two = theirs["seq_relationship_logits"]
    assert_close(ours["long_stay"], two[:, 1:] - two[:, :1], "long_stay: w1 - w0")
    assert model.parity_value <= 1e-5 and "ForPreTraining" in model.parity


@pytest.mark.parametrize("head", ["Model", "ForMaskedLM", "ForSequenceClassification", "ForNextSentencePrediction"])
def test_other_heads_are_imported(head, tmp_path):
    theirs_model = huggingface_model(
        "post", "gelu", head, num_labels=3, problem_type="multi_label_classification", id2label={0: "a", 1: "b", 2: "c"}
    )
    folder = save_huggingface(theirs_model, tmp_path / "theirs")
    done = import_weights(plan_import(folder, tmp_path / "run", seq_relationship="long_stay", task_name="mine"))
    config, _, tasks = RunDirectory(tmp_path / "run").read()
    wanted = {
        "Model": [],
        "ForMaskedLM": ["masked_lm"],
        "ForSequenceClassification": ["mine"],
        "ForNextSentencePrediction": ["long_stay"],
    }[head]
    assert [task.name for task in tasks] == wanted and done.parity_value <= 1e-5
    assert done.started == (["pooler/bias", "pooler/kernel"] if head == "ForMaskedLM" else [])
    if not tasks:
        return
    _, _, keras_model = loaded_run(tmp_path / "run")
    x = padded_batch(config)
    x["segments"] = x["visits"] % 8
    ours, theirs = ours_of(keras_model, x), huggingface_of(theirs_model, huggingface_inputs(x, "segments"))
    if head == "ForMaskedLM":
        assert_close(ours["masked_lm"], at_masks(theirs["logits"], x), "masked-code logits")
    elif head == "ForSequenceClassification":
        assert tasks[0].labels == ("a", "b", "c")
        assert_close(ours["mine"], theirs["logits"], "mine")
    else:
        assert_close(ours["long_stay"], theirs["logits"][:, 1:] - theirs["logits"][:, :1], "long_stay")


def test_a_softmax_over_two_labels_becomes_one_logit(tmp_path):
    """ClinicalBERT's readmission: single_label_classification with two labels."""
    theirs_model = huggingface_model("post", "gelu", "ForSequenceClassification", id2label={0: "no", 1: "readmitted"})
    folder = save_huggingface(theirs_model, tmp_path / "theirs")
    import_weights(plan_import(folder, tmp_path / "run", task_name="readmission"))
    config, tasks, keras_model = loaded_run(tmp_path / "run")
    assert [(task.name, task.labels) for task in tasks] == [("readmission", ("readmitted",))]
    x = padded_batch(config)
    x["segments"] = x["visits"] % 8
    two = huggingface_of(theirs_model, huggingface_inputs(x, "segments"))["logits"]
    assert_close(ours_of(keras_model, x)["readmission"], two[:, 1:] - two[:, :1], "readmission")


def test_heads_without_a_meaning_here_are_left_out_and_named(tmp_path):
    """A next-sentence head is not long_stay; token classification and regression have no task."""
    folder = save_huggingface(huggingface_model("post", "gelu"), tmp_path / "pretraining")
    done = import_weights(plan_import(folder, tmp_path / "run"))
    assert {"cls.seq_relationship.weight", "cls.seq_relationship.bias"} == set(done.left_out)
    for head, problem in (("ForTokenClassification", None), ("ForSequenceClassification", "regression")):
        theirs = huggingface_model("post", "gelu", head, problem_type=problem, num_labels=2)
        folder = save_huggingface(theirs, tmp_path / head)
        done = import_weights(plan_import(folder, tmp_path / f"run_{head}"))
        assert done.tasks == [] and set(done.left_out) == {"classifier.weight", "classifier.bias"}
        assert "a head that is not taken" in (tmp_path / f"run_{head}" / "README.md").read_text()


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[3]], ids="-".join)
@pytest.mark.parametrize("head", ["pretraining", "masked_lm", "complications", "encoder"])
def test_a_round_trip_returns_the_weights_bit_for_bit(runs, kind, head, tmp_path):
    """Ours -> theirs -> ours, through files; what had no place is listed, and only that is missing."""
    config, model, run = runs[kind]
    done = export(plan_export(run, tmp_path / "out", head=head, file_format="both"))
    assert sorted(path.name for path in (tmp_path / "out").glob("*model*")) == [
        "model.safetensors",
        "pytorch_model.bin",
    ]
    before = weights_of(model)
    for file in ("model.safetensors", "pytorch_model.bin"):
        back = import_weights(plan_import(tmp_path / "out", tmp_path / f"back-{file}"))
        arrays, _ = read_arrays(tmp_path / f"back-{file}" / "best" / "weights.npz")
        assert set(before) - set(done.left_out) == set(arrays) - set(back.started)
        for path in set(arrays) - set(back.started):
            np.testing.assert_array_equal(arrays[path], before[path], err_msg=path)
        again = RunDirectory(tmp_path / f"back-{file}").read()
        assert again[0] == config and again[1] == VOCABULARY
        assert again[2] == [task for task in all_tasks() if task in done.plan.heads]
        (tmp_path / "out" / file).unlink()  # the next turn reads the other one


@pytest.mark.parametrize("kind", [KINDS[1], KINDS[2]], ids="-".join)
def test_their_round_trip_is_bit_for_bit_but_for_the_two_way_head(kind, tmp_path):
    """Theirs -> ours -> theirs: rows (w0, w1) become (0, w1 - w0), all else stays."""
    theirs_model = huggingface_model(*kind)
    folder = save_huggingface(theirs_model, tmp_path / "theirs")
    import_weights(plan_import(folder, tmp_path / "run", seq_relationship="long_stay"))
    export(plan_export(tmp_path / "run", tmp_path / "again", head="pretraining"))
    family = {"post": "Bert", "pre": "MegatronBert"}[kind[0]]
    before, after = theirs_model.state_dict(), load(tmp_path / "again", f"{family}ForPreTraining").state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        one, other = value.numpy(), after[name].numpy()
        if name.startswith("cls.seq_relationship"):
            assert not other[0].any()
            np.testing.assert_allclose(other[1], one[1] - one[0], rtol=1e-6)
        else:
            np.testing.assert_array_equal(one, other, err_msg=name)


def test_gatortrons_layout_goes_both_ways(tmp_path):
    """megatron-bert, 50,101 pieces in vocab.txt, 50,176 rows as Megatron pads them, pooler and sentence-order head."""
    pieces = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"##w{number}" for number in range(50_096)))
    theirs_model = huggingface_model("pre", "gelu", vocab_size=50_176, hidden_size=8, type_vocab_size=2)
    folder = save_huggingface(theirs_model, tmp_path / "theirs", pieces)
    command = dict(segment="sentence", seq_relationship="sentence_order")
    done = import_weights(plan_import(folder, tmp_path / "run", **command))
    assert not done.left_out and not done.started and done.parity_value < 1e-5
    config, tasks, keras_model = loaded_run(tmp_path / "run")
    assert (config.vocab_size, config.norm, config.segment, config.pooling) == (50_176, "pre", "sentence", "cls")
    assert {task.name: task.labels for task in tasks} == {"masked_lm": (), "sentence_order": ("swapped",)}
    x = padded_batch(config)
    theirs = huggingface_of(theirs_model, huggingface_inputs(x, "segments"))
    two = theirs["seq_relationship_logits"]
    assert_close(ours_of(keras_model, x)["sentence_order"], two[:, 1:] - two[:, :1], "swapped is the second class")
    export(plan_export(tmp_path / "run", tmp_path / "again"))  # the fullest head
    assert (tmp_path / "again" / "vocab.txt").read_text() == (folder / "vocab.txt").read_text()
    before, after = theirs_model.state_dict(), load(tmp_path / "again", "MegatronBertForPreTraining").state_dict()
    assert before.keys() == after.keys()
    for name in before:
        if not name.startswith("cls.seq_relationship"):
            np.testing.assert_array_equal(before[name].numpy(), after[name].numpy(), err_msg=name)
    back = import_weights(plan_import(tmp_path / "again", tmp_path / "back"))
    assert [task.name for task in back.tasks] == ["masked_lm", "sentence_order"] and back.config == config
    for path, array in back.arrays.items():
        np.testing.assert_array_equal(array, done.arrays[path], err_msg=path)


WORDPIECES = (
    "[PAD]",
    "[unused1]",
    "the",
    "##ing",
    "[MASK]",
    "[CLS]",
    "heart",
    "[UNK]",
    "[SEP]",
    "a",
    *(f"##w{n}" for n in range(46)),
)


def test_another_order_of_tokens_is_ours_inside_and_theirs_again_outside(tmp_path):
    """Bio_ClinicalBERT's special tokens stand at 100 to 103, and its table may have more rows than it has tokens."""
    theirs_model = huggingface_model("post", "gelu")
    folder = save_huggingface(theirs_model, tmp_path / "theirs", tokens=WORDPIECES)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": false}')
    done = import_weights(plan_import(folder, tmp_path / "run"))
    vocabulary = RunDirectory(tmp_path / "run").read()[1]
    assert vocabulary.tokens[:8] == (*SPECIAL_TOKENS, "[unused1]", "the", "##ing") and len(vocabulary) == 60
    assert done.parity_value <= 1e-5
    theirs_table = theirs_model.bert.embeddings.word_embeddings.weight.detach().numpy()
    table = done.arrays["embeddings/code_embeddings"]
    for token in ("heart", "[MASK]", "##w45"):
        np.testing.assert_array_equal(table[vocabulary.ids[token]], theirs_table[WORDPIECES.index(token)])
    export(plan_export(tmp_path / "run", tmp_path / "again", head="masked_lm"))
    again = load(tmp_path / "again", "BertForMaskedLM").state_dict()
    for name, value in again.items():
        np.testing.assert_array_equal(value.numpy(), theirs_model.state_dict()[name].numpy(), err_msg=name)
    second = import_weights(plan_import(tmp_path / "again", tmp_path / "second"))  # a folder of ours by now
    np.testing.assert_array_equal(second.arrays["embeddings/code_embeddings"], table)
    export(plan_export(tmp_path / "second", tmp_path / "third", head="masked_lm"))
    for name in ("vocab.txt", "tokenizer_config.json"):
        assert sha256(tmp_path / "third" / name) == sha256(tmp_path / "again" / name) == sha256(folder / name)


def test_a_word_level_vocabulary_in_another_order_keeps_it(tmp_path):
    """Codes with the special tokens behind them: ours inside, theirs outside, and a word-level tokenizer for it."""
    theirs_model = huggingface_model("post", "gelu")
    tokens = (*VOCABULARY.tokens[5:], *SPECIAL_TOKENS)
    folder = save_huggingface(theirs_model, tmp_path / "theirs", tokens=tokens)
    done = import_weights(plan_import(folder, tmp_path / "run"))
    assert done.vocabulary == VOCABULARY and done.parity_value <= 1e-5
    export(plan_export(tmp_path / "run", tmp_path / "again", head="masked_lm"))
    again = load(tmp_path / "again", "BertForMaskedLM")
    np.testing.assert_array_equal(
        again.bert.embeddings.word_embeddings.weight.detach().numpy(),
        theirs_model.bert.embeddings.word_embeddings.weight.detach().numpy(),
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "again"), local_files_only=True)
    assert tokenizer("C00 C54 never")["input_ids"] == [57, 0, 54, 56] and tokenizer.pad_token_id == 55
    assert again.config.pad_token_id == 55


def test_old_names_and_half_precision_are_read(tmp_path):
    """Bio_ClinicalBERT's .bin has LayerNorm.gamma; GatorTron comes in half precision; old files hold position_ids."""
    import torch

    theirs_model = huggingface_model("post", "gelu")
    folder = save_huggingface(theirs_model, tmp_path / "theirs", safe=False)
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    state = {}
    for name, value in theirs_model.state_dict().items():
        end = ".".join(name.split(".")[-2:])
        state[name.removesuffix(end) + old.get(end, end)] = value.half()
    assert "bert.embeddings.LayerNorm.gamma" in state
    state["bert.embeddings.position_ids"] = torch.arange(24)[None]
    torch.save(state, folder / "pytorch_model.bin")
    done = import_weights(plan_import(folder, tmp_path / "run"))
    assert "bert.embeddings.position_ids" in done.left_out
    wanted = theirs_model.bert.pooler.dense.weight.detach().half().float().numpy().T
    np.testing.assert_array_equal(done.arrays["pooler/kernel"], wanted)
    assert done.arrays["pooler/kernel"].dtype == np.float32


def test_bfloat16_and_shards_are_read(tmp_path):
    theirs_model = huggingface_model("post", "gelu").bfloat16()
    folder = tmp_path / "theirs"
    with quiet_transformers():
        theirs_model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 1 and not (folder / "model.safetensors").exists()
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY.tokens) + "\n")
    done = import_weights(plan_import(folder, tmp_path / "run"))
    wanted = theirs_model.bert.pooler.dense.weight.detach().float().numpy().T
    np.testing.assert_array_equal(done.arrays["pooler/kernel"], wanted)
    shard = sorted(folder.glob("*.safetensors"))[-1]
    shard.unlink()
    with pytest.raises(DataError, match=f"{shard.name}: expected a shard that model.safetensors.index.json names"):
        plan_import(folder, tmp_path / "run2")
    index = folder / "model.safetensors.index.json"
    edited_json(index, weight_map={"x": "../../outside.safetensors"})
    with pytest.raises(DataError, match="expected names of .safetensors files beside it"):
        plan_import(folder, tmp_path / "run2")


def test_a_folder_of_ours_that_was_trained_elsewhere_keeps_what_training_filled(tmp_path):
    """Positions were zeros in the export; after training in PyTorch they are part of the model."""
    config = convert_config(embeddings=("code", "visit"), pooling="mean")
    run = write_run(tmp_path / "run", random_model(config), config)
    export(plan_export(run, tmp_path / "out", head="masked_lm"))
    with quiet_transformers():
        theirs_model = transformers.BertForSequenceClassification.from_pretrained(
            str(tmp_path / "out"), num_labels=2, problem_type="multi_label_classification", local_files_only=True
        )
    theirs_model.bert.embeddings.position_embeddings.weight.data.normal_()
    theirs_model.classifier.bias.data.normal_()
    folder = save_huggingface(theirs_model, tmp_path / "trained")
    done = import_weights(plan_import(folder, tmp_path / "back", task_name="mine"))
    assert done.config.embeddings == ("code", "visit", "position") and done.config.pooling == "cls"
    assert [task.name for task in done.tasks] == ["mine"] and done.parity_value <= 1e-5
    x = padded_batch(done.config)
    theirs = huggingface_of(theirs_model, huggingface_inputs(x))["logits"]
    assert_close(ours_of(loaded_run(tmp_path / "back")[2], x)["mine"], theirs, "mine")


def test_the_tokenizer_gives_our_ids_through_autotokenizer(runs, tmp_path):
    """Word-level on white space: no lower-casing, no splitting inside a code, [CLS] first, the latest codes kept."""
    codes = ("ICD9_250.4", "icd9_250.4", "A-1/b(c)", "é\u0301", "##x")
    vocabulary = Vocabulary((*SPECIAL_TOKENS, *codes, "two words", *VOCABULARY.tokens[11:]))
    config, model, _ = runs[KINDS[0]]
    run = write_run(tmp_path / "run", model, config)
    vocabulary.write_text(run / "vocab.txt")
    done = export(plan_export(run, tmp_path / "out", head="encoder"))
    assert any("1 of 60 tokens hold white space" in note for note in done.notes)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "out"), local_files_only=True)
    ids = tokenizer("  ".join(codes) + "\tnever-seen [MASK] [SEP]")["input_ids"]
    assert ids == [2, *(vocabulary.ids[code] for code in codes), 1, 4, 3]
    for token, number in vocabulary.ids.items():
        if token != "two words":
            assert tokenizer(token, add_special_tokens=False)["input_ids"] == [number], token
    assert tokenizer.convert_tokens_to_ids("two words") == vocabulary.ids["two words"]
    assert len(tokenizer) == 60 and tokenizer.model_max_length == 20  # the run's max_seq_length
    assert tokenizer("C20 C21 C22 C23", truncation=True, max_length=3)["input_ids"] == [
        2,
        vocabulary.ids["C22"],
        vocabulary.ids["C23"],
    ]
    batch = tokenizer(["C20 C21", "C22"], padding=True)
    assert batch["attention_mask"] == [[1, 1, 1], [1, 1, 0]] and batch["input_ids"][1][-1] == 0
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id, tokenizer.unk_token_id) == (0, 4, 1)
    tokenizer.save_pretrained(tmp_path / "saved")
    again = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "saved"), local_files_only=True)
    assert again("ICD9_250.4 C22")["input_ids"] == tokenizer("ICD9_250.4 C22")["input_ids"]


def test_med_berts_vocabulary_has_no_special_tokens(tmp_path):
    """`empty_pad` at 0 pads and masks; no [CLS] is put in front."""
    from medtop.convert.tokenizer import write_tokenizer

    tmp_path.joinpath("config.json").write_text('{"model_type": "bert"}')
    vocabulary = Vocabulary(("empty_pad", "ICD9_1.1", "ICD9_2"))
    write_tokenizer(tmp_path, vocabulary, 32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path), local_files_only=True)
    assert tokenizer("ICD9_2 ICD9_1.1")["input_ids"] == [2, 1] and len(tokenizer) == 3
    assert tokenizer.pad_token_id == tokenizer.mask_token_id == 0
    with pytest.raises(Exception, match="UNK"):
        tokenizer("unknown")


def test_labels_and_problem_type_stand_in_the_config(runs, tmp_path):
    _, _, run = runs[KINDS[0]]
    export(plan_export(run, tmp_path / "out", head="complications"))
    config = transformers.AutoConfig.from_pretrained(str(tmp_path / "out"), local_files_only=True)
    assert config.id2label == {0: "MACE_365", 1: "CKD_365"} and config.label2id == {"MACE_365": 0, "CKD_365": 1}
    assert config.problem_type == "multi_label_classification" and config.type_vocab_size == 8
    assert (
        config.hidden_act == "gelu"
        and config.layer_norm_eps == 1e-12
        and config.architectures == ["BertForSequenceClassification"]
    )
    values = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "secret patient" not in json.dumps(values) and not (tmp_path / "out" / "splits.csv").exists()


def test_what_huggingface_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    for changes, named in (
        (dict(embeddings=(*STOCK, "age", "gap")), "embeddings age, gap"),
        (dict(embeddings=(*STOCK, "segment")), "embeddings segment"),
        (dict(pooling="mean"), "pooling=mean"),
    ):
        config = convert_config(**changes)
        run = write_run(tmp_path / named, random_model(config), config)
        for head in ("pretraining", "complications", "encoder"):
            with pytest.raises(
                DataError, match=f"received {named}; --layout=medtop .*--drop_extra_embeddings"
            ) as error:
                plan_export(run, tmp_path / "out", head=head)
            assert "\n" not in str(error.value)
        assert not (tmp_path / "out").exists()
    export(plan_export(run, tmp_path / "masked", head="masked_lm"))  # pooling takes no part in masked codes


def test_dropping_says_what_it_costs_on_made_up_patients(tmp_path):
    """No data: how much the outputs change, and the written model is the reduced one."""
    config = convert_config(embeddings=(*STOCK, "age"), pooling="sum")
    model = random_model(config)
    run = write_run(tmp_path / "run", model, config)
    done = export(plan_export(run, tmp_path / "out", head="complications", drop_extra=True))
    assert done.cost.startswith("without embeddings age; pooling=sum, measured on made-up patients")
    assert done.cost in (tmp_path / "out" / "README.md").read_text()
    assert done.config.embeddings == STOCK and done.config.pooling == "cls" and done.parity_value <= 1e-5
    theirs = load(tmp_path / "out", "BertForSequenceClassification")
    np.testing.assert_array_equal(theirs.bert.pooler.dense.weight.detach().numpy(), np.eye(32))
    assert "no calibration belongs to them" in (tmp_path / "out" / "README.md").read_text()


def test_dropping_says_what_it_costs_on_validation_data(tmp_path):
    """With the run's own validation file: ROC AUC before and after, the same numbers that sklearn gives."""
    from sklearn.metrics import roc_auc_score
    from small_data import finished_run

    from medtop.data.batches import BatchOptions
    from medtop.data.description import read_dataset
    from medtop.evaluation.scoring import Scorer

    finished = finished_run()  # embeddings code and visit, mean pooling: under a head, HuggingFace cannot hold it
    run = finished.folder / "run"
    done = export(plan_export(run, tmp_path / "out", head="long_stay", drop_extra=True))
    assert "measured on 120 validation examples: long_stay macro ROC AUC" in done.cost
    before, after = (float(word) for word in done.cost.split("ROC AUC ")[1].split(" (")[0].split(" -> "))
    info = read_dataset(finished.options.valid_file)
    back = import_weights(plan_import(tmp_path / "out", tmp_path / "back"))
    assert back.config.pooling == "cls"
    for folder, shown in ((run, before), (tmp_path / "back", after)):
        config, tasks, model = loaded_run(folder)
        options = BatchOptions(batch_size=32, max_seq_length=24)
        found = Scorer(model, info, config, tasks, options, seed=0).predictions()["long_stay"]
        known = found.weights[:, 0] > 0
        area = roc_auc_score(found.targets[known, 0], found.logits[known, 0])
        assert abs(area - shown) < 6e-5
    assert before > 0.9  # the run had learned it


def test_every_shared_field_of_the_configuration_travels_both_ways(tmp_path):
    """Unusual values for all of them; a LayerNorm epsilon that shows in the outputs."""
    config = convert_config(
        layer_norm_eps=0.03,
        hidden_dropout_prob=0.2,
        attention_probs_dropout_prob=0.3,
        initializer_range=0.05,
        max_position_embeddings=25,
        activation="gelu_tanh",
    )
    run = write_run(tmp_path / "run", random_model(config), config)
    done = export(plan_export(run, tmp_path / "out", head="encoder"))
    theirs = load(tmp_path / "out", "BertModel").config
    for name in (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "max_position_embeddings",
        "initializer_range",
        "layer_norm_eps",
    ):
        assert getattr(theirs, name) == getattr(config, name), name
    assert theirs.hidden_act == "gelu_new" and theirs.pad_token_id == 0 and done.parity_value <= 1e-5
    values = json.loads((tmp_path / "out" / "config.json").read_text())
    del values["medtop"]  # as if it were another's
    (tmp_path / "out" / "config.json").write_text(json.dumps(values))
    done = import_weights(plan_import(tmp_path / "out", tmp_path / "back"))
    wanted = convert_config(
        **{**config.to_dict(), "embeddings": ("code", "position", "segment"), "type_vocab_size": 8, "segment": "visit"}
    )
    ours = {"visit_vocab_size", "visit_position_vocab_size", "age_vocab_size", "day_vocab_size"}  # tables not in use
    assert {key: value for key, value in done.config.to_dict().items() if key not in ours} == {
        key: value for key, value in wanted.to_dict().items() if key not in ours
    }
    assert done.parity_value <= 1e-5


def test_an_encoder_without_heads_goes_there_and_back(tmp_path):
    theirs_model = huggingface_model("pre", "gelu", "Model")
    folder = save_huggingface(theirs_model, tmp_path / "theirs")
    import_weights(plan_import(folder, tmp_path / "run"))
    done = export(plan_export(tmp_path / "run", tmp_path / "again"))
    assert done.plan.head == "encoder" and done.left_out == {}
    again = load(tmp_path / "again", "MegatronBertModel").state_dict()
    for name, value in theirs_model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), again[name].numpy(), err_msg=name)


@pytest.mark.parametrize(
    "changes, meaning",
    [
        (
            dict(embeddings=STOCK),
            "beyond 7 to be cut to it): the number of each code's visit, from 1; [CLS] and padding 0",
        ),
        (dict(embeddings=("code", "segment"), segment="visit"), "beyond 2 to be cut to it): the number of each"),
        (dict(embeddings=("code", "segment"), segment="alternating"), "the visit's number modulo 2"),
        (dict(embeddings=("code", "segment"), segment="zero"), "0 everywhere"),
        (dict(embeddings=("code",)), "`bert.embeddings.token_type_embeddings.weight` is all zeros"),
    ],
)
def test_the_card_says_what_the_token_types_are(changes, meaning, tmp_path):
    config = convert_config(**changes)
    export(plan_export(write_run(tmp_path / "run", random_model(config), config), tmp_path / "out"))
    assert meaning in (tmp_path / "out" / "README.md").read_text()
