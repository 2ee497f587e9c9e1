"""create_notes_pretraining_data.py on tables of single notes: whose notes are taken, counted, and what is refused."""

import collections
import csv
import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from notes_data import NOTE_VOCABULARY, tokenizer

from medtop.data import tfrecord

SCRIPT = "preprocessing/create_notes_pretraining_data.py"
HEADER = "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CATEGORY,ISERROR,TEXT".split(",")
NOTES = [  # patients 1 and 2 train, 3 valid, 4 test, 5 in no split
    (1, 1, "", "2150-01-01", "Nursing", "", "[**Name**] fever and\ncough.  Pain in the chest!"),
    (2, 1, "11", "2150-01-02", "Radiology", "", "Lungs clear. Heart normal."),
    (3, 2, "", "soon", "ECG", "", "Oral stable. Rate normal."),
    (4, 2, "", "2150-01-02", "ECG", "1", "Wrong patient. Fever."),
    (5, 2, "", "2150-01-02", "ECG", "", "___ ..."),
    (6, 3, "", "2150-01-02", "Nursing", "", "Cough stable. Patient stable."),
    (7, 3, "", "2150-01-03", "Nursing", "", "Chest pain. Fever."),
    (8, 4, "", "2150-01-02", "Nursing", "", "Discharge relapse. Fever."),
    (9, 5, "", "2150-01-02", "Nursing", "", "Unlisted patient. Fever."),
    (10, "", "", "2150-01-02", "Nursing", "", "Nobody. Fever."),
]
FLAGS = ("--output_file=pre", "--vocab_file=vocab.txt", "--splits=splits.csv", "--max_seq_length=16")


@pytest.fixture
def folder(tmp_path):
    with gzip.open(tmp_path / "NOTEEVENTS.csv.gz", "wt", newline="") as file:
        csv.writer(file).writerows([HEADER, *NOTES])
    splits = {"1": "train", "2": "train", "3": "valid", "4": "test"}
    (tmp_path / "splits.csv").write_text(
        "patient_id,split\n" + "".join(f"{name},{split}\n" for name, split in splits.items())
    )
    NOTE_VOCABULARY.write_text(tmp_path / "vocab.txt")
    return tmp_path


def pieces_of(folder, name="pre"):
    """(dict patient -> sorted pieces of its records, dataset.json)."""
    (columns,) = tfrecord.read_examples(tfrecord.read_dataset(folder / name))
    ids = np.split(columns["token_ids"], np.cumsum(columns["counts"])[:-1])
    found = {}
    for patient, row in zip(columns["patient_id"], ids, strict=True):
        found.setdefault(patient, []).extend(row.tolist())
    return found, json.loads((folder / f"{name}.dataset.json").read_text())


def expected_pieces(*texts):
    """Pieces of texts, by the tokenizer alone."""
    return sorted(tokenizer().tokenize(list(texts)).ids.tolist())


def words_only(pieces):
    special = NOTE_VOCABULARY.special_ids
    return sorted(piece for piece in pieces if piece not in set(special) - {NOTE_VOCABULARY.ids["[UNK]"]})


def test_all_notes_of_the_splits_patients_each_piece_once(folder, run_script):
    process = run_script(SCRIPT, "--input_file=NOTEEVENTS.csv.gz", "--pairs=none", *FLAGS, cwd=folder)
    assert process.returncode == 0, process.stderr
    found, about = pieces_of(folder)
    assert {patient: words_only(pieces) for patient, pieces in found.items()} == {
        "1": expected_pieces("fever and cough.  Pain in the chest!", "Lungs clear. Heart normal."),
        "2": expected_pieces("Oral stable. Rate normal."),
    }
    counts = about["counts"]
    left = {reason: number for reason, number in counts["dropped"].items() if number}
    assert left == {
        "marked_as_error": 1,
        "no_patient": 1,
        "no_word": 1,
        "not_in_splits_file": 1,
        "of_another_split": 3,
    }
    assert counts["examples_in"] == len(NOTES) and "of_another_split" in process.stdout


def test_pairs_of_the_valid_split(folder, run_script):
    process = run_script(SCRIPT, "--input_file=NOTEEVENTS.csv.gz", "--split=valid", *FLAGS, cwd=folder)
    assert process.returncode == 0, process.stderr
    found, about = pieces_of(folder)
    assert set(found) == {"3"} and list(about["tasks"]) == ["next_sentence"]
    assert "--input_file=<training records> --valid_file=pre" in process.stdout


@pytest.mark.parametrize("size", [1, 3])
def test_one_note_of_the_split_in_the_first_batch_waits_for_another(folder, run_script, monkeypatch, size):
    """Batches of one or three notes; rows of others, and one note of the valid split, come before the rest."""
    monkeypatch.setattr("medtop.corpus.documents.BATCH_DOCUMENTS", size)
    with open(folder / "ordered.csv", "w", newline="") as file:
        csv.writer(file).writerows([HEADER, *(NOTES[place] for place in (0, 5, 1, 2, 7, 6))])
    process = run_script(SCRIPT, "--input_file=ordered.csv", "--split=valid", *FLAGS, cwd=folder)
    assert process.returncode == 0, process.stderr
    found, about = pieces_of(folder)
    counts = about["counts"]
    assert counts["examples_in"] == 6 and counts["dropped"]["of_another_split"] == 4
    own = collections.Counter(expected_pieces("Cough stable. Patient stable.", "Chest pain. Fever."))
    assert own <= collections.Counter(found["3"])  # and wrong continuations


def test_any_table_with_columns_of_its_own_and_several_at_once(folder, run_script):
    table = {"MRN": [1, 2, 3], "NOTE": ["Fever. Cough.", "Heart rate. Normal.", "Other split. Fever."]}
    parquet.write_table(pa.table(table), folder / "own.parquet")
    (folder / "more.tsv").write_text("MRN\tNOTE\n2\tChest pain. Stable.\n")
    names = ("--input_file=own.parquet,more.tsv", "--columns=patient_id=MRN,text=NOTE")
    process = run_script(SCRIPT, *names, "--pairs=none", *FLAGS, cwd=folder)
    assert process.returncode == 0, process.stderr
    found, _ = pieces_of(folder)
    assert words_only(found["2"]) == expected_pieces("Heart rate. Normal.", "Chest pain. Stable.")
    assert words_only(found["1"]) == expected_pieces("Fever. Cough.") and set(found) == {"1", "2"}


@pytest.mark.parametrize(
    "content, flags, message",
    [
        ("subject_id,words\n1,a\n", (), "expected a column of texts"),
        ("row,text\n1,a\n", (), "expected a column of patients"),
        ("subject_id,text\n1,a\n", ("--columns=text=NOTE",), "expected a column NOTE (text)"),
        ("subject_id,text\n1,a\n", ("--columns=word=NOTE",), "--columns: expected name=header"),
        ("subject_id,text\n4,fever\n", (), "expected notes of patients of the train split, received none"),
        ("subject_id,text\n1,fever\n", ("--cleaning=much",), "--cleaning: expected one of"),
        ('subject_id,text\n1,"fever\n', (), "never closed"),
    ],
)
def test_bad_tables_end_in_one_line_and_leave_nothing(folder, run_script, content, flags, message):
    (folder / "t.csv").write_text(content)
    process = run_script(SCRIPT, "--input_file=t.csv", *flags, *FLAGS, cwd=folder)
    assert process.returncode == 1 and message in process.stderr, process.stderr
    assert process.stderr.strip().count("\n") == 0
    assert not list(folder.glob("pre*"))
