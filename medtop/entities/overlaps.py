"""Groups of types whose spans never overlap: one task of tags for each, trained together (`--overlaps=groups`)."""

import itertools

from medtop.entities.documents import Tally
from medtop.entities.records import MOST_GROUPS
from medtop.entities.words import document_words
from medtop.files.errors import DataError
from medtop.text.tags import word_ranges


def clashes(spans):
    """Pairs of types of spans that share a character: set of sorted pairs of str.

    Args:
        spans: list of `Span`, in one piece.
    """
    pairs, open_spans = set(), []
    for span in sorted(spans, key=lambda span: span.start):
        open_spans = [other for other in open_spans if other.end > span.start]
        if span.end > span.start:
            pairs |= {tuple(sorted((other.type, span.type))) for other in open_spans if other.type != span.type}
            open_spans.append(span)
    return pairs


def group_types(types, pairs):
    """The fewest groups that taking the types with most clashes first gives, no clash within one: list of lists of str.

    Args:
        types: list of str; pairs: set of pairs that clash.

    Raises:
        DataError: for more than `MOST_GROUPS` groups.

    >>> group_types(["a", "b", "c"], {("a", "b"), ("b", "c")})
    [['a', 'c'], ['b']]
    """
    others = {kind: set() for kind in types}
    for first, second in pairs:
        others[first].add(second)
        others[second].add(first)
    groups = []
    for kind in sorted(types, key=lambda kind: (-len(others[kind]), kind)):
        free = next((group for group in groups if not others[kind].intersection(group)), None)
        if free is None:
            groups.append([kind])
        else:
            free.append(kind)
    if len(groups) > MOST_GROUPS:
        raise DataError(
            f"--overlaps=groups: expected at most {MOST_GROUPS} groups of types that do not overlap, "
            f"received {len(groups)}"
        )
    return sorted(sorted(group) for group in groups)


def find_groups(documents):
    """The groups of the types of documents (an iterable)."""
    types, pairs = set(), set()
    for document in documents:
        types |= {span.type for span in document.spans}
        pairs |= clashes(document.spans)
    return group_types(sorted(types), pairs)


def left_out(documents, groups):
    """How many spans the tags of groups cannot hold: those of one group that overlap, two of one type above all."""
    tally = Tally()
    for document, group in itertools.product(documents, groups):
        words = document_words(document)
        word_ranges(words.starts, words.ends, [span for span in document.spans if span.type in group], tally)
    return tally.counts["overlapping_spans_left_out_of_tags"]
