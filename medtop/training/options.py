"""What a training run is asked to do. Checked here, before TensorFlow is loaded."""

import dataclasses
import math
import os
import re
from pathlib import Path

from medtop.data.description import read_dataset
from medtop.data.fields import check_inputs
from medtop.files.bounded import whole_number
from medtop.files.errors import DataError
from medtop.files.formulas import quote_option
from medtop.files.options import SEED, Rule, above, at_least, check, compared, option, share
from medtop.model.choices import BALANCERS
from medtop.model.config import BODIES, CODE_STARTS, PATIENT_HEADS, BertConfig
from medtop.model.tasks import choose_tasks
from medtop.text.tags import scheme_of
from medtop.training.cluster import read_cluster
from medtop.training.head_plan import for_head, with_head

AGGREGATIONS = ("none", "max_mean", "mean", "max")
JIT_COMPILE = ("auto", "on", "off")
WIDE = ("auto", "off", "only", "stack")
STRATEGIES = ("one_device", "mirrored", "multi_worker_mirrored")


def _pairs(texts, numbers):
    """`name:number` texts as a dict; `numbers` says whether a value is a list of numbers."""
    result = {}
    for text in texts:
        name, colon, number = text.partition(":")
        try:
            values = tuple(float(part) for part in number.split(","))
        except ValueError:
            values = ()
        if not colon or not name or not values or (not numbers and len(values) != 1):
            raise ValueError(f"expected name:number{',number,...' if numbers else ''}, received {text!r}")
        if name in result:
            raise ValueError(f"expected each task once, received {name!r} twice")
        result[name] = values if numbers else values[0]
    return result


def _weights(text):
    return _pairs(filter(None, (part.strip() for part in text.split(","))), numbers=False)


def _class_weights(texts):
    return _pairs(texts, numbers=True)


def _names(texts):
    return tuple(texts) or None


def _row_lengths(text):
    return text == "auto" or all((whole_number(word) or 0) >= 2 for word in text.split(","))


