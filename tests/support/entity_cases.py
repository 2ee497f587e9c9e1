"""Random documents with every trap of offsets, for the tests of entities."""

import numpy as np

from medtop.entities.documents import Document, Span
from medtop.text.words import WordSplitter

PIECES = (
    "pain", "Fièvre", "é", "e\u0301", "\U0001d4d0\U0001f489", "T-cell", "(WD)", "12.5", "naïve", "\u200bx", "\ufeff",
    "中文", " ", " ", "  ", "\t", "\n", "\r\n", "\n\n", "\r", ".", ". ", ",", "|", '"', "'", "&", "<b>", "]]>", "#",
    "||t=", "\u00a0", "-DOCSTART-", "\u2028", "\x85",
)  # fmt: skip
CONTROLS = ("\x00", "\x0b", "\x0c", "\x1c")
TYPES = ("Disease", "Chemical", "test")


def random_text(random, *, size=30, controls=True, without=()):
    """A text of pieces that shift offsets where a tool counts or cuts otherwise."""
    pieces = [piece for piece in PIECES + CONTROLS * controls if not any(part in piece for part in without)]
    return "".join(random.choice(np.array(pieces, object)) for _ in range(int(random.integers(0, size))))


def random_spans(random, text, *, fragments=True, zero_length=True, count=6):
    """Spans anywhere: overlapping, through line breaks, of zero length, in fragments."""
    spans = []
    for number in range(int(random.integers(0, count))):
        parts = int(random.integers(1, 4)) if fragments and random.random() < 0.3 else 1
        edges = np.sort(random.integers(0, len(text) + 1, 2 * parts)).tolist()
        if not zero_length and any(a == b for a, b in zip(edges[::2], edges[1::2], strict=True)):
            continue
        pairs = tuple(zip(edges[::2], edges[1::2], strict=True))
        spans.append(Span(f"T{number + 1}", str(random.choice(TYPES)), pairs))
    return spans


def whole_word_spans(random, text, starts=None, ends=None):
    """Spans that begin and end with words and share none: what tags and tokens can hold."""
    if starts is None:
        words = WordSplitter(False).split([text])
        starts, ends = words.starts.tolist(), words.ends.tolist()
    spans, place = [], 0
    while place < len(starts):
        place += int(random.integers(0, 4))
        after = min(place + int(random.integers(1, 4)), len(starts))
        if place < after:
            kind = str(random.choice(TYPES))
            spans.append(Span(f"T{len(spans) + 1}", kind, ((int(starts[place]), int(ends[after - 1])),)))
        place = after
    return spans


def documents(random, count=8, **options):
    """Some documents with random texts and spans."""
    texts = [random_text(random, **options) for _ in range(count)]
    return [Document(f"d{number}", text, random_spans(random, text)) for number, text in enumerate(texts)]


def meaning(document):
    """What must come back: text, and spans without their ids and order."""
    return document.text, sorted(
        (span.type, span.fragments, sorted(span.attributes.items())) for span in document.spans
    )
