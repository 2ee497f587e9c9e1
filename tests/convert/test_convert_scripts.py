"""The conversion scripts as users run them: one line for what does not fit, no code run, nothing half-written."""

import json
import os
import pickle
import shutil

import numpy as np
import pytest
from convert_cases import convert_config, edited_json, random_arrays, random_model, write_run
from small_data import VOCABULARY, finished_run

pytest.importorskip("tensorflow", reason="runs are read and built with TensorFlow")
torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra [torch]")

from medtop.convert.export_weights import export, plan_export  # noqa: E402
from medtop.convert.import_weights import import_weights, plan_import  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.files.folders import whole_folder  # noqa: E402
from medtop.training.checkpoints import read_arrays  # noqa: E402

EXPORT, IMPORT = "run_scripts/convert_tf_to_pytorch.py", "run_scripts/convert_pytorch_to_tf.py"
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}  # as users have it; tests ask for TensorFlow's errors


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A HuggingFace folder with both formats."""
    config = convert_config()
    run = write_run(tmp_path_factory.mktemp("run"), random_model(config), config)
    path = tmp_path_factory.mktemp("out") / "huggingface"
    export(plan_export(run, path, file_format="both"))
    return path


@pytest.fixture
def copy(folder, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(folder, tmp_path / "theirs")


def refused(source, tmp_path, **options):
    """The one line of an import that fails in this process; nothing may be left behind."""
    with pytest.raises(DataError) as error:
        import_weights(plan_import(source, tmp_path / "run", **options))
    assert not [path for path in tmp_path.iterdir() if "run" in path.name], "half-written"
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_cut_safetensors_file(copy, tmp_path, run_process):
    """As a user sees it: exit code 1, one line, no folder."""
    file = copy / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    process = run_process(IMPORT, f"--input_dir={copy}", f"--output_dir={tmp_path}/run")
    assert process.returncode == 1 and process.stdout == "" and process.stderr.count("\n") == 1
    assert process.stderr.startswith(f"error: {file}: expected a whole safetensors file, received a damaged or cut one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs"]
    for content in (whole[:4], whole[:100], b"", b"\xff" * 200, whole[:-1]):
        file.write_bytes(content)
        assert "received a damaged or cut one" in refused(copy, tmp_path)


class Malicious:
    """Unpickling this runs a command."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("how", ["torch.save", "pickle", "inside a state dict"])
