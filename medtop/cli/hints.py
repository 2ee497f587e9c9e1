"""The command that follows a script's last line: the right script, and the right flags for the split at hand.

`<...>` stands for what only the user knows. tests/cli/test_hints.py parses each command with the flags of its script
and makes its plan.
"""

import shlex

RUN = "<folder of a run>"


def _command(script, *words, **flags):
    """`python run_scripts/<script> <words> --flag=value ...`, values quoted where a shell would read them."""
    given = [f"--{name}={value if value.startswith('<') else shlex.quote(value)}" for name, value in flags.items()]
    return " ".join([f"python run_scripts/{script}", *words, *given])


def after_records(info, script, output_file, *words):
    """What follows a feature script: training for the training split, evaluation for the test split, and so on.

    Args:
        info: `DatasetInfo` of the records.
        script: the trainer for such records.
        output_file: name of the data set, as the user gave it.
        *words: further flags of the training, such as "--tasks=masked_lm,next_sentence".
    """
    known = sum(counts["known"] for labels in info.labels.values() for counts in labels.values())
    if info.split == "test" and not known:  # nothing to evaluate: new patients
        flags = {"run_dir": RUN, "input_file": output_file, "output_file": "new_predictions.csv"}
        return _command("run_prediction.py", **flags)
    if info.split == "test":
        return _command(script, "--do_eval", output_dir=RUN, test_file=output_file)
    train = {"bert_config_file": "<config.json>", "output_dir": "<folder>"}
    files = {"input_file": output_file}
    if info.split == "valid":
        files = {"input_file": "<training records>", "valid_file": output_file}
    return _command(script, "--do_train", *words, **train, **files)


def after_run(plan, script, evaluated):
    """What follows a trainer: the evaluation that is still missing, predictions, or fine-tuning of what was pretrained.

    Args:
        plan: `medtop.training.options.TrainingPlan`.
        script: the trainer's own file name.
        evaluated: whether this command has evaluated.
    """
    folder = plan.options.output_dir
    if not evaluated:
        files = {"valid_file": "<validation records>", "test_file": "<test records>"}
        return _command(script, "--do_eval", output_dir=folder, **files)
    info = plan.train or plan.valid or plan.test
    pretrained = not any(task.level == "patient" for task in plan.tasks)
    if pretrained or (info.layout.has_windows and plan.options.aggregation == "none"):
        return after_import(folder, info.layout.has_windows)
    flags = {"run_dir": folder, "input_file": "<TFRecord>", "output_file": "new_predictions.csv"}
    return _command("run_prediction.py", **flags)


def after_import(folder, of_text):
    """Fine-tuning of weights that lie in a run directory; `of_text`: whether they read word pieces."""
    if of_text:
        texts = {"data_dir": "<texts>", "output_dir": "<folder>"}
        return _command("run_readmission.py", "--do_train", "--do_eval", init_checkpoint=folder, **texts)
    files = {"bert_config_file": f"{folder}/config.json", "input_file": "<training records>", "output_dir": "<folder>"}
    return _command("run_toppretraining.py", "--do_train", init_checkpoint=folder, **files)


def after_texts(prefix):
    """What follows a script that wrote texts under a prefix: learning a vocabulary from the training split's."""
    train = shlex.quote(f"{prefix}.notes.train.parquet")
    return f"python preprocessing/learn_wordpiece_vocab.py --input_file={train} --output_file=vocab.txt"
