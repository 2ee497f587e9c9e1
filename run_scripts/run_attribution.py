"""Explains a finished run: which codes and which context its risks rest on, and how far that can be trusted.

Example:
  python run_scripts/run_attribution.py --run_dir=runs/first --input_file=data/cohort.test.tfrecord \\
    --labels=long_stay,CKD_365 --max_patients=1000 --output_dir=explanations/first

Writes code_importance.csv, faithfulness.json and attribution.html; with --write_patients also patients.html, which
holds patients' data.
"""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.runs.explain import ExplainSettings, explain_run  # noqa: E402

flags.define(ExplainSettings)


def main(_):
    """Explains, says how complete the attributions are and where the page lies."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    settings = flags.read(ExplainSettings)
    checks = explain_run(settings)
    complete, deletion = checks["completeness"], checks["deletion"]
    if complete["median"] is not None:
        print(f"completeness: median {complete['median']:.2%}, 95th percentile {complete['percentile_95']:.2%}")
    further = deletion["patients_in_whom_it_falls_further"][0]
    if further is not None:
        what = f"taking out the top tenth of codes lowers {deletion['label']} further than chance"
        print(f"{what} in {further:.0%} of {deletion['patients_with_several_codes']} patients with several codes")
    print(f"report: {settings.output_dir}/attribution.html")


if __name__ == "__main__":
    commands.run(main)
