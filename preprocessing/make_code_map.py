"""Makes a file for --code_map of preprocess_pretrain_data.py from public tables of codes.

Example (CMS's General Equivalence Mappings, ICD-9-CM to ICD-10-CM):

  python preprocessing/make_code_map.py --kind=gem --input=2018_I9gem.txt --output=checkpoints/gem.csv

gem_ccsr takes two files, the mappings and CCSR. The counts that are printed say what a map leaves open: codes with
several targets (--code_map_many decides) and codes without one (--code_map_missing decides).
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.cohort.code_maps import KINDS, make_map
from medtop.files.errors import DataError
from medtop.files.options import REQUIRED, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is read and written."""

    kind: str = option(REQUIRED, "What the codes become.", choices=tuple(KINDS))
    input: tuple = option(REQUIRED, "The public file; two, with a comma between, for gem_ccsr.")
    output: str = option(REQUIRED, "CSV file to write, with the columns from and to.")
    overwrite: bool = option(False, "Replace the file.")


flags.define(Options)


def main(_):
    """Flags in, one library call, a file out."""
    options = flags.read(Options)
    if Path(options.output).exists() and not options.overwrite:
        raise DataError(f"{options.output}: expected a new file, found one; --overwrite replaces it")
    counts = make_map(options.kind, options.input, options.output)
    print(
        f"{counts['codes']:,} codes: {counts['codes_with_several_targets']:,} with several targets, "
        f"{counts['codes_without_target']:,} without; {counts['targets']:,} distinct targets, {counts['pairs']:,} pairs"
    )
    print(f"file: {options.output}")


if __name__ == "__main__":
    commands.run(main)
