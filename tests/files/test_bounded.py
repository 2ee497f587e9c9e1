"""JSON, YAML, zips and gzip whose few bytes claim much: refused in one line, before anything is allocated."""

import csv
import gzip
import json
import os
import struct
import zipfile

import numpy as np
import pytest
from hostile import most_memory

from medtop.cohort.endpoints import read_endpoints
from medtop.data.description import read_dataset
from medtop.files import bounded
from medtop.files.bounded import check_zip, parse_json, read_bytes, read_json, read_npz, read_yaml
from medtop.files.errors import DataError
from medtop.grid.cells import read_grid
from medtop.model.config import BertConfig


@pytest.mark.parametrize(
    "text, message",
    [
        ("[" * 100_000 + "]" * 100_000, "at most 64 levels"),
        ('{"a":' * 5_000 + "1" + "}" * 5_000, "at most 64 levels"),
        ("[" * 70, "at most 64 levels"),
        ("[" + "[]," * 1_100_000 + "[]]", "at most 1,000,000 lists"),
        ("1" * 6_000, "expected JSON"),
        ("1e999999999" * 2, "line 1: expected JSON"),
        ('{\n"a": 1,\n}', "line 3: expected JSON"),
        ('"' + "a" * (bounded.JSON_BYTES + 9), "at most 33,554,432"),
    ],
    ids=["lists", "objects", "open", "many", "digits", "numbers", "comma", "long"],
)
def test_hostile_json(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_json(path)
    assert len(str(error.value)) < 300 and "\n" not in str(error.value) and str(path) in str(error.value)


def test_json_that_is_deep_only_in_its_strings_is_read():
    value = {"a": "[" * 999 + '\\"{', "b": [[1, {"c": "]}"}]] * 40}
    assert parse_json(json.dumps(value), "here") == value
    assert parse_json("[" * 64 + "]" * 64, "here")


@pytest.mark.parametrize("name", ["config.json", "a.dataset.json", "own.json", "grid.json"])
def test_every_reader_of_json_bounds_it(tmp_path, name):
    """A model's configuration, a data set, endpoints, a grid: one line each, where Python's stack ended before."""
    (tmp_path / name).write_text("[" * 100_000)
    (tmp_path / "a").touch()
    read = {
        "config.json": BertConfig.from_file,
        "a.dataset.json": lambda path: read_dataset(str(path).removesuffix(".dataset.json")),
        "own.json": read_endpoints,
        "grid.json": lambda path: read_grid(path, tmp_path),
    }[name]
    with pytest.raises(DataError, match="at most 64 levels"):
        read(tmp_path / name)


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(
    "text, message",
    [
        ("[" * 20_000, "line 1: expected YAML of at most 32 levels"),
        ("- " * 20_000, "at most 32 levels"),
        ("? " * 20_000, "at most 32 levels"),
        ("{a: " * 20_000, "at most 32 levels"),
        (LAUGHS, "at most 100,000 values"),
        ("a: &a [*a]", "alias of the value that it stands in"),
        ("a: " + "x" * (bounded.YAML_BYTES + 1), "at most 262,144 bytes"),
        ("a: 2020-99-99", "expected YAML"),
        ("? [a]\n: b", "YAML"),
        ("a: !!python/object/apply:os.system [ls]", "line 1: expected YAML"),
        ("a: [1", "line 1: expected YAML"),
    ],
)
@pytest.mark.parametrize("name", ["own.yaml", "grid.yaml"])
def test_hostile_yaml(tmp_path, text, message, name):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=message if (text, name) != ("? [a]\n: b", "grid.yaml") else "names") as error:
        read_endpoints(path) if name == "own.yaml" else read_grid(path, tmp_path)
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


def test_aliases_are_read(tmp_path):
    (tmp_path / "a.yaml").write_text("base: &b {x: 1}\nown: [*b, *b]\nmore: {<<: *b, y: 2}\n")
    assert read_yaml(tmp_path / "a.yaml") == {"base": {"x": 1}, "own": [{"x": 1}] * 2, "more": {"x": 1, "y": 2}}


