"""A grid of real trainings, disturbed by SIGTERM and kill -9: each cell gives what the trainer alone gives."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT
from forked import Forked

pytest.importorskip("tensorflow", reason="training needs TensorFlow")

from small_data import small_config, write_splits  # noqa: E402
from test_grid_runner import COMMAND, script_process_of, start, states, wait_for  # noqa: E402

from medtop.data.tfrecord import read_examples  # noqa: E402
from medtop.grid.cells import read_grid  # noqa: E402
from medtop.training.log import read_log  # noqa: E402

EMBEDDINGS = {"code": ["code"], "two": ["code", "visit"]}
FLAGS = {
    "do_train": True,
    "do_eval": True,
    "deterministic": True,
    "baselines": False,
    "tasks": ["long_stay", "complications"],
    "num_train_epochs": 12,
    "train_batch_size": 8,
    "eval_batch_size": 16,
    "learning_rate": 1e-3,
    "save_checkpoints_steps": 3,
    "num_bootstrap": 20,
}


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """Two embeddings x two seeds less one, small records; {part} of the file names is filled from a list of one."""
    folder = tmp_path_factory.mktemp("grid")
    write_splits(folder, (40, 24, 24))
    (folder / "config.json").write_text(json.dumps(small_config().to_dict() | {"vocab_size": 0}))
    files = {
        name: str(folder / f"{name.removesuffix('_file')}_{{part}}.tfrecord")
        for name in ("input_file", "valid_file", "test_file")
    }
    content = {
        "output_dir": str(folder / "out"),
        "flags": {**FLAGS, **files, "bert_config_file": str(folder / "config.json")},
        "grid": {"part": ["file"], "config.embeddings": EMBEDDINGS, "seed": [1, 2]},
        "exclude": [{"config.embeddings": "two", "seed": 2}],
    }
    (folder / "grid.json").write_text(json.dumps(content))
    return read_grid(folder / "grid.json", ROOT / "run_scripts")


def logged(cell):
    log = cell.run_folder / "train_log.jsonl"
    return len(read_log(log)) if log.exists() else 0


@pytest.mark.slow
def test_a_disturbed_grid_gives_what_the_trainer_alone_gives(grid, tmp_path):
    first, second = grid.cells[:2]
    process = start(grid)
    wait_for(lambda: any((first.run_folder / "checkpoints").glob("step-*")), "a checkpoint")
    process.send_signal(signal.SIGTERM)  # a node is drained
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 75, errors
    assert states(grid) == ["stopped", "new", "new"]
    assert "stopped: stopped by signal SIGTERM" in (first.folder / "log.txt").read_text()

    process = start(grid)
    wait_for(lambda: logged(second) > 4, "the second cell's steps")
    process.kill()  # a machine goes down
    os.kill(script_process_of(second), signal.SIGKILL)
    process.communicate(timeout=300)
    wait_for(lambda: "running" not in states(grid), "the end of the killed process")
    assert states(grid) == ["finished", "stopped", "new"]

    done = subprocess.run([*COMMAND, f"--grid_file={grid.path}"], capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    assert states(grid) == ["finished"] * 3
    assert "going on from step" in (first.folder / "log.txt").read_text()

    for number, cell in enumerate((first, second)):
        config = tmp_path / f"{number}.json"
        config.write_text(
            json.dumps(json.loads((grid.path.parent / "config.json").read_text()) | {"embeddings": EMBEDDINGS["code"]})
        )
        alone = tmp_path / f"run{number}"
        words = [word for word in cell.arguments() if not word.startswith(("--bert_config_file", "--output_dir"))]
        process = Forked([str(grid.script), *words, f"--bert_config_file={config}", f"--output_dir={alone}"])
        errors = process.wait(600)
        assert process.returncode == 0, errors
        assert read_log(alone / "train_log.jsonl") == read_log(cell.run_folder / "train_log.jsonl")
        assert (alone / "metrics.json").read_text() == (cell.run_folder / "metrics.json").read_text()
        with np.load(alone / "best" / "weights.npz") as theirs, np.load(cell.run_folder / "best/weights.npz") as mine:
            for name in theirs.files:
                np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)

    done = subprocess.run(
        [*COMMAND, f"--grid_file={grid.path}", "--collect", "--mean_over=seed"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "missing" not in done.stdout and "3 of 3 cells" in done.stdout
    with open(grid.output_dir / "grid.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for cell in grid.cells:
        metrics = json.loads((cell.run_folder / "metrics.json").read_text())
        (row,) = [
            row
            for row in rows
            if row["cell"] == str(cell.index)
            and row["split"] == "test"
            and (row["task"], row["label"], row["metric"]) == ("long_stay", "long_stay", "roc_auc")
        ]
        found = metrics["test"]["long_stay"]["long_stay"]["roc_auc"]
        assert [float(row[name]) for name in ("value", "low", "high")] == list(found.values())
        assert row["config.embeddings"] == cell.labels["config.embeddings"] and row["state"] == "finished"
    configs = [json.loads((cell.run_folder / "config.json").read_text())["embeddings"] for cell in grid.cells]
    assert configs == [EMBEDDINGS[cell.labels["config.embeddings"]] for cell in grid.cells]


PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
BLOCKS = [text for _, text in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)]


def block(word):
    """The page's block of commands that holds a word."""
    (found,) = [text for text in BLOCKS if word in text]
    return found


