"""One process of `test_distribution`: trains some steps by SGD, for each of some settings, and writes what came out.

Arguments: strategy, folder with the data, folder for the results, number of devices, settings as JSON (name -> dict).
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
EPOCHS = 5
"""Enough for the steps of all settings."""


def main(name, folder, results, devices, cases):
    """Writes `<results>/<case>.npz` for each case."""
    from medtop.cli.heavy_imports import prepare_imports

    prepare_imports()
    import tensorflow as tf

    if name == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    from medtop.training.distribution import start

    distribution = start(name)
    for case, settings in cases.items():
        logs, weights = train(distribution, folder, settings)
        if distribution.is_chief:
            np.savez(Path(results) / f"{case}.npz", logs=json.dumps(logs), **weights)
    distribution.broadcast_state({})


def train(distribution, folder, settings):
    """(log of each step, final weights by name)."""
    import keras

    from medtop.data.batches import BatchOptions, TrainBatches
    from medtop.data.description import read_dataset
    from medtop.model.config import BertConfig
    from medtop.model.multitask import build_model, compile_arguments
    from medtop.model.tasks import choose_tasks
    from medtop.training.optimizer import AdamW
    from medtop.training.step import TensorFlowModel

    keras.utils.set_random_seed(3)
    info = read_dataset(f"{folder}/train.tfrecord")
    config = BertConfig(**settings["config"])
    tasks = choose_tasks(settings["tasks"], info.tasks, weights=settings.get("task_weights"))
    options = BatchOptions(batch_size=settings["batch_size"], max_seq_length=32, **settings.get("options", {}))
    batches = TrainBatches(info, config, tasks, options, seed=5)
    with distribution.scope():
        model = build_model(config, tasks, TensorFlowModel)
        # w <- w - 0.1 g: nothing adapts, so that a difference of gradients stays as small as it is
        adamw = settings.get("optimizer") == "adamw"
        model.compile(
            AdamW(0.1, epsilon=0.1) if adamw else keras.optimizers.SGD(0.1),
            **compile_arguments(tasks),
            balancer=settings.get("balancing", "fixed"),
            clip_norm=settings.get("clip_norm", 1.0),
            accumulation=settings.get("accumulation", 1),
            seed=1,
        )
    take = fitted if settings.get("fit") else driven
    logs = take(model, distribution, batches, settings)
    return logs, {weight.path: np.asarray(weight) for weight in [*model.weights, *model.balancer.variables]}


def driven(model, distribution, batches, settings):
    """The log of each step that the trainer's driver takes."""
    from medtop.training.driver import Driver

    driver, logs = Driver(model, distribution), []
    telemetry_steps = settings.get("telemetry_steps", 0)
    for step, batch in enumerate(batches.epochs(0, EPOCHS).take(settings["steps"]), 1):
        logs.append(driver(batch, telemetry=bool(telemetry_steps) and step % telemetry_steps == 0)[0])
    return logs


def fitted(model, distribution, batches, settings):
    """The log of each step that Keras's `fit` takes."""
    import keras

    logs = []

    class EachStep(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.reset_metrics()  # else they are means over the epoch so far

        def on_train_batch_end(self, batch, logs=None):
            rows.append({name: float(value) for name, value in logs.items()})

    rows = logs
    steps = settings["steps"]
    model.fit(batches.epochs(0, EPOCHS), steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[EachStep()])
    return logs


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]), json.loads(sys.argv[5]))
