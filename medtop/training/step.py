"""One optimizer step over the global batch, on any number of replicas: the training step of `MultiTaskModel`.

Letters: B rows in a batch, R replicas, n tasks, S weights of the shared layer.
"""

import functools

import keras
import tensorflow as tf

from medtop.files.errors import DataError
from medtop.model.balancing import norms_and_cosines
from medtop.model.dropout import dropouts
from medtop.model.multitask import MultiTaskModel


@keras.saving.register_keras_serializable("medtop")
class TensorFlowModel(MultiTaskModel):
    """A `MultiTaskModel` that is trained by TensorFlow: by Keras's `fit`, or by `medtop.training.driver.Driver`.

    Each replica takes its rows. Weights of the losses come normalised over the global batch, so that the sum of the
    replicas' losses is the weighted mean over all, and the sum of their gradients its gradient; a clip by norm comes
    after that sum, and the balancer sees the sums. Dropout's noise depends on (seed, step, replica, layer) alone; the
    step is the optimizer's `iterations`.
    """

    def compile(self, *arguments, accumulation=1, jit_compile="auto", **settings):
        """As `MultiTaskModel.compile`; optimizer and model made under the same strategy.

        Args:
            accumulation: parts that a replica's rows are computed in, one after another, to save memory; same result.
            jit_compile: compile a replica's part with XLA, anew for each shape of a batch; "auto": on GPUs.
        """
        with self.distribute_strategy.scope():
            super().compile(*arguments, jit_compile=False, **settings)
            self.optimizer.build(self.trainable_variables)
        self.accumulation = accumulation
        self.with_xla = bool(tf.config.list_logical_devices("GPU")) if jit_compile == "auto" else bool(jit_compile)

    def fit(self, x=None, *arguments, validation_data=None, **settings):
        """Keras's; x a tf.data.Dataset of (x, y, w), global batches, whose rows are dealt out to the replicas."""
        return super().fit(self._dealt(x), *arguments, validation_data=self._dealt(validation_data), **settings)

    def evaluate(self, x=None, *arguments, **settings):
        """Keras's; x as `fit`'s."""
        return super().evaluate(self._dealt(x), *arguments, **settings)

    def train_step(self, data):
        """Keras's: one step on this replica's rows; dict of what `fit` shows, means over the epoch so far."""
        batch = keras.utils.unpack_x_y_sample_weight(data)
        if batch[2] is None:
            raise DataError("fit: expected batches (x, y, w) with normalised weights, received some without weights")
        with tf.control_dependencies(tf.nest.flatten(batch)):
            here = tf.no_op()  # else what needs no data, weight decay and counters, runs once more where data end
        with tf.control_dependencies([here]):
            values = self.step(multiple_of(self.accumulation, batch), measure=self.compute_metrics)
            self.track(values["losses"], values["total"])
        return self.get_metrics_result()

    def test_step(self, data):
        """Keras's: the losses of this replica's rows, summed over replicas; the total with the `loss_weights`."""
        x, y, w = keras.utils.unpack_x_y_sample_weight(data)
        outputs = self(x, training=False)
        losses = self.summed({"losses": tf.stack(self.each_loss(y, outputs, w))})["losses"]
        self.track(losses, tf.reduce_sum(self.balancer.priorities * losses))
        return self.compute_metrics(x, y, outputs, w)

    def step(self, batch, with_gram=False, measure=None, also=None):
        """Takes a step, in a replica's context.

        Args:
            batch: (x, y, w), the replica's rows; their number a multiple of `accumulation`.
            with_gram: whether `norms` and `cosines` are wanted.
            measure: function of (x, y, outputs, w) to call for the rows, `compute_metrics`; None saves the outputs.
            also: dict of tensors to be summed over the replicas too.

        Returns:
            dict of tensors, over the global batch: `total`, the weighted sum of the tasks' losses; `losses`
            (unweighted), `weights`, `accuracies` [n]; with `with_gram`, or where the balancer needs them, `norms` [n]
            and `cosines` [n, n] of the unweighted losses' gradients at the shared layer; and `also`.
        """
        taken, with_gram = tf.convert_to_tensor(self.optimizer.iterations.value), with_gram or self.balancer.needs_gram
        weights = tf.cast(self.balancer.weights(taken), tf.float32)
        compute = functools.partial(self.measured, with_gram, measure is not None)
        values = self.summed(self.parts(compute, taken, weights, batch, measure) | (also or {}))
        gradients = values.pop("gradients")
        if self.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm)
        self._apply(gradients)
        shared = values.pop("shared", None)
        gram = None if shared is None else tf.matmul(shared, shared, transpose_b=True)
        self.balancer.update(values["losses"], values.pop("present") > 0, gram, taken)
        if gram is not None:
            values["norms"], values["cosines"] = norms_and_cosines(gram)
        return values | {"weights": weights, "total": tf.reduce_sum(weights * values["losses"])}

    def _apply(self, gradients):
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        if replicas > 1 and not getattr(self.optimizer, "takes_sums", False):
            gradients = [gradient / replicas for gradient in gradients]  # Keras's optimizers sum once more
        self.optimizer.apply(gradients, self.trainable_variables)

    def _dealt(self, data):
        """A tf.data.Dataset whose batches Keras can deal out evenly: empty rows, whose weights are 0, up to a multiple
        of the parts that a batch is computed in. Other data as they are."""
        parts = self.distribute_strategy.num_replicas_in_sync * self.accumulation
        if parts == 1 or not isinstance(data, tf.data.Dataset):
            return data
        return data.map(lambda *batch: multiple_of(parts, batch))

    def summed(self, values):
        """A dict of tensors, summed over the replicas."""
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:
            return values
        values = tf.nest.map_structure(tf.identity, values)  # tensors of this replica, as all that is summed
        summed = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.nest.flatten(values))
        return tf.nest.pack_sequence_as(values, summed)

    def parts(self, compute, taken, weights, batch, measure=None):
        """What `compute(weights, x, y, w)` gives for this replica's rows, summed over the parts they are cut into.

        Args:
            taken: steps taken before.
            measure: see `step`; gets what `compute` gives as `outputs`.
        """
        if self.with_xla:
            compute = tf.function(compute, jit_compile=True, autograph=False)
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
        total = None
        for number in range(self.accumulation):
            self._set_noise(taken, replica * self.accumulation + number)
            x, y, w = rows_of(batch, number, self.accumulation)
            values = compute(weights, x, y, w)
            if measure is not None:
                measure(x, y, values.pop("outputs"), w)
            total = values if total is None else tf.nest.map_structure(tf.add, total, values)
        return total

    def forward(self, weights, x, y, w):
        """dict with the tasks' losses [n], for `parts`."""
        return {"losses": tf.stack(self.each_loss(y, self(x, training=True), w))}

    def measured(self, with_gram, with_outputs, weights, x, y, w):
        """dict, for `parts`: gradients; losses, accuracies, present (sums of weights) [n]; with `with_gram`, shared
        [n, S], the gradients of each task's unweighted loss at the last layer that all tasks share; the outputs."""
        variables = [weight.value for weight in self.trainable_variables]
        with tf.GradientTape(persistent=with_gram, watch_accessed_variables=False) as tape:
            tape.watch(variables)
            outputs = self(x, training=True)
            each = self.each_loss(y, outputs, w)
            total = tf.reduce_sum(weights * tf.stack(each))
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(total, variables, unconnected_gradients=zero)
        values = {
            "gradients": [tf.convert_to_tensor(gradient) for gradient in gradients],
            "losses": tf.stack(each),
            "accuracies": self.each_accuracy(y, outputs, w),
            "present": tf.stack([tf.reduce_sum(w[name]) for name in self.task_names]),
        }
        if with_gram:
            shared = self.shared_layer.kernel.value
            rows = [tape.gradient(loss, shared, unconnected_gradients=zero) for loss in each]
            values["shared"] = tf.stack([tf.reshape(row, [-1]) for row in rows])
        return values | ({"outputs": outputs} if with_outputs else {})

    def _set_noise(self, taken, place):
        first = (self.seed * 1_000_003 + taken) % 2_147_483_647
        for number, layer in enumerate(dropouts(self)):
            layer.noise.state.assign(tf.stack([first, number * 65_536 + tf.cast(place, tf.int64)]))


def multiple_of(parts, batch):
    """A batch with as many empty rows, whose weights are 0, behind its own that `parts` divides their number."""
    if parts == 1:
        return batch
    missing = -tf.shape(tf.nest.flatten(batch)[0])[0] % parts
    return tf.nest.map_structure(lambda part: tf.pad(part, [[0, missing]] + [[0, 0]] * (len(part.shape) - 1)), batch)


def rows_of(batch, place, parts):
    """Part `place` of `parts` of a batch's rows."""
    if parts == 1:
        return batch

    def mine(part):
        rows = tf.shape(part)[0] // parts
        return part[place * rows : (place + 1) * rows]

    return tf.nest.map_structure(mine, batch)
