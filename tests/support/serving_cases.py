"""Finished runs with random weights, random calibrations and class weights: what the tests of serving export."""

import json

import numpy as np
from small_data import ALL_EMBEDDINGS, VOCABULARY

from medtop.cohort.vocabulary import Vocabulary
from medtop.evaluation.calibration import Calibration, LabelCalibration, write_calibrations
from medtop.model.config import BertConfig
from medtop.model.tasks import Task
from medtop.training.checkpoints import weights_of, write_arrays
from medtop.training.run_directory import RunDirectory

LABELS = ("MACE_365", "CKD_365", "RET_365")
TASKS = (
    Task("masked_lm", "masked"),
    Task("long_stay", "patient", ("long_stay",)),
    Task("complications", "patient", LABELS, positive_weights=(3.0, 1.0, 0.5)),
)
CODES = VOCABULARY.tokens[5:]
MEDBERT = Vocabulary(("empty_pad", *CODES))
MAX_SEQ_LENGTH = 40


def make_run(folder, tasks=TASKS, vocabulary=VOCABULARY, calibrated=True, seed=1, data=None, **changes):
    """Writes a run directory of two layers of width 32; `changes` go into the config. Gives its path as a string."""
    from medtop.model.multitask import build_model

    values = dict(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        type_vocab_size=12,
        embeddings=ALL_EMBEDDINGS,
    )
    config = BertConfig(**values | changes)
    rng = np.random.default_rng(seed)
    run = RunDirectory(folder)
    about = {"layout": "default", "time_gap": "before", "visit_separator": False} | (data or {})
    run.start({"max_seq_length": MAX_SEQ_LENGTH, "data": {"train": about}}, config, vocabulary, list(tasks))
    model = build_model(config, tasks)
    for weight in model.weights:  # every bias and LayerNorm says something; probabilities come out well apart
        head = {"cls": 0.4, "mean": 0.4, "sum": 0.01}[config.pooling]
        scale = 0.5 if "embeddings" in weight.path else head if "_logits/kernel" in weight.path else 0.3
        around = 1.0 if weight.path.endswith("gamma") else 0.0
        weight.assign(around + rng.normal(0, scale, weight.shape))
    write_arrays(run.best_weights, weights_of(model), {"step": 7, "value": None})
    if calibrated:
        write_calibrations(run.calibration_file, {task.name: calibration(task, rng) for task in tasks if task.labels})
    return str(folder)


def calibration(task, rng):
    """A calibration unlike the identity in each of its numbers."""
    weights = task.positive_weights or (1.0,) * len(task.labels)
    return Calibration(
        task.name,
        "platt",
        {
            label: LabelCalibration(
                slope=float(rng.uniform(0.5, 1.5)),
                intercept=float(rng.normal()),
                class_weight=weight,
                threshold=float(rng.uniform(0.1, 0.6)),
                n=100,
                positives=20,
            )
            for label, weight in zip(task.labels, weights, strict=True)
        },
    )


def well_apart(probabilities):
    """Whether a comparison of these would show a difference: they vary between patients, few are saturated, and half of
    the patients or more have one (NaN where too few codes are known)."""
    values = np.concatenate([np.asarray(array).reshape(len(array), -1) for array in probabilities.values()], axis=1)
    known = ~np.isnan(values).any(axis=1)
    values = values[known]
    return bool(
        known.mean() >= 0.5
        and (values.std(axis=0) > 0.003).all()
        and ((values > 0.001) & (values < 0.999)).mean() > 0.9
    )


def changed_json(path, **changes):
    """Rewrites a JSON object with other values."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
