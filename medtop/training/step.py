"""One optimizer step over the global batch, on any number of replicas.

Letters: B rows in a batch, R replicas, n tasks, S weights of the shared layer.
"""

import functools

import tensorflow as tf

from medtop.model.balancing import norms_and_cosines
from medtop.model.dropout import dropouts
from medtop.model.losses import correct

CLIP_NORM = 1.0
"""Gradients are clipped by their global norm, as google-research/bert does."""


class TrainStep:
    """Computes losses and gradients of the global batch and updates the weights and the balance of the losses.

    Each replica takes its rows. Weights of the losses come normalised over the global batch, so that the sum of the
    replicas' losses is the weighted mean over all, and the sum of their gradients its gradient; a clip by norm comes
    after that sum. Dropout's noise depends on (seed, step, replica, layer) alone.

    Args:
        model: `build_model`'s, made under the strategy.
        tasks: list of `Task`.
        optimizer: with `apply(step, gradients)`, made under the strategy.
        balancer: `medtop.model.balancing.Balancer`, made under the strategy.
        distribution: `Distribution`.
        seed: of dropout.
        accumulation: parts that the replica's rows are computed in, one after another, to save memory; same result.
        clip_norm: largest global norm of the gradients; None = as they are.
        telemetry_steps: after so many steps the log tells of the tasks' gradients; 0 = never.
        jit_compile: compile a replica's part with XLA; anew for each shape of a batch.
    """

    def __init__(
        self,
        model,
        tasks,
        optimizer,
        balancer,
        distribution,
        seed=0,
        accumulation=1,
        clip_norm=CLIP_NORM,
        telemetry_steps=0,
        jit_compile=False,
    ):
        self.model, self.tasks, self.optimizer, self.balancer = model, tasks, optimizer, balancer
        self.distribution, self.seed, self.accumulation = distribution, seed, accumulation
        self.clip_norm, self.telemetry_steps, self.jit_compile = clip_norm, telemetry_steps, jit_compile
        self.losses = {task.name: task.loss() for task in tasks}
        self.dropouts = dropouts(model)
        self._functions = {}

    def __call__(self, step, batch, stop=False):
        """Takes a step.

        Args:
            step: steps taken before.
            batch: (x, y, w), the global batch.
            stop: whether this worker wants to stop after this step.

        Returns:
            (dict of float; whether some worker wants to stop). The dict holds `loss`, the weighted sum of the tasks'
            losses; per task `<task>_loss` (unweighted), `<task>_accuracy` and, unless all are 1, `<task>_weight`; and
            now and then `<task>_gradient_norm` and `<task>_<other>_gradient_cosine`, of the unweighted losses'
            gradients at the shared layer.
        """
        return self.read(self.start(step, batch, stop))

    def start(self, step, batch, stop=False):
        """Takes a step as `__call__`, without waiting for a GPU: what it gives is for `read`."""
        told = bool(self.telemetry_steps) and (step + 1) % self.telemetry_steps == 0
        function = self._function(self.balancer.needs_gram or told, batch)
        with self.distribution.peers():
            return function(tf.constant(step, tf.int64), tf.constant(float(stop)), *batch), told

    def read(self, started):
        """What `__call__` gives, of a step that `start` took."""
        values, told = started
        with self.distribution.peers():
            values = {name: value.numpy() for name, value in values.items()}
        return self._logs(values, told), bool(values["stop"] > 0)

    def _function(self, with_gram, batch):
        if with_gram not in self._functions:
            self._functions[with_gram] = tf.function(
                lambda *arguments: self._step(with_gram, *arguments),
                input_signature=[tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.float32), *_signature(batch)],
                autograph=False,
            )
        return self._functions[with_gram]

    def _logs(self, values, told):
        names = [task.name for task in self.tasks]
        logs = {"loss": float(values["total"])}
        for number, name in enumerate(names):
            logs[f"{name}_loss"] = float(values["losses"][number])
            logs[f"{name}_accuracy"] = float(values["accuracies"][number])
        if len(names) > 1 or self.balancer.variables:
            logs |= {f"{name}_weight": float(values["weights"][number]) for number, name in enumerate(names)}
        if told:
            for number, name in enumerate(names):
                logs[f"{name}_gradient_norm"] = float(values["norms"][number])
                for other in range(number + 1, len(names)):
                    logs[f"{name}_{names[other]}_gradient_cosine"] = float(values["cosines"][number, other])
        return logs

    def _step(self, with_gram, step, stop, x, y, w):
        strategy = self.distribution.strategy
        weights = tf.cast(self.balancer.weights(step), tf.float32)
        x, y, w = self._padded((x, y, w))
        gradients, values = strategy.run(self._replica, args=(with_gram, step, stop, weights, x, y, w))
        self.optimizer.apply(step, gradients)
        values = {name: strategy.experimental_local_results(value)[0] for name, value in values.items()}
        shared = values.pop("shared", None)
        gram = None if shared is None else tf.matmul(shared, shared, transpose_b=True)
        self.balancer.update(values["losses"], values.pop("present") > 0, gram, step)
        if gram is not None:
            values["norms"], values["cosines"] = norms_and_cosines(gram)
        return values | {"weights": weights, "total": tf.reduce_sum(weights * values["losses"])}

    def _padded(self, batch):
        """Empty rows, whose weights are 0, up to a multiple of the parts that the batch is cut into."""
        parts = self.distribution.replicas * self.accumulation
        missing = -tf.shape(tf.nest.flatten(batch)[0])[0] % parts
        return (
            batch
            if parts == 1
            else tf.nest.map_structure(
                lambda part: tf.pad(part, [[0, missing]] + [[0, 0]] * (len(part.shape) - 1)), batch
            )
        )

    def _replica(self, with_gram, step, stop, weights, x, y, w):
        """A replica's part, summed over the replicas: (gradients, clipped; dict of what `_measured` gives and stop)."""
        total = self._parts(functools.partial(self._measured, with_gram), step, weights, x, y, w)
        total["stop"] = tf.identity(stop)  # a tensor of this replica, as all that is summed
        if self.distribution.replicas > 1:
            context = tf.distribute.get_replica_context()
            summed = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.nest.flatten(total))
            total = tf.nest.pack_sequence_as(total, summed)
        gradients = total.pop("gradients")
        if self.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm)
        return gradients, total

    def _parts(self, compute, step, weights, x, y, w):
        """What `compute(weights, x, y, w)` gives for this replica's rows, summed over the parts they are cut into."""
        if self.jit_compile:
            compute = tf.function(compute, jit_compile=True, autograph=False)
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
        total = None
        for number in range(self.accumulation):
            place = replica * self.accumulation + number
            self._set_noise(step, place)
            found = compute(weights, *_rows((x, y, w), place, self.distribution.replicas * self.accumulation))
            total = found if total is None else tf.nest.map_structure(tf.add, total, found)
        return total

    def without_update(self, backward, batch):
        """A tf.function of (x, y, w) like `batch` that computes the losses, with `backward` the gradients too, and
        changes nothing: for measuring how long that takes."""

        def forward(weights, x, y, w):
            return {"losses": self._losses(x, y, w)[0]}

        def replica(*batch):
            compute = functools.partial(self._measured, False) if backward else forward
            weights = tf.cast(self.balancer.weights(0), tf.float32)
            return tf.nest.flatten(self._parts(compute, tf.constant(0, tf.int64), weights, *batch))

        def run(*batch):
            return self.distribution.strategy.run(replica, args=self._padded(batch))

        return tf.function(run, input_signature=_signature(batch), autograph=False)

    def _losses(self, x, y, w):
        """(the tasks' losses, a list of n; the model's outputs)."""
        outputs = self.model(x, training=True)
        return [self.losses[task.name](y[task.name], outputs[task.name], w[task.name]) for task in self.tasks], outputs

    def _measured(self, with_gram, weights, x, y, w):
        """dict: gradients; losses, accuracies, present (sums of weights) [n]; with `with_gram`, shared [n, S], the
        gradients of each task's unweighted loss at the last layer that all tasks share."""
        variables = [weight.value for weight in self.model.trainable_weights]
        with tf.GradientTape(persistent=with_gram, watch_accessed_variables=False) as tape:
            tape.watch(variables)
            each, outputs = self._losses(x, y, w)
            total = tf.reduce_sum(weights * tf.stack(each))
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(total, variables, unconnected_gradients=zero)
        found = {
            "gradients": [tf.convert_to_tensor(gradient) for gradient in gradients],
            "losses": tf.stack(each),
            "accuracies": tf.stack(
                [
                    tf.reduce_sum(w[task.name] * correct(task.exclusive, y[task.name], outputs[task.name]))
                    for task in self.tasks
                ]
            ),
            "present": tf.stack([tf.reduce_sum(w[task.name]) for task in self.tasks]),
        }
        if with_gram:
            shared = last_shared_layer(self.model)
            rows = [tape.gradient(loss, shared, unconnected_gradients=zero) for loss in each]
            found["shared"] = tf.stack([tf.reshape(row, [-1]) for row in rows])
        return found

    def _set_noise(self, step, place):
        first = (self.seed * 1_000_003 + step) % 2_147_483_647
        for number, layer in enumerate(self.dropouts):
            layer.noise.state.assign(tf.stack([first, number * 65_536 + tf.cast(place, tf.int64)]))


def last_shared_layer(model):
    """The last kernel of the encoder's last block: the variable at which tasks' gradients are compared."""
    blocks = [
        layer for layer in model.encoder.layers if layer.name.startswith("layer_") and layer.name.endswith("_output")
    ]
    return blocks[-1].kernel.value


def _signature(batch):
    """`TensorSpec`s of batches like this one, without the first two dimensions: B, and T, P or M, differ by batch."""
    return tf.nest.map_structure(lambda part: tf.TensorSpec([None, None, *part.shape[2:]], part.dtype), batch)


def _rows(batch, place, parts):
    """Part `place` of `parts` of a batch's rows."""
    if parts == 1:
        return batch

    def mine(part):
        rows = tf.shape(part)[0] // parts
        return part[place * rows : (place + 1) * rows]

    return tf.nest.map_structure(mine, batch)
