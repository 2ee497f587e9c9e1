"""Turns tables of admissions and notes into one text per admission with its 30-day readmission label.

Example (MIMIC-III: a folder with ADMISSIONS, PATIENTS and NOTEEVENTS, .csv or .csv.gz):

  python preprocessing/preprocess_notes.py data/mimic3 data/discharge --mode=discharge

It writes <output_Prefix>.labels.csv (a file for --prediction_times), .splits.csv, .notes.{train,valid,test}.parquet,
.manifest.json and, where rows were bad, .rejects.csv. --legacy does what ClinicalBERT's script does and writes its data
folder <output_Prefix>/ (train.csv, val.csv, test.csv). --dry_run writes nothing. docs/notes.md gives every rule.
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.cli.progress import progress_lines
from medtop.files.errors import DataError
from medtop.files.options import option
from medtop.notes.options import NotesOptions
from medtop.notes.preprocess import NotesInput
from medtop.sources.dates import DateRules


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScriptOptions:
    """What this script does with the outputs."""

    dry_run: bool = option(False, "Show counts, labels and reasons for dropping; write nothing.")
    overwrite: bool = option(False, "Replace outputs that other flags or other input have made.")


flags.define(NotesOptions, NotesInput, DateRules, ScriptOptions, shifted_dates=True)  # as MIMIC's are

SET_BY_LEGACY = (
    "deaths",
    "observation_end",
    "max_summary_days",
    "max_days_before",
    "drop_copied",
    "cleaning",
    "lower_case",
    "windows",
)


def _options():
    """`NotesOptions` out of the flags; refuses those without effect."""
    options = flags.read(NotesOptions)
    if options.mode == "discharge" and flags.given("early_days"):
        raise DataError("--early_days has no effect with --mode=discharge: leave it out, or choose --mode=early")
    if options.mode == "early" and flags.given("max_summary_days"):
        raise DataError("--max_summary_days has no effect with --mode=early: leave it out, or choose --mode=discharge")
    if options.legacy:
        for name in flags.given(*SET_BY_LEGACY):
            raise DataError(f"--{name} has no effect with --legacy, which follows ClinicalBERT's script: leave it out")
        return dataclasses.replace(options, deaths="negative", cleaning="published", windows="words")
    if not options.lower_case and options.cleaning == "published":
        raise DataError("--nolower_case needs --cleaning=careful: the published cleaning lowers all")
    return options


def main(arguments):
    """Flags in, one library call, files out."""
    from medtop.notes.manifest import next_command, summary_lines
    from medtop.notes.preprocess import preprocess_notes

    _, data_dir, prefix = arguments
    options, script = _options(), flags.read(ScriptOptions)
    source = flags.read(NotesInput, data_dir=data_dir, dates=flags.read(DateRules))
    manifest, done_before = preprocess_notes(
        source, options, prefix, script.overwrite, script.dry_run, progress_lines()
    )
    print("\n".join(summary_lines(manifest)))
    if script.dry_run:
        print("dry run: nothing was written")
        return
    print(
        f"{prefix}.manifest.json: "
        + (
            "the same run has been done before, nothing to do"
            if done_before
            else f"written, with {', '.join(manifest['outputs'])}"
        )
    )
    print(f"next: {next_command(prefix, options)}")


if __name__ == "__main__":
    commands.run(main, ["data_dir", "output_Prefix"])
