"""SavedModel: codes in, calibrated probabilities out, held against Keras, against the pipeline's features, and from a
process where medtop cannot be imported."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="a SavedModel is TensorFlow's")

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
from serving_cases import CODES, LABELS, MAX_SEQ_LENGTH, MEDBERT, TASKS, changed_json, make_run, well_apart  # noqa: E402
from small_data import ALL_EMBEDDINGS  # noqa: E402

from medtop.cohort.visits import OLDEST_AGE_DAYS  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.serve import parity  # noqa: E402
from medtop.serve.client_batch import ClientBatch  # noqa: E402
from medtop.serve.parity import ParityPerson, Visit, client_request, generate_people, numeric_batch, reference
from medtop.serve.saved_model import export_saved_model  # noqa: E402
from medtop.serve.served_model import calibration_notes, load_patient_model, probabilities  # noqa: E402
from medtop.serve.served_run import ServedRun  # noqa: E402

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}  # as scripts set it where there is no GPU; conftest has set another level


@pytest.fixture(autouse=True)
def graphs():
    """As users run it, whatever an earlier test of this process preferred."""
    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(False)
    yield
    tf.config.run_functions_eagerly(eager)


def tensors(request):
    return {name: tf.constant(values) for name, values in request.items()}


def ask(model, request):
    return {name: value.numpy() for name, value in model.signatures["serving_default"](**tensors(request)).items()}


def encoder_of(folder, **changes):
    """(`ServedRun`, function of a request that gives (x, report) as NumPy arrays), without saving anything."""
    served = ServedRun.read(make_run(folder, **changes))
    encode = ClientBatch(served, served.run.vocabulary_file)
    names = [one["name"] for one in encode.inputs]
    graph = tf.function(
        lambda *values: encode(dict(zip(names, values, strict=True))), input_signature=encode.signature()
    )

    def call(request):
        x, report = graph(*(tf.constant(request[name]) for name in names))
        return {key: value.numpy() for key, value in x.items()}, {key: value.numpy() for key, value in report.items()}

    return served, call


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(`ServedRun`, folder of the export, loaded SavedModel) of a run with all embeddings."""
    folder = tmp_path_factory.mktemp("exported")
    run = make_run(folder / "run")
    result = export_saved_model(run, folder / "out", command="python run_scripts/export_model.py --made=up")
    assert result.largest <= 1e-6 and result.shortest == 0 and result.longest > MAX_SEQ_LENGTH
    return ServedRun.read(run), folder / "out", tf.saved_model.load(str(folder / "out" / "1"))


COMBINATIONS = [("post", "sum"), ("pre", "cls"), ("pre", "mean")]
"""The fixture `exported` is post and cls; `test_encoder` holds all six against NumPy; each export compares itself."""


@pytest.mark.slow
@pytest.mark.parametrize("norm, pooling", COMBINATIONS)
def test_probabilities_equal_keras(norm, pooling, tmp_path):
    """All embeddings; single patients and one batch of mixed lengths, within 1e-5 (about 1e-7 is found)."""
    activation = "gelu" if pooling == "mean" else "gelu_tanh"
    run = make_run(tmp_path / "run", norm=norm, pooling=pooling, activation=activation, segment="alternating")
    export_saved_model(run, tmp_path / "out")
    served = ServedRun.read(run)
    people = generate_people(served, 10, seed=5)
    expected = reference(served, load_patient_model(served), people)
    assert well_apart(expected)
    loaded = tf.saved_model.load(str(tmp_path / "out" / "1"))
    together = ask(loaded, client_request(served, people))
    for task in served.tasks:
        alone = [ask(loaded, client_request(served, [person]))[task.name] for person in people]
        np.testing.assert_allclose(together[task.name], expected[task.name], rtol=0, atol=1e-5)
        np.testing.assert_allclose(np.concatenate(alone), expected[task.name], rtol=0, atol=1e-5)
        for place, label in enumerate(task.labels):
            np.testing.assert_array_equal(together[f"{task.name}.{label}"], together[task.name][:, place])


