"""One object per prediction task: everything about a target in one place.

Letters: B rows in a batch, T tokens in a row, P patients in a row, M masked positions, K labels, V vocabulary.
"""

import dataclasses
import math

from medtop.files.errors import DataError, shown

LEVELS = ("masked", "patient", "token")
"""Where a task's targets live: "masked" [B, M], "patient" [B, P, K], "token" [B, T]."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A target: its name is the key of output, label, loss, metric and CSV column.

    Attributes:
        name: the key.
        level: one of `LEVELS`.
        labels: names of its K labels; empty for level "masked"; of level "token" each token has one of them.
        weight: factor of its loss in the total.
        positive_weights: None or K numbers > 0 (class weights).
    """

    name: str
    level: str
    labels: tuple = ()
    weight: float = 1.0
    positive_weights: tuple | None = None

    def __post_init__(self):
        object.__setattr__(self, "labels", tuple(self.labels))
        if self.level not in LEVELS:
            raise DataError(f"task {self.name}: expected a level among {', '.join(LEVELS)}, received {self.level!r}")
        if (self.level == "masked") == bool(self.labels):
            raise DataError(
                f"task {self.name}: expected label names exactly when the level is not masked, "
                f"received level={self.level!r}, labels={list(self.labels)!r}"
            )
        if not 0 <= self.weight < math.inf:
            raise DataError(f"task {self.name}: expected a weight of 0 or more, received {self.weight!r}")
        if self.positive_weights is not None and self.exclusive:
            raise DataError(f"task {self.name}: expected no class weights, for its labels exclude each other")
        if self.positive_weights is not None:
            object.__setattr__(self, "positive_weights", tuple(float(number) for number in self.positive_weights))
            good = all(0 < number < math.inf for number in self.positive_weights)  # False for NaN
            if len(self.positive_weights) != len(self.labels) or not good:
                raise DataError(
                    f"task {self.name}: expected {len(self.labels)} class weights above 0 "
                    f"({', '.join(self.labels)}), received {list(self.positive_weights)!r}"
                )

    @property
    def num_outputs(self):
        """K; None for level "masked", whose outputs are the vocabulary."""
        return len(self.labels) or None

    @property
    def exclusive(self):
        """Whether one of its outputs is right (softmax, y holds its number), not any of them (a sigmoid each)."""
        return self.level in ("masked", "token")

    @property
    def is_outcome(self):
        """Whether it says what becomes of patients; a class of its own may say that it only teaches the encoder."""
        return self.level == "patient"

    @property
    def head(self):
        """Key of `medtop.model.heads.HEADS`; a class of its own may say another than its level's."""
        return self.level

    @property
    def inputs(self):
        """Keys of the batch that its head reads beside the encoder's outputs."""
        return ()

    def loss(self):
        """The Keras loss, one value per element of y."""
        from medtop.model.losses import (
            ElementwiseCrossentropy,  # here: flags are checked with tasks before Keras is loaded
        )

        return ElementwiseCrossentropy(self.exclusive, self.positive_weights, name=self.name)

    def metrics(self):
        """Keras metrics to watch while training. What is published comes from `medtop.evaluation.metrics` instead."""
        import keras  # here: see `loss`

        from medtop.model.losses import ElementwiseAccuracy

        if self.exclusive:
            return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
        return [ElementwiseAccuracy(name="accuracy")]

    def to_dict(self):
        """Plain JSON values."""
        return {
            "name": self.name,
            "level": self.level,
            "labels": list(self.labels),
            "weight": self.weight,
            "positive_weights": None if self.positive_weights is None else list(self.positive_weights),
        }

    @classmethod
    def from_dict(cls, values):
        """The inverse of `to_dict`, of the class that `TASKS` names.

        Raises:
            DataError: for what is no task.
        """
        good = isinstance(values, dict) and isinstance(values.get("name"), str)
        labels = values.get("labels", ()) if good else None
        if not (isinstance(labels, list | tuple) and all(isinstance(label, str) for label in labels)):
            raise DataError(f"tasks: expected name, level and labels of a task, received {shown(values)}")
        try:
            return TASKS.get(values["name"], cls)(**values)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"task {values['name'][:80]}: expected its own entries, received others") from error


class SentencePairTask(Task):
    """How two runs of sentences belong together: whether the second follows (Devlin et al. 2018), or they are swapped
    (Lan et al. 2019): a label of a row, not of a patient."""

    @property
    def is_outcome(self):
        """Never: it only teaches the encoder."""
        return False


class ChainTask(Task):
    """A tag for each word, with a conditional random field on top (`medtop.model.crf`)."""

    @property
    def head(self):
        """See `Task.head`."""
        return "chain"

    @property
    def inputs(self):
        """See `Task.inputs`: the first pieces of words, which carry the tags."""
        return ("word_starts",)


NEXT_SENTENCE, SENTENCE_ORDER = "next_sentence", "sentence_order"

CHAINS = ("entities_crf", *(f"entities_crf_{number}" for number in range(2, 9)))
"""Names of tasks of tags with a conditional random field."""

TASKS = {NEXT_SENTENCE: SentencePairTask, SENTENCE_ORDER: SentencePairTask, **dict.fromkeys(CHAINS, ChainTask)}
"""Name of a task -> its class, where that is not `Task`: a loss, metrics or a head of its own. An entry from outside
the package counts as one from within."""

MASKED_LM = "masked_lm"


def available_tasks(label_names, levels=None):
    """All tasks that a data set offers.

    Args:
        label_names: dict task name -> label names, as `dataset.json` lists them.
        levels: dict task name -> level, "patient" where it is not named.

    Returns:
        dict name -> `Task`, or the class that `TASKS` names; `masked_lm` needs no labels and is always there.
    """
    return {
        MASKED_LM: Task(MASKED_LM, "masked"),
        **{
            name: TASKS.get(name, Task)(name, (levels or {}).get(name, "patient"), labels)
            for name, labels in label_names.items()
        },
    }


def choose_tasks(names, label_names, weights=None, class_weights=None, levels=None):
    """The tasks that a user asks for, in that order.

    Args:
        names: list of task names; None = all.
        label_names: dict task name -> label names.
        weights: dict task name -> factor of its loss.
        class_weights: dict task name -> K positive weights.
        levels: see `available_tasks`.

    Raises:
        DataError: for a task that the data set does not offer, one named twice, or a weight for a task not chosen.
    """
    offered = available_tasks(label_names, levels)
    names = list(offered) if names is None else list(names)
    for name in names:
        if name not in offered:
            raise DataError(f"--tasks: expected names among {', '.join(offered)}, received {name!r}")
    if len(set(names)) != len(names) or not names:
        raise DataError(f"--tasks: expected at least one task, each once, received {','.join(names)!r}")
    for flag, given in (("--task_weights", weights or {}), ("--class_weights", class_weights or {})):
        for name in given:
            if name not in names:
                raise DataError(f"{flag}: expected names among {', '.join(names)}, received {name!r}")
    return [
        dataclasses.replace(
            offered[name], weight=(weights or {}).get(name, 1.0), positive_weights=(class_weights or {}).get(name)
        )
        for name in names
    ]
