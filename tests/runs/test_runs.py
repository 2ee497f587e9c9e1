"""One run from options to files: begun once, gone on with or refused, evaluated on what it never saw."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="a run is TensorFlow's")

from small_data import (  # noqa: E402
    finished_run,
    patients,
    planted,
    replaced,
    small_config,
    training_options,
    with_labels,
    write_dataset,
    write_splits,
)

from medtop.cli import training_flags  # noqa: E402
from medtop.cohort.vocabulary import Vocabulary  # noqa: E402
from medtop.data.checks import first_look  # noqa: E402
from medtop.evaluation.baselines import BASELINES  # noqa: E402
from medtop.evaluation.calibration import fit_calibration  # noqa: E402
from medtop.evaluation.patients import PatientEvaluation  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.model.config import BertConfig  # noqa: E402
from medtop.model.tasks import choose_tasks  # noqa: E402
from medtop.readmission.evaluation import AdmissionEvaluation  # noqa: E402
from medtop.runs import execute as runs  # noqa: E402
from medtop.runs import plan, results  # noqa: E402
from medtop.runs.execute import check_splits, execute  # noqa: E402
from medtop.training.checkpoints import CheckpointFolder, read_arrays, write_arrays  # noqa: E402
from medtop.training.options import make_plan  # noqa: E402
from medtop.training.run_directory import RunDirectory  # noqa: E402


@pytest.fixture
def copied(tmp_path):
    """The finished run in a folder that a test may change: (options, `RunDirectory`)."""
    run = finished_run()
    shutil.copytree(run.folder / "run", tmp_path / "run")
    return replaced(run.options, output_dir=str(tmp_path / "run")), RunDirectory(tmp_path / "run")


@pytest.fixture
def no_training(monkeypatch):
    """Training, where it would begin, is an error of its own."""

    class Begun(Exception):
        pass

    class NoTrainer:
        def __init__(self, plan, run, distribution):
            raise Begun

    monkeypatch.setattr(runs, "Trainer", NoTrainer)
    return Begun


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_a_run_directory_holds_the_contracts_files():
    folder = finished_run().folder / "run"
    names = {name for name in contents(folder) if not name.startswith(("checkpoints/", "events."))}
    assert names >= {
        "config.json",
        "vocab.txt",
        "tasks.json",
        "restricted/splits.csv",
        "best/weights.npz",
        "train_log.jsonl",
        "eval_results.txt",
        "metrics.json",
        "restricted/predictions.csv",
        "report.html",
        "README.md",
        "card.json",
        "run.json",
        "calibration.json",
    }
    assert list((folder / "checkpoints").glob("step-*.npz")) and list(folder.glob("events.out.tfevents.*"))
    assert not [name for name in names if name.endswith(".tmp")]


def test_a_run_says_what_it_is():
    run = finished_run()
    config, vocabulary, tasks = RunDirectory(run.folder / "run").read()
    assert config == small_config(embeddings=("code", "visit"), pooling="mean", initializer_range=0.3)
    assert isinstance(vocabulary, Vocabulary) and vocabulary.tokens[5] == "C00"
    assert tasks == choose_tasks(
        ["long_stay", "complications"], {"long_stay": ["long_stay"], "complications": ["MACE_365", "CKD_365"]}
    )
    splits = RunDirectory(run.folder / "run").read_splits()
    assert splits == {split: sorted(person["patient_id"] for person in people) for split, people in run.people.items()}
    assert "python run_scripts/run_toppretraining.py --made=up" in (run.folder / "run" / "README.md").read_text()


def test_test_split_is_not_opened_while_training():
    """`finished_run` moves the test file away while it trains: that it ended, and used the file then, is the test."""
    metrics = json.loads((finished_run().folder / "run" / "metrics.json").read_text())
    assert list(metrics) == ["valid", "test"]
    assert [metrics[split]["long_stay"]["long_stay"]["n"] for split in metrics] == [120, 120]


def test_ids_with_commas_and_quotes_go_there_and_back(tmp_path):
    run = RunDirectory(tmp_path)
    splits = {"train": ["a,b", 'c"d', "é", "e\nf", " g "], "test": ["h"]}
    run.write_splits(splits)
    assert run.read_splits() == splits


def test_same_command_on_a_finished_run_changes_nothing(copied):
    options, run = copied
    before = contents(run.path)
    assert execute(replaced(options, do_eval=False)) is None
    assert contents(run.path) == before | {".lock": str(os.getpid()).encode()}


def test_other_settings_are_refused_with_the_list_of_differences(copied, no_training, tmp_path):
    options, run = copied
    before = contents(run.path)
    changes = dict(learning_rate=0.5, tasks=("long_stay",), max_seq_length=48, class_weights={"long_stay": (2.0,)})
    with pytest.raises(DataError) as caught:
        execute(replaced(options, **changes))
    message = str(caught.value)
    differences = [
        "class_weights: {} then, {'long_stay': [2.0]} now",
        "learning_rate: 0.013 then, 0.5 now",
        "max_seq_length: 24 then, 48 now",
        "tasks: ['long_stay', 'complications'] then, ['long_stay'] now",
    ]
    assert "received others: " + "; ".join(differences) + "; --overwrite starts anew" in message
    assert "\n" not in message and contents(run.path).keys() == before.keys()
    with pytest.raises(DataError, match="expected a new folder .--noresume., found a run"):
        execute(options, resume=False)


def test_another_configuration_under_the_same_name_is_refused(copied, no_training, tmp_path):
    """Not the path of the file counts, but what it says: of dropout no checkpoint would tell."""
    options, _ = copied
    values = json.loads((finished_run().folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | {"hidden_dropout_prob": 0.3, "activation": "gelu_tanh"}))
    message = "config.activation: 'gelu' then, 'gelu_tanh' now; config.hidden_dropout_prob: 0.1 then, 0.3 now; --"
    with pytest.raises(DataError, match=message):
        execute(replaced(options, bert_config_file=str(tmp_path / "config.json")))
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(no_training):  # the same content elsewhere: goes on
        execute(replaced(options, bert_config_file=str(tmp_path / "config.json")))


def test_a_run_of_an_earlier_version_goes_on(copied, no_training, tmp_path):
    """What it does not name it did not have: it counts as the default, and as nothing else."""
    options, run = copied
    about = json.loads(run.run_file.read_text())
    for name in ("train_patients", "freeze_encoder", "config.neighbour_layers", "config.channel_dropout_prob"):
        del about["settings"][name]
    run.run_file.write_text(json.dumps(about))
    with pytest.raises(no_training):
        execute(options)
    config = json.loads((finished_run().folder / "config.json").read_text()) | {"neighbour_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="received others: config.neighbour_layers: 0 then, 1 now; --overwrite"):
        execute(replaced(options, bert_config_file=str(tmp_path / "config.json")))


def test_other_data_under_the_same_name_are_refused(copied, no_training, tmp_path):
    options, run = copied
    path = tmp_path / "train"
    write_dataset(path, planted(320, 1))
    settings = run.settings()
    settings["input_file"] = str(path)
    run.start(settings, *[run.read()[i] for i in (0, 1, 2)])
    with pytest.raises(no_training):
        execute(replaced(options, input_file=str(path)))
    write_dataset(path, planted(319, 1))
    with pytest.raises(DataError, match="data: .*320.*then.*319.*now"):
        execute(replaced(options, input_file=str(path)))


def test_overwrite_starts_anew_and_keeps_what_is_not_the_runs(copied, no_training):
    options, run = copied
    (run.path / "notes.txt").write_text("mine")
    with pytest.raises(no_training):
        execute(replaced(options, learning_rate=0.5), overwrite=True)
    assert set(contents(run.path)) == {
        "notes.txt",
        "config.json",
        "vocab.txt",
        "tasks.json",
        "restricted/splits.csv",
        "run.json",
        ".lock",
    }
    assert run.settings()["learning_rate"] == 0.5


@pytest.mark.parametrize(
    "changes", [dict(test_file="train"), dict(learning_rate=-1.0), dict(init_checkpoint="nowhere")]
)
def test_a_refused_overwrite_leaves_the_earlier_run_whole(copied, no_training, changes):
    options, run = copied
    before = contents(run.path)
    if "test_file" in changes:
        changes = {"test_file": options.input_file}
    with pytest.raises(DataError):
        execute(replaced(options, **changes), overwrite=True)
    assert {**contents(run.path), ".lock": before[".lock"]} == before


def test_a_kill_while_an_earlier_run_is_removed_leaves_no_checkpoint_to_the_next(copied, monkeypatch):
    """Whatever is left, a run with other settings must not go on from weights of the removed one."""
    options, run = copied
    files, gone = len(contents(run.path)), []
    unlink = type(run.path).unlink

    def dying(path, **arguments):
        if len(gone) == stop:
            raise KeyboardInterrupt
        gone.append(path)
        unlink(path, **arguments)

    for stop in range(files):
        folder = run.path.with_name(f"copy-{stop}")
        shutil.copytree(run.path, folder)
        gone.clear()
        with monkeypatch.context() as patch:
            patch.setattr(type(run.path), "unlink", dying)
            try:
                RunDirectory(folder).clear()
            except KeyboardInterrupt:
                pass
        left = RunDirectory(folder)
        assert left.exists() or not CheckpointFolder(left.checkpoints).paths(), stop
        if left.exists():
            assert left.read() == run.read()  # as long as it is a run, it is a whole one
        shutil.rmtree(folder)


def test_two_runs_in_one_folder_are_refused(copied, no_training):
    options, run = copied
    code = (
        "import sys; from medtop.training.run_directory import RunDirectory\n"
        "with RunDirectory(sys.argv[1]).locked(): print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=os.path.dirname(os.path.dirname(runs.__file__)),
    ) as other:
        assert other.stdout.readline() == "locked\n"
        for changes in ({}, {"do_train": False}):
            with pytest.raises(
                DataError, match=rf"expected to be the only run here, found another one .process {other.pid}."
            ):
                execute(replaced(options, **changes))
        other.kill()
    with pytest.raises(no_training):  # the lock died with its holder
        execute(options)


def test_patients_in_two_splits_are_refused(tmp_path, no_training):
    """Fault 6, and fault 9: evaluation on the training file."""
    files = write_splits(tmp_path, (6, 5, 4))
    options = training_options(tmp_path, files)
    write_dataset(tmp_path / "mixed", [*planted(3, 9), *planted(2, 1)])
    for flag, other in (("valid_file", "train and valid"), ("test_file", "train and test")):
        with pytest.raises(DataError, match=f"expected each patient in one split, received 2 patients in both {other}"):
            execute(replaced(options, **{flag: str(tmp_path / "mixed")}))
        with pytest.raises(DataError, match=f"received 6 patients in both {other}"):
            execute(replaced(options, **{flag: files["input_file"]}))
    with pytest.raises(DataError, match="received 5 patients in both valid and test"):
        execute(replaced(options, test_file=files["valid_file"]))
    assert not RunDirectory(options.output_dir).exists()  # nothing was begun
    check_splits({"train": ["a", "b"], "valid": ["c"], "test": []})


def test_a_later_command_cannot_evaluate_on_patients_of_the_training(copied):
    options, _ = copied
    later = replaced(options, do_train=False)
    for file, message in (
        (options.input_file, "received 320 patients in both train and test"),
        (options.valid_file, "received 120 patients in both valid and test"),
    ):
        with pytest.raises(DataError, match=message):
            execute(replaced(later, test_file=file))
    with pytest.raises(DataError, match="received 320 patients in both train and valid"):
        execute(replaced(later, valid_file=options.input_file, test_file=""))
    with pytest.raises(DataError, match="received 320 patients in both train and test"):
        execute(replaced(options, test_file=options.input_file))  # the finished run, asked to evaluate elsewhere


def test_init_checkpoint_is_checked_before_a_run_is_begun(tmp_path, no_training):
    files = write_splits(tmp_path, (6, 5, 4))
    options = training_options(tmp_path, files, init_checkpoint=str(finished_run().folder / "run"))
    with pytest.raises(DataError, match="expected the encoder of"):  # another pooling
        execute(options)
    assert not RunDirectory(options.output_dir).exists()
    config = small_config(embeddings=("code", "visit"), pooling="mean", initializer_range=0.3)
    options = training_options(tmp_path, files, config, init_checkpoint=str(finished_run().folder / "run"))
    with pytest.raises(no_training):
        execute(options)
    swapped = files | {"input_file": files["test_file"], "test_file": finished_run().options.input_file}
    options = training_options(tmp_path, swapped, config, init_checkpoint=str(finished_run().folder / "run"))
    with pytest.raises(DataError, match="expected a run trained on other patients than the test split's"):
        execute(replaced(options, output_dir=str(tmp_path / "second")))


def test_weights_of_another_run_are_taken_once(tmp_path, monkeypatch):
    """--init_checkpoint and --remap_vocab reach the model of a new run (fault 11); a resumed one has its own."""
    taken, checkpoints = [], []

    class NoTrainer:
        def __init__(self, plan, run, distribution):
            self.model, self.checkpoints = "the model", SimpleNamespace(paths=lambda: checkpoints)

        def train(self):
            taken.append("trained")

    def initialise(model, plan, folder, remap_vocab):
        taken.append((model, plan.train.num_examples, folder, remap_vocab))
        return SimpleNamespace(weights=[], left=[], codes=0, of=0)

    other = str(finished_run().folder / "run")  # which trains, if it is the first to be asked
    monkeypatch.setattr(runs, "Trainer", NoTrainer)
    monkeypatch.setattr(runs, "initialise", initialise)
    config = small_config(embeddings=("code", "visit"), pooling="mean", initializer_range=0.3)
    options = training_options(tmp_path, write_splits(tmp_path, (6, 5, 4)), config, init_checkpoint=other)
    for remap in (False, True):
        assert execute(replaced(options, remap_vocab=remap, output_dir=str(tmp_path / f"run-{remap}"))) is None
        assert taken == [("the model", 6, other, remap), "trained"]
        taken.clear()
    checkpoints.append("step-000000003.npz")
    execute(replaced(options, remap_vocab=True, output_dir=str(tmp_path / "run-True")))
    assert taken == ["trained"]


def test_ids_beyond_a_table_are_counted_or_refused(tmp_path, no_training, caplog):
    config = small_config(
        embeddings=("code", "visit", "gap"), visit_vocab_size=3, day_scale="days", day_vocab_size=10**6
    )
    files = write_splits(tmp_path, (6, 5, 4))
    people = [person for size, seed in ((6, 1), (5, 2), (4, 3)) for person in patients(size, seed)]
    beyond = [
        number
        for person in people
        for number, (codes, *_) in enumerate(person["visits"], 1)
        if number > 2
        for _ in codes
    ]
    assert len(beyond) > 50
    options = training_options(tmp_path, files, config)
    with pytest.raises(
        DataError, match=rf"embedding visit: expected ids up to 2 .*received {max(beyond)} \(--strict\)"
    ):
        execute(replaced(options, strict=True))
    assert not RunDirectory(options.output_dir).exists()
    with pytest.raises(no_training):
        execute(options)
    assert f"embedding visit: {len(beyond)} tokens lie beyond its table (up to {max(beyond)})" in caplog.text
    assert "embedding gap" not in caplog.text


def test_first_look_counts_segments_and_days_too(tmp_path):
    people = patients(9, 1)
    info = write_dataset(tmp_path / "x", people)
    config = small_config(
        embeddings=("code", "segment", "gap", "stay", "age"),
        segment="visit",
        type_vocab_size=4,
        day_scale="days",
        day_vocab_size=25,
    )
    look = first_look({"train": info, "valid": None}, config)
    assert look.patients == {"train": sorted(person["patient_id"] for person in people)}
    tokens = [
        (number, gap, stay)
        for person in people
        for number, (codes, stay, gap, *_) in enumerate(person["visits"], 1)
        for _ in codes
    ]
    for name, place, last in (("segment", 0, 3), ("gap", 1, 24), ("stay", 2, 24)):
        values = [token[place] for token in tokens if token[place] > last]
        assert look.clipped.pop(name) == (len(values), max(values), last)
    assert look.clipped == {}  # ages beyond 121 years are meant to share a row
    assert first_look({"train": info}, small_config(embeddings=("code", "segment", "gap"))).clipped == {}


def test_a_begun_run_without_its_files_is_refused_in_one_line(copied):
    options, run = copied
    later = replaced(options, do_train=False)
    for damage, message in (
        (lambda: run.tasks_file.unlink(), "tasks.json: expected a tasks file, found no such file"),
        (lambda: run.tasks_file.write_text("{"), "tasks.json: line 1: expected JSON, received another content"),
        (lambda: run.tasks_file.write_text('{"version": 7}'), "tasks.json: expected version 1, received version 7"),
        (lambda: run.vocabulary_file.write_text("[PAD]\n"), "vocab.txt: expected a vocabulary that holds"),
        (lambda: run.config_file.write_text("[]"), "config.json: expected a JSON object"),
        (lambda: run.run_file.unlink(), "expected a run directory (with run.json), found none"),
    ):
        kept = contents(run.path)
        damage()
        with pytest.raises(DataError) as caught:
            execute(later)
        assert message in str(caught.value) and "\n" not in str(caught.value)
        for name, content in kept.items():
            (run.path / name).write_bytes(content)
    tokens = run.vocabulary_file.read_text()
    run.vocabulary_file.write_text(tokens + "X\n")
    with pytest.raises(DataError, match="expected 60 tokens .config.json., received 61"):
        execute(later)


@pytest.mark.slow
def test_evaluation_alone_repeats_the_runs_numbers(copied):
    """--do_eval without --do_train, with flags left at their defaults: the run's own lengths, not the data's."""
    options, run = copied
    before = contents(run.path)
    for name in ("metrics.json", "restricted/predictions.csv", "eval_results.txt"):
        (run.path / name).unlink()
    results = execute(
        replaced(options, do_train=False, input_file="", bert_config_file="", max_seq_length=None, tasks=None)
    )
    after = contents(run.path)
    for name in ("metrics.json", "eval_results.txt"):
        numbers = [np.array(re.findall(r"-?\d+\.\d+", text[name].decode()), float) for text in (before, after)]
        assert len(numbers[0]) > 10
        np.testing.assert_allclose(numbers[1], numbers[0], atol=2e-5, err_msg=name)
    assert results.split == "test" and results.metrics.keys() == {"valid", "test"}
    for name in ("best/weights.npz", "train_log.jsonl", "run.json", "config.json"):
        assert after[name] == before[name]


@pytest.mark.slow
def test_an_endpoint_that_nobody_of_the_test_split_has_known(copied, tmp_path):
    """Its line says so; all else is measured, compared and written."""
    options, run = copied
    people = [
        with_labels(person, "complications", person["labels"]["complications"][0], None)
        for person in finished_run().people["test"]
    ]
    write_dataset(tmp_path / "unknown.tfrecord", people, split="test")
    found = execute(
        replaced(options, do_train=False, test_file=str(tmp_path / "unknown.tfrecord"), baselines=True, num_bootstrap=5)
    )
    entry = found.metrics["test"]["complications"]
    assert entry["CKD_365"]["n"] == 0 and entry["CKD_365"]["roc_auc"]["value"] is None
    assert entry["MACE_365"]["n"] == len(people) and entry["MACE_365"]["brier"]["value"] is not None
    assert "0 positives in test" in (run.path / "report.html").read_text()


@pytest.mark.slow
def test_options_of_an_evaluation_reach_what_they_name(copied, monkeypatch, tmp_path):
    """Fault 11. A true risk that orders the planted patients rightly is the best reachable."""
    options, run = copied
    risk = ["patient_id,prediction_time,task,label,risk"]
    for person in finished_run().people["test"]:
        time = np.datetime64(person["prediction_time"], "s")
        risk.append(f"{person['patient_id']},{time},long_stay,long_stay,{0.1 + 0.8 * person['labels']['long_stay'][0]}")
    (tmp_path / "risk.csv").write_text("\n".join(risk) + "\n")
    batches = []

    def scorer(model, info, config, tasks, options, seed, made=results.Scorer):
        batches.append((info.split, options.batch_size, options.max_seq_length, seed))
        return made(model, info, config, tasks, options, seed)

    monkeypatch.setattr(results, "Scorer", scorer)
    evaluation = replaced(options, do_train=False, eval_batch_size=7, seed=5)
    found = execute(replaced(evaluation, baselines=True, num_bootstrap=0, true_risk_file=str(tmp_path / "risk.csv")))
    assert batches == [("valid", 7, 24, 5), ("test", 7, 24, 5)]  # fault 9: each split once, training's never
    entry = found.metrics["test"]["long_stay"]["long_stay"]["roc_auc"]
    assert entry["low"] is None and entry["high"] is None
    assert found.comparison["test"]["best_reachable"]["long_stay"]["long_stay"]["roc_auc"] == 1
    for name, tasks in found.comparison["test"]["baselines"].items():
        assert tasks["long_stay"]["long_stay"]["roc_auc"]["value"] > 0.85, name
    assert set(found.baselines["test"]) == set(BASELINES)
    # Calibration and thresholds come from validation (fault 9), of the model and of the baselines.
    model = fit_calibration(found.predictions["valid"]["long_stay"])
    np.testing.assert_allclose(
        found.probabilities["test"]["long_stay"], model.apply(found.predictions["test"]["long_stay"])
    )
    thresholds = {
        split: found.metrics[split]["long_stay"]["long_stay"]["threshold"]["value"] for split in ("valid", "test")
    }
    assert thresholds["valid"] == thresholds["test"] == model.thresholds["long_stay"]
    for name, tasks in found.baselines["test"].items():
        baseline = fit_calibration(found.baselines["valid"][name]["complications"][0])
        np.testing.assert_allclose(tasks["complications"][1], baseline.apply(tasks["complications"][0]), err_msg=name)
        shown = found.comparison["test"]["baselines"][name]["complications"]
        assert {label: shown[label]["threshold"]["value"] for label in baseline.thresholds} == baseline.thresholds
    with_intervals = execute(replaced(evaluation, baselines=False, num_bootstrap=5))
    assert with_intervals.metrics["test"]["complications"]["CKD_365"]["roc_auc"]["low"] is not None
    assert with_intervals.baselines == {} and with_intervals.comparison["test"]["best_reachable"] == {}


def test_best_weights_of_another_model_are_refused(copied):
    options, run = copied
    arrays, state = read_arrays(run.best_weights)
    arrays.pop("long_stay_logits/bias")
    write_arrays(run.best_weights, arrays, state)
    with pytest.raises(DataError, match="weights.npz: .*long_stay_logits/bias"):
        execute(replaced(options, do_train=False))
    assert BertConfig.from_file(run.config_file).vocab_size == 60


def test_a_command_makes_its_plan_once(copied, monkeypatch):
    """Flags are checked before TensorFlow is loaded; what that made is what runs."""
    options, _ = copied
    made = []

    def counted(*arguments):
        made.append(make_plan(*arguments))
        return made[-1]

    monkeypatch.setattr(plan, "make_plan", counted)
    monkeypatch.setattr(runs, "_evaluate_only", lambda given, run, evaluation: (given, evaluation))
    driver = training_flags.DriverOptions()
    ready = plan.plan_run(replaced(options, do_train=False))
    assert training_flags.execute_plan(ready, driver, "") == (ready, PatientEvaluation)
    assert made == [ready]
    admissions = dataclasses.replace(ready, options=replaced(ready.options, aggregation="mean"))
    assert training_flags.execute_plan(admissions, driver, "")[1] is AdmissionEvaluation
    with pytest.raises(ValueError, match="expected that of admissions"):
        execute(admissions.options, plan=admissions)
