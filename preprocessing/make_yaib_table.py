"""Turns YAIB's hourly intensive-care tables into one row per stay, for run_tabular_multitask.py.

Example:
  python preprocessing/make_yaib_table.py --yaib_dir=yaib_mimic_demo --patients_file=ICUSTAYS.csv.gz \\
    --output_file=icu.csv
"""

import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands  # noqa: E402
from medtop.tabular.yaib import write_table  # noqa: E402

flags.DEFINE_string(
    "yaib_dir", None, "Folder with YAIB's task folders los, mortality24, kidney_function.", required=True
)
flags.DEFINE_string("patients_file", None, "MIMIC's ICUSTAYS (CSV): keeps a patient's stays in one fold.")
flags.DEFINE_string("output_file", None, "CSV file to write.", required=True)


def main(_):
    """Flags in, file out."""
    values = flags.FLAGS
    rows = write_table(values.yaib_dir, values.output_file, values.patients_file)
    print(f"{rows} stays: {values.output_file}")
    print(
        f"next: python run_scripts/run_tabular_multitask.py --data_file={values.output_file} "
        "--schema_file=medtop/configs/yaib_schema.json --output_dir=<folder>"
    )


if __name__ == "__main__":
    commands.run(main)
