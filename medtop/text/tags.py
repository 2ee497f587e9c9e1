"""Spans as one tag a word, and back: BIO (IOB2) and BIOES.

A word is of a span when they share a character; a span that cuts a word thereby takes the whole word, which is counted.
Tags hold neither overlaps nor fragments nor spans of zero length: of overlapping spans the longer stays (of equal ones
the earlier), and what is left out is counted.

Letters: W words.
"""

import numpy as np

SCHEMES = ("bio", "bioes")


def tag_set(types, scheme="bio"):
    """All tags of some types, `O` first.

    >>> tag_set(["Drug"], "bioes")
    ['O', 'B-Drug', 'I-Drug', 'E-Drug', 'S-Drug']
    """
    return ["O", *(f"{letter}-{kind}" for kind in types for letter in ("BIES" if scheme == "bioes" else "BI"))]


def scheme_of(tags):
    """The scheme whose tags these are, None where they are of none.

    >>> scheme_of(["O", "B-x", "I-x"]), scheme_of(["low", "high"])
    ('bio', None)
    """
    types = list(dict.fromkeys(tag.partition("-")[2] for tag in tags[1:]))
    return next((scheme for scheme in SCHEMES if list(tags) == tag_set(types, scheme) and types), None)


def word_ranges(starts, ends, spans, tally=None):
    """Which words each span holds.

    Args:
        starts, ends: int [W], where the words begin and end, in order and apart.
        spans: list of `Span`.
        tally: None, or a `Tally` that counts `spans_that_cut_a_word`, `spans_without_a_word`,
            `overlapping_spans_left_out_of_tags` and `fragmented_spans_tagged_as_hull`.

    Returns:
        list of (first word, word after the last, span), in order, none sharing a word.
    """
    starts, ends = np.asarray(starts, np.int64), np.asarray(ends, np.int64)
    ranges, cut, empty, hulls = [], 0, 0, 0
    for span in spans:
        first = int(np.searchsorted(ends, span.start, side="right"))
        after = int(np.searchsorted(starts, span.end, side="left"))
        hulls += len(span.fragments) > 1
        if span.start >= span.end or first >= after:
            empty += 1
            continue
        cut += bool(starts[first] < span.start or ends[after - 1] > span.end)
        ranges.append((first, after, span))
    taken, chosen = np.zeros(len(starts), bool), []
    for first, after, span in sorted(ranges, key=lambda item: (item[0] - item[1], item[0])):
        if not taken[first:after].any():
            taken[first:after] = True
            chosen.append((first, after, span))
    if tally is not None:
        tally.count("spans_that_cut_a_word", cut)
        tally.count("spans_without_a_word", empty)
        tally.count("fragmented_spans_tagged_as_hull", hulls)
        tally.count("overlapping_spans_left_out_of_tags", len(ranges) - len(chosen))
    return sorted(chosen, key=lambda item: item[0])


def encode(num_words, ranges, scheme="bio"):
    """Tags of words.

    Args:
        num_words: W.
        ranges: iterable of (first word, word after the last, type), apart.
        scheme: one of `SCHEMES`.

    Returns:
        list of W str.

    >>> encode(5, [(0, 2, "x"), (3, 4, "y")], "bioes")
    ['B-x', 'E-x', 'O', 'S-y', 'O']
    """
    tags = ["O"] * num_words
    for first, after, kind in ranges:
        tags[first:after] = [f"I-{kind}"] * (after - first)
        tags[first] = f"B-{kind}"
        if scheme == "bioes":
            tags[after - 1] = f"E-{kind}" if after - first > 1 else f"S-{kind}"
    return tags


def decode(tags, scheme="bio", lenient=False):
    """Spans of words that tags mark.

    Strict (as seqeval's strict mode): an `I` that continues nothing of its type is no entity; in BIOES an entity needs
    its end, too. Lenient (as conlleval): any tag of a type begins one where it continues none.

    Args:
        tags: list of W str.
        scheme: one of `SCHEMES`.
        lenient: see above.

    Returns:
        (list of (first word, word after the last, type), list of places of tags that continue or end nothing).

    >>> decode(["I-x", "I-x", "O", "B-y"])
    ([(3, 4, 'y')], [0, 1])
    >>> decode(["I-x", "I-x", "O", "B-y"], lenient=True)
    ([(0, 2, 'x'), (3, 4, 'y')], [0])
    """
    ranges, bad, start, kind = [], [], None, None

    def close(place, whole):
        if start is not None and (whole or lenient or scheme == "bio"):
            ranges.append((start, place, kind))

    for place, tag in enumerate(tags):
        letter, _, own = tag.partition("-")
        if letter in ("I", "E") and start is not None and own == kind:
            if letter == "E":
                close(place + 1, True)
                start = None
            continue
        if start is not None:
            close(place, False)
            start = None
        if letter in ("I", "E"):
            bad.append(place)
        if letter in ("B", "S") or (letter in ("I", "E") and lenient):
            start, kind = place, own
            if letter in ("S", "E"):
                close(place + 1, True)
                start = None
    close(len(tags), False)
    return ranges, bad


def ranges_of_all(path, counts, tags, scheme="bio"):
    """The spans that `decode` finds, strictly, in several sequences at once.

    Args:
        path: int [W], the words of N sequences end to end, each one's place in `tags`.
        counts: int [N], words of each; their sum is W.
        tags: list of K str, see `tag_set`.
        scheme: one of `SCHEMES`.

    Returns:
        (int64 [M] first word, int64 [M] word after the last, both among all W; list of M str, types), in order.

    >>> ranges_of_all([2, 0, 1, 2, 2], [2, 2, 1], ["O", "B-x", "I-x"])
    (array([2]), array([4]), ['x'])
    """
    path = np.asarray(path, np.int64)
    letters, _, types = (np.array(part) for part in zip(*(tag.partition("-") for tag in tags), strict=True))
    goes_on, open_after = np.isin(letters, ["I", "E"])[path], np.isin(letters, ["B", "I"])[path]
    begins = np.ones(len(path), bool)
    begins[1:] = ~(goes_on[1:] & open_after[:-1] & (types[path[1:]] == types[path[:-1]]))
    begins[(np.cumsum(counts) - counts)[np.asarray(counts) > 0]] = True
    first = np.flatnonzero(begins)
    after = np.append(first[1:], len(path))[: len(first)]
    opens, closes = letters[path[first]], letters[path[after - 1]]
    whole = opens == "B"
    if scheme == "bioes":
        whole = (whole & (closes == "E")) | (opens == "S")
    first, after = first[whole], after[whole]
    return first, after, types[path[first]].tolist()
