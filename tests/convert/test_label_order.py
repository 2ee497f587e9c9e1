"""`id2label` says which output is which: a probability must not carry another label's name."""

import types

import numpy as np

from medtop.convert import import_weights
from medtop.model.tasks import Task


def classifier(values, count, mine=None):
    """The head that a classifier of `count` rows becomes."""
    plan = types.SimpleNamespace(values=values, layout="hf", task_name="outcome")
    return import_weights._classifier(plan, np.zeros((count, 4)), mine)


def test_labels_come_in_the_order_of_their_numbers():
    values = {"problem_type": "multi_label_classification", "id2label": {"2": "c", "0": "a", "1": "b", "10": "k"}}
    ((task, kind),) = classifier(values, 3).items()
    assert kind == "classifier" and list(task.labels) == ["a", "b", "c"]
    ((task, _),) = classifier({"problem_type": "multi_label_classification", "id2label": {"1": "b"}}, 3).items()
    assert list(task.labels) == ["LABEL_0", "b", "LABEL_2"]


def test_our_own_task_only_where_its_labels_stand_in_the_same_order():
    mine = Task("t", "patient", ("a", "b"))
    values = {"problem_type": "multi_label_classification"}
    assert classifier(values | {"id2label": {"0": "a", "1": "b"}}, 2, mine) == {mine: "classifier"}
    ((task, _),) = classifier(values | {"id2label": {"0": "b", "1": "a"}}, 2, mine).items()
    assert task != mine and list(task.labels) == ["b", "a"]


def test_of_two_classes_the_second_is_the_label():
    ((task, kind),) = classifier({"id2label": {"0": "well", "1": "ill"}}, 2).items()
    assert kind == "two_way_classifier" and list(task.labels) == ["ill"]
