"""`@pytest.mark.quick(...)`: the cases of a parametrised test that run with the quick tests; all others are slow."""

import collections

import pytest


def mark_others_slow(items, whole):
    """Marks slow what `quick` does not name.

    `quick("fixed-1", "gradnorm-4")` names cases by their ids, `quick(first=2)` takes the first two.

    Args:
        items: pytest's, of all files that were collected.
        whole: whether they are whole files; else a case may be missing because nobody asked for it.

    Raises:
        pytest.UsageError: a named case does not exist, or a test with `quick` has no case beyond it.
    """
    tests = collections.defaultdict(list)
    for item in items:
        if item.get_closest_marker("quick"):
            tests[item.nodeid.partition("[")[0]].append(item)
    for name, cases in tests.items():
        ids, mark = [case.callspec.id for case in cases], cases[0].get_closest_marker("quick")
        quick = mark.args or tuple(ids[: mark.kwargs["first"]])
        if whole and not set(quick) < set(ids):
            raise pytest.UsageError(f"{name}: expected cases beyond the quick {quick}, received {ids}")
        for case in cases:
            if case.callspec.id not in quick:
                case.add_marker(pytest.mark.slow)
