"""The training loop: repeatable, resumable to the bit, honest about its steps, its best weights and its end.

Training here is deterministic (`--deterministic`), so that "the same" means the same bits.
"""

import json
import logging
import math
import signal
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="training is TensorFlow's")

import keras  # noqa: E402
from small_data import (  # noqa: E402
    all_tasks,
    finished_run,
    planted,
    replaced,
    small_config,
    training_options,
    write_dataset,
    write_splits,
)
from tensorflow.python.framework import config as tf_config  # noqa: E402  # the only way to switch determinism off again

from medtop.data.batch_options import batch_options  # noqa: E402
from medtop.data.batches import BatchOptions  # noqa: E402
from medtop.evaluation.predictions import Predictions  # noqa: E402
from medtop.evaluation.scoring import task_losses  # noqa: E402
from medtop.files.errors import DataError, Stopped  # noqa: E402
from medtop.model.tasks import choose_tasks  # noqa: E402
from medtop.training import distribution, profile  # noqa: E402
from medtop.training import trainer as training  # noqa: E402
from medtop.training.checkpoints import read_arrays, weights_of  # noqa: E402
from medtop.training.log import read_log  # noqa: E402
from medtop.training.options import TrainingOptions, make_plan, measure_names  # noqa: E402
from medtop.training.run_directory import RunDirectory  # noqa: E402
from medtop.training.trainer import Trainer, duration  # noqa: E402
from medtop.training.validation import best_metric_name, better  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .tf.config.experimental_run_functions_eagerly")


@pytest.fixture(scope="module", autouse=True)
def without_graphs():
    """Runs of ten steps take them one by one: making a graph would take longer than the steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def graphs():
    """Graphs all the same, for what is about them."""
    tf.config.run_functions_eagerly(False)
    yield
    tf.config.run_functions_eagerly(True)


@pytest.fixture(autouse=True)
def determinism_ends_with_the_test():
    yield
    tf_config.disable_op_determinism()


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Two epochs of five steps, masked codes and prolonged stay, no validation."""
    folder = tmp_path_factory.mktemp("training")
    files = write_splits(folder, (40, 16, 4)) | {"valid_file": "", "test_file": ""}
    return training_options(
        folder,
        files,
        tasks=("masked_lm", "long_stay"),
        deterministic=True,
        num_warmup_steps=4,
        save_checkpoints_steps=3,
        task_weights={"masked_lm": 0.5},
    )


def trainer(options, folder):
    """A `Trainer` as a new process would make it, in a run directory of its own."""
    return Trainer(make_plan(options), RunDirectory(folder))


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    """A run that nobody disturbed: (`Trainer`, its log, its final weights, its best weights)."""
    folder = tmp_path_factory.mktemp("whole")
    done = trainer(options, folder)
    done.train()
    tf_config.disable_op_determinism()
    return done, read_log(done.run.log_file), weights_of(done.model), read_arrays(done.run.best_weights)


@pytest.mark.slow
def test_log_has_each_step_once_with_its_own_numbers(whole):
    done, rows, *_ = whole
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert [row["epoch"] for row in rows] == [0] * 5 + [1] * 5
    rates = [1e-3 * min((s + 1) / 4, (10 - s) / 6) for s in range(10)]  # warm-up over 4 of 10 steps
    np.testing.assert_allclose([row["learning_rate"] for row in rows], rates, rtol=1e-6)
    for row in rows:
        np.testing.assert_allclose(row["loss"], 0.5 * row["masked_lm_loss"] + row["long_stay_loss"], rtol=1e-6)
    assert len({row["masked_lm_loss"] for row in rows}) == 10  # each step's own value, no running mean
    np.testing.assert_allclose([row["masked_lm_loss"] for row in rows], math.log(60), atol=0.1)  # a guess among 60
    assert done.total_steps == 10
    assert done.state.finished and done.state.epoch == 2 and done.state.batch == 0


