"""What is measured on the validation split while training, and which value is better."""

import functools
import logging
import math

import numpy as np

from medtop.evaluation.aggregation import DEFAULT_C, Aggregation
from medtop.evaluation.marks import MINIMUM_POSITIVES, enough
from medtop.evaluation.metrics import evaluate
from medtop.evaluation.predictions import POOLED, sigmoid
from medtop.evaluation.scoring import task_losses
from medtop.text.tags import scheme_of

logger = logging.getLogger(__name__)


def aggregation_of(options):
    """The `Aggregation` that options name, None for records as examples; c as while training."""
    if options.aggregation == "none":
        return None
    return Aggregation(options.aggregation, options.aggregation_c or DEFAULT_C)


def better(name, value, best):
    """Whether a measure improved: lower is better for losses and errors, higher for the rest."""
    lower = name.endswith(("loss", "perplexity", "brier", "calibration_error"))
    return value < best if lower else value > best


def best_metric_name(options, tasks):
    """The validation measure that chooses the best weights.

    Outcomes of patients decide where they are trained, and spans where only words are tagged: their loss rises again
    long before the spans get worse. Where there are none, masked codes or pieces do: what a
    pretrained encoder is for is not told by whether sentences follow each other.
    """
    if options.best_metric:
        return options.best_metric
    patient = [task for task in tasks if task.level == "patient"]
    masked = [task.name for task in tasks if task.level == "masked"]
    if patient and masked and not any(task.is_outcome for task in patient):
        return f"{masked[0]}.loss"
    if patient:
        return "roc_auc"
    return "f1" if tasks and all(task.level == "token" and scheme_of(task.labels) for task in tasks) else "loss"


_SHOWN = ("roc_auc", "average_precision", "brier")


def _enough(labels):
    """Entries of the labels that may choose the best epoch."""
    return [entry for label, entry in labels.items() if label not in POOLED and enough(entry)]


def _mean(entries, metric):
    return float(np.mean([entry[metric]["value"] for entry in entries])) if entries else None


@functools.cache
def _warn_once(text):
    logger.warning(text)


def validation_measures(scorer, tasks, max_batches=0):
    """Point values on one split: dict name -> float, None where undefined (one class only).

    Names: `loss` (weighted sum of the tasks' losses), `<task>.loss`, `<task>.<label>.<metric>`, `<task>.accuracy` and
    the like for masked codes, and `roc_auc`: the mean over the patient-level tasks of their macro ROC AUC. Macro leaves
    out labels with fewer than `marks.MINIMUM_POSITIVES` positives or negatives: they would choose the best epoch by
    chance. Where that leaves no label of any task, all with a value take part, and a warning is logged. `f1`: the mean
    over the tasks of tags of their spans' strict F1.
    """
    measures = {}
    predictions = scorer.predictions()
    losses = task_losses(predictions, tasks)
    for name, values in scorer.exclusive_measures(max_batches).items():
        losses[name] = values["loss"]
        measures |= {f"{name}.{metric}": value for metric, value in values.items() if metric not in ("loss", "n")}
    entries = {name: evaluate(scores, sigmoid(scores.logits), num_bootstrap=0) for name, scores in predictions.items()}
    for name, labels in entries.items():
        measures |= {
            f"{name}.{label}.{metric}": entry[metric]["value"] for label, entry in labels.items() for metric in _SHOWN
        }
    some = any(chosen for chosen in map(_enough, entries.values()))
    if entries and not some:
        _warn_once(f"no label has {MINIMUM_POSITIVES} positives and negatives in validation: all choose the best epoch")
    for name, labels in entries.items() if some else ():
        measures |= {f"{name}.macro.{metric}": _mean(_enough(labels), metric) for metric in _SHOWN}
    areas = [area for name in entries if (area := measures[f"{name}.macro.roc_auc"]) is not None]
    known = {task.name: losses[task.name] for task in tasks if math.isfinite(losses[task.name])}
    total = sum(task.weight * known[task.name] for task in tasks if task.name in known)
    first = {
        "loss": total if known else None,
        **({"roc_auc": float(np.mean(areas)) if areas else None} if predictions else {}),
    }
    if of_spans := [value for name, value in measures.items() if name.endswith(".f1")]:
        some = [value for value in of_spans if value is not None]
        first["f1"] = float(np.mean(some)) if some else None
    return {**first, **{f"{task.name}.loss": known.get(task.name) for task in tasks}, **measures}
