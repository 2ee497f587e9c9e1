"""`tf.train.Example` messages straight from NumPy columns, without building one Python object per value.

The protobuf wire format is public and fixed. An Example is `features` (field 1), a map of name -> Feature; a Feature
holds a BytesList (1), FloatList (2) or Int64List (3); each list holds `value` (1), packed for numbers. Every tag here
is `field * 8 + 2` (a length and that many bytes follow). Tests parse the bytes with `tf.train.Example`.
"""

import itertools

import numpy as np

_KINDS = {"bytes": b"\x0a", "float": b"\x12", "int64": b"\x1a"}


def varint(number):
    """The protobuf varint of one non-negative int.

    >>> varint(300).hex()
    'ac02'
    """
    pieces = bytearray()
    while number > 127:
        pieces.append(number & 127 | 128)
        number >>= 7
    pieces.append(number)
    return bytes(pieces)


def varints(values):
    """Varints of many int64, laid end to end.

    Args:
        values: int [Z]; negative ones take ten bytes, as protobuf wants.

    Returns:
        bytes; int64 [Z + 1], where each value begins (and the last ends).
    """
    values = np.ascontiguousarray(values, np.int64).view(np.uint64)
    sizes = np.ones(len(values), np.int64)
    highest = int(values.max()) if len(values) else 0
    longest = max(1, -(-highest.bit_length() // 7))
    for number in range(1, longest):
        sizes += values >= np.uint64(1 << 7 * number)
    places = np.zeros(len(values) + 1, np.int64)
    np.cumsum(sizes, out=places[1:])
    encoded = np.empty(int(places[-1]), np.uint8)
    begins = places[:-1]
    for number in range(longest):
        more = (sizes > number + 1).astype(np.uint8) << 7
        encoded[begins + number] = ((values >> np.uint64(7 * number)) & np.uint64(127)).astype(np.uint8) | more
        begins, values, sizes = (array[more > 0] for array in (begins, values, sizes))
    return encoded.tobytes(), places


class Column:
    """One feature of N examples.

    Args:
        name: the feature's key.
        kind: "int64", "float" or "bytes" (one value per example).
        values: flat array of all examples' values; for "bytes" a list of N bytes.
        counts: int [N], values of each example; None: one each.
    """

    def __init__(self, name, kind, values, counts=None):
        if kind not in _KINDS:
            raise ValueError(f"kind: expected one of {tuple(_KINDS)}, received {kind!r}")
        self.name, self.kind, self.values = name, kind, values
        self.counts = np.ones(len(values), np.int64) if counts is None else np.asarray(counts)

    @classmethod
    def of_matrix(cls, name, kind, matrix):
        """The column of an array [N, K]: K values per example."""
        return cls(name, kind, matrix.reshape(-1), np.full(len(matrix), matrix.shape[1]))

    def entries(self):
        """List of N bytes: this feature's map entry in each Example."""
        if self.kind == "bytes":
            data, places = b"".join(self.values), np.cumsum([0, *map(len, self.values)])
        else:
            ends = np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])
            if ends[-1] != len(self.values):
                raise ValueError(f"{self.name}: expected {ends[-1]} values, received {len(self.values)}")
            if self.kind == "float":
                data, places = np.ascontiguousarray(self.values, "<f4").tobytes(), ends * 4
            else:
                data, starts = varints(self.values)
                places = starts[ends]
        places = places.tolist()
        heads = {}  # the bytes before the values depend on their number alone
        entries = []
        for begin, end in itertools.pairwise(places):
            size = end - begin
            head = heads.get(size)
            if head is None:
                head = heads[size] = self._head(size)
            entries.append(head + data[begin:end])
        return entries

    def _head(self, size):
        values = b"\x0a" + varint(size)
        values = _KINDS[self.kind] + varint(len(values) + size) + values
        name = self.name.encode()
        entry = b"\x0a" + varint(len(name)) + name + b"\x12" + varint(len(values) + size) + values
        return b"\x0a" + varint(len(entry) + size) + entry


def encode_examples(columns):
    """Yields one serialized Example per record.

    Args:
        columns: list of `Column`, all of the same N.
    """
    for entries in zip(*(column.entries() for column in columns), strict=True):
        features = b"".join(entries)
        yield b"\x0a" + varint(len(features)) + features
