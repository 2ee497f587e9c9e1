r"""Turns notes into TFRecord files for pretraining: masked pieces and, in pairs, whether the second text follows.

Example, once with the training split's notes and once, for validation, with --split=valid:

  python preprocessing/create_notes_pretraining_data.py --input_file=notes.notes.train.parquet \
      --output_file=pretrain.train.tfrecord --vocab_file=vocab.txt --splits=notes.splits.csv --max_seq_length=128

--splits is the split file of the readmission task: a note of a patient of another split stops the script, so that no
test patient's note is ever pretrained on. Masks are drawn anew in every epoch while training
(run_EHRpretraining.py --tasks=masked_lm,next_sentence, with --whole_word_masking by whole words).
"""

import dataclasses
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands
from medtop.data import create
from medtop.notes.create_features import DEFAULT_LENGTH
from medtop.notes.pretraining import PretrainingMaker, PretrainingSettings
from medtop.text.sentences import SHORT, UNITS

FLAGS = flags.FLAGS

flags.DEFINE_string("input_file", None, "Texts (.parquet, or .csv with TEXT, ID, Label): a file, a glob, a comma list.")
flags.DEFINE_string("output_file", None, "Name of the TFRecord file; <output_file>.dataset.json describes it.")
flags.DEFINE_string("vocab_file", None, "WordPiece vocabulary, one piece a line.")
flags.DEFINE_string("splits", None, "patient_id,split: the split file of the readmission task.")
flags.DEFINE_enum(
    "split", "train", ["train", "valid"], "Whose notes these are; a note of another split's patient stops the script."
)
flags.DEFINE_enum("unlisted_patients", "refuse", ["refuse", "use"], "Patients who are not in the split file.")
flags.DEFINE_bool("lower_case", None, "Lower-case and take accents off. Default: as the vocabulary was made.")
flags.DEFINE_bool("next_sentence", True, "Pairs of texts; --nonext_sentence: windows of one text, for masked pieces.")
flags.DEFINE_enum(
    "short_segment_unit",
    "characters",
    UNITS,
    "What short sentences are measured in: ClinicalBERT's code counts characters, its article says words.",
)
flags.DEFINE_integer("short_segment", SHORT, "Sentences shorter than this are joined to the one before; 0: none.")
flags.DEFINE_integer("dupe_factor", 1, "How often pairs are drawn from each text.")
flags.DEFINE_float("short_seq_prob", 0.1, "Share of records that are meant to be shorter than the maximum.")
flags.DEFINE_integer("max_seq_length", DEFAULT_LENGTH, "Longest record, special tokens included.")
flags.DEFINE_integer("max_predictions_per_seq", 77, "Most pieces masked in a record; a default for the trainer.")
flags.DEFINE_float("masked_lm_prob", 0.15, "Share of pieces masked; a default for the trainer.")
flags.DEFINE_integer("random_seed", 12345, "Seed of the pairs.")
flags.DEFINE_integer("num_shards", 1, "Number of files; more than one are named <output_file>-00000-of-000NN.")
flags.DEFINE_bool("overwrite", False, "Replace a dataset that was made with other flags.")


def main(_):
    """Flags in, library calls, files out."""
    names = [field.name for field in dataclasses.fields(PretrainingSettings)]
    plan = create.plan(PretrainingMaker(PretrainingSettings(**{name: FLAGS[name].value for name in names})))
    info = create.write(plan)
    counts, done = info.counts, "already there, nothing to do" if plan.done else "written"
    print(
        f"{FLAGS.output_file}: {done}: {counts['examples']} records of {counts['examples_in']} texts of "
        f"{counts['patients']} patients, {counts['pieces']} pieces, longest record {info.lengths['max']}"
    )
    for reason, count in counts["dropped"].items():
        if count:
            print(f"left out: {count} texts: {reason}")
    tasks = ",".join(["masked_lm", *info.tasks])
    print(
        f"next: python run_scripts/run_EHRpretraining.py --do_train --tasks={tasks} --bert_config_file=<config.json> "
        f"--output_dir=<folder> --input_file={FLAGS.output_file}"
    )


if __name__ == "__main__":
    flags.mark_flags_as_required(["input_file", "output_file", "vocab_file", "splits"])
    commands.run(main)
