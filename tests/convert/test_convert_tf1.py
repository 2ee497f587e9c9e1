"""TensorFlow 1 checkpoints: made here as Med-BERT's run makes them, compared with transformers; and written."""

import json
import shutil

import numpy as np
import pytest
from convert_cases import (
    LAYERS,
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
    write_run,
)
from small_data import VOCABULARY

tf = pytest.importorskip("tensorflow", reason="checkpoints are TensorFlow's")

from medtop.cohort.vocabulary import Vocabulary  # noqa: E402
from medtop.convert import tf1  # noqa: E402
from medtop.convert.export_weights import export, plan_export  # noqa: E402
from medtop.convert.import_weights import import_weights, plan_import  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.model.multitask import build_model  # noqa: E402
from medtop.training.checkpoints import read_arrays, weights_of  # noqa: E402
from medtop.training.run_directory import RunDirectory  # noqa: E402
from medtop.training.trainer import load_best  # noqa: E402

GOOGLE_CONFIG = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 24,
    "type_vocab_size": 8,
    "initializer_range": 0.02,
}


def google_variables(state):
    """A transformers state dict by google-research/bert's names, written from its modeling.py; name -> array."""
    found = {}
    dense = {
        "attention.self.query": "attention/self/query",
        "attention.self.key": "attention/self/key",
        "attention.self.value": "attention/self/value",
        "attention.output.dense": "attention/output/dense",
        "intermediate.dense": "intermediate/dense",
        "output.dense": "output/dense",
    }
    norms = {"attention.output.LayerNorm": "attention/output/LayerNorm", "output.LayerNorm": "output/LayerNorm"}
    for n in range(LAYERS):
        theirs, google = f"bert.encoder.layer.{n}.", f"bert/encoder/layer_{n}/"
        for one, other in dense.items():
            found[f"{google}{other}/kernel"] = state[f"{theirs}{one}.weight"].T
            found[f"{google}{other}/bias"] = state[f"{theirs}{one}.bias"]
        for one, other in norms.items():
            found[f"{google}{other}/gamma"] = state[f"{theirs}{one}.weight"]
            found[f"{google}{other}/beta"] = state[f"{theirs}{one}.bias"]
    for table in ("word", "position", "token_type"):
        found[f"bert/embeddings/{table}_embeddings"] = state[f"bert.embeddings.{table}_embeddings.weight"]
    for one, other in (
        ("bert.embeddings.LayerNorm", "bert/embeddings/LayerNorm"),
        ("cls.predictions.transform.LayerNorm", "cls/predictions/transform/LayerNorm"),
    ):
        found[f"{other}/gamma"], found[f"{other}/beta"] = state[f"{one}.weight"], state[f"{one}.bias"]
    for one, other in (
        ("bert.pooler.dense", "bert/pooler/dense"),
        ("cls.predictions.transform.dense", "cls/predictions/transform/dense"),
    ):
        found[f"{other}/kernel"], found[f"{other}/bias"] = state[f"{one}.weight"].T, state[f"{one}.bias"]
    found["cls/predictions/output_bias"] = state["cls.predictions.bias"]
    found["cls/seq_relationship/output_weights"] = state["cls.seq_relationship.weight"]
    found["cls/seq_relationship/output_bias"] = state["cls.seq_relationship.bias"]
    return found


def save_as_tf1(folder, variables, step=1000):
    """A graph, a session and a Saver, as TensorFlow 1 did it, with AdamWeightDecayOptimizer's slots; the prefix."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, array in variables.items():
            tf.compat.v1.get_variable(name, initializer=np.ascontiguousarray(array))
            for slot in ("adam_m", "adam_v"):
                noise = rng.normal(size=array.shape).astype(np.float32)
                tf.compat.v1.get_variable(f"{name}/{slot}", initializer=noise, trainable=False)
        tf.compat.v1.get_variable("global_step", initializer=np.int64(step), trainable=False)
        session.run(tf.compat.v1.global_variables_initializer())
        return tf.compat.v1.train.Saver().save(session, str(folder / "model.ckpt"), global_step=step)


def made_up_variables():
    """google-named arrays without PyTorch: the exported weights of a random model."""
    from medtop.convert.names import build_table, to_theirs

    config = convert_config(activation="gelu_tanh", embeddings=("code", "position", "segment"), type_vocab_size=8)
    from small_data import all_tasks

    tasks = all_tasks(["masked_lm", "long_stay"])
    model = random_model(config, tasks)
    heads = dict(zip(tasks, ("masked", "two_way"), strict=True))
    return model, to_theirs(build_table("tf1", config, heads), weights_of(model))


def medbert_folder(folder, variables, **changes):
    """A checkpoint, its configuration and Med-BERT's vocabulary; (prefix, config, vocab)."""
    prefix = save_as_tf1(folder, variables)
    (folder / "config.json").write_text(json.dumps(GOOGLE_CONFIG | changes))
    Vocabulary(("empty_pad", *(f"ICD9_{n}" for n in range(1, 60)))).write(str(folder / "out"))
    return prefix, folder / "config.json", folder / "out.types"


