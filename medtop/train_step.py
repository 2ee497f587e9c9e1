"""One optimizer step over the global batch, on any number of replicas.

Letters: B rows in a batch, R replicas, n tasks.
"""

import tensorflow as tf

from medtop.dropout import dropouts
from medtop.losses import correct

CLIP_NORM = 1.0
"""Gradients are clipped by their global norm, as google-research/bert does."""


class TrainStep:
    """Computes losses and gradients of the global batch and updates the weights.

    Each replica takes its rows. Weights of the losses come normalised over the global batch, so that the sum of the
    replicas' losses is the weighted mean over all, and the sum of their gradients its gradient; a clip by norm comes
    after that sum. Dropout's noise depends on (seed, step, replica, layer) alone.

    Args:
        model: `build_model`'s, made under the strategy.
        tasks: list of `Task`.
        optimizer: with `apply(step, gradients)`, made under the strategy.
        distribution: `Distribution`.
        seed: of dropout.
        accumulation: parts that the replica's rows are computed in, one after another, to save memory; same result.
        clip_norm: largest global norm of the gradients; None = as they are.
    """

    def __init__(self, model, tasks, optimizer, distribution, seed=0, accumulation=1, clip_norm=CLIP_NORM):
        self.model, self.tasks, self.optimizer, self.distribution = model, tasks, optimizer, distribution
        self.seed, self.accumulation, self.clip_norm = seed, accumulation, clip_norm
        self.losses = {task.name: task.loss() for task in tasks}
        self.dropouts = dropouts(model)
        self._function = None

    def __call__(self, step, batch, stop=False):
        """Takes a step.

        Args:
            step: steps taken before.
            batch: (x, y, w), the global batch.
            stop: whether this worker wants to stop after this step.

        Returns:
            (dict of float: `<task>_loss`, `<task>_accuracy` per task and `loss`; whether some worker wants to stop).
        """
        if self._function is None:
            specs = tf.nest.map_structure(lambda part: tf.TensorSpec(_free(part.shape), part.dtype), batch)
            self._function = tf.function(
                self._step,
                input_signature=[tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.float32), *specs],
                autograph=False,
            )
        with self.distribution.peers():
            values = self._function(tf.constant(step, tf.int64), tf.constant(float(stop)), *batch).numpy()
        count = len(self.tasks)
        logs = {"loss": float(values[-1])}
        for number, task in enumerate(self.tasks):
            logs[f"{task.name}_loss"] = float(values[number])
            logs[f"{task.name}_accuracy"] = float(values[count + number])
        return logs, bool(values[2 * count] > 0)

    def _step(self, step, stop, x, y, w):
        strategy = self.distribution.strategy
        weights = tf.constant([task.weight for task in self.tasks])
        x, y, w = self._padded((x, y, w))
        gradients, values = strategy.run(self._replica, args=(step, stop, weights, x, y, w))
        self.optimizer.apply(step, gradients)
        values = strategy.experimental_local_results(values)[0]
        total = tf.reduce_sum(weights * values[: len(self.tasks)])
        return tf.concat([values, [total]], 0)

    def _padded(self, batch):
        """Empty rows, whose weights are 0, up to a multiple of the parts that the batch is cut into."""
        parts = self.distribution.replicas * self.accumulation

        def pad(part):
            missing = -part.shape[0] % parts
            return tf.pad(part, [[0, missing]] + [[0, 0]] * (len(part.shape) - 1)) if missing else part

        return tf.nest.map_structure(pad, batch)

    def _replica(self, step, stop, weights, x, y, w):
        """A replica's part: (gradients summed over replicas, [losses n, accuracies n, stop] summed over replicas)."""
        context = tf.distribute.get_replica_context()
        replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
        parts = self.distribution.replicas * self.accumulation
        gradients, values = None, None
        for number in range(self.accumulation):
            place = replica * self.accumulation + number
            self._set_noise(step, place)
            more, found = self._gradients(weights, *_rows((x, y, w), place, parts))
            gradients = more if gradients is None else [a + b for a, b in zip(gradients, more, strict=True)]
            values = found if values is None else values + found
        values = tf.concat([values, [stop]], 0)
        if self.distribution.replicas > 1:
            *gradients, values = context.all_reduce(tf.distribute.ReduceOp.SUM, [*gradients, values])
        if self.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm)
        return gradients, values

    def _gradients(self, weights, x, y, w):
        variables = [weight.value for weight in self.model.trainable_weights]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            outputs = self.model(x, training=True)
            losses = tf.stack(
                [self.losses[task.name](y[task.name], outputs[task.name], w[task.name]) for task in self.tasks]
            )
            total = tf.reduce_sum(weights * losses)
        gradients = tape.gradient(total, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        accuracies = [
            tf.reduce_sum(w[task.name] * correct(task.level == "masked", y[task.name], outputs[task.name]))
            for task in self.tasks
        ]
        return [tf.convert_to_tensor(gradient) for gradient in gradients], tf.concat([losses, tf.stack(accuracies)], 0)

    def _set_noise(self, step, place):
        first = (self.seed * 1_000_003 + step) % 2_147_483_647
        for number, layer in enumerate(self.dropouts):
            layer.noise.state.assign(tf.stack([first, number * 65_536 + tf.cast(place, tf.int64)]))


def _free(shape):
    """The shape with its first dimension (rows) and those behind the second fixed: T, M and P differ by batch."""
    return [shape[0], None, *shape[2:]]


def _rows(batch, place, parts):
    """Part `place` of `parts` of a batch's rows."""
    if parts == 1:
        return batch

    def mine(part):
        rows = part.shape[0] // parts
        return tf.ensure_shape(part[place * rows : (place + 1) * rows], [rows, *part.shape[1:]])

    return tf.nest.map_structure(mine, batch)
