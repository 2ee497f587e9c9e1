"""benchmarks/balancing.py: what it makes of finished cells, and that a second run computes only what is missing."""

import json
import sys

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

from medtop.files.errors import DataError

sys.path.append(str(ROOT / "benchmarks"))

from comparison.cells import Cells  # noqa: E402
from comparison.seed_table import over_seeds, rows_of, span  # noqa: E402


class MadeUp:
    """A case whose method `bad` stops the run, as a kill does."""

    name, methods, settings = "made_up", ("a", "b", "bad"), {"rows": 3, "hidden": (4, 2)}

    def __init__(self):
        self.calls = []

    def measured(self, seed, method):
        self.calls.append((seed, method))
        if method == "bad":
            raise KeyboardInterrupt
        value = {"a": 0.8, "b": 0.7}[method] + 0.01 * int(seed) ** 2
        return {"measures": {"skill": {"value": value, "low": value - 0.1, "high": value + 0.2}}, "seconds": 2.0}

    def difference(self, seed, method, against):
        self.calls.append((seed, method, against))
        return {"skill": {"value": 0.1 * int(seed), "low": 0.05, "high": 0.15}}


def filled(folder, case, seeds, methods=("a", "b")):
    cells = Cells(folder)
    for seed in seeds:
        for method in methods:
            cells.measured(case, seed, method)
        cells.difference(case, seed, "a", "b")
    return cells


def test_only_what_is_missing_is_computed(tmp_path):
    first, second = MadeUp(), MadeUp()
    with pytest.raises(KeyboardInterrupt):
        filled(tmp_path, first, ["1"], ("a", "bad", "b"))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.json", "cells", "made_up", "seed1"]
    cells = filled(tmp_path, second, ["1", "2"])
    assert second.calls == [("1", "b"), ("1", "a", "b"), ("2", "a"), ("2", "b"), ("2", "a", "b")]
    assert cells.measured(second, "1", "a")["seconds"] == 2.0 and len(second.calls) == 5
    assert cells.measured(second, "3", "a", missing=False) is None
    assert cells.difference(second, "1", "a", "c") is None  # c is not finished: nothing to compare with


def test_cells_of_other_settings_are_refused(tmp_path):
    filled(tmp_path, MadeUp(), ["1"])
    other = MadeUp()
    other.settings = {"rows": 4, "hidden": (4, 2)}
    with pytest.raises(DataError, match="a.json: expected a cell of the same settings, received another rows; take"):
        filled(tmp_path, other, ["1"])


def test_intervals_are_the_bootstraps_for_one_seed_and_students_for_several():
    one = {"value": 0.7, "low": 0.6, "high": 0.9}
    assert over_seeds([one]) == (0.7, 0.6, 0.9) == over_seeds([one, {"value": None, "low": None, "high": None}])
    values = [0.7, 0.75, 0.71]
    found = over_seeds([one | {"value": value} for value in values])
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert found == pytest.approx((np.mean(values), low, high))
    assert over_seeds([{"value": None}]) == (None, None, None) and span((None, None, None)) == "-"
    assert span((0.5, None, None)) == "0.500" and span((0.5, -1.0, 2.0), "+") == "+0.500 [-1.000, +2.000]"


def test_rows(tmp_path):
    case = MadeUp()
    cells = filled(tmp_path, case, ["1", "2"])
    cells.measured(case, "3", "a")  # b, and so the difference, is not there yet
    rows = rows_of(case, cells, ["1", "2", "3", "4"], ["a", "b"], ["b"], lambda name: True)
    assert [row[:4] for row in rows] == [["made_up", "skill", "a", "3"], ["made_up", "skill", "b", "2"]]
    assert rows[0][4].startswith(f"{0.8 + 0.14 / 3:.3f} [") and rows[0][5].startswith("+0.150 [")
    assert rows[1][5] == "-" and rows[0][6] == "2"
    assert rows_of(case, cells, ["1"], ["a"], [], lambda name: False) == []
    assert json.loads((tmp_path / "cells/made_up/seed1/a.json").read_text())["settings"]["hidden"] == [4, 2]


@pytest.mark.parametrize(
    "flags, expected",
    [
        (
            ("--cases=cohort_many",),
            "--cases: expected ckd, hemodialysis, scale or cohort_<patients>, received 'cohort_m",
        ),
        (("--cases=ckd",), "--ckd_file: expected the kidney table for the case ckd, received ''"),
        (
            ("--cases=cohort_9", "--methods=gradnrom"),
            "--methods, --against: expected methods of the cases, received 'grad",
        ),
        (("--cases=cohort_9", "--seeds=one"), "--seeds: expected whole numbers, received 'one'"),
    ],
)
def test_wrong_flags_end_in_one_line(tmp_path, run_script, flags, expected):
    done = run_script("benchmarks/balancing.py", f"--work_dir={tmp_path}/work", *flags)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and expected in done.stderr
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_a_case_from_end_to_end(tmp_path, monkeypatch):
    """The scale case in small, in this process: each method is in the table, and the second run trains nothing."""
    from comparison import tabular_case

    small = {"folds": 2, "rows": 120, "options": {"hidden": (4,), "epochs": 2, "patience": 0}}
    monkeypatch.setitem(tabular_case.SETTINGS, "scale", small)
    case = tabular_case.TabularCase("scale", tmp_path)
    cells = Cells(tmp_path)
    methods = [method for method in case.methods if method not in ("linear", "gradient_boosting", "random")]
    for method in methods:
        cells.measured(case, "1", method)
    differences = {
        method: cells.difference(case, "1", method, "single_task") for method in methods if method != "single_task"
    }
    rows = rows_of(case, cells, ["1"], methods, ["single_task"], lambda name: name == "mean skill")
    assert [row[2] for row in rows] == ["fixed", "equal", "uncertainty", "gradnorm", "single_task"]
    for method, found in differences.items():
        value = {
            one: cells.measured(case, "1", one)["measures"]["mean skill"]["value"] for one in (method, "single_task")
        }
        assert found["mean skill"]["value"] == pytest.approx(value[method] - value["single_task"], abs=1e-12)
        assert found["mean skill"]["low"] <= found["mean skill"]["value"] <= found["mean skill"]["high"]
    fixed, equal = (cells.measured(case, "1", one)["measures"] for one in ("fixed", "equal"))
    assert fixed != equal  # the weight of 1 / 1000 takes part
    monkeypatch.setattr(tabular_case.TabularCase, "measured", None)
    again = rows_of(case, Cells(tmp_path), ["1"], methods, ["single_task"], lambda name: name == "mean skill")
    assert again == rows