def test_a_checkpoint_with_optimizer_slots_gives_transformers_outputs_with_gelu_new(tmp_path):
    """The acceptance line: BertForPreTraining holding the same weights."""
    pytest.importorskip("torch", reason="PyTorch is not installed: the extra [torch]")
    pytest.importorskip("transformers", reason="transformers is not installed: it is the oracle here")
    theirs_model = huggingface_model("post", "gelu_tanh")
    assert theirs_model.config.hidden_act == "gelu_new"
    variables = google_variables({name: value.numpy() for name, value in theirs_model.state_dict().items()})
    prefix, config_file, vocab = medbert_folder(tmp_path / "medbert", variables)
    done = import_weights(
        plan_import("", tmp_path / "run", tf_checkpoint_path=prefix, bert_config_file=config_file, vocab_file=vocab)
    )
    config, vocabulary, tasks = RunDirectory(tmp_path / "run").read()
    assert config.activation == "gelu_tanh" and config.segment == "visit" and vocabulary.is_medbert
    assert [task.name for task in tasks] == ["masked_lm", "long_stay"]  # Med-BERT's vocabulary says what its head is
    assert len(done.left_out) == 2 * len(variables) + 1 and len(set(done.left_out.values())) == 2
    model = build_model(config, tasks)
    load_best(model, RunDirectory(tmp_path / "run"))
    x = padded_batch(config)
    x["segments"] = np.minimum(x["visits"], 7)
    ours, theirs = ours_of(model, x), huggingface_of(theirs_model, huggingface_inputs(x, "segments"))
    real = x["patient_slots"] > 0
    assert_close(ours["hidden"][real], theirs["hidden"][real], "hidden states")
    assert_close(ours["pooled"], theirs["pooled"], "pooled output")
    assert_close(ours["masked_lm"], at_masks(theirs["prediction_logits"], x), "masked-code logits")
    two = theirs["seq_relationship_logits"]
    assert_close(ours["long_stay"], two[:, 1:] - two[:, :1], "long_stay")
    assert done.parity_value <= 1e-5 and "gelu_new" in done.parity


def test_read_without_pytorch_bit_for_bit(tmp_path):
    """Everything in the checkpoint but the two-way head's first row, which is 0 here."""
    model, variables = made_up_variables()
    prefix, config_file, vocab = medbert_folder(tmp_path / "medbert", variables)
    import_weights(
        plan_import("", tmp_path / "run", tf_checkpoint_path=prefix, bert_config_file=config_file, vocab_file=vocab)
    )
    arrays, _ = read_arrays(tmp_path / "run" / "best" / "weights.npz")
    for path, array in weights_of(model).items():
        np.testing.assert_array_equal(arrays[path], array, err_msg=path)


@pytest.mark.slow
def test_written_checkpoints_are_read_by_a_tensorflow_1_graph_and_back(tmp_path):
    """google's own init_checkpoint restores by these names; round trip bit for bit."""
    config = convert_config(activation="gelu_tanh")
    model = random_model(config)
    run = write_run(tmp_path / "run", model, config)
    done = export(plan_export(run, tmp_path / "tf1", layout="tf1"))
    assert "bit for bit" in done.parity and {path.split("_")[0] for path in done.left_out} == {"complications"}
    values = json.loads((tmp_path / "tf1" / "bert_config.json").read_text())
    assert values["hidden_act"] == "gelu" and values["type_vocab_size"] == 8  # visit numbers
    before = weights_of(model)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        names = {
            "bert/encoder/layer_1/attention/self/key/kernel": before["layer_1_attention/qkv_kernel"][:, 1],
            "bert/embeddings/token_type_embeddings": before["embeddings/visit_embeddings"],
            "cls/predictions/output_bias": before["masked_lm_logits/bias"],
            "cls/seq_relationship/output_weights": np.concatenate(
                [np.zeros((1, 32), np.float32), before["long_stay_logits/kernel"].T]
            ),
        }
        variables = {name: tf.compat.v1.get_variable(name, shape=array.shape) for name, array in names.items()}
        prefix = tf.compat.v1.train.latest_checkpoint(str(tmp_path / "tf1"))
        tf.compat.v1.train.Saver(variables).restore(session, prefix)
        for name, array in names.items():
            np.testing.assert_array_equal(session.run(variables[name]), array, err_msg=name)
    import_weights(plan_import("", tmp_path / "back", tf_checkpoint_path=tmp_path / "tf1"))
    arrays, _ = read_arrays(tmp_path / "back" / "best" / "weights.npz")
    assert before.keys() - done.left_out.keys() == arrays.keys()
    for path, array in arrays.items():
        np.testing.assert_array_equal(array, before[path], err_msg=path)
    assert RunDirectory(tmp_path / "back").read()[:2] == (config, VOCABULARY)


