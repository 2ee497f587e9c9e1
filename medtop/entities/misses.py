"""What goes wrong, by kind and without any text: for clinical reviewers, and for choosing what to mend.

Each gold span meets the system span that shares most characters with it (of equal ones the same type first, then the
first), and the reverse.
"""

import collections

import numpy as np

from medtop.entities.flavours import distinct, overlapping

NOTHING = "-"
"""The type of what one side lacks, in the table of types."""


def partners(spans, others, shared):
    """For each of `spans` the index in `others` of its partner, or None.

    Args:
        shared: int [spans, others], characters shared.
    """
    chosen = []
    for span, row in zip(spans, shared, strict=True):
        candidates = np.flatnonzero(row > 0).tolist()
        order = [(-row[place], others[place].type != span.type, place) for place in candidates]
        chosen.append(min(order)[2] if order else None)
    return chosen


def kind_of(gold, system):
    """What is wrong with a system span that overlaps a gold one; None where nothing is.

    >>> from medtop.entities.documents import Span
    >>> kind_of(Span("a", "Drug", ((5, 9),)), Span("b", "Drug", ((3, 9),)))
    'begins too early'
    """
    if gold.fragments == system.fragments:
        return None if gold.type == system.type else "wrong type"
    words = []
    if gold.start != system.start:
        words.append("begins too early" if system.start < gold.start else "begins too late")
    if gold.end != system.end:
        words.append("ends too late" if system.end > gold.end else "ends too early")
    if not words:
        words.append("other fragments")
    return " and ".join(words) + ("" if gold.type == system.type else ", wrong type")


def errors(pairs):
    """The table of types and the kinds of misses.

    Args:
        pairs: list of (gold `Document`, list of system spans).

    Returns:
        (Counter of (gold type, system type), `NOTHING` for none; Counter of (kind, gold type, system type)).
    """
    types, kinds = collections.Counter(), collections.Counter()
    for document, spans in pairs:
        gold, system = distinct(document.spans), distinct(spans)
        shared = overlapping(gold, system)
        for span, place in zip(gold, partners(gold, system, shared), strict=True):
            other = None if place is None else system[place]
            types[span.type, NOTHING if other is None else other.type] += 1
            kind = "missed" if other is None else kind_of(span, other)
            if kind:
                kinds[kind, span.type, NOTHING if other is None else other.type] += 1
        for span, place in zip(system, partners(system, gold, shared.T), strict=True):
            if place is None:
                types[NOTHING, span.type] += 1
                kinds["spurious", NOTHING, span.type] += 1
    return types, kinds


def miss_lines(kinds, most=10):
    """The commonest kinds of misses, a line each, without text."""
    lines = []
    for (kind, gold, system), number in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))[:most]:
        types = gold if gold == system or system == NOTHING else system if gold == NOTHING else f"{gold} -> {system}"
        lines.append(f"{number:6,}  {kind}: {types}")
    return lines


def confusion_lines(types):
    """The table of types as text: a row for each gold type, a column for each of the system's, `-` for none."""
    names = sorted({name for pair in types for name in pair} - {NOTHING}) + [NOTHING]
    width = max(len(name) for name in (*names, "gold"))
    cells = [
        [f"{types[gold, system]:,}" if (gold, system) != (NOTHING, NOTHING) else "" for system in names]
        for gold in names
    ]
    head = "  ".join(f"{name:>{max(width, 6)}}" for name in names)
    return [f"{'gold':<{width}}  {head}"] + [
        f"{name:<{width}}  " + "  ".join(f"{cell:>{max(width, 6)}}" for cell in row)
        for name, row in zip(names, cells, strict=True)
    ]
