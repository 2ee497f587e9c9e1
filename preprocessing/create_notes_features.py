r"""Turns the texts of admissions into TFRecord files of windows and a description of them (dataset.json).

Example, one call per split:

  python preprocessing/create_notes_features.py --input_file=notes.notes.train.parquet \
      --output_file=notes.train.tfrecord --vocab_file=vocab.txt --max_seq_length=512

The input is what preprocess_notes.py wrote, or the train.csv, val.csv and test.csv of a ClinicalBERT data folder
(columns TEXT, ID, Label). Texts are cut into word pieces and these into as many windows of [CLS] pieces [SEP] as it
takes: nothing is lost. --legacy keeps the first window of each text only, as the original did.
"""

import dataclasses
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands
from medtop.data import create
from medtop.notes.create_features import DEFAULT_LENGTH, NoteSettings, WindowMaker

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "input_file", None, "Texts of one split (.parquet, or .csv with TEXT, ID, Label): a file, a glob or a comma list."
)
flags.DEFINE_string("output_file", None, "Name of the TFRecord file; <output_file>.dataset.json describes it.")
flags.DEFINE_string("vocab_file", None, "WordPiece vocabulary, one piece a line (vocab.txt of a model or a run).")
flags.DEFINE_bool(
    "lower_case",
    None,
    "Lower-case and take accents off. Default: as tokenizer_config.json beside the "
    "vocabulary says, else whether the vocabulary has no capital letters.",
)
flags.DEFINE_integer("max_seq_length", DEFAULT_LENGTH, "Longest window, [CLS] and [SEP] included.")
flags.DEFINE_integer("window_overlap", 0, "Pieces that neighbouring windows of a text share.")
flags.DEFINE_bool("legacy", False, "Keep the first window of each text only, as ClinicalBERT's code.")
flags.DEFINE_integer("max_predictions_per_seq", 77, "Most pieces masked in a window; a default for the trainer.")
flags.DEFINE_float("masked_lm_prob", 0.15, "Share of pieces masked; a default for the trainer.")
flags.DEFINE_integer("random_seed", 12345, "Seed that is stored with the data.")
flags.DEFINE_integer("num_shards", 1, "Number of files; more than one are named <output_file>-00000-of-000NN.")
flags.DEFINE_bool("overwrite", False, "Replace a dataset that was made with other flags.")

OTHER_FLAGS = {"valid": "--valid_file", "test": "--test_file"}


def main(_):
    """Flags in, library calls, files out."""
    names = [field.name for field in dataclasses.fields(NoteSettings)]
    plan = create.plan(WindowMaker(NoteSettings(**{name: FLAGS[name].value for name in names})))
    info = create.write(plan)
    counts, done = info.counts, "already there, nothing to do" if plan.done else "written"
    print(
        f"{FLAGS.output_file}: {done}: {counts['examples']} windows of {counts['examples_in']} texts of "
        f"{counts['patients']} patients, {counts['pieces']} pieces "
        f"({counts['unknown_pieces'] / max(counts['pieces'], 1):.2%} unknown), longest window {info.lengths['max']}"
    )
    for reason, count in counts["dropped"].items():
        if count:
            print(f"left out: {count} texts: {reason}")
    if counts["pieces_cut"]:
        print(f"left out (--legacy): {counts['pieces_cut']} pieces after the first window of their text")
    script = "python run_scripts/run_readmission.py --do_train --bert_config_file=<config.json> --output_dir=<folder>"
    flag = OTHER_FLAGS.get(plan.description["split"], "--input_file")
    also = "" if flag == "--input_file" else " --input_file=<training records>"
    print(f"next: {script}{also} {flag}={FLAGS.output_file}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["input_file", "output_file", "vocab_file"])
    commands.run(main)
