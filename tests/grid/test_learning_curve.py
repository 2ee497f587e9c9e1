"""A learning curve: its runs, what it refuses, going on after a kill, its tables and page; with a stand-in trainer."""

import csv
import json
import math
import statistics
import types

import pytest
from conftest import ROOT
from small_data import planted, small_config, write_splits

from medtop.files.errors import DataError
from medtop.grid import curve_run
from medtop.grid.curve_files import leaders
from medtop.grid.learning_curve import CurveOptions, Point, check_curve, collect, curve_grid, model_flags
from medtop.grid.runner import Runner, status_of

SCRIPT = ROOT / "tests/support/grid_script.py"
INFO = types.SimpleNamespace(
    counts={"patients": 80},
    tasks={"long_stay": ["long_stay"], "complications": ["MACE", "CKD"]},
    levels={"long_stay": "patient"},
)
HOW = types.SimpleNamespace(
    metric="roc_auc", dry_run=False, collect=False, overwrite=False, restarts=0, quote_formulas=False
)
DAYS = (31, 366)


def options_of(folder, **changes):
    config = folder / "config.json"
    config.write_text(json.dumps(small_config(wide_days=DAYS).to_dict()))
    files = {f"{name}_file": f"{name}.tfrecord" for name in ("input", "valid", "test")}
    return CurveOptions(**files | {"output_dir": str(folder / "curve"), "bert_config_file": str(config)} | changes)


class AnyFlag(set):
    """The stand-in takes every flag of the trainer."""

    def __contains__(self, name):
        return True

    def __or__(self, other):
        return self


def run(options, **how):
    said = []
    curve_run.run_curve(options, types.SimpleNamespace(**vars(HOW) | how), INFO, SCRIPT, AnyFlag(), said.append)
    return said