def test_log_holds_the_steps_own_loss_not_the_mean_so_far(options, tmp_path):
    """Fault 10. At a learning rate that moves nothing, each step's loss is that of its batch, by NumPy."""
    config = small_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.3)
    still = training_options(
        tmp_path,
        {},
        config,
        input_file=options.input_file,
        tasks=("long_stay",),
        learning_rate=1e-30,
        num_train_epochs=1,
    )
    done = trainer(still, tmp_path / "run")
    done.train()
    expected = []
    for x, y, w in done.batches.epoch(0):
        z, y, w = (np.asarray(part["long_stay"], float) for part in (done.model(x, training=False), y, w))
        expected.append((w * (y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z))).sum())
    assert len(expected) == 5 and np.ptp(expected) > 0.01
    np.testing.assert_allclose([row["long_stay_loss"] for row in read_log(done.run.log_file)], expected, rtol=1e-5)


def test_without_validation_the_last_weights_are_the_best(whole):
    _, _, weights, (best, about) = whole
    assert about == {"step": 10, "value": None}
    assert best.keys() == weights.keys()
    for path, array in best.items():
        np.testing.assert_array_equal(array, weights[path])


def interrupted_at(done, step, act):
    """Calls `act` when step `step` is taken, before its checkpoint."""

    def step_done(logs, stop, last, original=done.step_done):
        if done.state.step + 1 == step:
            act(done)
        original(logs, stop, last)

    done.step_done = step_done


class Killed(BaseException):
    """What a kill would be, if it could be caught."""


def test_a_killed_run_goes_on_to_the_same_bits(options, whole, tmp_path):
    """Killed in the middle of an epoch, then stopped by SIGTERM at its very end: each step once, nothing to be seen."""

    def kill(_):
        raise Killed

    first = trainer(options, tmp_path)
    interrupted_at(first, 5, kill)
    with pytest.raises(Killed):
        first.train()
    assert [row["step"] for row in read_log(first.run.log_file)] == [1, 2, 3]  # what its checkpoint knows of
    with open(first.run.log_file, "a") as file:  # as after a kill between the log's flush and the checkpoint
        file.write('{"step": 4, "loss": 99.0}\n{"step": 5, "lo')

    def terminate(done):
        assert signal.getsignal(signal.SIGTERM) == done._on_signal
        signal.raise_signal(signal.SIGTERM)

    second = trainer(options, tmp_path)
    interrupted_at(second, 5, terminate)
    with pytest.raises(Stopped, match="stopped by signal SIGTERM after step 5; run the same command to go on"):
        second.train()
    assert signal.getsignal(signal.SIGTERM) != second._on_signal
    assert second.checkpoints.paths()[-1].name == "step-000000005.npz"  # though 5 is no multiple of 3

    third = trainer(options, tmp_path)
    third.train()
    _, rows, weights, (best, _) = whole
    assert read_log(third.run.log_file) == rows
    for path, array in weights_of(third.model).items():
        np.testing.assert_array_equal(array, weights[path], err_msg=path)
    for path, array in read_arrays(third.run.best_weights)[0].items():
        np.testing.assert_array_equal(array, best[path], err_msg=path)


@pytest.mark.quick(first=1)
@pytest.mark.parametrize("epoch, batch, known", [(1, 5, [1]), (2, 0, [1, 2])])
def test_validations_that_the_checkpoint_does_not_know_are_taken_back(options, tmp_path, epoch, batch, known):
    """Killed between the second validation and the checkpoint after it, or right after that one: both of step 10."""
    done = trainer(options, tmp_path)
    done.checkpoints.save(done.variables, {"step": 10, "epoch": epoch, "batch": batch})
    done.checkpoints.wait()
    rows = [{"step": 5 * number, "epoch": number, "valid_loss": 1.0} for number in (1, 2)]
    done.run.eval_log_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done._restore()
    assert [row["epoch"] for row in read_log(done.run.eval_log_file)] == known
    assert (done.state.epoch, done.state.batch) == (epoch, batch)


