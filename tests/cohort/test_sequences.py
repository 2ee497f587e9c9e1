"""The pickled lists: what is written comes back, what is cut or foreign is refused, nothing half stays behind."""

import dataclasses
import errno
import os
import pickle

import numpy as np
import pytest

from medtop.cohort.pickled_lists import (
    CODE_COLUMNS,
    EXAMPLE_COLUMNS,
    FORMAT,
    VISIT_COLUMNS,
    Chunk,
    SequenceWriter,
    read_chunks,
    read_header,
    read_medbert_rows,
)
from medtop.files.errors import DataError

TASKS = {"long_stay": ["long_stay"], "complications": ["MACE_365", "CKD_365"]}
LABELS = {"long_stay": 1, "complications": 2}


def random_chunk(seed, examples=4):
    """A `Chunk` of numbers over the whole range of each column."""
    rng = np.random.default_rng(seed)
    counts = {name: rng.integers(0, 5, examples).astype(np.int32) for name in ("code_counts", "visit_counts")}
    sizes = {
        **dict.fromkeys(EXAMPLE_COLUMNS, examples),
        **dict.fromkeys(CODE_COLUMNS, counts["code_counts"].sum()),
        **dict.fromkeys(VISIT_COLUMNS, counts["visit_counts"].sum()),
    }
    columns = {}
    for name, dtype in {**EXAMPLE_COLUMNS, **CODE_COLUMNS, **VISIT_COLUMNS}.items():
        limits = np.iinfo(dtype)
        columns[name] = counts.get(name, rng.integers(limits.min, limits.max, sizes[name], dtype, endpoint=True))
    known = {task: rng.integers(0, 2, (examples, width)).astype(np.float32) for task, width in LABELS.items()}
    ones = {task: rng.integers(0, 2, values.shape).astype(np.float32) * values for task, values in known.items()}
    return Chunk([f"p{seed}-{i}é" for i in range(examples)], **columns, labels=ones, weights=known)


def write(path, chunks, **header):
    with SequenceWriter(path, TASKS, **header) as writer:
        for chunk in chunks:
            writer.write(chunk)
    return path


def assert_equal(received, expected):
    for field in dataclasses.fields(Chunk):
        one, other = getattr(received, field.name), getattr(expected, field.name)
        if isinstance(other, dict):
            assert one.keys() == other.keys()
            for task in other:
                np.testing.assert_array_equal(one[task], other[task])
                assert one[task].dtype == np.float32 and one[task].shape == other[task].shape
        else:
            np.testing.assert_array_equal(one, other, err_msg=field.name)
            assert isinstance(other, list) or one.dtype == other.dtype, field.name


@pytest.mark.parametrize("sizes", [(), (0,), (1,), (4, 0, 3)])
def test_round_trip(tmp_path, sizes):
    chunks = [random_chunk(seed, size) for seed, size in enumerate(sizes)]
    path = write(tmp_path / "a.bencs.train", chunks, split="train")
    received = list(read_chunks(path))
    assert [len(chunk) for chunk in received] == list(sizes)
    for one, other in zip(received, chunks, strict=True):
        assert_equal(one, other)
    assert read_header(path) == {"format": FORMAT, "version": 1, "tasks": TASKS, "split": "train"}


def test_only_builtin_types_are_written(tmp_path):
    """Whoever reads the file elsewhere needs neither medtop nor NumPy, and no reader needs to allow a class."""
    path = write(tmp_path / "a", [random_chunk(0)])
    assert b"numpy" not in path.read_bytes() and b"medtop.cohort.pickled_lists" not in path.read_bytes()
    with open(path, "rb") as file:
        header, chunk, footer = (pickle.load(file) for _ in range(3))
    assert footer == {"examples": 4}
    assert {type(value) for value in chunk.values()} == {list, bytes, dict}
    assert np.frombuffer(chunk["prediction_times"], "<i8").tolist() == random_chunk(0).prediction_times.tolist()


def test_values_are_little_endian_whatever_the_arrays_were(tmp_path):
    chunk = random_chunk(3)
    other = dataclasses.replace(chunk, codes=chunk.codes.astype(">i4"), ages=np.repeat(chunk.ages, 2)[::2])
    assert other.to_builtin() == chunk.to_builtin()


