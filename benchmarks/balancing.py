"""Which way of balancing losses is best, and does joint training help? On common, unweighted, held-out measures.

Cases: ckd (the UCI kidney table), hemodialysis (generated rows), scale (one loss 1,000 times the others), and
cohort_<patients>: top-BERT's three tasks on a generated cohort. Methods: fixed (weights chosen by hand), equal,
uncertainty, gradnorm and random train all tasks together; the controls are single_task (a network for each task) and,
for cohorts, pretrained (masked codes first, then the two patient-level tasks). Each finished cell (case, seed, method)
is a file in --work_dir; run the command again to go on after a stop, or with more seeds.

Example:
  python benchmarks/balancing.py --work_dir=checkpoints/balancing --ckd_file=kidney_disease.csv \\
    --cases=ckd,scale,cohort_1000 --seeds=1,2,3
"""

import dataclasses
import logging
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from comparison import cohort_runs  # noqa: E402
from comparison.cells import Cells  # noqa: E402

from medtop.cli import commands, flags  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.files.options import REQUIRED, option  # noqa: E402

TABULAR = ("ckd", "hemodialysis", "scale")
COHORTS = ("cohort_1000", "cohort_5000", "cohort_20000")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is compared, and where."""

    work_dir: str = option(REQUIRED, "Folder for cells, cohorts and runs.")
    cases: tuple = option((*TABULAR, *COHORTS), "Cases, in this order; cohort_<patients> may have any size.")
    seeds: tuple = option(("1", "2", "3"), "Seeds of generated data, folds and training.")
    methods: tuple = option(
        (), "Methods; default: each case's (cohorts of 20,000 or more: fixed, uncertainty, gradnorm)."
    )
    against: tuple = option(("single_task", "fixed"), "Methods that the others are compared with, pair by pair.")
    ckd_file: str = option("", "The UCI kidney table, for the case ckd.")
    num_train_epochs: int = option(cohort_runs.EPOCHS, "Cohorts: passes of each training stage.")
    trainer_flag: tuple = option((), "Cohorts: a further flag of the trainer, for all runs.", repeated=True)
    table_only: bool = option(False, "Compute nothing: the table of what is finished.")
    all_measures: bool = option(False, "Tables: also accuracy, macro-F1, mean absolute error and R2 of each target.")


flags.define(Options)


def _case(name, values):
    if name in TABULAR:
        if name == "ckd" and not Path(values.ckd_file).is_file():
            raise DataError(f"--ckd_file: expected the kidney table for the case ckd, received {values.ckd_file!r}")
        from comparison.tabular_case import TabularCase

        return TabularCase(name, values.work_dir, values.ckd_file)
    if not re.fullmatch(r"cohort_[1-9]\d*", name):
        raise DataError(f"--cases: expected {', '.join(TABULAR)} or cohort_<patients>, received {name!r}")
    from comparison.cohort_case import CohortCase

    return CohortCase(
        values.work_dir, int(name.removeprefix("cohort_")), values.num_train_epochs, list(values.trainer_flag)
    )


def _methods(case, values, possible):
    """The case's methods that are wanted, in its order: those that are not usual for its size only when named."""
    return [
        method
        for method in (possible if values.methods else case.methods)
        if not values.methods or method in values.methods
    ]


def main(_):
    """Computes the cells and prints the table."""
    values = flags.read(Options)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if not all(seed.isdigit() for seed in values.seeds):
        raise DataError(f"--seeds: expected whole numbers, received {','.join(values.seeds)!r}")
    from comparison.cohort_case import METHODS
    from comparison.seed_table import aligned, rows_of

    cases = [_case(name, values) for name in values.cases]
    unknown = sorted({*values.methods, *values.against} - {*METHODS, *(one for case in cases for one in case.methods)})
    if unknown:
        raise DataError(f"--methods, --against: expected methods of the cases, received {unknown[0]!r}")
    cells, rows = Cells(values.work_dir), []
    for case in cases:
        methods = _methods(case, values, METHODS if case.name.startswith("cohort") else case.methods)
        for seed in () if values.table_only else values.seeds:
            for method in methods:
                cells.measured(case, seed, method)
        for seed in () if values.table_only else values.seeds:
            for method in methods:
                for other in values.against:
                    if other != method:
                        cells.difference(case, seed, method, other)
        every = values.all_measures or case.name not in TABULAR
        rows += rows_of(
            case,
            cells,
            values.seeds,
            methods,
            values.against,
            lambda name, every=every: every or name.endswith("skill"),
        )
    header = [
        "case",
        "measure",
        "method",
        "seeds",
        "held-out value [95%]",
        *(f"minus {other} [95%]" for other in values.against),
        "seconds",
    ]
    print(aligned([header, *rows]))


if __name__ == "__main__":
    commands.run(main)
