"""A run's numeric model as ONNX: the batch, one patient a row -> logits and calibrated probabilities.

docs/contract.md, "Batch, outputs, losses", says what the batch holds.

ONNX Runtime has no hash tables of strings that every build carries, so codes become ids outside: vocab.txt lies beside
model.onnx (line number, from 0, = id), and docs/serving.md shows the few lines that a client needs.

Letters: B patients, T tokens of the longest one, K labels of a task.
"""

import json

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx

from medtop.cohort.vocabulary import UNK_ID
from medtop.evaluation.predictions import MIN_KNOWN_CODES
from medtop.files.atomic import write_json
from medtop.files.errors import DataError
from medtop.files.folders import check_target, whole_folder
from medtop.reporting.export_card import write_export_card
from medtop.serve import parity
from medtop.serve.served_model import (
    calibration_notes,
    known_share,
    load_patient_model,
    probabilities,
    table_of,
    withhold,
)
from medtop.serve.served_run import DESCRIPTION_FILE, REPORTS, VOCABULARY_FILE, ServedRun, is_export

KIND = "onnx"
MODEL_FILE = "model.onnx"
SUMMARY = (
    f"The numeric model as ONNX: ids in, logits and calibrated probabilities out. `{VOCABULARY_FILE}` gives the ids "
    f"(line number, from 0); `{DESCRIPTION_FILE}` names inputs, outputs, labels and decision thresholds."
)
OPSET = 17
"""Understood by ONNX Runtime 1.13 (2022) and later."""

LARGEST_BYTES = 1_900_000_000
"""A protocol buffer holds 2 GiB."""

MEANINGS = {
    "token_ids": "ids of the codes (vocab.txt), [CLS] first; padded with 0",
    "positions": "0, 1, 2, ... along the row",
    "visit_positions": "order of the code within its visit, from 0; 0 for [CLS]",
    "visits": "number of the code's visit, from 1; 0 for [CLS]",
    "segments": "segment ids, see `segment` in model.json",
    "ages": "age in days at the admission of the code's visit, for [CLS] at the prediction time; 0 = unknown",
    "gaps": "days since the previous visit's discharge; 0 for the first visit and for [CLS]",
    "stays": "days from admission to discharge; 0 for [CLS]",
    "recencies": "days from discharge to the prediction time; 0 for [CLS]",
    "sexes": "1 = F, 2 = M, 0 = unknown, the same along the row",
    "patient_slots": "1 for tokens, 0 for padding",
}


def input_names(served):
    """Names of the model's inputs, all int64 [B, T]: what the config uses, and `patient_slots`."""
    return [*served.config.inputs, "patient_slots"]


def convert(served, model):
    """The ONNX model (`onnx.ModelProto`).

    Args:
        served: `ServedRun`.
        model: `keras.Model` of the patient-level tasks.

    Raises:
        DataError: for a model of more than `LARGEST_BYTES`.
    """
    size = sum(weight.value.numpy().nbytes for weight in model.weights)
    if size > LARGEST_BYTES:
        raise DataError(
            f"{served.run.path}: expected at most {LARGEST_BYTES} bytes of weights for ONNX, received {size}; "
            "--format=saved_model has no such limit"
        )
    names = input_names(served)

    def numeric(*values):
        x = {name: tf.cast(value, tf.int32) for name, value in zip(names, values, strict=True)}
        x["cls_positions"] = tf.zeros([tf.shape(x["token_ids"])[0], 1], tf.int32)
        logits = model(x, training=False)
        own = {f"{task.name}_logits": logits[task.name][:, 0, :] for task in served.tasks}
        real = tf.cast(x["patient_slots"] > 0, tf.int32)
        known = tf.reduce_sum(tf.cast(x["token_ids"] >= served.vocabulary.first_code_id, tf.int32) * real, axis=1)
        strange = 0 if served.vocabulary.is_medbert else tf.cast(x["token_ids"] == UNK_ID, tf.int32)
        share = known_share(known, known + tf.reduce_sum(strange * real, axis=1))
        return withhold(served, probabilities(served, logits, tf.float32), share) | own | {"known_codes": share}

    signature = [tf.TensorSpec([None, None], tf.int64, name) for name in names]
    function = tf.function(numeric, input_signature=signature)
    converted, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    for value in converted.graph.input:
        _name_axes(value, ("B", "T"))
    for value in converted.graph.output:
        _name_axes(value, ("B",))
    labels = {task.name: list(task.labels) for task in served.tasks}
    onnx.helper.set_model_props(converted, {"labels": json.dumps(labels)})
    onnx.checker.check_model(converted)
    return converted


