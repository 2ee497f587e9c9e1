"""What a near-copy of a held-out note in training does to the held-out numbers, and whether sentence order is learned.

    python benchmarks/corpus_quality.py --work_dir=checkpoints/corpus_quality [--num_train_steps=400]

Notes are generated: twelve sentences each, the words of each drawn at random from the ten of its stage of the stay, so
that nothing but the order of the stages and which words belong to which stage can be learned. Each held-out note has a
near-copy in training (one word changed). Once only exact copies are removed (--near=1), once near ones
(deduplicate_notes.py's default); the rest is the same: vocabulary, pairs by --pairs=order, training, masked accuracy
and sentence order on the held-out notes. What masked accuracy gains by the copies is memory, not skill. Every step is
kept in --work_dir and not done again.
"""

import concurrent.futures
import csv
import dataclasses
import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from medtop.cli import commands, flags  # noqa: E402
from medtop.files.atomic import write_json  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.files.options import REQUIRED, at_least, option  # noqa: E402

SENTENCES, STAGE_WORDS, WORDS = 12, 10, 5
CONFIG = {
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "activation": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "initializer_range": 0.08,
    "embeddings": ["code", "position", "segment"],
    "segment": "sentence",
}
ARMS = {"copies left in": "1", "copies removed": "0.8"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Sizes."""

    work_dir: str = option(REQUIRED, "Folder that keeps every step.")
    num_notes: int = option(20, "Training notes, copies aside.", rule=at_least(10))
    num_held_out: int = option(12, "Held-out notes, each with a near-copy in training.", rule=at_least(10))
    num_train_steps: int = option(400, "Steps of each training.", rule=at_least(1))


flags.define(Options)


def write_notes(folder, options):
    """Writes notes.jsonl and splits.csv."""
    rng = np.random.default_rng(0)
    letters = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    words = rng.permutation(sorted({"".join(rng.choice(letters, 3)) for _ in range(900)}))[: SENTENCES * STAGE_WORDS]

    def note():
        stages = np.repeat(np.arange(SENTENCES), WORDS)
        return words[stages * STAGE_WORDS + rng.integers(0, STAGE_WORDS, len(stages))]

    def text(drawn):
        lines = drawn.reshape(SENTENCES, WORDS)
        return " ".join(" ".join(line) + "." for line in lines)

    rows, splits = [], {}
    held_out = [note() for _ in range(options.num_held_out)]
    for number, drawn in enumerate(held_out):
        changed = drawn.copy()
        changed[rng.integers(0, len(drawn))] = words[rng.integers(0, len(words))]
        rows += [(f"v{number}", text(drawn)), (f"c{number}", text(changed))]
        splits |= {f"v{number}": "valid", f"c{number}": "train"}
    for number in range(options.num_notes):
        rows.append((f"t{number}", text(note())))
        splits[f"t{number}"] = "train"
    with open(folder / "notes.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"patient_id": patient, "text": said}) + "\n" for patient, said in rows)
    with open(folder / "splits.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("patient_id", "split"), *splits.items()])


def run(script, *arguments):
    """Runs a script of the repository."""
    done = subprocess.run([sys.executable, ROOT / script, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise DataError(f"{script}: ended with {done.returncode}: {done.stderr[-300:]}")


def prepare(folder, near):
    """The records of one arm."""
    folder.mkdir(exist_ok=True)
    inputs, splits, vocabulary = (
        folder.parent / "notes.jsonl",
        folder.parent / "splits.csv",
        folder.parent / "vocab.txt",
    )
    run(
        "preprocessing/deduplicate_notes.py",
        *(f"--input=n={inputs}", f"--splits={splits}", f"--near={near}", f"--output_prefix={folder / 'd'}"),
    )
    if not vocabulary.exists():
        texts = f"--input_file={folder / 'd.notes.train.parquet'}"
        run("preprocessing/learn_wordpiece_vocab.py", texts, f"--output_file={vocabulary}", "--vocab_size=500")
    for split in ("train", "valid"):
        run(
            "preprocessing/create_notes_pretraining_data.py",
            *(f"--input_file={folder / f'd.notes.{split}.parquet'}", f"--output_file={folder / f'{split}.tfrecord'}"),
            *(f"--vocab_file={vocabulary}", f"--splits={splits}", f"--split={split}", "--pairs=order"),
            *("--max_seq_length=64", "--short_seq_prob=0", "--short_segment=0", "--dupe_factor=4"),
        )


def train(folder, options):
    """Trains one arm; the folder of the run."""
    write_json(folder / "model.json", CONFIG)
    run(
        "run_scripts/run_EHRpretraining.py",
        *("--do_train", "--do_eval", "--tasks=masked_lm,sentence_order", f"--output_dir={folder / 'run'}"),
        *(f"--input_file={folder / 'train.tfrecord'}", f"--valid_file={folder / 'valid.tfrecord'}", "--nobaselines"),
        *(f"--num_train_steps={options.num_train_steps}", "--learning_rate=3e-3", "--train_batch_size=16"),
        *(f"--bert_config_file={folder / 'model.json'}", "--noplot", "--num_bootstrap=200"),
    )
    return folder / "run"


def results(folder):
    """(masked accuracy, sentence-order accuracy, ROC AUC of sentence order) on the held-out notes."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["valid"]
    masked = next(iter(metrics["masked_lm"].values()))["accuracy"]
    with open(folder / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["task"] == "sentence_order" and row["target"]]
    right = np.mean([(float(row["probability"]) >= 0.5) == (float(row["target"]) == 1) for row in rows])
    order = metrics["sentence_order"]["swapped"]["roc_auc"]
    return masked["value"] if isinstance(masked, dict) else masked, right, order["value"], len(rows)


def main(_):
    """Both arms, and a line for each."""
    options = flags.read(Options)
    folder = Path(options.work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "splits.csv").exists():
        write_notes(folder, options)
    arms = [folder / name.replace(" ", "_") for name in ARMS]
    for arm, near in zip(arms, ARMS.values(), strict=True):
        prepare(arm, near)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = list(pool.map(functools.partial(train, options=options), arms))
    for name, trained in zip(ARMS, runs, strict=True):
        masked, right, area, number = results(trained)
        print(
            f"{name}: held-out masked accuracy {masked:.4f}, sentence order {right:.4f} right "
            f"(ROC AUC {area:.4f}, {number:,} pairs)",
            flush=True,
        )


if __name__ == "__main__":
    commands.run(main)
