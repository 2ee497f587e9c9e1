"""TFRecord both ways. The bytes are read by `tf.train.Example` too: a route that shares nothing with our encoder."""

import json
import struct

import numpy as np
import pytest
from sequence_cases import NO_CODES, TASKS, TWO_VISITS, VOCABULARY, chunk_of, random_patients

from medtop.data import sequences
from medtop.data.description import LENGTH_BINS
from medtop.data.layouts import record_field
from medtop.data.protobuf import Column, encode_examples, varints
from medtop.data.record_maker import Examples
from medtop.data.sequences import MEDBERT_TASKS, medbert_examples
from medtop.data.tokens import tokens_of
from medtop.files.errors import DataError

tf = pytest.importorskip("tensorflow", reason="records are TensorFlow's files")

from small_data import write_chunk  # noqa: E402

from medtop.data import tfrecord  # noqa: E402

DEFAULTS = {"max_seq_length": 512, "max_predictions_per_seq": 77, "masked_lm_prob": 0.15, "random_seed": 1}


def description(**changes):
    return {
        "layout": "default",
        "split": "train",
        "vocabulary": VOCABULARY,
        "tasks": TASKS,
        "time_gap": "before",
        "visit_separator": False,
        "defaults": DEFAULTS,
        "flags": {},
        "source_manifest": None,
    } | changes


def write(path, patients, num_shards=1, **changes):
    with tfrecord.DatasetWriter(path, num_shards, description(**changes)) as writer:
        write_chunk(writer, chunk_of(patients))
    return path


def examples(name):
    """The Examples of a file as list of dict feature -> list, parsed by protobuf itself."""
    values = []
    for record in tf.data.TFRecordDataset(str(name)).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        values.append(
            {key: list(getattr(feature, feature.WhichOneof("kind")).value) for key, feature in features.items()}
        )
    return values


def test_varints_equal_protobufs():
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            [0, 1, 127, 128, 16383, 16384, -1, -300, 2**63 - 1, -(2**63)],
            rng.integers(-(2**63), 2**63 - 1, 500),
            1 << rng.integers(0, 63, 500),
        ]
    )
    data, places = varints(values)
    for number, value in enumerate(values):
        alone = tf.train.Int64List(value=[int(value)]).SerializeToString()[2:]
        assert data[places[number] : places[number + 1]] == alone
    assert data == tf.train.Int64List(value=values.tolist()).SerializeToString()[1:][-len(data) :]


@pytest.mark.parametrize("values", [[], [0], [5, 6], list(range(200))])
def test_few_and_no_values_are_encoded(values):
    data, places = varints(np.array(values, np.int64))
    assert len(places) == len(values) + 1 and places[-1] == len(data)


def test_encoded_examples_equal_tensorflows_own():
    rng = np.random.default_rng(1)
    counts = np.array([0, 1, 5, 300, 20_000])
    ints = rng.integers(-5, 100_000, counts.sum())
    matrix = rng.normal(size=(5, 3)).astype(np.float32)
    names = [b"", b"a", "ü".encode(), b"x" * 200, b"\x00\xff"]
    encoded = list(
        encode_examples(
            [
                Column("numbers", "int64", ints, counts),
                Column.of_matrix("matrix", "float", matrix),
                Column("name", "bytes", names),
            ]
        )
    )
    for number, (first, end) in enumerate(zip(np.cumsum(counts) - counts, np.cumsum(counts), strict=True)):
        expected = tf.train.Example(
            features=tf.train.Features(
                feature={
                    "numbers": tf.train.Feature(int64_list=tf.train.Int64List(value=ints[first:end].tolist())),
                    "matrix": tf.train.Feature(float_list=tf.train.FloatList(value=matrix[number].tolist())),
                    "name": tf.train.Feature(bytes_list=tf.train.BytesList(value=[names[number]])),
                }
            )
        )
        assert tf.train.Example.FromString(encoded[number]) == expected


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="numbers: expected 3 values, received 2"):
        list(encode_examples([Column("numbers", "int64", [1, 2], [1, 2])]))
    with pytest.raises(ValueError, match="zip"):
        list(encode_examples([Column("one", "int64", [1]), Column("two", "int64", [1, 2])]))


