"""A run with a wide part: fitted once, put beside the encoder, resumed, read again, exported; and one without."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from shared import shared_folder
from small_data import (
    planted,
    replaced,
    small_config,
    split_files,
    training_options,
    write_medbert_dataset,
    write_splits,
)

from medtop.convert.export_weights import export, plan_export
from medtop.data import tfrecord
from medtop.files.errors import DataError
from medtop.model.multitask import build_model
from medtop.runs.execute import execute
from medtop.runs.explain import ExplainSettings, explain_run
from medtop.runs.predict import predict
from medtop.serve.saved_model import export_saved_model
from medtop.training import wide_part
from medtop.training.checkpoints import read_arrays
from medtop.training.options import make_plan
from medtop.training.run_directory import RunDirectory
from medtop.training.start_from import check_source
from medtop.training.trainer import load_best
from medtop.wide.history import context_of, history_of_tokens, latest_windows

DAYS, LENGTH, SIZES = (31, 366), 24, (160, 100, 60)


def options_of(folder, **changes):
    config = small_config(embeddings=("code", "visit"), pooling="mean", initializer_range=0.3, wide_days=DAYS)
    tasks = ("masked_lm", "long_stay", "complications")
    return training_options(folder, split_files(folder), config, tasks=tasks, do_eval=True, max_seq_length=LENGTH,
                            train_batch_size=32, learning_rate=1e-2, **changes)  # fmt: skip


def _train(folder):
    write_splits(folder, SIZES, planted)
    options = options_of(folder)
    execute(options)
    run = RunDirectory(options.output_dir)
    content = json.loads(run.stack_file.read_bytes())
    (folder / "chosen.json").write_bytes(run.stack_file.read_bytes())
    for number, scales in enumerate(content["tasks"].values()):
        count = len(scales["offset"])
        scales |= {"wide_scale": [0.75] * count, "deep_scale": [0.5] * count, "offset": [0.1 * number] * count}
    run.stack_file.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def options():
    """Options of a run whose two parts both count: validation's own choice, kept beside, is replaced by halves."""
    return options_of(shared_folder("wide_run", _train))


@pytest.fixture(scope="module")
def results(options):
    """Its evaluation."""
    return execute(replaced(options, do_train=False))


def numpy_logits(run, file):
    """The wide part's logits of a data set, by the NumPy route from its file: float64 [N, K]."""
    arrays, state = read_arrays(run.wide_file)
    parts = []
    for columns in tfrecord.read_examples(file):
        history = history_of_tokens(columns, LENGTH)
        parts.append(
            latest_windows(history, len(run.read()[1]), state["days"]) @ arrays["tables"]
            + context_of(history, state["days"]) @ arrays["context"]
            + arrays["intercepts"]
        )
    return np.concatenate(parts)


@pytest.mark.slow
def test_logits_are_the_two_parts_together(options, results):
    run = RunDirectory(options.output_dir)
    config, _, tasks = run.read()
    model = build_model(config, tasks)
    load_best(model, run)
    model.wide = None
    from medtop.data.batch_options import batch_options
    from medtop.evaluation.scoring import Scorer

    plan = make_plan(replaced(options, tasks=None), config, tasks)
    deep = Scorer(model, plan.test, config, tasks, batch_options(plan, 16), 0).predictions()
    wide, end = numpy_logits(run, options.test_file), 0
    for number, (name, predictions) in enumerate(deep.items()):
        columns = slice(end, end := end + len(predictions.labels))
        expected = 0.75 * wide[:, columns] + 0.5 * predictions.logits + 0.1 * number
        np.testing.assert_allclose(results.predictions["test"][name].logits, expected, rtol=0, atol=2e-5)
    assert "visits" in config.inputs and "recencies" not in config.embedding_inputs