def _is_name(text):
    return not text or re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", text) is not None


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """The trainer's options as values (docs/contract.md, "Flags shared by the trainers").

    Not compared, when a run is continued or evaluated again, is what does not change what is trained. Of the
    configuration its content is compared, not where it lies.
    """

    input_file: str = option("", "TFRecord files to train on: a name, glob or comma list.")
    valid_file: str = option("", "TFRecord files for validation: best weights, thresholds, calibration.")
    test_file: str = option("", "TFRecord files that are scored once, at the end.", compared=False)
    output_dir: str = option("", "Run directory.", required=True, compared=False)
    bert_config_file: str = option("", "Model configuration (JSON); medtop/configs holds three.", compared=False)
    init_checkpoint: str = option("", "Run directory to take the encoder and the heads that fit from.")
    remap_vocab: bool = option(False, "With --init_checkpoint and another vocabulary: take embeddings by code.")
    do_train: bool = option(False, "Train.", compared=False)
    do_eval: bool = option(False, "Evaluate the best weights on validation and test.", compared=False)
    eval_name: str = option(
        "",
        "With --do_eval alone: evaluate --test_file (--data_dir: its test split) into <output_dir>/evaluations/<name>, "
        "with the run's calibration and aggregation; its earlier results stay.",
        rule=Rule("letters, digits, dots, - and _, no dot first", _is_name),
        compared=False,
    )
    head: str | None = option(
        None,
        "Between the encoder's outputs and the patients' logits: linear, a recurrent net over the tokens, or RETAIN; "
        "default: the configuration's.",
        choices=PATIENT_HEADS,
        compared=False,  # it is compared as a part of the configuration
    )
    body: str | None = option(
        None,
        "What makes a token's vector: bert, or embeddings (no transformer block); default: the configuration's.",
        choices=BODIES,
        compared=False,
    )
    code_start: str | None = option(
        None,
        "What the table of codes starts from: random numbers, ppmi (neighbours in the training histories) or hierarchy "
        "(chapter, category, code); default: the configuration's.",
        choices=CODE_STARTS,
        compared=False,
    )
    freeze_encoder: bool = option(
        False,
        "Train what stands behind the encoder only: with --init_checkpoint, or plain vectors from --code_start=ppmi.",
    )
    train_patients: int = option(
        0, "Train on so many patients, 0 = all; subsets of one --seed are nested.", rule=at_least(0)
    )
    tasks: tuple | None = option(
        None, "Tasks to train, such as masked_lm,long_stay,complications; default: all in the data.", parse=_names
    )
    # dict task -> factor of its loss
    task_weights: dict = option({}, "Factors of the tasks' losses: name:number,...; default 1.", parse=_weights)
    # dict task -> positive weights, one per label
    class_weights: dict = option(
        {},
        "Positive weights of a task's labels: name:number,number,...; may be given once per task. "
        "Probabilities are corrected back.",
        parse=_class_weights,
        repeated=True,
    )
    loss_balancing: str = option(
        "fixed", "How the losses' weights are found; --task_weights multiply them.", choices=BALANCERS
    )
    balancing_learning_rate: float = option(0.025, "Of the optimizer of uncertainty and gradnorm.", rule=above(0))
    telemetry_steps: int = option(
        100, "Steps between log rows on the tasks' gradients; 0 = never.", rule=at_least(0), compared=False
    )
    # None, of these three: the default that is stored with the data
    max_seq_length: int | None = option(
        None, "Longest row; longer histories keep [CLS] and the latest codes.", rule=at_least(2)
    )
    max_predictions_per_seq: int | None = option(None, "Most masked codes of a patient.", rule=at_least(1))
    masked_lm_prob: float | None = option(None, "Share of codes that are selected for prediction.", rule=share())
    whole_word_masking: bool = option(False, "Notes: mask all pieces of a word together.")
    train_batch_size: int = option(32, "Patients in a training batch.", rule=at_least(1))
    eval_batch_size: int = option(64, "Patients in an evaluation batch.", rule=at_least(1), compared=False)
    learning_rate: float = option(5e-5, "Peak learning rate of AdamW.", rule=above(0))
    weight_decay: float = option(0.01, "AdamW's weight decay; none on LayerNorm and biases.", rule=at_least(0))
    packing: bool = option(False, "Several patients share a row in training; attention stays within a patient.")
    # auto: many close lengths without packing; with it those that need the least work for lengths like the data's
    row_lengths: str = option(
        "auto",
        "Lengths of training rows, such as 64,512; auto: by the data.",
        rule=Rule("auto, or whole numbers such as 64,512", _row_lengths),
    )
    num_train_steps: int = option(0, "Training steps; 0 = num_train_epochs.", rule=at_least(0))
    num_train_epochs: int = option(
        10, "Passes over the training data, unless num_train_steps is given.", rule=at_least(0)
    )
    num_warmup_steps: int = option(
        -1,
        "Steps of linear warm-up; -1 = a tenth of all steps.",
        rule=Rule("0 or more, or -1 for a tenth", lambda value: value >= -1),
    )
    save_checkpoints_steps: int = option(
        1000, "Steps between checkpoints; one more is written after each epoch.", rule=at_least(1), compared=False
    )
    save_checkpoints_minutes: float = option(
        0.0, "Minutes between checkpoints, besides; 0 = by steps only.", rule=at_least(0), compared=False
    )
    # The best weights are kept besides.
    keep_checkpoints: int = option(3, "How many of the newest checkpoints are kept.", rule=at_least(1), compared=False)
    # Patients are always all evaluated.
    max_eval_steps: int = option(
        0, "Batches for the measures of masked codes while training; 0 = all.", rule=at_least(0), compared=False
    )
    best_metric: str = option(
        "",
        "Validation measure that chooses the best weights: loss, <task>.loss, <task>.<label>.<metric>, roc_auc "
        "(mean over tasks of macro ROC AUC, labels with 10 positives in validation) or f1 (of tags: spans, strict). "
        "Default roc_auc, for tags alone f1, else loss.",
    )
    # Not a flag of its own: the number of --early_stopping=metric:patience. Evaluations, 0 = never.
    patience: int = 0
    seed: int = option(0, "Seed of weights, order, masks and dropout.", rule=SEED)
    deterministic: bool = option(False, "Bit-identical results on the same machine and versions; slower.")
    precision: str = option("float32", "Number format of the computations.", choices=("float32", "mixed_bfloat16"))
    jit_compile: str = option(
        "auto", "Compile the step with XLA, once for each shape of a batch; auto: on GPUs.", choices=JIT_COMPILE
    )
    wide: str = option(
        "auto",
        "The wide part (codes within time windows, fitted convexly): off; only: instead of the encoder; stack: beside "
        "it; auto: stack where the configuration has wide_days.",
        choices=WIDE,
    )
    steps_per_execution: int = option(
        1,
        "Steps that are started before the first one's results are read: keeps a GPU busy.",
        rule=at_least(1),
        compared=False,
    )
    profile: bool = option(
        False, "Measure where a step's time goes: profile.json, and a trace for TensorBoard.", compared=False
    )
    distribution_strategy: str = option(
        "one_device",
        "one_device; mirrored: all devices of this machine; multi_worker_mirrored: the machines that TF_CONFIG names.",
        choices=STRATEGIES,
        compared=False,
    )
    num_gpus: int | None = option(None, "GPUs of this machine to use; default: all.", rule=at_least(0), compared=False)
    gradient_accumulation_steps: int = option(
        1,
        "Parts that a batch is computed in, to save memory; the same result.",
        rule=at_least(1),
        compared=False,
    )
    balanced_sampling: str = option(
        "", "<task>.<label> whose positives and negatives are seen equally often in training."
    )
    aggregation: str = option(
        "none",
        "Notes: how windows become one prediction per admission; none: each window is an example.",
        choices=AGGREGATIONS,
    )
    # While training, 0 stands for the default.
    aggregation_c: float = option(
        2.0,
        "Of the aggregation max_mean; 0 = the best one on validation.",
        rule=Rule("a number above 0, or 0 (validation chooses)", lambda value: 0 <= value < math.inf),
    )
    strict: bool = option(False, "Refuse what is otherwise clipped and counted.")
    baselines: bool = option(True, "Fit count baselines on the same splits and compare.", compared=False)
    xgboost: bool = option(
        False,
        "Among the baselines XGBoost as well, its settings chosen on validation; extra [xgboost].",
        compared=False,
    )
    codes_predictions: str = option(
        "", "predictions.csv of another run on the same examples, to compare.", compared=False
    )
    true_risk_file: str = option(
        "", "True risks of a generated cohort: adds the best reachable ROC AUC.", compared=False
    )
    plot: bool = option(
        False, "Draw losses, weights and gradients over steps after each epoch: training.html.", compared=False
    )
    num_bootstrap: int = option(1000, "Resamples of patients for the intervals.", rule=at_least(0), compared=False)
    min_cell: int = option(
        0,
        "Smallest count of people that shareable files show (metrics, report, Table 1, tripod.md, cards); 0 = all.",
        rule=at_least(0),
        compared=False,
    )
    quote_formulas: bool = quote_option()

    def settings(self):
        """What a run is compared by when it is continued: JSON-able, paths as given."""
        return {**compared(self), "tasks": None if self.tasks is None else list(self.tasks)}


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """Options together with what they name.

    Attributes:
        options: `TrainingOptions`, lengths and shares filled in from the data.
        config: `BertConfig` with the vocabulary's size.
        tasks: list of `Task`.
        vocabulary: `Vocabulary`.
        train, valid, test: `DatasetInfo` or None.
    """

    options: TrainingOptions
    config: BertConfig
    tasks: list
    vocabulary: object
    train: object
    valid: object
    test: object


