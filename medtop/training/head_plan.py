"""What `--head`, `--body`, `--code_start`, `--freeze_encoder`, `--train_patients` ask for, checked before Keras."""

import dataclasses

from medtop.files.errors import DataError


def with_head(options, config):
    """The `BertConfig` with the head and the body that the flags name.

    With --init_checkpoint the codes start from its weights: what its configuration says of their start is how those
    began.

    Raises:
        DataError: for two that do not go together.
    """
    named = {
        name: getattr(options, name) for name in ("head", "body", "code_start") if getattr(options, name) is not None
    }
    start = {"code_start": "random"} if options.init_checkpoint else {}
    try:
        return dataclasses.replace(config, **(start | named))
    except DataError as error:
        flags = " ".join(f"--{name}={value}" for name, value in named.items())
        raise DataError(f"{flags or '--bert_config_file'}: {error}") from None


def for_head(options, config, tasks):
    """(options, tasks) of a run with this head and body, or with a frozen encoder.

    Where nothing can learn masked codes, the tasks are the patients', unless masked codes were asked for by name.

    Args:
        options: `TrainingOptions`.
        config: `BertConfig` of `with_head`.
        tasks: list of `Task`.

    Raises:
        DataError: naming the flag.
    """
    if options.train_patients and options.distribution_strategy == "multi_worker_mirrored":
        raise DataError(
            "--train_patients: expected one machine (--distribution_strategy=one_device or mirrored), received "
            "multi_worker_mirrored"
        )
    if config.code_start != "random" and options.init_checkpoint:
        raise DataError(f"--code_start={config.code_start} has no effect with --init_checkpoint: leave one of them out")
    what = _what(options, config)
    if not what:
        return options, tasks
    patient = [task for task in tasks if task.level == "patient"]
    if not patient:
        names = ", ".join(task.name for task in tasks)
        raise DataError(f"{what}: expected a patient-level task, received {names}")
    if options.wide == "only":
        raise DataError(f"{what} has no effect with --wide=only, which trains no encoder: leave one of them out")
    if options.freeze_encoder:
        _check_frozen(options, config)
        options = dataclasses.replace(options, telemetry_steps=0)  # nothing is shared whose gradients could be compared
    if options.freeze_encoder or config.body == "embeddings":
        masked = [task.name for task in tasks if task.level == "masked"]
        if masked and options.tasks is not None:
            why = "the encoder is frozen" if options.freeze_encoder else "plain vectors see no neighbours"
            raise DataError(f"--tasks: expected no {masked[0]} with {what} ({why}), received {','.join(options.tasks)}")
        tasks = patient
    return options, tasks


def _what(options, config):
    """The first flag, or key of the configuration, that asks for something else than BERT with linear heads."""
    if options.freeze_encoder:
        return "--freeze_encoder"
    if config.head != "linear":
        return f"--head={config.head}"
    return f"--body={config.body}" if config.body != "bert" else ""


def _check_frozen(options, config):
    if not options.init_checkpoint and (config.body, config.code_start) != ("embeddings", "ppmi"):
        raise DataError(
            "--freeze_encoder needs --init_checkpoint, or --body=embeddings --code_start=ppmi: an encoder that starts "
            "at random would stay so"
        )
    if options.loss_balancing == "gradnorm":
        raise DataError(
            "--loss_balancing=gradnorm: expected an encoder that is trained, whose gradients it compares, received "
            "--freeze_encoder"
        )
