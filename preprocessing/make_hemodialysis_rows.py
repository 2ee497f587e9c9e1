"""Writes generated rows in the form of the hemodialysis project's private table, to try run_tabular_multitask.py on.

Example:
  python preprocessing/make_hemodialysis_rows.py --output_file=hemodialysis.csv --num_rows=2000
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.files.options import REQUIRED, at_least, option  # noqa: E402
from medtop.synthetic.hemodialysis import write_rows  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is generated."""

    output_file: str = option(REQUIRED, "CSV file to write.")
    num_rows: int = option(2000, "Number of rows.", rule=at_least(1))
    seed: int = option(0, "Seed of the rows.", rule=at_least(0))


flags.define(Options)


def main(_):
    """Flags in, file out."""
    options = flags.read(Options)
    write_rows(options.output_file, options.num_rows, options.seed)
    print(f"{options.num_rows} rows: {options.output_file}")
    print(
        f"next: python run_scripts/run_tabular_multitask.py --data_file={options.output_file} "
        "--schema_file=medtop/configs/hemodialysis_schema.json --output_dir=<folder>"
    )


if __name__ == "__main__":
    commands.run(main)
