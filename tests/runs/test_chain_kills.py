"""Random kills (kill -9) over the whole chain, generation to export: it ends as the chain that nobody killed.

Thirty, or KILLS times 1.5; `make test-slow` takes ten, each time at other moments.
"""

import json
import os

import numpy as np
import pytest
from chain_kills import disturbed
from conftest import ROOT

tf = pytest.importorskip("tensorflow", reason="training needs TensorFlow")

from small_data import small_config  # noqa: E402

from medtop.training.log import read_log  # noqa: E402

KILLS = {
    "generate": 7,
    "preprocess": 8,
    "train.tfrecord": 3,
    "valid.tfrecord": 1,
    "test.tfrecord": 1,
    "train": 6,
    "export": 4,
}
"""Kills of each step: 30 together, where KILLS is unset or 20."""


def steps(folder):
    """dict step -> script and arguments, in order."""
    raw, cohort, run = folder / "raw", folder / "cohort", folder / "run"
    commands = {
        "generate": ["preprocessing/make_synthetic_cohort.py", f"--output_prefix={raw}", "--num_patients=400"],
        "preprocess": [
            "preprocessing/preprocess_pretrain_data.py",
            f"{raw}.csv",
            "NA",
            cohort,
            "0",
            f"--prediction_times={raw}.prediction_times.csv",
        ],
    }
    for split in ("train", "valid", "test"):
        commands[f"{split}.tfrecord"] = [
            "preprocessing/create_BERTpretrain_EHRfeatures.py",
            f"--input_file={cohort}.bencs.{split}",
            f"--output_file={folder / split}.tfrecord",
            f"--vocab_file={cohort}.types",
        ]
    commands["train"] = [
        "run_scripts/run_toppretraining.py",
        "--do_train",
        "--do_eval",
        "--deterministic",
        f"--input_file={folder}/train.tfrecord",
        f"--valid_file={folder}/valid.tfrecord",
        f"--test_file={folder}/test.tfrecord",
        f"--bert_config_file={folder}/config.json",
        f"--output_dir={run}",
        "--train_batch_size=32",
        "--num_train_epochs=2",
        "--save_checkpoints_steps=3",
        "--num_bootstrap=20",
        "--max_seq_length=64",
    ]
    commands["export"] = [  # a kill may come when the export stands already
        "run_scripts/export_model.py",
        f"--run_dir={run}",
        f"--output_dir={folder / 'export'}",
        "--overwrite",
    ]
    return {name: [str(ROOT / words[0]), *map(str, words[1:])] for name, words in commands.items()}


def begin(folder):
    folder.mkdir()
    (folder / "tmp").mkdir()
    config = small_config().to_dict() | {"vocab_size": 0, "max_position_embeddings": 64}
    (folder / "config.json").write_text(json.dumps(config))


def names(folder):
    """Every path, hidden ones too. TensorBoard's files are called after the clock; what a killed TensorFlow leaves of
    its own in TMPDIR is generated code without data, and not ours."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return sorted(name for name in found if "events.out.tfevents" not in name and "__autograph_generated" not in name)


def exported(folder):
    """dict name -> array of the SavedModel's variables."""
    reader = tf.train.load_checkpoint(str(folder / "export" / "1" / "variables" / "variables"))
    names_of = [name for name in reader.get_variable_to_shape_map() if not name.startswith("_CHECKPOINTABLE")]
    return {name: reader.get_tensor(name) for name in names_of}


@pytest.mark.slow
def test_kills_over_the_whole_chain(tmp_path):
    folder = tmp_path / "chain"
    share = int(os.environ.get("KILLS", "20")) / 20
    kills = {name: max(round(share * count), 1) for name, count in KILLS.items()}
    environment = {"TMPDIR": str(folder / "tmp")}
    at_least = sum(kills.values()) // 4
    whole, moments = disturbed(folder, begin, steps, kills, at_least, environment=environment)
    assert names(folder) == names(whole), moments
    assert not [name for name in names(folder) if name.endswith((".tmp", ".old", ".preprocess"))]
    made = [
        name for name in names(folder) if name.startswith(("raw.", "cohort.bencs", "cohort.vocab", "cohort.splits"))
    ]
    made += [name for name in names(folder) if name.endswith(".tfrecord")]
    for name in [*made, "run/metrics.json", "run/restricted/predictions.csv", "run/restricted/splits.csv"]:
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), (name, moments)
    assert read_log(folder / "run/train_log.jsonl") == read_log(whole / "run/train_log.jsonl")
    with np.load(folder / "run/best/weights.npz") as mine, np.load(whole / "run/best/weights.npz") as theirs:
        assert mine.files == theirs.files and all((mine[name] == theirs[name]).all() for name in mine.files), moments
    mine, theirs = exported(folder), exported(whole)
    assert mine.keys() == theirs.keys() and len(mine) > 10
    for name, value in mine.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=f"{name} {moments}")
