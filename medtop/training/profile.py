"""Where the time of a training step goes: waiting for input, forward, backward, optimizer; a trace of some steps."""

import collections
import contextlib
import logging
import statistics
import time

import numpy as np
import tensorflow as tf

from medtop.files.atomic import write_json

logger = logging.getLogger(__name__)

FIRST, STEPS, TRACED = 20, 20, 3
"""Steps that warm up, steps that are measured, and steps of the trace, one after another."""
INPUT_BATCHES = 128
_VERSION = 1


class StepProfile:
    """Watches a trainer's first epoch: after `FIRST` steps `STEPS` are measured and `TRACED` traced.

    Forward and backward are measured afterwards, by themselves, on the measured steps' batches; what the steps took
    besides is the optimizer's: clipping, the update, and the losses on their way to the log. Results do not change.

    Args:
        trainer: `medtop.training.trainer.Trainer`.
        path: the JSON file to write; the trace goes into its folder.
    """

    def __init__(self, trainer, path):
        self.trainer, self.path = trainer, path
        self._done = False

    def watch(self, batches):
        """The batches as they come; writes the profile when enough of them are through, or when they end."""
        if self._done:
            yield from batches
            return
        self._done = True
        batches, measured = iter(batches), collections.deque(maxlen=STEPS)
        for _ in range(FIRST + STEPS):
            started = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                break
            fetched = time.perf_counter()
            yield batch
            measured.append((fetched - started, time.perf_counter() - fetched, batch))
        with self._trace():
            for _ in range(TRACED):
                batch = next(batches, None)
                if batch is not None:
                    yield batch
        if measured:
            self._tell(measured)
        yield from batches

    @contextlib.contextmanager
    def _trace(self):
        tf.profiler.experimental.start(str(self.path.parent))
        try:
            yield
        finally:
            tf.profiler.experimental.stop()

    def _tell(self, measured):
        """Measures what is missing, writes the file and logs it."""
        waits, steps, batches = zip(*measured, strict=True)
        forward, both = (self._seconds(backward, batches) for backward in (False, True))
        step = statistics.median(steps)
        content = {
            "version": _VERSION,
            "steps": len(steps),
            "examples": self.trainer.options.train_batch_size,
            "seconds": {
                "input_wait": statistics.median(waits),
                "forward": forward,
                "backward": max(both - forward, 0.0),
                "optimizer": max(step - both, 0.0),
                "step": step,
                "input_alone": self._input_alone(),
            },
        }
        write_json(self.path, content)
        for line in describe(content):
            logger.info("%s", line)

    def _seconds(self, backward, batches):
        """Median seconds of the forward pass, with `backward` of forward and backward pass, over these batches."""
        run, seconds = self.trainer.driver.without_update(backward, batches[0]), []
        for number in range(2):  # the first round traces, and compiles
            for batch in batches:
                started = time.perf_counter()
                outputs = run(*batch)
                np.asarray(self.trainer.distribution.strategy.experimental_local_results(outputs[0])[0])
                if number:
                    seconds.append(time.perf_counter() - started)
        return statistics.median(seconds)

    def _input_alone(self):
        """Seconds that a batch takes to be made while no step is taken."""
        trainer = self.trainer
        batches = iter(trainer.batches.epoch(trainer.state.epoch))
        next(batches)
        started, count = time.perf_counter(), 0
        for _ in zip(range(INPUT_BATCHES), batches, strict=False):
            count += 1
        return (time.perf_counter() - started) / max(count, 1)


def describe(content):
    """The lines that say what profile.json holds."""
    seconds = content["seconds"]
    whole = seconds["input_wait"] + seconds["step"]
    names = {"input_wait": "waiting for input", "forward": "forward", "backward": "backward", "optimizer": "optimizer"}
    lines = [
        f"profile of {content['steps']} steps: {1000 * whole:.1f} ms a step, {content['examples'] / whole:,.0f} "
        "examples/s"
    ]
    lines += [
        f"  {name:18} {1000 * seconds[key]:8.1f} ms {100 * seconds[key] / whole:4.0f}%" for key, name in names.items()
    ]
    if seconds["input_alone"] > 0:
        lines.append(
            f"  input alone makes a batch in {1000 * seconds['input_alone']:.1f} ms, "
            f"{whole / seconds['input_alone']:.1f} times as fast as steps take them"
        )
    return [*lines, "  trace: tensorboard --logdir of this run, with tensorboard-plugin-profile"]