@pytest.mark.slow
@pytest.mark.parametrize("there", [7, 6])
def test_a_run_of_seven_steps_ends_within_an_epoch_or_is_refused(options, tmp_path, monkeypatch, there):
    """5 batches an epoch; a run that waits for more than there are would never end."""
    done = trainer(replaced(options, num_train_steps=7), tmp_path)
    epochs = done.batches.epochs
    monkeypatch.setattr(done.batches, "epochs", lambda *place: epochs(*place).take(there))
    if there < 7:
        with pytest.raises(DataError, match="expected 5 batches an epoch, received fewer"):
            done.train()
    else:
        done.train()
    assert [row["step"] for row in read_log(done.run.log_file)] == [*range(1, there + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 100])
def test_steps_that_are_read_together_give_the_same_run(options, whole, tmp_path, number):
    """Also killed between: what is saved are the weights after the step that it names."""

    def kill(_):
        raise Killed

    several = replaced(options, steps_per_execution=number)
    first = trainer(several, tmp_path)
    interrupted_at(first, 8, kill)
    with pytest.raises(Killed):
        first.train()
    assert [path.name for path in first.checkpoints.paths()] == [f"step-00000000{step}.npz" for step in (3, 5, 6)]
    again = trainer(several, tmp_path)
    again.train()
    _, rows, weights, _ = whole
    assert read_log(again.run.log_file) == rows
    for path, array in weights_of(again.model).items():
        np.testing.assert_array_equal(array, weights[path], err_msg=path)


@pytest.mark.slow
def test_xla_computes_the_same(options, tmp_path, graphs):
    """Packed rows, two parts a step; without dropout, whose noise XLA draws otherwise."""
    config = small_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    logs = {}
    for jit_compile in ("off", "on"):
        still = training_options(
            tmp_path,
            {},
            config,
            input_file=options.input_file,
            tasks=("masked_lm", "long_stay"),
            num_train_steps=3,
            jit_compile=jit_compile,
            packing=True,
            row_lengths="24",
            gradient_accumulation_steps=2,
        )
        done = trainer(still, tmp_path / jit_compile)
        done.train()
        assert done.model.with_xla == (jit_compile == "on")
        logs[jit_compile] = [row["loss"] for row in read_log(done.run.log_file)]
    assert len(set(logs["off"])) == 3
    np.testing.assert_allclose(logs["on"], logs["off"], rtol=1e-4)


def test_xla_is_for_gpus_unless_asked_for(options, tmp_path, monkeypatch):
    for gpus, word, expected in (
        ([], "auto", False),
        (["GPU:0"], "auto", True),
        (["GPU:0"], "off", False),
        ([], "on", True),
    ):
        monkeypatch.setattr(distribution.tf.config, "list_logical_devices", lambda kind, gpus=gpus: gpus)
        assert distribution.Distribution(None).compiles(word) is expected


@pytest.mark.slow
def test_a_profile_tells_the_parts_and_changes_nothing(options, whole, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(profile, "FIRST", 1)
    monkeypatch.setattr(profile, "STEPS", 2)
    monkeypatch.setattr(profile, "TRACED", 1)
    caplog.set_level("INFO")
    done = trainer(replaced(options, profile=True), tmp_path)
    done.train()
    assert read_log(done.run.log_file) == whole[1]
    seconds = json.loads(done.run.profile_file.read_text())["seconds"]
    assert seconds.keys() == {"input_wait", "forward", "backward", "optimizer", "step", "input_alone"}
    assert all(value >= 0 for value in seconds.values()) and seconds["forward"] > 0 and seconds["step"] > 0
    assert "waiting for input" in caplog.text and "ms a step" in caplog.text
    assert list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))


