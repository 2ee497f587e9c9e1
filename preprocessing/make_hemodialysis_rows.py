"""Writes generated rows in the form of the hemodialysis project's private table, to try run_tabular_multitask.py on.

Example:
  python preprocessing/make_hemodialysis_rows.py --output_file=hemodialysis.csv --num_rows=2000
"""

import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.synthetic.hemodialysis import write_rows  # noqa: E402

flags.DEFINE_string("output_file", None, "CSV file to write.", required=True)
flags.DEFINE_integer("num_rows", 2000, "Number of rows.")
flags.DEFINE_integer("seed", 0, "Seed of the rows.")


def main(_):
    """Flags in, file out."""
    values = flags.FLAGS
    if values.num_rows < 1 or values.seed < 0:
        raise DataError(
            f"--num_rows and --seed: expected 1 or more and 0 or more, received {values.num_rows} and {values.seed}"
        )
    write_rows(values.output_file, values.num_rows, values.seed)
    print(f"{values.num_rows} rows: {values.output_file}")
    print(
        f"next: python run_scripts/run_tabular_multitask.py --data_file={values.output_file} "
        "--schema_file=medtop/configs/hemodialysis_schema.json --output_dir=<folder>"
    )


if __name__ == "__main__":
    commands.run(main)
