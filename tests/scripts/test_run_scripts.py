"""The trainers and run_prediction.py as a user types them: exit codes, one line for each mistake, kills, results."""

import csv
import json
import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

pytest.importorskip("tensorflow", reason="training needs TensorFlow")

from small_data import finished_run, small_config, write_dataset, write_splits  # noqa: E402

from medtop.training.log import read_log  # noqa: E402

SCRIPTS = ("run_toppretraining.py", "run_EHRpretraining.py", "run_prediction.py")
FLAGS = (
    "--do_train",
    "--num_train_epochs=2",
    "--train_batch_size=8",
    "--eval_batch_size=16",
    "--learning_rate=1e-3",
    "--save_checkpoints_steps=3",
    "--nobaselines",
    "--num_bootstrap=20",
    "--seed=3",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with train, valid and test, and config.json."""
    folder = tmp_path_factory.mktemp("scripts")
    write_splits(folder, (40, 16, 16))
    (folder / "config.json").write_text(json.dumps(small_config().to_dict() | {"vocab_size": 0}))
    return folder


def files(folder, *names):
    return [f"--{name}={folder / name}.tfrecord" for name in names or ("input_file", "valid_file", "test_file")]


def one_line(process):
    """The line on standard error of a refused command; TensorFlow must not have been loaded for it."""
    assert process.returncode == 1, process.stderr
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: ") and process.stdout == ""
    return line


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_shows_an_example_whose_flags_exist(script, run_script, tmp_path):
    process = run_script(f"run_scripts/{script}", "--help", cwd=tmp_path)  # from any folder
    assert process.returncode == 0 and process.stderr == ""
    example = re.search(rf"python run_scripts/{script}((?:.|\n)*?)\n\n", process.stdout)[1]
    used = set(re.findall(r"--(\w+)", example.replace("\\\n", " ")))
    offered = set(re.findall(r"^  --(?:\[no\])?(\w+)", process.stdout, re.MULTILINE))
    assert len(used) >= 3 and used <= offered


@pytest.mark.parametrize("script", SCRIPTS)
def test_unknown_flag_stops_at_once(script, run_script):
    line = one_line(run_script(f"run_scripts/{script}", "--lerning_rate=1"))
    assert "expected a flag that --help lists, received --lerning_rate" in line


MISTAKES = {
    "no output_dir": (["--do_train"], "expected --output_dir=..., received none"),
    "missing file": (["--output_dir=run", "--do_train", "--input_file=nowhere.tfrecord"], "nowhere.tfrecord: expected"),
    "nothing to do": (["--output_dir=run", "{data}"], "expected at least one of --do_train and --do_eval"),
    "no config": (["--output_dir=run", "--do_train", "{data}"], "--bert_config_file: expected a model configuration"),
    "unknown key": (
        ["--output_dir=run", "--do_train", "{data}", "--bert_config_file=unknown.json"],
        "unknown.json: expected keys among",
    ),
    "no activation": (
        ["--output_dir=run", "--do_train", "{data}", "--bert_config_file=silent.json"],
        'silent.json: expected "activation"',
    ),
    "unknown task": (
        ["--output_dir=run", "--do_train", "{data}", "{config}", "--tasks=sepsis"],
        "--tasks: expected names among masked_lm, long_stay, complications, received 'sepsis'",
    ),
    "unknown metric": (
        ["--output_dir=run", "--do_train", "{data}", "{config}", "--early_stopping=auroc:3"],
        "--best_metric: expected one of loss, roc_auc",
    ),
    "nothing to evaluate": (
        ["--output_dir=run", "--do_train", "--do_eval", "{train}", "{config}"],
        "--do_eval needs --valid_file or --test_file",
    ),
    "no run to evaluate": (["--output_dir=run", "--do_eval", "--test_file={test}"], "run: expected a run directory"),
    "no number": (["--output_dir=run", "--learning_rate=fast"], "--learning_rate: expected a number, received 'fast'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_in_the_first_second(mistake, data, run_script, tmp_path):
    words, message = MISTAKES[mistake]
    (tmp_path / "unknown.json").write_text('{"activation": "gelu", "hidden_sizes": 3}')
    (tmp_path / "silent.json").write_text('{"hidden_act": "gelu"}')
    filled = {
        "{data}": files(data),
        "{train}": files(data, "input_file"),
        "{config}": [f"--bert_config_file={data}/config.json"],
    }
    arguments = [
        part for word in words for part in filled.get(word, [word.replace("{test}", f"{data}/test_file.tfrecord")])
    ]
    process = run_script(
        "run_scripts/run_toppretraining.py",
        *arguments,
        cwd=tmp_path,
        hidden=("tensorflow", "keras"),  # flags are checked before they are loaded
    )
    assert message in one_line(process)
    assert not (tmp_path / "run").exists()


def test_prediction_refuses_what_is_there_or_missing(run_script, tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    process = run_script(
        "run_scripts/run_prediction.py", "--run_dir=x", "--input_file=y", f"--output_file={tmp_path}/out.csv"
    )
    assert "out.csv: expected a new file, found one; --overwrite replaces it" in one_line(process)
    assert (tmp_path / "out.csv").read_text() == "mine"


def test_new_patients_without_labels_end_to_end(run_either, tmp_path):
    """The probabilities of the script are those of the library, which tests/runs/ works out with NumPy."""
    run = finished_run()
    people = run.people["test"][:5]
    write_dataset(tmp_path / "new.tfrecord", people, tasks={}, split=None)
    process = run_either(
        "run_scripts/run_prediction.py",
        f"--run_dir={run.folder / 'run'}",
        "--input_file=new.tfrecord",
        "--output_file=out.csv",
        cwd=tmp_path,
    )
    assert process.returncode == 0, process.stderr
    assert "5 examples scored: out.csv" in process.stdout
    tables = []
    for path in (tmp_path / "out.csv", run.folder / "run" / "restricted" / "predictions.csv"):
        with open(path, newline="") as file:
            tables.append({(row["patient_id"], row["label"]): row for row in csv.DictReader(file)})
    mine, own = tables
    assert len(mine) == 15
    for key, row in mine.items():
        assert row["target"] == "" and float(row["probability"]) == pytest.approx(
            float(own[key]["probability"]), abs=1e-5
        )


def command(data, folder, *flags, script="run_EHRpretraining.py"):
    return [
        sys.executable,
        str(ROOT / "run_scripts" / script),
        *files(data),
        f"--bert_config_file={data}/config.json",
        f"--output_dir={folder}",
        *FLAGS,
        *flags,
    ]


def finish(words):
    return subprocess.run(words, capture_output=True, text=True, timeout=600)


def begin(words):
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(done, process, seconds=300):
    """Waits until `done()`, while the process runs."""
    end = time.monotonic() + seconds
    while not done():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_trained_evaluated_and_said_what_comes_next(data, tmp_path, run_either):
    """Med-BERT's two tasks from records to metrics.json, by one command; it needs no validation split."""
    _, *words = command(data, tmp_path / "run", "--do_eval", "--num_train_epochs=1", "--valid_file=")
    process = run_either(*words)
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr and "AUROC" in process.stdout
    assert process.stdout.splitlines()[-1].startswith(
        f"next: python run_scripts/run_prediction.py --run_dir={tmp_path / 'run'}"
    )
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics.keys() == {"test"} and metrics["test"].keys() == {"masked_lm", "long_stay"}
    perplexity = metrics["test"]["masked_lm"]["masked_lm"]["perplexity"]["value"]
    assert 50 < perplexity < 70  # of a model that knows nothing yet: 60 tokens
    results = (tmp_path / "run" / "eval_results.txt").read_text()
    assert "global_step = 5\n" in results and f"masked_lm_perplexity = {perplexity:.6f}\n" in results
    assert [row["step"] for row in read_log(tmp_path / "run" / "train_log.jsonl")] == list(range(1, 6))
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000


@pytest.mark.slow
def test_sigterm_saves_exits_75_and_the_same_command_goes_on(data, tmp_path):
    words = command(
        data, tmp_path / "run", "--num_train_epochs=400", "--tasks=long_stay", "--valid_file=", "--test_file="
    )
    process = begin(words)
    checkpoints = tmp_path / "run" / "checkpoints"
    wait_for(lambda: any(checkpoints.glob("step-*.npz")), process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 75
    stopped = re.search(
        r"^stopped: stopped by signal SIGTERM after step (\d+); run the same command to go on$", errors, re.M
    )
    step = int(stopped[1])
    assert errors.splitlines()[-1] == stopped[0]
    assert (checkpoints / f"step-{step:09d}.npz").is_file()
    assert [row["step"] for row in read_log(tmp_path / "run" / "train_log.jsonl")] == list(range(1, step + 1))

    process = begin(words)
    wait_for(lambda: len(read_log(tmp_path / "run" / "train_log.jsonl")) > step, process)
    process.send_signal(signal.SIGTERM)
    assert f"going on from step {step} of 2000" in process.communicate(timeout=120)[1]
    assert process.returncode == 75

    other = finish([*words, "--learning_rate=0.5"])
    assert other.returncode == 1
    assert other.stderr.splitlines()[-1].startswith("error: ") and "learning_rate: 0.001 then, 0.5 now" in other.stderr


@pytest.mark.slow
def test_pretrained_weights_are_taken_by_the_second_trainer(data, tmp_path):
    """Pretrain, then fine-tune: the same script twice."""
    first = finish(command(data, tmp_path / "first", "--tasks=masked_lm"))
    assert first.returncode == 0, first.stderr
    words = command(
        data,
        tmp_path / "second",
        "--tasks=complications",
        f"--init_checkpoint={tmp_path / 'first'}",
        script="run_toppretraining.py",
    )
    second = finish(words)
    assert second.returncode == 0, second.stderr
    assert "55 of 55 codes known there" in second.stderr
    config = small_config(pooling="sum").to_dict() | {"vocab_size": 0}
    (tmp_path / "other.json").write_text(json.dumps(config))
    words = [*words, f"--bert_config_file={tmp_path / 'other.json'}", f"--output_dir={tmp_path / 'third'}"]
    refused = finish(words)
    assert refused.returncode == 1 and "pooling='cls' there, 'sum' here" in refused.stderr.splitlines()[-1]
