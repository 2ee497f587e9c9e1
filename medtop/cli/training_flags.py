"""The trainers' flags (CONTRACT 7), defined once and turned into one `TrainingOptions`. No TensorFlow here."""

import dataclasses

from absl import flags

from medtop.files.errors import DataError
from medtop.training.options import AGGREGATIONS, JIT_COMPILE, LOSS_BALANCING, STRATEGIES, TrainingOptions, make_plan
from medtop.training.run_directory import RunDirectory


def define(tasks=None):
    """Defines the flags of a trainer script.

    Args:
        tasks: default of `--tasks`, a comma list; None = every task that the data offer.
    """
    flags.DEFINE_string("input_file", "", "TFRecord files to train on: a name, glob or comma list.")
    flags.DEFINE_string("valid_file", "", "TFRecord files for validation: best weights, thresholds, calibration.")
    flags.DEFINE_string("test_file", "", "TFRecord files that are scored once, at the end.")
    flags.DEFINE_string("output_dir", None, "Run directory.", required=True)
    flags.DEFINE_string("bert_config_file", "", "Model configuration (JSON); medtop/configs holds three.")
    flags.DEFINE_string("init_checkpoint", "", "Run directory to take the encoder and the heads that fit from.")
    flags.DEFINE_bool("remap_vocab", False, "With --init_checkpoint and another vocabulary: take embeddings by code.")
    flags.DEFINE_bool("do_train", False, "Train.")
    flags.DEFINE_bool("do_eval", False, "Evaluate the best weights on validation and test.")
    flags.DEFINE_list(
        "tasks", tasks, "Tasks to train, such as masked_lm,long_stay,complications; default: all in the data."
    )
    flags.DEFINE_list("task_weights", [], "Factors of the tasks' losses: name:number,...; default 1.")
    flags.DEFINE_multi_string(
        "class_weights",
        [],
        "Positive weights of a task's labels: name:number,number,...; may be "
        "given once per task. Probabilities are corrected back.",
    )
    flags.DEFINE_enum(
        "loss_balancing", "fixed", LOSS_BALANCING, "How the losses' weights are found; --task_weights multiply them."
    )
    flags.DEFINE_float("balancing_learning_rate", 0.025, "Of the optimizer of uncertainty and gradnorm.")
    flags.DEFINE_integer("telemetry_steps", 100, "Steps between log rows on the tasks' gradients; 0 = never.")
    flags.DEFINE_integer("max_seq_length", None, "Longest row; longer histories keep [CLS] and the latest codes.")
    flags.DEFINE_integer("max_predictions_per_seq", None, "Most masked codes of a patient.")
    flags.DEFINE_float("masked_lm_prob", None, "Share of codes that are selected for prediction.")
    flags.DEFINE_bool("whole_word_masking", False, "Notes: mask all pieces of a word together.")
    flags.DEFINE_integer("train_batch_size", 32, "Patients in a training batch.")
    flags.DEFINE_integer("eval_batch_size", 64, "Patients in an evaluation batch.")
    flags.DEFINE_float("learning_rate", 5e-5, "Peak learning rate of AdamW.")
    flags.DEFINE_float("weight_decay", 0.01, "AdamW's weight decay; none on LayerNorm and biases.")
    flags.DEFINE_bool("packing", False, "Several patients share a row in training; attention stays within a patient.")
    flags.DEFINE_string("row_lengths", "auto", "Lengths of training rows, such as 64,512; auto: by the data.")
    flags.DEFINE_integer("num_train_steps", 0, "Training steps; 0 = num_train_epochs.")
    flags.DEFINE_integer("num_train_epochs", 10, "Passes over the training data, unless num_train_steps is given.")
    flags.DEFINE_integer("num_warmup_steps", -1, "Steps of linear warm-up; -1 = a tenth of all steps.")
    flags.DEFINE_integer(
        "save_checkpoints_steps", 1000, "Steps between checkpoints; one more is written after each epoch."
    )
    flags.DEFINE_float("save_checkpoints_minutes", 0.0, "Minutes between checkpoints, besides; 0 = by steps only.")
    flags.DEFINE_integer("keep_checkpoints", 3, "How many of the newest checkpoints are kept.")
    flags.DEFINE_integer("max_eval_steps", 0, "Batches for the measures of masked codes while training; 0 = all.")
    flags.DEFINE_string(
        "best_metric",
        "",
        "Validation measure that chooses the best weights: loss, <task>.loss, "
        "<task>.<label>.<metric>, or roc_auc (mean over tasks of macro ROC AUC); default roc_auc, else loss.",
    )
    flags.DEFINE_string("early_stopping", "", "metric:patience: stop after so many epochs without a better metric.")
    flags.DEFINE_integer("seed", 0, "Seed of weights, order, masks and dropout.")
    flags.DEFINE_bool("deterministic", False, "Bit-identical results on the same machine and versions; slower.")
    flags.DEFINE_enum("precision", "float32", ["float32", "mixed_bfloat16"], "Number format of the computations.")
    flags.DEFINE_enum(
        "jit_compile", "auto", JIT_COMPILE, "Compile the step with XLA, once for each shape of a batch; auto: on GPUs."
    )
    flags.DEFINE_integer(
        "steps_per_execution", 1, "Steps that are started before the first one's results are read: keeps a GPU busy."
    )
    flags.DEFINE_bool("profile", False, "Measure where a step's time goes: profile.json, and a trace for TensorBoard.")
    flags.DEFINE_enum(
        "distribution_strategy",
        "one_device",
        STRATEGIES,
        "one_device; mirrored: all devices of this machine; multi_worker_mirrored: the machines that TF_CONFIG names.",
    )
    flags.DEFINE_integer("num_gpus", None, "GPUs of this machine to use; default: all.")
    flags.DEFINE_integer(
        "gradient_accumulation_steps", 1, "Parts that a batch is computed in, to save memory; the same result."
    )
    flags.DEFINE_string(
        "balanced_sampling", "", "<task>.<label> whose positives and negatives are seen equally often in training."
    )
    flags.DEFINE_enum(
        "aggregation",
        "none",
        AGGREGATIONS,
        "Notes: how windows become one prediction per admission; none: each window is an example.",
    )
    flags.DEFINE_float("aggregation_c", 2.0, "Of the aggregation max_mean; 0 = the best one on validation.")
    flags.DEFINE_bool("resume", True, "Go on with a run that is in --output_dir; --noresume refuses.")
    flags.DEFINE_bool("overwrite", False, "Remove a run that is in --output_dir first.")
    flags.DEFINE_bool("strict", False, "Refuse what is otherwise clipped and counted.")
    flags.DEFINE_bool("baselines", True, "Fit count baselines on the same splits and compare.")
    flags.DEFINE_string("codes_predictions", "", "predictions.csv of another run on the same examples, to compare.")
    flags.DEFINE_string("true_risk_file", "", "True risks of a generated cohort: adds the best reachable ROC AUC.")
    flags.DEFINE_bool("plot", False, "Draw losses, weights and gradients over steps after each epoch: training.html.")
    flags.DEFINE_integer("num_bootstrap", 1000, "Resamples of patients for the intervals.")