def table(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_runs_are_models_by_sizes_by_repeats(tmp_path):
    models = ("wide", "stack", "bert", "bert+bigru", "gru", "retain", "embeddings", "logistic_regression", "xgboost")
    options = options_of(tmp_path, models=models, train_sizes=(40, 20, 0), repeats=2, trainer_flag=("--nostrict",))
    check_curve(options, 80, list(INFO.tasks))
    grid = curve_grid(options, 80, list(INFO.tasks), SCRIPT)
    assert len(grid.cells) == 2 * 3 * 7 and len({cell.name for cell in grid.cells}) == 42
    assert [cell.labels["train_patients"] for cell in grid.cells[:21:7]] == ["20", "40", "80"]  # small ones first
    assert {cell.labels["repeat"] for cell in grid.cells[:21]} == {"1"}
    words = {cell.name: set(cell.arguments()) for cell in grid.cells}
    wide, bert, retain = (words[f"{name}__20__2"] for name in ("wide", "bert+bigru", "retain"))
    common = {"--seed=2", "--train_patients=20", "--tasks=long_stay,complications", "--test_file=test.tfrecord"}
    assert all(common | {"--nostrict"} <= given for given in (wide, bert, retain))
    assert wide >= {"--wide=only", "--baselines", "--xgboost"} and "--nobaselines" in bert
    assert bert >= {"--head=bigru", "--body=bert", "--wide=off"} and "--xgboost" not in bert
    assert retain >= {"--head=retain", "--body=embeddings"}
    by_name = {cell.name: cell for cell in grid.cells}
    assert by_name["retain__20__2"].config["embeddings"] == ["code"]
    assert by_name["embeddings__20__2"].config["pooling"] == "mean"
    assert not any(word.startswith("--train_patients") for word in words["gru__all__1"])


def test_rivals_alone_are_fitted_by_the_cheapest_run(tmp_path):
    options = options_of(tmp_path, models=("logistic_regression",), train_sizes=(20,), repeats=1)
    (cell,) = curve_grid(options, 80, ["long_stay"], SCRIPT).cells
    assert cell.flags["wide"] == "only" and cell.flags["baselines"] is True
    options = options_of(tmp_path, models=("bert", "logistic_regression"), train_sizes=(20,), repeats=1)
    (tmp_path / "config.json").write_text(json.dumps(small_config().to_dict()))
    (cell,) = curve_grid(options, 80, ["long_stay"], SCRIPT).cells  # without wide_days a model's own run
    assert cell.labels["model"] == "bert" and cell.flags["baselines"] is True
    for models, words in (
        (("logistic_regression",), "--models: expected a model beside logistic_regression, or a config.* wide_days"),
        (("wide", "bert"), r"config.json: expected wide_days, such as \[31, 92, 183, 366\], for wide and stack"),
    ):
        wrong = CurveOptions(**vars(options) | {"models": models})
        with pytest.raises(DataError, match=words):
            curve_grid(wrong, 80, ["long_stay"], SCRIPT)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ("wdie",)}, "--models: expected names among wide, bert, .*, received 'wdie'"),
        ({"models": ("bert+retain",)}, "--models: expected names among"),
        ({"models": ("wide", "wide")}, "--models: expected at least one value, each once, received 'wide,wide'"),
        ({"models": ()}, "--models: expected at least one value"),
        ({"train_sizes": (20, 81)}, r"--train_sizes: expected .* 0 \(all\) to 80 \(input.tfrecord\), received 81"),
        ({"train_sizes": (-1,)}, "--train_sizes: expected numbers from 0"),
        ({"train_sizes": (80, 0)}, "--train_sizes: expected 80 or 0, which is the same, received both"),
        ({"repeats": 0}, "--repeats: expected 1 or more, received 0"),
        ({"tasks": ("death",)}, "--tasks: expected patient-level tasks, long_stay, complications, received 'death'"),
        ({"models": ("medbert+gru",)}, r"--models: medbert\+gru needs --init_checkpoint"),
        ({"init_checkpoint": "x"}, "--init_checkpoint needs a model medbert"),
        ({"trainer_flag": ("--seed=3",)}, "--trainer_flag: expected a flag of the trainer that is not set here"),
        ({"trainer_flag": ("--nobaselines",)}, "--trainer_flag: expected a flag"),
        ({"trainer_flag": ("learning_rate=1",)}, "--trainer_flag: expected a flag"),
    ],
)
def test_bad_input_is_refused_in_one_line(changes, words, tmp_path):
    with pytest.raises(DataError, match=words) as caught:
        check_curve(options_of(tmp_path, **{"train_sizes": (20,)} | changes), 80, list(INFO.tasks))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["wide", "stack", "bert", "embeddings", "gru", "bilstm", "retain", "bert+lstm", "medbert"]
)
def test_every_model_is_one_that_the_trainer_takes(name):
    """The flags of each model make a configuration that is allowed."""
    flags, changes = model_flags(name)
    values = {key: flags[key] for key in ("head", "body") if key in flags} | changes
    assert small_config(wide_days=DAYS, **values).head == flags.get("head", "linear")


@pytest.mark.slow
def test_it_goes_on_after_a_kill_and_its_tables_hold_what_was_measured(tmp_path):
    options = options_of(tmp_path, models=("wide", "bert", "logistic_regression"), train_sizes=(20, 40), repeats=2,
                         trainer_flag=("--steps=4",))  # fmt: skip
    (tmp_path / "curve" / "runs").mkdir(parents=True)
    faults = {"bert__20__1": ["kill"], "bert__40__2": ["error"]}
    (tmp_path / "curve" / "runs" / "faults.json").write_text(json.dumps(faults))
    with pytest.raises(DataError, match="expected all 8 runs to end well, 2 did not"):
        run(options)
    rows = table(tmp_path / "curve" / "learning_curve.csv")
    assert {row["repeats"] for row in rows if row["model"] == "bert"} == {"1"}
    assert "2 runs are not there yet" in (tmp_path / "curve" / "learning_curve.html").read_text()
    said = run(options)
    starts = tmp_path / "curve" / "runs" / "wide__20__1" / "run" / "starts.txt"
    assert len(starts.read_text().splitlines()) == 1  # finished runs are left alone
    rows = table(tmp_path / "curve" / "learning_curve.csv")
    names = [row["model"] for row in rows if row["task"] == "long_stay"]
    assert names == ["wide", "wide", "bert", "bert", "logistic_regression", "logistic_regression"]
    for row in rows:  # what the stand-in says: 0.5 + 0.01 seed + 0.0001 patients, the wide part 0.02 more
        extra = 0.0 if row["model"] == "bert" else 0.02  # the rival was fitted in the wide part's run
        values = [0.5 + 0.01 * seed + 0.0001 * int(row["train_patients"]) + extra for seed in (1, 2)]
        assert float(row["mean"]) == pytest.approx(statistics.fmean(values), abs=1e-6)
        assert float(row["sd"]) == pytest.approx(statistics.stdev(values), abs=1e-6)
        assert (float(row["lowest"]), row["repeats"]) == (pytest.approx(min(values), abs=1e-6), "2")
    every = table(tmp_path / "curve" / "learning_curve_runs.csv")
    assert len(every) == 3 * 2 * 2 * 5 and {row["repeat"] for row in every} == {"1", "2"}
    page = (tmp_path / "curve" / "learning_curve.html").read_text()
    assert page.count('role="img"') == 5 and "not there yet" not in page
    assert any(line.startswith("long_stay long_stay, 40 patients: wide roc_auc 0.5390; next log") for line in said)
    assert run(options, dry_run=True)[-1] == "8 runs" and "8 of 8 runs" in run(options, collect=True)[-1]