def _name_axes(value, names):
    for axis, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
        axis.dim_param = name


def export_onnx(run_dir, output_dir, overwrite=False, command="", min_known_codes=MIN_KNOWN_CODES):
    """Writes a run as ONNX, runs it with ONNX Runtime and compares it with the Keras model; whole or not at all.

    Args:
        run_dir: a finished run.
        output_dir: folder to make: model.onnx, vocab.txt, model.json, README.md.
        overwrite: whether an earlier export there is replaced.
        command: the command line, for the model card.
        min_known_codes: see `ServedRun`.

    Returns:
        `serving_parity.ServingParity`.

    Raises:
        DataError: for a run that cannot be served, an existing folder, or probabilities that differ.
    """
    check_target(output_dir, is_export, overwrite)
    served = ServedRun.read(run_dir, min_known_codes)
    model = load_patient_model(served)
    with whole_folder(output_dir, is_export, overwrite, shared=True) as folder:
        (folder / MODEL_FILE).write_bytes(convert(served, model).SerializeToString())
        session = onnxruntime.InferenceSession(str(folder / MODEL_FILE), providers=["CPUExecutionProvider"])
        result = parity.check(served, model, lambda people: call(session, served, people), f"{output_dir}")
        served.vocabulary.write_text(folder / VOCABULARY_FILE)
        write_json(folder / DESCRIPTION_FILE, served.describe(KIND, _inputs(served), _outputs(served)))
        write_export_card(
            folder,
            served.run,
            title="ONNX model",
            summary=[SUMMARY],
            usage=_usage(served),
            tasks=served.tasks,
            notes=[*calibration_notes(served), f"{result.line()}."],
            command=command,
        )
    return result


def call(session, served, people):
    """dict task -> float32 [N, K] of an ONNX Runtime session, for a list of `serving_parity.Person`."""
    batch = parity.numeric_batch(served, people)
    names = [task.name for task in served.tasks]
    return dict(zip(names, run(session, names, batch), strict=True))


def run(session, outputs, batch):
    """The named outputs of a session for a batch: list of arrays."""
    wanted = {entry.name for entry in session.get_inputs()}
    return session.run(outputs, {name: values.astype(np.int64) for name, values in batch.items() if name in wanted})


def _inputs(served):
    meanings = dict(MEANINGS)
    if served.vocabulary.is_medbert:
        meanings["token_ids"] = "ids of the codes (vocab.txt); padded with 0"
    if served.time_gap == "after":
        meanings["gaps"] = "days to the next visit's admission; 0 for the last visit and for [CLS]"
    return [
        {"name": name, "dtype": "int64", "shape": ["B", "T"], "meaning": meanings[name]} for name in input_names(served)
    ]


def _outputs(served):
    outputs = []
    for task in served.tasks:
        for name, meaning in ((task.name, "calibrated probabilities"), (f"{task.name}_logits", "the model's logits")):
            labels = f"{meaning} of {', '.join(task.labels)}"
            outputs.append({"name": name, "dtype": "float32", "shape": ["B", len(task.labels)], "meaning": labels})
    dtype, shape, meaning = REPORTS["known_codes"]
    return [*outputs, {"name": "known_codes", "dtype": dtype, "shape": shape, "meaning": meaning}]


def _usage(served):
    lines = [
        "import onnxruntime",
        "",
        f'model = onnxruntime.InferenceSession("{MODEL_FILE}", providers=["CPUExecutionProvider"])',
        f'values = model.run([{served.tasks[0].name!r}], {{"token_ids": ..., "patient_slots": ..., ...}})[0]',
    ]
    return [{"language": "python", "code": "\n".join(lines)}, table_of(_inputs(served)), table_of(_outputs(served))]
