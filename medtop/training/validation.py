"""What is measured on the validation split while training, and which value is better."""

import math

import numpy as np

from medtop.evaluation.aggregation import DEFAULT_C, Aggregation
from medtop.evaluation.metrics import evaluate
from medtop.evaluation.predictions import sigmoid
from medtop.evaluation.scoring import task_losses


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
    """The validation measure that chooses the best weights."""
    return options.best_metric or ("roc_auc" if any(task.level == "patient" for task in tasks) else "loss")


def validation_measures(scorer, tasks, max_batches=0):
    """Point values on one split: dict name -> float, None where undefined (one class only).

    Names: `loss` (weighted sum of the tasks' losses), `<task>.loss`, `<task>.<label>.<metric>`, `<task>.accuracy` and
    the like for masked codes, and `roc_auc`: the mean over the patient-level tasks of their macro ROC AUC.
    """
    measures, areas = {}, []
    predictions = scorer.predictions()
    losses = task_losses(predictions, tasks)
    for name, values in scorer.exclusive_measures(max_batches).items():
        losses[name] = values["loss"]
        measures |= {f"{name}.{metric}": values[metric] for metric in ("accuracy", "top10_accuracy", "perplexity")}
    for name, scores in predictions.items():
        for label, entry in evaluate(scores, sigmoid(scores.logits), num_bootstrap=0).items():
            measures |= {
                f"{name}.{label}.{metric}": value["value"]
                for metric, value in entry.items()
                if isinstance(value, dict) and metric in ("roc_auc", "average_precision", "brier")
            }
        if measures[f"{name}.macro.roc_auc"] is not None:
            areas.append(measures[f"{name}.macro.roc_auc"])
    known = {task.name: losses[task.name] for task in tasks if math.isfinite(losses[task.name])}
    total = sum(task.weight * known[task.name] for task in tasks if task.name in known)
    first = {
        "loss": total if known else None,
        **({"roc_auc": float(np.mean(areas)) if areas else None} if predictions else {}),
    }
    return {**first, **{f"{task.name}.loss": known.get(task.name) for task in tasks}, **measures}
