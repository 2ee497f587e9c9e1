"""`@pytest.mark.quick`: which cases of a test run with the quick tests."""

import types

import pytest
from quick_cases import mark_others_slow


class Item:
    """A case of a test, as pytest collects it."""

    def __init__(self, test, case, mark):
        self.nodeid, self.callspec, self.mark, self.marks = f"{test}[{case}]", types.SimpleNamespace(id=case), mark, []

    def get_closest_marker(self, name):
        return self.mark if name == "quick" else None

    def add_marker(self, mark):
        self.marks.append(mark.name)


def slow(*tests, whole=True):
    """The slow ones of tests (name, cases, mark)."""
    items = [Item(name, case, getattr(mark, "mark", None)) for name, cases, mark in tests for case in cases]
    mark_others_slow(items, whole)
    return [item.nodeid for item in items if item.marks == ["slow"]]


def test_what_is_not_named_is_slow():
    named, first = pytest.mark.quick("b", "c"), pytest.mark.quick(first=1)
    assert slow(("x", "abcd", named), ("y", "ab", first), ("z", "ab", None)) == ["x[a]", "x[d]", "y[b]"]


@pytest.mark.parametrize("mark", [pytest.mark.quick("c"), pytest.mark.quick("a", "b"), pytest.mark.quick(first=2)])
def test_a_case_that_is_not_there_and_a_mark_without_effect_end_the_collection(mark):
    with pytest.raises(pytest.UsageError, match="x: expected cases beyond the quick"):
        slow(("x", "ab", mark))
    slow(("x", "ab", mark), whole=False)  # somebody asked for some cases only
