"""Trains a shared trunk with one head per target on a table, by cross-validation, beside single-task networks and
scikit-learn baselines, and prints one table of held-out measures.

Example:
  python run_scripts/run_tabular_multitask.py --data_file=kidney_disease.csv \\
    --schema_file=medtop/configs/ckd_schema.json --output_dir=checkpoints/ckd --loss_balancing=uncertainty,gradnorm

medtop/configs/hemodialysis_seed.flags (--flagfile) is the setting of the hemodialysis project's own comparison.
The schema file says what the columns are (docs/tabular.md). Run the same command again to go on after a stop; with
other --loss_balancing, only the new methods are trained.
"""

import dataclasses
import logging
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.files.formulas import quote_option  # noqa: E402
from medtop.files.options import REQUIRED, at_least, option  # noqa: E402
from medtop.model.choices import BALANCERS  # noqa: E402
from medtop.tabular.options import TabularOptions  # noqa: E402
from medtop.tabular.schema import read_schema  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScriptOptions:
    """What is compared on which table."""

    data_file: str = option(REQUIRED, "The table: CSV (also .gz) or Parquet.")
    schema_file: str = option(REQUIRED, "What its columns are (JSON); medtop/configs holds three.")
    output_dir: str = option("", "Folder for the results; only --dry_run needs none.")
    loss_balancing: tuple = option(
        tuple(BALANCERS), f"Balancers to compare, among {', '.join(BALANCERS)}.", choices=BALANCERS
    )
    task_weights: tuple = option((), "Factors of the tasks' weights: target:number,...; default: the schema's.")
    single_task: bool = option(True, "Also train one network per target.")
    baselines: bool = option(True, "Also fit scikit-learn's linear model and gradient boosting.")
    folds: int = option(5, "Number of folds.")
    num_bootstrap: int = option(1000, "Resamples of rows (groups) for the intervals.", rule=at_least(0))
    plot: bool = option(
        False, "Draw the balancers side by side, balancing.html and .png, and each one's training-<method>.html."
    )
    quote_formulas: bool = quote_option()
    min_cell: int = option(
        0, "Smallest count of people that files hold which others may read; 0 = all.", rule=at_least(0)
    )
    overwrite: bool = option(False, "Remove the results that are in --output_dir first.")
    dry_run: bool = option(False, "Check the table against the schema, say what is in it, train nothing.")

    def methods(self):
        """What is compared, the constant last."""
        networks = list(dict.fromkeys(self.loss_balancing)) + (["single_task"] if self.single_task else [])
        return [*networks, *(["linear", "gradient_boosting"] if self.baselines else []), "constant"]


flags.define(ScriptOptions, TabularOptions)


def _describe(data):
    print(
        f"{len(data.table)} rows take part; left out: "
        + ("; ".join(f"{reason}: {count}" for reason, count in data.dropped.items()) or "none")
    )
    for target in data.targets:
        what = f"{len(target.classes)} classes" if target.is_classification else "regression"
        print(f"  target {target.name}: {what}, known in {int(target.known.sum())} rows")


def main(_):
    """Flags in, cross-validation, table out."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    script, options = flags.read(ScriptOptions), flags.read(TabularOptions)
    if not (script.output_dir or script.dry_run):
        raise DataError("--output_dir: expected a folder for the results, received none (--dry_run needs none)")
    schema = read_schema(script.schema_file).with_weights(script.task_weights)
    from medtop.tabular.table_data import load

    data = load(script.data_file, schema)
    _describe(data)
    if script.dry_run:
        return
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(variable, "1")  # matrices this small are slower, and not repeatable, on many threads
    from medtop.tabular.cross_validation import SINGLE_TASK, CrossValidation, open_folder
    from medtop.tabular.measures import measure
    from medtop.tabular.results import differences, table, write_results

    validation = CrossValidation(
        data, options, script.methods(), script.folds
    )  # refuses wrong folds before a folder is there
    validation.folder = open_folder(
        script.output_dir, schema, script.data_file, options, script.folds, script.overwrite
    )
    predictions, histories = validation.run()
    measured = measure(data.targets, predictions, data.groups, script.num_bootstrap, options.seed, SINGLE_TASK)
    folder, folds = script.output_dir, validation.folds
    write_results(
        *(folder, data, folds, predictions, histories, measured),
        *(script.plot, script.quote_formulas, script.min_cell),
    )
    print(table(data, measured))
    if (compared := differences(data, measured, SINGLE_TASK)) is not None:
        print("\n" + compared)
    print(
        f"\nresults: {folder}/metrics.json, restricted/predictions.csv, train_log.jsonl"
        + (f"; curves: {folder}/balancing.html, training-*.html" if script.plot else "")
    )
    print(f"next: tensorboard --logdir={folder}/tensorboard")


if __name__ == "__main__":
    commands.run(main)
