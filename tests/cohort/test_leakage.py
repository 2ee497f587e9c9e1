"""The canary: a planted leak before the prediction time is found by the model, one after it is not seen.

The whole path runs, as a user runs it, on a table where nothing else tells the label.
"""

import csv
import json

import numpy as np
import pytest

CONFIG = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "activation": "gelu",
    "embeddings": ["code", "recency"],
}
PATIENTS = 600


def write_table(folder, planted):
    """600 patients with three stays; the label is a coin; its 1s carry LEAK "before" or "after" the prediction time."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, PATIENTS)
    stay_of_leak = {"before": 1, "after": 2, None: None}[planted]
    with open(folder / "raw.csv", "w", newline="") as table, open(folder / "times.csv", "w", newline="") as times:
        rows, chosen = csv.writer(table), csv.writer(times)
        rows.writerow(["patient_id", "stay_id", "admit", "discharge", "code"])
        chosen.writerow(["patient_id", "prediction_time", "disease"])
        for patient, label in enumerate(labels):
            for stay, month in enumerate((1, 4, 8)):
                codes = [f"ICD10_Z{rng.integers(10, 40)}" for _ in range(4)]
                if label and stay == stay_of_leak:
                    codes.append("ICD10_LEAK")
                for code in codes:
                    rows.writerow([patient, stay, f"2020-{month:02d}-01", f"2020-{month:02d}-05", code])
            chosen.writerow([patient, "2020-04-05", label])


def run_path(folder, planted, run_script):
    """From the table to metrics.json; returns the test split's ROC AUC entry and the vocabulary's bytes."""
    folder.mkdir()
    write_table(folder, planted)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    cohort = folder / "cohort"
    run_script(
        "preprocessing/preprocess_pretrain_data.py",
        folder / "raw.csv",
        "NA",
        cohort,
        0,
        f"--prediction_times={folder / 'times.csv'}",
        "--tasks=long_stay",
    )
    for split in ("train", "valid", "test"):
        run_script(
            "preprocessing/create_BERTpretrain_EHRfeatures.py",
            f"--input_file={cohort}.bencs.{split}",
            f"--output_file={folder / split}.tfrecord",
            f"--vocab_file={cohort}.types",
        )
    run_script(
        "run_scripts/run_toppretraining.py",
        f"--input_file={folder / 'train.tfrecord'}",
        f"--valid_file={folder / 'valid.tfrecord'}",
        f"--test_file={folder / 'test.tfrecord'}",
        f"--output_dir={folder / 'run'}",
        f"--bert_config_file={folder / 'config.json'}",
        "--do_train",
        "--do_eval",
        "--tasks=disease",
        "--num_train_epochs=16",
        "--learning_rate=1e-2",
        "--nobaselines",
        "--num_bootstrap=200",
    )
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    return metrics["test"]["disease"]["disease"]["roc_auc"], (folder / "cohort.types").read_bytes()


@pytest.mark.slow
def test_a_leak_before_the_prediction_time_is_found_and_one_after_it_is_not_seen(tmp_path, run_script):
    def checked(script, *arguments):
        done = run_script(script, *arguments)
        assert done.returncode == 0, done.stderr
        return done

    leaking, _ = run_path(tmp_path / "before", "before", checked)
    assert leaking["value"] > 0.99
    clean, types = run_path(tmp_path / "after", "after", checked)
    assert clean["low"] < 0.5 < clean["high"]
    nothing, same_types = run_path(tmp_path / "nothing", None, checked)
    assert types == same_types  # a code that occurs only later does not even reach the vocabulary
    assert clean == nothing


def test_the_table_differs_only_in_the_leak(tmp_path):
    """Otherwise the test above would compare two data sets, not one fault."""
    for planted in ("before", "after", None):
        (tmp_path / str(planted)).mkdir()
        write_table(tmp_path / str(planted), planted)
    plain = (tmp_path / "None" / "raw.csv").read_text().splitlines()
    for planted in ("before", "after"):
        lines = (tmp_path / planted / "raw.csv").read_text().splitlines()
        assert [line for line in lines if "LEAK" not in line] == plain
        assert len(lines) > len(plain)