def test_record_of_a_two_visit_patient_by_hand(tmp_path):
    write(tmp_path / "train", [TWO_VISITS, NO_CODES])
    two_visits, no_codes = examples(tmp_path / "train")
    assert two_visits == {
        "token_ids": [2, 7, 5, 9, 1, 6],
        "visits": [0, 1, 1, 2, 2, 2],
        "visit_positions": [0, 0, 1, 0, 1, 2],
        "age_days": [20_000, 19_942, 19_942, 19_990, 19_990, 19_990],
        "gap_before_days": [0, 0, 0, 35, 35, 35],
        "stay_days": [0, 3, 3, 10, 10, 10],
        "recency_days": [0, 55, 55, 0, 0, 0],
        "sex": [1],
        "prediction_time": [1_000_000_000],
        "patient_id": [b"p1"],
        "long_stay_labels": [1.0],
        "long_stay_weights": [1.0],
        "complications_labels": [0.0, 1.0],
        "complications_weights": [0.0, 1.0],
    }
    assert no_codes["token_ids"] == [2] and no_codes["prediction_time"] == [-5]
    assert no_codes["patient_id"] == ["pé".encode()]


def test_gap_after_has_a_name_of_its_own(tmp_path):
    info = tfrecord.read_dataset(write(tmp_path / "train", [TWO_VISITS], time_gap="after"))
    (example,) = examples(tmp_path / "train")
    assert example["gap_after_days"] == [0, 35, 35, 0, 0, 0] and "gap_before_days" not in example
    assert record_field("gap_days", info.time_gap) == "gap_after_days"
    (columns,) = tfrecord.read_examples(info)
    assert columns["gap_after_days"].tolist() == [0, 35, 35, 0, 0, 0]


@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize("visit_separator", [False, True])
def test_parsed_records_equal_the_tokens(tmp_path, monkeypatch, num_shards, visit_separator):
    monkeypatch.setattr(sequences, "PIECE", 7)
    patients = random_patients(50, seed=4)
    info = tfrecord.read_dataset(write(tmp_path / "train", patients, num_shards, visit_separator=visit_separator))
    chunk = chunk_of(patients)
    expected = tokens_of(chunk, VOCABULARY, visit_separator)
    order = [number for shard in range(num_shards) for number in range(shard, 50, num_shards)]  # round robin
    serialized = tf.constant(
        [record for name in info.files for record in tf.data.TFRecordDataset(str(name)).as_numpy_iterator()]
    )
    parsed = tfrecord.parse_batch(serialized, info)
    ours = {"gap_before_days": "gap_days"}
    for name in ("token_ids", "visits", "visit_positions", "age_days", "gap_before_days", "stay_days", "recency_days"):
        assert parsed[name].to_list() == [expected[number][ours.get(name, name)].tolist() for number in order]
    assert parsed["patient_id"].numpy().tolist() == [chunk.patient_ids[number].encode() for number in order]
    np.testing.assert_array_equal(parsed["sex"], chunk.sexes[order])
    np.testing.assert_array_equal(parsed["prediction_time"], chunk.prediction_times[order])
    for task in TASKS:
        np.testing.assert_array_equal(parsed[f"{task}_labels"], chunk.labels[task][order])
        np.testing.assert_array_equal(parsed[f"{task}_weights"], chunk.weights[task][order])
    assert set(tfrecord.parse_batch(serialized, info, names=["visits"])) == {"visits"}


def test_read_examples_streams_the_same_values(tmp_path):
    patients = random_patients(50, seed=5)
    path = write(tmp_path / "train", patients, num_shards=2)
    parts = list(tfrecord.read_examples(path, chunk_size=10))
    assert [len(part["counts"]) for part in parts] == [10, 10, 5, 10, 10, 5]
    order = [*range(0, 50, 2), *range(1, 50, 2)]
    expected = tokens_of(chunk_of([patients[number] for number in order]), VOCABULARY)
    np.testing.assert_array_equal(np.concatenate([part["counts"] for part in parts]), expected.counts)
    for name, ours in [("token_ids", "token_ids"), ("gap_before_days", "gap_days"), ("age_days", "age_days")]:
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), getattr(expected, ours))
    assert sum((part["patient_id"] for part in parts), []) == [patients[number]["patient_id"] for number in order]


