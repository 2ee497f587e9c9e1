"""The exported folder of a run on notes gives an admission's risk by itself, in a process that knows no medtop."""

import csv
import json
import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("tensorflow", reason="runs are read and built with TensorFlow")
pytest.importorskip("torch", reason="PyTorch is not installed: the extra [torch]")
pytest.importorskip("transformers", reason="transformers is not installed: it reads the folder")

import pyarrow.parquet as parquet  # noqa: E402
from notes_data import finished_readmission  # noqa: E402

ADMISSIONS = 3


@pytest.fixture(scope="module")
def exported(run_script, tmp_path_factory):
    """(folder of a finished run, its export)."""
    source, _ = finished_readmission(run_script)
    folder = tmp_path_factory.mktemp("exported") / "folder"
    process = run_script(
        "run_scripts/convert_tf_to_pytorch.py", f"--run_dir={source / 'run'}", f"--output_dir={folder}"
    )
    assert process.returncode == 0, process.stderr
    return source, folder


def test_the_folder_reproduces_the_runs_risks(exported, tmp_path):
    source, folder = exported
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    with open(source / "run/restricted/readmission_predictions.csv", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: -int(row["windows"]))
    chosen = [*rows[: ADMISSIONS - 1], rows[-1]]  # of many windows, and of the fewest
    assert int(chosen[0]["windows"]) > 2
    texts = {
        row["admission_id"]: row["text"] for row in parquet.read_table(source / "n.notes.test.parquet").to_pylist()
    }
    code = "import sys; sys.path.insert(0, '.'); from admission_risk import admission_risk as risk\n"
    code += "import json; print(json.dumps([risk('.', text) for text in json.load(open('texts.json'))]))\n"
    code += "assert not any(name.partition('.')[0] in ('medtop', 'tensorflow') for name in sys.modules)"
    (moved / "texts.json").write_text(json.dumps([texts[row["admission_id"]] for row in chosen]))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, cwd=moved, env=environment, timeout=600)
    assert process.returncode == 0, process.stderr
    risks = json.loads(process.stdout.splitlines()[-1])
    (fit,) = json.loads((folder / "calibration.json").read_text())["readmission"]["labels"].values()
    rounding = 1e-6 * max(1, fit["slope"] / 4)  # a steep calibration multiplies rounding
    assert risks == pytest.approx([float(row["probability"]) for row in chosen], abs=rounding)


def test_the_card_says_the_formula(exported):
    source, folder = exported
    assert json.loads((folder / "notes.json").read_text())["max_seq_length"] == 32
    assert (folder / "aggregation.json").read_bytes() == (source / "run/aggregation.json").read_bytes()
    card = (folder / "README.md").read_text()
    assert "(max + mean n / 2) / (1 + n / 2)" in card and "admission_risk.py" in card
