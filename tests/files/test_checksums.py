"""One changed byte in any output of preprocessing is noticed: by the step that reads it, and by the next run."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary
from medtop.files.atomic import sha256
from medtop.files.errors import DataError
from medtop.files.staging import check_whole, made_path, run_once

NAMES = ("bencs.train", "notes.valid.parquet", "/train.csv", "manifest.json")


def make(folder, write):
    for name in NAMES[:-1]:
        made_path(folder, name).write_bytes(f"whole {name}".encode())
    return {"settings": {}, "inputs": {}}


def flip(path, place=0):
    """Another value of the same size: one bit of one byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["n.bencs.train", "n.notes.valid.parquet", "n/train.csv"])
def test_a_changed_output_is_refused_by_its_reader_and_by_the_next_run(tmp_path, name):
    manifest = run_once(tmp_path / "n", {}, NAMES, make).manifest
    path = tmp_path / name
    assert sha256(path) in manifest["sha256"].values() and len(manifest["sha256"]) == 3
    check_whole(path)
    assert run_once(tmp_path / "n", {}, NAMES, make).done_before
    flip(path)
    with pytest.raises(DataError, match=f"{name}: expected the content that its manifest tells of .* received another"):
        check_whole(path)
    with pytest.raises(DataError, match="is missing or has changed"):
        run_once(tmp_path / "n", {}, NAMES, make)
    run_once(tmp_path / "n", {}, NAMES, make, overwrite=True)
    check_whole(path)


def test_files_without_a_manifest_or_of_an_older_one_are_read(tmp_path):
    (tmp_path / "a.b.csv").write_text("mine")
    check_whole(tmp_path / "a.b.csv")
    for content in ("[]", "{", '{"sha256": 3}', json.dumps({"outputs": {"b.csv": 4}})):
        (tmp_path / "a.manifest.json").write_text(content)
        check_whole(tmp_path / "a.b.csv")


SCRIPT = "preprocessing/preprocess_pretrain_data.py"


@pytest.fixture
def cohort(tmp_path, run_script):
    """A small cohort under the prefix `c`, and the table that it was made of."""
    rng = np.random.default_rng(0)
    rows = [
        f"{patient},2010-01-{day:02d},2010-01-{day + 1:02d},ICD10_E{rng.integers(10, 14)}"
        for patient in range(60)
        for day in (1, 5, 9, 13)
    ]
    (tmp_path / "t.csv").write_text("patient_id,admit,discharge,code\n" + "\n".join(rows) + "\n")
    done = run_script(SCRIPT, tmp_path / "t.csv", "NA", tmp_path / "c", 0, "--index=none")
    assert done.returncode == 0, done.stderr
    return tmp_path


@pytest.mark.parametrize("name", ["bencs.train", "types", "vocab.txt", "splits.csv"])
def test_the_next_step_refuses_it(cohort, run_script, name):
    path = cohort / f"c.{name}"
    for place in (0, len(path.read_bytes()) // 2):
        flip(path, place)
        vocabulary = path if name == "vocab.txt" else cohort / "c.types"
        command = ["preprocessing/create_BERTpretrain_EHRfeatures.py", f"--input_file={cohort / 'c.bencs.train'}"]
        command += [f"--vocab_file={vocabulary}", f"--output_file={cohort / 'out.tfrecord'}"]
        if name == "splits.csv":
            command = [SCRIPT, cohort / "t.csv", "NA", cohort / "d", 0, f"--splits={path}"]
        done = run_script(*command)
        assert done.returncode == 1 and f"c.{name}: expected the content that its manifest tells of" in done.stderr
        assert len(done.stderr.splitlines()) == 1 and not list(cohort.glob("out.*"))
        flip(path, place)


def test_given_vocabularies_and_texts_are_held_against_their_manifests(tmp_path):
    from medtop.notes.learn_vocabulary import VocabularySettings, learn

    columns = {name: pa.array(["a"]) for name in ("patient_id", "admission_id", "text")}
    table = pa.table(columns | {"prediction_time": pa.array([0], pa.timestamp("s"))})
    for name, write in (
        ("notes.train.parquet", lambda path: pq.write_table(table, path)),
        ("vocab.txt", Vocabulary((*SPECIAL_TOKENS, "a")).write_text),
    ):
        write(tmp_path / f"n.{name}")
        (tmp_path / "n.manifest.json").write_text(json.dumps({"sha256": {name: "0" * 64}}))
        with pytest.raises(DataError, match="expected the content that its manifest tells of"):
            if name == "vocab.txt":
                Vocabulary.read(tmp_path / "n.vocab.txt")
            else:
                learn(VocabularySettings(str(tmp_path / f"n.{name}"), str(tmp_path / "v.txt"), min_word_patients=1))