def test_a_malicious_bin_runs_nothing(copy, tmp_path, run_process, how):
    witness = tmp_path / "was here"
    (copy / "model.safetensors").unlink()
    file = copy / "pytorch_model.bin"
    if how == "pickle":
        file.write_bytes(pickle.dumps(Malicious(witness)))
    else:
        content = {"bert.pooler.dense.bias": torch.zeros(2), "x": Malicious(witness)}
        torch.save(Malicious(witness) if how == "torch.save" else content, file)
    process = run_process(IMPORT, f"--input_dir={copy}", f"--output_dir={tmp_path}/run")
    assert process.returncode == 1 and process.stdout == "" and process.stderr.count("\n") == 1, process.stderr
    assert (
        process.stderr.startswith(f"error: {file}: expected tensors only") and "nothing of it was run" in process.stderr
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs"]
    assert witness not in tmp_path.iterdir()
    if how != "pickle":  # the check itself: without the guard this file does run code
        torch.load(file, weights_only=False)
        assert witness.is_dir()


def test_a_cut_bin_and_one_without_tensors(copy, tmp_path):
    (copy / "model.safetensors").unlink()
    file = copy / "pytorch_model.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert "expected a whole PyTorch file, received a damaged or cut one" in refused(copy, tmp_path)
    for content in ([torch.zeros(2)], {"a": 1.0}, {}, {3: torch.zeros(1)}):
        torch.save(content, file)
        assert "expected a dict of named tensors, received another content" in refused(copy, tmp_path)
    file.unlink()
    assert "expected model.safetensors or pytorch_model.bin, found neither" in refused(copy, tmp_path)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"vocab_size": 61},
            "bert.embeddings.word_embeddings.weight of shape (61, 32) (config.json), received (60, 32)",
        ),
        ({"vocab_size": 50}, "expected a vocabulary of at most 50 tokens (vocab_size), received 60"),
        ({"num_hidden_layers": 3}, "expected weights of 3 layers (config.json), received 2"),
        ({"num_hidden_layers": 1}, "expected weights of 1 layers (config.json), received 2"),
        ({"num_hidden_layers": 10**9}, "expected at most 2,000,000,000 weights and 1,000 layers"),
        ({"intermediate_size": 41}, "of shape (41, 32) (config.json), received (40, 32)"),
        ({"hidden_size": 64}, "of shape (60, 64) (config.json), received (60, 32)"),
        ({"num_attention_heads": 5}, "expected hidden_size to be a multiple of num_attention_heads"),
        ({"hidden_size": "wide"}, "expected hidden_size to be a positive whole number, received 'wide'"),
        ({"hidden_size": None}, "expected hidden_size, found none"),
        ({"model_type": "roberta"}, "expected model_type bert or megatron-bert, received 'roberta'"),
        ({"model_type": "megatron-bert"}, "received one more: bert.embeddings.LayerNorm.bias"),
        ({"hidden_act": "relu"}, "expected hidden_act among gelu"),
        ({"is_decoder": True}, "expected is_decoder=False, received True"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='absolute', received"),
        ({"tie_word_embeddings": False}, "expected tie_word_embeddings=True, received False"),
    ],
)
def test_a_config_that_does_not_fit(copy, tmp_path, changes, message):
    if changes.get("vocab_size") == 61:
        (copy / "tokenizer.json").unlink()
        (copy / "vocab.txt").write_text("\n".join([*VOCABULARY.tokens, "one more"]) + "\n")
    edited_json(copy / "config.json", **changes)
    line = refused(copy, tmp_path)
    assert message in line, line
    assert line.startswith(str(copy)), "names the file"


def test_spoiled_small_files(copy, tmp_path):
    for name, content, message in (
        ("config.json", "{", "expected HuggingFace's configuration (JSON), received another content"),
        ("config.json", "[1]", "expected HuggingFace's configuration (a JSON object), received a list"),
        ("config.json", None, "expected config.json or bert_config.json, found neither"),
        ("tokenizer.json", "{}", "expected a word-level or WordPiece tokenizer"),
        ("tokenizer.json", '{"model": {"vocab": {"a": 0, "b": 7}}}', "expected ids 0 to 1, each once"),
        ("tokenizer.json", '{"model": {"vocab": {"a": 0, "b": 1}}}', "expected a vocabulary with [PAD]"),
    ):
        spoiled = shutil.copytree(copy, tmp_path / "spoiled")
        (spoiled / name).unlink() if content is None else (spoiled / name).write_text(content)
        line = refused(spoiled, tmp_path)
        assert message in line and line.startswith(str(spoiled)), line
        shutil.rmtree(spoiled)
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.txt").unlink()
    assert "expected tokenizer.json or vocab.txt, found neither; --vocab_file names one" in refused(copy, tmp_path)
    assert "found none" in refused(tmp_path / "absent", tmp_path)
    with pytest.raises(DataError, match="expected one of --input_dir and --tf_checkpoint_path"):
        plan_import("", tmp_path / "run")