def test_neither_padding_nor_cuts_are_stored(tmp_path):
    """One patient longer than max_seq_length, one of a single code: each keeps its own length."""
    long = dict(TWO_VISITS, patient_id="long", visits=[([5] * 700, 1, 0, 0, 0)])
    short = dict(TWO_VISITS, patient_id="short", visits=[([5], 1, 0, 0, 0)])
    path = write(tmp_path / "train", [long, short])
    assert [len(example["token_ids"]) for example in examples(path)] == [701, 2]
    assert all(0 not in example["token_ids"] and 4 not in example["token_ids"] for example in examples(path))


def test_description_by_hand(tmp_path):
    long = dict(TWO_VISITS, visits=[([5] * 20, 1, 0, 0, 0)])
    path = write(
        tmp_path / "train", [TWO_VISITS, NO_CODES, long], num_shards=2, source_manifest={"source": "synthetic"}
    )
    info = tfrecord.read_dataset(path)
    assert info.counts == {"examples_in": 3, "examples": 3, "patients": 2, "tokens": 6 + 1 + 21, "dropped": {}}
    assert info.labels == {
        "long_stay": {"long_stay": {"known": 2, "positives": 2}},
        "complications": {"MACE_365": {"known": 1, "positives": 0}, "CKD_365": {"known": 3, "positives": 2}},
    }
    assert info.lengths["counts"][:3] == [2, 1, 0] and info.lengths["upper"][:2] == [16, 32]
    assert (
        sum(info.lengths["counts"]) == 3 and info.lengths["max"] == 21 and info.lengths["mean"] == pytest.approx(28 / 3)
    )
    assert info.vocabulary == VOCABULARY and info.tasks == TASKS and info.defaults == DEFAULTS
    assert info.levels == {"long_stay": "patient", "complications": "patient"}
    assert info.file_records == [2, 1] and info.split == "train" and info.source_manifests == [{"source": "synthetic"}]
    assert [name.name for name in info.files] == ["train-00000-of-00002", "train-00001-of-00002"]
    assert sorted(name.name for name in tmp_path.iterdir()) == [
        "train-00000-of-00002",
        "train-00001-of-00002",
        "train.dataset.json",
    ]


@pytest.mark.parametrize(
    ("length", "place"), [(1, 0), (16, 0), (17, 1), (1024, 63), (1025, 64), (2048, 64), (1 << 30, -1)]
)
def test_bins_hold_their_upper_end(tmp_path, length, place):
    with tfrecord.DatasetWriter(tmp_path / "train", 1, description(tasks={})) as writer:
        writer.write(Examples([Column("token_ids", "int64", [2])], np.array([length]), ["p"]))
        assert writer.lengths[place] == writer.lengths.sum() == 1
    assert place == -1 or LENGTH_BINS[place] >= length


def test_several_datasets_are_read_as_one(tmp_path):
    one = write(tmp_path / "a.train", [TWO_VISITS], source_manifest={"n": 1})
    two = write(tmp_path / "b.train", random_patients(9, seed=6), num_shards=3, split="valid")
    for path in (f"{one},{two}", [one, two], str(tmp_path / "*.train*"), str(tmp_path / "*.dataset.json")):
        info = tfrecord.read_dataset(path)
        assert [name.name for name in info.files] == [
            "a.train",
            *(f"b.train-{number:05d}-of-00003" for number in range(3)),
        ]
        assert info.num_examples == 10 == sum(info.lengths["counts"]) and info.counts["patients"] == 10
        assert info.split == "train,valid"
        assert sum(len(part["counts"]) for part in tfrecord.read_examples(info)) == 10
    single = [tfrecord.read_dataset(path) for path in (one, two)]
    for key in ("tokens", "examples"):
        assert info.counts[key] == sum(part.counts[key] for part in single)
    assert info.lengths["mean"] == pytest.approx(info.counts["tokens"] / 10)
    assert tfrecord.read_dataset(f"{one},{one}").num_examples == 1  # the same files once, not doubled


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"vocabulary": type(VOCABULARY)(VOCABULARY.tokens[:-1] + ("Z99",))}, "vocabulary_hash"),
        ({"tasks": {"long_stay": ["long_stay"]}}, "tasks"),
        ({"time_gap": "after"}, "time_gap"),
        ({"visit_separator": True}, "visit_separator"),
    ],
)
def test_datasets_of_different_kinds_are_not_mixed(tmp_path, changes, key):
    one, two = write(tmp_path / "one", [TWO_VISITS]), write(tmp_path / "two", [TWO_VISITS], **changes)
    with pytest.raises(DataError, match=f"two: expected the same {key} as .*one") as error:
        tfrecord.read_dataset([one, two])
    assert "\n" not in str(error.value)


