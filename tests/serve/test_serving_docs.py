"""docs/serving.md as a user follows it: a raw table, a run, both exports, and the page's own code, run where medtop
cannot be imported; its probabilities are those of run_prediction.py for the same patients."""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

pytest.importorskip("tensorflow", reason="a SavedModel is TensorFlow's")

import tensorflow as tf  # noqa: E402
from serving_cases import make_run  # noqa: E402

from medtop.cohort.build import Options  # noqa: E402
from medtop.cohort.preprocess import CohortInput, preprocess  # noqa: E402
from medtop.data.create import plan, write  # noqa: E402
from medtop.data.description import read_dataset  # noqa: E402
from medtop.data.sequences import FeatureSettings, SequenceMaker  # noqa: E402
from medtop.model.tasks import available_tasks  # noqa: E402
from medtop.runs.predict import predict  # noqa: E402
from medtop.serve.saved_model import export_saved_model  # noqa: E402
from medtop.synthetic.cohort import write_cohort  # noqa: E402

PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
REQUEST = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[0]
BLOCKED = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "medtop":
            raise ModuleNotFoundError(f"blocked: {name}", name=name)

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with checkpoints/demo: raw tables, records, a run of small.json's embeddings, its SavedModel."""
    tf.config.run_functions_eagerly(False)
    folder = tmp_path_factory.mktemp("page")
    demo = folder / "checkpoints" / "demo"
    demo.mkdir(parents=True)
    write_cohort(str(demo / "raw"), 110, seed=4)
    times = str(demo / "raw.prediction_times.csv")
    preprocess(CohortInput(str(demo / "raw.csv")), Options(prediction_times=times), str(demo / "cohort"))
    for split in ("train", "valid", "test"):
        files = dict(
            input_file=demo / f"cohort.bencs.{split}",
            vocab_file=demo / "cohort.types",
            output_file=demo / f"{split}.tfrecord",
        )
        write(plan(SequenceMaker(FeatureSettings(**{name: str(path) for name, path in files.items()}))))
    info = read_dataset(demo / "train.tfrecord")
    tasks = tuple(available_tasks(info.tasks).values())
    small = json.loads((ROOT / "medtop" / "configs" / "small.json").read_text())
    make_run(demo / "run", tasks, info.vocabulary, embeddings=small["embeddings"])
    export_saved_model(demo / "run", demo / "serving")
    return folder


def run_page(code, folder):
    """Runs a piece of the page in a process of its own; its standard output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.run(
        [sys.executable, "-c", BLOCKED + code], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.slow
def test_the_pages_client_equals_run_prediction(folder):
    """From the raw table: same patients, same probabilities, though two programs count visits and days."""
    demo = folder / "checkpoints" / "demo"
    assert "P00000" in run_page(PYTHON[0], folder)
    with open(demo / "served_predictions.csv", newline="", encoding="utf-8") as file:
        served = {row.pop("patient_id"): row for row in csv.DictReader(file)}
    names = ",".join(str(demo / f"{split}.tfrecord") for split in ("train", "valid", "test"))
    assert predict(str(demo / "run"), names, demo / "predictions.csv").examples == 110
    with open(demo / "predictions.csv", newline="", encoding="utf-8") as file:
        expected = {
            (row["patient_id"], f"{row['task']}.{row['label']}"): row["probability"] for row in csv.DictReader(file)
        }
    assert len(served) == 100 and len(next(iter(served.values()))) == 13
    pairs = [(value, expected[patient, name]) for patient, row in served.items() for name, value in row.items()]
    assert all((value == "") == (other == "") for value, other in pairs)  # withheld by both, or by neither
    known = [(float(value), float(other)) for value, other in pairs if value]
    assert len(known) > len(pairs) / 2 and max(abs(value - other) for value, other in known) <= 1e-6
    of_mace = [expected[patient, "complications.MACE_365"] for patient in served]
    assert np.std([float(value) for value in of_mace if value]) > 0.01


@pytest.mark.slow
def test_the_pages_request_and_its_onnx_client_agree(folder):
    """The same patient as JSON to the SavedModel and as arrays to ONNX Runtime."""
    request = json.loads(REQUEST)["instances"]
    model = tf.saved_model.load(str(folder / "checkpoints" / "demo" / "serving" / "1"))
    predict_codes = model.signatures["serving_default"]
    specs = predict_codes.structured_input_signature[1]
    assert all(row.keys() == specs.keys() for row in request)
    answer = predict_codes(
        **{name: tf.constant([row[name] for row in request], spec.dtype) for name, spec in specs.items()}
    )
    assert answer["unknown_codes"].numpy()[1, 0] == b"my own code"
    assert answer["unknown_code_count"].numpy()[1] == 1
    for package in ("onnx", "onnxruntime", "tf2onnx"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (the extra medtop[onnx])")
    from medtop.serve.onnx_model import export_onnx

    demo = folder / "checkpoints" / "demo"
    export_onnx(demo / "run", demo / "onnx")
    printed = dict(line.split() for line in run_page(PYTHON[1], folder).splitlines())
    assert len(printed) == 12
    for label, value in printed.items():
        assert float(value) == pytest.approx(float(answer[f"complications.{label}"][0]), abs=1e-4)


def test_the_pages_commands_have_flags_that_exist(run_process):
    process = run_process("run_scripts/export_model.py", "--help")
    offered = set(re.findall(r"^  --(?:\[no\])?(\w+)", process.stdout, re.MULTILINE))
    used = re.findall(r"^python run_scripts/export_model.py (.*)$", PAGE, re.MULTILINE)
    assert len(used) == 3 and {name for line in used for name in re.findall(r"--(\w+)", line)} <= offered