def _require(good, flag, expected, received):
    if not good:
        raise DataError(f"--{flag}: expected {expected}, received {received!r}")


def _check_files(options):
    _require(options.do_train or options.do_eval, "do_train", "at least one of --do_train and --do_eval", False)
    _require(options.output_dir, "output_dir", "a folder", options.output_dir)
    if options.do_train and not options.input_file:
        raise DataError("--do_train needs --input_file: TFRecord files to train on")
    if options.do_eval and not (options.valid_file or options.test_file):
        raise DataError("--do_eval needs --valid_file or --test_file: TFRecord files to evaluate on")
    if options.true_risk_file:
        _require(Path(options.true_risk_file).is_file(), "true_risk_file", "an existing file", options.true_risk_file)
    if options.codes_predictions:
        where = options.codes_predictions
        _require(Path(where).is_file(), "codes_predictions", "an existing predictions.csv", where)
    check_evaluation_name(options)
    if options.eval_name and (options.valid_file or not options.test_file):
        raise DataError(
            "--eval_name: expected --test_file alone (calibration and thresholds are the run's), received "
            f"{'--valid_file too' if options.valid_file else 'none'}"
        )
    if (options.patience or options.best_metric) and not options.valid_file:
        raise DataError("--early_stopping and --best_metric need --valid_file: records to measure on")