@pytest.mark.slow
def test_every_prefix_is_refused_and_gives_no_wrong_chunk(tmp_path):
    """Cut at each byte: always a DataError, and the chunks that came before it are whole and in order."""
    chunks = [random_chunk(0, 2), random_chunk(1, 1)]
    path = write(tmp_path / "a", chunks)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        received = []
        with pytest.raises(DataError) as caught:
            for chunk in read_chunks(path):
                received.append(chunk)  # one by one: what came before the error must be seen
        assert str(path) in str(caught.value) and "\n" not in str(caught.value), size
        for one, other in zip(received, chunks, strict=False):
            assert_equal(one, other)
    path.write_bytes(whole)
    assert len(list(read_chunks(path))) == 2  # the loop ended where the whole file begins to pass


def test_chunks_before_the_cut_are_the_ones_that_were_written(tmp_path):
    chunks = [random_chunk(seed, 2) for seed in range(3)]
    path = write(tmp_path / "a", chunks)
    ends = []
    with open(path, "rb") as file:
        for _ in range(5):  # header, three chunks, footer
            pickle.load(file)
            ends.append(file.tell())
    whole = path.read_bytes()
    for number, end in enumerate(ends[:4]):
        path.write_bytes(whole[:end])  # between two pickles: only the missing footer can tell
        reader = read_chunks(path)
        for expected in chunks[:number]:
            assert_equal(next(reader), expected)
        with pytest.raises(DataError, match="expected a footer .* it was cut"):
            next(reader)


def test_a_chunk_that_was_taken_out_is_noticed(tmp_path):
    path = tmp_path / "a"
    chunks = [random_chunk(seed, 2).to_builtin() for seed in range(2)]
    header = {"format": FORMAT, "version": 1, "tasks": TASKS}
    path.write_bytes(b"".join(pickle.dumps(value) for value in (header, chunks[1], {"examples": 4})))
    with pytest.raises(DataError, match="expected 4 examples, received 2"):
        list(read_chunks(path))


def test_nothing_may_follow_the_footer(tmp_path):
    path = write(tmp_path / "a", [random_chunk(0)])
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DataError, match="nothing after the footer"):
        list(read_chunks(path))


def change(**new):
    return lambda plain: {**plain, **new}


@pytest.mark.parametrize(
    "damage, part",
    [
        (lambda plain: [plain], "another content"),
        (lambda plain: {k: v for k, v in plain.items() if k != "visits"}, "'visits'"),
        (lambda plain: {k: v for k, v in plain.items() if k != "weights"}, "'weights'"),
        (lambda plain: {**plain, "codes": plain["codes"][:-4]}, "values of codes"),
        (lambda plain: {**plain, "codes": plain["codes"][:-1]}, "multiple of"),
        (lambda plain: {**plain, "stay_days": plain["stay_days"] + b"\0\0\0\0"}, "values of stay_days"),
        (lambda plain: {**plain, "patient_ids": plain["patient_ids"][1:]}, "chunk 0"),
        (lambda plain: {**plain, "labels": {}}, "'long_stay'"),
        (change(patient_ids="abcd"), "list of strings"),
        (change(patient_ids=[1, 2, 3, 4]), "list of strings"),
        (change(codes=[1, 2]), "chunk 0"),
        (
            change(code_counts=np.array([-1, 0, 0, 1], "<i4").tobytes(), codes=b"", visits=b"", visit_positions=b""),
            "code_counts of 0 or more, received -1",
        ),
    ],
)
def test_chunks_whose_columns_do_not_fit(tmp_path, damage, part):
    path = tmp_path / "a"
    header = {"format": FORMAT, "version": 1, "tasks": TASKS}
    values = (header, damage(random_chunk(0).to_builtin()), {"examples": 4})
    path.write_bytes(b"".join(pickle.dumps(value) for value in values))
    with pytest.raises(DataError) as caught:
        list(read_chunks(path))
    assert f"{path}: chunk 0" in str(caught.value) and part in str(caught.value)


@pytest.mark.parametrize(
    "header, part",
    [
        ({"format": FORMAT, "version": 2, "tasks": TASKS}, "version 1, received version 2"),
        ({"format": FORMAT, "tasks": TASKS}, "received version None"),
        ({"format": "another", "version": 1, "tasks": TASKS}, "another content"),
        ({"a": 1}, "another content"),
        ("text", "another content"),
        ({"format": FORMAT, "version": 1}, "header with tasks"),
        ({"format": FORMAT, "version": 1, "tasks": {"long_stay": "long_stay"}}, "header with tasks"),
    ],
)
@pytest.mark.parametrize("reader", [read_header, lambda path: list(read_chunks(path))])
def test_foreign_headers(tmp_path, header, part, reader):
    path = tmp_path / "a"
    path.write_bytes(pickle.dumps(header))
    with pytest.raises(DataError) as caught:
        reader(path)
    assert str(path) in str(caught.value) and part in str(caught.value)


