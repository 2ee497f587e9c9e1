"""A vocabulary keeps its map (`--code_map`): raw codes give a run directory, a SavedModel and an ONNX model the same
probabilities as the preprocessed cohort."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("tensorflow", reason="models are Keras's")

import tensorflow as tf  # noqa: E402
from conftest import ROOT  # noqa: E402
from serving_cases import make_run, well_apart  # noqa: E402

from medtop.cohort.build import Options  # noqa: E402
from medtop.cohort.preprocess import CohortInput, preprocess  # noqa: E402
from medtop.cohort.vocabulary import SPECIAL_TOKENS, Vocabulary  # noqa: E402
from medtop.cohort.vocabulary_map import CodeMap, map_key, read_beside  # noqa: E402
from medtop.data.create import plan, write  # noqa: E402
from medtop.data.sequences import FeatureSettings, SequenceMaker  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.runs.predict import predict  # noqa: E402
from medtop.serve import parity  # noqa: E402
from medtop.serve.code_map import CodeMapLayer  # noqa: E402
from medtop.serve.parity import ParityPerson, Visit  # noqa: E402
from medtop.serve.saved_model import export_saved_model  # noqa: E402
from medtop.serve.served_model import load_patient_model  # noqa: E402
from medtop.serve.served_run import ServedRun  # noqa: E402

PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
RAW = [f"ICD9_{number}" for number in range(2500, 2530)] + ["ICD10_E119", "ICD10_I10", "LOCAL.7"]
ENTRIES = {code: (f"G{number % 7}", f"G{number % 5 + 7}")[: 1 + number % 2] for number, code in enumerate(RAW[:24])}
"""Every second code has two targets; nine codes have none."""


@pytest.fixture(autouse=True)
def graphs():
    """As users run it, whatever an earlier test of this process preferred."""
    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(False)
    yield
    tf.config.run_functions_eagerly(eager)


def table(path, patients, seed):
    """One row per code of each stay, of 1 to 4 stays with 1 to 5 codes each; codes written in several ways."""
    rng, rows = np.random.default_rng(seed), []
    for patient in range(patients):
        day = pd.Timestamp("2012-01-01") + pd.Timedelta(days=int(rng.integers(0, 900)))
        for stay in range(int(rng.integers(1, 5))):
            until = day + pd.Timedelta(days=int(rng.integers(0, 12)))
            for place, code in enumerate(rng.choice(RAW, int(rng.integers(1, 6)), replace=False)):
                entry = [f"P{patient:03}", f"{patient}-{stay}", day, until, code, place, "1950-06-01", "F"]
                rows.append(dict(zip(COLUMNS, entry, strict=True)))
            day = until + pd.Timedelta(days=int(rng.integers(1, 200)))
    pd.DataFrame(rows).to_csv(path, index=False, date_format="%Y-%m-%d")


COLUMNS = ["patient_id", "stay_id", "admit", "discharge", "code", "order_1", "birth", "sex"]


def people_of(path):
    """The table's patients as a client of the model knows them: raw codes; days by pandas, not by medtop."""
    rows = pd.read_csv(path, parse_dates=["admit", "discharge", "birth"])
    people = {}
    for patient, own in rows.groupby("patient_id"):
        stays, before = [], None
        last = own.discharge.max()
        for _, stay in own.groupby(["discharge", "admit", "stay_id"]):
            first = stay.iloc[0]
            gap = 0 if before is None else max((first.admit - before).days, 0)
            codes = tuple(stay.sort_values("order_1").code)
            days = [first.discharge - first.admit, last - first.discharge, first.admit - first.birth]
            stays.append(Visit(codes, days[0].days, gap, days[1].days, days[2].days))
            before = first.discharge
        people[patient] = ParityPerson(tuple(stays), (last - own.birth.iloc[0]).days, "F")
    return people