SETTINGS = {
    **{f"code and {name}": dict(embeddings=("code", name)) for name in ALL_EMBEDDINGS[1:]},
    "code alone": dict(embeddings=("code",)),
    "segment visit": dict(embeddings=("code", "segment"), segment="visit"),
    "segment alternating": dict(embeddings=("code", "segment"), segment="alternating"),
    "gap after": dict(data={"time_gap": "after"}),
    "separators": dict(data={"visit_separator": True}),
    "separators and gap after": dict(data={"visit_separator": True, "time_gap": "after"}, segment="visit"),
    "Med-BERT": dict(vocabulary=MEDBERT, embeddings=("code", "position", "visit", "segment"), segment="visit"),
}


@pytest.mark.slow
@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_batch_equals_the_features_of_training(changes, tmp_path):
    """What the graph makes of a request is what features and pipeline make of the same patients, number by number."""
    served, encode = encoder_of(tmp_path / "run", **changes)
    assert {one["name"] for one in served.client_inputs()} >= {"codes", "visits"}
    people = [person for seed in range(3) for person in generate_people(served, 15, seed)]
    x, _ = encode(client_request(served, people))
    expected = numeric_batch(served, people)
    assert x.keys() == expected.keys() == {*served.config.inputs, "patient_slots", "cls_positions"}
    for key, values in expected.items():
        np.testing.assert_array_equal(x[key], values, err_msg=key)
        assert x[key].dtype == np.int32
    if served.config.embeddings == ALL_EMBEDDINGS:
        assert all(values.any() for key, values in expected.items() if key not in ("cls_positions", "segments"))


def test_signature_asks_for_what_the_config_uses(tmp_path):
    wanted = {
        ("code",): ["codes", "visits"],
        ("code", "visit", "segment", "position", "visit_position"): ["codes", "visits"],
        ("code", "age"): ["codes", "visits", "ages", "age_at_prediction"],
        ("code", "gap", "sex"): ["codes", "visits", "gaps", "sex"],
        ("code", "recency", "stay"): ["codes", "visits", "stays", "recencies"],
    }
    for place, (embeddings, names) in enumerate(wanted.items()):
        served = ServedRun.read(make_run(tmp_path / str(place), embeddings=embeddings))
        assert [one["name"] for one in served.client_inputs()] == names


@pytest.mark.slow
def test_names_are_discoverable(exported):
    served, folder, loaded = exported
    function = loaded.signatures["serving_default"]
    inputs = function.structured_input_signature[1]
    about = json.loads((folder / "model.json").read_text())
    kinds = {"string": tf.string, "int64": tf.int64, "int32": tf.int32, "float32": tf.float32}
    assert {name: spec.dtype for name, spec in inputs.items()} == {
        one["name"]: kinds[one["dtype"]] for one in about["inputs"]
    }
    assert {name: value.dtype for name, value in function.structured_outputs.items()} == {
        one["name"]: kinds[one["dtype"]] for one in about["outputs"]
    }
    assert {"complications", "long_stay", *(f"complications.{label}" for label in LABELS)} <= set(
        function.structured_outputs
    )
    assert about["tasks"]["complications"]["labels"] == list(LABELS)
    thresholds = served.calibrations["complications"].thresholds
    assert about["tasks"]["complications"]["thresholds"] == [thresholds[label] for label in LABELS]
    asset = Path(loaded.description.asset_path.numpy().decode())  # a plain load finds the labels too
    assert asset.is_relative_to(folder / "1") and json.loads(asset.read_text()) == about
    assert (folder / "1" / "assets" / "vocab.txt").read_text() == served.run.vocabulary_file.read_text()


def one_person(*visits, age=20_000, sex="F"):
    """A person whose visits are lists of codes."""
    return ParityPerson(
        tuple(
            Visit(tuple(codes), 2, 30 * bool(number), 100 - number, 19_000 + number)
            for number, codes in enumerate(visits)
        ),
        age,
        sex,
    )


