"""Med-BERT's fine-tuning lists: rows to records and back, what is refused, and training on them."""

import collections
import pickle
from pathlib import Path

import numpy as np
import pytest

from medtop.cohort.finetuning_lists import is_finetuning_list, read_finetuning_rows, write_finetuning_rows
from medtop.cohort.vocabulary import MEDBERT_PAD, SPECIAL_TOKENS, Vocabulary
from medtop.data import create
from medtop.data.finetuning import FinetuningMaker, maker_of
from medtop.data.sequences import FeatureSettings, SequenceMaker
from medtop.files.errors import DataError

ROWS = [
    ["p1", 1, [4, 2, 7], [1, 1, 2]],
    [17, 0, [1], [1]],
    ["p3", None, [5, 6], [1, 3]],
    ["p4", 1, [], []],
    ["p5", 0, list(range(1, 9)) * 3, sorted(list(range(1, 9)) * 3)],
]


def settings(folder, rows=ROWS, tokens=(MEDBERT_PAD, *"abcdefgh"), name="ft.train", **changes):
    Vocabulary(tokens).write(folder / "m")
    (folder / name).write_bytes(pickle.dumps(rows, protocol=2))
    files = {
        "input_file": str(folder / name),
        "output_file": str(folder / "out"),
        "vocab_file": str(folder / "m.types"),
    }
    return FeatureSettings(**files | {"task_name": "hf"} | changes)


def test_rows_are_read_as_they_stand(tmp_path):
    write_finetuning_rows(tmp_path / "ft.valid", ROWS)
    assert is_finetuning_list(tmp_path / "ft.valid")
    assert [list(row) for row in read_finetuning_rows(tmp_path / "ft.valid")] == [[str(ROWS[0][0]), *ROWS[0][1:]],
        ["17", *ROWS[1][1:]], *ROWS[2:]]  # fmt: skip
    (tmp_path / "pretraining").write_bytes(pickle.dumps([["p", [3], [0], [4], [1]]]))
    assert not is_finetuning_list(tmp_path / "pretraining")
    assert isinstance(maker_of(settings(tmp_path)), FinetuningMaker)
    assert isinstance(maker_of(settings(tmp_path, [["p", [3], [0], [4], [1]]])), SequenceMaker)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            ["p", 1, [4, 2], [1]],
            r"row 1: expected \[patient, label, \[codes\], \[visits\]\] with a visit",
        ),
        (["p", 1, [4]], "row 1: expected .* received another shape"),
        (["p", 2, [4], [1]], "row 1: expected label 1, 0 or None, received 2"),
        (["p", 1.0, [4], [1]], "row 1: expected label 1, 0 or None, received a float"),
        (["p", "1", [4], [1]], "row 1: expected label"),
        (["p", True, [4], [1]], "row 1: expected label"),
        ([None, 1, [4], [1]], "row 1: expected a patient's id"),
        (["p", 1, ["4"], [1]], "row 1: expected codes that are whole numbers, received a str"),
        (["p", 1, [0], [1]], "row 1: expected codes from 1"),
        (["p", 1, [4], [0]], "row 1: expected visits from 1"),
        (["p", 1, [4, 4], [2, 1]], "row 1: expected visits in rising order"),
        (("p", 1, [4], [1]), "another shape"),
    ],
)
def test_other_rows_are_refused_with_their_place(row, words, tmp_path):
    (tmp_path / "ft.train").write_bytes(pickle.dumps([ROWS[0], row]))
    with pytest.raises(DataError, match=words) as caught:
        list(read_finetuning_rows(tmp_path / "ft.train"))
    assert "\n" not in str(caught.value)


def test_a_pickle_that_names_a_class_is_not_run(tmp_path):
    path = tmp_path / "ft.train"
    path.write_bytes(pickle.dumps([["p", np.int64(1), [4], [1]]]))
    with pytest.raises(DataError, match="expected builtin types only"):
        is_finetuning_list(path)
    path.write_bytes(pickle.dumps([["p", 1, [4], collections.OrderedDict()]]))
    with pytest.raises(DataError, match="nothing was run"):
        list(read_finetuning_rows(path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"tokens": (MEDBERT_PAD, "a", "b")},
            r"expected codes from 1 to 2 \(--vocab_file\), received 1 to 8",
        ),
        ({"tokens": (*SPECIAL_TOKENS, *"abcdefgh")}, "expected codes from 5 to 12 .* received 1 to 8"),
        ({"visit_separator": True}, "--visit_separator and --time_gap have no effect"),
        ({"task_name": "a b"}, "--task_name: expected a name of letters and digits, received 'a b'"),
        ({"task_name": "masked_lm"}, "--task_name: expected a name"),
    ],
)
def test_what_does_not_fit_leaves_no_records(changes, words, tmp_path):
    pytest.importorskip("tensorflow")
    with pytest.raises(DataError, match=words):
        create.write(create.plan(maker_of(settings(tmp_path, **changes))))
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.dataset.json").exists()