def test_who_leads_is_judged_repeat_by_repeat():
    """Repeats vary more than models differ: the difference is taken within a repeat."""
    a = Point("a", 100, "t", "t", {1: 0.60, 2: 0.70, 3: 0.80})
    b = Point("b", 100, "t", "t", {1: 0.59, 2: 0.68, 4: 0.99})
    c = Point("c", 500, "t", "t", {1: 0.5})
    (size, first, mean, second, gap, deviation, count), last = leaders([b, a, c])
    assert (size, first, second, count) == (100, "b", "a", 2) and mean == pytest.approx((0.59 + 0.68 + 0.99) / 3)
    assert gap == pytest.approx(-0.015) and deviation == pytest.approx(math.sqrt(2) * 0.005)
    assert last == (500, "c", 0.5, None, None, None, 0)


def test_a_band_is_drawn_around_three_repeats(tmp_path):
    options = options_of(tmp_path, models=("bert",), train_sizes=(20, 40), repeats=3)
    run(options)
    assert "fill-opacity:0.15" in (tmp_path / "curve" / "learning_curve.html").read_text()
    points, missing = collect(curve_grid(options, 80, list(INFO.tasks), SCRIPT), ["bert"])
    assert not missing and {len(point.values) for point in points} == {3}


def test_a_run_that_is_not_finished_is_not_counted(tmp_path):
    options = options_of(tmp_path, models=("bert",), train_sizes=(20,), repeats=2)
    grid = curve_grid(options, 80, list(INFO.tasks), SCRIPT)
    Runner(grid, say=lambda line: None).run_one(grid.cells[0])
    points, missing = collect(grid, ["bert"])
    assert [cell.name for cell, _ in missing] == ["bert__20__2"] and status_of(grid.cells[0]).state == "finished"
    assert all(set(point.values) == {1} for point in points)


@pytest.mark.slow
def test_from_records_to_page(tmp_path, run_script):
    """The real trainer, as a user calls it."""
    files = write_splits(tmp_path, (60, 40, 40), planted)
    config = tmp_path / "config.json"
    values = small_config(embeddings=("code", "visit"), wide_days=DAYS, initializer_range=0.3).to_dict()
    config.write_text(json.dumps(values | {"vocab_size": 0}))
    done = run_script(
        "run_scripts/run_learning_curve.py",
        *(f"--{name}={path}" for name, path in files.items()),
        f"--output_dir={tmp_path / 'curve'}",
        f"--bert_config_file={config}",
        "--models=wide,bigru,windowed_logistic_regression",
        "--train_sizes=30,0",
        "--repeats=1",
        "--tasks=long_stay",
        "--trainer_flag=--num_train_epochs=2",
        "--trainer_flag=--num_bootstrap=20",
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr
    rows = table(tmp_path / "curve" / "learning_curve.csv")
    names = ("wide", "bigru", "windowed_logistic_regression")
    assert [(row["model"], row["train_patients"]) for row in rows] == [
        (m, size) for m in names for size in ("30", "60")
    ]
    wide = json.loads((tmp_path / "curve/runs/wide__all__1/run/metrics.json").read_text())
    assert float(rows[1]["mean"]) == pytest.approx(wide["test"]["long_stay"]["long_stay"]["roc_auc"]["value"], abs=1e-6)
    assert not math.isnan(float(rows[-1]["mean"]))