def test_each_option_reaches_the_part_that_it_names(options, tmp_path, monkeypatch):
    """Fault 11: flags that did nothing."""

    class Batches:
        steps_per_epoch = 5

        def __init__(self, *arguments):
            self.arguments = arguments

    monkeypatch.setattr(training, "TrainBatches", Batches)
    values = dict(
        max_seq_length=17,
        masked_lm_prob=0.4,
        max_predictions_per_seq=3,
        train_batch_size=9,
        weight_decay=0.07,
        learning_rate=0.5,
        num_warmup_steps=2,
        num_train_steps=7,
        seed=11,
        precision="mixed_bfloat16",
        deterministic=False,
        balanced_sampling="long_stay",
    )
    plan = make_plan(replaced(options, **values))
    try:
        made = Trainer(plan, RunDirectory(tmp_path))
        other = Trainer(make_plan(replaced(options, **values | {"seed": 12})), RunDirectory(tmp_path))
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    batches = BatchOptions(batch_size=9, max_seq_length=17, masked_lm_prob=0.4, max_predictions=3)
    assert made.batches.arguments == (plan.train, plan.config, plan.tasks, batches, 11, ("long_stay", 0))
    assert batch_options(plan, 9) == batches and (made.total_steps, made.steps_per_epoch) == (7, 5)
    assert made.model.optimizer.weight_decay == 0.07 and made.model.clip_norm == 1.0
    np.testing.assert_allclose(float(made.rate(0)), 0.5 / 2)
    assert made.model.get_layer("encoder").get_layer("layer_0_output").compute_dtype == "bfloat16"
    assert {output.dtype for output in made.model.output.values()} == {"float32"}  # logits
    table = "embeddings/code_embeddings"
    assert not np.array_equal(weights_of(made.model)[table], weights_of(other.model)[table])
    assert not tf_config.is_op_determinism_enabled()
    tenth = Trainer(make_plan(replaced(options, num_warmup_steps=-1, num_train_steps=40)), RunDirectory(tmp_path))
    np.testing.assert_allclose(float(tenth.rate(0)), 1e-3 / 4)  # warm-up over a tenth of 40 steps
    assert tf_config.is_op_determinism_enabled()


def test_a_finished_run_is_a_no_op(options, whole):
    done, rows, *_ = whole
    before = {path: path.stat().st_mtime_ns for path in done.run.path.rglob("*.npz")}
    again = trainer(options, done.run.path)
    interrupted_at(again, 11, lambda _: pytest.fail("a finished run was trained on"))
    again.train()
    assert read_log(done.run.log_file) == rows
    assert before and {path: path.stat().st_mtime_ns for path in done.run.path.rglob("*.npz")} == before


@pytest.mark.slow
def test_loss_that_is_no_number_stops_the_run_and_names_the_step(options, whole, tmp_path):
    wild = Trainer(make_plan(replaced(options, learning_rate=1e38, num_warmup_steps=0)), RunDirectory(tmp_path))
    with pytest.raises(
        DataError, match=r"training: expected a finite loss, received (nan|inf) at step (\d+)"
    ) as caught:
        wild.train()
    assert "\n" not in str(caught.value)
    *rows, last = read_log(wild.run.log_file)  # the step is in the log, so that one sees where it went wrong
    assert f"at step {last['step']} " in str(caught.value) and last["loss"] is None
    assert all(row["loss"] is not None for row in rows)
    assert all(
        np.isfinite(read_arrays(path)[0][name]).all()
        for path in wild.checkpoints.paths()
        for name in read_arrays(path)[0]
    )


