"""What each part of a finished run with `--wide=stack` does: the wide part alone, the encoder alone, and both.

ROC AUC on a test split, its share of the way from 0.5 to the best reachable, and the paired difference of both together
to each part, 95% intervals by bootstrap over patients. The encoder is the one that was trained without looking at the
wide part, so this is also `--wide=off` with the same seed.

Example:
  python benchmarks/stack_parts.py --run_dir=checkpoints/quality/patients20000_seed2/stack \
      --test_file=checkpoints/quality/patients20000_seed2/test.tfrecord \
      --true_risk_file=checkpoints/quality/patients20000_seed2/raw.true_risk.csv
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.evaluation.tables import share_of_way
from medtop.files.errors import DataError
from medtop.files.options import REQUIRED, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """A run and the patients that it is tested on."""

    run_dir: str = option(REQUIRED, "A finished run with --wide=stack.")
    test_file: str = option(REQUIRED, "TFRecords.")
    true_risk_file: str = option(REQUIRED, "The generated cohort's true risks.")
    num_bootstrap: int = option(1000, "Resamples of the patients.")


flags.define(Options)


def parts(options):
    """dict "wide", "encoder", "both" -> dict task -> `Predictions`."""
    from medtop.data.batches import BatchOptions
    from medtop.data.description import read_dataset
    from medtop.evaluation.scoring import Scorer
    from medtop.model.multitask import build_model
    from medtop.model.wide import WidePart
    from medtop.training.run_directory import RunDirectory
    from medtop.training.trainer import load_best
    from medtop.training.wide_files import read_stack

    run = RunDirectory(options.run_dir)
    config, _, tasks = run.read()
    model = build_model(config, tasks)
    load_best(model, run)
    wide, info = model.wide, read_dataset(options.test_file)
    if wide is None or read_stack(run)["only"]:
        raise DataError(f"{options.run_dir}: expected a run with --wide=stack, received one without two parts")
    alone = {
        name: {kind: [float(kind == "wide_scale")] * len(values) for kind, values in scales.items()}
        for name, scales in wide.stack.items()
    }
    models = {"wide": WidePart(wide.layer, wide.columns, alone), "encoder": None, "both": wide}
    scored = {}
    for which, model.wide in models.items():
        batches = BatchOptions(batch_size=64, max_seq_length=config.max_position_embeddings)
        scored[which] = Scorer(model, info, config, tasks, batches, 0).predictions()
    return scored


def main(_):
    """Prints a line a label and part."""
    options = flags.read(Options)
    from medtop.evaluation.metrics import best_reachable, evaluate, paired_bootstrap
    from medtop.evaluation.predictions import sigmoid

    scored = parts(options)
    print("task          label     part     AUROC    best  share  both minus it [95%]")
    for task, predictions in scored["both"].items():
        best = best_reachable(predictions, options.true_risk_file)
        chances = {which: sigmoid(of_task[task].logits) for which, of_task in scored.items()}
        values = {which: evaluate(scored[which][task], chances[which], num_bootstrap=0) for which in scored}
        paired = {
            which: paired_bootstrap(
                predictions, chances["both"], scored[which][task], chances[which], num_bootstrap=options.num_bootstrap
            )
            for which in ("wide", "encoder")
        }
        for label in ("macro",) if len(predictions.labels) > 1 else predictions.labels:
            highest = best[label]["roc_auc"]
            for which, entries in values.items():
                value = entries[label]["roc_auc"]["value"]
                share = 100 * share_of_way(value, highest)
                text = f"{task:13} {label:9} {which:8} {value:.4f} {highest:.4f} {share:5.1f}%"
                if which in paired:
                    other = paired[which][label]
                    text += f"  {other['difference']:+.4f} [{other['low']:+.4f}, {other['high']:+.4f}]"
                print(text, flush=True)


if __name__ == "__main__":
    commands.run(main)
