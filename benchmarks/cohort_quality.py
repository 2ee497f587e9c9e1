"""How close to the best reachable ROC AUC does joint training come, and what does each task reach alone?

Generates a cohort per seed, preprocesses it, trains jointly and task by task with the same budget, and prints one
table: ROC AUC of model, baselines and true risk on the test split, the share of the way from 0.5 to the best reachable
one, and the paired difference to each baseline. Every step is kept in --work_dir and not done again, so that a stopped
benchmark goes on when it is started again.

Example:
  python benchmarks/cohort_quality.py --work_dir=/tmp/quality --num_patients=20000 --seeds=1,2,3
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from absl import flags

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from medtop import commands  # noqa: E402
from medtop.evaluation import share_of_way  # noqa: E402
from medtop.files import write_json  # noqa: E402
from medtop.splits import SHARES  # noqa: E402

flags.DEFINE_string("work_dir", None, "Folder for cohorts and runs.", required=True)
flags.DEFINE_integer("num_patients", 20_000, "Patients of each cohort.")
flags.DEFINE_list("seeds", ["1", "2", "3"], "Seeds of cohort and training.")
flags.DEFINE_list("variants", ["joint", "long_stay", "complications"], "joint, or the name of a single task.")
flags.DEFINE_string("bert_config_file", str(ROOT / "medtop/configs/small.json"), "Model configuration.")
flags.DEFINE_multi_string(
    "trainer_flag", [], "A further flag of the trainer, for all variants, such as --num_train_epochs=20."
)
flags.DEFINE_string("task_weights", "masked_lm:0.1,long_stay:0.2", "Weights of the joint training.")
flags.DEFINE_float(
    "min_code_share", 0.01, "Codes that occur less often than this share of the training patients' number are [UNK]."
)

TRAINER = ["--train_batch_size=32", "--learning_rate=1.5e-3", "--weight_decay=1", "--num_train_epochs=20"]
"""Chosen on validation of seed 1 at 20,000 patients; docs/training.md says what was tried."""


def call(script, *arguments):
    """Runs one of the project's scripts; its output goes to standard error."""
    subprocess.run([sys.executable, str(ROOT / script), *map(str, arguments)], check=True, stdout=sys.stderr)


def prepare(folder, patients, seed, min_code_share):
    """Generates, preprocesses and writes TFRecords; the scripts themselves skip what is done."""
    raw, cohort = folder / "raw", folder / "cohort"
    call(
        "preprocessing/make_synthetic_cohort.py",
        f"--output_prefix={raw}",
        f"--num_patients={patients}",
        f"--seed={seed}",
    )
    call(
        "preprocessing/preprocess_pretrain_data.py",
        f"{raw}.csv",
        "NA",
        cohort,
        0,
        f"--prediction_times={raw}.prediction_times.csv",
        f"--seed={seed}",
        f"--min_code_count={max(2, round(min_code_share * SHARES[0] * patients))}",
    )
    for split in ("train", "valid", "test"):
        call(
            "preprocessing/create_BERTpretrain_EHRfeatures.py",
            f"--input_file={cohort}.bencs.{split}",
            f"--output_file={folder / split}.tfrecord",
            f"--vocab_file={cohort}.types",
            f"--num_shards={4 if split == 'train' else 1}",
        )


def train(folder, variant, seed, values):
    """Trains one variant; returns its wall-clock seconds (of the run that did the work)."""
    run = folder / variant
    if not (run / "metrics.json").is_file():
        started = time.perf_counter()
        tasks = [f"--task_weights={values.task_weights}"] if variant == "joint" else [f"--tasks={variant}"]
        call(
            "run_scripts/run_toppretraining.py",
            f"--input_file={folder / 'train'}.tfrecord",
            f"--valid_file={folder / 'valid'}.tfrecord",
            f"--test_file={folder / 'test'}.tfrecord",
            f"--output_dir={run}",
            f"--bert_config_file={values.bert_config_file}",
            f"--true_risk_file={folder / 'raw'}.true_risk.csv",
            f"--seed={seed}",
            "--do_train",
            "--do_eval",
            *(["--nobaselines"] if variant != "joint" else []),
            *tasks,
            *TRAINER,
            *values.trainer_flag,
        )
        write_json(run / "seconds.json", time.perf_counter() - started)
    seconds = run / "seconds.json"
    return json.loads(seconds.read_text()) if seconds.is_file() else None


def rows_of(run):
    """(task, label, AUROC, best, share, {baseline: (AUROC, share, difference, low, high)}) of a run's test split."""
    metrics = json.loads((run / "metrics.json").read_text())["test"]
    comparison = json.loads((run / "comparison.json").read_text())["test"]
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
    values = flags.FLAGS
    lines = []
    for seed in values.seeds:
        folder = Path(values.work_dir) / f"patients{values.num_patients}_seed{seed}"
        prepare(folder, values.num_patients, seed, values.min_code_share)
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
