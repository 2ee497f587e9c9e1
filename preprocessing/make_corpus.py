r"""Mixes sources of text into one corpus for pretraining: cleaned, filtered, sampled by weight, shuffled, with a card.

Example (after deduplicate_notes.py; papers is the name of a source there):

  python preprocessing/make_corpus.py --input=dedup.notes.train.parquet,dedup.notes.valid.parquet \
      --mixture=notes:0.9,papers:0.1 --output_prefix=corpus

It writes <output_prefix>.notes.{train,valid,test}.parquet, .card.md (documents, words, bytes, what was left out and
why, per source and split) and .manifest.json. The same input, flags and seed give the same files; a killed run goes on
where it was. docs/corpus.md gives every rule.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags, hints
from medtop.cli.prefix_runs import PrefixOptions, report_lines
from medtop.cli.progress import progress_lines
from medtop.corpus.card import summary_lines
from medtop.corpus.make import CorpusSettings, make_corpus

flags.define(CorpusSettings, PrefixOptions)


def main(_):
    """Flags in, one library call, files out."""
    script = flags.read(PrefixOptions)
    outcome = make_corpus(flags.read(CorpusSettings), script.output_prefix, script.overwrite, progress_lines())
    following = hints.after_texts(script.output_prefix)
    print("\n".join(report_lines(script.output_prefix, outcome, summary_lines(outcome.manifest), following)))


if __name__ == "__main__":
    commands.run(main)
