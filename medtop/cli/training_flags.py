"""The trainers' command: flags (docs/contract.md, "Flags shared by the trainers"), plan, run. No TensorFlow here."""

import dataclasses

from medtop.cli import flags, hints
from medtop.files.bounded import whole_number
from medtop.files.errors import DataError
from medtop.files.options import option
from medtop.runs.plan import plan_run
from medtop.training.options import TrainingOptions
from medtop.training.run_directory import results_directory


@dataclasses.dataclass(frozen=True)
class DriverOptions:
    """What a trainer's script asks beside what is trained."""

    early_stopping: str = option("", "metric:patience: stop after so many epochs without a better metric.")
    resume: bool = option(True, "Go on with a run that is in --output_dir; --noresume refuses.")
    overwrite: bool = option(False, "Remove a run that is in --output_dir first.")


def define(flag_values=None, **defaults):
    """Defines the flags of a trainer script.

    Args:
        flag_values: where; absl's own set by default.
        **defaults: those that this script has instead of the options' own, such as `tasks=("masked_lm",)`.
    """
    flags.define(TrainingOptions, DriverOptions, flag_values=flag_values, **defaults)


def options_from(flag_values=None):
    """`TrainingOptions` out of parsed flags.

    Args:
        flag_values: the flags' set; absl's own by default.

    Raises:
        DataError: for a flag whose text has the wrong form.
    """
    driver = flags.read(DriverOptions, flag_values=flag_values)
    metric, colon, patience = driver.early_stopping.rpartition(":")
    patience = whole_number(patience)
    if driver.early_stopping and not (colon and metric and patience is not None and patience >= 0):
        raise DataError(
            f"--early_stopping: expected metric:patience, such as loss:3, received {driver.early_stopping!r}"
        )
    options = flags.read(TrainingOptions, flag_values=flag_values, patience=patience or 0)
    if metric and options.best_metric and metric != options.best_metric:
        raise DataError(
            f"--early_stopping: expected the metric of --best_metric ({options.best_metric}), received {metric!r}"
        )
    return dataclasses.replace(options, best_metric=options.best_metric or metric)


def execute_plan(plan, driver, command):
    """Executes a plan; the examples are admissions where `aggregation` says how windows become one, else patients.

    Args:
        plan: `medtop.training.options.TrainingPlan`.
        driver: `DriverOptions`.
        command: the command line, for the model card.

    Returns:
        `medtop.runs.results.Results`, or None without `do_eval`.
    """
    from medtop.evaluation.patients import PatientEvaluation  # here: they load TensorFlow
    from medtop.readmission.evaluation import AdmissionEvaluation
    from medtop.runs.execute import execute

    evaluation = PatientEvaluation if plan.options.aggregation == "none" else AdmissionEvaluation
    return execute(plan.options, driver.resume, driver.overwrite, command, plan=plan, evaluation=evaluation)


def run_trainer(script, say, command, flag_values=None):
    """What both trainer scripts do: check the flags, train, evaluate, tell the results and the next command.

    Args:
        script: its file name.
        say: function that shows a line to the user.
        command: the command line, for the model card.
        flag_values: the parsed flags; absl's own set by default.
    """
    options, driver = options_from(flag_values), flags.read(DriverOptions, flag_values=flag_values)
    plan = plan_run(options)  # refuses wrong flags in the first second, before TensorFlow is loaded
    results = execute_plan(plan, driver, command)
    if results is not None:
        say(results.table)
        say(f"report: {results_directory(options).report_file}")
    say(f"next: {hints.after_run(plan, script, results is not None)}")
