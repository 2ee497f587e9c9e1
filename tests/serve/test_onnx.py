"""ONNX: the numeric model, run with ONNX Runtime and held against Keras."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

for package in ("tensorflow", "onnx", "onnxruntime", "tf2onnx"):
    pytest.importorskip(package, reason=f"{package} is not installed (the extra medtop[onnx])")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import tensorflow as tf  # noqa: E402
from serving_cases import LABELS, MAX_SEQ_LENGTH, MEDBERT, make_run, well_apart  # noqa: E402

from medtop.convert.extras import require  # noqa: E402
from medtop.evaluation.calibration import Calibration  # noqa: E402
from medtop.evaluation.predictions import sigmoid  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.model.config import EMBEDDINGS  # noqa: E402
from medtop.serve import onnx_model, parity  # noqa: E402
from medtop.serve.onnx_model import export_onnx, run  # noqa: E402
from medtop.serve.parity import generate_people, numeric_batch, reference  # noqa: E402
from medtop.serve.served_model import load_patient_model  # noqa: E402
from medtop.serve.served_run import ServedRun  # noqa: E402

CPU = ["CPUExecutionProvider"]


@pytest.fixture(autouse=True)
def graphs():
    """As users run it, whatever an earlier test of this process preferred."""
    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(False)
    yield
    tf.config.run_functions_eagerly(eager)


def session_of(folder):
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=CPU)


COMBINATIONS = [("post", "cls"), ("post", "sum"), ("pre", "cls"), ("pre", "mean")]
"""`test_encoder` holds all six against NumPy; each export compares itself."""


@pytest.mark.parametrize("norm, pooling", COMBINATIONS)
def test_probabilities_equal_keras(norm, pooling, tmp_path):
    """All embeddings; single patients and one batch of mixed lengths, within 1e-5 (about 1e-7 is found)."""
    activation = "gelu_tanh" if pooling == "mean" else "gelu"
    folder = make_run(tmp_path / "run", norm=norm, pooling=pooling, activation=activation, segment="visit")
    assert export_onnx(folder, tmp_path / "out").largest <= 1e-5
    served, session = ServedRun.read(folder), session_of(tmp_path / "out")
    people = generate_people(served, 10, seed=5)
    expected = reference(served, load_patient_model(served), people)
    assert well_apart(expected)
    for task in served.tasks:
        together, logits = run(session, [task.name, f"{task.name}_logits"], numeric_batch(served, people))
        alone = [run(session, [task.name], numeric_batch(served, [person]))[0] for person in people]
        np.testing.assert_allclose(together, expected[task.name], rtol=0, atol=1e-5)
        np.testing.assert_allclose(np.concatenate(alone), expected[task.name], rtol=0, atol=1e-5)
        calibration = served.calibrations[task.name]
        found = [
            entry.slope * (logits[:, place] - np.log(entry.class_weight)) + entry.intercept
            for place, entry in enumerate(calibration.labels.values())
        ]
        given = ~np.isnan(expected[task.name])  # logits are there for those too whose probability is withheld
        np.testing.assert_allclose(sigmoid(np.array(found).T)[given], expected[task.name][given], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        dict(embeddings=("code",)),
        dict(embeddings=("code", "recency", "age"), day_scale="days", data={"visit_separator": True}),
        dict(embeddings=("code", "position", "segment"), segment="visit", vocabulary=MEDBERT, calibrated=False),
    ],
    ids=["code alone", "separators", "Med-BERT"],
)
def test_other_configs(changes, tmp_path):
    folder = make_run(tmp_path / "run", num_hidden_layers=1, **changes)
    export_onnx(folder, tmp_path / "out")
    served, session = ServedRun.read(folder), session_of(tmp_path / "out")
    wanted = [*(EMBEDDINGS[name][0] for name in changes["embeddings"]), "patient_slots"]
    assert [one.name for one in session.get_inputs()] == wanted
    people = generate_people(served, 8, seed=3)
    expected = reference(served, load_patient_model(served), people)["complications"]
    found = run(session, ["complications"], numeric_batch(served, people))[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(`ServedRun`, folder) of a run with all embeddings."""
    folder = tmp_path_factory.mktemp("onnx")
    path = make_run(folder / "run")
    export_onnx(path, folder / "out", command="python run_scripts/export_model.py --made=up")
    return ServedRun.read(path), folder / "out"


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1")  # patients of one token
def test_every_day_count_and_age_reads_the_same_row_of_its_table(tmp_path):
    """Days become rows by a logarithm, ages by a division: rounding of another runtime must not move one of them."""
    folder = make_run(tmp_path / "run", num_hidden_layers=1, pooling="mean", embeddings=("code", "gap", "age"))
    export_onnx(folder, tmp_path / "out")
    served, session = ServedRun.read(folder), session_of(tmp_path / "out")
    days = np.arange(40_000, dtype=np.int64).reshape(-1, 1)
    x = {"token_ids": np.full_like(days, 7), "gaps": days, "ages": days, "patient_slots": np.ones_like(days)}
    found = run(session, ["complications_logits"], x)[0]
    model = load_patient_model(served)
    inputs = {key: tf.cast(values, tf.int32) for key, values in x.items()}
    expected = model(inputs | {"cls_positions": tf.zeros_like(inputs["gaps"])}, training=False)["complications"][:, 0]
    rows = len(np.unique(np.round(expected.numpy(), 3), axis=0))
    assert rows > 100  # each age and each step of the logarithm shows
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_patients_of_whom_the_model_knows_too_little_get_no_probability(exported):
    served, folder = exported
    session = session_of(folder)
    batch = numeric_batch(served, generate_people(served, 4, seed=2)[:1] * 4)  # of no codes: [CLS] alone
    first = served.vocabulary.first_code_id
    rows = [[2, 0, 0, 0], [2, 1, 1, 0], [2, first, 1, 1], [2, first, 1, 0]]
    blank = np.zeros((4, 4), np.int64)
    x = {name: blank for name in batch if name != "cls_positions"}
    x |= {"token_ids": np.array(rows), "patient_slots": (np.array(rows) > 0).astype(np.int64)}
    values, share = run(session, ["complications", "known_codes"], x)
    np.testing.assert_allclose(share, [0, 0, 1 / 3, 0.5], rtol=1e-6)
    assert np.isnan(values).all(axis=1).tolist() == [True, True, True, False] and not np.isnan(values[3]).any()


