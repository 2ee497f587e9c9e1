"""Spans in fragments, where a use has no place for them: a stated rule, counted."""

import dataclasses

RULES = ("hull", "longest", "drop")


def reduce_fragments(span, rule, tally):
    """A span of one fragment, or None.

    Args:
        span: `Span`; one without further fragments comes back as it is.
        rule: "hull": from the first to the last character; "longest": its longest fragment, of equal ones the first;
            "drop": None.
        tally: `Tally` that counts `fragmented_spans_<rule>`.

    >>> from medtop.entities.documents import Span, Tally
    >>> [reduce_fragments(Span("T1", "x", ((0, 2), (5, 9))), rule, Tally()) and
    ...  reduce_fragments(Span("T1", "x", ((0, 2), (5, 9))), rule, Tally()).fragments for rule in RULES]
    [((0, 9),), ((5, 9),), None]
    """
    if len(span.fragments) == 1:
        return span
    tally.count(f"fragmented_spans_{rule}")
    if rule == "drop":
        return None
    if rule == "hull":
        return dataclasses.replace(span, fragments=((span.start, span.end),))
    return dataclasses.replace(span, fragments=(max(span.fragments, key=lambda edges: edges[1] - edges[0]),))