def test_there_and_back_with_the_scripts(tmp_path, run_process):
    """What users type; the lines that they see; the card; and --init_checkpoint takes the result."""
    finished = finished_run()
    run, out = finished.folder / "run", tmp_path / "out"
    command = [EXPORT, f"--run_dir={run}", f"--output_dir={out}"]
    process = run_process(*command)
    assert process.returncode == 1 and process.stderr.count("\n") == 1 and "received pooling=mean" in process.stderr
    assert not out.exists()
    process = run_process(*command, "--layout=medtop", env=QUIET)
    assert process.returncode == 0, process.stderr
    assert all("patients share each entry of the vocabulary" in line for line in process.stderr.splitlines())
    lines = process.stdout.splitlines()
    assert lines[0].startswith(f"written: {out} (TorchBert, head all, ") and lines[-1].startswith("next: ")
    assert [line.startswith("parity with medtop.convert.torch_bert: largest difference") for line in lines].count(
        True
    ) == 1
    again = run_process(*command, "--layout=medtop")
    assert again.returncode == 1 and "expected a new folder, found one; --overwrite" in again.stderr
    assert run_process(*command, "--layout=medtop", "--overwrite").returncode == 0
    process = run_process(IMPORT, f"--input_dir={out}", f"--output_dir={tmp_path}/back", env=QUIET)
    assert process.returncode == 0 and process.stderr == "", process.stderr
    assert "heads taken: long_stay, complications" in process.stdout and "parity with" in process.stdout
    shutil.rmtree(tmp_path / "back" / "checkpoints")
    options = finished.options
    process = run_process(
        "run_scripts/run_toppretraining.py",
        f"--input_file={options.input_file}",
        f"--output_dir={tmp_path}/trained",
        f"--bert_config_file={tmp_path}/back/config.json",
        f"--init_checkpoint={tmp_path}/back",
        "--do_train",
        "--tasks=long_stay",
        "--num_train_steps=1",
        "--max_seq_length=24",
    )
    assert process.returncode == 0, process.stderr
    assert "weights taken, 0 start at random; 55 of 55 codes known there" in process.stderr
    before, _ = read_arrays(run / "best" / "weights.npz")
    arrays, _ = read_arrays(tmp_path / "back" / "best" / "weights.npz")
    assert before.keys() == arrays.keys() and all(np.array_equal(before[path], arrays[path]) for path in before)


def test_predictions_of_an_imported_run_are_the_runs_own(tmp_path, run_process):
    """Calibration travels with the heads that it was fitted to."""
    finished = finished_run()
    export(plan_export(finished.folder / "run", tmp_path / "out", layout="medtop"))
    import_weights(plan_import(tmp_path / "out", tmp_path / "back"))
    found = []
    for name, run in (("there", finished.folder / "run"), ("here", tmp_path / "back")):
        arguments = [f"--run_dir={run}", f"--output_file={tmp_path}/{name}.csv"]
        process = run_process("run_scripts/run_prediction.py", *arguments, f"--input_file={finished.options.test_file}")
        assert process.returncode == 0, process.stderr
        found.append((tmp_path / f"{name}.csv").read_text())
    assert found[0] == found[1] and found[0].count("\n") > 100


def test_the_card_says_what_a_reader_must_know(tmp_path):
    """Tasks, labels, provenance, restrictions, metrics with intervals, configuration, commands."""
    finished = finished_run()
    plan = plan_export(
        finished.folder / "run",
        tmp_path / "out",
        layout="medtop",
        head="complications",
        command="python convert --this",
    )
    done = export(plan)
    card = (tmp_path / "out" / "README.md").read_text()
    metrics = json.loads((finished.folder / "run" / "metrics.json").read_text())["test"]["complications"]
    area = metrics["CKD_365"]["roc_auc"]
    (row,) = [line for line in card.splitlines() if line.startswith("| complications | CKD_365")]  # perhaps marked
    assert f" | {area['value']:.3f} [{area['low']:.3f}, {area['high']:.3f}] | " in row
    for wanted in (
        "- `complications`: MACE_365, CKD_365",
        "**Restrictions.**",
        "## Data",
        "120 patients",
        done.parity,
        "left out (head of long_stay): long_stay_logits/kernel, long_stay_logits/bias",
        "calibration.json",
        '"pooling": "mean"',
        "python convert --this",
        "python run_scripts/run_toppretraining.py --made=up",
    ):
        assert wanted in card, wanted
    assert "| long_stay |" not in card
    ids = (finished.folder / "run" / "restricted" / "splits.csv").read_text().splitlines()[1:]
    everything = card + (tmp_path / "out" / "config.json").read_text()
    assert not any(line.split(",")[0] in everything for line in ids), "no patient's id travels"


def test_files_are_readable_as_the_users_umask_has_it(folder):
    modes = {path.name: path.stat().st_mode for path in folder.iterdir()}
    assert len(set(modes.values())) == 1, modes


