"""Turns YAIB's hourly intensive-care tables into one row per stay, for run_tabular_multitask.py.

Example:
  python preprocessing/make_yaib_table.py --yaib_dir=yaib_mimic_demo --patients_file=ICUSTAYS.csv.gz \\
    --output_file=icu.csv
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.files.options import REQUIRED, option  # noqa: E402
from medtop.tabular.yaib import write_table  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which tables become one."""

    yaib_dir: str = option(REQUIRED, "Folder with YAIB's task folders los, mortality24, kidney_function.")
    patients_file: str | None = option(None, "MIMIC's ICUSTAYS (CSV): keeps a patient's stays in one fold.")
    output_file: str = option(REQUIRED, "CSV file to write.")


flags.define(Options)


def main(_):
    """Flags in, file out."""
    options = flags.read(Options)
    rows = write_table(options.yaib_dir, options.output_file, options.patients_file)
    print(f"{rows} stays: {options.output_file}")
    print(
        f"next: python run_scripts/run_tabular_multitask.py --data_file={options.output_file} "
        "--schema_file=medtop/configs/yaib_schema.json --output_dir=<folder>"
    )


if __name__ == "__main__":
    commands.run(main)
