"""Spark gives DuckDB's outputs, byte for byte. It needs pyspark and Java, and takes a minute, most of it the JVM's."""

import shutil

import pytest
from test_parts import CASES, IDS, messy, outputs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed"),
]
pytest.importorskip("pyspark")


@pytest.mark.parametrize("case, ids", zip(CASES, [*IDS] * len(CASES), strict=False))
def test_outputs_are_those_of_duckdb(tmp_path, case, ids):
    path = messy(tmp_path, ids)
    files = ("prediction_times", "splits", "code_map")
    options = {name: str(tmp_path / value) if name in files else value for name, value in CASES[case].items()}
    expected = outputs(path, tmp_path / "duckdb", 1, **options)
    for parts in (1, 4, 7) if case in ("random visits", "given times") else (4,):
        assert outputs(path, tmp_path / f"spark{parts}", parts, engine="spark", **options) == expected
