"""Parameters of a test of which some run with the quick tests and the others with the slow ones."""

import pytest


def quick_of(cases, *quick):
    """The cases as pytest's parameters, all but the `quick` ones marked slow.

    Args:
        cases: list of values or tuples; or dict name -> value, the names being the tests' ids.
        quick: cases (names) among them.
    """
    named = cases.items() if isinstance(cases, dict) else [(case, case) for case in cases]
    lost = [name for name in quick if name not in [key for key, _ in named]]
    assert not lost, f"no such cases: {lost}"
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)),
            marks=() if name in quick else pytest.mark.slow,
            id=name if isinstance(cases, dict) else None,
        )
        for name, value in named
    ]
