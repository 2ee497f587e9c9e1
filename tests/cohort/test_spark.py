"""Spark gives DuckDB's outputs, byte for byte. It needs pyspark and Java; most of its time is the JVM's."""

import shutil

import pytest
from test_parts import CASES, messy, outputs

from medtop.cohort.engines import spark
from medtop.files.errors import DataError

pytestmark = pytest.mark.slow
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed")
RUNS = [  # (case, ids, parts)
    ("random visits", "text", (1, 4, 7)),
    ("given times", "numbers", (4, 7)),
    ("splits and subset", "text", (4,)),
    ("several targets", "numbers", (4,)),
    ("days, full follow-up", "text", (4,)),
]


@needs_java
@pytest.mark.parametrize("case, ids, parts", RUNS)
def test_outputs_are_those_of_duckdb(tmp_path, case, ids, parts):
    pytest.importorskip("pyspark", reason="the extra [spark] is not installed")
    path = messy(tmp_path, ids)
    files = ("prediction_times", "splits", "code_map")
    options = {name: str(tmp_path / value) if name in files else value for name, value in CASES[case].items()}
    expected = outputs(path, tmp_path / "duckdb", 1, **options)
    for number in parts:
        assert outputs(path, tmp_path / f"spark{number}", number, engine="spark", **options) == expected


def test_without_spark_one_line_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyspark", None)
    with pytest.raises(DataError, match=r"--engine=spark: expected the package pyspark, .* \[spark\]"):
        spark._session()
