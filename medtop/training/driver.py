"""Drives a compiled model through steps, batch by batch: what `fit` does, for a trainer that has to save, stop and
resume between two steps, on several workers too."""

import tensorflow as tf

from medtop.training.step import multiple_of, rows_of


class Driver:
    """Takes steps of a compiled model; each worker gives the whole global batch, and its replicas take their rows.

    Args:
        model: `medtop.training.step.TensorFlowModel`, compiled.
        distribution: `medtop.training.distribution.Distribution` that the model was made under.
    """

    def __init__(self, model, distribution):
        self.model, self.distribution = model, distribution
        self._functions = {}

    def __call__(self, batch, stop=False, telemetry=False):
        """Takes a step.

        Args:
            batch: (x, y, w), the global batch.
            stop: whether this worker wants to stop after this step.
            telemetry: whether the log shall tell of the tasks' gradients.

        Returns:
            (dict of float; whether some worker wants to stop). The dict holds `loss`, the weighted sum of the tasks'
            losses; per task `<task>_loss` (unweighted), `<task>_accuracy` and, unless all are 1, `<task>_weight`; with
            `telemetry` also `<task>_gradient_norm` and `<task>_<other>_gradient_cosine`, of the unweighted losses'
            gradients at the shared layer.
        """
        return self.read(self.start(batch, stop, telemetry))

    def start(self, batch, stop=False, telemetry=False):
        """Takes a step as `__call__`, without waiting for a GPU: what it gives is for `read`."""
        function = self._function(self.model.balancer.needs_gram or telemetry, batch)
        with self.distribution.peers():
            return function(tf.constant(float(stop)), *batch), telemetry

    def read(self, started):
        """What `__call__` gives, of a step that `start` took."""
        values, telemetry = started
        with self.distribution.peers():
            values = {name: value.numpy() for name, value in values.items()}
        return self._logs(values, telemetry), bool(values["stop"] > 0)

    def without_update(self, backward, batch):
        """A tf.function of (x, y, w) like `batch` that computes the losses, with `backward` the gradients too, and
        changes nothing: for measuring how long that takes."""
        model = self.model

        def compute(*arguments):
            return model.measured(False, False, *arguments) if backward else model.forward(*arguments)

        def replica(*batch):
            weights = tf.cast(model.balancer.weights(0), tf.float32)
            return tf.nest.flatten(model.parts(compute, tf.constant(0, tf.int64), weights, self._mine(batch)))

        def run(*batch):
            return self.distribution.strategy.run(replica, args=self._padded(batch))

        return tf.function(run, input_signature=_signature(batch), autograph=False)

    def _function(self, with_gram, batch):
        if with_gram not in self._functions:
            self._functions[with_gram] = tf.function(
                lambda stop, *batch: self._step(with_gram, stop, batch),
                input_signature=[tf.TensorSpec([], tf.float32), *_signature(batch)],
                autograph=False,
            )
        return self._functions[with_gram]

    def _step(self, with_gram, stop, batch):
        def replica(stop, *batch):
            return self.model.step(self._mine(batch), with_gram, also={"stop": stop})

        strategy = self.distribution.strategy
        values = strategy.run(replica, args=(stop, *self._padded(batch)))
        return {name: strategy.experimental_local_results(value)[0] for name, value in values.items()}

    def _padded(self, batch):
        """Rows that all parts which the batch is cut into have alike."""
        return multiple_of(self.distribution.replicas * self.model.accumulation, batch)

    def _mine(self, batch):
        """This replica's rows of the global batch."""
        if self.distribution.replicas == 1:
            return batch
        place = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
        return rows_of(batch, place, self.distribution.replicas)

    def _logs(self, values, telemetry):
        names = self.model.task_names
        logs = {"loss": float(values["total"])}
        for number, name in enumerate(names):
            logs[f"{name}_loss"] = float(values["losses"][number])
            if name in self.model.with_accuracy:
                logs[f"{name}_accuracy"] = float(values["accuracies"][number])
        if len(names) > 1 or self.model.balancer.variables:
            logs |= {f"{name}_weight": float(values["weights"][number]) for number, name in enumerate(names)}
        if telemetry:
            for number, name in enumerate(names):
                logs[f"{name}_gradient_norm"] = float(values["norms"][number])
                for other in range(number + 1, len(names)):
                    logs[f"{name}_{names[other]}_gradient_cosine"] = float(values["cosines"][number, other])
        return logs


def _signature(batch):
    """`TensorSpec`s of batches like this one, without the first two dimensions: B, and T, P or M, differ by batch."""
    return tf.nest.map_structure(
        lambda part: tf.TensorSpec([None, None, *part.shape[2:]][: len(part.shape)], part.dtype), batch
    )