@pytest.mark.slow
def test_unknown_codes_are_unk_and_reported(exported):
    served, _, loaded = exported
    people = [
        one_person(["C01", "C03", "never seen"], ["C02", "never seen", "other"]),
        one_person(["C01", "C03"]),
        one_person(["[MASK]", "[PAD]", "[UNK]"]),
        one_person(),
    ]
    answer = ask(loaded, client_request(served, people))
    assert answer["unknown_code_count"].tolist() == [3, 0, 3, 0]  # each once within a visit
    listed = [[code.decode() for code in row] for row in answer["unknown_codes"]]
    assert listed == [["never seen", "other", ""], ["", "", ""], ["[MASK]", "[PAD]", "[UNK]"], ["", "", ""]]
    # which unknown code it is changes nothing, and it is the [UNK] that the features know
    others = [one_person(["C01", "C03", "a"], ["C02", "b", "c"]), people[1], one_person(["d", "e", "f"]), people[3]]
    again = ask(loaded, client_request(served, others))
    expected = reference(served, load_patient_model(served), people)
    for task in served.tasks:
        np.testing.assert_array_equal(again[task.name], answer[task.name])
        np.testing.assert_allclose(answer[task.name], expected[task.name], rtol=0, atol=1e-5)
    known = ask(loaded, client_request(served, [one_person(["C01", "C03", "C09"], ["C02", "C09", "C08"])]))
    assert np.abs(known["complications"] - answer["complications"][:1]).max() > 1e-4
    assert ask(loaded, client_request(served, people[1:2]))["unknown_codes"].tolist() == [[b""]]  # never [B, 0]


@pytest.mark.slow
def test_patients_of_whom_the_model_knows_too_little_get_no_probability(exported, tmp_path):
    served, folder, loaded = exported
    people = [
        one_person(),
        one_person(["what"], ["that"]),
        one_person(["C01", "what"], ["that"]),
        one_person(["C01", "what"]),
        one_person(["C01"], ["C02"]),
    ]
    answer = ask(loaded, client_request(served, people))
    np.testing.assert_allclose(answer["known_codes"], [0, 0, 1 / 3, 0.5, 1], rtol=1e-6)
    for name in (task.name for task in served.tasks):
        assert np.isnan(answer[name]).all(axis=1).tolist() == [True, True, True, False, False]
        assert not np.isnan(answer[name][3:]).any()
    assert np.isnan(answer["complications." + LABELS[0]]).tolist() == [True, True, True, False, False]
    assert json.loads((folder / "model.json").read_text())["min_known_codes"] == 0.5
    export_saved_model(served.run.path, tmp_path / "all", min_known_codes=0)
    answer = ask(tf.saved_model.load(str(tmp_path / "all" / "1")), client_request(served, people))
    assert not np.isnan(answer["complications"]).any()


@pytest.mark.slow
def test_codes_repeated_within_a_visit_count_once_at_their_first_place(tmp_path):
    served, encode = encoder_of(tmp_path / "run")
    once = client_request(served, [one_person(["C01", "C02", "what"], ["C01", "C03"]), one_person(["C02"])])
    twice = client_request(
        served,
        [one_person(["C01", "C02", "C01", "what", "what", "C02"], ["C01", "C03", "C03", "C01"]), one_person(["C02"])],
    )
    assert twice["codes"].shape != once["codes"].shape
    (x, report), (repeated, same) = encode(once), encode(twice)
    for key, values in x.items():
        np.testing.assert_array_equal(repeated[key], values, err_msg=key)
    for key, values in report.items():
        np.testing.assert_array_equal(same[key], values, err_msg=key)


@pytest.mark.slow
def test_truncation_keeps_cls_and_the_latest_codes(tmp_path):
    served, encode = encoder_of(tmp_path / "run")
    codes = [CODES[place % 50] for place in range(100)]
    person = one_person(*(codes[start : start + 10] for start in range(0, 100, 10)))
    x, report = encode(client_request(served, [person, one_person(["C01"])]))
    ids = [served.vocabulary.ids[code] for code in codes]
    assert x["token_ids"][0].tolist() == [2, *ids[-(MAX_SEQ_LENGTH - 1) :]]
    assert x["ages"][0, 0] == person.age and x["visits"][0, 0] == 0 and x["visits"][0, -1] == 10
    assert report["tokens_left_out"].tolist() == [101 - MAX_SEQ_LENGTH, 0]
    assert x["patient_slots"].sum(axis=1).tolist() == [MAX_SEQ_LENGTH, 2]