def test_another_folder_is_never_overwritten(tmp_path):
    config = convert_config()
    run = write_run(tmp_path / "run", random_model(config), config)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="precious: expected"):
            plan_export(run, precious, overwrite=overwrite)
    with pytest.raises(DataError, match="expected an earlier output to overwrite"):
        plan_import(tmp_path / "x", run, overwrite=True)  # a trained run is no import
    assert (precious / "thesis.tex").read_text() == "years"
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="found something else"):
        plan_export(run, tmp_path / "file", overwrite=True)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "target"
    with pytest.raises(RuntimeError), whole_folder(target, lambda path: True) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError("stopped")
    assert list(tmp_path.iterdir()) == []
    target.mkdir()  # an empty folder may be there
    with whole_folder(target, lambda path: True) as folder:
        (folder / "one").write_text("1")
        assert not (target / "one").exists()
    assert [path.name for path in target.iterdir()] == ["one"]
    with pytest.raises(RuntimeError), whole_folder(target, lambda path: True, overwrite=True) as folder:
        (folder / "two").write_text("2")
        raise RuntimeError("stopped")
    assert [path.name for path in target.iterdir()] == ["one"]
    with whole_folder(target, lambda path: True, overwrite=True) as folder:
        (folder / "two").write_text("2")
    assert [path.name for path in target.iterdir()] == ["two"] and [path.name for path in tmp_path.iterdir()] == [
        "target"
    ]


def test_an_export_that_disagrees_is_not_written(tmp_path, monkeypatch):
    """The check after the export can fail: outputs of other weights are refused, and nothing is left."""
    from medtop.convert import parity

    config = convert_config()
    run = write_run(tmp_path / "run", random_model(config), config)
    honest = parity.keras_outputs

    def wrong(model, x):
        return {name: values + 0.1 for name, values in honest(model, x).items()}

    monkeypatch.setattr(parity, "keras_outputs", wrong)
    with pytest.raises(DataError, match="expected at most 1e-03: nothing was written"):
        export(plan_export(run, tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_heads_that_a_run_does_not_have(tmp_path):
    config = convert_config()
    run = write_run(tmp_path / "run", random_model(config), config)
    for head in ("readmission", "all "):
        with pytest.raises(
            DataError, match="--head: expected one of pretraining, masked_lm, long_stay, complications, enc"
        ):
            plan_export(run, tmp_path / "out", head=head)
    with pytest.raises(DataError, match="--head=all: expected --layout=medtop"):
        plan_export(run, tmp_path / "out", head="all")
    (run / "best" / "weights.npz").unlink()
    with pytest.raises(DataError, match="expected the weights of a run, found no such file"):
        plan_export(run, tmp_path / "out")


def test_missing_packages_are_named_before_any_work(tmp_path, monkeypatch):
    from medtop.convert import extras

    config = convert_config()
    run = write_run(tmp_path / "run", random_model(config), config)
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    for file_format, package in (("safetensors", "safetensors"), ("bin", "torch")):
        with pytest.raises(DataError, match=rf"{package}: .*medtop\[torch\]"):
            plan_export(run, tmp_path / "out", file_format=file_format)


def test_without_pytorch_the_safetensors_folder_is_written_and_the_parity_line_says_how_to_get_it(
    tmp_path, monkeypatch
):
    from medtop.convert import parity

    config = convert_config()
    run = write_run(tmp_path / "run", random_model(config), config)
    monkeypatch.setattr(parity, "has_torch", lambda: False)
    done = export(plan_export(run, tmp_path / "out"))
    assert (
        done.parity_value is None and "pip install" in done.parity and (tmp_path / "out" / "model.safetensors").exists()
    )
    back = import_weights(plan_import(tmp_path / "out", tmp_path / "back"))
    assert back.parity_value is None and "not measured" in back.parity


def test_made_up_arrays_are_not_what_weights_start_from():
    """The helper behind these tests: a bias of zeros or a gain of ones would hide a swapped weight."""
    found = random_arrays({"x/gamma": (50,), "x/bias": (50,), "LayerNorm.weight": (50,)})
    assert all(np.unique(array).size == 50 for array in found.values())
