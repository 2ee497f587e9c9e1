r"""Turns notes into TFRecord files for pretraining: masked pieces and, in pairs, whether the second text follows, or
whether the two are swapped (--pairs=order).

Example, once with the training split's notes and once, for validation, with --split=valid:

  python preprocessing/create_notes_pretraining_data.py --input_file=notes.notes.train.parquet \
      --output_file=pretrain.train.tfrecord --vocab_file=vocab.txt --splits=notes.splits.csv --max_seq_length=128

--input_file may also be tables of single notes, of all patients: NOTEEVENTS.csv.gz of MIMIC-III, discharge.csv.gz and
radiology.csv.gz of MIMIC-IV, or any .csv, .tsv or .parquet; --columns=text=NOTE,patient_id=MRN says other names.

--splits is the split file of the readmission task: a note of a patient of another split stops the script, so that no
test patient's note is ever pretrained on. Masks are drawn anew in every epoch while training
(run_EHRpretraining.py --tasks=masked_lm,next_sentence, or masked_lm,sentence_order; with --whole_word_masking by whole
words).
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags, hints
from medtop.corpus.table_texts import NoteTableTexts, parse_note_columns
from medtop.data import create
from medtop.files.options import option
from medtop.notes.options import ENCODINGS
from medtop.notes.pretraining import PretrainingMaker, PretrainingSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableOptions:
    """How tables of single notes are read."""

    columns: str = option("", "Columns of tables with names of their own: text=NOTE,patient_id=MRN,...")
    encoding: str = option("utf-8", "Encoding of tables that are CSV.", choices=ENCODINGS)


flags.define(PretrainingSettings, TableOptions)


def main(_):
    """Flags in, library calls, files out."""
    settings, tables = flags.read(PretrainingSettings), flags.read(TableOptions)
    reader = NoteTableTexts(parse_note_columns(tables.columns), settings.cleaning, tables.encoding)
    plan = create.plan(PretrainingMaker(settings, reader))
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
