"""Encoder + one head per task -> one Keras model with named outputs, whose `compile` carries losses and their balance.

Letters: B rows in a batch, T tokens in a row, P patients in a row, M masked positions, K labels, V vocabulary, H width,
n tasks.
"""

import keras
from keras import ops

from medtop.files.errors import DataError
from medtop.model.balancing import make_balancer
from medtop.model.encoder import build_encoder, build_reading_encoder, build_token_encoder
from medtop.model.encoder_layers import GatherTokens
from medtop.model.heads import HEADS, READS
from medtop.model.recurrent import is_part

CLIP_NORM = 1.0
"""Gradients are clipped by their global norm, as google-research/bert does."""


@keras.saving.register_keras_serializable("medtop")
class MultiTaskModel(keras.Model):
    """A functional model with one named output per task; what is trained, on any backend of Keras.

    A backend's own training step is a subclass (`medtop.training.step.TensorFlowModel`).

    Attributes:
        shared_layer: the last layer that all tasks share, with a `kernel`: there tasks' gradients are compared. Whoever
            builds the model sets it.
        task_names: n names, and task_losses: dict name -> loss, in the order of `compile`'s losses.
        balancer: `medtop.model.balancing.Balancer`, after `compile`.
        clip_norm, seed: as `compile` got them.
    """

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        balancer="fixed",
        balancer_settings=None,
        clip_norm=CLIP_NORM,
        seed=0,
        **settings,
    ):
        """As `keras.Model.compile`, and how the tasks' losses are balanced.

        The total is sum_i weight_i L_i, the weights those of the balancer. `evaluate` shows the total with the
        `loss_weights` themselves, so that it can be compared between balancers.

        Args:
            optimizer: `keras.optimizers.Optimizer`; Keras's default where a model is only evaluated.
            loss: dict task -> `keras.losses.Loss` with one value per element and `reduction="sum"`: the weights come
                normalised over the whole batch, so that the sum is the weighted mean.
            loss_weights: dict task -> priority t_i >= 0, 1 where not named; the balancer is made with them.
            balancer: key of `medtop.model.balancing.BALANCERS`.
            balancer_settings: dict of `make_balancer`'s further arguments: `kinds`, `learning_rate`, `alpha`, ...
            clip_norm: largest global norm of the whole batch's gradients; None = as they are.
            seed: of dropout and of a random balancer.
            settings: `weighted_metrics`, `metrics`, `run_eagerly`, ... of `keras.Model.compile`.

        Raises:
            DataError: for a loss that is averaged, names that are no output's, or float16.
        """
        names = list(loss or {})
        if set(names) != set(self.output):
            raise DataError(
                f"compile: expected a loss for each of {', '.join(self.output)}, received {', '.join(names)}"
            )
        for name, function in loss.items():
            if getattr(function, "reduction", None) != "sum":
                raise DataError(
                    f"compile: expected a keras.losses.Loss with reduction='sum' for {name} (the weights are "
                    f"normalised over the whole batch), received {function!r}"
                )
        if self.dtype_policy.name == "mixed_float16":
            raise DataError("compile: expected float32 or mixed_bfloat16, received mixed_float16 (losses would vanish)")
        made = make_balancer(balancer, names, task_weights=loss_weights, **{"seed": seed, **(balancer_settings or {})})
        super().compile(optimizer, auto_scale_loss=False, **settings)
        self.task_losses, self.balancer, self.clip_norm, self.seed = dict(loss), made, clip_norm, seed
        if not hasattr(self, "loss_means"):
            self.loss_means = {name: keras.metrics.Mean(name=f"{name}_loss") for name in self.output}

    @property
    def task_names(self):
        return list(self.task_losses)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=False):
        """The total with the `loss_weights` themselves, for `evaluate`."""
        each = self.each_loss(y, y_pred, sample_weight)
        self.track(each)
        return ops.sum(ops.cast(self.balancer.priorities, each[0].dtype) * ops.stack(each))

    def track(self, each, total=None):
        """Takes losses of a batch into the means that Keras shows.

        Args:
            each: [n], unweighted.
            total: the weighted sum; None where Keras does that itself.
        """
        for number, name in enumerate(self.task_names):
            self.loss_means[name].update_state(each[number])
        if total is not None:
            next(metric for metric in self.metrics if metric.name == "loss").update_state(total)

    def each_loss(self, y, y_pred, w):
        """The tasks' unweighted losses of these rows: list of n scalars.

        Args:
            y, y_pred, w: dicts task -> labels, outputs and weights of the rows.
        """
        return [loss(y[name], y_pred[name], w[name]) for name, loss in self.task_losses.items()]

    def each_accuracy(self, y, y_pred, w):
        """The tasks' weighted shares of right answers, [n]; 0 for a loss that knows no right and wrong."""
        shares = []
        for name, loss in self.task_losses.items():
            right = loss.correct(y[name], y_pred[name]) if name in self.with_accuracy else ops.zeros(())
            shares.append(ops.sum(w[name] * right))
        return ops.stack(shares)

    @property
    def with_accuracy(self):
        """Names of the tasks whose loss tells right from wrong (`correct`)."""
        return [name for name, loss in self.task_losses.items() if hasattr(loss, "correct")]


