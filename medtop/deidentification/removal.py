"""Taking identifiers out of a text, once: what stands outside of them stays, character for character."""

import dataclasses

from medtop.deidentification import dates
from medtop.deidentification.surrogates import BLANK, TAG


@dataclasses.dataclass(frozen=True)
class Removed:
    """A text without its identifiers.

    Attributes:
        text: str.
        findings: list of `Finding` that were removed, in order.
        places: list of (start, end) of what stands in their place, in the new text.
    """

    text: str
    findings: list
    places: list


class Remover:
    """Removes what a policy names.

    Args:
        policy: `medtop.deidentification.policy.Policy`.
        replace: "blank" (three underscores whatever the length), "tag" (`[NAME]`), or "surrogate".
        surrogates: `Surrogates`, for "surrogate".
    """

    def __init__(self, policy, replace, surrogates=None):
        self.policy, self.replace, self.surrogates = policy, replace, surrogates

    def remove(self, text, findings, patient):
        """`Removed` of a text.

        Args:
            text: str.
            findings: list of `Finding`, disjoint, in order.
            patient: whose surrogates and shift of dates are used.
        """
        removed = [item for item in findings if self.policy.removes(item.type, self.replace)]
        pieces, places, end, length = [], [], 0, 0
        for item, new in zip(removed, self._texts(text, removed, patient), strict=True):
            pieces += [text[end : item.start], new]
            length += item.start - end
            places.append((length, length + len(new)))
            length += len(new)
            end = item.end
        return Removed("".join([*pieces, text[end:]]), removed, places)

    def _texts(self, text, removed, patient):
        if self.replace == "blank":
            return [BLANK] * len(removed)
        if self.replace == "tag":
            return [TAG.format(item.type) for item in removed]
        years = _years(removed)
        return [
            self.surrogates.of(text[item.start : item.end], item, patient, year)
            for item, year in zip(removed, years, strict=True)
        ]


def _years(findings):
    """For each finding the year of the last date before it that states one; before the first such date, its year."""
    known = [dates.year_of(item.date) if item.date is not None else None for item in findings]
    last, years = next((year for year in known if year), None), []
    for year in known:
        last = year or last
        years.append(last)
    return years


def outside(length, places):
    """The pieces of a text that no place covers: list of (start, end).

    >>> outside(10, [(2, 4), (4, 6)])
    [(0, 2), (4, 4), (6, 10)]
    """
    edges = [0, *(edge for place in places for edge in place), length]
    return list(zip(edges[::2], edges[1::2], strict=True))


def carried(spans, removed):
    """Marks of a text at their places in the text without identifiers.

    Args:
        spans: list of `medtop.entities.documents.Span` of the text.
        removed: the `Removed` that was made of it.

    Returns:
        (list of `Span`, how many of them touch what was removed). An edge within an identifier goes to the edge of what
        stands in its place, so that a mark that touches one holds the whole of what was put in.
    """
    moved, touched = [], 0
    for span in spans:
        pairs = [
            (
                _moved(start, removed, False),
                _moved(end, removed, True) if end > start else _moved(start, removed, False),
            )
            for start, end in span.fragments
        ]
        touched += any(
            start < item.end and item.start < end for start, end in span.fragments for item in removed.findings
        )
        moved.append(dataclasses.replace(span, fragments=tuple(pairs)))
    return moved, touched


def _moved(edge, removed, is_end):
    """Where an edge of a mark stands in the new text."""
    shift = 0
    for item, (start, end) in zip(removed.findings, removed.places, strict=True):
        if item.end <= edge:
            shift = end - item.end
        elif item.start < edge:  # within the identifier
            return end if is_end else start
        else:
            break
    return edge + shift
