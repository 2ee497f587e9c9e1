"""What a training run is asked to do. Checked here, before TensorFlow is loaded."""

import dataclasses
import os
from pathlib import Path

from medtop.data.description import read_dataset
from medtop.files.errors import DataError
from medtop.model.config import BertConfig
from medtop.model.tasks import choose_tasks
from medtop.training.cluster import read_cluster

LOSS_BALANCING = ("fixed", "uncertainty", "gradnorm", "random")
AGGREGATIONS = ("none", "max_mean", "mean", "max")
JIT_COMPILE = ("auto", "on", "off")
STRATEGIES = ("one_device", "mirrored", "multi_worker_mirrored")

NOT_COMPARED = (
    "output_dir",
    "bert_config_file",
    "do_train",
    "do_eval",
    "eval_batch_size",
    "max_eval_steps",
    "test_file",
    "baselines",
    "codes_predictions",
    "true_risk_file",
    "num_bootstrap",
    "distribution_strategy",
    "num_gpus",
    "gradient_accumulation_steps",
    "save_checkpoints_steps",
    "save_checkpoints_minutes",
    "keep_checkpoints",
    "telemetry_steps",
    "steps_per_execution",
    "profile",
    "plot",
)
"""Options that do not change what is trained: they may differ when a run is continued or evaluated again. Of the
configuration, its content is compared, not where it lies."""


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """The trainer's flags as values (CONTRACT 7).

    Attributes:
        input_file, valid_file, test_file: TFRecord files, globs or comma lists; empty = none.
        output_dir: run directory.
        bert_config_file: JSON, see `BertConfig`.
        init_checkpoint: run directory to take the encoder and the heads that fit from; empty = random weights.
        remap_vocab: take code embeddings by code when the vocabularies differ.
        do_train, do_eval: train; evaluate on validation and test.
        tasks: names, or None for all that the data offer.
        task_weights: dict task -> factor of its loss.
        class_weights: dict task -> positive weights, one per label.
        loss_balancing: how the losses' weights are found, one of `LOSS_BALANCING`; task_weights multiply them.
        balancing_learning_rate: of the balancer's own optimizer.
        telemetry_steps: steps between log rows that tell of the tasks' gradients at the last shared layer; 0 = never.
        max_seq_length, max_predictions_per_seq, masked_lm_prob: None = the default stored with the data.
        whole_word_masking: mask all pieces of a word together (notes).
        train_batch_size, eval_batch_size: patients in a batch.
        learning_rate, weight_decay: AdamW's; the rate is the peak after warm-up.
        num_train_steps: 0 = `num_train_epochs` times the steps of an epoch.
        num_train_epochs: passes over the training data.
        num_warmup_steps: -1 = a tenth of the steps.
        save_checkpoints_steps: steps between checkpoints (one is written after every epoch besides).
        save_checkpoints_minutes: minutes between checkpoints, besides; 0 = by steps and epochs only.
        keep_checkpoints: how many of the newest checkpoints are kept, besides the best weights.
        max_eval_steps: batches for the measures of masked codes while training; 0 = all. Patients: always all.
        best_metric: validation measure that chooses the best weights: `loss`, `<task>.loss`, `<task>.<label>.<metric>`,
            `roc_auc` (mean over the patient-level tasks of the macro ROC AUC); default roc_auc, else loss.
        patience: evaluations without a better best_metric until training stops; 0 = never.
        seed: of weights, order, masks, dropout.
        deterministic: bit-identical results on the same machine and versions; slower.
        packing: whether patients share rows in training; attention stays within a patient.
        row_lengths: allowed lengths of training rows, a comma list; "auto": many close ones without packing, and with
            it those that need the least work for lengths like the data's.
        precision: float32 or mixed_bfloat16.
        jit_compile: one of `JIT_COMPILE`: whether XLA compiles the step, once for each shape of a batch; auto: on GPUs.
        steps_per_execution: steps that are started before the results of the first are read; the same results.
        profile: measure where the time of some steps goes, and write a trace for TensorBoard.
        distribution_strategy: one of `STRATEGIES`.
        num_gpus: GPUs of this machine to use; None = all.
        gradient_accumulation_steps: parts that a replica computes its rows in, one after another; the same result.
        balanced_sampling: `<task>.<label>` whose positives and negatives are seen equally often; empty = none.
        aggregation: notes: how the windows of an admission become one prediction, one of `AGGREGATIONS`; "none": each
            record is an example.
        aggregation_c: of the aggregation "max_mean"; 0 = the best one on validation (while training, the default).
        strict: refuse what is otherwise clipped and counted.
        baselines: fit count baselines and compare.
        codes_predictions: predictions.csv of another run on the same examples, as codes alone; empty = none.
        true_risk_file: true risks of a generated cohort; empty = none.
        num_bootstrap: resamples for intervals.
        plot: draw losses, weights and gradients over steps after each epoch, as training.html.
    """

    input_file: str = ""
    valid_file: str = ""
    test_file: str = ""
    output_dir: str = ""
    bert_config_file: str = ""
    init_checkpoint: str = ""
    remap_vocab: bool = False
    do_train: bool = False
    do_eval: bool = False
    tasks: tuple | None = None
    task_weights: dict = dataclasses.field(default_factory=dict)
    class_weights: dict = dataclasses.field(default_factory=dict)
    loss_balancing: str = "fixed"
    balancing_learning_rate: float = 0.025
    telemetry_steps: int = 100
    max_seq_length: int | None = None
    max_predictions_per_seq: int | None = None
    masked_lm_prob: float | None = None
    whole_word_masking: bool = False
    train_batch_size: int = 32
    eval_batch_size: int = 64
    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    num_train_steps: int = 0
    num_train_epochs: int = 10
    num_warmup_steps: int = -1
    save_checkpoints_steps: int = 1000
    save_checkpoints_minutes: float = 0.0
    keep_checkpoints: int = 3
    max_eval_steps: int = 0
    best_metric: str = ""
    patience: int = 0
    seed: int = 0
    deterministic: bool = False
    packing: bool = False
    row_lengths: str = "auto"
    precision: str = "float32"
    jit_compile: str = "auto"
    steps_per_execution: int = 1
    profile: bool = False
    distribution_strategy: str = "one_device"
    num_gpus: int | None = None
    gradient_accumulation_steps: int = 1
    balanced_sampling: str = ""
    aggregation: str = "none"
    aggregation_c: float = 2.0
    strict: bool = False
    baselines: bool = True
    codes_predictions: str = ""
    true_risk_file: str = ""
    num_bootstrap: int = 1000
    plot: bool = False

    def settings(self):
        """What a run is compared by when it is continued: JSON-able, paths as given."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if name not in NOT_COMPARED}
        return {**values, "tasks": None if self.tasks is None else list(self.tasks)}


@dataclasses.dataclass(frozen=True)
class Plan:
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


def _check_numbers(options):
    for name in (
        "train_batch_size",
        "eval_batch_size",
        "save_checkpoints_steps",
        "keep_checkpoints",
        "gradient_accumulation_steps",
        "steps_per_execution",
    ):
        _require(getattr(options, name) >= 1, name, "1 or more", getattr(options, name))
    for name in (
        "num_train_steps",
        "num_train_epochs",
        "max_eval_steps",
        "patience",
        "seed",
        "num_bootstrap",
        "save_checkpoints_minutes",
        "telemetry_steps",
    ):
        _require(getattr(options, name) >= 0, name, "0 or more", getattr(options, name))
    _require(options.seed < 2**32, "seed", "less than 2**32", options.seed)  # NumPy's seeds are 32 bits
    for name in ("max_seq_length", "max_predictions_per_seq"):
        value = getattr(options, name)
        _require(value is None or value >= (2 if name == "max_seq_length" else 1), name, "a larger number", value)
    share = options.masked_lm_prob
    _require(share is None or 0 < share < 1, "masked_lm_prob", "a number between 0 and 1", share)
    words = options.row_lengths.split(",")
    good = options.row_lengths == "auto" or all(word.strip().isdigit() and int(word) >= 2 for word in words)
    _require(good, "row_lengths", "auto, or whole numbers such as 64,512", options.row_lengths)
    _require(options.num_gpus is None or options.num_gpus >= 0, "num_gpus", "0 or more", options.num_gpus)
    rate = options.balancing_learning_rate
    _require(0 < rate < float("inf"), "balancing_learning_rate", "a number above 0", rate)
    balancing = options.loss_balancing
    _require(options.aggregation in AGGREGATIONS, "aggregation", ", ".join(AGGREGATIONS), options.aggregation)
    c = options.aggregation_c
    _require(0 <= c < float("inf"), "aggregation_c", "a number above 0, or 0 (validation chooses)", c)
    _require(balancing in LOSS_BALANCING, "loss_balancing", ", ".join(LOSS_BALANCING), balancing)
    strategy = options.distribution_strategy
    _require(strategy in STRATEGIES, "distribution_strategy", ", ".join(STRATEGIES), strategy)
    if strategy == "multi_worker_mirrored":
        read_cluster(os.environ)
    _require(options.learning_rate > 0, "learning_rate", "a number above 0", options.learning_rate)
    _require(options.weight_decay >= 0, "weight_decay", "0 or more", options.weight_decay)
    _require(
        options.num_warmup_steps >= -1, "num_warmup_steps", "0 or more, or -1 for a tenth", options.num_warmup_steps
    )
    _require(options.jit_compile in JIT_COMPILE, "jit_compile", ", ".join(JIT_COMPILE), options.jit_compile)
    _require(
        options.precision in ("float32", "mixed_bfloat16"), "precision", "float32 or mixed_bfloat16", options.precision
    )


def _check_files(options):
    _require(options.do_train or options.do_eval, "do_train", "at least one of --do_train and --do_eval", False)
    _require(options.output_dir, "output_dir", "a folder", options.output_dir)
    _require(options.input_file or not options.do_train, "input_file", "TFRecord files to train on", options.input_file)
    _require(
        options.valid_file or options.test_file or not options.do_eval,
        "valid_file",
        "a validation or test file to evaluate on (--do_eval)",
        options.valid_file,
    )
    if options.true_risk_file:
        _require(Path(options.true_risk_file).is_file(), "true_risk_file", "an existing file", options.true_risk_file)
    if options.codes_predictions:
        where = options.codes_predictions
        _require(Path(where).is_file(), "codes_predictions", "an existing predictions.csv", where)
    if options.patience or options.best_metric:
        _require(options.valid_file, "valid_file", "a validation file for early stopping", options.valid_file)


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
    if info.layout == "medbert" and options.max_seq_length < info.defaults["max_seq_length"]:
        raise DataError(
            f"--max_seq_length: expected {info.defaults['max_seq_length']} (Med-BERT's layout is padded "
            f"to it), received {options.max_seq_length}"
        )


def _check_windows(infos, options):
    """Refuses rows that are shorter than windows of notes: of codes the oldest are left out, text must not be."""
    for info in infos:
        if info is not None and info.layout == "notes" and options.max_seq_length < info.lengths["max"]:
            raise DataError(
                f"--max_seq_length: expected at least {info.lengths['max']} (the longest window of {info.names[0]}: "
                f"shorter rows would cut text off), received {options.max_seq_length}"
            )


def _check_aggregation(info, tasks, options):
    """Refuses to aggregate what has no windows or no risk, and to choose c without a validation split."""
    if options.aggregation != "max_mean":
        _require(
            options.aggregation_c == 2, "aggregation_c", "it with --aggregation=max_mean only", options.aggregation_c
        )
    if options.aggregation == "none":
        where = options.codes_predictions
        _require(not where, "codes_predictions", "it with admissions only (--aggregation)", where)
        return
    names = ", ".join(task.name for task in tasks)
    _require(
        any(task.labels for task in tasks),
        "aggregation",
        f"none without a patient-level task ({names})",
        options.aggregation,
    )
    _require(info.layout == "notes", "aggregation", f"none, for {info.names[0]} holds no notes", options.aggregation)
    if options.aggregation_c == 0 and options.do_eval and options.do_train:
        _require(options.valid_file, "aggregation_c", "a number above 0, or --valid_file to choose it", 0)


def make_plan(options, config=None, tasks=None):
    """Checks options against the files that they name.

    Args:
        options: `TrainingOptions`.
        config, tasks: those of an existing run that is only evaluated; None = from the options.

    Raises:
        DataError: naming the flag, for the first thing that does not fit.
    """
    _check_numbers(options)
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
        config = dataclasses.replace(config, vocab_size=len(first.vocabulary))
    if tasks is None:
        tasks = choose_tasks(options.tasks, first.tasks, options.task_weights, options.class_weights)
    _check_aggregation(first, tasks, options)
    for task in tasks:
        if task.level == "patient" and list(first.tasks.get(task.name, ())) != list(task.labels):
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
    return Plan(options, config, tasks, first.vocabulary, train, valid, test)


def measure_names(tasks):
    """Names of the measures on validation that may choose the best weights (`medtop.training.trainer`)."""
    names = ["loss", *(["roc_auc"] if any(task.labels for task in tasks) else [])]
    for task in tasks:
        if task.level == "masked":
            measures = [f"{task.name}.{metric}" for metric in ("accuracy", "top10_accuracy", "perplexity")]
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
    offered = {
        f"{task.name}.{label}": (task.name, number) for task in tasks for number, label in enumerate(task.labels)
    }
    offered |= {task.name: (task.name, 0) for task in tasks if task.labels}
    if text not in offered:
        raise DataError(f"--balanced_sampling: expected one of {', '.join(sorted(offered))}, received {text!r}")
    return offered[text]
