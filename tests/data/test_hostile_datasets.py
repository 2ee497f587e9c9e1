"""Data sets that somebody hands us: damaged descriptions, names that lead elsewhere, records that claim 2^40 bytes."""

import json
import struct

import pytest

from medtop.data.description import FORMAT, LENGTH_BINS, VERSION, read_dataset
from medtop.data.framing import check_frames
from medtop.files.errors import DataError

RECORD = b"content of a record"


def crc32c(data):
    """Castagnoli's CRC, bit by bit, masked as TFRecord does."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
    value ^= 0xFFFFFFFF
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def frame(content, length=None):
    """A record; `length` is what it claims."""
    size = struct.pack("<Q", len(content) if length is None else length)
    return size + crc32c(size) + content + crc32c(content)


def describe(tmp_path, records=2, **changes):
    """A data set of frames and its description; the `dataset.json`'s path and content."""
    import hashlib

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]
    (tmp_path / "d").write_bytes(frame(RECORD) * records)
    size = (tmp_path / "d").stat().st_size
    content = {
        "format": FORMAT,
        "version": VERSION,
        "layout": "default",
        "split": "train",
        "tasks": {"long_stay": {"labels": ["long_stay"], "level": "patient"}},
        "time_gap": "before",
        "visit_separator": False,
        "defaults": {"max_seq_length": 64, "max_predictions_per_seq": 5, "masked_lm_prob": 0.15, "random_seed": 1},
        "counts": {"examples_in": 2, "examples": 2, "patients": 2, "tokens": 9, "dropped": {"short": 0}},
        "labels": {"long_stay": {"long_stay": {"known": 2, "positives": 1}}},
        "lengths": {"counts": [2], "max": 5, "mean": 4.5},
        "shards": [{"file": "d", "records": records, "bytes": size}],
        "flags": {},
        "vocabulary": tokens,
        "vocabulary_hash": hashlib.sha256("\n".join(tokens).encode()).hexdigest(),
        "source_manifest": None,
    } | changes
    path = tmp_path / "d.dataset.json"
    path.write_text(json.dumps(content))
    return path, content


def test_the_good_description_is_read(tmp_path):
    describe(tmp_path)
    info = read_dataset(tmp_path / "d")
    assert info.num_examples == 2 and len(info.lengths["counts"]) == len(LENGTH_BINS)
    check_frames(info)


DAMAGES = {
    "vocabulary of numbers": ({"vocabulary": [1, 2]}, "vocabulary: expected a list of words"),
    "vocabulary of a word": ({"vocabulary": "abc"}, "vocabulary: expected a list of words"),
    "hash that is none": ({"vocabulary_hash": 7}, "vocabulary_hash: expected a word"),
    "tasks without labels": ({"tasks": {"a": {}}}, "tasks: a: expected labels, level"),
    "tasks that are a list": ({"tasks": ["a"]}, "tasks: expected named entries"),
    "labels of numbers": ({"tasks": {"a": {"labels": [1], "level": "patient"}}}, "labels: expected a list of words"),
    "files that are a word": ({"shards": "d"}, "shards: expected a list of files"),
    "no files": ({"shards": []}, "shards: expected a list of files"),
    "files without sizes": ({"shards": [{"file": "d"}]}, "shards: expected file, records and bytes"),
    "records below 0": ({"shards": [{"file": "d", "records": -1, "bytes": 1}]}, "shards: records: expected"),
    "counts of words": ({"counts": {"examples": "2"}}, "counts: examples: expected a whole number"),
    "counts without examples": ({"counts": {"tokens": 2}}, "counts"),
    "another sum": ({"counts": {"examples_in": 2, "examples": 3, "patients": 2, "tokens": 9}}, "expected 2, the files"),
    "lengths": ({"lengths": {"counts": [1] * 999, "max": 1, "mean": 1}}, "lengths: counts: expected bins"),
    "mean": ({"lengths": {"counts": [1], "max": 1, "mean": None}}, "lengths: mean: expected a number"),
    "rows of 10^9": ({"defaults": {"max_seq_length": 10**9}}, "defaults: max_seq_length: expected a whole number up"),
    "defaults": ({"defaults": None}, "defaults: expected named entries"),
    "gap": ({"time_gap": ["before"]}, "time_gap: expected before or after"),
    "layout": ({"layout": {}}, "layout: expected a word"),
    "label counts": ({"labels": {"long_stay": {"long_stay": [1]}}}, "labels: long_stay: long_stay: expected named"),
    "flags": ({"flags": 3}, "flags: expected named entries"),
    "manifest": ({"source_manifest": 3}, "source_manifest: expected"),
    "version": ({"version": [[1]] * 99}, "expected version 1, received"),
    "doubled token": ({"vocabulary": ["a", "a"]}, "distinct tokens"),
}


@pytest.mark.parametrize("changes, message", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_description(tmp_path, changes, message):
    path, _ = describe(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as error:
        read_dataset(tmp_path / "d")
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("name", ["/etc/passwd", "../d", "a/d", "..", ".", "", "a\\d", "d\0", 7, None])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    """Before, an overwritten data set removed the files that its description named, wherever they lay."""
    shard = {"file": name, "records": 2, "bytes": (tmp_path.stat().st_size)}
    describe(tmp_path, shards=[shard])
    with pytest.raises(DataError, match="shards: file: expected the name of a file beside this one"):
        read_dataset(tmp_path / "d")


@pytest.mark.parametrize("length", [1 << 40, (1 << 64) - 1, len(RECORD) + 1, 1 << 31])
def test_records_that_claim_more_than_the_file_holds(tmp_path, length):
    """With the right checksum, 2^40 bytes ended TensorFlow's process with SIGSEGV."""
    describe(tmp_path)
    content = frame(RECORD) + frame(RECORD, length)
    (tmp_path / "d").write_bytes(content)
    with pytest.raises(DataError, match=r"expected whole records, .*damaged or cut file \(record 1 claims"):
        check_frames(read_dataset(tmp_path / "d"))


def test_more_or_fewer_records_and_cuts(tmp_path):
    path, content = describe(tmp_path)
    whole = frame(RECORD) * 2
    for place, size in enumerate(range(1, len(whole), 5)):
        shard = {"file": f"d{place}", "records": 2, "bytes": size}
        path.write_text(json.dumps(content | {"shards": [shard]}))
        (tmp_path / f"d{place}").write_bytes(whole[:size])
        with pytest.raises(DataError, match="damaged or cut|expected 2 records, received 1"):
            check_frames(read_dataset(tmp_path / "d"))


@pytest.mark.parametrize("read", ["examples", "training", "evaluation"])
def test_every_reader_looks_at_the_frames_first(tmp_path, read):
    pytest.importorskip("tensorflow")
    from small_data import all_tasks, small_config

    from medtop.data import batches, tfrecord

    describe(tmp_path)
    (tmp_path / "d").write_bytes(frame(RECORD) + frame(RECORD, 1 << 40))
    info, config, tasks = read_dataset(tmp_path / "d"), small_config(vocab_size=6), all_tasks(["long_stay"])
    with pytest.raises(DataError, match="expected whole records, .*record 1 claims"):
        if read == "examples":
            next(tfrecord.read_examples(info))
        elif read == "training":
            batches.TrainBatches(info, config, tasks, batches.BatchOptions(batch_size=2), seed=0)
        else:
            batches.eval_batches(info, config, tasks, batches.BatchOptions(batch_size=2), seed=0, masking=False)
