"""Trains the network for tables on one device, with any balancer; small data, so an epoch is one call of a graph.

Letters: N rows, F inputs, n targets, B rows in a batch, S steps in an epoch.
"""

import math

import numpy as np
import tensorflow as tf

from medtop.files.errors import DataError
from medtop.tabular.network import TargetLoss, build_network, head_outputs
from medtop.training.optimizer import AdamW


class TabularTrainer:
    """One network for several targets; `fit` begins anew each time, so that one graph serves all folds.

    Args:
        num_inputs: F.
        targets: n `TargetValues`.
        options: `TabularOptions`.
        balancing: key of `medtop.model.balancing.BALANCERS`.

    Attributes:
        network: `medtop.training.step.TensorFlowModel`, after `fit` with the best epoch's weights.
        constants: n arrays, see `TargetValues.constant`.
        history: list of dict, one row per epoch: `epoch`, `total_loss` (what the balancing minimises, weighted losses
            and what the method adds, per unit of priority; mean over the epoch's steps), per target `<name>_loss`
            (unweighted, over the epoch), `<name>_weight`, `<name>_gradient_norm`, `<name>_<other>_gradient_cosine` (of
            the epoch's last step), and `valid_loss` (`relative_loss`).
        best_epoch: the row, from 1, whose weights are kept.
    """

    def __init__(self, num_inputs, targets, options, balancing="fixed"):
        self.targets, self.options, self.balancing = targets, options, balancing
        self.names = [target.name for target in targets]
        self.network = build_network(
            num_inputs, [target.outputs for target in targets], options.hidden, options.seed, options.dropout
        )
        heads = [f"head_{number}" for number in range(len(targets))]
        self.network.compile(
            AdamW(float(options.learning_rate), options.weight_decay, epsilon=1e-7, no_decay=()),
            loss={head: TargetLoss(target.is_classification) for head, target in zip(heads, targets, strict=True)},
            loss_weights={head: target.target.weight for head, target in zip(heads, targets, strict=True)},
            balancer=balancing,
            balancer_settings={
                "kinds": [target.target.kind for target in targets],
                "learning_rate": options.balancing_learning_rate,
                **({"alpha": options.gradnorm_alpha} if balancing == "gradnorm" else {}),
            },
            clip_norm=None,
            seed=options.seed,
            jit_compile=False,
        )
        self._start = [variable.numpy().copy() for variable in self._variables]
        self._graph = tf.function(
            self._epoch,
            autograph=False,
            input_signature=[
                tf.TensorSpec([None, num_inputs]),
                tf.TensorSpec([None, len(targets)]),
                tf.TensorSpec([None, len(targets)]),
                tf.TensorSpec([len(targets)]),
                tf.TensorSpec([None, options.batch_size], tf.int32),
            ],
        )

    @property
    def _variables(self):
        """Everything that training changes."""
        return [
            *_all_weights(self.network),
            *self.network.optimizer.variables,
            *self.network.balancer.variables,
        ]

    def fit(self, x, train, valid):
        """Trains from the start, and keeps the weights of the epoch that is best on the rows `valid`.

        Args:
            x: float32 [N, F].
            train, valid: row numbers.

        Raises:
            DataError: when a loss is no number any more.
        """
        for variable, value in zip(self._variables, self._start, strict=True):
            variable.assign(value)
        self.constants = [target.constant(train) for target in self.targets]
        self.history, self.best_epoch, best, kept = [], 0, math.inf, None
        arrays = [tf.constant(part) for part in self._arrays(x, train)]
        for epoch in range(1, self.options.epochs + 1):
            row = self._run(epoch, arrays)
            loss = relative_loss(_outputs(self.network, x[valid]), self.targets, self.constants, valid)
            self.history.append(row | {"valid_loss": loss})
            if not math.isfinite(loss):
                raise DataError(
                    f"training: expected finite losses, received {loss} in epoch {epoch} "
                    f"({self.balancing}); a lower --learning_rate may help"
                )
            if loss < best:
                best, self.best_epoch = loss, epoch
                kept = [weight.numpy().copy() for weight in self.network.weights]
            elif self.options.patience and epoch - self.best_epoch >= self.options.patience:
                break
        for weight, value in zip(self.network.weights, kept, strict=True):
            weight.assign(value)

    def predict(self, x):
        """n arrays: probabilities float64 [N, K], or values float64 [N] in the data's units."""
        predictions = []
        for target, constant, output in zip(self.targets, self.constants, _outputs(self.network, x), strict=True):
            if target.is_classification:
                predictions.append(np.exp(_log_softmax(output)))
            else:
                predictions.append(constant[0] + constant[1] * output[:, 0].astype(np.float64))
        return predictions

    def _arrays(self, x, rows):
        """(x [N, F], y [N, n], known [N, n], units [n]) float32; a regression's y is standardised, and its unit is what
        one standardised unit of squared error counts."""
        y, units = [], []
        for target, constant in zip(self.targets, self.constants, strict=True):
            values = target.values[rows]
            y.append(values if target.is_classification else (values - constant[0]) / constant[1])
            in_data = target.target.loss_units == "data" and not target.is_classification
            units.append(constant[1] ** 2 if in_data else 1.0)
        known = np.stack([target.known[rows] for target in self.targets], 1)
        y = np.where(known, np.stack(y, 1), 0.0)
        return [np.asarray(part, np.float32) for part in (x[rows], y, known, units)]

    def _run(self, epoch, arrays):
        """One pass over the training rows in a new order; returns its row of the history."""
        rows, size = len(arrays[0]), self.options.batch_size
        steps = -(-rows // size)
        order = np.full(steps * size, -1, np.int32)  # -1: no row
        order[:rows] = np.random.default_rng([self.options.seed, epoch]).permutation(rows)
        history = self._graph(*arrays, tf.constant(order.reshape(steps, size)))
        losses, total, weights, norms, cosines = (part.numpy() for part in history)
        row = {"epoch": epoch, "total_loss": float(total)}
        for number, name in enumerate(self.names):
            row[f"{name}_loss"] = float(losses[number])
            row[f"{name}_weight"] = float(weights[number])
            row[f"{name}_gradient_norm"] = float(norms[number])
            for other in range(number + 1, len(self.names)):
                row[f"{name}_{self.names[other]}_gradient_cosine"] = float(cosines[number, other])
        return row

    def _epoch(self, x, y, known, units, order):
        """(unweighted losses [n] over all known targets; mean total of the steps; weights [n], gradient norms [n] and
        cosines [n, n] at the shared layer in the last step)."""
        n, steps = len(self.names), tf.shape(order)[0]
        priorities = max(sum(self.network.balancer.task_weights), 1e-12)

        def body(number, sums, counts, total, *_):
            rows = order[number]
            here = tf.cast(rows >= 0, tf.float32)[:, None]
            rows = tf.maximum(rows, 0)
            some, count = self._batch(tf.gather(x, rows), tf.gather(y, rows), tf.gather(known, rows) * here, units)
            own = tf.cast(self.network.balancer.added(), tf.float32)  # before the step's own update of the balancer
            values = self.network.step(some, with_gram=True)
            last = values["weights"], values["norms"], values["cosines"]
            total += (values["total"] + own) / priorities
            return number + 1, sums + values["losses"] * count, counts + count, total, *last

        start = (tf.constant(0), tf.zeros(n), tf.zeros(n), 0.0, tf.zeros(n), tf.zeros(n), tf.zeros((n, n)))
        _, sums, counts, total, *last = tf.while_loop(lambda number, *_: number < steps, body, start)
        return sums / tf.maximum(counts, 1.0), total / tf.cast(steps, tf.float32), *last

    def _batch(self, x, y, known, units):
        """((x, y, w) of a batch, the weights of a target normalised to sum its unit; known values of each, [n])."""
        counts = tf.reduce_sum(known, 0)
        w = units * known / tf.maximum(counts, 1.0)
        targets, weights = ({f"head_{n}": part[:, n] for n in range(len(self.names))} for part in (y, w))
        return (x, targets, weights), counts


def relative_loss(outputs, targets, constants, rows):
    """Mean over targets of (loss of the network) / (loss of the constant model); lower is better, 1 = no better than
    without inputs.

    Free of units and of the balancer's weights, so it compares all methods: the one common measure. A target without
    a known value among the rows is left out. For a regression it is 1 - R2 with the training rows' mean.

    Args:
        outputs: n arrays float32, the heads' outputs on the rows.
        targets: n `TargetValues`.
        constants: n arrays of `TargetValues.constant`.
        rows: row numbers.
    """
    shares = []
    for target, constant, output in zip(targets, constants, outputs, strict=True):
        known = target.known[rows]
        if known.any():
            y, output = target.values[rows][known], np.asarray(output, np.float64)[known]
            if target.is_classification:
                chosen = y.astype(int)
                loss = -np.mean(_log_softmax(output)[np.arange(len(y)), chosen])
                base = -np.mean(np.log(constant)[chosen])
            else:
                z = (y - constant[0]) / constant[1]
                loss, base = np.mean((output[:, 0] - z) ** 2), max(np.mean(z**2), 1e-12)
            shares.append(loss / base)
    return float(np.mean(shares)) if shares else math.nan


def _all_weights(network):
    """The network's weights, dropout's counters included."""
    return [variable for layer in network.layers for variable in layer.variables]


def _outputs(network, x):
    """n arrays float32."""
    return [np.asarray(output) for output in head_outputs(network, tf.constant(x), training=False)]


def _log_softmax(logits):
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
