"""How far would a model go that knew the generated patients' risk but for some of its parts?

The true risk is computed again with parts of its predictor held at their mean over a block of patients, and scored by
ROC AUC against the drawn labels: share of the way from 0.5 to what the whole risk reaches, mean over the complications
and prolonged stay.

Example (docs/training.md, "Which model for my cohort?"):
  python benchmarks/risk_parts.py --num_patients=20000 --seed=1 --codes=hierarchical \
      --without=early_order,families,early_order+families,early_order+order+acceleration
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.files.options import SEED, at_least, option  # noqa: E402
from medtop.synthetic import blocks, risk  # noqa: E402
from medtop.synthetic.cohort import CODES_KINDS  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which patients, and what is left out."""

    num_patients: int = option(20_000, "Patients.", rule=at_least(1))
    seed: int = option(1, "Of the patients.", rule=SEED)
    codes: str = option("hierarchical", "Background codes, see make_synthetic_cohort.py.", choices=CODES_KINDS)
    without: tuple = option(("order", "combination"), "Parts that are left out together, joined by +: a comma list.")


flags.define(Options)


def risks_without(components, parts):
    """The true risks, float64 [N, labels], with `parts` of the components at their mean."""
    if unknown := [part for part in parts if part not in components]:
        raise DataError(f"--without: expected parts among {', '.join(components)}, received {unknown[0]!r}")
    held = {part: np.broadcast_to(components[part].mean(0), components[part].shape) for part in parts}
    return risk.true_risks(components | held)


def main(_):
    """Prints the table."""
    from sklearn.metrics import roc_auc_score

    options = flags.read(Options)
    chosen = [(), *(tuple(name.split("+")) for name in options.without)]
    scores, targets = {parts: [] for parts in chosen}, []
    for block in blocks.generate(options.num_patients, options.seed, hierarchical=options.codes == "hierarchical"):
        targets.append(block.targets)
        for parts in chosen:
            scores[parts].append(risks_without(block.components, parts))
    targets, best = np.concatenate(targets), None
    for parts in chosen:
        values = np.concatenate(scores[parts])
        known = targets >= 0
        areas = [roc_auc_score(t[k], v[k]) for t, k, v in zip(targets.T, known.T, values.T, strict=True)]
        reached = np.array([np.mean(areas[:-1]), areas[-1]])
        best = reached if best is None else best
        shares = 100 * (reached - 0.5) / (best - 0.5)
        name = f"without {', '.join(parts)}" if parts else "the whole risk"
        titles = zip(("complications", "prolonged stay"), reached, shares, strict=True)
        print(f"{name:44} " + "  ".join(f"{title} {value:.4f} {part:5.1f}%" for title, value, part in titles))


if __name__ == "__main__":
    commands.run(main)
