"""The words and sentences of documents: what is tagged, and what a tagger reads at a time.

Documents that came from CoNLL files keep their words and sentences; others are cut by `medtop.text.words` (case kept)
and `medtop.text.sentences`. Nothing here looks at spans, unless it is told to.

Letters: W words of a document.
"""

import bisect
import collections.abc
import dataclasses
import functools
import itertools

from medtop.text.sentences import sentence_spans
from medtop.text.words import WordSplitter

_SPLITTER = WordSplitter(False)


@dataclasses.dataclass(frozen=True)
class DocumentWords:
    """Words of one document.

    Attributes:
        starts, ends: lists of W int, code points.
        words: list of W str, as they stand in the text.
        count: function without arguments that gives `counts`: word pieces do without sentences.
    """

    starts: list
    ends: list
    words: list
    count: collections.abc.Callable

    @functools.cached_property
    def counts(self):
        """list of int, words of each sentence, their sum W."""
        return self.count()

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
    return words_of_all([document], whole_spans)[0]


def words_of_all(documents, whole_spans=False):
    """`document_words` of a list of documents, whose texts are cut at once."""
    texts = [document.text for document in documents if not document.kept.get("conll")]
    edges, made = iter(_SPLITTER.edges(texts)), []
    for document in documents:
        if kept := document.kept.get("conll"):
            starts, ends = kept["words"][::2], kept["words"][1::2]
            count = functools.partial(list, kept["sentences"])
        else:
            starts, ends = (places.tolist() for places in next(edges))
            count = functools.partial(_sentence_counts, document, starts, whole_spans)
        words = [document.text[a:b] for a, b in zip(starts, ends, strict=True)]
        made.append(DocumentWords(starts, ends, words, count))
    return made


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
