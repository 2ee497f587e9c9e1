"""Which model for my cohort? Trains models on growing numbers of patients, tests all on one test set, draws the curve.

Example:
  python run_scripts/run_learning_curve.py --input_file=data/cohort.train.tfrecord \\
    --valid_file=data/cohort.valid.tfrecord --test_file=data/cohort.test.tfrecord \\
    --bert_config_file=medtop/configs/small.json --output_dir=runs/curve --train_sizes=100,500,1000,5000,0 \\
    --repeats=10 --models=wide,bert,stack,bert+bigru,bigru,retain,logistic_regression,windowed_logistic_regression

The same command goes on after a stop, skips what is finished, and may run several times at once to share the work. The
tables and the page are written anew after each run. docs/training.md says what the models are.
"""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.files.errors import DataError
from medtop.files.formulas import quote_option
from medtop.files.options import at_least, option
from medtop.grid.learning_curve import CurveOptions

TRAINER = "run_toppretraining.py"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How the runs are run, and what of them is shown."""

    metric: str = option("roc_auc", "Measure of metrics.json that is drawn.")
    dry_run: bool = option(False, "List the runs with their state; run nothing.")
    collect: bool = option(False, "Write tables and page of what is there; run nothing.")
    overwrite: bool = option(False, "Start runs anew that failed, or that were run with other settings.")
    quote_formulas: bool = quote_option()
    restarts: int = option(2, "How often a run that was killed is started again at once.", rule=at_least(0))


flags.define(CurveOptions, Options)


def _say(line):
    print(line, flush=True)


def main(_):
    """Flags in, library calls, tables and a page out."""
    from medtop.data.description import read_dataset
    from medtop.grid.curve_run import run_curve

    curve, options = flags.read(CurveOptions), flags.read(Options)
    if options.dry_run and options.collect:
        raise DataError("--dry_run and --collect exclude each other: give one of them")
    trainer = Path(__file__).resolve().parent / TRAINER
    train, *_ = (read_dataset(getattr(curve, name)) for name in ("input_file", "valid_file", "test_file"))
    run_curve(curve, options, train, trainer, flags.of_script(trainer), say=_say)


if __name__ == "__main__":
    commands.run(main)
