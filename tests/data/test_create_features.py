"""create_BERTpretrain_EHRfeatures.py: both layouts, re-runs, and input that it must refuse."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from sequence_cases import NO_CODES, TASKS, TWO_VISITS, VOCABULARY, chunk_of, random_patients, write_sequences

from medtop.cohort.pickled_lists import SequenceWriter
from medtop.cohort.vocabulary import MEDBERT_PAD, Vocabulary
from medtop.data import create as create_features
from medtop.data.description import read_dataset
from medtop.data.layouts import MEDBERT
from medtop.data.sequences import FeatureSettings, SequenceMaker
from medtop.files.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "preprocessing" / "create_BERTpretrain_EHRfeatures.py"
MEDBERT_ROWS = [
    ["p1", [3, 9], [0, 40], [4, 2, 7], [1, 1, 2]],
    ["p2", [7], [0], [1], [1]],
    ["long", [1], [0], [1] * 40, [1] * 40],
]


@pytest.fixture
def folder(tmp_path):
    """A folder with `c.bencs.train`, `c.types`, `c.manifest.json` and Med-BERT's `m.bencs.train`, `m.types`."""
    VOCABULARY.write(tmp_path / "c")
    write_sequences(tmp_path / "c.bencs.train", [TWO_VISITS, NO_CODES, *random_patients(30, seed=1)])
    (tmp_path / "c.manifest.json").write_text(json.dumps({"source": "synthetic", "rows_in": 3}))
    Vocabulary([MEDBERT_PAD, *"abcdefgh"]).write(tmp_path / "m")
    with open(tmp_path / "m.bencs.train", "wb") as file:
        for first in (0, 2):
            pickle.dump(MEDBERT_ROWS[first : first + 2], file)
    return tmp_path


def settings(folder, prefix="c", **changes):
    return FeatureSettings(
        **{
            "input_file": str(folder / f"{prefix}.bencs.train"),
            "output_file": str(folder / "out"),
            "vocab_file": str(folder / f"{prefix}.types"),
        }
        | changes
    )


def plan(*arguments, **changes):
    return create_features.plan(SequenceMaker(settings(*arguments, **changes)))


def create(*arguments, **changes):
    pytest.importorskip("tensorflow", reason="records are TensorFlow's files")
    return create_features.write(plan(*arguments, **changes))


def flags(folder, **changes):
    values = {
        "input_file": folder / "c.bencs.train",
        "output_file": folder / "out",
        "vocab_file": folder / "c.types",
    } | changes
    return [f"--{name}={value}" for name, value in values.items()]


def test_script_writes_a_dataset_and_does_nothing_the_second_time(folder, run_script):
    pytest.importorskip("tensorflow", reason="records are TensorFlow's files")
    arguments = flags(folder, max_seq_length=64, masked_lm_prob=0.2, random_seed=7, num_shards=2)
    first = run_script(SCRIPT, *arguments, cwd=SCRIPT.parent)
    assert first.returncode == 0, first.stderr
    info = read_dataset(folder / "out")
    assert info.defaults == {
        "max_seq_length": 64,
        "max_predictions_per_seq": 77,
        "masked_lm_prob": 0.2,
        "random_seed": 7,
    }
    assert info.num_examples == 32 and len(info.files) == 2 and info.split == "train" and info.tasks == TASKS
    # Fault 5: without a flag, the gap is the one that was known at the time; the library and the command agree.
    assert info.time_gap == "before" == create(folder, output_file=str(folder / "by_library")).time_gap
    assert info.source_manifests == [{"source": "synthetic", "rows_in": 3}]
    assert f"written: 32 examples of 32 patients, {info.counts['tokens']} tokens" in first.stdout
    assert "next: python run_scripts/run_toppretraining.py" in first.stdout
    times = {name: name.stat().st_mtime_ns for name in folder.iterdir()}
    second = run_script(SCRIPT, *arguments, hidden=("tensorflow",))
    assert second.returncode == 0 and "already there, nothing to do" in second.stdout
    assert {name: name.stat().st_mtime_ns for name in folder.iterdir()} == times


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_seq_length": 1}, "--max_seq_length: expected 2 or more, received 1"),
        ({"masked_lm_prob": 1.5}, "--masked_lm_prob: expected a number between 0 and 1, received 1.5"),
        ({"num_shards": 0}, "--num_shards: expected 1 to 99999, received 0"),
        (
            {"output_file": "a,b"},
            r"--output_file: expected one plain name (several files: --num_shards), received 'a,b'",
        ),
        ({"vocab_file": "none.types"}, "none.types: expected a vocabulary (.types or .txt), found no such file"),
    ],
)
def test_script_refuses_in_one_line_before_tensorflow_is_loaded(folder, run_script, changes, message):
    result = run_script(SCRIPT, *flags(folder, **changes), hidden=("tensorflow",))
    assert result.returncode == 1
    assert result.stderr.strip().endswith(message) and len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