def _datasets(options):
    infos = {}
    for name, file in (
        ("input_file", options.input_file),
        ("valid_file", options.valid_file),
        ("test_file", options.test_file),
    ):
        infos[name] = read_dataset(file) if file else None
        if infos[name] is not None:
            _require(infos[name].num_examples, name, "at least one example", file)
    present = {name: info for name, info in infos.items() if info is not None}
    if not present:
        raise DataError("--input_file: expected TFRecord files, received none")
    first = next(iter(present.values()))
    for name, info in present.items():
        for what in ("layout", "tasks", "time_gap", "visit_separator", "tokenizer"):
            if getattr(info, what) != getattr(first, what):
                raise DataError(
                    f"--{name}: expected the same {what} as {first.names[0]}, received {getattr(info, what)!r:.100}"
                )
        if info.vocabulary != first.vocabulary:
            raise DataError(f"--{name}: expected the vocabulary of {first.names[0]}, received another run's")
    return first, infos["input_file"], infos["valid_file"], infos["test_file"]


def _check_tables(config, info, options):
    """Refuses what does not fit the config's tables; ids beyond a table are clipped, and counted where it happens."""
    if config.vocab_size not in (0, len(info.vocabulary)):
        raise DataError(
            f"--bert_config_file: expected vocab_size {len(info.vocabulary)} (the data's vocabulary) or 0, "
            f"received {config.vocab_size}"
        )
    if "position" in config.embeddings and options.max_seq_length > config.max_position_embeddings:
        raise DataError(
            f"--max_seq_length: expected at most max_position_embeddings={config.max_position_embeddings}, "
            f"received {options.max_seq_length}"
        )
    if info.layout.static_masks and options.max_seq_length < info.defaults["max_seq_length"]:
        raise DataError(
            f"--max_seq_length: expected {info.defaults['max_seq_length']} ({info.layout.title} is padded "
            f"to it), received {options.max_seq_length}"
        )


def _check_windows(infos, options):
    """Refuses rows that are shorter than windows of notes: of codes the oldest are left out, text must not be."""
    for info in infos:
        if info is not None and info.layout.has_windows and options.max_seq_length < info.lengths["max"]:
            raise DataError(
                f"--max_seq_length: expected at least {info.lengths['max']} (the longest window of {info.names[0]}: "
                f"shorter rows would cut text off), received {options.max_seq_length}"
            )


def _check_aggregation(info, tasks, options):
    """Refuses to aggregate what has no windows or no risk, and to choose c without a validation split."""
    chosen = f"--aggregation={options.aggregation}"
    if options.aggregation != "max_mean" and options.aggregation_c != 2:
        raise DataError(f"--aggregation_c has no effect with {chosen}: leave it out, or choose --aggregation=max_mean")
    if options.aggregation == "none":
        if options.codes_predictions:
            raise DataError("--codes_predictions needs --aggregation: codes are compared by admission")
        return
    if not any(task.level == "patient" for task in tasks):
        names = ", ".join(task.name for task in tasks)
        raise DataError(f"{chosen} needs a patient-level task, such as readmission; --tasks has {names}")
    if not info.layout.has_windows:
        raise DataError(f"{chosen} needs records of notes; {info.names[0]} holds {info.layout.title}")
    if options.aggregation_c == 0 and options.do_eval and options.do_train and not options.valid_file:
        raise DataError("--aggregation_c=0 needs --valid_file: validation chooses c")


