"""A model of notes in HuggingFace's hands: its tokenizer cuts as ours, its logits are ours; and back again."""

import json

import numpy as np
import pytest
from notes_data import NOTE_VOCABULARY, note_config, write_note_splits

pytest.importorskip("tensorflow", reason="runs are read and built with TensorFlow")
torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra [torch]")
transformers = pytest.importorskip("transformers", reason="part of make test-extras")

from medtop.convert.export_weights import export, plan_export  # noqa: E402
from medtop.convert.import_weights import import_weights, plan_import  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.notes.create_features import open_tokenizer  # noqa: E402
from medtop.runs import execute  # noqa: E402
from medtop.serve.served_run import ServedRun  # noqa: E402
from medtop.training.options import TrainingOptions  # noqa: E402
from medtop.training.run_directory import RunDirectory  # noqa: E402

TEXTS = ["Unable, feverish; relapsed.", "Stable patient (chest pain).", ""]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one step on notes."""
    folder = tmp_path_factory.mktemp("notes")
    files = write_note_splits(folder, (8, 4, 4), words=20)
    options = TrainingOptions(
        output_dir=str(folder / "run"),
        do_train=True,
        num_train_steps=1,
        train_batch_size=8,
        tasks=("readmission",),
        **files,
    )
    execute.execute(options)
    return folder / "run"


def test_huggingface_reads_the_same_text_the_same_way(run, tmp_path):
    done = export(plan_export(run, tmp_path / "theirs"))
    assert done.plan.class_name == "BertForSequenceClassification" and done.parity_value < 1e-5
    ours = open_tokenizer(run / "vocab.txt")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    pieces = ours.tokenize(TEXTS)
    expected = [[2, *row, 3] for row in np.split(pieces.ids, np.cumsum(pieces.counts)[:-1])]
    assert theirs(TEXTS)["input_ids"] == expected
    pair = theirs("fever", "cough")
    assert pair["input_ids"] == [NOTE_VOCABULARY.ids[x] for x in "[CLS] fever [SEP] cough [SEP]".split()]
    assert pair["token_type_ids"] == [0, 0, 0, 1, 1]
    card = (tmp_path / "theirs" / "README.md").read_text()
    assert "pieces of words" in card and "medical codes" not in card


def test_a_folder_of_theirs_comes_with_its_vocabulary_and_case(run, tmp_path):
    """BERT's own order of special tokens: ours are first, and texts are cut as before."""
    names = list(NOTE_VOCABULARY.tokens)
    order = ["[PAD]", *names[5:10], "[UNK]", "[CLS]", "[SEP]", "[MASK]", *names[10:]]
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "vocab.txt").write_text("\n".join(order) + "\n")
    (tmp_path / "theirs" / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    values = note_config()
    config = transformers.BertConfig(
        vocab_size=len(order),
        hidden_size=values["hidden_size"],
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=values["intermediate_size"],
        max_position_embeddings=64,
    )
    transformers.BertForPreTraining(config).save_pretrained(tmp_path / "theirs")
    import_weights(plan_import(str(tmp_path / "theirs"), str(tmp_path / "run")))
    wordpiece = open_tokenizer(tmp_path / "run" / "vocab.txt")
    assert not wordpiece.lower_case, "as the source's tokenizer_config.json says"
    theirs = transformers.BertTokenizer(str(tmp_path / "theirs" / "vocab.txt"), do_lower_case=False)
    text = "unable feverish relapsed Chest"
    pieces = [wordpiece.vocabulary.tokens[number] for number in wordpiece.tokenize([text]).ids]
    assert pieces == theirs.tokenize(text)
    # and training on notes starts from it, with segments of pairs
    (tmp_path / "fine").mkdir()
    files = write_note_splits(tmp_path / "fine", (8, 4, 4), words=20)
    config = RunDirectory(tmp_path / "run").read()[0].to_dict() | {"vocab_size": 0, "segment": "sentence"}
    (tmp_path / "fine" / "config.json").write_text(json.dumps(config))
    options = TrainingOptions(
        output_dir=str(tmp_path / "fine" / "run"),
        do_train=True,
        num_train_steps=1,
        tasks=("readmission",),
        init_checkpoint=str(tmp_path / "run"),
        remap_vocab=True,
        **files | {"bert_config_file": str(tmp_path / "fine" / "config.json")},
    )
    execute.execute(options)


def test_a_model_of_notes_is_not_served_as_one_of_codes(run):
    with pytest.raises(DataError, match="expected a run that was trained on codes, or a run of run_readmission.py"):
        ServedRun.read(run)