def damage_missing(path):
    path.with_name("train-00001-of-00002").unlink()


def damage_cut(path):
    name = path.with_name("train-00001-of-00002")
    name.write_bytes(name.read_bytes()[:-20])


def damage_version(path):
    change_description(path, version=99)


def damage_vocabulary(path):
    change_description(path, vocabulary=[*VOCABULARY.tokens[:-1], "Z99"])


def damage_key(path):
    name = path.with_name("train.dataset.json")
    content = json.loads(name.read_text())
    del content["shards"]
    name.write_text(json.dumps(content))


def damage_format(path):
    change_description(path, format="something else")


def damage_json(path):
    path.with_name("train.dataset.json").write_text("{")


def damage_description(path):
    path.with_name("train.dataset.json").unlink()


def change_description(path, **changes):
    name = path.with_name("train.dataset.json")
    name.write_text(json.dumps(json.loads(name.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_missing, r"train-00001-of-00002: expected a TFRecord file of \d+ bytes, found no such file"),
        (damage_cut, r"train-00001-of-00002: expected \d+ bytes, received \d+: the file was cut"),
        (damage_version, "train.dataset.json: expected version 1, received version 99; run create_BERT"),
        (damage_vocabulary, "train.dataset.json: expected the vocabulary's hash .*the file was changed"),
        (damage_key, "train.dataset.json: expected the key 'shards'"),
        (damage_format, "train.dataset.json: expected the description of a medtop dataset"),
        (damage_json, "train.dataset.json: line 1: expected JSON"),
        (damage_description, r"train: expected TFRecord files with train.dataset.json beside them, found none"),
    ],
)
def test_a_damaged_dataset_is_refused_in_one_line(tmp_path, damage, message):
    path = write(tmp_path / "train", random_patients(20, seed=7), num_shards=2)
    damage(path)
    with pytest.raises(DataError, match=message) as error:
        tfrecord.read_dataset(path)
    assert "\n" not in str(error.value)


def test_a_glob_of_some_files_only_is_refused(tmp_path):
    write(tmp_path / "train", random_patients(20, seed=7), num_shards=3)
    with pytest.raises(
        DataError, match=r"expected all 3 files of the dataset, received 2 of them \(without train-00002-of"
    ):
        tfrecord.read_dataset(tmp_path / "train-0000[01]*")


@pytest.mark.parametrize("keep", ["cut in the middle", "one byte changed"])
def test_a_damaged_file_of_the_right_size_is_noticed_when_read(tmp_path, keep):
    path = write(tmp_path / "train", random_patients(50, seed=8))
    info = tfrecord.read_dataset(path)
    content = bytearray(path.read_bytes())
    if keep == "one byte changed":
        content[len(content) // 2] ^= 1
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)
    with pytest.raises(DataError, match="train: expected whole records, received a damaged or cut file") as error:
        list(tfrecord.read_examples(info))
    assert "\n" not in str(error.value)


def test_a_file_cut_between_two_records_is_noticed_when_read(tmp_path):
    path = write(tmp_path / "train", random_patients(50, seed=8))
    info = tfrecord.read_dataset(path)
    content = path.read_bytes()
    (first,) = struct.unpack("<Q", content[:8])
    path.write_bytes(content[: first + 16])
    with pytest.raises(DataError, match="train: expected 50 records, received 1"):
        list(tfrecord.read_examples(info))