def test_padding_and_what_stands_beside_it_change_nothing(exported):
    served, folder = exported
    session = session_of(folder)
    batch = numeric_batch(served, generate_people(served, 6, seed=1))
    plain = run(session, ["complications"], batch)[0]
    rng = np.random.default_rng(0)
    wider = {}
    batch.pop("cls_positions")  # made inside
    for key, values in batch.items():
        wide = np.pad(values, [(0, 0), (0, 13)])
        noise = 0 if key == "patient_slots" else rng.integers(0, 12, wide.shape)
        wider[key] = np.where(np.pad(batch["patient_slots"], [(0, 0), (0, 13)]) > 0, wide, noise)
    np.testing.assert_allclose(run(session, ["complications"], wider)[0], plain, rtol=0, atol=1e-6)


def test_folder_describes_itself(exported):
    served, folder = exported
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "card.json",
        "model.json",
        "model.onnx",
        "vocab.txt",
    ]
    about = json.loads((folder / "model.json").read_text())
    session = session_of(folder)
    assert [one["name"] for one in about["inputs"]] == [one.name for one in session.get_inputs()]
    assert {one["name"] for one in about["outputs"]} == {one.name for one in session.get_outputs()}
    assert about["tasks"]["complications"]["labels"] == list(LABELS)
    assert about["max_seq_length"] == MAX_SEQ_LENGTH and about["calibrated"] is True
    assert all(one.shape == ["B", "T"] for one in session.get_inputs())
    assert all(one.shape[0] == "B" for one in session.get_outputs())
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["labels"]) == {"long_stay": ["long_stay"], "complications": list(LABELS)}
    assert (folder / "vocab.txt").read_text() == served.run.vocabulary_file.read_text()
    onnx.checker.check_model(str(folder / "model.onnx"))
    card = (folder / "README.md").read_text()
    for part in (*LABELS, "Restrictions.", "`patient_slots`", "largest difference of a probability", "--made=up"):
        assert part in card