@pytest.mark.parametrize(
    "reader", [read_header, lambda path: list(read_chunks(path)), lambda path: list(read_medbert_rows(path))]
)
def test_empty_and_missing_files(tmp_path, reader):
    with pytest.raises(DataError, match="no such file"):
        reader(tmp_path / "absent")
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(DataError, match="received an empty file"):
        reader(tmp_path / "a")


def test_an_array_inside_a_chunk_is_refused(tmp_path):
    """A pickled NumPy array names a function to rebuild it: the reader refuses before it is called."""
    path = tmp_path / "a"
    header = {"format": FORMAT, "version": 1, "tasks": TASKS}
    path.write_bytes(pickle.dumps(header) + pickle.dumps({"codes": np.arange(3)}))
    with pytest.raises(DataError, match="numpy.*nothing was run"):
        list(read_chunks(path))


def test_failed_writer_leaves_the_earlier_file(tmp_path):
    path = write(tmp_path / "a", [random_chunk(0)])
    earlier = path.read_bytes()
    with pytest.raises(ValueError, match="reason"), SequenceWriter(path, TASKS) as writer:
        writer.write(random_chunk(1))
        raise ValueError("reason")
    assert path.read_bytes() == earlier and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("fails_at", [0, 1, 2])  # header, chunk, footer
def test_full_disk_at_any_value_leaves_nothing_and_names_the_file(tmp_path, monkeypatch, fails_at):
    path, dumped, dump = tmp_path / "a", [], pickle.dump

    def full(value, file, **options):
        if len(dumped) == fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        dumped.append(value)
        dump(value, file, **options)

    monkeypatch.setattr(pickle, "dump", full)
    with pytest.raises(OSError) as caught, SequenceWriter(path, TASKS) as writer:
        writer.write(random_chunk(0))
    assert caught.value.filename == str(path)
    assert os.listdir(tmp_path) == []


def test_file_is_not_there_before_the_block_ends(tmp_path):
    with SequenceWriter(tmp_path / "a", TASKS) as writer:
        writer.write(random_chunk(0))
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").exists()


ROWS = [["p1", [3, 0], [0, 12], [1, 2, 3], [1, 1, 2]], [7, [1], [0], [4], [1]], ["p3", [], [], [], []]]


def test_medbert_rows_over_several_lists(tmp_path):
    (tmp_path / "a").write_bytes(pickle.dumps(ROWS[:2], protocol=2) + pickle.dumps([]) + pickle.dumps(ROWS[2:]))
    assert list(read_medbert_rows(tmp_path / "a")) == ROWS
    assert read_header(tmp_path / "a") is None


@pytest.mark.parametrize(
    "row",
    [
        ["p1", [3], [0], [1]],
        ["p1", [3], [0], [1], [1], 0],
        ["p1", [3, 4], [0], [1], [1]],
        ["p1", [3], [0], [1, 2], [1]],
        ["p1", 3, [0], [1], [1]],
        ("p1", [3], [0], [1], [1]),
        "p1",
    ],
)
def test_medbert_rows_of_another_shape(tmp_path, row):
    (tmp_path / "a").write_bytes(pickle.dumps(ROWS) + pickle.dumps([ROWS[0], row]))
    with pytest.raises(DataError, match="list 1, row 1: expected"):
        list(read_medbert_rows(tmp_path / "a"))


def test_layouts_are_not_mistaken_for_each_other(tmp_path):
    write(tmp_path / "ours", [random_chunk(0)])
    (tmp_path / "theirs").write_bytes(pickle.dumps(ROWS))
    with pytest.raises(DataError, match="expected Med-BERT's lists, received a dict as value 0"):
        list(read_medbert_rows(tmp_path / "ours"))
    with pytest.raises(DataError, match="expected the default layout, received Med-BERT's"):
        list(read_chunks(tmp_path / "theirs"))


def test_medbert_file_cut_inside_a_list_is_refused(tmp_path):
    whole = pickle.dumps(ROWS)
    for size in range(len(whole)):
        (tmp_path / "a").write_bytes(whole[:size])
        with pytest.raises(DataError):
            list(read_medbert_rows(tmp_path / "a"))
