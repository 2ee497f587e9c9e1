"""A balancer from outside the package: a task's weight is one over its loss of the step before."""

import keras
from keras import ops

from medtop.model.balancing import BALANCERS, Balancer


class InverseLoss(Balancer):
    """weight_i = t_i / L_i of the step before, t_i in the first step."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.last = keras.Variable([1.0] * self.size, dtype=self.dtype, trainable=False, name="balancer_last")
        self.variables = [self.last]

    def weights(self, step):
        """See `Balancer.weights`."""
        return self.priorities / self.last

    def update(self, losses, present, gram, step):
        """See `Balancer.update`."""
        self.last.assign(ops.where(present, losses, self.last))


BALANCERS["inverse_loss"] = InverseLoss
