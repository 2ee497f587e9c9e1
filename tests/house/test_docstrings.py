"""The small examples in docstrings run and show what they say."""

import doctest
import importlib

import pytest
from conftest import ROOT

PATHS = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "medtop").rglob("*.py"))
}
WITH_EXAMPLES = [name for name, path in PATHS.items() if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples(module):
    if module.startswith("medtop.convert"):
        pytest.importorskip("torch", reason="PyTorch is not installed: the extra [torch]")
    assert not doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS).failed


def test_some_rooms_have_examples():
    assert "medtop.cohort.vocabulary" in WITH_EXAMPLES