def test_an_unknown_flag_stops_the_script(folder, run_script):
    result = run_script(SCRIPT, *flags(folder), "--max_sequence_length=5")
    assert result.returncode != 0 and "max_sequence_length" in result.stderr and not (folder / "out").exists()


def test_globs_and_lists_of_one_split_are_taken_together(folder):
    write_sequences(folder / "d.bencs.train", random_patients(8, seed=2))
    by_list = create(folder, input_file=f"{folder}/c.bencs.train,{folder}/d.bencs.train")
    assert by_list.num_examples == 40
    by_glob = create(folder, input_file=f"{folder}/[cd].bencs.train", output_file=str(folder / "glob"))
    assert by_glob.counts == by_list.counts
    assert (folder / "glob").read_bytes() == (folder / "out").read_bytes()


def test_medbert_layout_with_the_originals_defaults(folder):
    info = create(folder, "m")
    assert info.layout is MEDBERT and info.tasks == {"long_stay": ["long_stay"]}
    assert info.defaults == {
        "max_seq_length": 32,
        "max_predictions_per_seq": 2,
        "masked_lm_prob": 0.35,
        "random_seed": 12345,
    }
    assert info.counts["examples_in"] == 3 and info.counts["examples"] == 2
    assert info.counts["dropped"]["longer_than_max_seq_length"] == 1
    assert info.counts["examples_in"] == info.counts["examples"] + sum(info.counts["dropped"].values())
    assert info.labels["long_stay"]["long_stay"] == {"known": 2, "positives": 1}


def test_medberts_masks_come_from_the_seed(folder):
    outputs = [
        create(
            folder,
            "m",
            output_file=str(folder / f"out{number}"),
            random_seed=seed,
            max_seq_length=64,
            max_predictions_per_seq=20,
        )
        .files[0]
        .read_bytes()
        for number, seed in enumerate([1, 1, 2])
    ]
    assert outputs[0] == outputs[1] != outputs[2]


def test_other_flags_are_refused_with_their_differences_unless_overwrite(folder):
    create(folder, max_seq_length=64)
    before = (folder / "out").read_bytes()
    with pytest.raises(
        DataError,
        match=r"received others: max_seq_length was 64, is 128; time_gap was before, is after "
        r"\(--overwrite replaces it\)",
    ):
        plan(folder, max_seq_length=128, time_gap="after")
    assert (folder / "out").read_bytes() == before
    info = create(folder, max_seq_length=128, time_gap="after", overwrite=True)
    assert info.defaults["max_seq_length"] == 128 and info.time_gap == "after"


def test_changed_input_is_refused_unless_overwrite(folder):
    create(folder)
    write_sequences(folder / "c.bencs.train", [TWO_VISITS])
    with pytest.raises(
        DataError, match=r"inputs was c.bencs.train \(\d+ bytes, \w{8}\), is c.bencs.train \(\d+ bytes, \w{8}\)"
    ):
        plan(folder)
    assert create(folder, overwrite=True).num_examples == 1


@pytest.mark.parametrize("damage", ["cut", "gone", "no description"])
def test_the_same_flags_finish_what_was_stopped_or_damaged(folder, damage):
    create(folder, num_shards=2)
    shard, description = folder / "out-00001-of-00002", folder / "out.dataset.json"
    whole = shard.read_bytes()
    if damage == "cut":
        shard.write_bytes(whole[:-5])
    else:
        (shard if damage == "gone" else description).unlink()
    create(folder, num_shards=2)
    assert shard.read_bytes() == whole and description.is_file()


def test_another_file_of_the_outputs_name_is_not_overwritten(folder):
    (folder / "out").write_text("the user's notes")
    with pytest.raises(DataError, match="out: expected no file of this name, or TFRecord; found another"):
        plan(folder)
    assert (folder / "out").read_text() == "the user's notes"


def other_vocabulary(folder):
    Vocabulary((*VOCABULARY.tokens[:-1], "Z99")).write(folder / "c")


def other_vocabulary_known_from_the_manifest_alone(folder):
    write_sequences(folder / "c.bencs.train", [TWO_VISITS], vocabulary_hash=None)
    (folder / "c.manifest.json").write_text(json.dumps({"vocabulary_hash": "0" * 64}))


