"""How often each document of a mixture is taken: by weights of sources, seeded, without any state.

The weights are shares of the words. A source that has fewer words than its share of the whole runs dry, and the whole
becomes as small as it allows, unless its documents may be taken again. A document is taken by a hash of the seed, its
source and its number there, so that the choice needs no memory, is the same in whatever order and however often it is
made, and leaves other sources alone.
"""

import dataclasses
import hashlib

import numpy as np

from medtop.files.errors import DataError


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is taken of each source.

    Attributes:
        rates: dict source -> how often each document is taken on average; 1.3: once, and 30% of them twice.
        words: int, words of the whole mixture.
        dry: the source that limits it, or None.
    """

    rates: dict
    words: int
    dry: str | None


def parse_mixture(text):
    """`notes:0.9,papers:0.1` -> dict source -> weight, which sum to 1.

    >>> parse_mixture("notes:3,papers:1")
    {'notes': 0.75, 'papers': 0.25}
    """
    weights = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, _, value = item.rpartition(":")
        try:
            weight = float(value)
        except ValueError:
            weight = 0.0
        if not name or not 0 < weight < float("inf"):
            raise DataError(f"--mixture: expected source:weight with a weight above 0, received {item!r}")
        if name in weights:
            raise DataError(f"--mixture: expected each source once, received {name} twice")
        weights[name] = weight
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def make_plan(available, weights, wanted=None, repeat=1):
    """The `Plan` of a mixture.

    Args:
        available: dict source -> words.
        weights: dict source -> share, or {}: everything as it is.
        wanted: words of the whole, or None for as many as there are.
        repeat: how often a document may be taken at most. Without `wanted` none is taken again once every source has
            been used up.

    Raises:
        DataError: for sources that do not agree, or fewer words than wanted.
    """
    if not weights:
        total = sum(available.values())
        weights = {name: words / total for name, words in available.items()}
    for name in {**weights, **available}:
        if name not in available:
            raise DataError(f"--mixture: expected sources of the input ({', '.join(available)}), received {name}")
        if name not in weights:
            raise DataError(f"--mixture: expected a weight for each source of the input, received none for {name}")
    once = {name: available[name] / weight for name, weight in weights.items()}
    dry = min(once, key=once.get)
    most, enough = repeat * once[dry], max(once.values())
    if wanted is not None and wanted > most:
        raise DataError(
            f"--words: expected at most {int(most):,} ({dry} has {available[dry]:,} words and runs dry), "
            f"received {wanted:,}; --repeat takes documents more often"
        )
    words = min(most, enough) if wanted is None else wanted
    rates = {name: words * weight / available[name] for name, weight in weights.items()}
    limited = wanted is None and most < enough * (1 - 1e-9)
    return Plan(rates, int(round(words)), dry if limited else None)


def uniform(seed, source, numbers):
    """A number in [0, 1) for each document of a source: float64; the same for the same seed, source and number.

    >>> uniform(0, "notes", [1, 2]).round(3).tolist() == uniform(0, "notes", range(3))[1:].round(3).tolist()
    True
    """
    raw = hashlib.blake2b(f"{seed}:{source}".encode(), digest_size=8).digest()
    values = np.asarray(numbers, np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(int.from_bytes(raw, "little"))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):  # splitmix64
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return (values >> np.uint64(11)) * 2.0**-53


def times_taken(rate, chances):
    """How often each document is taken: int64; `rate` on average.

    >>> times_taken(1.5, np.array([0.2, 0.7])).tolist()
    [2, 1]
    """
    whole = int(rate + 1e-9)
    return whole + (chances < rate - whole).astype(np.int64)
