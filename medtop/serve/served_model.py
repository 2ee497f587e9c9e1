"""The Keras model of a run as it is served: patient-level tasks only, calibrated probabilities instead of logits.

Letters: B patients, K labels of a task.
"""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from medtop.evaluation.scoring import patient_model
from medtop.model.multitask import build_model
from medtop.reporting.markdown import code
from medtop.training.trainer import load_best


def load_patient_model(served):
    """The Keras model of a run's patient-level tasks, with its best weights, in float32."""
    with float32_model():
        model = build_model(served.config, served.all_tasks)
        load_best(model, served.run)
        return patient_model(model, served.all_tasks)


@contextlib.contextmanager
def float32_model():
    """Float32 whatever this process trained in: half precision would cost parity and gain a server little."""
    earlier = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(earlier)


def calibration_constants(calibration):
    """(slope, intercept), float64 [K] each, of `slope x logit + intercept`: class weights taken back, then Platt."""
    entries = calibration.labels.values()
    slope = np.array([entry.slope for entry in entries], np.float64)
    intercept = np.array([entry.intercept - entry.slope * np.log(entry.class_weight) for entry in entries], np.float64)
    return slope, intercept


def probabilities(served, logits, dtype):
    """Calibrated probabilities from logits: dict task -> float32 [B, K].

    Args:
        logits: dict task -> float32 [B, 1, K].
        dtype: in which they are computed: float64 as `evaluation.calibration`, float32 where it is all that there is.
    """
    outputs = {}
    for task in served.tasks:
        slope, intercept = (
            tf.constant(values, dtype) for values in calibration_constants(served.calibrations[task.name])
        )
        values = tf.sigmoid(slope * tf.cast(logits[task.name][:, 0, :], dtype) + intercept)
        outputs[task.name] = tf.cast(values, tf.float32)
    return outputs


def known_share(known, codes):
    """float32 [B]: share of codes that are known, 0 without any; both integers [B]."""
    return tf.cast(known, tf.float32) / tf.cast(tf.maximum(codes, 1), tf.float32)


def withhold(served, outputs, share):
    """NaN instead of the probabilities of patients of whom the model knows no code, or too small a share.

    Args:
        served: `ServedRun`.
        outputs: dict task -> float32 [B, K].
        share: float32 [B], of `known_share`.
    """
    if served.min_known_codes <= 0:
        return outputs
    empty = (share <= 0) | (share < tf.constant(served.min_known_codes, tf.float32))
    return {task: tf.where(empty[:, None], tf.constant(np.nan, tf.float32), values) for task, values in outputs.items()}


def calibration_notes(served):
    """Sentences of the model card on calibration, on probabilities that are not given, and on a map of codes."""
    code_map = served.vocabulary.code_map
    return [*_calibration_notes(served), _withheld_note(served), *([f"{code_map.sentence}."] if code_map else [])]


def _withheld_note(served):
    if served.min_known_codes <= 0:
        return "Patients of whom the model knows no code get an ordinary probability (--min_known_codes=0)."
    return (
        "The probability is NaN where the model knows none of a patient's codes, or less than "
        f"{served.min_known_codes:.0%} of them (--min_known_codes); `known_codes` gives the share."
    )


def _calibration_notes(served):
    if not served.is_calibrated:
        return ["Not calibrated: the run holds no calibration, only class weights are taken back."]
    reasons = [
        f"{code(f'{task.name}.{label}')}: {entry.reason}"
        for task in served.tasks
        for label, entry in served.calibrations[task.name].labels.items()
        if entry.reason is not None
    ]
    return ["Probabilities are calibrated on the validation split, inside the model.", *reasons]


def table_of(entries):
    """The card's table of inputs or outputs (dicts of `name`, `dtype`, `shape`, `meaning`), see `Card`."""
    rows = [
        [code(entry["name"]), entry["dtype"], f"[{', '.join(map(str, entry['shape']))}]", entry["meaning"]]
        for entry in entries
    ]
    return {"header": ["name", "type", "shape", ""], "rows": rows}
