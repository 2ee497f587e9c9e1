"""The plan of a whole run, made once: what a command asks for, checked before TensorFlow is loaded."""

import dataclasses

from medtop.files.errors import DataError
from medtop.training.options import make_plan
from medtop.training.run_directory import RunDirectory


def plan_run(options):
    """The plan of a training, or of the evaluation of the run in `output_dir` (its own config and tasks).

    Args:
        options: `TrainingOptions`.

    Raises:
        DataError: as `make_plan`; for records that the run was not trained for.
    """
    if options.do_train or not options.do_eval:
        return make_plan(options)
    run = RunDirectory(options.output_dir)
    config, vocabulary, tasks = run.read()
    settings = run.settings()
    as_trained = {
        name: settings[name]
        for name in ("max_seq_length", "max_predictions_per_seq", "masked_lm_prob")
        if getattr(options, name) is None
    }
    for name, default in (("whole_word_masking", False), ("train_patients", 0), ("freeze_encoder", False)):
        as_trained[name] = settings.get(name, default)
    plan = make_plan(dataclasses.replace(options, tasks=None, **as_trained), config, tasks)
    if plan.vocabulary != vocabulary:
        raise DataError(
            f"{run.vocabulary_file}: expected the vocabulary of the data ({len(plan.vocabulary)} tokens), "
            f"received another run's ({len(vocabulary)} tokens)"
        )
    for info in filter(None, (plan.valid, plan.test)):
        run.check_records(info)
    return plan
