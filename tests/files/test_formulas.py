"""No cell of a CSV file for people is run by a spreadsheet, where that is asked for; numbers stay numbers."""

import csv
import io
import re

import numpy as np
import pytest
from hostile import ROOT

from medtop.evaluation.predictions import Predictions, read_predictions, write_predictions
from medtop.evaluation.table_one import write_table_one
from medtop.files.formulas import FIRST, quoted, quoting

RUN = ("=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0", "-", "+", "-x", "=", "- 5")
KEPT = ("-0.5", "+3", "-1e-3", "-.5", "5", "E11.9", "a=b", "", "x-1", " =1", -0.5, 7, None, 1.5)


def runs(cell):
    """Whether a spreadsheet runs it: one that begins like a formula and is no number."""
    try:
        float(cell)
        return False
    except (TypeError, ValueError):
        return isinstance(cell, str) and cell[:1] in FIRST


def test_texts_are_quoted_and_numbers_are_not():
    assert all(runs(cell) for cell in RUN) and not any(runs(cell) for cell in KEPT)
    assert [quoted(cell) for cell in RUN] == [f"'{cell}" for cell in RUN]
    assert [quoted(cell) for cell in KEPT] == list(KEPT)


@pytest.mark.parametrize("kind", ["rows", "dicts"])
def test_writers(kind):
    for quote in (False, True):
        file = io.StringIO()
        if kind == "rows":
            writer = quoting(csv.writer(file, lineterminator="\n"), quote)
            writer.writerow(["=h", "n"])
            writer.writerows([["=1", -1.5], ["a", "-2"]])
        else:
            writer = quoting(csv.DictWriter(file, ["=h", "n"], lineterminator="\n"), quote)
            writer.writeheader()
            writer.writerow({"=h": "=1", "n": -1.5})
            writer.writerows([{"=h": "a", "n": "-2"}])
        mark = "'" if quote else ""
        assert file.getvalue() == f"{mark}=h,n\n{mark}=1,-1.5\na,-2\n"


def test_files_for_people(tmp_path):
    labels, ids = ("=A1", "b"), np.array(["@p", "-7", "+1+1"])
    ones = np.ones((3, 2))
    predictions = Predictions("t", labels, ids, np.zeros(3), ones, ones, -ones)
    rows = [{"group": "with", "label": "=cmd()", "characteristic": "examples", "n": 3, "value": -3}]
    for quote in (False, True):
        write_predictions(tmp_path / "p.csv", [(predictions, predictions.probabilities)], quote_formulas=quote)
        write_table_one(tmp_path / "t.csv", rows, quote_formulas=quote)
        cells = []
        for name in ("p.csv", "t.csv"):
            with open(tmp_path / name, encoding="utf-8", newline="") as file:
                cells += [cell for row in csv.reader(file) for cell in row]
        assert any(map(runs, cells)) is not quote
        assert "-7" in cells and "-3" in cells
        assert len(read_predictions(tmp_path / "p.csv")["t"][0]) == 3


def test_an_evaluation_of_hostile_labels(tmp_path, run_script):
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, (60, 1))
    predictions = Predictions(
        "t", ('=HYPERLINK("x")',), np.arange(60).astype(str), np.zeros(60), targets, np.ones((60, 1)), targets - 0.5
    )
    write_predictions(tmp_path / "p.csv", [(predictions, predictions.probabilities)])
    for flag in ((), ("--quote_formulas",)):
        done = run_script(
            "run_scripts/run_evaluation.py", f"--predictions={tmp_path}/p.csv", "--num_bootstrap=5", "--overwrite",
            f"--output_dir={tmp_path}/out", *flag,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        with open(tmp_path / "out" / "clinical.csv", encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert any(map(runs, cells)) is not bool(flag)


FOR_MACHINES = {
    "medtop/notes/outputs.py", "medtop/notes/preprocess.py", "medtop/cohort/follow_up_file.py",
    "medtop/cohort/code_maps.py", "medtop/sources/rejects.py", "medtop/entities/convert.py",
    "medtop/deidentification/generated.py", "medtop/deidentification/notes_files.py",
    "medtop/readmission/results.py", "medtop/files/formulas.py", "medtop/sources/database.py",
}  # fmt: skip
"""Files that hold what is joined or read again by key, or no text of the input."""


def test_each_writer_of_csv_quotes_or_writes_for_machines():
    plain = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "medtop").rglob("*.py")
        for line in path.read_text(encoding="utf-8").split("\n")
        if re.search(r"csv\.(writer|DictWriter)\(", line) and "quoting(" not in line
        and "isinstance" not in line and not path.is_relative_to(ROOT / "medtop" / "synthetic")
    }  # fmt: skip
    assert plain <= FOR_MACHINES, sorted(plain - FOR_MACHINES)