def test_records_hold_the_rows(tmp_path):
    tfrecord = pytest.importorskip("medtop.data.tfrecord")
    info = create.write(create.plan(maker_of(settings(tmp_path))))
    (columns,) = tfrecord.read_examples(info)
    assert info.layout.name == "medbert_finetuning" and info.split == "train" and info.tasks == {"hf": ["hf"]}
    assert info.counts["dropped"] == {"no_codes": 1} and info.counts["examples_in"] == 5
    assert info.labels == {"hf": {"hf": {"known": 3, "positives": 1}}}
    assert columns["patient_id"] == ["p1", "17", "p3", "p5"] and columns["prediction_time"].tolist() == [0] * 4
    ends = np.cumsum(columns["counts"])[:-1]
    assert [part.tolist() for part in np.split(columns["token_ids"], ends)] == [row[2] for row in ROWS if row[2]]
    assert [part.tolist() for part in np.split(columns["visits"], ends)] == [row[3] for row in ROWS if row[2]]
    assert columns["hf_labels"].tolist() == [[1], [0], [0], [0]] and columns["hf_weights"].tolist() == [
        [1],
        [1],
        [0],
        [1],
    ]
    again = create.plan(maker_of(settings(tmp_path)))
    assert again.done and (tmp_path / "out").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_gru_learns_from_them_and_long_rows_keep_their_latest_codes(tmp_path, run_script):
    """As a user: lists of two splits, records, a GRU on Med-BERT's own vocabulary; code 3 says it all."""
    pytest.importorskip("tensorflow")
    rng, written = np.random.default_rng(2), {}
    for split, count in (("train", 192), ("valid", 64), ("test", 64)):
        rows = []
        for number in range(count):
            codes = rng.choice([1, 2, 4, 5, 6, 7, 8], rng.integers(2, 14)).tolist()
            label = int(rng.integers(2))
            codes = [3, 3, 3, *codes] if not label else [*codes, 3]  # early ones of the others are cut off
            codes = [*codes[:3], *[1] * 8, *codes[3:]] if not label else codes
            rows.append([f"{split}{number}", label, codes, sorted(rng.integers(1, 5, len(codes)).tolist())])
        made = settings(tmp_path, rows, name=f"ft.{split}")
        script = Path("preprocessing") / "create_BERTpretrain_EHRfeatures.py"
        written[split] = tmp_path / f"{split}.tfrecord"
        done = run_script(script, f"--input_file={made.input_file}", f"--output_file={written[split]}",
                          f"--vocab_file={made.vocab_file}", "--task_name=hf", "--max_seq_length=10")  # fmt: skip
        assert done.returncode == 0, done.stderr
    config = tmp_path / "config.json"
    config.write_text('{"hidden_size": 16, "num_attention_heads": 2, "activation": "gelu", "initializer_range": 0.3, '
                      '"embeddings": ["code", "visit"], "head_size": 8}')  # fmt: skip
    files = [f"--{flag}={written[split]}" for flag, split in
             (("input_file", "train"), ("valid_file", "valid"), ("test_file", "test"))]  # fmt: skip
    done = run_script("run_scripts/run_toppretraining.py", *files, f"--bert_config_file={config}", "--head=gru",
                      "--body=embeddings", f"--output_dir={tmp_path / 'run'}", "--do_train", "--do_eval",
                      "--num_train_epochs=5", "--learning_rate=0.03", "--num_bootstrap=20")  # fmt: skip
    assert done.returncode == 0, done.stderr
    from medtop.files.bounded import read_json

    assert read_json(tmp_path / "run" / "metrics.json")["test"]["hf"]["hf"]["roc_auc"]["value"] > 0.95
