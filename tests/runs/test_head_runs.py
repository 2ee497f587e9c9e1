"""Runs with heads over the encoder's outputs: trained, resumed, frozen, on nested subsets, exported, refused."""

import json

import numpy as np
import pytest
from small_data import (
    finished_run,
    planted,
    replaced,
    small_config,
    training_options,
    with_labels,
    write_dataset,
    write_splits,
)

from medtop.data import tfrecord
from medtop.data.description import read_dataset
from medtop.files.errors import DataError, Stopped
from medtop.runs.execute import execute
from medtop.runs.predict import predict
from medtop.serve.saved_model import export_saved_model
from medtop.training.checkpoints import read_arrays
from medtop.training.options import make_plan
from medtop.training.run_directory import RunDirectory
from medtop.training.subset import chosen_patients
from medtop.training.trainer import Trainer

CONFIG = small_config(embeddings=("code", "visit"), initializer_range=0.3, head_size=8)
WITHOUT_DROPOUT = replaced(CONFIG, hidden_dropout_prob=0.0)  # whose noise depends on how many heads there are


def options_of(folder, sizes=(96, 60, 40), **changes):
    values = dict(tasks=("long_stay",), max_seq_length=24, train_batch_size=32, learning_rate=2e-2) | changes
    return training_options(folder, write_splits(folder, sizes, planted), values.pop("config", CONFIG), **values)


@pytest.fixture(scope="module")
def bigru(tmp_path_factory):
    """(options, results) of a trained GRU in both directions on plain vectors, in packed rows."""
    folder = tmp_path_factory.mktemp("bigru")
    options = options_of(folder, (320, 120, 60), head="bigru", body="embeddings", do_eval=True, num_train_epochs=4,
                         packing=True)  # fmt: skip
    return options, execute(options)


@pytest.mark.slow
def test_it_learns_and_the_run_says_what_it_is(bigru, tmp_path):
    options, results = bigru
    run = RunDirectory(options.output_dir)
    config = run.read()[0]
    assert (config.head, config.body, config.head_size) == ("bigru", "embeddings", 8)
    assert results.metrics["test"]["long_stay"]["long_stay"]["roc_auc"]["value"] > 0.9  # one code says it all
    report = run.report_file.read_text()
    assert "A model of vectors of width 16 without transformer blocks" in report
    assert "under a GRU in both directions" in run.card_text_file.read_text()
    predict(run.path, options.test_file, tmp_path / "new.csv")
    again = execute(replaced(options, do_train=False))
    np.testing.assert_array_equal(
        again.predictions["test"]["long_stay"].logits, results.predictions["test"]["long_stay"].logits
    )


@pytest.mark.slow
def test_a_linear_head_cannot_be_trained_on_with_another_one(bigru):
    options, _ = bigru
    with pytest.raises(DataError, match=r"config.head: 'bigru' then, 'bilstm' now"):
        execute(replaced(options, head="bilstm"))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["retain", "bilstm"])
def test_exports_agree_with_keras(head, tmp_path):
    """GRUs and attention over visits; LSTMs in both directions."""
    pytest.importorskip("tf2onnx")
    from medtop.serve.onnx_model import export_onnx

    options = options_of(tmp_path, (64, 60, 40), head=head, body="embeddings", do_eval=True)
    execute(options)
    assert export_saved_model(options.output_dir, tmp_path / "saved").largest <= 1e-5
    assert export_onnx(options.output_dir, tmp_path / "onnx").largest <= 1e-5


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path, monkeypatch):
    options = options_of(tmp_path, head="lstm", body="embeddings", wide="off", train_patients=70, seed=5)
    execute(options)
    whole, _ = read_arrays(RunDirectory(options.output_dir).best_weights)
    done = Trainer.step_done

    def stopped(trainer, *arguments, **named):
        trainer._stop = "SIGTERM" if trainer.state.step == 2 else None
        done(trainer, *arguments, **named)

    monkeypatch.setattr(Trainer, "step_done", stopped)
    again = replaced(options, output_dir=str(tmp_path / "again"))
    with pytest.raises(Stopped):
        execute(again)
    monkeypatch.undo()
    execute(again)
    arrays, _ = read_arrays(RunDirectory(again.output_dir).best_weights)
    assert arrays.keys() == whole.keys()
    for path, array in arrays.items():
        np.testing.assert_array_equal(array, whole[path], err_msg=path)


@pytest.mark.slow
def test_a_frozen_encoder_stays_and_its_head_learns(tmp_path):
    """From a run with a linear head: the encoder is taken bit for bit, the head is new."""
    source = finished_run()
    there, _ = read_arrays(source.folder / "run" / "best" / "weights.npz")
    files = {name: getattr(source.options, name) for name in ("input_file", "valid_file")}
    config = replaced(RunDirectory(source.folder / "run").read()[0], head="gru", head_size=6)
    options = training_options(
        tmp_path, files, config, init_checkpoint=str(source.folder / "run"), freeze_encoder=True, num_train_epochs=1,
        max_seq_length=24, learning_rate=1e-2, train_batch_size=64,
    )  # fmt: skip
    plan = make_plan(options)
    assert [task.name for task in plan.tasks] == ["long_stay", "complications"]  # nobody can learn masked codes
    execute(options)
    here, _ = read_arrays(RunDirectory(options.output_dir).best_weights)
    kept = {path for path in here if path in there and not path.endswith(("logits/kernel", "logits/bias"))}
    assert kept == {path for path in there if not path.startswith(("long_stay", "complications"))} and len(kept) > 10
    for path in kept:
        np.testing.assert_array_equal(here[path], there[path], err_msg=path)
    assert here["long_stay_logits/kernel"].shape == (6, 1) and np.abs(here["recurrent_forward/kernel"]).max() > 0.1
    settings = RunDirectory(options.output_dir).settings()
    assert settings["freeze_encoder"] is True and settings["config.head"] == "gru"