@pytest.mark.parametrize("damage", [other_vocabulary, other_vocabulary_known_from_the_manifest_alone])
def test_a_vocabulary_of_another_run_is_refused(folder, damage):
    damage(folder)
    with pytest.raises(
        DataError,
        match=r"c.types: expected the vocabulary of .*c.bencs.train \(hash \w{12}\), "
        r"received another run's \(hash \w{12}\)",
    ):
        plan(folder)


def test_without_any_hash_a_code_beyond_the_vocabulary_is_refused(folder):
    write_sequences(folder / "c.bencs.train", [TWO_VISITS], vocabulary_hash=None)
    Vocabulary(VOCABULARY.tokens[:-2]).write(folder / "c")
    with pytest.raises(DataError, match="received 9: another run's vocabulary"):
        create(folder)
    assert not list(folder.glob("*out*"))


def test_layouts_are_not_mixed(folder):
    with pytest.raises(DataError, match=r"c.types: expected the vocabulary of .*m.bencs.train, empty_pad first"):
        plan(folder, "m", vocab_file=str(folder / "c.types"))
    with pytest.raises(DataError, match=r"m.types: expected the vocabulary of .*c.bencs.train, \[PAD\]"):
        plan(folder, vocab_file=str(folder / "m.types"))
    with pytest.raises(DataError, match="m.bencs.train: expected the same layout as .*c.bencs.train"):
        plan(folder, input_file=f"{folder}/c.bencs.train,{folder}/m.bencs.train")
    with pytest.raises(DataError, match="--visit_separator and --time_gap have no effect with Med-BERT's layout"):
        plan(folder, "m", visit_separator=True)


def test_splits_are_not_mixed(folder):
    write_sequences(folder / "c.bencs.test", [TWO_VISITS], split="test")
    with pytest.raises(
        DataError, match="c.bencs.train: expected the same split as .*c.bencs.test .*'test'.*received 'train'"
    ):
        plan(folder, input_file=f"{folder}/c.bencs.*")


def test_input_cut_in_the_middle_leaves_nothing_behind(folder):
    content = (folder / "c.bencs.train").read_bytes()
    (folder / "c.bencs.train").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match="c.bencs.train: byte .*damaged or cut"):
        create(folder)
    assert not list(folder.glob("*out*"))


def test_a_pickle_that_carries_a_class_is_refused_and_not_run(folder):
    class Bad:
        def __reduce__(self):
            return os.mkdir, (str(folder / "was_run"),)

    (folder / "c.bencs.train").write_bytes(pickle.dumps(Bad()))
    with pytest.raises(DataError, match="builtin types only"):
        plan(folder)
    assert not (folder / "was_run").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.bencs.train", "expected pickled sequences"),
        ("x*", "expected pickled sequences"),
        (" , ", "--input_file"),
    ],
)
def test_missing_input_is_refused(folder, name, message):
    with pytest.raises(DataError, match=message):
        plan(folder, input_file=name)


@pytest.mark.parametrize("patients", [[], [NO_CODES]])
def test_a_split_without_patients_or_codes_is_written_and_read(folder, patients):
    from medtop.data.tfrecord import read_examples

    write_sequences(folder / "c.bencs.train", patients)
    info = create(folder)
    assert info.num_examples == len(patients) == sum(len(part["counts"]) for part in read_examples(info))
    assert info.lengths["max"] == info.counts["tokens"] == len(patients)


def test_patients_without_labels_are_written(folder):
    from medtop.data.tfrecord import read_examples

    with SequenceWriter(folder / "c.bencs.new", {}, vocabulary_hash=VOCABULARY.hash) as writer:
        writer.write(chunk_of([TWO_VISITS], tasks={}))
    info = create(folder, input_file=str(folder / "c.bencs.new"))
    assert info.tasks == {} == info.labels and info.split == "new"
    assert [part["patient_id"] for part in read_examples(info)] == [["p1"]]


def test_the_same_file_twice_is_refused(folder):
    with pytest.raises(DataError, match="expected each file once"):
        plan(folder, input_file=f"{folder}/c.bencs.train,{folder}/c.*.train")


def test_records_hold_the_same_patients_whatever_the_chunks(folder):
    patients = random_patients(30, seed=3)
    files = []
    for size in (7, 30):
        write_sequences(folder / "c.bencs.train", patients, chunk_size=size)
        files.append(create(folder, output_file=str(folder / f"out{size}")).files[0])
    assert files[0].read_bytes() == files[1].read_bytes()
    assert np.diff([name.stat().st_size for name in files]).tolist() == [0]
