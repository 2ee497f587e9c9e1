"""How right a system's spans are, counted as the field's tools count them.

A flavour turns the gold and the system's spans of one document into four numbers for each measure and each type (and
for all types together): hits among the system's spans and their number, hits among the gold ones and their number.
Precision is the first over the second, recall the third over the fourth; sums over documents come first.

conll: `strict`, type and characters the same (seqeval's strict mode, CoNLL's script). CoNLL defines no other; beside it
stand `exact` (the same characters), `overlap` (shares a character with a span of the other side) and `type` (shares
one with a span of its type), each side counted by itself.

nervaluate: its `strict`, `exact`, `partial` (here `overlap`) and `ent_type` (here `type`).

i2b2_2010: `strict` is "exact" (class and boundaries), `overlap` is "inexact" (class the same, boundaries overlap).

i2b2_2012: `overlap`, whatever the type; `type`, `polarity` and `modality`, accuracies among overlapped gold spans.

A span is counted once however often it stands in a list.

Letters: K types.
"""

import numpy as np

ALL = "all"
"""Row of all types together."""

_LEAST_SHARE = 1.0
"""nervaluate: per cent of a gold span that must be shared."""


def overlap(first, second):
    """How many characters two spans share, fragment by fragment.

    >>> from medtop.entities.documents import Span
    >>> overlap(Span("a", "x", ((0, 4), (8, 12))), Span("b", "x", ((3, 9),)))
    2
    """
    return sum(
        max(0, min(end, other_end) - max(start, other_start))
        for start, end in first.fragments
        for other_start, other_end in second.fragments
    )


def distinct(spans):
    """The spans in order of the text, equal ones (type and fragments) once."""
    seen = {(span.fragments, span.type): span for span in reversed(spans)}
    return [seen[key] for key in sorted(seen)]


def overlapping(gold, system):
    """int64 [gold spans, system spans]: characters shared; at least 1 where both are the same fragments."""
    shared = np.zeros((len(gold), len(system)), np.int64)
    if not gold or not system:
        return shared
    starts, ends = (np.array([getattr(span, name) for span in system]) for name in ("start", "end"))
    for row, span in enumerate(gold):
        for column in np.flatnonzero((starts <= span.end) & (ends >= span.start)).tolist():
            other = system[column]
            shared[row, column] = max(overlap(span, other), span.fragments == other.fragments)
    return shared


def _rows(types, system, gold, system_hits, gold_hits):
    """float64 [1 + K, 4] from whether each span is a hit."""
    place = {kind: row for row, kind in enumerate(types, 1)}
    counts = np.zeros((1 + len(types), 4))
    for column, spans, hits in ((0, system, system_hits), (2, gold, gold_hits)):
        rows = np.array([place[span.type] for span in spans], np.int64)
        counts[:, column] = np.bincount(rows, np.asarray(hits, float), 1 + len(types))
        counts[:, column + 1] = np.bincount(rows, minlength=1 + len(types))
    counts[0] = counts[1:].sum(0)
    return counts


def _sides(types, gold, system, matches):
    """Each span is a hit where it matches any of the other side; `matches` is bool [gold, system]."""
    return _rows(types, system, gold, matches.any(0), matches.any(1))


def conll(gold, system, types):
    """dict measure -> float64 [1 + K, 4]; see the table."""
    shared = overlapping(gold, system)
    same = np.array([[a.fragments == b.fragments for b in system] for a in gold], bool).reshape(shared.shape)
    kind = np.array([[a.type == b.type for b in system] for a in gold], bool).reshape(shared.shape)
    return {
        "strict": _sides(types, gold, system, same & kind),
        "exact": _sides(types, gold, system, same),
        "overlap": _sides(types, gold, system, shared > 0),
        "type": _sides(types, gold, system, (shared > 0) & kind),
    }


def i2b2_2010(gold, system, types):
    """dict measure -> float64 [1 + K, 4]; see the table."""
    counts = conll(gold, system, types)
    return {"strict": counts["strict"], "overlap": counts["type"]}


def i2b2_2012(gold, system, types):
    """dict measure -> float64 [1 + K, 4]; see the table.

    Of several system spans that overlap a gold one, the one that shares most characters with it is its partner, of
    equal ones the first. Accuracies stand as precision and as recall alike.
    """
    shared = overlapping(gold, system)
    counts = {"overlap": _sides(types, gold, system, shared > 0)}
    pairs = [(span, system[int(row.argmax())]) for span, row in zip(gold, shared, strict=True) if row.any()]
    met = [span for span, _ in pairs]
    right = [span.type == other.type for span, other in pairs]
    counts["type"] = _rows(types, met, met, right, right)
    for name in ("polarity", "modality"):
        known = [(a, b) for a, b in pairs if name in a.attributes]
        spans = [a for a, _ in known]
        same = [a.attributes[name].lower() == b.attributes.get(name, "").lower() for a, b in known]
        counts[name] = _rows(types, spans, spans, same, same)
    return counts


def nervaluate(gold, system, types):
    """dict measure -> float64 [1 + K, 4], as nervaluate 1.2 counts; spans in fragments as their hull.

    Types apart are counted on the spans of that type alone, all types on all spans, as there.
    """
    counts = {name: np.zeros((1 + len(types), 4)) for name in ("strict", "exact", "overlap", "type")}
    for row, kind in enumerate((None, *types)):
        chosen = [[span for span in spans if kind in (None, span.type)] for spans in (gold, system)]
        for name, count in counts.items():
            correct, partial, spurious, wrong, missed = _greedy(*chosen, name)
            hits = correct + 0.5 * partial
            both = correct + partial + wrong
            count[row] = hits, both + spurious, hits, both + missed
    return counts


def _greedy(gold, system, measure):
    """(correct, partial, spurious, incorrect, missed): system spans in order take gold ones, as nervaluate does."""
    taken, tally = set(), {"correct": 0, "partial": 0, "spurious": 0, "incorrect": 0}
    for span in system:
        best, second = None, None
        for number, other in enumerate(gold):
            if number in taken:
                continue
            same = (span.start, span.end) == (other.start, other.end)
            near = same or _shares_enough(span, other)
            if measure == "type":
                distance = abs(span.start - other.start) + abs(span.end - other.end)
                if near and span.type == other.type:
                    best = (distance, number) if best is None or distance < best[0] else best
                elif near and second is None:
                    second = number
            elif same and (measure != "strict" or span.type == other.type):
                best = (0, number)
                break
            elif near and second is None:
                second = number
        if best is not None:
            tally["correct"] += 1
            taken.add(best[1])
        elif second is not None:
            tally["partial" if measure == "overlap" else "incorrect"] += 1
            taken.add(second)
        else:
            tally["spurious"] += 1
    return tally["correct"], tally["partial"], tally["spurious"], tally["incorrect"], len(gold) - len(taken)


def _shares_enough(span, gold):
    shared = min(span.end, gold.end) - max(span.start, gold.start)
    return shared > 0 and 100.0 * shared / (gold.end - gold.start) >= _LEAST_SHARE


FLAVOURS = {"conll": conll, "nervaluate": nervaluate, "i2b2_2010": i2b2_2010, "i2b2_2012": i2b2_2012}
