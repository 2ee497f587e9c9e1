"""Generated cohorts, and training on them through the project's own scripts; what is done is not done again."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from medtop.cli.commands import STOPPED
from medtop.cohort.splits import SHARES
from medtop.evaluation.predictions import read_columns
from medtop.files.atomic import write_json, write_text
from medtop.files.errors import DataError, Stopped

ROOT = Path(__file__).resolve().parents[2]
SMALL_CONFIG = str(ROOT / "medtop/configs/small.json")
MIN_CODE_SHARE = 0.01
"""Codes that occur less often than this share of the training patients' number are [UNK]."""

TRAINER = ["--train_batch_size=32", "--learning_rate=1.5e-3", "--weight_decay=1", "--wide=off"]
EPOCHS = 20
TASK_WEIGHTS = "masked_lm:0.1,long_stay:0.2"
"""These settings were chosen on validation of seed 1 at 20,000 patients; docs/training.md says what was tried."""


def call(script, *arguments):
    """Runs one of the project's scripts; its output goes to standard error.

    Raises:
        Stopped: when it was stopped and can go on.
        DataError: when it failed; its own line stands on standard error.
    """
    code = subprocess.run([sys.executable, str(ROOT / script), *map(str, arguments)], stdout=sys.stderr).returncode
    if code == STOPPED:
        raise Stopped(f"{script}: run the same command again to go on")
    if code:
        raise DataError(f"{script}: expected exit code 0, received {code}")


def cohort_folder(work_dir, patients, seed, codes="plain", code_map="none"):
    """Where a cohort and the runs on it lie."""
    kinds = [kind for kind, usual in ((codes, "plain"), (code_map, "none")) if kind != usual]
    return Path(work_dir) / "_".join((*kinds, f"patients{patients}", f"seed{seed}"))


def prepare(folder, patients, seed, min_code_share=MIN_CODE_SHARE, test_patients=None, codes="plain", code_map="none"):
    """Generates, preprocesses and writes TFRecords; the scripts themselves skip what is done.

    Args:
        folder: where.
        patients: of the cohort; 70% of them train, 10% validate, and 20% test.
        seed: of the cohort and the split.
        min_code_share: see `MIN_CODE_SHARE`.
        test_patients: test on so many instead of on 20%: what a small cohort taught is then measured without the
            noise of a small test split.
        codes: kind of background codes, see make_synthetic_cohort.py.
        code_map: what histories' codes go through, see preprocess_pretrain_data.py.
    """
    raw, cohort = folder / "raw", folder / "cohort"
    train, valid = (round(share * patients) for share in SHARES[:2])
    call(
        "preprocessing/make_synthetic_cohort.py",
        f"--output_prefix={raw}",
        f"--num_patients={patients if test_patients is None else train + valid + test_patients}",
        f"--seed={seed}",
        f"--codes={codes}",
    )
    splits = []
    if test_patients is not None:
        splits = [f"--splits={folder / 'given_splits.csv'}"]
        _write_splits(folder / "given_splits.csv", f"{raw}.csv", train, valid, seed)
    call(
        "preprocessing/preprocess_pretrain_data.py",
        f"{raw}.csv",
        "NA",
        cohort,
        0,
        f"--prediction_times={raw}.prediction_times.csv",
        f"--seed={seed}",
        f"--min_code_count={max(2, round(min_code_share * train))}",
        f"--code_map={code_map}",
        *splits,
    )
    for split in ("train", "valid", "test"):
        call(
            "preprocessing/create_BERTpretrain_EHRfeatures.py",
            f"--input_file={cohort}.bencs.{split}",
            f"--output_file={folder / split}.tfrecord",
            f"--vocab_file={cohort}.types",
            f"--num_shards={4 if split == 'train' else 1}",
        )


def _write_splits(path, data_file, train, valid, seed):
    """`patient_id,split`: the first patients of a random order train, the next validate, all others test."""
    patients = np.unique(read_columns(data_file, ["patient_id"])["patient_id"].to_numpy())
    order = np.random.default_rng(int(seed)).permutation(len(patients))
    names = np.repeat(["train", "valid", "test"], [train, valid, len(patients) - train - valid])
    lines = [f"{patients[place]},{name}" for place, name in zip(order, names, strict=True)]
    write_text(path, "\n".join(["patient_id,split", *lines]) + "\n")


def train(folder, name, seed, *flags, config=SMALL_CONFIG, script="run_scripts/run_toppretraining.py"):
    """Trains and evaluates one run in `folder / name` on the cohort in `folder`, unless that is done.

    Args:
        folder: of `prepare`.
        name: of the run.
        seed: of the training.
        flags: of the trainer, besides; a later one counts.
        config: model configuration.
        script: the trainer.

    Returns:
        seconds of wall-clock time, of the call that ended the training; None where they are not known.
    """
    run = folder / name
    if not (run / "metrics.json").is_file():
        started = time.perf_counter()
        call(
            script,
            f"--input_file={folder / 'train'}.tfrecord",
            f"--valid_file={folder / 'valid'}.tfrecord",
            f"--test_file={folder / 'test'}.tfrecord",
            f"--output_dir={run}",
            f"--bert_config_file={config}",
            f"--true_risk_file={folder / 'raw'}.true_risk.csv",
            f"--seed={seed}",
            "--do_train",
            "--do_eval",
            *TRAINER,
            f"--num_train_epochs={EPOCHS}",
            *flags,
        )
        write_json(run / "seconds.json", time.perf_counter() - started)
    seconds = run / "seconds.json"
    return json.loads(seconds.read_text(encoding="utf-8")) if seconds.is_file() else None


def test_results(run):
    """(metrics of the test split: task -> label -> entry; its comparison: baselines, differences, best_reachable)."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]
    compared = run / "comparison.json"
    comparison = json.loads(compared.read_text(encoding="utf-8"))["test"] if compared.is_file() else {}
    return metrics, comparison