def test_a_failed_run_leaves_the_earlier_dataset_as_it_was(tmp_path):
    path = write(tmp_path / "train", random_patients(20, seed=9), num_shards=2)
    before = {name.name: name.read_bytes() for name in tmp_path.iterdir()}
    with pytest.raises(RuntimeError, match="stopped"), tfrecord.DatasetWriter(path, 1, description()) as writer:
        write_chunk(writer, chunk_of([TWO_VISITS]))
        raise RuntimeError("stopped")
    assert {name.name: name.read_bytes() for name in tmp_path.iterdir()} == before


def test_a_new_dataset_replaces_all_files_of_the_earlier_one(tmp_path):
    path = write(tmp_path / "train", random_patients(20, seed=9), num_shards=2)
    write(path, [TWO_VISITS])
    assert sorted(name.name for name in tmp_path.iterdir()) == ["train", "train.dataset.json"]
    assert tfrecord.read_dataset(path).num_examples == 1


def test_medberts_records_by_hand(tmp_path):
    from medtop.cohort.vocabulary import MEDBERT_PAD, Vocabulary

    vocabulary = Vocabulary([MEDBERT_PAD, *"abcdefgh"])
    rows = [
        ["p1", [3, 9], [0, 40], [4, 2, 7], [1, 1, 2]],
        ["p2", [7], [0], [1], [1]],
        ["long", [1], [0], [1] * 6, [1] * 6],
    ]
    defaults = {"max_seq_length": 5, "max_predictions_per_seq": 2, "masked_lm_prob": 0.5, "random_seed": 1}
    with tfrecord.DatasetWriter(
        tmp_path / "train",
        1,
        description(layout="medbert", vocabulary=vocabulary, tasks=MEDBERT_TASKS, defaults=defaults),
    ) as writer:
        writer.write(medbert_examples(rows, writer.description, np.random.default_rng(1)))
    first, second = examples(tmp_path / "train")
    assert set(first) == {
        "input_ids",
        "input_mask",
        "segment_ids",
        "masked_lm_positions",
        "masked_lm_ids",
        "masked_lm_weights",
        "next_sentence_labels",
    }
    assert first["input_mask"] == [1, 1, 1, 0, 0] and second["input_mask"] == [1, 0, 0, 0, 0]
    assert first["segment_ids"] == [1, 1, 2, 0, 0] and second["segment_ids"] == [1, 0, 0, 0, 0]
    assert first["next_sentence_labels"] == [1] and second["next_sentence_labels"] == [0]
    assert first["masked_lm_weights"] == [1.0, 1.0]  # round(3 * 0.5) = 2
    assert second["masked_lm_positions"] == [0, 0] and second["masked_lm_ids"] == [1, 0]
    assert second["masked_lm_weights"] == [1.0, 0.0]
    restored = list(first["input_ids"])
    for position, code in zip(first["masked_lm_positions"], first["masked_lm_ids"], strict=True):
        assert restored[position] in {vocabulary.mask_id, *range(1, 9)}
        restored[position] = code
    assert restored == [4, 2, 7, 0, 0]
    info = tfrecord.read_dataset(tmp_path / "train")
    assert info.counts == {
        "examples_in": 3,
        "examples": 2,
        "patients": 2,
        "tokens": 4,
        "dropped": {"longer_than_max_seq_length": 1, "no_codes": 0, "first_code_is_padding": 0},
    }
    assert info.labels == {"long_stay": {"long_stay": {"known": 2, "positives": 1}}}
    (columns,) = tfrecord.read_examples(info)
    assert columns["input_ids"].tolist() == [first["input_ids"], second["input_ids"]]
    assert columns["masked_lm_weights"].shape == (2, 2) and columns["next_sentence_labels"].shape == (2, 1)


def test_medberts_codes_of_another_vocabulary_are_refused(tmp_path):
    from medtop.cohort.vocabulary import MEDBERT_PAD, Vocabulary

    with (
        pytest.raises(DataError, match="expected codes from 1 to 2, received 0 to 3: another run's vocabulary"),
        tfrecord.DatasetWriter(
            tmp_path / "train",
            1,
            description(layout="medbert", vocabulary=Vocabulary([MEDBERT_PAD, "a", "b"]), tasks=MEDBERT_TASKS),
        ) as writer,
    ):
        writer.write(medbert_examples([["p1", [3], [0], [1, 3], [1, 1]]], writer.description, np.random.default_rng(1)))
    assert list(tmp_path.iterdir()) == []
