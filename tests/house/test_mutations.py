"""The list of mutations stands on lines that are there: `make mutation` runs it."""

import ast
import importlib.util
import sys

import pytest
from hostile import ROOT


@pytest.fixture(scope="module")
def mutation():
    spec = importlib.util.spec_from_file_location("mutation", ROOT / "benchmarks" / "mutation.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutation"] = module
    spec.loader.exec_module(module)
    return module


def test_every_mutation_still_applies(mutation):
    """A line that was changed wants its entries changed too: `python benchmarks/mutation.py --draw` draws them anew."""
    entries = mutation.read_list()
    assert len(entries) > 100 and len({mutation.key(entry) for entry in entries}) == len(entries)
    gone = []
    for entry in entries:
        whole = (ROOT / entry["file"]).read_text(encoding="utf-8")
        try:
            changed = mutation.mutated(whole, entry)
        except ValueError as error:
            gone.append(str(error))
            continue
        ast.parse(changed)
        assert sum(a != b for a, b in zip(whole.split("\n"), changed.split("\n"), strict=True)) == 1
    assert len(gone) <= len(entries) // 10, "\n".join(gone)  # a few at a time may wait


def test_every_room_has_tests(mutation):
    for entry in mutation.read_list():
        words = (entry.get("tests") or mutation.ROOMS[entry["room"]][2]).partition(" -k=")[0].split()
        assert any((ROOT / "tests" / word).exists() for word in words), entry["room"]
