"""--collect: the table of all cells, against the cells' own metrics.json read another way (pandas, NumPy)."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from grid_metrics import metrics
from test_grid_runner import SCRIPT, faults, finish, write_grid

from medtop.files.errors import DataError
from medtop.grid.cells import read_grid
from medtop.grid.results import Collection
from medtop.grid.runner import Runner


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """(grid, folder) of 2 learning rates x 3 seeds, of which the cell lr=0.2, seed=2 failed."""
    folder = tmp_path_factory.mktemp("grid")
    content = {
        "script": str(SCRIPT),
        "output_dir": str(folder / "out"),
        "grid": {"lr": {"low": 0.1, "high": 0.2}, "seed": [1, 2, 4]},
    }
    (folder / "grid.json").write_text(json.dumps(content))
    (folder / "out").mkdir()
    (folder / "out" / "faults.json").write_text(json.dumps({"lr-high__seed-2": ["error"]}))
    grid = read_grid(folder / "grid.json", ROOT)
    assert len(Runner(grid, say=lambda line: None).run_all()) == 1
    return grid, folder


def expected(lr, seed):
    return 0.5 + 0.01 * seed + 0.1 * lr


def test_csv_has_every_value_of_every_cell(collected):
    grid, folder = collected
    Collection(grid).write_csv(folder / "table.csv")
    table = pd.read_csv(folder / "table.csv", float_precision="round_trip")
    assert list(table.columns) == [
        "cell",
        "name",
        "lr",
        "seed",
        "state",
        "split",
        "task",
        "label",
        "metric",
        "value",
        "low",
        "high",
        "n",
        "positives",
        "unknown",
        "reason",
    ]
    missing = table[table["metric"].isna()]
    assert missing[["cell", "name", "state"]].values.tolist() == [[4, "lr-high__seed-2", "failed"]]
    found = table.dropna(subset="metric")
    keys = ["cell", "lr", "seed", "split", "task", "label", "metric"]
    rows = {tuple(row[name] for name in keys): row for row in found.to_dict("records")}
    assert len(rows) == len(found) == 5 * (4 * 6 + 2)  # six entries of four metrics, and masked codes' two
    for cell in grid.cells[:4] + grid.cells[5:]:
        flags = {"seed": cell.labels["seed"], "lr": {"low": 0.1, "high": 0.2}[cell.labels["lr"]]}
        for split, tasks in metrics(flags).items():
            for task, label, entry in ((task, *one) for task, labels in tasks.items() for one in labels.items()):
                for metric in entry.keys() & {"roc_auc", "average_precision", "brier", "calibration_error", "loss"}:
                    row = rows[cell.index, cell.labels["lr"], int(cell.labels["seed"]), split, task, label, metric]
                    value = entry[metric]
                    assert row["value"] == value["value"] and row["n"] == entry["n"]
                    assert math.isnan(row["low"]) if value.get("low") is None else row["low"] == value["low"]


def test_table_and_missing_cells(collected):
    grid, _ = collected
    collection = Collection(grid)
    lines = collection.table("test").splitlines()
    assert lines[0].split() == [
        "cell",
        "lr",
        "seed",
        "task",
        "label",
        "n",
        "positives",
        "AUROC",
        "[95%]",
        "AP",
        "Brier",
        "ECE",
    ]
    rows = [line.split() for line in lines[2:] if not line.startswith("cell ")]
    assert [row[:5] for row in rows] == [
        [str(cell.index), cell.labels["lr"], cell.labels["seed"], *place]
        for cell in grid.cells
        if cell.index != 4
        for place in (["long_stay", "long_stay"], ["complications", "macro"])
    ]
    value = expected(0.1, 1)
    assert rows[0][5:] == [
        "100",
        "20",
        f"{value:.3f}",
        f"[{value - 0.1:.3f},",
        f"{value + 0.1:.3f}]",
        "0.300",
        "0.200",
        "0.050",
    ]
    masked = [line for line in lines if line.startswith("cell ")][1:]
    assert masked == [f"cell {number}: masked_lm: n 50, loss 2.500, accuracy 0.250" for number in (0, 1, 2, 3, 5)]
    ((cell, what),) = collection.missing
    assert (cell.index, what) == (4, "failed: error: flags: expected a better one")


def test_mean_and_sd_over_seeds(collected):
    grid, _ = collected
    collection = Collection(grid)
    header, _, *rows = [line.split() for line in collection.means("test", "seed").splitlines()]
    assert header == ["lr", "task", "label", "seeds", "mean", "roc_auc", "SD", "lowest", "highest"]
    assert len(rows) == 2 * 5  # long_stay, MACE, CKD, micro, macro
    for lr, seeds in (("low", (1, 2, 4)), ("high", (1, 4))):
        values = [expected({"low": 0.1, "high": 0.2}[lr], seed) for seed in seeds]
        wanted = [f"{np.mean(values):.3f}", f"{np.std(values, ddof=1):.3f}", f"{min(values):.3f}", f"{max(values):.3f}"]
        for row in [row for row in rows if row[0] == lr]:
            assert row[3:] == [str(len(seeds)), "of", "3", *wanted]
    _, _, *rows = [line.split() for line in collection.means("test", "lr", "accuracy").splitlines()]
    assert rows == [
        [seed, "masked_lm", "masked_lm", number, "of", "2", "0.250", sd, "0.250", "0.250"]
        for seed, number, sd in (("1", "2", "0.000"), ("2", "1", "-"), ("4", "2", "0.000"))
    ]
    with pytest.raises(DataError, match="--mean_over: expected one of lr, seed, received 'seeds'"):
        collection.means("test", "seeds")


def test_splits(collected):
    grid, _ = collected
    collection = Collection(grid)
    assert collection.split() == "test" and collection.split("valid") == "valid"
    assert len(collection.table("valid").splitlines()) == 2 + 5
    with pytest.raises(DataError, match="--split: expected one of test, valid, received 'train'"):
        collection.split("train")


def test_results_of_other_settings_do_not_count(tmp_path):
    """A table must not mix runs of an earlier grid file in."""
    grid = read_grid(write_grid(tmp_path, (1, 2), lr=0.1), ROOT)
    Runner(grid, say=lambda line: None).run_all()
    grid = read_grid(write_grid(tmp_path, (1, 2), lr=0.2), ROOT)
    assert [what for _, what in Collection(grid).missing] == ["run with other settings than the grid file's"] * 2
    assert Collection(grid).table("test") == ""


def test_an_unfinished_cell_does_not_count(tmp_path):
    """An attempt that was stopped may have left an earlier evaluation behind."""
    faults(tmp_path, seed2=["kill"])
    grid = read_grid(write_grid(tmp_path, (1, 2), steps=9), ROOT)
    Runner(grid, say=lambda line: None, restarts=0).run_all()
    (grid.cells[1].run_folder / "metrics.json").write_text(json.dumps(metrics({"seed": "2"})))
    ((cell, what),) = Collection(grid).missing
    assert (cell.index, what) == (1, "stopped: killed by SIGKILL")


def test_damaged_or_absent_metrics(tmp_path):
    grid = read_grid(write_grid(tmp_path, (1, 2)), ROOT)
    Runner(grid, say=lambda line: None).run_all()
    (grid.cells[0].run_folder / "metrics.json").unlink()
    assert [what for _, what in Collection(grid).missing] == ["finished without metrics.json"]
    (grid.cells[1].run_folder / "metrics.json").write_text("{")
    with pytest.raises(DataError, match="metrics.json: line 1: expected JSON"):
        Collection(grid)


def test_the_command(tmp_path):
    grid = read_grid(write_grid(tmp_path, (1, 2, 3)), ROOT)
    faults(tmp_path, seed3=["error"])
    code, _, errors = finish(grid)
    assert code == 1 and "expected all 3 cells to end well, 1 did not" in errors
    code, output, errors = finish(grid, "--collect", "--mean_over=seed", "--metric=brier")
    assert code == 0 and errors == ""
    lines = output.splitlines()
    assert lines[0] == "split test" and "over seed" in lines
    assert lines[-2:] == [
        "missing: cell 2 seed-3 (failed: error: flags: expected a better one)",
        f"2 of 3 cells: {tmp_path / 'out' / 'grid.csv'}",
    ]
    assert len(pd.read_csv(tmp_path / "out" / "grid.csv")) == 2 * (6 * 4 + 2) + 1
    code, _, errors = finish(grid, "--collect", "--split=train", f"--output_file={tmp_path / 'other.csv'}")
    assert code == 1 and errors.startswith("error: --split: ") and not (tmp_path / "other.csv").exists()
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix == ".tmp"]


def test_before_any_cell_has_run(tmp_path):
    grid = read_grid(write_grid(tmp_path, (1, 2)), ROOT)
    code, output, errors = finish(grid, "--collect")
    assert code == 0, errors
    assert output.splitlines() == [
        "missing: cell 0 seed-1 (new)",
        "missing: cell 1 seed-2 (new)",
        f"0 of 2 cells: {tmp_path / 'out' / 'grid.csv'}",
    ]
