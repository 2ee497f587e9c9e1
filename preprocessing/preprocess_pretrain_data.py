"""Turns a table of diagnoses into pickled lists of patients, with labels at a prediction time, and a vocabulary.

Example (Med-BERT's four arguments; NA makes a new vocabulary, 0 takes all patients):

  python preprocessing/preprocess_pretrain_data.py data/cohort.tsv NA data/cohort 0 --prediction_times=data/times.csv

It writes <output_Prefix>.bencs.{train,valid,test}, .types, .vocab.txt, .splits.csv, .manifest.json and, where rows were
bad, .rejects.csv. --dry_run shows what would come of it and writes nothing; --layout=medbert makes Med-BERT's lists.
docs/preprocessing.md gives every rule. --check reports on the table first: columns, dates, codes, what is wrong.
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.cli.progress import progress_lines
from medtop.cohort.build import Options
from medtop.cohort.meds_labels import is_meds
from medtop.cohort.preprocess import CohortInput
from medtop.files.bounded import whole_number
from medtop.files.errors import DataError
from medtop.files.options import at_least, option
from medtop.sources.choices import Choices
from medtop.sources.dates import DateRules
from medtop.sources.rules import Rules


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScriptOptions:
    """What this script does with the outputs."""

    dry_run: bool = option(False, "Show patients, dates, codes, labels and reasons for dropping; write nothing.")
    check: bool = option(
        False,
        "Write <output_Prefix>.data_report.html and .json, what the table looks like and lacks, and nothing else.",
    )
    min_cell: int = option(0, "With --check: smallest count that the data report shows; 0 = all.", rule=at_least(0))
    overwrite: bool = option(False, "Replace outputs that other flags or other input have made.")


flags.define(Options, CohortInput, Rules, Choices, DateRules, ScriptOptions)

KEPT_BY_MEDBERT = ("layout", "seed", "exact_dates")
"""Flags of the cohort that have an effect with --layout=medbert."""


def _whole_number(text, name):
    number = whole_number(text)
    if number is None or number < 0:
        raise DataError(f"{name}: expected a whole number from 0, received {text!r}")
    return number


def _check(options):
    """Refuses flags that would have no effect."""
    if options.layout == "medbert":
        for name in flags.given(*(name for name in flags.names(Options) if name not in KEPT_BY_MEDBERT)):
            raise DataError(f"--{name} has no effect with --layout=medbert: leave it out")
    if options.prediction_times and flags.given("index"):
        raise DataError("--index and --prediction_times exclude each other: give one of them")
    if options.subject_ids and not (options.prediction_times and is_meds(options.prediction_times)):
        raise DataError("--subject_ids has no effect without MEDS labels in --prediction_times: leave it out")
    for name in flags.given("min_code_count", "min_code_patients") if options.vocabulary else ():
        raise DataError(f"--{name} has no effect with a given vocabulary, which stays as it is: leave it out")


def _options(vocabulary, subset_size):
    options = flags.read(Options, vocabulary=vocabulary, subset_size=subset_size)
    _check(options)
    if options.index == "none" and not options.prediction_times:  # the whole history: nothing comes after it
        whole_history = {"tasks": ("long_stay",), "long_stay_label": "any"}
        changes = {name: value for name, value in whole_history.items() if not flags.given(name)}
        options = dataclasses.replace(options, **changes)
    return options


def _check_data(source, options, prefix, min_cell):
    """--check: a report on the input, and no other output."""
    from medtop.cohort.preprocess import check_input
    from medtop.reporting.data_report import write_reports

    for line in write_reports(prefix, check_input(source, options), min_cell):
        print(line)


def main(arguments):
    """Flags in, one library call, files out."""
    from medtop.cohort.manifest import next_command, summary_lines
    from medtop.cohort.preprocess import preprocess
    from medtop.cohort.splits import SPLITS

    _, data_file, vocabulary, prefix, subset_size = arguments
    vocabulary = None if vocabulary.upper() == "NA" else vocabulary
    options = _options(vocabulary, _whole_number(subset_size, "<subset_size>"))
    rules = flags.read(Rules, dates=flags.read(DateRules), choices=flags.read(Choices))
    source, script = flags.read(CohortInput, data_file=data_file, rules=rules), flags.read(ScriptOptions)
    if flags.given("min_cell") and not script.check:
        raise DataError("--min_cell has no effect without --check: the manifest is its owner's alone; leave it out")
    if script.check:
        return _check_data(source, options, prefix, script.min_cell)
    outcome = preprocess(source, options, prefix, script.overwrite, script.dry_run, progress_lines())
    print("\n".join(summary_lines(outcome.manifest)))
    if script.dry_run:
        print("dry run: nothing was written")
        return
    print(
        f"{prefix}.manifest.json: "
        + (
            "the same run has been done before, nothing to do"
            if outcome.done_before
            else f"written, with {', '.join(outcome.manifest['outputs'])}"
        )
    )
    print(f"next: {next_command(prefix, options.splits if options.splits in SPLITS else 'train')}")


if __name__ == "__main__":
    commands.run(main, ["data_File", "vocab/NA", "output_Prefix", "subset_size/0forAll"])