# Validation, with measures written into the script.
@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """`run(values, **options)`: trains with these values of the measure, one per epoch of one step; the `Trainer`."""
    files = write_splits(tmp_path, (8, 4, 4)) | {"test_file": ""}

    def run(values, metric, **changes):
        seen = []

        def measures(scorer, tasks, max_batches):
            assert max_batches == changes.get("max_eval_steps", 0)
            seen.append(weights_of(scorer.model))
            return {"loss": 1.0, "roc_auc": None, metric: values[len(seen) - 1]}

        class NoScorer:
            def __init__(self, model, info, config, tasks, options, seed, aggregation):
                assert aggregation is None
                assert info.names[0] == Path(f"{files['valid_file']}.dataset.json")  # fault 9: not the training file
                assert options.batch_size == 5 and seed == 0
                self.model = model

        class OneBatch:
            steps_per_epoch = 1

            def __init__(self, *_):
                x = {key: np.ones((8, 4), np.int32) for key in ("token_ids", "visits", "ages", "patient_slots")}
                x["cls_positions"] = np.zeros((8, 1), np.int32)
                y = {"long_stay": np.arange(8, dtype=np.float32).reshape(8, 1, 1) % 2}
                self.batch = x, y, {"long_stay": np.full((8, 1, 1), 0.125, np.float32)}

            def epochs(self, start, end, first_batch):
                return tf.data.Dataset.from_tensors(self.batch).repeat(end - start)

        monkeypatch.setattr(training, "TrainBatches", OneBatch)
        monkeypatch.setattr(training, "validation_measures", measures)
        monkeypatch.setattr(training, "Scorer", NoScorer)
        options = training_options(
            tmp_path,
            files,
            tasks=("long_stay",),
            num_train_epochs=len(values),
            best_metric=metric,
            eval_batch_size=5,
            **changes,
        )
        done = trainer(options, tmp_path / f"run-{metric}-{len(values)}")
        done.train()
        return done, seen

    return run


def test_best_weights_are_chosen_by_the_measure_and_patience_ends_the_run(scripted, caplog):
    caplog.set_level(logging.INFO)
    done, seen = scripted([0.5, None, 0.7, 0.7, 0.69, 0.9], "roc_auc", patience=2, max_eval_steps=3)
    assert done.state.step == 5 and done.state.finished  # the sixth epoch never came
    assert (done.state.best, done.state.best_step, done.state.since_best) == (
        0.7,
        3,
        2,
    )  # an equal value is no better one
    best, about = read_arrays(done.run.best_weights)
    assert about == {"step": 3, "value": 0.7}
    for path, array in best.items():
        np.testing.assert_array_equal(array, seen[2][path])
    rows = read_log(done.run.eval_log_file)
    assert [row["valid_roc_auc"] for row in rows] == [0.5, None, 0.7, 0.7, 0.69]
    assert "stopping early: no better roc_auc for 2 evaluations" in caplog.text


@pytest.mark.slow
def test_losses_are_better_when_lower_and_undefined_measures_leave_the_last_weights(scripted):
    done, _ = scripted([0.9, 0.2, 0.4], "long_stay.loss")
    assert (done.state.best, done.state.best_step) == (0.2, 2)
    done, seen = scripted([None, None], "roc_auc")
    assert read_arrays(done.run.best_weights)[1] == {"step": 2, "value": None}


@pytest.mark.parametrize(
    "name, lower",
    [
        ("loss", True),
        ("masked_lm.loss", True),
        ("masked_lm.perplexity", True),
        ("long_stay.long_stay.brier", True),
        ("roc_auc", False),
        ("long_stay.macro.roc_auc", False),
        ("masked_lm.accuracy", False),
        ("long_stay.micro.average_precision", False),
    ],
)
def test_direction_of_each_measure(name, lower):
    assert better(name, 0.1, 0.2) is lower and better(name, 0.2, 0.1) is not lower and not better(name, 0.1, 0.1)


