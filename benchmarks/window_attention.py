"""Does attention over an admission's windows beat the formula that joins their probabilities?

For finished runs of `notes_quality.py` (their folders, `--runs`): the windows' vectors and logits with the run's
weights, frozen (kept as `window_vectors.npz` beside the run). On the training split's admissions a gated attention head
over them is fitted (`comparison/attention.py`), its penalties chosen by the log loss on validation; beside it the run's
formula with c chosen on validation, mean, maximum, and the head without attention (logistic regression on the mean
vector), which shows what fitting anew does by itself. All are calibrated on validation by Platt's method.

A line each: ROC AUC on the test split with its 95% interval over patients, the paired difference attention minus it,
and the calibration error. Attention's line is the mean over `--seeds` of the head's first weights, in the point and in
every resample, with the least and the highest seed beside it.

The rule that the product follows, stated before the first look at a result: attention becomes a way of joining windows
if its difference from the formula is above 0 with the whole interval on at least one set, and below 0 on none.

Example:
  python benchmarks/window_attention.py --runs=checkpoints/notes_quality/mixed_patients2000_seed1
"""

import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from comparison.attention import best_attention  # noqa: E402
from comparison.window_vectors import RunOptions, extracted, joined, predictions_of  # noqa: E402

from medtop.cli import commands, flags  # noqa: E402
from medtop.evaluation.aggregation import MAX, MAX_MEAN, MEAN, Aggregation, tune_c  # noqa: E402
from medtop.evaluation.bootstrap import LabelStatistics, interval, resampled  # noqa: E402
from medtop.evaluation.platt import fit_platt  # noqa: E402
from medtop.evaluation.predictions import sigmoid  # noqa: E402
from medtop.files.options import at_least, option  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(RunOptions):
    """How the head is fitted."""

    seeds: tuple[int, ...] = option((1, 2, 3), "Of the head's first weights.")
    width: int = option(16, "Width of the attention.", rule=at_least(1))


flags.define(Options)


def ways(parts, options):
    """dict name -> (logits of validation [N], of test [N]) of all ways; attention's have one name a seed."""
    valid, test = parts["valid"], parts["test"]
    c, _ = tune_c(*predictions_of(valid))
    result, penalties = {}, []
    for seed in options.seeds:
        head = best_attention(parts["train"], valid, options.width, seed)
        result[seed] = head.logits(valid), head.logits(test)
        penalties.append("{:g}/{:g}".format(*head.penalty))
    for aggregation in (Aggregation(MAX_MEAN, c), Aggregation(MEAN), Aggregation(MAX)):
        result[aggregation.name] = tuple(joined(split, aggregation) for split in (valid, test))
    head = best_attention(parts["train"], valid, 0, 0)
    result["mean vector"] = head.logits(valid), head.logits(test)
    return result, penalties


def lines(folder, parts, options):
    """Yields the table's lines of one run."""
    valid, test = parts["valid"], parts["test"]
    made, penalties = ways(parts, options)
    people = int(test.patients.max()) + 1
    statistics = {}
    for name, (of_valid, of_test) in made.items():
        slope, intercept, _ = fit_platt(of_valid, valid.targets)
        p = sigmoid(slope * of_test + intercept)
        statistics[name] = LabelStatistics(p, test.targets, test.patients, people)
    drawn = resampled(list(statistics.values()), people, options.num_bootstrap, seed=0)
    areas = {name: of["roc_auc"] for name, of in zip(statistics, drawn, strict=True)}
    points = {name: of.point() for name, of in statistics.items()}
    seeds = [points[seed]["roc_auc"] for seed in options.seeds]
    mean, resampled_mean = np.mean(seeds), np.mean([areas[seed] for seed in options.seeds], axis=0)
    low, high = interval(mean, resampled_mean)
    error = np.mean([points[seed]["calibration_error"] for seed in options.seeds])
    name = f"attention ({len(seeds)} seeds)"
    spread = f"seeds {min(seeds):.4f} to {max(seeds):.4f}, penalties {','.join(sorted(set(penalties)))}"
    yield f"{folder.name:32} {name:26} {mean:.4f} [{low:.4f}, {high:.4f}] {'':26} {error:.3f}  {spread}"
    for name, point in points.items():
        if name not in options.seeds:
            low, high = interval(point["roc_auc"], areas[name])
            ends = interval(mean - point["roc_auc"], resampled_mean - areas[name])
            difference = f"{mean - point['roc_auc']:+.4f} [{ends[0]:+.4f}, {ends[1]:+.4f}]"
            text = f"{folder.name:32} {name:26} {point['roc_auc']:.4f} [{low:.4f}, {high:.4f}] {difference:26} "
            yield text + f"{point['calibration_error']:.3f}"


def main(_):
    """Prints the table."""
    options = flags.read(Options)
    header = "set", "way", "AUROC [95%]", "attention minus it [95%]", "ECE"
    print("{:32} {:26} {:23} {:26} {}".format(*header))
    for folder in map(Path, options.runs):
        for line in lines(folder, extracted(folder), options):
            print(line, flush=True)


if __name__ == "__main__":
    commands.run(main)
