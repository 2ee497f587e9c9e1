"""Task objects: what a task says about itself, and how a user's choice becomes a list of them."""

import pytest

from medtop.files.errors import DataError
from medtop.model.tasks import MASKED_LM, Task, available_tasks, choose_tasks

LABELS = {"long_stay": ["long_stay"], "complications": ["MACE_365", "CKD_365", "RET_365"]}


def test_masked_codes_and_the_datas_tasks_are_offered():
    offered = available_tasks(LABELS)
    assert list(offered) == ["masked_lm", "long_stay", "complications"]
    assert offered[MASKED_LM] == Task("masked_lm", "masked")
    assert offered["complications"] == Task("complications", "patient", ("MACE_365", "CKD_365", "RET_365"))
    assert [task.num_outputs for task in offered.values()] == [None, 1, 3]


def test_choice_keeps_the_users_order_and_takes_weights():
    weights, class_weights = {"complications": 0.25}, {"complications": [1, 2.5, 4]}
    tasks = choose_tasks(["complications", "masked_lm"], LABELS, weights, class_weights)
    assert tasks == [
        Task("complications", "patient", LABELS["complications"], 0.25, (1.0, 2.5, 4.0)),
        Task("masked_lm", "masked"),
    ]
    assert [task.name for task in choose_tasks(None, LABELS)] == ["masked_lm", "long_stay", "complications"]


def test_a_task_of_another_name_and_other_labels_needs_no_code():
    """A user's own label columns: nothing in the rooms knows a task by its name."""
    (task,) = choose_tasks(["sepsis"], {"sepsis": ["within_1_day", "within_3_days"]})
    assert (task.level, task.num_outputs) == ("patient", 2)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            (["long_stays"], LABELS),
            "--tasks: expected names among masked_lm, long_stay, complications, received 'long_st",
        ),
        ((["long_stay", "long_stay"], LABELS), "--tasks: expected at least one task, each once"),
        (([], LABELS), "--tasks: expected at least one task"),
        ((["long_stay"], LABELS, {"masked_lm": 2.0}), "--task_weights: expected names among long_stay, received"),
        ((["long_stay"], LABELS, None, {"other": (1.0,)}), "--class_weights: expected names among long_stay"),
        ((["complications"], LABELS, None, {"complications": (1.0,)}), "expected 3 class weights above 0"),
        ((["complications"], LABELS, None, {"complications": (1.0, 0.0, 2.0)}), "expected 3 class weights above 0"),
        ((["complications"], LABELS, None, {"complications": (1.0, float("nan"), 2.0)}), "3 class weights above 0"),
        ((["long_stay"], LABELS, {"long_stay": -1.0}), "expected a weight of 0 or more, received -1.0"),
        ((["long_stay"], LABELS, {"long_stay": float("nan")}), "expected a weight of 0 or more, received nan"),
        ((["masked_lm"], LABELS, None, {"masked_lm": (1.0,)}), "class weights"),
    ],
)
def test_wrong_choices_are_refused_in_one_line(arguments, message):
    with pytest.raises(DataError) as caught:
        choose_tasks(*arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values, message",
    [
        (dict(name="x", level="row"), "expected a level among masked, patient"),
        (dict(name="x", level="patient"), "expected label names exactly when the level is not masked"),
        (dict(name="x", level="masked", labels=("a",)), "expected label names exactly when the level is not masked"),
    ],
)
def test_levels_and_labels_belong_together(values, message):
    with pytest.raises(DataError, match=message):
        Task(**values)


@pytest.mark.parametrize("task", choose_tasks(None, LABELS, {"long_stay": 3.0}, {"complications": (1, 2, 3)}))
def test_json_round_trip(task):
    import json

    assert Task.from_dict(json.loads(json.dumps(task.to_dict()))) == task


def test_no_framework_is_loaded_to_choose_tasks():
    """Flags are checked with tasks before Keras is loaded."""
    import subprocess
    import sys

    from conftest import ROOT

    loads = "import sys, medtop.training.options, medtop.cli.training_flags; "
    code = loads + "print(sorted({'keras', 'tensorflow'} & {*sys.modules}))"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (process.stdout, process.stderr) == ("[]\n", "")
