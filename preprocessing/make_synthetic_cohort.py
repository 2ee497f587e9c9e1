"""Generates a cohort of diabetic patients whose true risk is known, for trying and measuring everything else.

Example:

  python preprocessing/make_synthetic_cohort.py --output_prefix=data/cohort --num_patients=20000 --seed=1

It writes <output_prefix>.csv (the raw table; .tsv for --layout=medbert; a folder .omop, .pcornet, .meds,
.fhir_ndjson; .gz with --gzip), .prediction_times.csv,
.true_risk.csv (each patient's true probability of each label) and .generator.json (counts and the best AUROC that any
model can reach). docs/synthetic_cohort.md describes the patients and the risk function.
"""

import dataclasses
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.files.options import REQUIRED, at_least, option
from medtop.synthetic import cohort


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is generated."""

    output_prefix: str = option(REQUIRED, "Beginning of the files' names, with their folder.")
    num_patients: int = option(20000, "Number of patients.", rule=at_least(1))
    seed: int = option(
        1, "Seed; the same seed gives the same bytes, and more patients keep the first ones.", rule=at_least(0)
    )
    layout: str = option(
        "stays",
        "Columns of the stays table, Med-BERT's seven (TSV, dates only), top-BERT's ten (dates only), or a folder in a "
        "hospital's data model.",
        choices=cohort.LAYOUTS,
    )
    codes: str = option(
        "plain",
        "Background codes: without meaning, or along ICD-10's tree, where neighbours share meaning and risk and what "
        "came first long ago weighs.",
        choices=cohort.CODES_KINDS,
    )
    gzip: bool = option(False, "Compress the raw table.")
    overwrite: bool = option(False, "Replace files that other flags made.")


flags.define(Options)


def _number(value, digits=3):
    return "-" if value is None else f"{value:.{digits}f}"


def _print_summary(summary):
    print(
        f"{summary['patients']} patients, {summary['stays']} stays, {summary['rows']} rows; "
        f"up to the prediction time {summary['mean_history_stays']:.1f} stays and "
        f"{summary['mean_history_codes']:.1f} codes a patient"
    )
    print(f"{'label':<12}{'known':>8}{'prevalence':>12}{'best reachable AUROC':>22}")
    for label, values in summary["labels"].items():
        known, prevalence = _number(values.get("known")), _number(values.get("prevalence"))
        print(f"{label:<12}{known:>8}{prevalence:>12}{_number(values['best_roc_auc'], 4):>22}")


def main(_):
    """Flags in, one library call, files out."""
    options, shown = flags.read(Options), 100_000
    prefix = options.output_prefix

    def progress(patients):
        if patients % shown == 0:
            print(f"{patients} of {options.num_patients} patients written", flush=True)

    summary = cohort.write_cohort(
        prefix,
        options.num_patients,
        options.seed,
        layout=options.layout,
        gzip=options.gzip,
        overwrite=options.overwrite,
        progress=progress,
        codes=options.codes,
    )
    _print_summary(summary)
    paths = cohort.cohort_paths(prefix, options.layout, options.gzip)
    for path in paths.values():
        print(f"file: {path}")
    data, times = shlex.quote(str(paths["stays"])), shlex.quote(str(paths["prediction_times"]))
    print(
        f"next: python preprocessing/preprocess_pretrain_data.py {data} NA {shlex.quote(str(prefix))} 0 "
        f"--prediction_times={times}"
    )


if __name__ == "__main__":
    commands.run(main)
