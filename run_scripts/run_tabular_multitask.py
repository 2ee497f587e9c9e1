"""Trains a shared trunk with one head per target on a table, by cross-validation, beside single-task networks and
scikit-learn baselines, and prints one table of held-out measures.

Example:
  python run_scripts/run_tabular_multitask.py --data_file=kidney_disease.csv \\
    --schema_file=medtop/configs/ckd_schema.json --output_dir=checkpoints/ckd --loss_balancing=uncertainty,gradnorm

The schema file says what the columns are (docs/tabular.md). Run the same command again to go on after a stop; with
other --loss_balancing, only the new methods are trained.
"""

import logging
import os
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.model.choices import BALANCERS  # noqa: E402
from medtop.tabular.options import TabularOptions  # noqa: E402
from medtop.tabular.schema import read_schema  # noqa: E402

flags.DEFINE_string("data_file", None, "The table: CSV (also .gz) or Parquet.", required=True)
flags.DEFINE_string("schema_file", None, "What its columns are (JSON); medtop/configs holds three.", required=True)
flags.DEFINE_string("output_dir", None, "Folder for the results.", required=True)
flags.DEFINE_list("loss_balancing", list(BALANCERS), f"Balancers to compare, among {', '.join(BALANCERS)}.")
flags.DEFINE_list("task_weights", [], "Factors of the tasks' weights: target:number,...; default: the schema's.")
flags.DEFINE_bool("single_task", True, "Also train one network per target.")
flags.DEFINE_bool("baselines", True, "Also fit scikit-learn's linear model and gradient boosting.")
flags.DEFINE_integer("folds", 5, "Number of folds.")
flags.DEFINE_list("hidden", [64, 32, 16], "Widths of the shared trunk's layers.")
flags.DEFINE_float("dropout", 0.0, "Dropout behind each trunk layer.")
flags.DEFINE_float("learning_rate", 1e-3, "AdamW's learning rate.")
flags.DEFINE_float("weight_decay", 1e-4, "AdamW's weight decay.")
flags.DEFINE_integer("batch_size", 32, "Rows in a batch.")
flags.DEFINE_integer("epochs", 200, "Most passes over the training rows.")
flags.DEFINE_integer("patience", 20, "Epochs without a better validation loss until training stops; 0 = never.")
flags.DEFINE_float("valid_share", 0.15, "Share of each fold's training rows that choose the epoch.")
flags.DEFINE_float("balancing_learning_rate", 0.025, "Of the optimizer of uncertainty and gradnorm.")
flags.DEFINE_float("gradnorm_alpha", 1.5, "GradNorm's alpha: how strongly tasks that learn slowly are preferred.")
flags.DEFINE_integer("seed", 0, "Seed of folds, weights and order.")
flags.DEFINE_integer("num_bootstrap", 1000, "Resamples of rows (groups) for the intervals.")
flags.DEFINE_bool("plot", False, "Draw losses, weights and gradients over epochs: training-<method>.html.")
flags.DEFINE_bool("overwrite", False, "Remove the results that are in --output_dir first.")
flags.DEFINE_bool("dry_run", False, "Check the table against the schema, say what is in it, train nothing.")


def _options(values):
    """`TabularOptions` out of the flags, checked."""
    names = (
        "dropout",
        "learning_rate",
        "weight_decay",
        "batch_size",
        "epochs",
        "patience",
        "valid_share",
        "balancing_learning_rate",
        "gradnorm_alpha",
        "seed",
    )
    try:
        hidden = tuple(int(width) for width in values.hidden)
    except ValueError:
        raise DataError(f"--hidden: expected whole numbers, received {','.join(values.hidden)!r}") from None
    return TabularOptions(hidden=hidden, **{name: getattr(values, name) for name in names}).check()


def _methods(values):
    wrong = [name for name in values.loss_balancing if name not in BALANCERS]
    if wrong:
        raise DataError(f"--loss_balancing: expected names among {', '.join(BALANCERS)}, received {wrong[0]!r}")
    methods = list(dict.fromkeys(values.loss_balancing)) + (["single_task"] if values.single_task else [])
    return [*methods, *(["linear", "gradient_boosting"] if values.baselines else []), "constant"]


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
    values = flags.FLAGS
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options, methods = _options(values), _methods(values)
    schema = read_schema(values.schema_file).with_weights(values.task_weights)
    from medtop.tabular.table_data import load

    data = load(values.data_file, schema)
    _describe(data)
    if values.dry_run:
        return
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(variable, "1")  # matrices this small are slower, and not repeatable, on many threads
    from medtop.tabular.cross_validation import SINGLE_TASK, CrossValidation, open_folder
    from medtop.tabular.measures import measure
    from medtop.tabular.results import differences, table, write_results

    validation = CrossValidation(data, options, methods, values.folds)  # refuses wrong folds before a folder is there
    validation.folder = open_folder(
        values.output_dir, schema, values.data_file, options, values.folds, values.overwrite
    )
    predictions, histories = validation.run()
    measured = measure(data.targets, predictions, data.groups, values.num_bootstrap, values.seed, SINGLE_TASK)
    write_results(values.output_dir, data, validation.folds, predictions, histories, measured, values.plot)
    print(table(data, measured))
    if (compared := differences(data, measured, SINGLE_TASK)) is not None:
        print("\n" + compared)
    folder = values.output_dir
    print(
        f"\nresults: {folder}/metrics.json, predictions.csv, train_log.jsonl"
        + (f"; curves: {folder}/training-*.html" if values.plot else "")
    )
    print(f"next: tensorboard --logdir={folder}/tensorboard")


if __name__ == "__main__":
    commands.run(main)
