"""Pickles from strangers: nothing in them runs, nothing of them passes half."""

import collections
import datetime
import os
import pickle
import subprocess

import numpy as np
import pytest

from medtop.files.errors import DataError
from medtop.files.pickles import load_pickle, stream_pickles

BUILTIN = [
    {"a": 1, "b": [1.5, None, True, "é", b"\x00\xff"], "c": (1, (2,)), "d": {1, 2}, "e": frozenset({3})},
    [],
    "",
    0,
    -(1 << 80),
    b"",
]


class Runs:
    """Its pickle asks the reader to call a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def write(path, *values, protocol=4):
    path.write_bytes(b"".join(pickle.dumps(value, protocol=protocol) for value in values))
    return path


@pytest.mark.parametrize("protocol", [4, 5])
def test_builtin_types_pass(tmp_path, protocol):
    path = write(tmp_path / "a.pkl", *BUILTIN, protocol=protocol)
    assert list(stream_pickles(path)) == BUILTIN


def test_pickles_of_python_2_pass(tmp_path):
    """Med-BERT's users may have lists that an old script wrote: protocols 0 to 2."""
    value = [["p1", [3, 0], [12, 0], [1, 2, 3], [1, 1, 2]]]
    for protocol in (0, 1, 2):
        assert load_pickle(write(tmp_path / "a.pkl", value, protocol=protocol)) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("nest", [lambda evil: evil, lambda evil: [1, {"a": (evil,)}], lambda evil: [[1], [2], evil]])
@pytest.mark.parametrize("call", [os.system, subprocess.check_call, eval, exec])
def test_malicious_pickle_runs_nothing(tmp_path, protocol, nest, call):
    mark = tmp_path / "was_run"
    argument = f"open({str(mark)!r}, 'w').close()" if call in (eval, exec) else f"touch '{mark}'"
    if call is subprocess.check_call:
        argument = ["touch", str(mark)]
    path = write(tmp_path / "a.pkl", nest(Runs(call, argument)), protocol=protocol)
    with pytest.raises(DataError) as caught:
        load_pickle(path)
    assert not mark.exists()
    assert str(path) in str(caught.value) and "nothing was run" in str(caught.value)
    pickle.loads(path.read_bytes())  # the check of the check: Python's own reader does run it
    assert mark.exists()


@pytest.mark.parametrize(
    "text",
    [
        b"cos\nsystem\n(S'touch mark'\ntR.",  # GLOBAL, REDUCE
        b"(S'touch mark'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch mark'\no.",  # OBJ
        b"\x80\x02\x8c\x02os\x8c\x06system\x93\x8c\x0atouch mark\x85R.",  # STACK_GLOBAL
        b"\x80\x02cos\nsystem\n)\x81.",  # NEWOBJ
    ],
)
def test_every_opcode_that_calls_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(text)
    with pytest.raises(DataError, match="class or function .*system; nothing was run"):
        load_pickle(tmp_path / "a.pkl")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "value, name",
    [
        (np.float64(1), "numpy"),
        (np.arange(3), "numpy"),
        (np.array(["a"])[0], "numpy"),
        (datetime.date(2020, 1, 1), "datetime.date"),
        (collections.OrderedDict(a=1), "collections.OrderedDict"),
        (collections.defaultdict(list), "collections.defaultdict"),
        (ValueError("x"), "ValueError"),
    ],
)
def test_foreign_classes_are_refused_and_named(tmp_path, value, name):
    path = write(tmp_path / "a.pkl", [1, value])
    with pytest.raises(DataError) as caught:
        load_pickle(path)
    assert name in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_persistent_references_are_refused(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"Ptoken\n.")
    with pytest.raises(DataError, match="persistent reference"):
        load_pickle(tmp_path / "a.pkl")


def test_values_before_a_damaged_one_come_and_the_place_is_named(tmp_path):
    path = write(tmp_path / "a.pkl", [1], [2])
    first = len(pickle.dumps([1], protocol=4))
    path.write_bytes(path.read_bytes()[:-1])
    values = stream_pickles(path)
    assert next(values) == [1]
    with pytest.raises(DataError, match=f"byte {first}: expected a whole pickle"):
        next(values)


def test_every_cut_is_noticed(tmp_path):
    path = write(tmp_path / "a.pkl", BUILTIN[0])
    whole = path.read_bytes()
    assert load_pickle(path) == BUILTIN[0]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError):
            load_pickle(path)


@pytest.mark.parametrize("more", [b"x", b"\x80", b"\0\0\0"])
def test_bytes_after_the_last_value_are_noticed(tmp_path, more):
    path = write(tmp_path / "a.pkl", [1])
    path.write_bytes(path.read_bytes() + more)
    with pytest.raises(DataError, match="damaged or cut"):
        load_pickle(path)


def test_flipped_bytes_raise_only_data_errors(tmp_path):
    """Whatever damage does, it ends in a value or in a DataError, never in another exception."""
    path = write(tmp_path / "a.pkl", BUILTIN[0])
    whole = path.read_bytes()
    refused = 0
    rng = np.random.default_rng(0)
    for _ in range(1500):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            load_pickle(path)
        except DataError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused > 300


def test_more_or_fewer_than_one_value(tmp_path):
    for values in ([], [1, 2]):
        with pytest.raises(DataError, match=f"expected one pickled value, received {len(values)}"):
            load_pickle(write(tmp_path / "a.pkl", *values))


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "absent.pkl", tmp_path):
        with pytest.raises(DataError, match="no such file"):
            load_pickle(path)
