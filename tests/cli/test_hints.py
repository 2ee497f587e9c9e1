"""The next command that a script names: the right script for the split, flags that it has, a plan that holds."""

import re
import shlex

import pytest
from absl import flags
from conftest import ROOT

from medtop.cli import hints, training_flags
from medtop.cohort.manifest import next_command
from medtop.notes import manifest as notes_manifest
from medtop.notes.options import NotesOptions
from medtop.training.options import make_plan

pytest.importorskip("tensorflow", reason="records are TensorFlow's files")

from notes_data import note_config, planted_notes, write_note_dataset  # noqa: E402
from small_data import (  # noqa: E402
    DEFAULTS,
    all_tasks,
    patients,
    replaced,
    small_config,
    write_dataset,
    write_medbert_dataset,
)

from medtop.files.atomic import write_json  # noqa: E402
from medtop.model.config import BertConfig  # noqa: E402
from medtop.model.tasks import choose_tasks  # noqa: E402

TRAINERS = ("run_toppretraining.py", "run_EHRpretraining.py", "run_readmission.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data sets of each split, of each layout, and of new patients, whose labels nobody knows."""
    folder = tmp_path_factory.mktemp("hints")
    for split in ("train", "valid", "test"):
        write_dataset(folder / f"codes {split}", patients(6, len(split)), split=split)
        write_note_dataset(folder / f"notes {split}", planted_notes(6, len(split)), split=split)
        rows = [[f"{split}1", [3, 9], [0, 40], [4, 2, 7], [1, 1, 2]]]
        write_medbert_dataset(folder / f"medbert {split}", rows, 9, split=split, defaults=DEFAULTS)
    write_dataset(folder / "codes new", patients(6, 9), split="test", tasks={})
    notes = planted_notes(6, 9)
    write_note_dataset(folder / "notes new", notes | {"labels": [float("nan")] * 6}, split="test")
    write_json(folder / "codes.json", small_config(vocab_size=0, embeddings=("code", "visit")).to_dict())
    write_json(folder / "notes.json", note_config())
    return folder


def words_of(command):
    """(script, dict flag -> value); every flag is one that the script, or the trainers' options, name."""
    python, path, *words = shlex.split(command.replace("<", "'<").replace(">", ">'"))
    assert python == "python"
    text = (ROOT / path).read_text(encoding="utf-8") + (ROOT / "medtop/training/options.py").read_text(encoding="utf-8")
    given = dict(word.removeprefix("--").partition("=")[::2] for word in words)
    assert all(re.search(rf"\b{name}\b", text) for name in given), command
    return path.removeprefix("run_scripts/"), given


def plan_of(command, folder, kind, tasks):
    """The `TrainingPlan` of a trainer's command, what only the user knows filled in."""
    known = {
        "<config.json>": str(folder / ("notes.json" if kind == "notes" else "codes.json")),
        "<folder>": str(folder / "run"),
        hints.RUN: str(folder / "run"),
        "<training records>": str(folder / f"{kind} train"),
        "<validation records>": str(folder / f"{kind} valid"),
        "<test records>": str(folder / f"{kind} test"),
    }
    for blank, value in known.items():
        command = command.replace(blank, shlex.quote(value))
    values = flags.FlagValues()
    training_flags.define(values, tasks=tuple(task.name for task in tasks))
    values(["script", *shlex.split(command)[2:]])
    options = training_flags.options_from(values)
    given = () if options.do_train else (BertConfig.from_file(known["<config.json>"]), tasks)
    return make_plan(replaced(options, tasks=None) if given else options, *given)


@pytest.mark.parametrize(
    "kind, script",
    [("codes", TRAINERS[0]), ("medbert", TRAINERS[1]), ("notes", TRAINERS[2])],
)
def test_after_records_the_command_follows_the_split(folder, kind, script):
    from medtop.data.description import read_dataset

    for split, mode, flag in (
        ("train", "do_train", "input_file"),
        ("valid", "do_train", "valid_file"),
        ("test", "do_eval", "test_file"),
    ):
        name = str(folder / f"{kind} {split}")
        info = read_dataset(name)
        command = hints.after_records(info, script, name)
        named, given = words_of(command)
        assert named == script and given[flag] == name and mode in given
        assert ("do_train" in given) == (mode == "do_train"), "the test split is never trained on"
        plan = plan_of(command, folder, kind, choose_tasks(None, info.tasks))
        assert plan.options.do_train == (mode == "do_train")
        assert str({"train": plan.train, "valid": plan.valid, "test": plan.test}[split].files[0]) == name


@pytest.mark.parametrize("kind", ["codes", "notes"])
def test_new_patients_are_predicted(folder, kind):
    from medtop.data.description import read_dataset

    name = str(folder / f"{kind} new")
    script, given = words_of(hints.after_records(read_dataset(name), "run_toppretraining.py", name))
    assert script == "run_prediction.py" and given["input_file"] == name and "do_train" not in given


def trained(folder, kind, tasks, **changes):
    """The plan of a training on a data set."""
    words = [f"--{name}={folder / f'{kind} {split}'}" for name, split in (("input_file", "train"),)]
    values = flags.FlagValues()
    training_flags.define(values, tasks=tasks)
    config = folder / ("notes.json" if kind == "notes" else "codes.json")
    values(["script", "--do_train", f"--output_dir={folder / 'run'}", f"--bert_config_file={config}", *words])
    return make_plan(replaced(training_flags.options_from(values), **changes))


def test_after_a_run_its_own_script_evaluates_and_the_right_one_goes_on(folder):
    for script in TRAINERS[:2]:
        plan = trained(folder, "codes", ("long_stay",))
        command = hints.after_run(plan, script, evaluated=False)
        assert words_of(command)[0] == script
        assert plan_of(command, folder, "codes", all_tasks(["long_stay"])).train is None
    run = str(folder / "run")
    script, given = words_of(hints.after_run(trained(folder, "codes", ("masked_lm", "long_stay")), "x.py", True))
    assert (script, given["run_dir"]) == ("run_prediction.py", run)
    script, given = words_of(hints.after_run(trained(folder, "codes", ("masked_lm",)), "x.py", True))
    assert (script, given["init_checkpoint"]) == ("run_toppretraining.py", run)  # nothing to predict: fine-tune it
    script, given = words_of(hints.after_run(trained(folder, "notes", ("masked_lm",)), "x.py", True))
    assert (script, given["init_checkpoint"]) == ("run_readmission.py", run)
    plan = trained(folder, "notes", ("readmission",), aggregation="mean")
    assert words_of(hints.after_run(plan, "x.py", True))[0] == "run_prediction.py"


def test_after_preprocessing_the_features_of_the_split_that_was_made():
    for split in ("train", "valid", "test"):
        assert f"c.bencs.{split}" in next_command("c", split)
        options = NotesOptions(splits=None if split == "train" else split)
        assert f"n.notes.{split}.parquet" in notes_manifest.next_command("n", options)
    words = NotesOptions(windows="words", splits="test")
    assert "--do_train" not in notes_manifest.next_command("n", words)
