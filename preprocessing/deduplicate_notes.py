r"""Removes exact and near copies from notes and other texts, over all files and splits at once.

Example (raw/NOTEEVENTS.csv as in MIMIC-III; n.splits.csv of preprocess_notes.py):

  python preprocessing/deduplicate_notes.py --input=notes=raw/NOTEEVENTS.csv --output_prefix=dedup --splits=n.splits.csv

It writes <output_prefix>.notes.{train,valid,test}.parquet, .pairs.parquet (what went, whose copy it is, and their
similarity) and .manifest.json. Every near copy is verified by exact Jaccard similarity of word shingles with the text
that stays. A killed run goes on where it was. docs/corpus.md gives every rule.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags, hints
from medtop.cli.prefix_runs import PrefixOptions, report_lines
from medtop.cli.progress import progress_lines
from medtop.corpus.copies_report import summary_lines
from medtop.corpus.deduplicate import DedupSettings, deduplicate

flags.define(DedupSettings, PrefixOptions)


def main(_):
    """Flags in, one library call, files out."""
    script = flags.read(PrefixOptions)
    outcome = deduplicate(flags.read(DedupSettings), script.output_prefix, script.overwrite, progress_lines())
    following = hints.after_texts(script.output_prefix)
    print("\n".join(report_lines(script.output_prefix, outcome, summary_lines(outcome.manifest), following)))


if __name__ == "__main__":
    commands.run(main)