def write_npz(path, content, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("a.npy", content)


def npy(shape, content, dtype="<f4"):
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


@pytest.mark.slow
def test_a_zip_of_zeros_is_not_unpacked(tmp_path):
    """`weights.npz` of 300 KB that would fill 300 MB: before, NumPy unpacked it."""
    path = tmp_path / "weights.npz"
    np.savez_compressed(path, a=np.zeros(75_000_000, np.float32))
    with pytest.raises(DataError, match="claim to unpack to 300,"):
        read_npz(path)
    with pytest.raises(DataError, match="claim to unpack"):
        check_zip(path)  # pytorch_model.bin is a zip too
    code = f"from medtop.training.checkpoints import read_arrays; read_arrays({str(path)!r})"
    result, megabytes = most_memory(code)
    assert "claim to unpack to 300," in result and megabytes < 200


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 62, 1 << 62), (-1, 8), (3,), (0, 1 << 70)])
def test_a_header_that_claims_another_shape(tmp_path, shape):
    write_npz(tmp_path / "a.npz", npy(shape, b"\0" * 8))
    with pytest.raises(ValueError):
        read_npz(tmp_path / "a.npz")


def test_arrays_come_back(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.asfortranarray(np.arange(6).reshape(2, 3)), "c/d": np.array(7)}
    np.savez(tmp_path / "a.npz", **arrays, e=np.zeros((0, 3), np.uint8))
    back = read_npz(tmp_path / "a.npz")
    assert back.pop("e").shape == (0, 3) and back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype and back[name].flags.writeable
    write_npz(tmp_path / "a.npz", npy((1,), b"\0" * 8, "|O"))
    with pytest.raises(ValueError, match="Python objects"):
        read_npz(tmp_path / "a.npz")


def test_gzip_is_unpacked_up_to_a_bound(tmp_path, monkeypatch):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one ") + gzip.compress(b"two") + b"\0" * 99)
    assert read_bytes(path) == b"one two"
    for wrong in (gzip.compress(b"x" * 999)[:-9], b"plain text", b"\x1f\x8b\x08"):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match="gzip"):
            read_bytes(path)
    monkeypatch.setattr(bounded, "TEXT_BYTES", 1 << 20)
    path.write_bytes(gzip.compress(b"\0" * (1 << 24)))
    with pytest.raises(DataError, match="at most 1,048,576 bytes"):
        read_bytes(path)
    with open(tmp_path / "large.txt", "wb") as file:
        os.truncate(file.fileno(), 1 << 40)
    with pytest.raises(DataError, match="at most 1,048,576 bytes"):
        read_bytes(tmp_path / "large.txt")


@pytest.fixture
def pythons_own_limit():
    """Other tests read long fields and raise it for the whole process."""
    raised = csv.field_size_limit(1 << 17)
    yield
    csv.field_size_limit(raised)


@pytest.mark.usefixtures("pythons_own_limit")
def test_a_line_of_a_small_table_that_never_ends(tmp_path):
    """Splits, groups, codes, tables of figures: Python's `csv` would hold the whole line."""
    from medtop.cohort.splits import read_split_file
    from medtop.entities.grouping import read_table
    from medtop.sources.code_tables import _read
    from medtop.tabular import table_files

    path = tmp_path / "a.csv"
    for header, read in (
        ("patient_id,split", lambda: read_split_file(path)),
        ("group,document_id", lambda: read_table(path, ("document_id",), ("group",))),
        ("system,code", lambda: _read(path, ("icd9",))),
        ("x", lambda: table_files._csv(path, ["x"], ",", "inputs")),
    ):
        path.write_text(header + "\n" + "y" * 3_000_000)
        with pytest.raises(DataError, match="line 2: expected at most 1,048,576 characters") as error:
            read()
        assert str(path) in str(error.value)
        path.write_text(header + '\n"' + "y\n" * 200_000 + '"')
        with pytest.raises(DataError):
            read()


def test_a_zip_that_claims_several_disks(tmp_path):
    """Python's own test for zips raises here, where it should say no."""
    np.savez(tmp_path / "a.npz", a=np.ones(3))
    content = (tmp_path / "a.npz").read_bytes()
    end = content.rindex(b"PK\x05\x06")
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, 0, 9)
    (tmp_path / "a.npz").write_bytes(content[:end] + locator + content[end:])
    with pytest.raises(DataError, match="expected a whole file of arrays"):
        check_zip(tmp_path / "a.npz")
