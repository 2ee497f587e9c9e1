"""Documents to sentences of words with their spans, and a tagger's ranges back to spans of the document."""

import dataclasses

from medtop.entities.documents import Span
from medtop.entities.words import document_words
from medtop.text.tags import word_ranges


def training_sentences(documents, tally):
    """Yields (words, ranges (first, after, type)) of each sentence.

    Sentences are cut without a look at spans; one that reaches beyond its sentence is cut there, its pieces stay
    marked, and it is counted as `spans_that_cross_sentences`. Other rules and counts: `tags.word_ranges`.

    Args:
        documents: iterable of `Document`.
        tally: `Tally`.
    """
    for document in documents:
        split = document_words(document)
        ranges = word_ranges(split.starts, split.ends, document.spans, tally)
        crossing = 0
        for part in split.sentences():
            inside = [
                (max(first, part.start) - part.start, min(after, part.stop) - part.start, span.type)
                for first, after, span in ranges
                if first < part.stop and after > part.start
            ]
            crossing += sum(1 for first, after, _ in ranges if part.start <= first < part.stop < after)
            yield split.words[part], inside
        tally.count("spans_that_cross_sentences", crossing)


def predict(document, tag):
    """A document with a tagger's spans in place of its own.

    Args:
        document: `Document`; its spans are not looked at.
        tag: function list of words -> list of (first, after, type, score).
    """
    split, spans = document_words(document), []
    for part in split.sentences():
        for first, after, kind, score in tag(split.words[part]):
            edges = (split.starts[part.start + first], split.ends[part.start + after - 1])
            spans.append(Span(f"T{len(spans) + 1}", kind, (edges,), {}, score))
    kept = {name: value for name, value in document.kept.items() if name in ("conll", "collection", "bioc")}
    if "bioc" in kept:
        kept["bioc"] = {**kept["bioc"], "relations": []}
    return dataclasses.replace(document, spans=spans, kept=kept)
