"""What a run is asked to do: checked against the files before anything heavy happens, each mistake one line."""

import dataclasses
import json

import pytest

pytest.importorskip("tensorflow", reason="the data sets to check against are TFRecord files")

from absl import flags  # noqa: E402
from sequence_cases import TASKS  # noqa: E402
from small_data import (  # noqa: E402
    DEFAULTS,
    VOCABULARY,
    patients,
    replaced,
    small_config,
    training_options,
    write_dataset,
    write_medbert_dataset,
    write_splits,
)

from medtop.cli import training_flags  # noqa: E402
from medtop.cohort.vocabulary import Vocabulary  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.model.tasks import choose_tasks  # noqa: E402
from medtop.training.options import TrainingOptions, balanced_label, make_plan, measure_names  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("options")


@pytest.fixture(scope="module")
def options(folder):
    return training_options(folder, write_splits(folder, (6, 5, 4)))


def refused(options, message, **changes):
    with pytest.raises(DataError) as caught:
        make_plan(replaced(options, **changes))
    assert message in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


def test_plan_fills_in_what_the_data_say(options):
    plan = make_plan(options)
    assert (plan.options.max_seq_length, plan.options.max_predictions_per_seq, plan.options.masked_lm_prob) == (
        64,
        10,
        0.15,
    )
    assert plan.config == small_config() and plan.vocabulary == VOCABULARY  # vocab_size 0 in the file
    assert [task.name for task in plan.tasks] == ["masked_lm", "long_stay", "complications"]
    assert [info.num_examples for info in (plan.train, plan.valid, plan.test)] == [6, 5, 4]


def test_flags_win_over_the_datas_defaults(options):
    """Fault 8: features made for one length, training at another."""
    plan = make_plan(replaced(options, max_seq_length=16, max_predictions_per_seq=3, masked_lm_prob=0.5))
    assert (plan.options.max_seq_length, plan.options.max_predictions_per_seq, plan.options.masked_lm_prob) == (
        16,
        3,
        0.5,
    )


def test_training_needs_no_validation_and_evaluation_no_training(options):
    plan = make_plan(replaced(options, valid_file="", test_file=""))
    assert plan.valid is None and plan.test is None
    plan = make_plan(replaced(options, do_train=False, do_eval=True, input_file="", valid_file=""))
    assert plan.train is None and plan.test.num_examples == 4


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(do_train=False), "--do_train: expected at least one of --do_train and --do_eval"),
        (dict(output_dir=""), "--output_dir: expected a folder"),
        (dict(input_file=""), "--do_train needs --input_file"),
        (
            dict(do_train=False, do_eval=True, valid_file="", test_file=""),
            "--do_eval needs --valid_file or --test_file",
        ),
        (dict(do_eval=True, valid_file="", test_file=""), "--do_eval needs --valid_file or --test_file"),
        (dict(input_file="nowhere/x.tfrecord"), "nowhere/x.tfrecord: expected TFRecord files"),
        (dict(bert_config_file=""), "--bert_config_file: expected a model configuration"),
        (
            dict(bert_config_file="nowhere.json"),
            "nowhere.json: expected a model configuration (JSON), found no such file",
        ),
        (dict(true_risk_file="nowhere.csv"), "--true_risk_file: expected an existing file"),
        (dict(best_metric="loss", valid_file=""), "--early_stopping and --best_metric need --valid_file"),
        (dict(patience=2, valid_file=""), "--early_stopping and --best_metric need --valid_file"),
        (dict(aggregation="max"), "--aggregation=max needs records of notes"),
        (dict(aggregation="max", tasks=("masked_lm",)), "--aggregation=max needs a patient-level task"),
        (dict(aggregation_c=3.0), "--aggregation_c has no effect with --aggregation=none: leave it out"),
        (dict(best_metric="auroc"), "--best_metric: expected one of loss, roc_auc, masked_lm.loss"),
        (dict(tasks=("long_stay",), best_metric="masked_lm.loss"), "expected one of loss, roc_auc, long_stay.loss"),
        (dict(tasks=("masked_lm",), best_metric="roc_auc"), "--best_metric: expected one of loss, masked_lm.loss"),
        (
            dict(tasks=("sepsis",)),
            "--tasks: expected names among masked_lm, long_stay, complications, received 'sepsis'",
        ),
        (dict(task_weights={"sepsis": 2.0}), "--task_weights: expected names among"),
        (dict(class_weights={"long_stay": (1.0, 2.0)}), "expected 1 class weights above 0"),
        (
            dict(balanced_sampling="CKD_365"),
            "--balanced_sampling: expected one of complications, complications.CKD_365",
        ),
        (dict(train_batch_size=0), "--train_batch_size: expected 1 or more, received 0"),
        (dict(eval_batch_size=-1), "--eval_batch_size: expected 1 or more, received -1"),
        (dict(save_checkpoints_steps=0), "--save_checkpoints_steps: expected 1 or more"),
        (dict(num_train_epochs=-1), "--num_train_epochs: expected 0 or more"),
        (dict(max_seq_length=1), "--max_seq_length: expected 2 or more, received 1"),
        (dict(max_predictions_per_seq=0), "--max_predictions_per_seq: expected 1 or more, received 0"),
        (dict(masked_lm_prob=1.0), "--masked_lm_prob: expected a number between 0 and 1, received 1.0"),
        (dict(masked_lm_prob=0.0), "--masked_lm_prob: expected a number between 0 and 1"),
        (dict(learning_rate=0.0), "--learning_rate: expected a number above 0"),
        (dict(learning_rate=float("nan")), "--learning_rate: expected a number above 0, received nan"),
        (dict(weight_decay=-0.1), "--weight_decay: expected 0 or more"),
        (dict(num_warmup_steps=-2), "--num_warmup_steps: expected 0 or more, or -1"),
        (dict(precision="float16"), "--precision: expected float32, mixed_bfloat16, received 'float16'"),
        (dict(seed=-1), "--seed: expected a whole number from 0 to 2**32 - 1, received -1"),
        (dict(seed=2**32), "--seed: expected a whole number from 0 to 2**32 - 1, received 4294967296"),
    ],
)
def test_mistakes_are_refused_in_one_line(options, changes, message):
    refused(options, message, **changes)