ELSEWHERE = """
import json, sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
batch = {name: np.array(values, np.int64) for name, values in json.loads(sys.stdin.read()).items()}
print(json.dumps(session.run(["complications"], batch)[0].tolist()))
assert not {"medtop", "tensorflow", "keras"} & {name.partition(".")[0] for name in sys.modules}
"""


def test_runs_where_neither_medtop_nor_tensorflow_is_imported(exported, tmp_path):
    served, folder = exported
    people = generate_people(served, 5, seed=2)
    batch = {name: values.tolist() for name, values in numeric_batch(served, people).items() if name != "cls_positions"}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(folder / "model.onnx")],
        input=json.dumps(batch),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    expected = reference(served, load_patient_model(served), people)["complications"]
    np.testing.assert_allclose(json.loads(process.stdout), expected, rtol=0, atol=1e-5)


def test_an_export_that_differs_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run", num_hidden_layers=1)
    real = Calibration.apply
    monkeypatch.setattr(Calibration, "apply", lambda self, predictions: real(self, predictions) * (1 - 1e-4))
    with pytest.raises(DataError, match="within 1e-05 of the Keras model's, received a difference of"):
        export_onnx(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_model_beyond_a_protocol_buffer_is_refused(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run", num_hidden_layers=1)
    monkeypatch.setattr(onnx_model, "LARGEST_BYTES", 10_000)
    with pytest.raises(DataError, match="expected at most 10000 bytes of weights for ONNX, received .*saved_model"):
        export_onnx(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_existing_folder_is_refused(exported):
    served, folder = exported
    before = (folder / "model.onnx").read_bytes()
    with pytest.raises(DataError, match="out: expected a new folder, found one; --overwrite"):
        export_onnx(served.run.path, folder)
    assert (folder / "model.onnx").read_bytes() == before


MISSING = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "tf2onnx" else found(name, *rest)
"""


def test_missing_extra_is_one_line(tmp_path, run_process):
    with pytest.raises(DataError, match=r'no_such_package: expected this package.*pip install "medtop\[onnx\]"'):
        require(("numpy", "no_such_package"), "onnx")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(MISSING)
    folder = make_run(tmp_path / "run", num_hidden_layers=1)
    process = run_process(
        "run_scripts/export_model.py",
        f"--run_dir={folder}",
        f"--output_dir={tmp_path / 'out'}",
        "--format=onnx",
        env={"PYTHONPATH": str(tmp_path / "site")},
    )
    assert process.returncode == 1 and process.stdout == "" and not (tmp_path / "out").exists()
    assert process.stderr == (
        'error: tf2onnx: expected this package, found none; pip install "medtop[onnx]" installs it\n'
    )


@pytest.mark.slow
def test_the_script_exports_and_prints_the_parity(tmp_path, run_process):
    folder = make_run(tmp_path / "run")
    process = run_process(
        "run_scripts/export_model.py",
        f"--run_dir={folder}",
        f"--output_dir={tmp_path / 'out'}",
        "--format=onnx",
        env={"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert process.returncode == 0, process.stderr
    assert all("patients share each entry of the vocabulary" in line for line in process.stderr.splitlines())
    first = process.stdout.splitlines()[0]
    assert "out: parity with the Keras model: largest difference of a probability" in first
    assert float(first.partition("probability ")[2].split()[0]) <= parity.TOLERANCE
