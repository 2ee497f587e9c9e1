"""One process of `test_distribution`: trains some steps by SGD, for each of some settings, and writes what came out.

Arguments: strategy, folder with the data, folder for the results, number of devices, settings as JSON (name -> dict).
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main(name, folder, results, devices, cases):
    """Writes `<results>/<case>.npz` for each case."""
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
    import tensorflow as tf

    from medtop.data.batches import BatchOptions, TrainBatches
    from medtop.data.description import read_dataset
    from medtop.model.balancing import make_balancer
    from medtop.model.config import BertConfig
    from medtop.model.multitask import build_model
    from medtop.model.tasks import choose_tasks
    from medtop.training.step import TrainStep

    class GradientDescent:
        """w <- w - 0.1 g: nothing adapts, so that a difference of gradients stays as small as it is."""

        def __init__(self, weights):
            self.weights = [weight.value for weight in weights]
            self.strategy = tf.distribute.get_strategy()

        def apply(self, step, gradients):
            for weight, gradient in zip(self.weights, gradients, strict=True):
                self.strategy.extended.update(
                    weight, lambda weight, gradient: weight.assign_sub(0.1 * gradient), args=(gradient,), group=False
                )

    keras.utils.set_random_seed(3)
    info = read_dataset(f"{folder}/train.tfrecord")
    config = BertConfig(**settings["config"])
    tasks = choose_tasks(settings["tasks"], info.tasks, weights=settings.get("task_weights"))
    options = BatchOptions(batch_size=settings["batch_size"], max_seq_length=32, **settings.get("options", {}))
    batches = TrainBatches(info, config, tasks, options, seed=5)
    with distribution.scope():
        model = build_model(config, tasks)
        optimizer = GradientDescent(model.trainable_weights)
        weights = {task.name: task.weight for task in tasks}
        balancer = make_balancer(settings.get("balancing", "fixed"), settings["tasks"], task_weights=weights)
    take_step = TrainStep(
        model,
        tasks,
        optimizer,
        balancer,
        distribution,
        seed=1,
        accumulation=settings.get("accumulation", 1),
        clip_norm=settings.get("clip_norm", 1.0),
        telemetry_steps=settings.get("telemetry_steps", 0),
    )
    logs, step = [], 0
    while step < settings["steps"]:
        for batch in batches.epoch(step // batches.steps_per_epoch):
            logs.append(take_step(step, batch)[0])
            step += 1
            if step == settings["steps"]:
                break
    return logs, {weight.path: np.asarray(weight) for weight in [*model.weights, *balancer.variables]}


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]), json.loads(sys.argv[5]))
