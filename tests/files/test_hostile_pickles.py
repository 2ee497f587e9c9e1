"""Pickles whose few bytes claim gigabytes, or endless work: refused before anything is allocated."""

import pickle
import struct

import pytest
from hostile import most_memory

from medtop.cohort.pickled_lists import read_chunks, read_header, read_medbert_rows
from medtop.cohort.vocabulary import Vocabulary
from medtop.files.errors import DataError
from medtop.files.pickles import load_pickle


def doubling(levels, kind):
    """A pickle of containers that hold the one before twice: 2^levels leaves in a few bytes a level."""
    value = kind(())
    for _ in range(levels):
        value = kind((value, value))
    return value


NESTED = b"\x80\x04)q\x00" + b"".join(
    b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86q" + bytes([n + 1]) for n in range(60)
)
HOSTILE = {
    "a memory place of 2^28": (b"\x80\x04]r\xff\xff\xff\x0f.", "claims 268,435,455 places"),
    "a memory place of 2^28, as text": (b"(lp268435455\n.", "claims 268,435,455 places"),
    "a string of 2^40": (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"abc.", "claims more than is there"),
    "bytes of 2^31": (b"\x80\x04B" + struct.pack("<I", 1 << 31) + b"abc.", "claims more than is there"),
    "a bytearray of 2^33": (b"\x80\x05\x96" + struct.pack("<Q", 1 << 33) + b"abc.", "claims more than is there"),
    "empty sets": (b"\x80\x04(" + b"\x8f" * 3_000_000 + b"l.", "millions of empty lists"),
    "a key of nested tuples": (b"\x80\x04}" + NESTED[2:] + b"K\x01s.", "tuples that are used several times"),
    "nested tuples, hashed": (b"\x80\x04\x8f(" + NESTED[2:] + b"\x90.", "tuples that are used several times"),
    "values doubled on the stack": (b"\x80\x04}" + b")" + b"2\x86" * 60 + b"K\x01s.", "handles a value twice"),
}


@pytest.mark.parametrize("content, message", HOSTILE.values(), ids=HOSTILE)
def test_a_small_pickle_costs_little(tmp_path, content, message):
    path = tmp_path / "a.types"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        load_pickle(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_the_memory_of_the_worst_is_measured(tmp_path):
    """In a process of its own: before, the nine bytes took 2.2 GB."""
    path = tmp_path / "a.types"
    path.write_bytes(HOSTILE["a memory place of 2^28"][0])
    result, megabytes = most_memory(f"from medtop.files.pickles import load_pickle; load_pickle({str(path)!r})")
    assert "claims 268,435,455 places" in result and megabytes < 300


def test_a_list_that_doubles_does_not_grow_in_the_message(tmp_path):
    """280 bytes: a header whose version, or a task whose labels, are lists of lists of lists ..."""
    path = tmp_path / "a.bencs"
    for header in (
        {"format": "medtop sequences", "version": doubling(60, list)},
        {"format": "medtop sequences", "version": 1, "tasks": {"a": doubling(60, list)}},
        doubling(60, list),
        {"a": doubling(60, list)},
    ):
        path.write_bytes(pickle.dumps(header) + pickle.dumps({"patient_ids": doubling(60, list)}))
        with pytest.raises(DataError) as error:
            read_header(path)
            list(read_chunks(path))
        assert len(str(error.value)) < 500
    path.write_bytes(pickle.dumps({"a": doubling(60, list)}))
    with pytest.raises(DataError, match="dict of code -> id"):
        Vocabulary.read(path.rename(tmp_path / "a.types"))


GOOD = ["p1", [3, 0], [12, 0], [1, 2, 3], [1, 1, 2]]


@pytest.mark.parametrize("part, name", [*enumerate(("patient's id", "stay days", "gaps", "codes", "visits"))])
def test_wrong_types_in_med_bert_rows(tmp_path, part, name):
    """Each in one line that names file, list and row, and holds nothing of the row."""
    path = tmp_path / "a.bencs"
    for wrong in (None, 1.5, b"x", [7], True, 1 << 90, {"a": 1}):
        row = [list(values) if isinstance(values, list) else values for values in GOOD]
        if part:
            row[part][-1] = wrong
        else:
            row[0] = wrong
        path.write_bytes(pickle.dumps([GOOD, row]))
        with pytest.raises(DataError, match=f"list 0, row 1: expected .*{name}") as error:
            list(read_medbert_rows(path))
        assert "p1" not in str(error.value).removeprefix(str(path))
    path.write_bytes(pickle.dumps([GOOD, [7, *GOOD[1:]]]))
    assert list(read_medbert_rows(path)) == [GOOD, [7, *GOOD[1:]]]


def test_messages_are_cut():
    assert len(str(DataError("x" * 10_000_000))) < 2_100 and str(DataError("short")) == "short"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_python_writes_is_read(tmp_path, protocol):
    """Every step that plain values take, strings of all sizes, more than 256 remembered values, repeated lists."""
    again = ["a" * 300, "é", b"x" * 70_000 if protocol > 2 else "x" * 70_000]
    value = [
        [f"p{n}", [n, n << 9, n << 20, n << 60, -n], [0.5 * n, None, True, False], {"a": n, f"k{n}": {}}, [], ()]
        for n in range(600)
    ] + [again, again, ["p1"] * 3, [(1, 2), ("a", "b", "c"), (1, 2, 3, 4)], 10**400]
    value += [{1, 2}, frozenset({3})] if protocol > 3 else []
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    assert load_pickle(path) == value
