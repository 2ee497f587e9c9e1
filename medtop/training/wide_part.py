"""The wide part of a run: fitted once before the encoder is trained, put beside it afterwards, kept in two files.

`wide.npz` holds the coefficients, `stack.json` how much each part counts. Both appear whole or not at all, so that a
run that was killed goes on from what is there.
"""

import dataclasses
import logging

import numpy as np

from medtop.data import tfrecord
from medtop.data.batch_options import batch_options
from medtop.evaluation.scoring import Scorer
from medtop.files.atomic import write_json
from medtop.files.errors import DataError
from medtop.model.wide import WideLogits, WidePart
from medtop.training.checkpoints import read_arrays, write_arrays
from medtop.training.wide_files import VERSION, read_stack
from medtop.wide.cross_validation import choose
from medtop.wide.fit import design_of, tables_of
from medtop.wide.history import History, context_names, history_of_tokens
from medtop.wide.stacking import alone, choose_scales

logger = logging.getLogger(__name__)

MAX_EXAMPLES = 100_000
"""Bound on training examples of the fit, a seeded random subset of the patients' examples."""


def _patient_tasks(tasks):
    return [task for task in tasks if task.level == "patient"]


def endpoint_of(task, label):
    """What labels of one endpoint have in common: the name without the horizon at its end.

    >>> endpoint_of("complications", "MACE_365")
    'complications.MACE'
    """
    stem, _, horizon = label.rpartition("_")
    return f"{task}.{stem if stem and horizon.isdigit() else label}"


def fit_wide(plan, run):
    """Fits the wide part on the training split and writes `wide.npz`, unless it is there.

    Args:
        plan: `medtop.training.options.Plan`; its config has `wide_days`.
        run: `RunDirectory`.
    """
    if run.wide_file.is_file():
        return
    tasks, days = _patient_tasks(plan.tasks), plan.config.wide_days
    history, ids, targets, weights = _read(plan, tasks)
    known = weights > 0
    factors = np.concatenate([task.positive_weights or np.ones(task.num_outputs) for task in tasks])
    weights = known * np.where(targets > 0.5, factors, 1.0)  # as in the encoder's loss
    design, scaling = design_of(history, len(plan.vocabulary), days)
    labels = [(task.name, label) for task in tasks for label in task.labels]
    choice = choose(
        design, targets, weights, ids, [task for task, _ in labels], [endpoint_of(*pair) for pair in labels]
    )
    for task, chosen in choice.chosen.items():
        loss = choice.losses[chosen][task]
        words = "wide part, %s: sharing %s, shrinkage %s, penalty %g, out-of-fold log loss %.4f"
        logger.info(words, task, *dataclasses.astuple(chosen), loss)
    split = design.windows.shape[1]
    context = choice.weights[split:] / scaling.deviation[:, None]
    arrays = {
        "tables": tables_of(choice.weights[:split], len(days) + 1),
        "context": context,
        "intercepts": choice.intercepts - scaling.mean @ context,
    }
    state = {
        "version": VERSION,
        "days": list(days),
        "context": context_names(days),
        "labels": labels,
        "chosen": {task: dataclasses.asdict(chosen) for task, chosen in choice.chosen.items()},
        "constant": [label for label, constant in zip(labels, choice.constant, strict=True) if constant],
        "examples": len(ids),
    }
    write_arrays(run.wide_file, {name: array.astype(np.float32) for name, array in arrays.items()}, state)


def _read(plan, tasks, max_examples=MAX_EXAMPLES):
    """(`History`, ids [N], targets [N, K], weights [N, K]) of the training split, cut while it is read."""
    total, first = plan.train.num_examples, 0
    wanted = np.ones(total, bool)
    if total > max_examples:
        wanted[:] = False
        wanted[np.random.default_rng(plan.options.seed).choice(total, max_examples, replace=False)] = True
    parts = []
    for columns in tfrecord.read_examples(plan.train):
        count = len(columns["patient_id"])
        rows, first = np.flatnonzero(wanted[first : first + count]), first + count
        joined = [
            np.concatenate([columns[f"{task.name}_{kind}"] for task in tasks], axis=1)[rows]
            for kind in ("labels", "weights")
        ]
        history = history_of_tokens(columns, plan.options.max_seq_length).take(rows)
        parts.append((history, np.asarray(columns["patient_id"])[rows], *joined))
    histories, *others = zip(*parts, strict=True)
    return History.join(histories), *(np.concatenate(arrays) for arrays in others)


def fit_stack(plan, run, model, only):
    """Finds how much each part counts, and writes `stack.json`, unless it is there.

    Args:
        plan: `Plan`.
        run: `RunDirectory` with the encoder's best weights, unless `only`.
        model: with these weights set, without a wide part.
        only: the encoder was not trained.
    """
    if run.stack_file.is_file():
        return
    tasks = _patient_tasks(plan.tasks)
    if only:
        scales_of = {task.name: alone(task.num_outputs, "the wide part alone (--wide=only)") for task in tasks}
    elif plan.valid is None:
        scales_of = {task.name: alone(task.num_outputs, "no validation split: nothing to choose by") for task in tasks}
    else:
        options, predictions = batch_options(plan, plan.options.eval_batch_size), []
        plain = {task.name: alone(task.num_outputs, "").to_dict() for task in tasks}
        for model.wide in (_part(plan.config, tasks, run, plain), None):
            scorer = Scorer(model, plan.valid, plan.config, tasks, options, plan.options.seed)
            predictions.append(scorer.predictions())
        wide, deep = predictions
        scales_of = {
            name: choose_scales(
                wide[name].logits, deep[name].logits, deep[name].targets, deep[name].weights, deep[name].patient_ids
            )
            for name in deep
        }
    for name, scales in scales_of.items():
        logger.info("%s: %.2f wide + %.2f deep (%s)", name, scales.wide_scale, scales.deep_scale, scales.reason)
    content = {name: scales.to_dict() for name, scales in scales_of.items()}
    write_json(run.stack_file, {"version": VERSION, "only": only, "tasks": content})


def _part(config, tasks, run, stack):
    arrays, state = read_arrays(run.wide_file)
    labels = [(task.name, label) for task in tasks for label in task.labels]
    if [tuple(pair) for pair in state["labels"]] != labels or tuple(state["days"]) != config.wide_days:
        raise DataError(f"{run.wide_file}: expected the run's labels and windows, received those of another run")
    layer = WideLogits(config.vocab_size, config.wide_days, len(state["context"]), len(labels), name="wide")
    layer.build(None)
    for name in ("tables", "context", "intercepts"):
        weight = getattr(layer, name)
        if tuple(weight.shape) != arrays[name].shape:
            raise DataError(
                f"{run.wide_file}: expected {name} of shape {tuple(weight.shape)}, received {arrays[name].shape}"
            )
        weight.assign(arrays[name])
    columns, end = {}, 0
    for task in tasks:
        columns[task.name], end = slice(end, end + task.num_outputs), end + task.num_outputs
    return WidePart(layer, columns, {name: dict(scales) for name, scales in _without_reasons(stack).items()})


def _without_reasons(stack):
    return {name: {key: value for key, value in scales.items() if key != "reason"} for name, scales in stack.items()}


def load_wide(model, run):
    """Puts a run's wide part beside its encoder, as `model.wide`; None where it has none.

    Returns:
        whether the encoder was trained.
    """
    stack = read_stack(run)
    if stack is None:
        model.wide = None
        return True
    config, _, tasks = run.read()
    model.wide = _part(config, _patient_tasks(tasks), run, stack["tasks"])
    return not stack["only"]
