"""One run from options to result files: start or go on, train, evaluate, report."""

import contextlib
import datetime
import json
import logging

import keras

import medtop
from medtop.data.checks import check_splits, first_look, patients_of
from medtop.evaluation.clinical import calibration_in_brief
from medtop.evaluation.patients import PatientEvaluation
from medtop.files.errors import DataError
from medtop.files.locks import PRIVATE_FOLDER
from medtop.files.options import plain_defaults
from medtop.model.multitask import build_model
from medtop.reporting.page import write_report
from medtop.reporting.small_counts import shown_manifest
from medtop.runs.model_card import write_run_card
from medtop.runs.plan import plan_run
from medtop.runs.reporting_items import versions, write_reporting_items
from medtop.runs.results import evaluate_run
from medtop.training.code_start import start_codes
from medtop.training.distribution import start
from medtop.training.log import read_log
from medtop.training.run_directory import EvaluationDirectory, RunDirectory
from medtop.training.start_from import check_patients, check_source, initialise
from medtop.training.subset import chosen_of, with_subset
from medtop.training.trainer import Trainer, load_best
from medtop.training.wide_files import stack_lines, write_coefficients
from medtop.training.wide_part import fit_stack, fit_wide

logger = logging.getLogger(__name__)


def execute(options, resume=True, overwrite=False, command="", *, plan=None, evaluation=PatientEvaluation):
    """Trains and evaluates as the options say.

    Args:
        options: `TrainingOptions`.
        resume: go on with a run that is in `output_dir`; False refuses.
        overwrite: remove a run that is there first.
        command: the command line, for the model card.
        plan: what `medtop.runs.plan.plan_run` made of the options, where that is done already.
        evaluation: class that says what the examples are: patients, or admissions
            (`medtop.readmission.evaluation.AdmissionEvaluation`, with `aggregation`).

    Returns:
        `medtop.runs.results.Results`, or None without `do_eval`.

    Raises:
        DataError: for bad input, or a run in `output_dir` that was started with other settings.
        Stopped: after SIGTERM, when the state is saved.
    """
    run, plan = RunDirectory(options.output_dir), plan or plan_run(options)
    if options.do_eval:
        evaluation.check(options)
    if not options.do_train:
        return _evaluate_only(plan, run, evaluation)
    distribution = start(options.distribution_strategy, options.num_gpus)  # before any other work of TensorFlow
    with contextlib.ExitStack() as stack:
        if distribution.is_chief:  # who alone writes
            stack.enter_context(run.locked())
            _open(run, plan, resume, overwrite)
        plan = with_subset(plan, run)
        trainer = Trainer(plan, run, distribution)
        if distribution.is_chief and options.init_checkpoint and not trainer.checkpoints.paths():
            taken = initialise(trainer.model, plan, options.init_checkpoint, options.remap_vocab)
            logger.info(
                "from %s: %d weights taken, %d start at random; %d of %d codes known there",
                options.init_checkpoint,
                len(taken.weights),
                len(taken.left),
                taken.codes,
                taken.of,
            )
        only = plan.options.wide == "only"
        if distribution.is_chief and plan.config.code_start != "random" and not trainer.checkpoints.paths():
            start_codes(trainer.model, plan)
        if plan.config.wide_days and distribution.is_chief:
            fit_wide(plan, run)
        if not only:
            trainer.train()
        if plan.config.wide_days and distribution.is_chief:
            if not only:
                load_best(trainer.model, run)
            fit_stack(plan, run, trainer.model, only)
        results = None
        if options.do_eval and distribution.is_chief:
            # A wide part joins the model after training: what scored the encoder alone is of no use then.
            known = trainer.scorer is not None and not plan.config.wide_days
            scorers = {"valid": trainer.scorer} if known else {}
            results = _evaluate(trainer.model, plan, run, command, evaluation, scorers)
        distribution.broadcast_state({})  # nobody leaves before the chief is done
        return results


def _open(run, plan, resume, overwrite):
    """Begins a run in its folder, or checks that the one that is there may go on."""
    settings = json.loads(json.dumps(plan.options.settings()))  # as it will be read back: tuples become lists
    settings["data"] = {name: _fingerprint(info) for name, info in (("train", plan.train), ("valid", plan.valid))}
    settings |= {f"config.{name}": value for name, value in plan.config.to_dict().items()}
    if run.exists() and not overwrite:
        if not resume:
            raise DataError(f"{run.path}: expected a new folder (--noresume), found a run; --overwrite removes it")
        defaults = plain_defaults(plan.options)
        defaults |= {f"config.{name}": value for name, value in plain_defaults(plan.config).items()}
        if differences := run.differences(settings, defaults):
            raise DataError(
                f"{run.path}: expected the settings that the run was started with, received others: "
                f"{'; '.join(differences)}; --overwrite starts anew"
            )
        return
    if plan.options.init_checkpoint:
        check_source(plan, plan.options.init_checkpoint, plan.options.remap_vocab)
    look = first_look({"train": plan.train, "valid": plan.valid, "test": plan.test}, plan.config)
    check_splits(look.patients)
    chosen_of(plan, look.patients)  # refuses more than there are
    if plan.options.init_checkpoint:
        check_patients(plan, plan.options.init_checkpoint, look.patients)
    for name, (count, largest, last) in look.clipped.items():
        if plan.options.strict:
            raise DataError(
                f"embedding {name}: expected ids up to {last} (the config's table), received {largest} (--strict)"
            )
        logger.warning(
            "embedding %s: %d tokens lie beyond its table (up to %d) and are clipped to its last row, %d",
            name,
            count,
            largest,
            last,
        )
    if run.exists():
        run.clear()  # only now: a refused command leaves the earlier run whole
    run.write_splits(chosen_of(plan, look.patients))
    manifest = next(iter(plan.train.source_manifests), None)
    origin = manifest.get("vocabulary") if isinstance(manifest, dict) else None
    run.start(settings, plan.config, plan.vocabulary, plan.tasks, origin)