def test_measure_that_chooses_by_default():
    assert best_metric_name(TrainingOptions(), all_tasks()) == "roc_auc"
    assert best_metric_name(TrainingOptions(), all_tasks(["masked_lm"])) == "loss"
    pair = choose_tasks(["masked_lm", "next_sentence"], {"next_sentence": ["is_next"]})
    assert best_metric_name(TrainingOptions(), pair) == "masked_lm.loss"
    assert best_metric_name(TrainingOptions(), pair[1:]) == "roc_auc"
    assert best_metric_name(TrainingOptions(best_metric="long_stay.loss"), all_tasks()) == "long_stay.loss"


@pytest.mark.slow
def test_a_signal_during_the_last_validation_is_heard(scripted, monkeypatch):
    """Between two steps nobody looks: it must not be lost there."""
    validate = Trainer._validate

    def stopped_while_validating(done):
        done._on_signal(signal.SIGTERM, None)
        validate(done)

    monkeypatch.setattr(Trainer, "_validate", stopped_while_validating)
    with pytest.raises(Stopped, match="after step 1"):
        scripted([0.5], "roc_auc")


@pytest.mark.slow
# A run that learned something (see `small_data.finished_run`).
def test_planted_signal_is_learned_and_noise_is_not():
    metrics = json.loads((finished_run().folder / "run" / "metrics.json").read_text())["test"]
    assert metrics["long_stay"]["long_stay"]["roc_auc"]["value"] > 0.95
    for label in ("MACE_365", "CKD_365"):
        entry = metrics["complications"][label]
        n, positives = entry["n"], entry["positives"]
        spread = math.sqrt((n + 1) / (12 * positives * (n - positives)))  # of a coin's AUROC, Mann and Whitney 1947
        assert abs(entry["roc_auc"]["value"] - 0.5) < 4 * spread
        assert entry["roc_auc"]["low"] < entry["roc_auc"]["value"] < entry["roc_auc"]["high"]


@pytest.mark.slow
def test_validation_measures_have_the_names_that_may_choose():
    run = finished_run()
    rows = read_log(run.folder / "run" / "eval_log.jsonl")
    assert [row["step"] for row in rows] == [10, 20, 30, 40, 50, 60]
    names = {name.removeprefix("valid_") for name in rows[0] if name.startswith("valid_")}
    assert names == set(measure_names(all_tasks(["long_stay", "complications"])))


@pytest.mark.slow
def test_best_weights_of_a_run_are_those_of_its_best_validation_loss():
    run = finished_run()
    rows = read_log(run.folder / "run" / "eval_log.jsonl")
    best = min(rows, key=lambda row: row["valid_long_stay.loss"])
    about = read_arrays(run.folder / "run" / "best" / "weights.npz")[1]
    assert about == {"step": best["step"], "value": best["valid_long_stay.loss"]}
    assert f"global_step = {best['step']}\n" in (run.folder / "run" / "eval_results.txt").read_text()


def test_losses_of_a_split_by_hand():
    targets, weights = np.array([[1, 0], [0, 1], [1, 1]]), np.array([[1, 1], [1, 0], [0, 1]])
    logits = np.array([[2.0, -1.0], [0.5, 9.0], [-9.0, -2.0]])
    (task,) = all_tasks(["complications"], class_weights={"complications": (3.0, 0.5)})
    predictions = Predictions("complications", task.labels, ["a", "b", "c"], [0, 0, 0], targets, weights, logits)

    def softplus(x):
        return math.log1p(math.exp(x))

    parts = [3 * softplus(-2.0), softplus(-1.0), softplus(0.5), 0.5 * softplus(2.0)]
    assert task_losses({"complications": predictions}, [task]) == {"complications": pytest.approx(sum(parts) / 4)}
    unknown = Predictions("complications", task.labels, ["a"], [0], targets[:1], weights[:1] * 0, logits[:1])
    assert math.isnan(task_losses({"complications": unknown}, [task])["complications"])