def _with_wide(info, options, config, tasks):
    """(options, config, tasks) with `--wide` decided: `wide_days` stays where there is a wide part."""
    patient = [task for task in tasks if task.level == "patient"]
    wide = options.wide
    if wide == "auto":
        wide = "stack" if config.wide_days and patient else "off"
    elif wide != "off":
        days = "a configuration with wide_days, such as [31, 92, 183, 366]"
        _require(config.wide_days, "wide", f"off, or {days}", wide)
        _require(patient, "wide", "off without a patient-level task", wide)
    if wide == "off":
        return dataclasses.replace(options, wide=wide), dataclasses.replace(config, wide_days=()), tasks
    check_inputs(info, config)
    if wide == "only":
        tasks = patient  # nobody learns masked codes then
    return dataclasses.replace(options, wide=wide), config, tasks


def make_plan(options, config=None, tasks=None):
    """Checks options against the files that they name.

    Args:
        options: `TrainingOptions`.
        config, tasks: those of an existing run that is only evaluated; None = from the options.

    Raises:
        DataError: naming the flag, for the first thing that does not fit.
    """
    given = config is not None
    check(options)
    _require(options.patience >= 0, "early_stopping", "a patience of 0 or more", options.patience)
    if options.distribution_strategy == "multi_worker_mirrored":
        read_cluster(os.environ)
    _check_files(options)
    first, train, valid, test = _datasets(options)
    filled = {
        name: first.defaults[name] if getattr(options, name) is None else getattr(options, name)
        for name in ("max_seq_length", "max_predictions_per_seq", "masked_lm_prob")
    }
    options = dataclasses.replace(options, **filled)
    _check_windows((train, valid, test), options)
    if config is None:
        _require(options.bert_config_file, "bert_config_file", "a model configuration (JSON)", options.bert_config_file)
        config = BertConfig.from_file(options.bert_config_file)
        _check_tables(config, first, options)
        config = with_head(options, dataclasses.replace(config, vocab_size=len(first.vocabulary)))
    if tasks is None:
        tasks = choose_tasks(options.tasks, first.tasks, options.task_weights, options.class_weights, first.levels)
    if not given:
        options, tasks = for_head(options, config, tasks)
        options, config, tasks = _with_wide(first, options, config, tasks)
    _check_aggregation(first, tasks, options)
    for task in tasks:
        if task.level != "masked" and list(first.tasks.get(task.name, ())) != list(task.labels):
            raise DataError(
                f"task {task.name}: expected labels {', '.join(task.labels)}, "
                f"received {', '.join(first.tasks.get(task.name, ['none']))} ({first.names[0]})"
            )
    if options.balanced_sampling:
        balanced_label(options.balanced_sampling, tasks)
    if options.best_metric:
        _require(
            options.best_metric in measure_names(tasks),
            "best_metric",
            f"one of {', '.join(measure_names(tasks))}",
            options.best_metric,
        )
    return TrainingPlan(options, config, tasks, first.vocabulary, train, valid, test)


def check_evaluation_name(options):
    """Refuses `eval_name` but for an evaluation of a finished run."""
    if options.eval_name and (options.do_train or not options.do_eval):
        raise DataError("--eval_name names an evaluation of a finished run: give it with --do_eval, without --do_train")


def measure_names(tasks):
    """Names of the measures on validation that may choose the best weights (`medtop.training.trainer`)."""
    tagged = [task for task in tasks if task.level == "token" and scheme_of(task.labels)]
    names = [
        "loss",
        *(["roc_auc"] if any(task.level == "patient" for task in tasks) else []),
        *(["f1"] if tagged else []),
    ]
    for task in tasks:
        if task.exclusive:
            measures = [f"{task.name}.{metric}" for metric in ("accuracy", "top10_accuracy", "perplexity")]
            measures += [f"{task.name}.f1"] * (task in tagged)
        else:
            measures = [
                f"{task.name}.{label}.{metric}"
                for label in (*task.labels, "micro", "macro")
                for metric in ("roc_auc", "average_precision", "brier")
            ]
        names += [f"{task.name}.loss", *measures]
    return names


def balanced_label(text, tasks):
    """`<task>.<label>` or `<task>` (its first label) -> (task name, label number)."""
    patient = [task for task in tasks if task.level == "patient"]
    offered = {
        f"{task.name}.{label}": (task.name, number) for task in patient for number, label in enumerate(task.labels)
    }
    offered |= {task.name: (task.name, 0) for task in patient}
    if text not in offered:
        raise DataError(f"--balanced_sampling: expected one of {', '.join(sorted(offered))}, received {text!r}")
    return offered[text]
