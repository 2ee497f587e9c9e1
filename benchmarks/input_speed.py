"""Does the input keep up with training, and does nothing grow? Over a million patients, by default.

First the input alone (read, shuffle, parse, mask, batch) over all patients, once as bucketed and once as packed rows:
patients per second and memory in ten parts. Then `--steps` training steps on them: the same of the steps, and how many
times faster the input alone is than the model takes its batches.

Example:
  python benchmarks/input_speed.py --work_dir=input_speed --num_patients=1000000 --steps=2000
"""

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).parent)]

PARTS = 10
CHUNK = 20_000


def memory():
    """Most memory that this process had so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def dataset(options, config):
    """The made-up patients as eight files; made once."""
    from speed.data import make_patients
    from speed.ours import write_records

    from medtop.data.tfrecord import read_dataset

    path = Path(options.work_dir) / f"patients{options.num_patients}"
    if not Path(f"{path}.dataset.json").is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        starts = range(0, options.num_patients, CHUNK)
        write_records(
            path,
            (
                make_patients(min(CHUNK, options.num_patients - start), config.vocab_size, seed=start)
                for start in starts
            ),
            config.vocab_size,
            num_shards=8,
        )
    return read_dataset(path)


def batches_of(info, config, tasks, kind):
    """`TrainBatches` of bucketed or packed rows."""
    from speed.data import BATCH, LONGEST, MASKED_SHARE, MOST_MASKED, WINDOW_BATCHES

    from medtop.data.batch_options import sample_lengths
    from medtop.data.batches import ROW_LENGTHS, BatchOptions, TrainBatches
    from medtop.data.packing import best_row_lengths

    width = config.hidden_size
    linear = 8 * width**2 + 4 * width * config.intermediate_size
    packed = kind == "packed"
    best = best_row_lengths(sample_lengths(info.lengths), LONGEST, BATCH, linear, 4 * width)
    options = BatchOptions(
        batch_size=BATCH,
        max_seq_length=LONGEST,
        masked_lm_prob=MASKED_SHARE,
        max_predictions=MOST_MASKED,
        row_lengths=best if packed else ROW_LENGTHS,
        packing=packed,
        windows_of=WINDOW_BATCHES,
    )
    return TrainBatches(info, config, tasks, options, seed=1)


def tell(what, rates, sizes):
    """One line: how it went from the first to the last part."""
    rest = rates[1:] or rates
    parts = " ".join(f"{rate:,.0f}" for rate in rates)
    print(
        f"{what:28} {statistics.median(rest):9,.0f} patients/s; by parts {parts}; "
        f"peak memory {sizes[0]:,.0f} MiB after the first part, {sizes[-1]:,.0f} at the end",
        flush=True,
    )
    return statistics.median(rest)


def input_alone(batches, kind):
    """Reads one epoch; patients per second."""
    whole = batches.steps_per_epoch
    bounds = [round(whole * part / PARTS) for part in range(1, PARTS + 1)]
    rates, sizes, seen, started, first = [], [], 0, time.perf_counter(), 0
    for number, (_, _, weights) in enumerate(batches.epoch(0), 1):
        seen += int((weights["long_stay"].numpy() > 0).sum())
        if number == bounds[len(rates)]:
            rates.append((seen - first) / (time.perf_counter() - started))
            sizes.append(memory())
            started, first = time.perf_counter(), seen
    print(f"{kind}: {seen:,} patients in {whole:,} batches", flush=True)
    return tell(f"input alone, {kind}", rates, sizes)


def training(batches, config, tasks, kind, steps):
    """Takes so many steps; patients per second."""
    import tensorflow as tf
    from speed.data import BATCH

    from medtop.model.multitask import build_model, compile_arguments
    from medtop.training.distribution import Distribution
    from medtop.training.driver import Driver
    from medtop.training.optimizer import AdamW, WarmupLinearDecay
    from medtop.training.step import TensorFlowModel

    model = build_model(config, tasks, TensorFlowModel)
    model.compile(AdamW(WarmupLinearDecay(5e-5, 100, 100_000)), **compile_arguments(tasks), jit_compile=False)
    step = Driver(model, Distribution(tf.distribute.get_strategy()))
    rates, sizes, part = [], [], max(1, steps // PARTS)
    started = time.perf_counter()
    for number, batch in enumerate(batches.epoch(1).take(part * PARTS), 1):
        step(batch)
        if number % part == 0:
            rates.append(part * BATCH / (time.perf_counter() - started))
            sizes.append(memory())
            started = time.perf_counter()
    return tell(f"{part * PARTS} steps, {kind}", rates, sizes)


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work_dir", required=True, help="where the generated records lie, about 1.1 kB a patient")
    parser.add_argument("--num_patients", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--model", default="topbert", choices=("topbert", "medbert"))
    parser.add_argument("--kinds", default="bucketed,packed")
    options = parser.parse_args()
    for name in ("num_patients", "steps"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: expected at least 1, received {getattr(options, name)}")
    if unknown := [kind for kind in options.kinds.split(",") if kind not in ("bucketed", "packed")]:
        parser.error(f"--kinds: expected bucketed, packed, received {unknown[0]!r}")
    from medtop.cli.heavy_imports import prepare_imports

    prepare_imports()
    from speed.data import MODELS
    from speed.ours import TASKS

    from medtop.model.tasks import choose_tasks

    config = MODELS[options.model]
    tasks = choose_tasks(["masked_lm", "long_stay"], TASKS)
    info = dataset(options, config)
    for kind in options.kinds.split(","):
        batches = batches_of(info, config, tasks, kind)
        made = input_alone(batches, kind)
        taken = training(batches, config, tasks, kind, options.steps)
        print(f"{kind}: the input alone is {made / taken:.0f} times as fast as {options.model} takes it", flush=True)


if __name__ == "__main__":
    main()
