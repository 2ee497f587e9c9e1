"""run_evaluation.py on predictions files: what a user finds in the folder, and what is refused."""

import csv
import json

import numpy as np
import pytest

from medtop.evaluation.metrics import evaluate
from medtop.evaluation.predictions import Predictions, read_predictions, sigmoid, write_predictions

SCRIPT = "run_scripts/run_evaluation.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    generator = np.random.default_rng(0)
    logits = generator.normal(-1, 1, (1600, 2))
    targets = generator.random((1600, 2)) < sigmoid(logits - 0.7)
    ids = np.array([f"p{number}" for number in generator.integers(250, size=1600)])
    for name, scores in (("model", logits), ("other", logits + generator.normal(0, 1, logits.shape))):
        times = np.arange(1600) * 86_400 + 1_500_000_000
        predictions = Predictions("task", ("a", "b<script>"), ids, times, targets, np.ones((1600, 2)), scores)
        write_predictions(folder / f"{name}.csv", [(predictions, predictions.probabilities)])
    rows = "".join(
        f"p{number},{'tiny' if number < 1 else 'north' if number % 2 else 'south'}\n" for number in range(250)
    )
    (folder / "sites.csv").write_text("patient_id,site\n" + rows)
    return folder


def test_the_folder(folder, run_script):
    out = folder / "out"
    process = run_script(
        SCRIPT, f"--predictions={folder}/model.csv", f"--compare_predictions={folder}/other.csv", "--num_bootstrap=50",
        f"--groups_file={folder}/sites.csv", "--subgroups=site,year", "--thresholds=0.2", "--alert_rates=0.1",
        "--recalibrate=intercept", f"--output_dir={out}",
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "task a: AUROC 0." in process.stdout and process.stdout.endswith(f"report: {out}/evaluation.html\n")
    content = json.loads((out / "evaluation.json").read_text())
    judged, probabilities = read_predictions(out / "restricted" / "predictions.csv")["task"]
    assert 0.3 < len(judged) / 1600 < 0.7
    again = evaluate(judged, probabilities, num_bootstrap=0)
    entry = content["clinical"]["task"]["a"]
    assert entry["measures"]["roc_auc"]["value"] == pytest.approx(again["a"]["roc_auc"]["value"])
    assert content["recalibration"]["task"]["a"]["intercept"] == pytest.approx(-0.7, abs=0.4)
    assert 0.8 < entry["measures"]["observed_expected"]["value"] < 1.25
    assert [point["alert_rate"] for point in entry["operating_points"]] == [None, 0.1]
    assert content["comparison"]["task"]["macro"]["difference"] > 0
    rows = list(csv.DictReader((out / "clinical.csv").open()))
    (row,) = [r for r in rows if r["label"] == "a" and r["group"] == "north" and r["measure"] == "roc_auc"]
    assert float(row["value"]) == entry["groups"]["site"]["north"]["measures"]["roc_auc"]["value"]
    page = (out / "evaluation.html").read_text()
    assert "<script" not in page and "b&lt;script&gt;" in page and "a by site" in page


def test_small_cells_are_hidden_everywhere(folder, run_script):
    out = folder / "hidden"
    process = run_script(
        SCRIPT, f"--predictions={folder}/model.csv", f"--groups_file={folder}/sites.csv", "--subgroups=site",
        "--min_cell=11", "--num_bootstrap=20", f"--output_dir={out}",
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    content = json.loads((out / "evaluation.json").read_text())
    groups = content["clinical"]["task"]["a"]["groups"]["site"]
    hidden = [name for name, cell in groups.items() if cell["n"] is None]
    assert len(hidden) == 2 and "tiny" in hidden, "one alone could be worked out from the total"
    assert not content["metrics"] and groups["tiny"]["measures"]["roc_auc"]["value"] is None
    assert "suppressed: fewer than 11 people" in (out / "evaluation.html").read_text()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--predictions, or --run_dir with --input_file, is needed"),
        (["--predictions={f}/none.csv"], "--predictions: expected an existing file"),
        (["--predictions={f}/sites.csv"], "expected CSV with columns patient_id, prediction_time"),
        (["--predictions={f}/model.csv", "--thresholds=1.5"], "--thresholds: expected numbers between 0 and 1"),
        (["--predictions={f}/model.csv", "--alert_rates=x"], "--alert_rates: expected numbers such as"),
        (["--predictions={f}/model.csv", "--subgroups=ward"], "--subgroups: expected year or a column"),
        (
            ["--predictions={f}/model.csv", "--recalibrate=isotonic"],
            "--recalibrate: expected one of none, intercept, platt, received 'isotonic'",
        ),
    ],
)
def test_wrong_flags_end_in_one_line_and_leave_nothing(folder, run_script, arguments, message):
    out = folder / "none"
    process = run_script(SCRIPT, *(word.format(f=folder) for word in arguments), f"--output_dir={out}")
    assert process.returncode == 1 and process.stderr.count("\n") == 1 and message in process.stderr, process.stderr
    assert not out.exists() and not list(folder.glob(".none*"))
