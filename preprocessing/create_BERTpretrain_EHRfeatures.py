r"""Turns pickled lists of patients (.bencs.*) into TFRecord files and a description of them (dataset.json).

Example, one call per split:

  python preprocessing/create_BERTpretrain_EHRfeatures.py --input_file=cohort.bencs.train \
      --output_file=cohort.train.tfrecord --vocab_file=cohort.types --max_seq_length=512

The records hold whole histories, without padding and without masks: both are made while training. The lengths and
masking numbers given here are stored as defaults, and the trainer's own flags win. Lists written with --layout=medbert
become Med-BERT's records instead: padded, masks drawn once, patients longer than --max_seq_length left out. Med-BERT's
fine-tuning lists, [patient, label, codes, visits], become records with one task, --task_name.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags, hints
from medtop.data import create
from medtop.data.finetuning import maker_of
from medtop.data.layouts import MEDBERT
from medtop.data.sequences import FeatureSettings

flags.define(FeatureSettings)


def main(_):
    """Flags in, library calls, files out."""
    plan = create.plan(maker_of(flags.read(FeatureSettings)))
    info = create.write(plan)
    counts, done = info.counts, "already there, nothing to do" if plan.done else "written"
    print(
        f"{plan.settings.output_file}: {done}: {counts['examples']} examples of {counts['patients']} patients, "
        f"{counts['tokens']} tokens, longest {info.lengths['max']}, {len(info.files)} file(s)"
    )
    for reason, count in counts["dropped"].items():
        if count:
            print(f"left out: {count} {reason}")
    trainer = "run_EHRpretraining.py" if info.layout is MEDBERT else "run_toppretraining.py"
    print(f"next: {hints.after_records(info, trainer, plan.settings.output_file)}")


if __name__ == "__main__":
    commands.run(main)
