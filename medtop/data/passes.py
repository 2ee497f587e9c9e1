"""Going through a data set of tf.data again and again."""

import itertools


class Passes:
    """All batches of a dataset, at every iteration of it, out of one iterator of tf.data.

    To make an iterator takes TensorFlow a quarter of a second, whatever its size: in a small validation split, which is
    read after every epoch, that was fifteen times as long as the batches take.

    Args:
        dataset: tf.data.Dataset that gives the same batches at every iteration.
        size: how many they are.
    """

    def __init__(self, dataset, size):
        self.dataset, self.size = dataset, size
        self._iterator = None

    def __iter__(self):
        """One pass. One that is not gone through to its end costs the next one an iterator."""
        iterator, self._iterator = self._iterator or iter(self.dataset.repeat()), None
        yield from itertools.islice(iterator, self.size)
        self._iterator = iterator

    @property
    def element_spec(self):
        """Of the dataset."""
        return self.dataset.element_spec