@pytest.mark.slow
def test_padding_may_stand_anywhere_and_changes_nothing(exported):
    served, _, loaded = exported
    people = generate_people(served, 6, seed=2)
    request = client_request(served, people)
    plain = ask(loaded, request)
    rng = np.random.default_rng(0)
    width = request["codes"].shape[1]
    places = np.sort(rng.permutation(width + 9)[:width])  # columns of padding in front, between, and behind
    spread = {}
    for name, values in request.items():
        if values.ndim == 2:
            blank = "" if name == "codes" else -77  # what stands beside padding does not matter
            spread[name] = np.full((len(people), width + 9), blank, values.dtype)
            spread[name][:, places] = values
        else:
            spread[name] = values
    for name, values in ask(loaded, spread).items():
        if values.dtype == np.float32:
            np.testing.assert_allclose(values, plain[name], rtol=0, atol=1e-6)
        else:
            np.testing.assert_array_equal(values, plain[name])


@pytest.mark.slow
def test_ages_over_90_years_count_as_90(tmp_path):
    served, encode = encoder_of(tmp_path / "run", embeddings=("code", "age"))
    request = {
        "codes": np.array([["C01", "C02"]], object),
        "visits": np.array([[1, 1]]),
        "ages": np.array([[40_000, 3 * 2**31]]),
        "age_at_prediction": np.array([40_000]),
    }
    assert encode(request)[0]["ages"].tolist() == [[OLDEST_AGE_DAYS] * 3]


WRONG = {
    "visits from 0": (dict(visits=[[0, 1]]), "visits: expected numbers from 1"),
    "falling visits": (dict(visits=[[2, 1]]), "visits: expected numbers that never fall along the codes"),
    "another shape": (dict(visits=[[1]]), "visits: expected the shape [B, T] of codes"),
    "another length": (dict(ages=[[777_777]]), "ages: expected the shape [B, T] of codes"),
    "two patients": (dict(sex=["F", "M"]), "sex: expected the shape [B] of codes"),
    "another sex": (dict(sex=["female"]), "sex: expected F, M or an empty string"),
    "negative gap": (dict(gaps=[[-777_777, 0]]), "gaps: expected days of 0 or more"),
    "the future": (dict(recencies=[[-777_777, 0]]), "recencies: expected days of 0 or more (a stay after the"),
    "negative age": (dict(age_at_prediction=[-777_777]), "age_at_prediction: expected 0 or more"),
}


@pytest.mark.slow
@pytest.mark.parametrize("changes, message", WRONG.values(), ids=WRONG)
def test_a_wrong_request_is_one_message_without_the_patients_values(changes, message, exported):
    served, _, loaded = exported
    request = client_request(served, [one_person(["SECRET", "C02"])])
    ask(loaded, request)
    request |= {name: np.array(value, object if name == "sex" else np.int64) for name, value in changes.items()}
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        ask(loaded, request)
    assert message in str(caught.value)
    assert not any(
        value in str(caught.value) for value in ("SECRET", "777777", "female")
    )  # 777 may be a graph's number


