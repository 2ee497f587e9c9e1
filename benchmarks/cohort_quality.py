"""How close to the best reachable ROC AUC does each model come, and which is ahead of every rival?

Generates a cohort per size and seed, preprocesses it, trains each variant with the same budget, and prints one table:
ROC AUC on the test split, the share of the way from 0.5 to the best reachable one, the strongest rival of each label
and the paired difference to it, and whether the model is ahead of all rivals, level with one or behind one (95%
intervals by bootstrap over patients). Every step is kept in --work_dir and not done again, so that a stopped benchmark
goes on when it is started again.

Example (the comparison of docs/training.md; hours on two cores, most of them the encoders'):
  python benchmarks/cohort_quality.py --work_dir=checkpoints/quality --num_patients=1000,5000,20000 --seeds=1,2,3 \
      --variants=wide,stack,bert
"""

import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from comparison import cohort_runs  # noqa: E402

from medtop.cli import commands, flags  # noqa: E402
from medtop.evaluation.tables import share_of_way, strongest_rival  # noqa: E402
from medtop.files.options import REQUIRED, option  # noqa: E402

VARIANTS = {
    "wide": ["--wide=only"],
    "stack": ["--wide=stack"],
    "bert": [],
    "joint": [],
    "bert-ppmi": ["--code_start=ppmi"],
    "bert-hierarchy": ["--code_start=hierarchy"],
}
"""Name -> flags of a model with all tasks (`cohort_runs.TRAINER` has no wide part); any other name is a task that an
encoder is trained on alone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which cohorts, and how they are trained."""

    work_dir: str = option(REQUIRED, "Folder for cohorts and runs.")
    num_patients: tuple[int, ...] = option((20_000,), "Patients of each cohort.")
    codes: str = option(
        "plain",
        "Background codes of the generated cohort, see make_synthetic_cohort.py.",
        choices=("plain", "hierarchical"),
    )
    code_map: str = option("none", "What histories' codes go through, see preprocess_pretrain_data.py.")
    test_patients: int = option(4_000, "Test on at least so many, generated besides where 20% are fewer.")
    seeds: tuple = option(("1", "2", "3"), "Seeds of cohort and training.")
    variants: tuple = option(("wide", "stack"), f"{', '.join(VARIANTS)}, or the name of a single task.")
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
    flags_of = [*VARIANTS.get(variant, [f"--tasks={variant}"])]
    if variant in VARIANTS:
        weights = values.task_weights.split(",")
        kept = [one for one in weights if variant != "wide" or not one.startswith("masked_lm")]
        flags_of.append(f"--task_weights={','.join(kept)}")
    return cohort_runs.train(folder, variant, seed, *flags_of, *values.trainer_flag, config=values.bert_config_file)


def verdict(differences):
    """ "ahead" of every rival, "level" with one at least, or "behind" one, by the intervals of the differences.

    Args:
        differences: list of {"low", "high"}.
    """
    if any(one["high"] is not None and one["high"] < 0 for one in differences):
        return "behind"
    return "ahead" if all(one["low"] is not None and one["low"] > 0 for one in differences) else "level"


def rows_of(run):
    """Lines of text on a run's test split, one a label: model, best reachable, strongest rival, verdict on them all."""
    metrics, comparison = cohort_runs.test_results(run)
    rivals = comparison["baselines"]
    for task, labels in metrics.items():
        for label, entry in labels.items():
            if "roc_auc" not in entry or (label in ("micro", "macro") and len(labels) == 3):
                continue
            best = comparison["best_reachable"][task][label]["roc_auc"]
            value = entry["roc_auc"]["value"]
            text = f"{task:13} {label:9} {value:.4f} {best:.4f} {100 * share_of_way(value, best):5.1f}%"
            name = strongest_rival(rivals, task, label)
            if name is not None:
                other, paired = rivals[name][task][label]["roc_auc"]["value"], comparison["differences"]
                one = paired[name][task][label]
                text += f"  {name:28} {other:.4f} {100 * share_of_way(other, best):5.1f}%"
                text += f" {one['difference']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]"
                text += f"  {verdict([paired[each][task][label] for each in rivals])}"
            yield text


def main(_):
    """Prints the table."""
    values = flags.read(Options)
    print("patients seed variant       task          label     AUROC   best  share", end="")
    print("  strongest rival of the label, its AUROC and share, difference [95%], over all rivals")
    for patients in values.num_patients:
        for seed in values.seeds:
            folder = cohort_runs.cohort_folder(values.work_dir, patients, seed, values.codes, values.code_map)
            few = patients - round(0.8 * patients) < values.test_patients
            tested = values.test_patients if few else None
            of_codes = values.codes, values.code_map
            cohort_runs.prepare(folder, patients, seed, values.min_code_share, tested, *of_codes)
            for variant in values.variants:
                seconds = train(folder, variant, seed, values)
                for text in rows_of(folder / variant):
                    print(f"{patients:8} {seed:>4} {variant:13} {text}")
                took = "unknown" if seconds is None else round(seconds)
                print(f"{patients:8} {seed:>4} {variant:13} seconds {took}", flush=True)


if __name__ == "__main__":
    commands.run(main)