def test_longer_rows_than_positions_are_refused_only_where_positions_are_used(folder, options):
    (folder / "positions").mkdir()
    config = small_config(embeddings=("code", "position"), max_position_embeddings=32)
    refused(
        training_options(folder / "positions", {}, config, input_file=options.input_file),
        "--max_seq_length: expected at most max_position_embeddings=32, received 64",
    )
    assert make_plan(replaced(options, max_seq_length=512)).options.max_seq_length == 512  # code, visit, age


def test_config_for_another_vocabulary_is_refused(folder, options):
    values = small_config().to_dict()
    (folder / "other.json").write_text(json.dumps(values | {"vocab_size": 61}))
    refused(
        options,
        "--bert_config_file: expected vocab_size 60 (the data's vocabulary) or 0, received 61",
        bert_config_file=str(folder / "other.json"),
    )


def test_data_sets_that_differ_are_refused(folder, options):
    longer = Vocabulary((*VOCABULARY.tokens, "X1"))
    cases = {
        "vocabulary": (dict(vocabulary=longer), "--valid_file: expected the vocabulary of"),
        "tasks": (dict(tasks={"long_stay": ["long_stay"]}), "--valid_file: expected the same tasks as"),
        "gap": (dict(time_gap="after"), "--valid_file: expected the same time_gap as"),
        "separator": (dict(visit_separator=True), "--valid_file: expected the same visit_separator as"),
    }
    for name, (changes, message) in cases.items():
        write_dataset(folder / name, patients(3, 7), **changes)
        refused(options, message, valid_file=str(folder / name))
    write_dataset(folder / "empty", [])
    refused(options, "--valid_file: expected at least one example", valid_file=str(folder / "empty"))


def test_medberts_padded_records_cannot_be_cut_shorter(folder, options):
    rows = [[f"p{number}", [9], [0], [1, 2, 3], [1, 1, 1]] for number in range(3)]
    write_medbert_dataset(folder / "medbert", rows, 5, defaults=DEFAULTS | {"max_seq_length": 8})
    medbert = dict(input_file=str(folder / "medbert"), valid_file="", test_file="", max_seq_length=None)
    refused(
        options,
        "--max_seq_length: expected 8 (Med-BERT's layout is padded to it), received 4",
        **medbert | {"max_seq_length": 4},
    )
    plan = make_plan(replaced(options, **medbert))
    assert [task.name for task in plan.tasks] == ["masked_lm", "long_stay"] and plan.config.vocab_size == 6


