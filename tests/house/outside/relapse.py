"""A task from outside the package: a label with a loss of its own (softened targets) and a head of its own."""

import keras
from keras import ops

from medtop.model.tasks import TASKS, Task

SOFTNESS = 0.05


class SoftCrossentropy(keras.losses.Loss):
    """Cross-entropy with targets 0.05 and 0.95, one value per element; summed with the weights, as all tasks' are."""

    def __init__(self, name="soft_crossentropy"):
        super().__init__(name=name, reduction="sum")

    def call(self, y_true, y_pred):
        target = SOFTNESS + (1 - 2 * SOFTNESS) * y_true
        return target * ops.softplus(-y_pred) + (1 - target) * ops.softplus(y_pred)


class Relapse(Task):
    """Relapse within a year; its labels come with the prediction times."""

    head = "two_layers"

    def loss(self):
        """See `Task.loss`."""
        return SoftCrossentropy(name=self.name)


TASKS["relapse"] = Relapse
