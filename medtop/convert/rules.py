"""How one weight of ours becomes one or more of theirs, and back. NumPy only.

Letters: H width, K labels, n and m any sizes. Our dense kernels are [in, out], as Keras has them.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Direct:
    """The same array: embeddings, biases, LayerNorm; `[n, m] -> [n, m]`."""

    def there(self, array):
        """Our array -> list of theirs."""
        return [array]

    def shapes(self, shape):
        """Our shape -> list of theirs."""
        return [shape]

    def back(self, arrays):
        """List of theirs -> our array."""
        return arrays[0]


@dataclasses.dataclass(frozen=True)
class Transposed:
    """PyTorch's `nn.Linear` holds its weight as [out, in]; `[n, m] -> [m, n]`."""

    def there(self, array):
        """Our array -> list of theirs."""
        return [np.ascontiguousarray(array.T)]

    def shapes(self, shape):
        """Our shape -> list of theirs."""
        return [shape[::-1]]

    def back(self, arrays):
        """List of theirs -> our array."""
        return np.ascontiguousarray(arrays[0].T)


@dataclasses.dataclass(frozen=True)
class Split:
    """Query, key and value: one array of ours, three of theirs; `[H, 3, H] -> 3 [H, H]`, `[3, H] -> 3 [H]`.

    Attributes:
        transposed: whether theirs are [out, in].
    """

    transposed: bool = False

    def there(self, array):
        """Our array -> list of theirs."""
        parts = np.moveaxis(array, -2, 0)
        return [np.ascontiguousarray(part.T if self.transposed else part) for part in parts]

    def shapes(self, shape):
        """Our shape -> list of theirs."""
        part = (*shape[:-2], shape[-1])
        return [part[::-1] if self.transposed else part] * 3

    def back(self, arrays):
        """List of theirs -> our array."""
        parts = [array.T if self.transposed else array for array in arrays]
        return np.ascontiguousarray(np.stack(parts, axis=-2))


@dataclasses.dataclass(frozen=True)
class TwoWay:
    """A sigmoid's one logit as a softmax over two: rows (0, w), because softmax(0, z)[1] = sigmoid(z).

    `[H, 1] -> [2, H]`, `[1] -> [2]`; back w1 - w0. Of all rules only this one loses bits, and only where their first
    row is not 0.

    >>> TwoWay().there(np.float32([[3], [4]]))[0].tolist()
    [[0.0, 0.0], [3.0, 4.0]]
    >>> TwoWay().back([np.float32([[1, 1], [3, 4]])]).tolist()
    [[2.0], [3.0]]
    """

    def there(self, array):
        """Our array -> list of theirs."""
        row = array.T  # [1, H] or [1]
        return [np.concatenate([np.zeros_like(row), row])]

    def shapes(self, shape):
        """Our shape -> list of theirs."""
        return [(2, *shape[:-1])]

    def back(self, arrays):
        """List of theirs -> our array."""
        return np.ascontiguousarray((arrays[0][1:] - arrays[0][:1]).T)


@dataclasses.dataclass(frozen=True)
class TwoWayFirst:
    """A sigmoid's one logit as the first of a softmax over two: BERT's next-sentence head, whose class 0 is "follows".

    `[H, 1] -> [2, H]`, `[1] -> [2]`: rows (w, 0); back w0 - w1.

    >>> TwoWayFirst().there(np.float32([[3], [4]]))[0].tolist()
    [[3.0, 4.0], [0.0, 0.0]]
    >>> TwoWayFirst().back([np.float32([[1, 1], [3, 4]])]).tolist()
    [[-2.0], [-3.0]]
    """

    def there(self, array):
        """Our array -> list of theirs."""
        return [np.ascontiguousarray(TWO_WAY.there(array)[0][::-1])]

    def shapes(self, shape):
        """Our shape -> list of theirs."""
        return TWO_WAY.shapes(shape)

    def back(self, arrays):
        """List of theirs -> our array."""
        return TWO_WAY.back([arrays[0][::-1]])


DIRECT, TRANSPOSED, SPLIT, SPLIT_TRANSPOSED, TWO_WAY = Direct(), Transposed(), Split(), Split(True), TwoWay()
TWO_WAY_FIRST = TwoWayFirst()
