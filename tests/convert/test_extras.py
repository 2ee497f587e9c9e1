"""Optional packages: missing or too old ends in one line, before anything of them is loaded."""

import importlib.metadata
import importlib.util

import pytest

from medtop.convert import extras
from medtop.files.errors import DataError


@pytest.mark.parametrize(
    "version, good",
    [("2.4.1", False), ("2.5.1+cpu", False), ("2.6.0", True), ("2.13.0+cu124", True), ("3.0", True), ("1.13", False)],
)
def test_an_old_torch_is_refused_where_weights_are_read(version, good, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    if good:
        extras.require(["torch"], "torch")
    else:
        with pytest.raises(DataError, match=r"^torch: expected version 2\.6 or newer, received .*CVE-2025-32434"):
            extras.require(["torch"], "torch")


def test_the_reader_of_bin_files_asks_first(monkeypatch, tmp_path):
    from medtop.convert import weight_files

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.5.1")
    (tmp_path / "pytorch_model.bin").write_bytes(b"not read")
    with pytest.raises(DataError, match="expected version 2.6 or newer, received 2.5.1"):
        weight_files.read_weights(tmp_path)


def test_setup_asks_for_the_same(repo_root):
    least, _ = extras.LEAST["torch"]
    assert f"torch>={least[0]}.{least[1]}," in (repo_root / "setup.py").read_text(encoding="utf-8")


def test_a_missing_package_is_one_line():
    with pytest.raises(DataError, match=r'no_such_package: expected this package.*pip install "medtop\[onnx\]"'):
        extras.require(("numpy", "no_such_package"), "onnx")