def cohort(folder, data, vocabulary, **changes):
    """Preprocesses the whole history of each patient; gives the prefix."""
    changes = {"index": "none", "tasks": (), "splits": "test"} | changes
    options = Options(vocabulary=vocabulary, min_code_count=1, min_code_patients=1, **changes)
    preprocess(CohortInput(str(data)), options, folder / "new")
    return folder / "new"


MAPS = [("all", "drop"), ("first", "keep"), ("first3", "keep")]


@pytest.mark.slow
@pytest.mark.parametrize("many, missing", MAPS)
def test_raw_codes_give_the_probabilities_of_the_preprocessed_cohort(many, missing, tmp_path):
    table(tmp_path / "old.csv", 60, seed=1)
    table(tmp_path / "new.csv", 25, seed=2)
    pairs = [(code, target) for code, targets in ENTRIES.items() for target in targets]
    pd.DataFrame(pairs, columns=["from", "to"]).to_csv(tmp_path / "map.csv", index=False)
    flags = {"code_map": "first3"} if many == "first3" else {"code_map": str(tmp_path / "map.csv")}
    if many != "first3":
        flags |= {"code_map_many": many, "code_map_missing": missing}
    (tmp_path / "fit").mkdir()
    fitted = cohort(tmp_path / "fit", tmp_path / "old.csv", None, splits="train", **flags)
    vocabulary = Vocabulary.read(f"{fitted}.vocab.txt")
    assert vocabulary.code_map == Vocabulary.read(f"{fitted}.types").code_map is not None
    run = make_run(tmp_path / "run", vocabulary=vocabulary)
    assert read_beside(tmp_path / "run" / "vocab.txt") == vocabulary.code_map

    # a run directory: new patients with raw codes, and no word of a map
    prefix = cohort(tmp_path, tmp_path / "new.csv", f"{run}/vocab.txt")
    assert json.loads(prefix.with_name("new.manifest.json").read_text())["roll_up"]["kind"] != "none"
    files = {"input_file": f"{prefix}.bencs.test", "output_file": str(tmp_path / "r"), "vocab_file": f"{prefix}.types"}
    write(plan(SequenceMaker(FeatureSettings(**files))))
    predict(run, str(tmp_path / "r"), tmp_path / "predicted.csv", min_known_codes=0)
    rows = pd.read_csv(tmp_path / "predicted.csv")
    expected = rows.pivot(index="patient_id", columns=["task", "label"], values="probability")

    # a SavedModel: the same raw codes
    export_saved_model(run, tmp_path / "out", min_known_codes=0)
    served, everybody = ServedRun.read(run, min_known_codes=0), people_of(tmp_path / "new.csv")
    people = [everybody[patient] for patient in expected.index]
    loaded = tf.saved_model.load(str(tmp_path / "out" / "1"))
    request = {name: tf.constant(value) for name, value in parity.client_request(served, people).items()}
    answer = loaded.signatures["serving_default"](**request)
    for task in served.tasks:
        received = answer[task.name].numpy()
        wanted = expected[task.name][list(task.labels)].to_numpy()
        assert well_apart({task.name: received})
        np.testing.assert_allclose(received, wanted, rtol=0, atol=2e-6)
    shares = rows.drop_duplicates("patient_id").set_index("patient_id").known_codes[expected.index]
    np.testing.assert_allclose(answer["known_codes"].numpy(), shares.fillna(0), atol=1e-4)
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    assert about["code_map"] == vocabulary.code_map.sentence
    assert vocabulary.code_map.sentence in (tmp_path / "out" / "README.md").read_text()


def test_the_graph_maps_as_python_does():
    codes = [
        "ICD10_E11.9",
        "icd10_e119",
        "ICD9_E849.0",
        "ICD9_250",
        "LOCAL.7",
        "ICD9PROC_36.06",
        "HCPCS_92928x",
        "é1é2",
    ]
    codes += ["ICD10_", "_", "x_y", "A", "ICD9_E8", *RAW]
    entries = {map_key(code): targets for code, targets in ENTRIES.items()} | {"ICD10_E119": ("a", "b", "c")}
    for code_map in (
        CodeMap("first3"),
        CodeMap("file", "all", "keep", entries),
        CodeMap("file", "all", "drop", entries),
        CodeMap("file", "refuse", "drop", {}),
    ):
        targets, places = CodeMapLayer(code_map)(tf.constant(codes))
        wanted = [(place, target) for place, code in enumerate(codes) for target in code_map.targets(code)]
        received = zip(places.numpy().tolist(), (target.decode() for target in targets.numpy()), strict=True)
        assert list(received) == wanted