@pytest.mark.parametrize(
    "seconds, text", [(3, "3 s"), (89.6, "90 s"), (90, "2 min"), (3000, "50 min"), (5400, "1.5 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.slow
def test_a_damaged_record_ends_training_in_one_line(options, tmp_path):
    """The size is right, one byte is not: only reading notices."""
    write_dataset(tmp_path / "train", planted(30, 1))
    content = bytearray((tmp_path / "train").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "train").write_bytes(content)
    damaged = trainer(
        replaced(options, input_file=str(tmp_path / "train"), tasks=("long_stay",), task_weights={}), tmp_path
    )
    with pytest.raises(DataError, match="expected whole records, received a damaged or cut file") as caught:
        damaged.train()
    assert str(tmp_path / "train") in str(caught.value) and "\n" not in str(caught.value)


def test_settings_and_events_can_be_read_back(whole):
    """TensorBoard's file holds the scalars of every tenth step."""
    done, rows, *_ = whole
    (file,) = done.run.path.glob("events.out.tfevents.*")
    found = {}
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        event = tf.compat.v1.Event.FromString(record)
        for value in event.summary.value:
            found[event.step, value.tag] = float(tf.make_ndarray(value.tensor))
    assert {step for step, _ in found} == {10}
    for name in ("loss", "masked_lm_loss", "learning_rate"):
        assert found[10, name] == pytest.approx(rows[-1][name], rel=1e-6)
    assert json.loads(json.dumps(rows)) == rows and small_config().vocab_size == 60


@pytest.mark.slow
def test_telemetry_weights_and_their_plot(options, tmp_path):
    """--loss_balancing, --telemetry_steps and --plot: what moves is logged, drawn, and stored in the checkpoint."""
    about = replaced(options, loss_balancing="gradnorm", balancing_learning_rate=0.1, telemetry_steps=5, plot=True)
    done = trainer(about, tmp_path)
    done.train()
    rows = read_log(done.run.log_file)
    weights = np.array([[row[f"{name}_weight"] for name in ("masked_lm", "long_stay")] for row in rows])
    assert not weights[0].any()  # the first losses only tell where to start
    np.testing.assert_allclose(weights[1:] @ [2, 1], 2.0, rtol=1e-5)  # behind task weights they sum to their number
    assert np.ptp(weights[1:], axis=0).min() > 0.005
    told = [row for row in rows if "masked_lm_gradient_norm" in row]
    assert [row["step"] for row in told] == [5, 10]
    assert all(-1 <= row["masked_lm_long_stay_gradient_cosine"] <= 1 for row in told)
    assert all(row["long_stay_gradient_norm"] > 0 for row in told)
    page = done.run.training_page.read_text()
    for title in (
        "masked_lm_loss",
        "weight of the loss",
        "gradient norm, shared layer",
        "cosines between gradients",
        "masked_lm, long_stay",
    ):
        assert f">{title}<" in page
    arrays, _ = read_arrays(done.checkpoints.paths()[-1])
    assert any("balancer_log_weights" in name for name in arrays)


@pytest.mark.slow  # quick: the balancer's variables are in the checkpoint (telemetry above, test_balancing_state)
@pytest.mark.parametrize("balancing", ["uncertainty", "gradnorm", "random"])
def test_a_killed_run_goes_on_to_the_same_bits_with_each_balancer(options, tmp_path, balancing):
    about = replaced(options, loss_balancing=balancing, packing=True, row_lengths="16,64")
    whole = trainer(about, tmp_path / "whole")
    whole.train()

    def kill(_):
        raise Killed

    first = trainer(about, tmp_path / "killed")
    interrupted_at(first, 8, kill)
    with pytest.raises(Killed):
        first.train()
    second = trainer(about, tmp_path / "killed")
    second.train()
    assert read_log(second.run.log_file) == read_log(whole.run.log_file)
    assert second.variables.keys() == whole.variables.keys()
    for name, variable in second.variables.items():
        np.testing.assert_array_equal(variable.numpy(), whole.variables[name].numpy(), err_msg=name)