def test_an_existing_runs_tasks_must_be_those_of_the_data(options):
    config, tasks = small_config(), choose_tasks(["complications"], {"complications": ["CKD_365", "MACE_365"]})
    with pytest.raises(
        DataError, match="task complications: expected labels CKD_365, MACE_365, received MACE_365, CKD_365"
    ):
        make_plan(options, config, tasks)


def test_names_of_validation_measures_by_hand():
    assert measure_names(choose_tasks(["masked_lm", "long_stay"], TASKS)) == [
        "loss",
        "roc_auc",
        "masked_lm.loss",
        "masked_lm.accuracy",
        "masked_lm.top10_accuracy",
        "masked_lm.perplexity",
        "long_stay.loss",
        *(
            f"long_stay.{label}.{metric}"
            for label in ("long_stay", "micro", "macro")
            for metric in ("roc_auc", "average_precision", "brier")
        ),
    ]


def test_balanced_label_by_task_or_by_label():
    tasks = choose_tasks(None, TASKS)
    assert balanced_label("complications.CKD_365", tasks) == ("complications", 1)
    assert balanced_label("complications", tasks) == ("complications", 0)
    assert balanced_label("long_stay.long_stay", tasks) == balanced_label("long_stay", tasks) == ("long_stay", 0)


def test_settings_can_be_stored_and_leave_out_what_does_not_change_training(options):
    settings = options.settings()
    assert json.loads(json.dumps(settings)) == settings
    unchanged = dict(
        output_dir="x",
        do_eval=True,
        test_file="y",
        eval_batch_size=3,
        num_bootstrap=5,
        baselines=True,
        max_eval_steps=4,
        true_risk_file="z",
        bert_config_file="moved.json",
    )
    assert replaced(options, **unchanged).settings() == settings
    for name, value in dict(
        learning_rate=1.0,
        seed=9,
        tasks=("long_stay",),
        input_file="q",
        precision="mixed_bfloat16",
        balanced_sampling="long_stay",
        max_seq_length=9,
        deterministic=True,
    ).items():
        assert replaced(options, **{name: value}).settings() != settings, name


def parsed(*words):
    """The flags of a command line. absl's own set of flags is global; this defines them in one of its own."""
    values = flags.FlagValues()
    training_flags.define(values, tasks=("masked_lm", "long_stay"))
    values(["script", *words])
    return values


def parse(*words):
    """`TrainingOptions` of a command line."""
    return training_flags.options_from(parsed(*words))


def test_flags_become_options():
    options = parse(
        "--output_dir=run",
        "--input_file=a,b",
        "--do_train",
        "--task_weights=masked_lm:0.5,long_stay:2",
        "--class_weights=long_stay:3.5",
        "--class_weights=complications:12.23,8.27",
        "--max_seq_length=77",
        "--early_stopping=long_stay.loss:3",
        "--num_train_steps=9",
        "--nobaselines",
        "--seed=4",
        "--strict",
        "--deterministic",
    )
    assert options.tasks == ("masked_lm", "long_stay")
    assert options.task_weights == {"masked_lm": 0.5, "long_stay": 2.0}
    assert options.class_weights == {"long_stay": (3.5,), "complications": (12.23, 8.27)}
    assert (options.best_metric, options.patience) == ("long_stay.loss", 3)
    assert (options.input_file, options.max_seq_length, options.num_train_steps, options.seed) == ("a,b", 77, 9, 4)
    assert options.strict and options.deterministic and not options.baselines and options.masked_lm_prob is None


def test_early_stopping_may_have_no_patience():
    options = parse("--output_dir=run", "--input_file=a", "--do_train", "--early_stopping=loss:0")
    assert (options.best_metric, options.patience) == ("loss", 0)


def test_defaults_of_the_flags_are_those_of_the_options():
    """One truth: who calls the library gets what who types the command gets."""
    assert parse("--output_dir=run", "--tasks=") == TrainingOptions(output_dir="run")