def _fingerprint(info):
    """What tells one data set from another without reading it."""
    return (
        None
        if info is None
        else {
            "vocabulary": info.vocabulary.hash,
            "counts": info.counts["examples"],
            "tokens": info.counts["tokens"],
            "layout": info.layout.name,
            "time_gap": info.time_gap,
            "visit_separator": info.visit_separator,
            **({} if info.tokenizer is None else {"tokenizer": info.tokenizer}),
        }
    )


def _check_not_trained_on(run, plan):
    """Refuses to evaluate on patients that the run was trained on: a later command may name other files."""
    begun = run.read_splits()
    given = patients_of({"valid": plan.valid, "test": plan.test})
    check_splits(
        {
            "train": begun.get("train", []),
            "valid": [*begun.get("valid", []), *given.get("valid", [])],
            "test": given.get("test", []),
        }
    )


def _evaluate(model, plan, run, command, evaluation, scorers):
    _check_not_trained_on(run, plan)
    step = load_best(model, run)
    results = evaluate_run(model, plan, run, step, evaluation, scorers)
    shown = results.shown(plan.options.min_cell)
    _report(run, plan, shown, step)
    if model.wide is not None:
        write_coefficients(run, plan.vocabulary, plan.options.quote_formulas)
    write_run_card(run, plan, shown, step, command)
    write_reporting_items(run, plan, shown, command)
    return results


def _report(run, plan, results, step):
    """Writes `report.html` out of what the run and its data say."""
    split = results.split
    models = {task: (scores, results.probabilities[split][task]) for task, scores in results.predictions[split].items()}
    info = plan.train or plan.valid or plan.test
    facts = {
        "run directory": run.path,
        "tasks": ", ".join(task.name for task in plan.tasks),
        "weights of step": step,
        "seed": plan.options.seed,
        "embeddings": ", ".join(plan.config.embeddings),
        **stack_lines(run),
        "evaluated on": datetime.date.today().isoformat(),
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    write_report(
        run.report_file,
        title=f"Results of {run.path.name}",
        metrics=results.metrics,
        split=split,
        results=models,
        baselines=results.baselines.get(split),
        uncalibrated={task: results.uncalibrated(scores) for task, (scores, _) in models.items()},
        comparison=results.comparison[split],
        calibration={task: calibration_in_brief(*pair, seed=plan.options.seed) for task, pair in models.items()},
        train_log=[*read_log(run.log_file), *read_log(run.eval_log_file)],
        manifest=shown_manifest(next(iter(info.source_manifests), None), plan.options.min_cell),
        model=_model_facts(plan, results),
        facts=facts,
        notes=results.baseline_reasons,
    )


def _model_facts(plan, results):
    """What the paragraph on methods says of the model and its evaluation."""
    return {
        "version": medtop.__version__,
        "parts": {"only": "wide", "stack": "both"}.get(plan.options.wide, "encoder"),
        "wide_days": plan.config.wide_days,
        "layers": plan.config.num_blocks,
        "head": plan.config.head,
        "frozen": plan.options.freeze_encoder,
        "width": plan.config.hidden_size,
        "embeddings": plan.config.embeddings,
        "tasks": [task.name for task in plan.tasks],
        "seed": plan.options.seed,
        "num_bootstrap": plan.options.num_bootstrap,
        "calibration": [calibration.method for calibration in results.calibrations.values()],
        "baselines": list(results.baselines.get(results.split, {})),
    }


def _evaluate_only(plan, run, evaluation):
    """Evaluates the run in `output_dir` on the files that the plan names."""
    with run.locked():
        if plan.options.eval_name:
            if not run.calibration_file.is_file():
                raise DataError(
                    f"{run.path}: expected a run that has been evaluated (--do_eval with its own files fits the "
                    "calibration that --eval_name keeps), found none"
                )
            run = EvaluationDirectory(run, plan.options.eval_name)
            run.path.mkdir(parents=True, exist_ok=True)
            run.restricted.mkdir(PRIVATE_FOLDER, exist_ok=True)
        keras.utils.set_random_seed(plan.options.seed)
        plan = with_subset(plan, run, run.settings()["seed"])
        return _evaluate(build_model(plan.config, plan.tasks), plan, run, "", evaluation, {})
