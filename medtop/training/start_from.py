"""Starting from another run's weights (`--init_checkpoint`)."""

import dataclasses
import logging

import numpy as np

from medtop.files.errors import DataError
from medtop.model.config import PARTS
from medtop.training.checkpoints import read_arrays
from medtop.training.run_directory import RunDirectory

logger = logging.getLogger(__name__)

CODE_TABLE = "embeddings/code_embeddings"
CODE_BIAS = "masked_lm_logits/bias"


@dataclasses.dataclass
class Taken:
    """What was taken over.

    Attributes:
        weights: paths that were taken; left: paths of this model that keep their random start.
        codes: codes of this vocabulary that the other one knows; of: codes of this vocabulary.
    """

    weights: list
    left: list
    codes: int
    of: int


def initialise(model, plan, folder, remap_vocab):
    """Sets the encoder, and the heads that fit, from a run directory.

    A head fits when the other run has a task of the same name with the same labels.

    Args:
        model: `build_model`'s.
        plan: `medtop.training.options.TrainingPlan` of this run.
        folder: the other run directory.
        remap_vocab: whether another vocabulary is mapped by code; codes that the other one does not know keep their
            random start.

    Returns:
        `Taken`.

    Raises:
        DataError: for another encoder, or another vocabulary without `remap_vocab`.
    """
    config, vocabulary, tasks = check_source(plan, folder, remap_vocab)
    other, same_vocabulary = RunDirectory(folder), vocabulary == plan.vocabulary
    arrays, _ = read_arrays(other.best_weights)
    arrays = {path: array for path, array in arrays.items() if not _head_differs(path, tasks, plan.tasks)}
    if (config.head, config.pooled_size) != (plan.config.head, plan.config.pooled_size):
        arrays = {path: array for path, array in arrays.items() if not _reads_patients(path, tasks)}
    known = [plan.vocabulary.tokens[number] in vocabulary.ids for number in plan.vocabulary.ordinary_ids]
    taken = Taken([], [], sum(known), len(known))
    for weight in model.weights:
        if weight.path not in arrays:
            taken.left.append(weight.path)
            continue
        value = arrays[weight.path]
        if not same_vocabulary and weight.path in (CODE_TABLE, CODE_BIAS):
            value = _by_code(value, np.asarray(weight).copy(), vocabulary, plan.vocabulary)
        if value.shape != tuple(weight.shape):
            raise DataError(
                f"{other.best_weights}: expected {weight.path} of shape {tuple(weight.shape)}, received {value.shape}"
            )
        weight.assign(value)
        taken.weights.append(weight.path)
    return taken


def check_source(plan, folder, remap_vocab):
    """Refuses a run whose weights cannot be taken; reads no weights, so that it costs nothing.

    Returns:
        The other run's (`BertConfig`, `Vocabulary`, list of `Task`).

    Raises:
        DataError: for another encoder, or another vocabulary without `remap_vocab`.

    Segments that are all zero there may be first and second texts here (BERT's token types): the table is the same.
    """
    config, vocabulary, tasks = RunDirectory(folder).read()
    if vocabulary != plan.vocabulary and not remap_vocab:
        raise DataError(
            f"--init_checkpoint: expected the vocabulary of {folder} ({len(vocabulary)} tokens), received another one "
            f"({len(plan.vocabulary)} tokens); --remap_vocab maps it by code"
        )
    differences = [
        f"{field.name}={getattr(config, field.name)!r} there, {getattr(plan.config, field.name)!r} here"
        for field in dataclasses.fields(config)
        if not field.name.endswith(("dropout_prob", "initializer_range"))
        # The wide part is fitted anew, to this run's cohort; heads are taken where they fit.
        and field.name not in ("vocab_size", "wide_days", "head", "head_size", "code_start")
        # An encoder's vectors may stand alone, and under a head of its own pooling says nothing.
        and not (field.name == "body" and plan.config.body == "embeddings")
        and not (field.name == "pooling" and (plan.config.head, plan.config.body) != ("linear", "bert"))
        and getattr(config, field.name) != getattr(plan.config, field.name)
        and not (field.name == "segment" and {config.segment, plan.config.segment} == {"zero", "sentence"})
    ]
    if differences:
        raise DataError(f"--init_checkpoint: expected the encoder of {folder}: {'; '.join(differences)}")
    return config, vocabulary, tasks


def check_patients(plan, folder, patients):
    """Refuses a run that was trained on patients whom this run evaluates on: pretraining takes the same split file.

    Where the vocabularies differ the data do too, and equal ids may be other people: only a warning.

    Args:
        patients: dict split -> patient ids of this run.
    """
    other = RunDirectory(folder)
    trained = set(other.read_splits().get("train", ()))
    for split in ("valid", "test"):
        shared = len(trained.intersection(patients.get(split, ())))
        if not shared:
            continue
        if other.read()[1] == plan.vocabulary:
            raise DataError(
                f"--init_checkpoint: expected a run trained on other patients than the {split} split's, "
                f"received {folder}, trained on {shared} of them; give both runs the same splits (--splits)"
            )
        logger.warning("%s was trained on %d patients whose ids stand in the %s split too", folder, shared, split)


def _head_differs(path, theirs, ours):
    """Whether a weight belongs to a head whose labels are others here."""
    owners = [task for task in theirs if path.startswith(f"{task.name}_")]
    if not owners:
        return False
    owner = max(owners, key=lambda task: len(task.name))  # readmission_30_logits is not of the task readmission
    return {task.name: task.labels for task in ours}.get(owner.name) != owner.labels


def _reads_patients(path, tasks):
    """Whether a weight makes a patient's vector, or reads it."""
    owners = {f"{task.name}_logits" for task in tasks if task.level == "patient"}
    return path.partition("/")[0] in owners or path.startswith(PARTS)


def _by_code(there, start, vocabulary, wanted):
    """Rows of `start`, replaced by the rows of `there` that belong to the same token."""
    pairs = [(here, vocabulary.ids[token]) for here, token in enumerate(wanted.tokens) if token in vocabulary.ids]
    places = np.array(pairs).reshape(-1, 2)
    start[places[:, 0]] = there[places[:, 1]]
    return start
