"""run_attribution.py on a finished run: the folder, and what is refused."""

import csv
import json

import pytest

pytest.importorskip("tensorflow", reason="the encoder is Keras's on TensorFlow")

from small_data import finished_run  # noqa: E402

SCRIPT = "run_scripts/run_attribution.py"


@pytest.mark.slow
def test_the_folder(tmp_path, run_script):
    run = finished_run()
    arguments = [
        f"--run_dir={run.options.output_dir}",
        f"--input_file={run.options.test_file}",
        f"--output_dir={tmp_path}/out",
    ]
    arguments += ["--steps=8", "--max_patients=3", "--num_bootstrap=20"]
    process = run_script(SCRIPT, *arguments, "--labels=long_stay", "--write_patients")
    assert process.returncode == 0, process.stderr
    assert "completeness: median" in process.stdout and "report: " in process.stdout
    checks = json.loads((tmp_path / "out/faithfulness.json").read_text())
    assert checks["patients"] == 3 and checks["completeness"]["median"] < 0.05
    rows = list(csv.DictReader((tmp_path / "out/code_importance.csv").open()))
    assert {row["label"] for row in rows} == {"long_stay"} and any(row["code"].startswith("C") for row in rows)
    page = (tmp_path / "out/attribution.html").read_text()
    assert not [row["patient_id"] for row in run.people["test"][:3] if row["patient_id"] in page]
    again = run_script(SCRIPT, *arguments)
    assert again.returncode == 1 and "--overwrite replaces" in again.stderr
    wrong = run_script(SCRIPT, *arguments[:2], f"--output_dir={tmp_path}/none", "--labels=nothing")
    assert wrong.returncode == 1 and "--labels: expected some of" in wrong.stderr
    assert not (tmp_path / "none").exists()