@pytest.mark.slow
def test_the_page_s_commands_run_as_written(tmp_path):
    """Fewer patients and two runs instead of eighteen; nothing else is changed."""
    for name in ("preprocessing", "run_scripts", "medtop"):
        (tmp_path / name).symlink_to(ROOT / name)
    content = yaml.safe_load((ROOT / "deploy" / "grid.yaml").read_text())
    content["flags"] |= {"num_train_epochs": 1, "early_stopping": "roc_auc:1", "num_bootstrap": 20, "baselines": False}
    content["grid"] |= {"seed": [1], "config.embeddings": {"code": ["code"]}}
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "grid.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    few = block("make_synthetic_cohort").replace("4000", "300").replace("=28", "=2")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    outputs = []
    for commands in (few, block("--collect --mean_over")):
        done = subprocess.run(
            ["bash", "-e", "-c", commands], cwd=tmp_path, env=environment, text=True, timeout=1500, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert "2 cells, numbers 0 to 1 (completions: 2)" in outputs[1] and "2 of 2 cells" in outputs[1]
    folder = tmp_path / "checkpoints"
    with open(folder / "grid" / "grid.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = {(row["horizon"], row["label"]) for row in rows if row["task"] == "complications"}
    assert labels == {
        (days, name)
        for days in ("365", "1095")
        for name in ("micro", "macro", *(f"{end}_{days}" for end in ("MACE", "CKD", "RET", "NEUR")))
    }
    for name in ("splits.csv", "types", "vocab.txt"):  # the page: they do not depend on the horizons
        one, other = ((folder / "cohort" / f"h{days}.{name}").read_bytes() for days in (365, 1095))
        assert one == other, name
    times = [list(patients(folder, days)) for days in (365, 1095)]
    assert times[0] == times[1] and len(times[0]) > 20


def patients(folder, days):
    """The test split's (patient, prediction time) of a horizon."""
    for chunk in read_examples(str(folder / "cohort" / f"h{days}.test.tfrecord")):
        yield from zip(chunk["patient_id"], map(int, chunk["prediction_time"]), strict=True)


def test_the_page_s_grid_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "grid.yaml").write_text(block("exclude:"))
    cells = read_grid(tmp_path / "grid.yaml", ROOT / "run_scripts").cells
    assert len(cells) == 2 * 2 * 3 - 3
    assert cells[0].labels == {"horizon": "365", "config.embeddings": "code-visit-gap", "seed": "1"}


def test_the_trainer_takes_the_grids_flags(grid, tmp_path):
    """Checked by the trainer itself, as far as it goes without loading TensorFlow: the records are looked for last."""
    cell = grid.cells[2]
    words = [word.replace("input_file.tfrecord", "nowhere.tfrecord") for word in cell.arguments()]
    words = [word for word in words if not word.startswith("--bert_config_file")]
    process = subprocess.run(
        [sys.executable, grid.script, *words, "--output_dir=none"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 1 and "nowhere.tfrecord: expected" in process.stderr, process.stderr
