"""Folder forms that peers publish, against transformers: bert_config.json alone, one logit, a next-sentence head."""

import json

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="runs are read and built with TensorFlow")
torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra [torch]")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: it is the oracle here")

from medtop.convert.export_weights import export, plan_export  # noqa: E402
from medtop.convert.import_weights import import_weights, plan_import  # noqa: E402
from medtop.training.run_directory import RunDirectory  # noqa: E402

PLAIN = dict(
    vocab_size=40,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=64,
    type_vocab_size=2,
    hidden_act="gelu",
)
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(35))]


def write_folder(folder, model, config_name, old_names=True, **values):
    """A folder as the 2019 releases have it: gamma and beta, a bare configuration, vocab.txt."""
    folder.mkdir()
    state = model.state_dict()
    if old_names:
        state = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
            for name, value in state.items()
        }
    torch.save(state, folder / "pytorch_model.bin")
    (folder / config_name).write_text(json.dumps(PLAIN | values))
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n")
    return folder


def made(kind, **changes):
    torch.manual_seed(0)
    return getattr(transformers, kind)(transformers.BertConfig(**PLAIN, **changes)).eval()


def test_a_release_of_2019_comes_in_with_bert_config_alone(tmp_path, run_script):
    folder = write_folder(tmp_path / "old", made("BertForPreTraining"), "bert_config.json")
    script = ("run_scripts/convert_pytorch_to_tf.py", f"--input_dir={folder}", f"--output_dir={tmp_path / 'run'}")
    process = run_script(*script)
    assert process.returncode == 0 and "parity" in process.stdout, process.stderr
    assert [task.name for task in RunDirectory(tmp_path / "run").read()[2]] == ["masked_lm"]


@pytest.mark.parametrize("config_name", ["bert_config.json", "config.json"])
def test_one_logit_named_by_the_user_is_the_readmission_head(tmp_path, config_name):
    model = made("BertForSequenceClassification", num_labels=1)
    folder = write_folder(tmp_path / "one", model, config_name)
    imported = import_weights(plan_import(folder, tmp_path / "run", task_name="readmission"))
    assert [(task.name, task.labels) for task in imported.tasks] == [("readmission", ("readmission",))]
    np.testing.assert_array_equal(imported.arrays["readmission_logits/kernel"], model.classifier.weight.detach().T)
    assert imported.parity_value < 1e-5  # against transformers with the same weights
    nameless = import_weights(plan_import(folder, tmp_path / "nameless"))
    assert nameless.tasks == []  # what one unnamed logit means nobody can tell


def test_the_next_sentence_head_comes_in_and_goes_out_as_berts(tmp_path):
    """Class 0 is "follows" there; ours is one logit of it."""
    model = made("BertForPreTraining")
    folder = tmp_path / "theirs"
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(TOKENS) + "\n")
    imported = import_weights(plan_import(folder, tmp_path / "run", seq_relationship="next_sentence"))
    assert [task.name for task in imported.tasks] == ["masked_lm", "next_sentence"]
    assert imported.parity_value < 1e-5
    two = model.cls.seq_relationship.weight.detach().numpy()
    np.testing.assert_allclose(imported.arrays["next_sentence_logits/kernel"][:, 0], two[0] - two[1], rtol=1e-6)
    done = export(plan_export(tmp_path / "run", tmp_path / "again"))
    assert done.plan.head == "pretraining" and done.parity_value < 1e-5
    again = transformers.BertForPreTraining.from_pretrained(tmp_path / "again").eval()
    ids = torch.tensor([[2, 7, 8, 3, 9, 3]])
    with torch.no_grad():
        before, after = (one(input_ids=ids).seq_relationship_logits.softmax(-1) for one in (model, again))
    np.testing.assert_allclose(before, after, atol=1e-6)
    back = import_weights(plan_import(tmp_path / "again", tmp_path / "back"))  # a folder of ours says what it is
    assert [task.name for task in back.tasks] == ["masked_lm", "next_sentence"]


def test_relative_positions_and_a_folder_without_configuration_are_refused_in_one_line(tmp_path, run_script):
    folder = write_folder(
        tmp_path / "rel", made("BertForPreTraining"), "bert_config.json", position_embedding_type="relative_key"
    )
    script = "run_scripts/convert_pytorch_to_tf.py"
    process = run_script(script, f"--input_dir={folder}", f"--output_dir={tmp_path / 'run'}")
    assert process.returncode == 1 and "position_embedding_type='absolute'" in process.stderr
    (folder / "bert_config.json").unlink()
    process = run_script(script, f"--input_dir={folder}", f"--output_dir={tmp_path / 'run'}")
    assert process.returncode == 1 and "expected config.json or bert_config.json, found neither" in process.stderr
    assert not (tmp_path / "run").exists()
