r"""Removes exact and near copies from notes and other texts, over all files and splits at once.

Example (raw/NOTEEVENTS.csv as in MIMIC-III; n.splits.csv of preprocess_notes.py):

  python preprocessing/deduplicate_notes.py --input=notes=raw/NOTEEVENTS.csv --output_prefix=dedup --splits=n.splits.csv

It writes <output_prefix>.notes.{train,valid,test}.parquet, .pairs.parquet (what went, whose copy it is, and their
similarity) and .manifest.json. Every near copy is verified by exact Jaccard similarity of word shingles with the text
that stays. A killed run goes on where it was. docs/corpus.md gives every rule.
"""

import dataclasses
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.cli.progress import progress_lines
from medtop.corpus.copies_report import summary_lines
from medtop.corpus.deduplicate import DedupSettings, deduplicate
from medtop.files.options import REQUIRED, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScriptOptions:
    """What this script does with the outputs."""

    output_prefix: str = option(REQUIRED, "Beginning of the outputs' names, with their folder.")
    overwrite: bool = option(False, "Replace outputs that other flags or other input have made.")


flags.define(DedupSettings, ScriptOptions)


def main(_):
    """Flags in, one library call, files out."""
    script = flags.read(ScriptOptions)
    settings, prefix = flags.read(DedupSettings), script.output_prefix
    manifest, done_before = deduplicate(settings, prefix, script.overwrite, progress_lines())
    print("\n".join(summary_lines(manifest)))
    done = "the same run has been done before, nothing to do" if done_before else "written"
    print(f"{prefix}.manifest.json: {done}, with {', '.join(manifest['outputs'])}")
    train = shlex.quote(f"{prefix}.notes.train.parquet")
    print(f"next: python preprocessing/learn_wordpiece_vocab.py --input_file={train} --output_file=vocab.txt")


if __name__ == "__main__":
    commands.run(main)
