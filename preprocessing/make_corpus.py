r"""Mixes sources of text into one corpus for pretraining: cleaned, filtered, sampled by weight, shuffled, with a card.

Example (after deduplicate_notes.py; papers is the name of a source there):

  python preprocessing/make_corpus.py --input=dedup.notes.train.parquet,dedup.notes.valid.parquet \
      --mixture=notes:0.9,papers:0.1 --output_prefix=corpus

It writes <output_prefix>.notes.{train,valid,test}.parquet, .card.md (documents, words, bytes, what was left out and
why, per source and split) and .manifest.json. The same input, flags and seed give the same files. docs/corpus.md gives
every rule.
"""

import dataclasses
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.cli.progress import progress_lines
from medtop.corpus.card import summary_lines
from medtop.corpus.make import CorpusSettings, make_corpus
from medtop.files.options import REQUIRED, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScriptOptions:
    """What this script does with the outputs."""

    output_prefix: str = option(REQUIRED, "Beginning of the outputs' names, with their folder.")
    overwrite: bool = option(False, "Replace outputs that other flags or other input have made.")


flags.define(CorpusSettings, ScriptOptions)


def main(_):
    """Flags in, one library call, files out."""
    script = flags.read(ScriptOptions)
    prefix = script.output_prefix
    manifest, done_before = make_corpus(flags.read(CorpusSettings), prefix, script.overwrite, progress_lines())
    print("\n".join(summary_lines(manifest)))
    done = "the same run has been done before, nothing to do" if done_before else "written"
    print(f"{prefix}.manifest.json: {done}, with {', '.join(manifest['outputs'])}")
    train = shlex.quote(f"{prefix}.notes.train.parquet")
    print(f"next: python preprocessing/learn_wordpiece_vocab.py --input_file={train} --output_file=vocab.txt")


if __name__ == "__main__":
    commands.run(main)