def page():
    """`mapped` of docs/serving.md, as a client without medtop has it."""
    block = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "def mapped" in block)
    names = {"folder": "nowhere"}
    exec(block, names)
    return names["mapped"]


def test_the_pages_client_maps_as_python_does():
    entries = {map_key(code): targets for code, targets in ENTRIES.items()}
    for code_map in (
        CodeMap("first3"),
        CodeMap("file", "all", "keep", entries),
        CodeMap("file", "first", "drop", entries),
    ):
        for code in [*RAW, "icd9_e849.0", "ICD9PROC_36.06", "HCPCS_92928", "ICD10_", "x_y"]:
            assert page()(code, code_map.to_dict()) == list(code_map.targets(code))


def test_onnx_with_the_pages_client(tmp_path):
    """The map lies beside the model and is applied outside, by the lines of docs/serving.md."""
    for package in ("onnx", "onnxruntime", "tf2onnx"):
        pytest.importorskip(package, reason=f"{package} is not installed (the extra medtop[onnx])")
    import onnxruntime

    from medtop.serve.onnx_model import export_onnx, run

    table(tmp_path / "new.csv", 12, seed=3)
    targets = sorted({target for targets in ENTRIES.values() for target in targets})
    entries = {map_key(code): targets for code, targets in ENTRIES.items()}
    code_map = CodeMap("file", "all", "drop", entries)
    folder = make_run(tmp_path / "run", vocabulary=Vocabulary((*SPECIAL_TOKENS, *targets), code_map))
    export_onnx(folder, tmp_path / "out", min_known_codes=0)
    served = ServedRun.read(folder, min_known_codes=0)
    people = list(people_of(tmp_path / "new.csv").values())
    expected = parity.reference(served, load_patient_model(served), people)
    kept = json.loads((tmp_path / "out" / "code_map.json").read_text())
    own = [
        dataclasses.replace(
            person,
            visits=tuple(
                dataclasses.replace(visit, codes=tuple(dict.fromkeys(t for c in visit.codes for t in page()(c, kept))))
                for visit in person.visits
            ),
        )
        for person in people
    ]
    plain = dataclasses.replace(served, vocabulary=served.vocabulary.with_map(None))
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"), providers=["CPUExecutionProvider"])
    names = [task.name for task in served.tasks]
    for name, values in zip(names, run(session, names, parity.numeric_batch(plain, own)), strict=True):
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-5)
    assert "before they are looked up" in (tmp_path / "out" / "README.md").read_text()


def test_another_map_than_the_vocabularys_is_refused(tmp_path):
    table(tmp_path / "old.csv", 20, seed=1)
    (tmp_path / "fit").mkdir()
    fitted = cohort(tmp_path / "fit", tmp_path / "old.csv", None, splits="train", code_map="first3")
    (tmp_path / "map.csv").write_text("from,to\nICD9_2500,A\n")
    with pytest.raises(DataError, match="--code_map: expected the map that .*vocab.txt was made with"):
        cohort(tmp_path, tmp_path / "old.csv", f"{fitted}.vocab.txt", code_map=str(tmp_path / "map.csv"))
    cohort(tmp_path, tmp_path / "old.csv", f"{fitted}.vocab.txt", code_map="first3")  # the same one may be said again
    fitted.with_name("new.code_map.json").write_text('{"format": "medtop code map", "version": 1, "kind": "x"}')
    with pytest.raises(DataError, match="code_map.json: expected a code map"):
        Vocabulary.read(f"{fitted}.vocab.txt")
