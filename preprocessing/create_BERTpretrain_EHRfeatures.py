r"""Turns pickled lists of patients (.bencs.*) into TFRecord files and a description of them (dataset.json).

Example, one call per split:

  python preprocessing/create_BERTpretrain_EHRfeatures.py --input_file=cohort.bencs.train \
      --output_file=cohort.train.tfrecord --vocab_file=cohort.types --max_seq_length=512

The records hold whole histories, without padding and without masks: both are made while training. The lengths and
masking numbers given here are stored as defaults, and the trainer's own flags win. Lists written with --layout=medbert
become Med-BERT's records instead: padded, masks drawn once, patients longer than --max_seq_length left out.
"""

import dataclasses
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands
from medtop.data import create
from medtop.data.layouts import MEDBERT
from medtop.data.sequences import FeatureSettings, SequenceMaker

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "input_file", None, "Pickled lists of one split (.bencs.train ...): a file, a glob or a comma list."
)
flags.DEFINE_string("output_file", None, "Name of the TFRecord file; <output_file>.dataset.json describes it.")
flags.DEFINE_string("vocab_file", None, "Vocabulary of the same run (.types or .vocab.txt).")
flags.DEFINE_integer("max_seq_length", None, "Longest row, [CLS] included. Default 512; Med-BERT's layout 32.")
flags.DEFINE_integer("max_predictions_per_seq", None, "Most codes masked in a row. Default 77; Med-BERT's layout 2.")
flags.DEFINE_float("masked_lm_prob", None, "Share of codes masked. Default 0.15; Med-BERT's layout 0.35.")
flags.DEFINE_integer("random_seed", 12345, "Seed of the masks.")
flags.DEFINE_integer("num_shards", 1, "Number of files; more than one are named <output_file>-00000-of-000NN.")
flags.DEFINE_bool("visit_separator", False, "End each visit with [SEP].")
flags.DEFINE_enum(
    "time_gap",
    "before",
    ["before", "after"],
    "Days since the previous visit, or to the next one (known only later; Med-BERT's).",
)
flags.DEFINE_bool("overwrite", False, "Replace a dataset that was made with other flags.")


def main(_):
    """Flags in, library calls, files out."""
    names = [field.name for field in dataclasses.fields(FeatureSettings)]
    plan = create.plan(SequenceMaker(FeatureSettings(**{name: FLAGS[name].value for name in names})))
    info = create.write(plan)
    counts, done = info.counts, "already there, nothing to do" if plan.done else "written"
    print(
        f"{FLAGS.output_file}: {done}: {counts['examples']} examples of {counts['patients']} patients, "
        f"{counts['tokens']} tokens, longest {info.lengths['max']}, {len(info.files)} file(s)"
    )
    for reason, count in counts["dropped"].items():
        if count:
            print(f"left out: {count} {reason}")
    trainer = "run_EHRpretraining.py" if info.layout is MEDBERT else "run_toppretraining.py"
    print(
        f"next: python run_scripts/{trainer} --do_train --bert_config_file=<config.json> "
        f"--output_dir=<folder> --input_file={FLAGS.output_file}"
    )


if __name__ == "__main__":
    flags.mark_flags_as_required(["input_file", "output_file", "vocab_file"])
    commands.run(main)
