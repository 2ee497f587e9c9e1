"""Notes that were copied forward: which of some notes, in the order of time, say nothing that those before did not."""

import re

SHINGLE = 5
"""Words that are compared together."""

NEAR_SHARE = 0.9
"""A note is a near copy when at least this share of its shingles stand in the notes kept before it."""

_WORD = re.compile(r"\w+")


def find_copies(texts, near=False):
    """Finds notes that repeat the ones before them.

    A note is an *exact* copy when its words, in lower case and without what stands between them, are those of a note
    before it. It is a *near* copy when at least 90% of its distinct runs of five words stand in the notes kept before
    it (containment of shingles: Broder, On the resemblance and containment of documents, 1997); a note of fewer than
    five words is one run. The first of several stays, so that what was known stays known as early as it was.

    Args:
        texts: list of str, in the order of time, of one admission.
        near: whether near copies are looked for too.

    Returns:
        list of None (kept), "exact" or "near", one a text.

    >>> find_copies(["BP 120/80, pain.", "bp 120 / 80 pain", "new pain today"])
    [None, 'exact', None]
    """
    seen, shingles, kinds = set(), set(), []
    for text in texts:
        words = tuple(_WORD.findall(text.lower()))
        own = {words[place : place + SHINGLE] for place in range(max(1, len(words) - SHINGLE + 1))} if near else set()
        kind = None
        if words in seen:
            kind = "exact"
        elif near and words and len(own & shingles) >= NEAR_SHARE * len(own):
            kind = "near"
        kinds.append(kind)
        if words and kind is None:
            seen.add(words)
            shingles |= own
    return kinds
