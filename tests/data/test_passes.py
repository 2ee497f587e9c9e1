"""A data set that is gone through again and again."""

import itertools

import pytest

pytest.importorskip("tensorflow", reason="data sets are tf.data's")

import tensorflow as tf  # noqa: E402

from medtop.data.passes import Passes  # noqa: E402


class Counted:
    """A dataset of four elements that counts the iterators that are made of it."""

    def __init__(self):
        self.made = 0

    def repeat(self):
        self.made += 1
        return itertools.cycle(range(4))


def test_each_pass_is_whole_and_one_iterator_does():
    dataset = Counted()
    passes = Passes(dataset, 4)
    assert [list(passes) for _ in range(3)] == [[0, 1, 2, 3]] * 3
    assert dataset.made == 1


def test_a_pass_that_was_left_is_not_gone_on_with():
    dataset = Counted()
    passes = Passes(dataset, 4)
    assert list(passes) == [0, 1, 2, 3]
    assert list(itertools.islice(passes, 2)) == [0, 1]
    with pytest.raises(RuntimeError):
        for element in passes:
            if element == 2:
                raise RuntimeError
    first, second = iter(passes), iter(passes)  # two at a time
    assert [next(first), next(second), next(first), next(second)] == [0, 0, 1, 1]
    assert list(first) == list(second) == [2, 3]
    assert list(passes) == [0, 1, 2, 3]
    assert dataset.made == 4


def test_of_tensorflow():
    dataset = tf.data.Dataset.range(5).batch(2).prefetch(2)
    passes = Passes(dataset, 3)
    for _ in range(2):
        assert [batch.numpy().tolist() for batch in passes] == [[0, 1], [2, 3], [4]]
    assert passes.element_spec == dataset.element_spec