OTHER_FORMS = {
    "wide": ("--wide=only", "only"),
    "head": ("--head=bigru", "bigru"),
    "body": ("--body=embeddings", "embeddings"),
    "code_start": ("--code_start=ppmi", "ppmi"),
    # field: (a word that sets it, its value); the other fields stand on the command line as they are called
    "tasks": ("--tasks=x,y", ("x", "y")),
    "task_weights": ("--task_weights=x:2", {"x": 2.0}),
    "class_weights": ("--class_weights=x:2,3", {"x": (2.0, 3.0)}),
    "precision": ("--precision=mixed_bfloat16", "mixed_bfloat16"),
    "jit_compile": ("--jit_compile=off", "off"),
    "steps_per_execution": ("--steps_per_execution=8", 8),
    "profile": ("--profile", True),
    "patience": ("--early_stopping=loss:7", 7),
    "distribution_strategy": ("--distribution_strategy=mirrored", "mirrored"),
    "loss_balancing": ("--loss_balancing=random", "random"),
    "num_gpus": ("--num_gpus=2", 2),
    "row_lengths": ("--row_lengths=32,64", "32,64"),
    "aggregation": ("--aggregation=max", "max"),
}


def test_each_flag_sets_its_option_and_no_other():
    """Fault 11: flags that did nothing."""
    default = parse("--output_dir=run", "--best_metric=loss")
    for field in dataclasses.fields(TrainingOptions):
        before = getattr(default, field.name)
        unset = 7 if "max" in field.name else 0.25
        new = {bool: not before, int: 7, float: 0.25, str: "other"}.get(type(before), unset)
        word = f"--{'' if new else 'no'}{field.name}" if isinstance(before, bool) else f"--{field.name}={new}"
        word, new = OTHER_FORMS.get(field.name, (word, new))
        assert new != before
        best = [] if field.name == "best_metric" else ["--best_metric=loss"]
        found = parse("--output_dir=run", *best, word)
        assert found == replaced(default, **{field.name: new}), word
    known = {field.name for field in dataclasses.fields(TrainingOptions)}
    defined = set(parsed("--output_dir=run").flag_values_dict())
    assert defined == known - {"patience"} | {"early_stopping", "resume", "overwrite"}


def test_flags_reach_the_run(monkeypatch, options):
    """Fault 11 again: what is parsed is what is executed, with --resume and --overwrite."""
    from medtop.runs import execute

    executed = []
    monkeypatch.setattr(execute, "execute", lambda *arguments, plan, evaluation: executed.append((plan, *arguments)))
    words = [f"--{name}={getattr(options, name)}" for name in ("input_file", "output_dir", "bert_config_file")]
    for more, resume, overwrite in (([], True, False), (["--noresume"], False, False), (["--overwrite"], True, True)):
        values = parsed(*words, "--do_train", "--seed=5", *more)
        said = []
        training_flags.run_trainer("run_EHRpretraining.py", said.append, "the command", values)
        plan = make_plan(training_flags.options_from(values))
        assert executed.pop() == (plan, plan.options, resume, overwrite, "the command")
        assert [line.split()[:3] for line in said] == [["next:", "python", "run_scripts/run_EHRpretraining.py"]]


@pytest.mark.parametrize(
    "word, message",
    [
        ("--task_weights=masked_lm", "--task_weights: expected name:number, received 'masked_lm'"),
        ("--task_weights=masked_lm:x", "--task_weights: expected name:number, received 'masked_lm:x'"),
        ("--task_weights=a:1,a:2", "--task_weights: expected each task once, received 'a' twice"),
        ("--class_weights=long_stay", "--class_weights: expected name:number,number,..., received 'long_stay'"),
        ("--early_stopping=loss", "--early_stopping: expected metric:patience, such as loss:3, received 'loss'"),
        ("--early_stopping=loss:x", "--early_stopping: expected metric:patience"),
        ("--early_stopping=loss:-1", "--early_stopping: expected metric:patience"),
        ("--early_stopping=loss:\u00b2", "--early_stopping: expected metric:patience"),
        (f"--early_stopping=loss:{'9' * 5000}", "--early_stopping: expected metric:patience"),
        ("--row_lengths=\u00b22,64", "--row_lengths: expected"),
        (f"--row_lengths={'9' * 5000}", "--row_lengths: expected"),
    ],
)
def test_flags_of_the_wrong_form_are_refused(word, message):
    with pytest.raises(DataError) as caught:
        parse("--output_dir=run", word)
    assert message in str(caught.value)


def test_two_metrics_at_once_are_refused():
    with pytest.raises(DataError, match=r"expected the metric of --best_metric \(loss\), received 'roc_auc'"):
        parse("--output_dir=run", "--best_metric=loss", "--early_stopping=roc_auc:2")
