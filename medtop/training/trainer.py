"""The training loop: steps, validation, the best weights, checkpoints, and going on after a kill."""

import contextlib
import dataclasses
import itertools
import logging
import math
import signal
import time

import keras
import numpy as np
import tensorflow as tf

from medtop.data import tfrecord
from medtop.data.batch_options import batch_options, training_batch_options
from medtop.data.batches import TrainBatches
from medtop.evaluation.scoring import Scorer
from medtop.files.errors import DataError, Stopped
from medtop.model.multitask import build_model, compile_arguments, freeze_encoder
from medtop.reporting.page import write_training_page
from medtop.training import distribution as distributions
from medtop.training.checkpoints import (
    CheckpointFolder,
    read_arrays,
    set_weights,
    training_variables,
    weights_of,
    write_arrays,
)
from medtop.training.driver import Driver
from medtop.training.estimate import training_seconds
from medtop.training.log import TrainingLog, read_log
from medtop.training.optimizer import AdamW, WarmupLinearDecay
from medtop.training.options import balanced_label
from medtop.training.profile import StepProfile
from medtop.training.step import TensorFlowModel
from medtop.training.tensorboard import write_scalars
from medtop.training.validation import aggregation_of, best_metric_name, better, validation_measures
from medtop.training.wide_part import load_wide

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 10


