"""Calibration error of finished runs on notes, with the prior of before, with today's, and TF-IDF's.

For finished runs of `notes_quality.py` (their folders, `--runs`): the admissions' logits by the run's own aggregation,
calibrated on the run's validation split in two ways and measured on its test split (expected calibration error, 15
bins, 95% interval over patients):

    before   Platt with a normal prior on the raw slope and intercept, (a - 1)^2 + b^2, worth 0.1
    after    `medtop.evaluation.platt.fit_platt`: a prior of one observation on standardised logits

A second line a run brings all logits `--closer` times closer together and lowers them by 0.9: what a network gives that
is little trained and whose ranking is the same. TF-IDF's error is that of the run's own comparison.

Example:
  python benchmarks/notes_calibration.py --runs=checkpoints/notes_quality/mixed_patients2000_seed1
"""

import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from comparison.raw_prior import errors  # noqa: E402
from comparison.window_vectors import RunOptions, extracted, joined  # noqa: E402

from medtop.cli import commands, flags  # noqa: E402
from medtop.evaluation.aggregation import read_aggregation  # noqa: E402
from medtop.files.bounded import read_json  # noqa: E402
from medtop.files.options import above, option  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """What is calibrated."""

    closer: float = option(100.0, "How many times closer the logits of the second line lie.", rule=above(0))


flags.define(Options)


def shown(value, low, high):
    """`0.058 [0.040, 0.076]`."""
    return f"{value:.3f}" if low is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def main(_):
    """Prints the table."""
    options = flags.read(Options)
    print("{:31} {:12} {:>9} {:>5} {:21} {:21} {}".format(*("set logits spread valid before after TF-IDF".split())))
    for folder in map(Path, options.runs):
        parts, aggregation = extracted(folder), read_aggregation(folder / "run/aggregation.json")
        valid, test = (joined(parts[split], aggregation) for split in ("valid", "test"))
        entry = read_json(folder / "run/comparison.json")["test"]["baselines"]["TF-IDF"]["readmission"]["readmission"]
        rival = shown(*(entry["calibration_error"][name] for name in ("value", "low", "high")))
        for name, scale, shift in (("the run's", 1.0, 0.0), ("closer", 1 / options.closer, -0.9)):
            about = parts["valid"].targets, parts["test"].targets, parts["test"].patients, options.num_bootstrap
            before, after = (shown(*of) for of in errors(valid * scale + shift, test * scale + shift, *about))
            count = len(parts["valid"].targets)
            line = f"{folder.name:31} {name:12} {test.std() * scale:9.4f} {count:5d} {before:21} {after:21} {rival}"
            print(line, flush=True)


if __name__ == "__main__":
    commands.run(main)