@pytest.mark.slow
def test_what_google_cannot_hold(tmp_path):
    """Pre-norm never; the erf form and extra embeddings only at a measured cost."""
    config = convert_config(norm="pre", activation="gelu_tanh")
    run = write_run(tmp_path / "pre", random_model(config), config)
    with pytest.raises(DataError, match="expected norm=post"):
        plan_export(run, tmp_path / "out", layout="tf1", drop_extra=True)
    config = convert_config(embeddings=("code", "age"))
    run = write_run(tmp_path / "erf", random_model(config), config)
    with pytest.raises(DataError, match="received embeddings age; activation=gelu .*tanh form.*--drop_extra"):
        plan_export(run, tmp_path / "out", layout="tf1")
    done = export(plan_export(run, tmp_path / "out", layout="tf1", drop_extra=True))
    assert "masked_lm logits by" in done.cost and done.config.activation == "gelu_tanh"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("medbert")
    return medbert_folder(folder, made_up_variables()[1])


def refusal(tmp_path, checkpoint, **changes):
    """The one line of an import that fails; nothing may be left behind."""
    prefix, config_file, vocab = checkpoint
    arguments = dict(tf_checkpoint_path=prefix, bert_config_file=config_file, vocab_file=vocab) | changes
    with pytest.raises(DataError) as error:
        import_weights(plan_import("", tmp_path / "run", **arguments))
    assert not list(tmp_path.glob("*run*")) and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.slow
def test_checkpoints_that_do_not_fit_are_refused(checkpoint, tmp_path):
    prefix, config_file, vocab = checkpoint
    other = tmp_path / "config.json"
    for changes, message in (
        ({"num_hidden_layers": 3}, "expected weights of 3 layers (config.json), received 2"),
        ({"intermediate_size": 48}, "of shape (32, 48) (config.json), received (32, 40)"),
        ({"vocab_size": 61}, "of shape (61, 32) (config.json), received (60, 32)"),
        ({"vocab_size": 59}, "expected a vocabulary of at most 59 tokens"),
        ({"hidden_act": "relu"}, "expected hidden_act=gelu, received 'relu'"),
        ({"hidden_size": None}, "expected hidden_size, found none"),
    ):
        shutil.copyfile(config_file, other)
        edited_json(other, **changes)
        assert message in refusal(tmp_path, checkpoint, bert_config_file=other)
    assert "found none" in refusal(tmp_path, checkpoint, tf_checkpoint_path=tmp_path / "absent.ckpt")
    assert "found none in the folder" in refusal(tmp_path, checkpoint, tf_checkpoint_path=tmp_path)
    assert "--vocab_file names one" in refusal(tmp_path, checkpoint, vocab_file="")


def test_cut_and_damaged_checkpoints_are_refused(checkpoint, tmp_path):
    folder = tmp_path / "cut"
    for suffix, keep in ((".data-00000-of-00001", 0.5), (".index", 0.5), (".data-00000-of-00001", None)):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(checkpoint[1].parent, folder)
        prefix = str(folder / "model.ckpt-1000")
        file = folder / f"model.ckpt-1000{suffix}"
        content = bytearray(file.read_bytes())
        if keep is None:
            content[len(content) // 3] ^= 0xFF
        else:
            content = content[: int(len(content) * keep)]
        file.write_bytes(content)
        line = refusal(tmp_path, checkpoint, tf_checkpoint_path=prefix)
        assert "expected a whole TensorFlow checkpoint, received a damaged or cut one" in line


def test_a_checkpoint_of_another_model_is_refused(checkpoint, tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for n in range(LAYERS):
            tf.compat.v1.get_variable(f"resnet/layer_{n}/kernel", shape=(2, 2))
        session.run(tf.compat.v1.global_variables_initializer())
        prefix = tf.compat.v1.train.Saver().save(session, str(tmp_path / "other.ckpt"))
    assert "received one more: resnet/layer_0/kernel" in refusal(tmp_path, checkpoint, tf_checkpoint_path=prefix)
    assert tf1.read_checkpoint(prefix).keys() == {"resnet/layer_0/kernel", "resnet/layer_1/kernel"}