@dataclasses.dataclass
class State:
    """Where a run stands; stored in every checkpoint.

    Attributes:
        step: optimizer steps taken.
        epoch: epochs finished; batch: batches taken of the epoch under way.
        best: best value of the validation measure so far, or None; best_step: its step.
        since_best: evaluations since then.
        finished: whether training is over.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: float | None = None
    best_step: int = 0
    since_best: int = 0
    finished: bool = False


class Trainer:
    """Trains one model as a `TrainingPlan` says: compiled for `fit`, driven step by step.

    Args:
        plan: `medtop.training.options.TrainingPlan`.
        run: `RunDirectory`, locked and started by the chief.
        distribution: `medtop.training.distribution.Distribution`; None = one device.
    """

    def __init__(self, plan, run, distribution=None):
        options = plan.options
        self.plan, self.run, self.options = plan, run, options
        self.distribution = distribution or distributions.start()
        keras.utils.set_random_seed(options.seed)
        if options.deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.mixed_precision.set_dtype_policy(options.precision)
        balanced = balanced_label(options.balanced_sampling, plan.tasks) if options.balanced_sampling else None
        compiled = self.distribution.compiles(options.jit_compile)
        batches = training_batch_options(plan, few_shapes=compiled)
        self.batches = TrainBatches(plan.train, plan.config, plan.tasks, batches, options.seed, balanced)
        self.steps_per_epoch = self.batches.steps_per_epoch
        self.total_steps = options.num_train_steps or options.num_train_epochs * self.steps_per_epoch
        warmup = (
            self.total_steps // 10 if options.num_warmup_steps < 0 else min(options.num_warmup_steps, self.total_steps)
        )
        self.rate = WarmupLinearDecay(options.learning_rate, warmup, self.total_steps)
        with self.distribution.scope():
            self.model = build_model(plan.config, plan.tasks, TensorFlowModel)
            if options.freeze_encoder:
                freeze_encoder(self.model)
            self.model.compile(
                AdamW(self.rate, options.weight_decay),
                **compile_arguments(plan.tasks),
                balancer=options.loss_balancing,
                balancer_settings={"learning_rate": options.balancing_learning_rate},
                accumulation=options.gradient_accumulation_steps,
                seed=options.seed,
                jit_compile=compiled,
            )
        self.driver = Driver(self.model, self.distribution)
        self._telemetry_steps = options.telemetry_steps if len(plan.tasks) > 1 else 0
        self.log, self.eval_log = TrainingLog(run.log_file), TrainingLog(run.eval_log_file)
        self.checkpoints = CheckpointFolder(run.checkpoints, options.keep_checkpoints)
        self.state = State()
        self.scorer = None
        self.profile = StepProfile(self, run.profile_file) if options.profile and self.distribution.is_chief else None
        self._ahead = None  # iterator over the batches that no step has had
        self._stop = None

    @property
    def variables(self):
        """Everything that a checkpoint holds: dict name -> variable."""
        return training_variables(self.model)

    def train(self):
        """Trains to the end, from the newest checkpoint where there is one.

        Raises:
            Stopped: after SIGTERM, when the state is saved.
            DataError: when the loss is no number any more.
        """
        self._restore()
        if self.state.finished:
            return
        if self.plan.valid is not None and self.distribution.is_chief:
            self.scorer = Scorer(
                self.model,
                self.plan.valid,
                self.plan.config,
                self.plan.tasks,
                batch_options(self.plan, self.options.eval_batch_size),
                self.options.seed,
                aggregation_of(self.options),
            )
        with contextlib.ExitStack() as stack:
            stack.enter_context(_CatchSignal(signal.SIGTERM, self._on_signal))
            stack.callback(self.checkpoints.wait)
            if self.distribution.is_chief:
                stack.enter_context(tf.summary.create_file_writer(str(self.run.path)).as_default())
            seconds = training_seconds(self.plan, self.total_steps - self.state.step) / self.distribution.replicas
            logger.info(
                "%d steps, roughly %s; a better estimate follows after 20 of them",
                self.total_steps - self.state.step,
                duration(seconds),
            )
            self._started = self._told = self._saved = time.monotonic()
            self._first_step = self.state.step
            while not self.state.finished:
                self._epoch()
            self._ahead = None

    def _restore(self):
        """Goes on from the newest checkpoint; the chief reads it, and tells the other workers."""
        if self.distribution.is_chief:
            restored = self.checkpoints.restore(self.variables)
            if restored is not None:
                self.state = State(**restored)
                logger.info("going on from step %d of %d", self.state.step, self.total_steps)
            self.log.rewind("step", self.state.step)
            self.eval_log.rewind("epoch", self.state.epoch)  # a checkpoint may be of its last step, not yet validated
        self._share(weights=True)
        self.model.optimizer.iterations.assign(self.state.step)

    def _share(self, weights=False):
        """The chief's state, and its weights, on every worker."""
        if self.distribution.workers == 1:
            return
        self.state = State(**self.distribution.broadcast_state(dataclasses.asdict(self.state)))
        if weights:
            variables = list(self.variables.values())
            values = self.distribution.broadcast([np.asarray(variable) for variable in variables])
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def _epoch(self):
        state = self.state
        steps = min(self.steps_per_epoch - state.batch, self.total_steps - state.step)
        if steps > 0:
            with tfrecord.reading(self.plan.train):
                self._take(self._next_batches(steps), steps)
        state.epoch, state.batch = state.epoch + 1, 0
        state.finished = state.step >= self.total_steps
        if self.plan.valid is None:
            state.best_step = state.step
            self._save_best()
        elif self.distribution.is_chief:
            self._validate()
        self._share()
        self._checkpoint()
        if self.options.plot and self.distribution.is_chief:
            rows = [*read_log(self.run.log_file), *read_log(self.run.eval_log_file)]
            write_training_page(self.run.training_page, f"Training of {self.run.path.name}", rows)
        self._stop_if_asked()

    def _next_batches(self, count):
        """So many batches from the state's on: an iterator, to be used up."""
        if self._ahead is None:
            end = -(-self.total_steps // self.steps_per_epoch)
            self._ahead = iter(self.batches.epochs(self.state.epoch, end, self.state.batch))
        return itertools.islice(self._ahead, count)

    def _take(self, batches, steps):
        """Takes so many steps; reads several at once, the last one of them always where a checkpoint is due."""
        state, options, started = self.state, self.options, []
        if self.profile is not None:
            batches = self.profile.watch(batches)
        for batch in batches:
            step, steps = state.step + len(started) + 1, steps - 1
            telemetry = bool(self._telemetry_steps) and step % self._telemetry_steps == 0
            started.append(self.driver.start(batch, self._stop is not None, telemetry))
            due = step % options.save_checkpoints_steps == 0 or self.profile is not None
            if len(started) == options.steps_per_execution or steps == 0 or due:
                for number, call in enumerate(started, 1):
                    self.step_done(*self.driver.read(call), last=number == len(started))
                started.clear()
        if steps:
            raise DataError(
                f"training: expected {self.steps_per_epoch} batches an epoch, received fewer: the records are not what "
                "they were when the run began"
            )

    def step_done(self, logs, stop=False, last=True):
        """One optimizer step is taken.

        Args:
            logs: its loss and metrics.
            stop: whether some worker wants to stop.
            last: whether the weights are those after this step, not after a later one.
        """
        state, options = self.state, self.options
        rate = float(self.rate(state.step))
        state.step, state.batch = state.step + 1, state.batch + 1
        row = {"step": state.step, "epoch": state.epoch, "learning_rate": rate, **logs}
        self.log.append(row)
        if not math.isfinite(logs["loss"]):
            self._not_finite(logs["loss"])
        if state.step % 10 == 0 and self.distribution.is_chief:
            write_scalars({name: value for name, value in row.items() if name not in ("step", "epoch")}, state.step)
        self._progress(logs)
        if stop and self._stop is None:
            self._stop = "SIGTERM of another worker"
        if not last:
            return
        if self._stop is not None and (stop or self.distribution.workers == 1):
            self._checkpoint()
            self._stop_if_asked(agreed=True)
        seconds = 60 * options.save_checkpoints_minutes
        due = seconds and time.monotonic() - self._saved > seconds
        if state.step % options.save_checkpoints_steps == 0 or due:
            self._checkpoint()

    def _not_finite(self, loss):
        if self.distribution.is_chief:
            self.log.flush()
        state = self.state
        places = self.batches.locate(state.epoch, state.batch - 1)
        raise DataError(
            f"training: expected a finite loss, received {loss} at step {state.step} (epoch {state.epoch}, batch "
            f"{state.batch}: {describe_places(places)}); the last checkpoint is kept. A lower --learning_rate may help"
        )

    def _stop_if_asked(self, agreed=False):
        """Ends the run where that was asked; several workers end only after a step at which all of them know."""
        if self._stop is not None and (agreed or self.distribution.workers == 1):
            self.checkpoints.wait()
            raise Stopped(f"stopped by signal {self._stop} after step {self.state.step}; run the same command to go on")

    def _progress(self, logs):
        now, done = time.monotonic(), self.state.step - self._first_step
        if now - self._told > PROGRESS_SECONDS or done == 20:
            self._told = now
            left = (self.total_steps - self.state.step) * (now - self._started) / done
            losses = " ".join(f"{name} {value:.4f}" for name, value in logs.items() if name.endswith("loss"))
            logger.info("step %d of %d, %s, about %s left", self.state.step, self.total_steps, losses, duration(left))

    def _checkpoint(self):
        self._saved = time.monotonic()  # a clock that is set back does not matter
        if self.distribution.is_chief:
            self.log.flush()
            self.eval_log.flush()
            self.checkpoints.save(self.variables, dataclasses.asdict(self.state))

    def _validate(self):
        measures = validation_measures(self.scorer, self.plan.tasks, self.options.max_eval_steps)
        name = best_metric_name(self.options, self.plan.tasks)
        if name not in measures:
            raise DataError(f"--best_metric: expected one of {', '.join(measures)}, received {name!r}")
        value, state = measures[name], self.state
        if value is not None and (state.best is None or better(name, value, state.best)):
            state.best, state.best_step, state.since_best = value, state.step, 0
            self._save_best()
        else:
            state.since_best += 1
        self.eval_log.append(
            {"step": state.step, "epoch": state.epoch, **{f"valid_{key}": number for key, number in measures.items()}}
        )
        write_scalars({f"valid/{key}": number for key, number in measures.items()}, state.step)
        shown = "undefined" if value is None else f"{value:.4f}"
        logger.info(
            "epoch %d, step %d: validation %s %s%s",
            state.epoch,
            state.step,
            name,
            shown,
            " (best so far)" if state.since_best == 0 else "",
        )
        if self.options.patience and state.since_best >= self.options.patience:
            logger.info("stopping early: no better %s for %d evaluations", name, state.since_best)
            state.finished = True
        if (
            state.finished and state.best is None
        ):  # nothing could be measured: the last weights are the best that is known
            state.best_step = state.step
            self._save_best()

    def _save_best(self):
        if self.distribution.is_chief:
            about = {"step": self.state.step, "value": self.state.best}
            write_arrays(self.run.best_weights, weights_of(self.model), about)

    def _on_signal(self, number, frame):
        self._stop = signal.Signals(number).name


class _CatchSignal:
    """Replaces a signal's handler for the length of a `with` block; a no-op outside the main thread."""

    def __init__(self, number, handler):
        self.number, self.handler, self.earlier = number, handler, None

    def __enter__(self):
        try:
            self.earlier = signal.signal(self.number, self.handler)
        except ValueError:  # only the main thread may set handlers
            self.earlier = None

    def __exit__(self, *failure):
        if self.earlier is not None:
            signal.signal(self.number, self.earlier)


def describe_places(places):
    """`file: records 3, 17 and 5 more` for (file, record) pairs, records counted from 0."""
    by_file = {}
    for file, record in places:
        by_file.setdefault(str(file), []).append(record)
    texts = []
    for file, numbers in sorted(by_file.items()):
        shown, more = sorted(numbers)[:8], len(numbers) - 8
        texts.append(f"{file}: records {', '.join(map(str, shown))}{f' and {more} more' if more > 0 else ''}")
    return "; ".join(texts)


def load_best(model, run):
    """Sets a model to a run's best weights and wide part; returns the step that they are from, 0 without training."""
    if not load_wide(model, run):
        return 0
    arrays, state = read_arrays(run.best_weights)
    set_weights(model, arrays, run.best_weights)
    return state["step"]


def duration(seconds):
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
