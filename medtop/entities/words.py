"""The words and sentences of documents: what is tagged, and what a tagger reads at a time.

Documents that came from CoNLL files keep their words and sentences; others are cut by `medtop.text.words` (case kept)
and `medtop.text.sentences`. Nothing here looks at spans, unless it is told to.

Letters: W words of a document.
"""

import bisect
import dataclasses
import itertools

from medtop.text.sentences import sentence_spans
from medtop.text.words import WordSplitter

_SPLITTER = WordSplitter(False)


@dataclasses.dataclass(frozen=True)
class DocumentWords:
    """Words of one document.

    Attributes:
        starts, ends: lists of W int, code points.
        counts: list of int, words of each sentence, their sum W.
        words: list of W str, as they stand in the text.
    """

    starts: list
    ends: list
    counts: list
    words: list

    def sentences(self):
        """Yields slices, one a sentence."""
        edges = [0, *itertools.accumulate(self.counts)]
        return (slice(before, after) for before, after in itertools.pairwise(edges))


def document_words(document, whole_spans=False):
    """The `DocumentWords` of a `Document`.

    Args:
        document: `Document`.
        whole_spans: end no sentence within one of the document's spans (for writing, not for training or prediction).
    """
    kept = document.kept.get("conll")
    if kept:
        starts, ends, counts = kept["words"][::2], kept["words"][1::2], list(kept["sentences"])
    else:
        split = _SPLITTER.split([document.text])
        starts, ends = split.starts.tolist(), split.ends.tolist()
        counts = _sentence_counts(document, starts, whole_spans)
    return DocumentWords(starts, ends, counts, [document.text[a:b] for a, b in zip(starts, ends, strict=True)])


def _sentence_counts(document, starts, whole_spans):
    """Words of each sentence."""
    spans = sorted(document.spans, key=lambda span: span.start) if whole_spans else []
    edges, reach, place = [], 0, 0
    for edge, _ in sentence_spans(document.text)[1:]:
        while place < len(spans) and spans[place].start < edge:
            reach = max(reach, spans[place].end)
            place += 1
        if edge >= reach:
            edges.append(edge)
    cuts = [0, *(bisect.bisect_left(starts, edge) for edge in edges), len(starts)]
    return [after - before for before, after in itertools.pairwise(cuts) if after > before]