@pytest.mark.slow
def test_med_bert_leaves_unknown_codes_out_and_refuses_a_patient_without_known_ones(tmp_path):
    run = make_run(
        tmp_path / "run",
        vocabulary=MEDBERT,
        embeddings=("code", "position", "segment"),
        segment="visit",
        data={"layout": "medbert", "time_gap": "after"},
        num_hidden_layers=1,
    )
    export_saved_model(run, tmp_path / "out")
    served, loaded = ServedRun.read(run), tf.saved_model.load(str(tmp_path / "out" / "1"))
    with_unknown = ask(loaded, client_request(served, [one_person(["C01", "what", "C02"], ["that"], ["C05"])]))
    assert with_unknown["unknown_codes"].tolist() == [[b"what", b"that"]]
    known = ask(loaded, client_request(served, [one_person(["C01", "C02"], [], ["C05"])]))
    np.testing.assert_allclose(with_unknown["complications"], known["complications"], rtol=0, atol=1e-7)
    with pytest.raises(tf.errors.InvalidArgumentError, match="codes: expected a known code of each patient"):
        ask(loaded, client_request(served, [one_person(["C01"]), one_person(["what"])]))


CLIENT = """
import importlib.abc, json, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "medtop":
            raise ModuleNotFoundError(f"blocked: {name}", name=name)

sys.meta_path.insert(0, Blocked())
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
predict = model.signatures["serving_default"]
signature = predict.structured_input_signature[1]
body = json.loads(sys.stdin.read())

def dense(values, dtype):  # as TensorFlow Serving reads JSON: lists of equal length, whole numbers for int64
    for value in values if isinstance(values[0], list) else [values]:
        assert all(type(one) is (str if dtype == tf.string else int) for one in value)
    return tf.constant(values, dtype)

answers = []
for request in body:
    if "instances" in request:
        assert all(row.keys() == signature.keys() for row in request["instances"])
        request = {"inputs": {name: [row[name] for row in request["instances"]] for name in signature}}
    answer = predict(**{name: dense(request["inputs"][name], spec.dtype) for name, spec in signature.items()})
    answers.append({name: value.numpy().tolist() for name, value in answer.items()})
assert not [name for name in sys.modules if name.partition(".")[0] == "medtop"]
print(json.dumps(answers, default=lambda value: value.decode()))
"""


