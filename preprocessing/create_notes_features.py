r"""Turns the texts of admissions into TFRecord files of windows and a description of them (dataset.json).

Example, one call per split:

  python preprocessing/create_notes_features.py --input_file=notes.notes.train.parquet \
      --output_file=notes.train.tfrecord --vocab_file=vocab.txt --max_seq_length=512

The input is what preprocess_notes.py wrote, or the train.csv, val.csv and test.csv of a ClinicalBERT data folder
(columns TEXT, ID, Label). Texts are cut into word pieces and these into as many windows of [CLS] pieces [SEP] as it
takes: nothing is lost. --legacy keeps the first window of each text only, as the original did.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags, hints
from medtop.data import create
from medtop.notes.create_features import NoteSettings, WindowMaker

flags.define(NoteSettings)


def main(_):
    """Flags in, library calls, files out."""
    plan = create.plan(WindowMaker(flags.read(NoteSettings)))
    info = create.write(plan)
    counts, done = info.counts, "already there, nothing to do" if plan.done else "written"
    print(
        f"{plan.settings.output_file}: {done}: {counts['examples']} windows of {counts['examples_in']} texts of "
        f"{counts['patients']} patients, {counts['pieces']} pieces "
        f"({counts['unknown_pieces'] / max(counts['pieces'], 1):.2%} unknown), longest window {info.lengths['max']}"
    )
    for reason, count in counts["dropped"].items():
        if count:
            print(f"left out: {count} texts: {reason}")
    if counts["pieces_cut"]:
        print(f"left out (--legacy): {counts['pieces_cut']} pieces after the first window of their text")
    print(f"next: {hints.after_records(info, 'run_readmission.py', plan.settings.output_file)}")


if __name__ == "__main__":
    commands.run(main)
