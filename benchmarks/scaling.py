"""How long does a training step take on one device, on logical devices of one process, and in several processes?

Every way trains the same model on the same batches; each runs alone, one after another, and the first steps, which
trace, do not count. Logical CPU devices and processes of one machine share its cores: this measures what splitting a
step costs, not what more machines would bring.

Example (after `make demo`):
  python benchmarks/scaling.py --input_file=checkpoints/demo/cohort.train.tfrecord
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

FIRST = 20
WAYS = {  # name: (strategy, logical devices of a process, processes)
    "one device": ("one_device", 1, 1),
    "mirrored, 2 logical devices": ("mirrored", 2, 1),
    "multi_worker_mirrored, 2 processes": ("multi_worker_mirrored", 1, 2),
}


def measure(way, options):
    """A process of a way: prints the median seconds of a step."""
    from medtop.cli.heavy_imports import prepare_imports

    prepare_imports()
    import tensorflow as tf

    from medtop.training import distribution
    from medtop.training.options import TrainingOptions, make_plan
    from medtop.training.run_directory import RunDirectory
    from medtop.training.trainer import Trainer

    strategy, devices, _ = WAYS[way]
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    plan = make_plan(
        TrainingOptions(
            input_file=options.input_file,
            bert_config_file=options.bert_config_file,
            output_dir=options.work_dir,
            do_train=True,
            wide="off",
            train_batch_size=options.train_batch_size,
            distribution_strategy=strategy,
            telemetry_steps=0,
        )
    )
    trainer = Trainer(plan, RunDirectory(options.work_dir), distribution.start(strategy))
    seconds = []
    for batch in trainer.batches.epoch(0).take(FIRST + options.steps):
        started = time.perf_counter()
        trainer.driver(batch)
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": statistics.median(seconds[FIRST:])}), flush=True)


def run(way, options):
    """Median seconds of a step, of the slowest process."""
    processes = []
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("localhost", 0))
        hosts = [f"localhost:{one.getsockname()[1]}" for one in (first, second)]
    for index in range(WAYS[way][2]):
        config = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        environment = os.environ | ({"TF_CONFIG": json.dumps(config)} if WAYS[way][2] > 1 else {})
        processes.append(
            subprocess.Popen(
                [sys.executable, __file__, f"--way={way}", *sys.argv[1:]],
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        )
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"{way}: ended with {[process.returncode for process in processes]}")
    return max(json.loads(output.splitlines()[-1])["seconds"] for output in outputs)


def main():
    """Measures each way in turn, `--rounds` times, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input_file", required=True)
    parser.add_argument("--bert_config_file", default=str(ROOT / "medtop/configs/small.json"))
    parser.add_argument("--work_dir", default="", help="of the run, which writes nothing")
    parser.add_argument("--train_batch_size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work_dir = options.work_dir or "checkpoints/scaling"
    if options.way:
        measure(options.way, options)
        return
    if not Path(options.input_file).is_file():
        parser.error(f"--input_file: expected a TFRecord file, found none at {options.input_file}")
    found = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way, seconds in found.items():
            seconds.append(run(way, options))
    alone = statistics.median(found["one device"])
    for way, seconds in found.items():
        median = statistics.median(seconds)
        print(
            f"{way:36} {1000 * median:7.1f} ms a step ({1000 * min(seconds):.1f} to {1000 * max(seconds):.1f}), "
            f"{median / alone:.2f} x one device"
        )


if __name__ == "__main__":
    main()