def ask_elsewhere(folder, requests, cwd):
    """The answers to requests (JSON as TensorFlow Serving takes it) in a process where medtop cannot be imported."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.run(
        [sys.executable, "-c", CLIENT, str(folder)],
        cwd=cwd,
        env=environment,
        timeout=300,
        input=json.dumps(requests),
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.slow
def test_called_from_a_process_that_does_not_import_medtop(exported, tmp_path):
    served, folder, _ = exported
    folder.rename(tmp_path / "moved")  # assets go with it
    try:
        people = generate_people(served, 10, seed=9)
        request = {name: values.tolist() for name, values in client_request(served, people).items()}
        rows = [{name: values[place] for name, values in request.items()} for place in range(10)]
        single = {name: values[:1].tolist() for name, values in client_request(served, people[3:4]).items()}
        requests = [{"inputs": request}, {"instances": rows}, {"inputs": single}]
        answers = ask_elsewhere(tmp_path / "moved" / "1", requests, tmp_path)
    finally:
        (tmp_path / "moved").rename(folder)
    expected = reference(served, load_patient_model(served), people)
    assert answers[0] == answers[1] and any(code for row in answers[0]["unknown_codes"] for code in row)
    for task in served.tasks:
        np.testing.assert_allclose(answers[0][task.name], expected[task.name], rtol=0, atol=1e-5)
        np.testing.assert_allclose(answers[2][task.name], expected[task.name][3:4], rtol=0, atol=1e-5)


def test_without_calibration_class_weights_are_taken_back_and_the_notes_say_so(tmp_path):
    run = make_run(tmp_path / "run", calibrated=False)
    served = ServedRun.read(run)
    assert not served.is_calibrated
    logits = {
        task.name: tf.constant(np.linspace(-3, 3, 2 * len(task.labels)).reshape(2, 1, -1), tf.float32)
        for task in served.tasks
    }
    found = probabilities(served, logits, tf.float64)
    odds = np.exp(logits["complications"][:, 0].numpy()) / np.array([3.0, 1.0, 0.5])
    np.testing.assert_allclose(found["complications"], odds / (1 + odds), rtol=1e-6)
    assert "Not calibrated" in calibration_notes(served)[0]
    assert served.describe("saved_model", [], [])["calibrated"] is False


@pytest.mark.slow
def test_card_names_tasks_restrictions_inputs_and_commands(exported):
    _, folder, _ = exported
    card = (folder / "README.md").read_text()
    for part in (
        *LABELS,
        "Restrictions.",
        "`recencies`",
        "`unknown_codes`",
        "largest difference of a probability",
        '"num_hidden_layers": 2',
        "run_scripts/export_model.py --made=up",
    ):
        assert part in card


@pytest.mark.slow
def test_half_precision_of_the_process_does_not_reach_the_export(exported):
    served, _, _ = exported
    people = generate_people(served, 4)
    expected = reference(served, load_patient_model(served), people)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = reference(served, load_patient_model(served), people)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(found["complications"], expected["complications"])


@pytest.fixture
def earlier(exported, tmp_path):
    """A copy of the export, `tmp_path/out`, that a test may replace; the run it came from; bytes by file."""
    served, folder, _ = exported
    shutil.copytree(folder, tmp_path / "out")
    return served.run.path, tmp_path / "out", contents(tmp_path / "out")


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_an_export_that_differs_is_an_error_and_leaves_the_earlier_one(earlier, monkeypatch):
    def skewed(served, logits, dtype):
        found = probabilities(served, logits, dtype)
        return found | {"complications": found["complications"] + 2e-5}

    run, folder, before = earlier
    monkeypatch.setattr("medtop.serve.saved_model.probabilities", skewed)
    message = "expected probabilities of complications within 1e-05 of .*, received a difference of 2.0e-05"
    with pytest.raises(DataError, match=message):
        export_saved_model(run, folder, overwrite=True)
    assert contents(folder) == before and list(folder.parent.iterdir()) == [folder]


@pytest.mark.slow
def test_an_export_that_fails_midway_leaves_nothing(exported, tmp_path, monkeypatch):
    def full_disk(module, path, signatures):
        Path(path).mkdir()
        (Path(path) / "saved_model.pb").write_bytes(b"half")
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(tf.saved_model, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        export_saved_model(exported[0].run.path, tmp_path / "deep" / "out")
    assert not list((tmp_path / "deep").iterdir())


@pytest.mark.slow
def test_an_existing_folder_is_refused_and_only_an_export_replaced(earlier, tmp_path):
    run, folder, before = earlier
    with pytest.raises(DataError, match="out: expected a new folder, found one"):
        export_saved_model(run, folder)
    assert contents(folder) == before
    (folder / "1" / "extra.txt").write_text("of the earlier export")
    export_saved_model(run, folder, overwrite=True)
    assert contents(folder).keys() == before.keys()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "mine" / "model.json").write_text('{"format": "of another program"}')
    with pytest.raises(DataError, match="mine: expected an earlier output to overwrite, found something else"):
        export_saved_model(run, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def damaged(name, folder):
    """Makes a run unusable; gives the part of the message that says how."""
    if name == "no run":
        return "missing: expected a run directory"
    if name == "no weights":
        (folder / "best" / "weights.npz").unlink()
        return "weights.npz: expected the weights of a finished run, found no such file"
    if name == "no vocabulary":
        (folder / "vocab.txt").unlink()
        return "vocab.txt: expected a vocabulary"
    if name == "short vocabulary":
        (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nC00\n")
        return "vocab.txt: expected 60 tokens (config.json), received 6"
    if name == "no tasks":
        (folder / "tasks.json").unlink()
        return "tasks.json: expected a tasks file, found no such file"
    if name == "masked codes only":
        changed_json(folder / "tasks.json", tasks=[TASKS[0].to_dict()])
        return "expected a run with a patient-level task, received masked codes only"
    if name == "calibration of others":
        content = json.loads((folder / "calibration.json").read_text())
        content["complications"]["labels"].pop("CKD_365")
        (folder / "calibration.json").write_text(json.dumps(content))
        return "calibration.json: expected task complications with labels MACE_365, CKD_365, RET_365, received MACE"
    if name == "an older run":
        changed_json(folder / "run.json", settings={"max_seq_length": 8, "data": {"train": {"counts": 3}}})
        return "run.json: expected time_gap of the training records, found none: an older run"
    changed_json(folder / "config.json", num_hidden_layers=3)
    return "weights.npz: expected weights"


SHORT = (
    "no run",
    "no weights",
    "no vocabulary",
    "short vocabulary",
    "no tasks",
    "masked codes only",
    "calibration of others",
    "an older run",
    "another depth",
)


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    """A small run that tests copy before they damage it."""
    return make_run(tmp_path_factory.mktemp("plain") / "run")


@pytest.mark.parametrize("name", SHORT)
def test_a_missing_or_short_run_is_one_line(name, plain_run, tmp_path):
    folder = tmp_path / ("missing" if name == "no run" else "run")
    if name != "no run":
        shutil.copytree(plain_run, folder)
    message = damaged(name, folder)
    with pytest.raises(DataError) as caught:
        export_saved_model(folder, tmp_path / "out")
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not [path for path in tmp_path.iterdir() if path != folder]


@pytest.mark.parametrize("form", ["saved_model", "onnx"])
def test_a_missing_run_is_one_line_of_the_script(form, tmp_path, run_script):
    process = run_script(
        "run_scripts/export_model.py",
        f"--run_dir={tmp_path / 'missing'}",
        f"--format={form}",
        f"--output_dir={tmp_path / 'out'}",
    )
    assert process.returncode == 1 and process.stdout == "" and not list(tmp_path.iterdir())
    assert re.fullmatch(r"error: .*missing: expected a run directory \(with run.json\), found none\n", process.stderr)


def test_the_script_exports_and_prints_the_parity(tmp_path, run_either, run_process):
    run = make_run(tmp_path / "run", num_hidden_layers=1)
    arguments = ("run_scripts/export_model.py", f"--run_dir={run}", f"--output_dir={tmp_path / 'out'}")
    own_process = run_either is run_process
    process = run_either(*arguments, env=QUIET if own_process else {})
    assert process.returncode == 0, process.stderr
    warnings = process.stderr.splitlines() if own_process else []
    assert all("patients share each entry of the vocabulary" in line for line in warnings)
    first, second = process.stdout.splitlines()
    assert "out: parity with the Keras model: largest difference of a probability" in first
    assert float(first.partition("probability ")[2].split()[0]) <= 1e-5
    assert second.startswith("next: docker run") and "tensorflow/serving" in second
    assert "export_model.py --run_dir=" in (tmp_path / "out" / "README.md").read_text()
    process = run_either(*arguments)
    assert process.returncode == 1 and "expected a new folder, found one" in process.stderr


def test_generated_patients_cover_what_matters(tmp_path):
    """The comparison at the end of an export: no codes, unknown codes, cut histories, unknown age and sex."""
    served = ServedRun.read(make_run(tmp_path / "run", num_hidden_layers=1))
    people = generate_people(served)
    assert people == generate_people(served) and people != generate_people(served, seed=1)
    assert people[0].num_codes == 0 and people[-1].num_codes == MAX_SEQ_LENGTH + 7
    codes = [code for person in people for visit in person.visits for code in visit.codes]
    unknown = [code for code in codes if code not in served.vocabulary.ids]
    assert 0 < len(unknown) < len(codes) / 5
    several = [person for seed in range(5) for person in generate_people(served, seed=seed)]
    assert {person.sex for person in several} == {"", "F", "M"} and any(person.age == 0 for person in several)
    batch = parity.numeric_batch(served, people)
    assert batch["token_ids"].shape == (len(people), MAX_SEQ_LENGTH)


def test_two_outputs_of_one_name_are_refused(tmp_path):
    tasks = (*TASKS[:2], type(TASKS[2])("unknown_codes", "patient", ("x",)))
    with pytest.raises(DataError, match="expected outputs of distinct names, received 'unknown_codes' twice"):
        ServedRun.read(make_run(tmp_path / "run", tasks=tasks))
