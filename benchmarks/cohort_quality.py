"""How close to the best reachable ROC AUC does joint training come, and what does each task reach alone?

Generates a cohort per seed, preprocesses it, trains jointly and task by task with the same budget, and prints one
table: ROC AUC of model, baselines and true risk on the test split, the share of the way from 0.5 to the best reachable
one, and the paired difference to each baseline. Every step is kept in --work_dir and not done again, so that a stopped
benchmark goes on when it is started again.

Example:
  python benchmarks/cohort_quality.py --work_dir=checkpoints/quality --num_patients=20000 --seeds=1,2,3
"""

import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from comparison import cohort_runs  # noqa: E402

from medtop.cli import commands, flags  # noqa: E402
from medtop.evaluation.metrics import share_of_way  # noqa: E402
from medtop.files.options import REQUIRED, option  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which cohorts, and how they are trained."""

    work_dir: str = option(REQUIRED, "Folder for cohorts and runs.")
    num_patients: int = option(20_000, "Patients of each cohort.")
    seeds: tuple = option(("1", "2", "3"), "Seeds of cohort and training.")
    variants: tuple = option(("joint", "long_stay", "complications"), "joint, or the name of a single task.")
    bert_config_file: str = option(cohort_runs.SMALL_CONFIG, "Model configuration.")
    trainer_flag: tuple = option(
        (), "A further flag of the trainer, for all variants, such as --num_train_epochs=20.", repeated=True
    )
    task_weights: str = option(cohort_runs.TASK_WEIGHTS, "Weights of the joint training.")
    min_code_share: float = option(
        cohort_runs.MIN_CODE_SHARE,
        "Codes that occur less often than this share of the training patients' number are [UNK].",
    )


flags.define(Options)


def train(folder, variant, seed, values):
    """Trains one variant; returns its wall-clock seconds (of the run that did the work)."""
    tasks = [f"--task_weights={values.task_weights}"] if variant == "joint" else [f"--tasks={variant}"]
    return cohort_runs.train(
        folder,
        variant,
        seed,
        *(["--nobaselines"] if variant != "joint" else []),
        *tasks,
        *values.trainer_flag,
        config=values.bert_config_file,
    )


def rows_of(run):
    """(task, label, AUROC, best, share, {baseline: (AUROC, share, difference, low, high)}) of a run's test split."""
    metrics, comparison = cohort_runs.test_results(run)
    for task, labels in metrics.items():
        for label, entry in labels.items():
            if "roc_auc" not in entry or (label in ("micro", "macro") and len(labels) == 3):
                continue
            best = comparison["best_reachable"][task][label]["roc_auc"]
            value = entry["roc_auc"]["value"]
            others = {}
            for name, tasks in comparison["baselines"].items():
                other, paired = tasks[task][label]["roc_auc"]["value"], comparison["differences"][name][task][label]
                others[name] = (other, share_of_way(other, best), paired["difference"], paired["low"], paired["high"])
            yield task, label, value, best, share_of_way(value, best), others


def main(_):
    """Prints the table."""
    values = flags.read(Options)
    lines = []
    for seed in values.seeds:
        folder = cohort_runs.cohort_folder(values.work_dir, values.num_patients, seed)
        cohort_runs.prepare(folder, values.num_patients, seed, values.min_code_share)
        for variant in values.variants:
            seconds = train(folder, variant, seed, values)
            for task, label, value, best, share, others in rows_of(folder / variant):
                text = f"{seed:>4} {variant:13} {task:13} {label:9} {value:.4f} {best:.4f} {100 * share:5.1f}%"
                for name, (other, way, difference, low, high) in others.items():
                    text += f"  {name} {other:.4f} {100 * way:5.1f}% {difference:+.4f} [{low:+.4f}, {high:+.4f}]"
                lines.append(text)
            lines.append(f"{seed:>4} {variant:13} seconds {'unknown' if seconds is None else round(seconds)}")
    print("seed variant       task          label     AUROC   best  share  baseline AUROC share difference [95%]")
    print("\n".join(lines))


if __name__ == "__main__":
    commands.run(main)