@pytest.mark.slow
def test_a_run_goes_on_and_a_finished_one_is_left_alone(options, results):
    run = RunDirectory(options.output_dir)
    before, edited = run.wide_file.read_bytes(), run.stack_file.read_bytes()
    again = execute(options)
    assert run.wide_file.read_bytes() == before and run.stack_file.read_bytes() == edited
    for task, predictions in again.predictions["test"].items():
        np.testing.assert_array_equal(predictions.logits, results.predictions["test"][task].logits)
    run.stack_file.unlink()  # killed before it was written
    execute(replaced(options, do_eval=False))
    assert run.stack_file.read_bytes() == Path(options.output_dir).with_name("chosen.json").read_bytes()
    run.stack_file.write_bytes(edited)


@pytest.mark.slow
def test_coefficients_are_the_tables_sorted(options, results):
    run = RunDirectory(options.output_dir)
    arrays, state = read_arrays(run.wide_file)
    with open(run.coefficients_file, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_label = {}
    for row in rows:
        by_label.setdefault((row["task"], row["label"]), []).append(row)
    assert list(by_label) == [tuple(pair) for pair in state["labels"]]
    tokens = run.read()[1].tokens
    for column, of_label in enumerate(by_label.values()):
        sizes = [abs(float(row["coefficient"])) for row in of_label]
        assert sizes == sorted(sizes, reverse=True)
        for row in of_label:
            if row["last_seen"]:
                window = ["within_31_days", "within_366_days", "earlier"].index(row["last_seen"])
                value = arrays["tables"][tokens.index(row["feature"]) * 3 + window, column]
                assert float(row["coefficient"]) == pytest.approx(0.75 * value, abs=1e-6)


@pytest.mark.slow
def test_a_saved_model_agrees_with_keras(options, tmp_path):
    assert export_saved_model(options.output_dir, tmp_path / "saved").largest <= 1e-5


@pytest.mark.slow
def test_onnx_agrees_with_keras(options, tmp_path):
    pytest.importorskip("tf2onnx")
    from medtop.serve.onnx_model import export_onnx

    assert export_onnx(options.output_dir, tmp_path / "onnx").largest <= 1e-5


@pytest.mark.slow
def test_pytorch_twin_agrees_and_other_layouts_say_what_is_lost(options, tmp_path):
    pytest.importorskip("torch"), pytest.importorskip("safetensors")
    done = export(plan_export(options.output_dir, tmp_path / "twin", layout="medtop"))
    assert done.parity_value <= 1e-5 and "torch_bert" in done.parity
    with pytest.raises(DataError, match="the wide part"):
        plan_export(options.output_dir, tmp_path / "stock", head="long_stay")


@pytest.mark.slow
def test_without_an_encoder(tmp_path):
    write_splits(tmp_path, SIZES, planted)
    options = options_of(tmp_path, wide="only")
    results = execute(options)
    run = RunDirectory(options.output_dir)
    assert not run.best_weights.is_file() and not run.log_file.is_file()
    assert [task.name for task in run.read()[2]] == ["long_stay", "complications"]
    wide = numpy_logits(run, options.test_file)
    found = np.hstack([one.logits for one in results.predictions["test"].values()])
    np.testing.assert_allclose(found, wide, rtol=0, atol=1e-5)
    assert results.metrics["test"]["long_stay"]["long_stay"]["roc_auc"]["value"] > 0.9
    assert predict(options.output_dir, options.test_file, tmp_path / "new.csv").examples == 60
    new, own = (list(csv.DictReader(path.open(newline=""))) for path in (tmp_path / "new.csv", run.predictions_file))
    assert [{name: row[name] for name in own[0]} for row in new] == own
    assert export_saved_model(options.output_dir, tmp_path / "saved").largest <= 1e-5
    assert "wide" in run.card_text_file.read_text() and "wide" in run.report_file.read_text()
    settings = ExplainSettings(options.output_dir, options.test_file, str(tmp_path / "why"), num_bootstrap=10)
    checks = explain_run(settings)
    assert checks["completeness"]["percentile_95"] < 1e-3, "exact but for float32"
    assert all(abs(value) < 0.5 for value in checks["agreement_with_randomised_weights"] if value is not None)
    assert checks["deletion"]["patients_in_whom_it_falls_further"][0] > 0.5


@pytest.mark.slow
def test_both_parts_are_explained(options, tmp_path, run_script):
    out = tmp_path / "out"
    arguments = [f"--run_dir={options.output_dir}", f"--input_file={options.test_file}", f"--output_dir={out}"]
    arguments += ["--steps=16", "--max_patients=12", "--num_bootstrap=20", "--labels=long_stay", "--write_patients"]
    done = run_script("run_scripts/run_attribution.py", *arguments)
    assert done.returncode == 0, done.stderr
    checks = json.loads((out / "faithfulness.json").read_text())
    assert checks["completeness"]["median"] < 0.01
    rows = list(csv.DictReader((out / "code_importance.csv").open()))
    for row in rows:
        assert float(row["attribution"]) == pytest.approx(
            float(row["attribution_wide"]) + float(row["attribution_encoder"]), abs=1e-9
        )
    named = {row["code"]: row for row in rows if not row["group"]}
    assert "[history]" in named and float(named["[history]"]["attribution_encoder"]) == pytest.approx(0, abs=1e-9)
    assert any(float(row["attribution_encoder"]) for row in rows) and any(
        float(row["attribution_wide"]) for row in rows
    )
    page = (out / "attribution.html").read_text()
    assert "0.75 wide + 0.50 encoder" in page and "of it wide part" in page


def test_what_has_no_wide_part_is_refused(tmp_path):
    files = write_splits(tmp_path, (8, 8, 8))
    plain = training_options(tmp_path, files, small_config(), wide="stack")
    with pytest.raises(DataError, match="--wide: expected off, or a configuration with wide_days"):
        make_plan(plain)
    assert make_plan(replaced(plain, wide="auto")).options.wide == "off"
    config = small_config(wide_days=DAYS)
    assert make_plan(training_options(tmp_path, files, config)).options.wide == "stack"
    assert make_plan(training_options(tmp_path, files, config, wide="off")).config.wide_days == ()
    assert make_plan(training_options(tmp_path, files, config, tasks=("masked_lm",))).options.wide == "off"
    with pytest.raises(DataError, match="--wide: expected off without a patient-level task"):
        make_plan(training_options(tmp_path, files, config, tasks=("masked_lm",), wide="only"))
    with pytest.raises(DataError, match="wide_days in ascending order"):
        small_config(wide_days=(92, 31))
    rows = [["p1", [3], [0], [1, 2], [1, 1]]] * 9
    write_medbert_dataset(tmp_path / "lists", rows, 5)
    options = training_options(tmp_path, {"input_file": str(tmp_path / "lists")}, config, tasks=("long_stay",))
    with pytest.raises(DataError, match="time of each code"):
        make_plan(options)


@pytest.mark.slow
def test_reading_is_cut_to_a_seeded_subset_and_pretraining_needs_no_wide_part(tmp_path):
    files = write_splits(tmp_path, (40, 8, 8))
    config = small_config(wide_days=DAYS)
    plan = make_plan(training_options(tmp_path, files, config, tasks=("long_stay", "complications"), seed=3))
    whole, ids, targets, weights = wide_part._read(plan, plan.tasks)
    part, some, *labels = wide_part._read(plan, plan.tasks, max_examples=15)
    rows = np.array([list(ids).index(name) for name in some])
    assert len(rows) == 15 and (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(part.codes, whole.take(rows).codes)
    np.testing.assert_array_equal(labels[0], targets[rows])
    np.testing.assert_array_equal(labels[1], weights[rows])
    assert wide_part._read(plan, plan.tasks, max_examples=15)[1].tolist() == some.tolist()
    pretrained = RunDirectory(tmp_path / "pretrained")
    pretrained.path.mkdir()
    alone = make_plan(training_options(tmp_path, files, config, tasks=("masked_lm",)))
    pretrained.start({}, alone.config, alone.vocabulary, alone.tasks)
    assert check_source(plan, str(pretrained.path), False)[0].wide_days == ()
