"""--eval_name: a finished run on other texts, such as 2 days for a run on 3, without a change to the run."""

import csv
import hashlib
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import scipy.special
from notes_data import finished_readmission
from sklearn.metrics import roc_auc_score

SCRIPT = "run_scripts/run_readmission.py"
FLAGS = ("--do_eval", "--eval_name=2days", "--data_dir=m", "--num_bootstrap=20", "--output_dir=run")


def rows_of(path):
    with open(path, newline="") as file:
        return {row["admission_id"]: row for row in csv.DictReader(file)}


def files_of(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock" and "evaluations" not in path.parts
    }


@pytest.fixture(scope="module")
def folder(run_script, tmp_path_factory):
    """A copy of a finished run, and texts `m`: all but three of the test split's, shorter by a third."""
    source, _ = finished_readmission(run_script)
    made = tmp_path_factory.mktemp("named")
    shutil.copytree(source / "run", made / "run")
    table = parquet.read_table(source / "n.notes.test.parquet").slice(3)
    texts = [text[: len(text) * 2 // 3] for text in table["text"].to_pylist()]
    place = table.schema.get_field_index("text")
    parquet.write_table(table, made / "same.notes.test.parquet")
    table = table.set_column(place, table.schema.field(place), pa.array(texts, pa.large_string()))
    parquet.write_table(table, made / "m.notes.test.parquet")
    shutil.copy(source / "n.notes.train.parquet", made / "seen.notes.test.parquet")
    shutil.copy(source / "n.notes.train.parquet", made / "train_only.notes.train.parquet")
    shutil.copy(source / "n.manifest.json", made / "n.manifest.json")
    return made


@pytest.mark.slow
def test_results_stand_in_their_own_folder_and_the_run_stays(folder, run_script):
    before = files_of(folder / "run")
    process = run_script(SCRIPT, *FLAGS, cwd=folder)
    assert process.returncode == 0, process.stderr
    assert files_of(folder / "run") == before
    made = folder / "run/evaluations/2days"
    rows, first = (
        rows_of(made / "restricted/readmission_predictions.csv"),
        rows_of(folder / "run/restricted/readmission_predictions.csv"),
    )
    assert len(rows) == len(first) - 3 and set(rows) < set(first)
    known = [row for row in rows.values() if row["target"]]
    area = roc_auc_score([int(row["target"]) for row in known], [float(row["probability"]) for row in known])
    assert f"{area:.3f} [" in process.stdout and "run/evaluations/2days/report.html" in process.stdout
    assert {path.name for path in made.iterdir()} >= {"metrics.json", "report.html", "roc.png", "README.md"}
    assert not (made / "calibration.json").exists() and not (made / "aggregation.json").exists()


def test_the_same_texts_get_the_very_risks_of_the_run(folder, run_script):
    """Calibration and aggregation are the run's: nothing is fitted again."""
    flags = [flag.replace("2days", "same").replace("=m", "=same") for flag in FLAGS]
    process = run_script(SCRIPT, *flags, cwd=folder)
    assert process.returncode == 0, process.stderr
    # Calibration of a run as small as this one stretches logits, and the rounding of other batches with them.
    calibration = json.loads((folder / "run/calibration.json").read_text())["readmission"]
    slope = calibration["labels"]["readmission"]["slope"]
    first, rows = (
        {name: scipy.special.logit(float(row["probability"])) / slope for name, row in rows_of(path).items()}
        for path in (
            folder / "run/restricted/readmission_predictions.csv",
            folder / "run/evaluations/same/restricted/readmission_predictions.csv",
        )
    )
    assert rows and rows == pytest.approx({name: first[name] for name in rows}, abs=1e-6)


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--do_train", *FLAGS), "--eval_name names an evaluation of a finished run"),
        ((*FLAGS[:1], "--eval_name=../x", *FLAGS[2:]), "--eval_name: expected letters, digits"),
        ((*FLAGS[:2], "--data_dir=train_only", *FLAGS[3:]), "--data_dir: expected texts of the test split"),
        ((*FLAGS[:1], "--eval_name=seen", "--data_dir=seen", *FLAGS[3:]), "each patient in one split"),
        ((*FLAGS[:2], *FLAGS[3:], "--valid_file=x"), "x"),
        ((*FLAGS, "--readmission_mode=early"), "--readmission_mode: expected discharge"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(folder, run_script, flags, message):
    before = files_of(folder / "run")
    process = run_script(SCRIPT, *flags, cwd=folder)
    lines = [line for line in process.stderr.splitlines() if message in line]
    assert process.returncode == 1 and len(lines) == 1, process.stderr
    assert files_of(folder / "run") == before