def build_model(config, tasks, kind=MultiTaskModel):
    """One functional model: x (docs/contract.md, "Batch, outputs, losses") -> {task name: float32 logits}.

    Args:
        config: `BertConfig` with vocab_size > 0.
        tasks: list of `Task`.
        kind: `MultiTaskModel`, or a backend's subclass where the model is trained.

    Returns:
        `kind` with outputs `masked_lm` [B, M, V] and [B, P, K] per patient-level task, and attributes `encoder`, all of
        `build_encoder`'s, `encoded`, the outputs of `build_reading_encoder`'s that the heads read, and `heads`, dict
        task name -> key of `HEADS`.
    """
    encoder = build_encoder(config)
    reading = build_reading_encoder(encoder, {READS.get(task.head, "sequence_output") for task in tasks})
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in reading.input}
    outputs = reading(dict(inputs))
    logits = {task.name: HEADS[task.head](task, config, encoder, inputs, outputs) for task in tasks}
    model = kind(inputs, logits, name="medtop")
    model.encoder, model.encoded, model.heads = encoder, outputs, {task.name: task.head for task in tasks}
    model.shared_layer = encoder.blocks[-1]["output"] if encoder.blocks else encoder.get_layer("embeddings")
    return model


def build_token_model(model, names):
    """What a model says of some tokens: its own layers and weights, and of the last block only what these need.

    Args:
        model: `build_model`'s.
        names: its token-level tasks that are asked.

    Returns:
        `keras.Model` with the model's inputs and `token_places` int32 [n], places among the batch's B x T tokens.
        Outputs: {task name: float32 [n, K]}.
    """
    if all(model.heads[name] == "token" for name in names):  # a dense layer that sees each token by itself
        encoder = build_token_encoder(model.encoder)
        logits = {name: model.get_layer(f"{name}_logits")(encoder.output) for name in names}
        return keras.Model(encoder.input, logits, name="medtop_tokens")
    inputs = {**model.input, "token_places": keras.Input((), dtype="int32", name="token_places")}
    gather = GatherTokens(name="token_gather", dtype="float32")
    logits = {name: gather(model.output[name], inputs["token_places"]) for name in names}
    return keras.Model(inputs, logits, name="medtop_tokens")


def freeze_encoder(model):
    """Lets training change nothing but what stands behind the encoder's outputs; before `compile`.

    Args:
        model: `build_model`'s.
    """
    for layer in model.encoder.layers:
        layer.trainable = is_part(layer)


def compile_arguments(tasks):
    """`loss`, `loss_weights` and `weighted_metrics` of tasks, for `MultiTaskModel.compile`."""
    return {
        "loss": {task.name: task.loss() for task in tasks},
        "loss_weights": {task.name: task.weight for task in tasks},
        "weighted_metrics": {task.name: task.metrics() for task in tasks},
    }
