"""What a paper needs beside the results: the TRIPOD+AI checklist and Table 1, in the run directory."""

import datetime
import platform

import medtop
from medtop.data.tfrecord import read_examples
from medtop.evaluation.table_one import characteristics, table_one, write_table_one
from medtop.reporting.small_counts import shown_manifest
from medtop.reporting.tripod import write_tripod


def versions():
    """dict package -> version of what computed a run's results."""
    import keras
    import numpy
    import tensorflow

    packages = {"Keras": keras, "NumPy": numpy, "TensorFlow": tensorflow}
    return {"medtop": medtop.__version__, "Python": platform.python_version()} | {
        name: package.__version__ for name, package in packages.items()
    }


def write_reporting_items(run, plan, results, command=""):
    """Writes `tripod.md` and, for records of codes with patients, `table_one.csv`.

    Args:
        run: `RunDirectory`.
        plan: `medtop.training.options.TrainingPlan`.
        results: `medtop.runs.results.Results`, as it is shown.
        command: command line that made the run.
    """
    info = plan.train or plan.valid or plan.test
    facts = {
        "manifest": shown_manifest(next(iter(info.source_manifests), None), plan.options.min_cell),
        "settings": plan.options.settings(),
        "config": plan.config.to_dict(),
        "metrics": results.metrics,
        "split": results.split,
        "calibrations": {task: calibration.to_dict() for task, calibration in results.calibrations.items()},
        "baselines": list(results.baselines.get(results.split, {})),
        "commands": [command] if command else [],
        "version": medtop.__version__,
        "versions": versions(),
        "parts": {"only": "wide", "stack": "both"}.get(plan.options.wide, "encoder"),
        "date": datetime.date.today().isoformat(),
    }
    write_tripod(run.tripod_file, facts)
    tasks = [task for task in plan.tasks if task.level == "patient"]
    if not tasks or not {"age_days", "sex"} <= {field.name for field in info.layout.fields}:
        return
    by_split = {
        split: characteristics(read_examples(part), tasks)
        for split, part in (("train", plan.train), ("valid", plan.valid), ("test", plan.test))
        if part is not None
    }
    manifest = facts["manifest"] or {}
    observed = [manifest.get(f"days_observed_{how}") for how in ("after_prediction", "by_outcome")]
    rows = table_one(by_split, *observed, min_cell=plan.options.min_cell)
    write_table_one(run.table_one_file, rows, plan.options.quote_formulas)
