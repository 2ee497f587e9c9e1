"""One device, several, or several machines: the strategies, and what workers tell each other.

Every worker makes the whole global batch (from the same seed, the same one) and computes its own rows of it. So any
number of workers and files sees every patient once per epoch, a run may go on with another number of workers, and a
sum over all replicas is the sum over the global batch.
"""

import contextlib
import json
import os

import numpy as np
import tensorflow as tf

from medtop.files.errors import DataError, Stopped
from medtop.training.cluster import read_cluster

STATE_BYTES = 4096


class Distribution:
    """A strategy and this process's place in it.

    Args:
        strategy: `tf.distribute.Strategy`.
        worker: number of this process, 0 for the chief; workers: how many there are.
    """

    def __init__(self, strategy, worker=0, workers=1):
        self.strategy, self.worker, self.workers = strategy, worker, workers

    @property
    def replicas(self):
        """Devices that compute together, over all workers."""
        return self.strategy.num_replicas_in_sync

    @property
    def is_chief(self):
        """Whether this process writes the run's files."""
        return self.worker == 0

    def scope(self):
        """The context in which model and optimizer are made."""
        return self.strategy.scope()

    def compiles(self, jit_compile):
        """Whether `--jit_compile` = "auto", "on" or "off" means XLA here; auto: on GPUs alone (docs/speed.md)."""
        return jit_compile == "on" or jit_compile == "auto" and bool(tf.config.list_logical_devices("GPU"))

    def broadcast(self, arrays):
        """The chief's arrays on every worker; all workers call it at the same time.

        Args:
            arrays: list of NumPy arrays, of the same shapes and types everywhere.
        """
        if self.workers == 1:
            return arrays
        mine = [array if self.is_chief else np.zeros_like(array) for array in map(np.asarray, arrays)]

        def first_only(context):
            first = context.replica_id_in_sync_group == 0
            return [tf.constant(array if first else np.zeros_like(array)) for array in mine]

        with self.peers():
            values = self.strategy.experimental_distribute_values_from_function(first_only)
            return [np.asarray(self.strategy.reduce("SUM", value, axis=None)) for value in values]

    def broadcast_state(self, state):
        """The chief's JSON-able dict on every worker."""
        if self.workers == 1:
            return state
        coded = np.frombuffer(json.dumps(state).encode().ljust(STATE_BYTES), np.uint8).astype(np.int32)
        if len(coded) > STATE_BYTES:
            raise ValueError(f"expected a state of at most {STATE_BYTES} bytes, received {len(coded)}")
        (coded,) = self.broadcast([coded])
        return json.loads(coded.astype(np.uint8).tobytes().decode())

    @contextlib.contextmanager
    def peers(self):
        """Turns TensorFlow's complaint about a worker that is gone into `Stopped`: started again, the run goes on."""
        try:
            yield
        except (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.DeadlineExceededError,
            tf.errors.InternalError,
        ) as error:
            if self.workers == 1:
                raise
            line = " ".join(str(error.message).split())
            raise Stopped(
                f"stopped: another worker ended or cannot be reached ({line:.160}); start all {self.workers} workers "
                "again to go on from the last checkpoint"
            ) from error


def start(name="one_device", num_gpus=None):
    """Makes the `Distribution` that `--distribution_strategy` names; before any other work of TensorFlow.

    Args:
        name: "one_device"; "mirrored": all devices of this machine (GPUs, or logical CPUs where there is no GPU);
            "multi_worker_mirrored": the machines that TF_CONFIG names, each process with its GPUs.
        num_gpus: how many GPUs to use; None = all.

    Raises:
        DataError: when there are fewer GPUs, or TF_CONFIG does not say what it should.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if num_gpus is not None:
        if num_gpus > len(gpus):
            raise DataError(f"--num_gpus: expected at most the {len(gpus)} GPUs of this machine, received {num_gpus}")
        tf.config.set_visible_devices(gpus[:num_gpus], "GPU")
    if name == "one_device":
        return Distribution(tf.distribute.get_strategy())
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return Distribution(tf.distribute.MirroredStrategy([device.name for device in devices]))
    cluster = read_cluster(os.environ)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    return Distribution(strategy, cluster.worker, cluster.workers)