def _pairs(items, flag, numbers):
    """`name:number` items as a dict; `numbers` says whether a value is a list of numbers."""
    result = {}
    for item in items:
        name, colon, text = item.partition(":")
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = ()
        if not colon or not name or not values or (not numbers and len(values) != 1):
            raise DataError(f"--{flag}: expected name:number{',number,...' if numbers else ''}, received {item!r}")
        if name in result:
            raise DataError(f"--{flag}: expected each task once, received {name!r} twice")
        result[name] = values if numbers else values[0]
    return result


def options_from(values):
    """`TrainingOptions` out of parsed flags.

    Args:
        values: `absl.flags.FLAGS`.

    Raises:
        DataError: for a flag whose text has the wrong form.
    """
    metric, colon, patience = values.early_stopping.rpartition(":")
    if values.early_stopping and not (colon and metric and patience.isdigit()):
        raise DataError(
            f"--early_stopping: expected metric:patience, such as loss:3, received {values.early_stopping!r}"
        )
    if metric and values.best_metric and metric != values.best_metric:
        raise DataError(
            f"--early_stopping: expected the metric of --best_metric ({values.best_metric}), received {metric!r}"
        )
    same = (
        "input_file",
        "valid_file",
        "test_file",
        "output_dir",
        "bert_config_file",
        "init_checkpoint",
        "remap_vocab",
        "do_train",
        "do_eval",
        "max_seq_length",
        "max_predictions_per_seq",
        "masked_lm_prob",
        "whole_word_masking",
        "train_batch_size",
        "eval_batch_size",
        "learning_rate",
        "weight_decay",
        "num_train_steps",
        "num_train_epochs",
        "num_warmup_steps",
        "save_checkpoints_steps",
        "max_eval_steps",
        "seed",
        "deterministic",
        "loss_balancing",
        "balancing_learning_rate",
        "telemetry_steps",
        "packing",
        "row_lengths",
        "precision",
        "jit_compile",
        "steps_per_execution",
        "profile",
        "save_checkpoints_minutes",
        "keep_checkpoints",
        "distribution_strategy",
        "num_gpus",
        "gradient_accumulation_steps",
        "balanced_sampling",
        "aggregation",
        "aggregation_c",
        "strict",
        "baselines",
        "codes_predictions",
        "true_risk_file",
        "num_bootstrap",
        "plot",
    )
    return TrainingOptions(
        **{name: getattr(values, name) for name in same},
        tasks=tuple(values.tasks) if values.tasks else None,
        task_weights=_pairs(values.task_weights, "task_weights", numbers=False),
        class_weights=_pairs(values.class_weights, "class_weights", numbers=True),
        best_metric=values.best_metric or metric,
        patience=int(patience) if patience else 0,
    )


def run_trainer(values, say, command):
    """What both trainer scripts do: check the flags, train, evaluate, tell the results and the next command.

    Args:
        values: `absl.flags.FLAGS`, parsed.
        say: function that shows a line to the user.
        command: the command line, for the model card.
    """
    options = options_from(values)
    # Refuses wrong flags in the first second, before TensorFlow is loaded.
    if options.do_train or not options.do_eval:
        make_plan(options)
    else:
        config, _, tasks = RunDirectory(options.output_dir).read()
        make_plan(dataclasses.replace(options, tasks=None), config, tasks)
    from medtop.runs.execute import execute

    results = execute(options, values.resume, values.overwrite, command)
    if results is not None:
        say(results.table)
        say(f"report: {options.output_dir}/report.html")
    what = "--do_eval --valid_file=... --test_file=..." if results is None else None
    say(
        f"next: python run_scripts/run_toppretraining.py --output_dir={options.output_dir} {what}"
        if what
        else f"next: python run_scripts/run_prediction.py --run_dir={options.output_dir} --input_file=<TFRecord> "
        f"--output_file=new_predictions.csv"
    )
