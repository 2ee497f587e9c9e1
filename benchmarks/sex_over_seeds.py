"""Does a trained encoder use sex, on generated cohorts whose risks do not depend on it? Over several trainings.

For finished runs that differ in their seed, or in their cohort too: the label's logit of each patient as a woman less
that of the same patient as a man, all else as it is; its mean over patients for each run, and over runs the mean with a
95% interval by Student's t (n - 1 degrees of freedom). An interval over patients of a single run says nothing of
training's noise, and runs on one cohort share the chance of its patients.

Example (runs of run_toppretraining.py --wide=off with --seed=1, 2, ...):
  python benchmarks/sex_over_seeds.py --runs=checkpoints/seed1,checkpoints/seed2,checkpoints/seed3 \\
    --input_file=checkpoints/demo/cohort.test.tfrecord --labels=long_stay,CKD_1095
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.files.errors import DataError
from medtop.files.options import REQUIRED, option
from medtop.runs.explain import Explainer, ExplainSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which runs, on which patients."""

    runs: tuple = option(REQUIRED, "Run directories, two or more.")
    input_file: tuple = option(REQUIRED, "Records of the test split: of all runs, or one file for each.")
    labels: tuple = option((), "Labels; none = all.")


flags.define(Options)


def differences(explainer):
    """float [N, L]: logit as a woman less logit as a man, of each patient."""
    import tensorflow as tf

    rows = []
    for x, _ in explainer._rows(explainer.count):
        known = x["sexes"] > 0
        logits = [explainer.attributor.logits(x | {"sexes": tf.where(known, sex, x["sexes"])}) for sex in (1, 2)]
        rows.append(np.asarray(logits[0], np.float64) - np.asarray(logits[1], np.float64))
    return np.concatenate(rows)


def main(argv):
    """Prints one line a run, then one a label."""
    from scipy import stats

    options = flags.read(Options)
    if len(options.runs) < 2:
        raise DataError("--runs: expected two or more, received one: its seed's noise cannot be told")
    if len(options.input_file) not in (1, len(options.runs)):
        raise DataError(f"--input_file: expected one file, or {len(options.runs)}; received {len(options.input_file)}")
    files = options.input_file * (len(options.runs) if len(options.input_file) == 1 else 1)
    means = []
    for run, file in zip(options.runs, files, strict=True):
        explainer = Explainer(ExplainSettings(run_dir=run, input_file=file, output_dir="", labels=options.labels))
        means.append(differences(explainer).mean(0))
        print(run, "  ".join(f"{mean:+.3f}" for mean in means[-1]), flush=True)
    means = np.array(means)
    half = stats.t.ppf(0.975, len(means) - 1) * means.std(0, ddof=1) / np.sqrt(len(means))
    for (task, number), mean, width in zip(explainer.labels, means.mean(0), half, strict=True):
        name = explainer.names[task][number]
        print(f"{name}: {mean:+.3f} [{mean - width:+.3f}, {mean + width:+.3f}] logits, {len(means)} runs")


if __name__ == "__main__":
    commands.run(main)
