"""Reads entities in any format of the field and writes tables for training, or any other format.

Example (BC5CDR in PubTator's format, to <output_prefix>.documents.train.parquet, .spans.train.parquet, ...):

  python preprocessing/convert_entities.py --from=pubtator --output_prefix=data/cdr \
      --input=train=CDR_TrainingSet.PubTator.txt,valid=CDR_DevelopmentSet.PubTator.txt,test=CDR_TestSet.PubTator.txt

Each span's text is held against the document; what does not agree goes to <output_prefix>.rejects.csv with its place
and reason. With --to=brat (or another format) --output_prefix is a folder. docs/entities.md gives every rule.
"""

import dataclasses
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.entities import convert
from medtop.files.options import REQUIRED, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScriptOptions:
    """Where it is written."""

    output_prefix: str = option(REQUIRED, "Beginning of the tables' names, with their folder; with --to a folder.")
    overwrite: bool = option(False, "Replace outputs that other flags or other input have made.")


flags.define(convert.ConvertOptions, ScriptOptions)


def main(_):
    """Flags in, one library call, files out."""
    options, script = flags.read(convert.ConvertOptions), flags.read(ScriptOptions)
    manifest, done_before = convert.convert(options, script.output_prefix, script.overwrite)
    print("\n".join(convert.summary_lines(manifest)))
    prefix = shlex.quote(script.output_prefix)
    if options.target != convert.TABLES:
        print(f"written: {prefix}/ ({options.target})")
        return
    print(
        f"{prefix}.manifest.json: " + ("the same run has been done before, nothing to do" if done_before else "written")
    )


if __name__ == "__main__":
    commands.run(main)
