"""run_tabular_multitask.py and its table makers, as a user runs them."""

import csv
import json
import re

import numpy as np
import pytest
from conftest import ROOT
from sklearn.metrics import accuracy_score, mean_absolute_error
from tabular_cases import SCHEMA, rows_of, write

SCRIPT = "run_scripts/run_tabular_multitask.py"
SMALL = ("--folds=2", "--epochs=2", "--hidden=8,4", "--num_bootstrap=50", "--batch_size=16")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, run_script):
    """(folder of the table, run directory, what the script printed)."""
    folder = tmp_path_factory.mktemp("script")
    data, schema = write(folder)
    done = run_script(
        SCRIPT,
        f"--data_file={data}",
        f"--schema_file={schema}",
        f"--output_dir={folder}/run",
        *SMALL,
        "--loss_balancing=fixed,gradnorm",
        "--plot",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, folder / "run", done


def again(run_script, folder, *more, run="run"):
    return run_script(
        SCRIPT,
        f"--data_file={folder}/table.csv",
        f"--schema_file={folder}/schema.json",
        f"--output_dir={folder}/{run}",
        *SMALL,
        *more,
    )


def test_the_table(finished):
    _, run, done = finished
    lines = done.stdout.splitlines()
    parts = [part.splitlines() for part in done.stdout.split("\n\n")]
    parts = [
        part[next(n for n, line in enumerate(part) if line.startswith("target ")) :]
        for part in parts
        if "target " in "".join(part)
    ]
    parts = [part for part in parts if part[0].split()[:3] == ["target", "measure", "n"]]
    assert [name for part in parts for name in part[0].split()[3:]] == [
        "fixed",
        "gradnorm",
        "single_task",
        "linear",
        "gradient_boosting",
        "constant",
    ]
    assert max(len(line) for part in parts for line in part) <= 120
    rows = {}
    for line in (line for part in parts for line in part[1:]):
        key = tuple(line.split()[:2])
        rows[key] = rows.get(key, "") + line
    for target, names in (("mode", ("accuracy", "macro_f1", "skill")), ("flow", ("mae", "r2", "skill"))):
        for name in names:
            assert len(re.findall(r"-?[\d.]+ \[-?[\d.]+, -?[\d.]+\]|undefined", rows[target, name])) >= 5
    assert "minus single_task" in done.stdout and "60 rows take part" in done.stdout
    assert lines[-1] == f"next: tensorboard --logdir={run}/tensorboard"


def test_the_files(finished):
    _, run, _ = finished
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["rows"] == {"used": 60, "dropped": {}}
    with open(run / "restricted" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for method, entries in metrics["held_out"].items():
        found = [row for row in rows if row["method"] == method and row["target"] == "mode"]
        assert entries["mode"]["n"] == len(found) and len({row["line"] for row in found}) == len(found)
        expected = accuracy_score([row["value"] for row in found], [row["predicted"] for row in found])
        assert entries["mode"]["accuracy"]["value"] == pytest.approx(expected)
        flow = [row for row in rows if row["method"] == method and row["target"] == "flow"]
        values = np.array([[float(row["value"]), float(row["predicted"])] for row in flow])
        assert entries["flow"]["mae"]["value"] == pytest.approx(mean_absolute_error(*values.T), rel=1e-5)
    folds = {}
    for row in rows:
        folds.setdefault(row["group"], set()).add(row["fold"])
    assert all(len(numbers) == 1 for numbers in folds.values()) and len(folds) == 30
    log = [json.loads(line) for line in (run / "train_log.jsonl").read_text().splitlines()]
    assert {row["fold"] for row in log} == {1, 2} == {int(row["fold"]) for row in rows}
    networks = {(row["method"], row["fold"], tuple(row["targets"])) for row in log}
    assert len(networks) == 2 * (2 + 2) and len(log) == 2 * len(networks)
    names = {"total_loss", "mode_weight", "flow_gradient_norm", "mode_flow_gradient_cosine", "valid_loss"}
    assert names <= set(log[0])
    page = (run / "balancing.html").read_text()
    assert "These are different quantities" in page and ">Total training loss<" in page and ">GradNorm<" in page
    assert f"{metrics['held_out']['gradnorm']['mean_skill']['value']:.3f} [" in page
    assert (run / "balancing.png").read_bytes()[:4] == b"\x89PNG"
    assert len(list((run / "tensorboard").glob("*/events.out.tfevents.*"))) == 4
    page = (run / "training-gradnorm.html").read_text()
    for title in ("flow_loss", "weight of the loss", "cosines between gradients"):
        assert f">{title}<" in page


def test_the_same_command_trains_nothing_again(finished, run_script):
    folder, run, first = finished
    kept = {path.name: path.stat().st_mtime_ns for path in (run / "cells").iterdir()}
    metrics, log = (run / "metrics.json").read_bytes(), (run / "train_log.jsonl").read_bytes()
    done = again(run_script, folder, "--loss_balancing=fixed,gradnorm", "--plot")
    assert done.returncode == 0 and done.stdout == first.stdout and "fold" not in done.stderr
    assert {path.name: path.stat().st_mtime_ns for path in (run / "cells").iterdir()} == kept
    assert (run / "metrics.json").read_bytes() == metrics and (run / "train_log.jsonl").read_bytes() == log


@pytest.mark.slow
def test_a_stopped_run_goes_on_and_ends_as_one_that_never_stopped(finished, run_script):
    folder, run, first = finished
    kept = {path: path.read_bytes() for path in (run / "cells").iterdir()}
    lost = [path for path in kept if path.name in ("gradnorm-fold2.npz", "single_task-fold1.npz")]
    for path in lost:
        path.unlink()
    done = again(run_script, folder, "--loss_balancing=fixed,gradnorm", "--plot")
    assert done.returncode == 0 and done.stdout == first.stdout
    assert done.stderr.count("done") == len(lost) == 2


def test_a_setting_that_came_later_counts_as_its_default(finished, run_script):
    folder, run, _ = finished
    about, kept = json.loads((run / "run.json").read_text()), (run / "run.json").read_bytes()
    assert about["settings"].pop("patience") == 20
    (run / "run.json").write_text(json.dumps(about))
    done = again(run_script, folder, "--loss_balancing=fixed,gradnorm", "--plot")
    refused = again(run_script, folder, "--patience=7")
    (run / "run.json").write_bytes(kept)
    assert done.returncode == 0 and "fold" not in done.stderr, done.stderr[-500:]
    assert refused.returncode == 1 and "received another patience; --overwrite" in refused.stderr


def test_other_settings_are_refused_unless_overwritten(finished, run_script):
    folder, run, _ = finished
    refused = again(run_script, folder, "--learning_rate=0.01", "--seed=5")
    assert refused.returncode == 1
    assert refused.stderr == (
        f"error: {run}: expected the settings that the run was started with, received another "
        "learning_rate, seed; --overwrite starts anew\n"
    )


def test_the_hemodialysis_projects_setting(tmp_path, run_script):
    """docs/tabular.md's commands: 229 rows after the filter; its flags are those that the page names."""
    table, schema = tmp_path / "h.csv", ROOT / "medtop/configs/hemodialysis_schema.json"
    assert (
        run_script("preprocessing/make_hemodialysis_rows.py", f"--output_file={table}", "--num_rows=257").returncode
        == 0
    )
    preset = ROOT / "medtop/configs/hemodialysis_seed.flags"
    done = run_script(SCRIPT, f"--flagfile={preset}", f"--data_file={table}", f"--schema_file={schema}", "--dry_run")
    assert done.returncode == 0 and done.stdout.startswith("229 rows take part"), done.stderr
    lines = set(preset.read_text().splitlines())
    assert {"--learning_rate=0.01", "--weight_decay=0", "--epochs=100", "--patience=0"} <= lines


@pytest.mark.parametrize(
    "schema, rows, expected",
    [
        ({"targets": [{"column": "moed", "kind": "classification"}]}, None, "expected the column moed"),
        (
            {},
            [row[:6] + ["HD"] + row[7:] for row in rows_of(20)],
            "mode: expected a target with two classes or more, re",
        ),
        (
            {},
            [row[:2] + ["NA"] + row[3:] for row in rows_of(20)],
            "age: expected some value, received a column that is",
        ),
    ],
)
def test_a_wrong_schema_ends_in_one_line(tmp_path, run_script, schema, rows, expected):
    data, described = write(tmp_path, rows, schema)
    done = run_script(SCRIPT, f"--data_file={data}", f"--schema_file={described}", f"--output_dir={tmp_path}/run")
    assert done.returncode == 1 and done.stdout == "" and not (tmp_path / "run").exists()
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and expected in done.stderr


@pytest.mark.parametrize(
    "flag, expected",
    [
        (
            "--loss_balancing=fixed,gradnrom",
            "--loss_balancing: expected names among fixed, uncertainty, gradnorm, random",
        ),
        ("--hidden=64,many", "--hidden: expected whole numbers, received '64,many'"),
        ("--valid_share=0", "--valid_share: expected a number between 0 and 1, received 0.0"),
        ("--task_weights=mode:-1", "--task_weights: expected target:number"),
        ("--folds=100", "--folds: expected 2 to 30 (the groups of rows), received 100"),
    ],
)
def test_wrong_flags_end_in_one_line(finished, run_script, flag, expected):
    done = again(run_script, finished[0], flag, run="other")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and expected in done.stderr
    assert not (finished[0] / "other").exists()


def test_a_dry_run_writes_nothing(tmp_path, run_script):
    data, schema = write(tmp_path, schema={"rows": ["kt_v > 1.5"]})
    done = run_script(
        SCRIPT,
        f"--data_file={data}",
        f"--schema_file={schema}",
        f"--output_dir={tmp_path}/run",
        "--dry_run",
        cwd=tmp_path,
    )
    assert done.returncode == 0 and not (tmp_path / "run").exists()
    kept, dropped = map(int, re.search(r"(\d+) rows take part; left out: not kt_v > 1.5: (\d+)", done.stdout).groups())
    assert kept + dropped == 60 and "target mode: 2 classes" in done.stdout and "target flow: regression" in done.stdout


def test_generated_hemodialysis_rows_fit_their_schema(tmp_path, run_script, repo_root):
    made = run_script("preprocessing/make_hemodialysis_rows.py", f"--output_file={tmp_path}/h.csv", "--num_rows=300")
    assert made.returncode == 0, made.stderr
    done = run_script(
        SCRIPT,
        f"--data_file={tmp_path}/h.csv",
        "--dry_run",  # which needs no folder
        f"--schema_file={repo_root}/medtop/configs/hemodialysis_schema.json",
    )
    assert done.returncode == 0 and done.stdout.count("target ") == 10, done.stderr
    done = run_script(SCRIPT, f"--data_file={tmp_path}/h.csv", f"--schema_file={tmp_path}/none.json")
    assert done.returncode == 1 and "--output_dir: expected a folder" in done.stderr


def test_ten_targets_and_six_methods_fit_a_screen():
    """The parts together hold every number once."""
    from medtop.tabular.results import WIDTH, _fitting

    methods = ["fixed", "uncertainty", "gradnorm", "single_task", "linear", "gradient_boosting", "constant"]
    lines = [("target", "measure", "n", *methods)]
    lines += [
        (f"target{number}", "macro_f1", "229", *(f"0.{number}{place} [0.100, 0.900]" for place in range(len(methods))))
        for number in range(10)
    ]
    text = _fitting(lines, 3)
    assert max(map(len, text.splitlines())) <= WIDTH
    parts = [part.splitlines() for part in text.split("\n\n")]
    assert [name for part in parts for name in part[0].split()[3:]] == methods
    assert all(text.count(cell) == 1 for line in lines[1:] for cell in line[3:])


def test_the_kidney_table_from_one_command(test_data, tmp_path, run_either, repo_root):
    """Acceptance: uci_ckd, one command, the table. Two folds and few epochs here; docs/tabular.md has the full run."""
    done = run_either(
        SCRIPT,
        f"--data_file={test_data}/uci_ckd/kidney_disease.csv.gz",
        f"--output_dir={tmp_path}/run",
        f"--schema_file={repo_root}/medtop/configs/ckd_schema.json",
        "--folds=2",
        "--epochs=15",
        "--loss_balancing=uncertainty",
        "--nosingle_task",
        "--num_bootstrap=100",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    held_out = json.loads((tmp_path / "run" / "metrics.json").read_text())["held_out"]
    for method in ("uncertainty", "linear", "gradient_boosting"):
        assert held_out[method]["classification"]["accuracy"]["value"] > 0.85, method
    assert "minus" not in done.stdout and held_out["constant"]["classification"]["accuracy"]["value"] == 0.625


@pytest.mark.slow
def test_yaib_tables_from_two_commands(test_data, tmp_path, run_script, repo_root):
    made = run_script(
        "preprocessing/make_yaib_table.py",
        f"--yaib_dir={test_data}/yaib_mimic_demo",
        f"--patients_file={test_data}/mimic3_demo/ICUSTAYS.csv.gz",
        f"--output_file={tmp_path}/icu.csv",
    )
    assert made.returncode == 0 and made.stdout.startswith("132 stays: "), made.stderr
    done = run_script(
        SCRIPT,
        f"--data_file={tmp_path}/icu.csv",
        f"--output_dir={tmp_path}/run",
        "--folds=2",
        f"--schema_file={repo_root}/medtop/configs/yaib_schema.json",
        "--epochs=3",
        "--hidden=8,4",
        "--loss_balancing=gradnorm",
        "--nosingle_task",
        "--num_bootstrap=50",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["rows"] == {"used": 113, "dropped": {"no target known": 19}}
    counts = {name: entry["n"] for name, entry in metrics["held_out"]["gradnorm"].items() if name != "mean_skill"}
    assert counts == {"mortality24": 99, "los": 113, "kidney_function": 69}


def test_yaib_tables_that_are_not_there(tmp_path, run_script):
    done = run_script("preprocessing/make_yaib_table.py", f"--yaib_dir={tmp_path}", f"--output_file={tmp_path}/icu.csv")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "found no such file" in done.stderr
    assert not (tmp_path / "icu.csv").exists()


def test_the_schema_in_the_documentation_is_read(repo_root, tmp_path):
    text = (repo_root / "docs" / "tabular.md").read_text(encoding="utf-8")
    shown = re.search(r"```json\n(.*?)```", text, re.S)[1]
    (tmp_path / "schema.json").write_text(shown)
    from medtop.tabular.schema import read_schema

    schema = read_schema(tmp_path / "schema.json")
    assert {one.kind for one in schema.inputs} == {one["kind"] for one in SCHEMA["inputs"]}
