"""Which way of calibrating comes nearest to the true risk, with 20 to 5,000 validation patients?

Example:

  python benchmarks/calibration_methods.py --draws=100

One score t per patient, standard normal; a model that shows the logit z(t) while the true risk is p(t), in five worlds
(`WORLDS`). Each method is fitted on n validation patients drawn from p; shown is the mean of abs(calibrated - true
risk) over all patients, averaged over the draws (the same for all methods): the expected calibration error against the
true risk itself, without bins. "as used" is what a run does: Platt scaling with the prior where each class has
10 validation patients, else the identity. These are the figures in docs/evaluation.md.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.files.options import SEED, at_least, option  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How much is simulated."""

    draws: int = option(100, "Validation samples of each size.", rule=at_least(1))
    sizes: tuple[int, ...] = option((20, 50, 100, 200, 500, 1000, 5000), "Validation patients.")
    seed: int = option(0, "Seed of the draws.", rule=SEED)


flags.define(Options)

GRID = 2000  # quantiles of t over which the error is averaged


def worlds():
    """dict name -> (true risk p(t), the model's logit z(t))."""
    from scipy.stats import norm

    from medtop.evaluation.predictions import sigmoid

    return {
        "calibrated already": (lambda t: sigmoid(1.5 * t - 1.5), lambda t: 1.5 * t - 1.5),
        "logits close together": (lambda t: sigmoid(2 * t - 1), lambda t: 0.03 * t - 0.9),
        "overconfident": (lambda t: sigmoid(0.7 * t - 1.0), lambda t: 3 * t - 2.0),
        "rare outcome": (lambda t: sigmoid(1.2 * t - 3.5), lambda t: 0.5 * t - 1.0),
        "bent (no Platt scaling is right)": (lambda t: 0.03 + 0.6 * norm.cdf(2 * t - 1), lambda t: t - 1.2),
    }


def methods(logits, targets):
    """dict method -> function(logits) -> probabilities, fitted on validation."""
    from sklearn.isotonic import IsotonicRegression

    from medtop.evaluation.calibration import MINIMUM_PER_CLASS
    from medtop.evaluation.platt import PRIOR_OBSERVATIONS, fit_platt
    from medtop.evaluation.predictions import sigmoid

    def platt(prior, fit_intercept=True):
        slope, intercept, _ = fit_platt(logits, targets, prior=prior, fit_intercept=fit_intercept)
        return lambda z: sigmoid(slope * z + intercept)

    isotonic = IsotonicRegression(out_of_bounds="clip").fit(logits, targets)
    fitted = {"identity": sigmoid, "temperature": platt(0, False), "isotonic": isotonic.predict}
    fitted |= {f"Platt, prior {prior:g}": platt(prior) for prior in sorted({0, 0.1, 4, PRIOR_OBSERVATIONS})}
    enough = MINIMUM_PER_CLASS <= targets.sum() <= len(targets) - MINIMUM_PER_CLASS
    return fitted | {"as used": fitted[f"Platt, prior {PRIOR_OBSERVATIONS:g}"] if enough else sigmoid}


def main(_):
    """Prints a table for each world."""
    from scipy.stats import norm

    options = flags.read(Options)
    generator = np.random.default_rng(options.seed)
    grid = norm.ppf((np.arange(GRID) + 0.5) / GRID)
    for world, (risk, logit) in worlds().items():
        print(f"\n{world}: {risk(grid).mean():.1%} positive")
        for size in options.sizes:
            errors, positives, left_out = {}, [], 0
            for _ in range(options.draws):
                t = generator.normal(size=size)
                targets = generator.random(size) < risk(t)
                positives.append(targets.sum())
                if targets.all() or not targets.any():
                    left_out += 1  # nothing can be fitted on one class
                    continue
                for name, calibrated in methods(logit(t), targets).items():
                    errors.setdefault(name, []).append(np.abs(calibrated(logit(grid)) - risk(grid)).mean())
            if size == options.sizes[0]:
                print("  ".join(["    n", "positives", *errors]))
            cells = [f"{np.mean(values):.4f}".rjust(len(name)) for name, values in errors.items()]
            print(
                "  ".join([f"{size:5}", f"{np.mean(positives):9.1f}", *cells]),
                f"({left_out} of one class)" * (left_out > 0),
            )


if __name__ == "__main__":
    commands.run(main)