@pytest.mark.slow
def test_unknown_labels_move_nothing(tmp_path):
    """With all labels of a task unknown, its loss is 0 and the shared net takes the same steps as without it."""

    def run(name, tasks):
        folder = tmp_path / name
        folder.mkdir()
        people = [with_labels(p, "complications", None, None) for p in planted(40, 1)]
        write_dataset(folder / "input_file.tfrecord", people)
        file = {"input_file": str(folder / "input_file.tfrecord")}
        options = training_options(folder, file, WITHOUT_DROPOUT, head="gru",
                                   body="embeddings", tasks=tasks, num_train_steps=3, learning_rate=1e-2)  # fmt: skip
        execute(options)
        rows = [json.loads(line) for line in RunDirectory(options.output_dir).log_file.read_text().splitlines()]
        return read_arrays(RunDirectory(options.output_dir).best_weights)[0], rows

    # long_stay comes first, so that its head starts from the same numbers
    both, rows = run("both", ("long_stay", "complications"))
    alone, _ = run("alone", ("long_stay",))
    assert all(row["complications_loss"] == 0 for row in rows if "complications_loss" in row)
    for path in alone:
        np.testing.assert_allclose(both[path], alone[path], atol=1e-6, err_msg=path)


@pytest.mark.slow
def test_subsets_are_nested_and_are_the_records_themselves(tmp_path):
    files, ids, records = write_splits(tmp_path, (90, 30, 30), planted), {}, {}
    for count in (20, 50):
        options = training_options(tmp_path, {"input_file": files["input_file"]}, CONFIG, tasks=("long_stay",),
                                   train_patients=count, num_train_steps=1, seed=9,
                                   output_dir=str(tmp_path / f"run{count}"))  # fmt: skip
        execute(options)
        run = RunDirectory(options.output_dir)
        info = read_dataset(run.subset_file)
        ids[count] = run.read_splits()["train"]
        assert info.counts["examples"] == info.counts["patients"] == len(ids[count]) == count
        assert (run.subset_file.stat().st_mode & 0o077) == 0 and run.subset_file.parent.name == "restricted"
        import tensorflow as tf

        records[count] = [bytes(record.numpy()) for record in tf.data.TFRecordDataset(str(run.subset_file))]
        told = [name for columns in tfrecord.read_examples(info) for name in columns["patient_id"]]
        assert sorted(told) == ids[count]
        known = sum(columns["long_stay_labels"].sum() for columns in tfrecord.read_examples(info))
        assert info.labels["long_stay"]["long_stay"]["positives"] == known
    every = [bytes(record.numpy()) for record in tf.data.TFRecordDataset(files["input_file"])]
    assert set(ids[20]) < set(ids[50]) and set(records[20]) < set(records[50]) < set(every)
    assert [record for record in every if record in set(records[50])] == records[50]  # in their order
    people = [name for columns in tfrecord.read_examples(files["input_file"]) for name in columns["patient_id"]]
    assert ids[50] == chosen_patients(people, 50, seed=9) != chosen_patients(people, 50, seed=8)
    with pytest.raises(
        DataError, match=r"--train_patients: expected at most 90 \(patients in --input_file\), rec.* 91"
    ):
        execute(replaced(options, train_patients=91, output_dir=str(tmp_path / "more")))
    assert not RunDirectory(tmp_path / "more").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"head": "retain"}, "--head=retain: config: expected body='embeddings'"),
        ({"body": "embeddings"}, "--body=embeddings: config: expected pooling mean or sum"),
        ({"freeze_encoder": True}, "--freeze_encoder needs --init_checkpoint"),
        ({"head": "gru", "tasks": ("masked_lm",)}, "--head=gru: expected a patient-level task, received masked_lm"),
        (
            {"head": "gru", "body": "embeddings", "tasks": ("masked_lm", "long_stay")},
            r"--tasks: expected no masked_lm with --head=gru \(plain vectors see no neighbours\)",
        ),
        ({"head": "rnn"}, "--head: expected linear, gru, bigru, lstm, bilstm, retain, received 'rnn'"),
        ({"train_patients": -1}, "--train_patients: expected 0 or more"),
        ({"head": "gru", "wide": "only", "config": small_config(wide_days=(31,))}, "has no effect with --wide=only"),
        (
            {"freeze_encoder": True, "init_checkpoint": "x", "loss_balancing": "gradnorm"},
            "--loss_balancing=gradnorm: expected an encoder that is trained",
        ),
    ],
)
def test_what_is_refused_before_anything_starts(changes, words, tmp_path):
    with pytest.raises(DataError, match=words):
        make_plan(options_of(tmp_path, (8, 4, 4), **changes))
