r"""Turns notes into TFRecord files for pretraining: masked pieces and, in pairs, whether the second text follows, or
whether the two are swapped (--pairs=order).

Example, once with the training split's notes and once, for validation, with --split=valid:

  python preprocessing/create_notes_pretraining_data.py --input_file=notes.notes.train.parquet \
      --output_file=pretrain.train.tfrecord --vocab_file=vocab.txt --splits=notes.splits.csv --max_seq_length=128

--splits is the split file of the readmission task: a note of a patient of another split stops the script, so that no
test patient's note is ever pretrained on. Masks are drawn anew in every epoch while training
(run_EHRpretraining.py --tasks=masked_lm,next_sentence, or masked_lm,sentence_order; with --whole_word_masking by whole
words).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags, hints
from medtop.data import create
from medtop.notes.pretraining import PretrainingMaker, PretrainingSettings

flags.define(PretrainingSettings)


def main(_):
    """Flags in, library calls, files out."""
    plan = create.plan(PretrainingMaker(flags.read(PretrainingSettings)))
    info = create.write(plan)
    counts, done = info.counts, "already there, nothing to do" if plan.done else "written"
    print(
        f"{plan.settings.output_file}: {done}: {counts['examples']} records of {counts['examples_in']} texts of "
        f"{counts['patients']} patients, {counts['pieces']} pieces, longest record {info.lengths['max']}"
    )
    for reason, count in counts["dropped"].items():
        if count:
            print(f"left out: {count} texts: {reason}")
    tasks = f"--tasks={','.join(['masked_lm', *info.tasks])}"
    print(f"next: {hints.after_records(info, 'run_EHRpretraining.py', plan.settings.output_file, tasks)}")


if __name__ == "__main__":
    commands.run(main)
