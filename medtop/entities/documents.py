"""Documents and the spans marked in them, checked against the text; what is wrong with them is listed, never shown.

Offsets are code points of the document's text, whose line ends and characters are those of the file.
"""

import collections
import dataclasses
import hashlib
import re

from medtop.files.errors import DataError


@dataclasses.dataclass(frozen=True)
class Span:
    """A marked piece of a document, in one or more fragments.

    Attributes:
        span_id: str, unique in its document.
        type: str.
        fragments: tuple of (start, end), code points, end excluded, in order of the text; zero length is allowed.
        attributes: dict of str -> str, such as {"assertion": "absent"}.
        score: float, a system's confidence, or None.
    """

    span_id: str
    type: str
    fragments: tuple
    attributes: dict = dataclasses.field(default_factory=dict)
    score: float | None = None

    @property
    def start(self):
        """First code point of the hull."""
        return self.fragments[0][0]

    @property
    def end(self):
        """The code point after the hull."""
        return max(end for _, end in self.fragments)


@dataclasses.dataclass
class Document:
    """A text and its spans.

    Attributes:
        document_id: str, unique in a collection.
        text: str.
        spans: list of `Span`.
        source: path of the file it came from, below the folder or beside the file that was named.
        patient_id: str, "" where unknown.
        kept: dict format -> what that format holds beside spans (relations, events, notes), unread: it is given back
            when the document is written in the same format.
        split: "train", "valid", "test", or None where not decided.
        columns: dict of str -> str, other columns of the document, such as a template's number.
    """

    document_id: str
    text: str
    spans: list = dataclasses.field(default_factory=list)
    source: str = ""
    patient_id: str = ""
    kept: dict = dataclasses.field(default_factory=dict)
    split: str | None = None
    columns: dict = dataclasses.field(default_factory=dict)

    @property
    def sha256(self):
        """Hex SHA-256 of the text in UTF-8."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()


class Tally:
    """What a run could not use, and what it repaired under a stated rule.

    Args:
        strict: raise a `DataError` for the first thing that would be rejected.

    Attributes:
        rejects: list of (file, line, column, reason); line "" where a format has none.
        counts: Counter of repairs and remarks.
        unwritten: Counter of the types of spans that a format had no place for, and `unwritten_documents`, how many
            documents; whoever writes several splits takes them after each.
    """

    def __init__(self, strict=False):
        self.strict = strict
        self.rejects = []
        self.counts, self.unwritten, self.unwritten_documents = collections.Counter(), collections.Counter(), 0

    def reject(self, file, line, column, reason, what="spans", shown=None):
        """Notes one thing that is left out; the reason never holds the file's content.

        Args:
            file, line, column: its place.
            reason: str.
            shown: what stands for `file` in a message, where that may be a patient's.
            what: "spans" or "documents", which are counted as `<what>_left_out`, or None.
        """
        if self.strict:
            place = f"line {line}: " if line != "" else ""
            raise DataError(f"{shown or file}: {place}{column}: {reason}")
        self.rejects.append((str(file), line, column, reason))
        if what:
            self.counts[f"{what}_left_out"] += 1

    def no_place(self, document, span, reason):
        """Notes a span, or with None the whole document, that the format being written has no place for."""
        what, column = ("documents", "document") if span is None else ("spans", f"span {span.span_id}")
        self.reject(document.document_id[:60], "", column, reason, what, document.source or "document")
        spans = document.spans if span is None else [span]
        self.unwritten.update(each.type for each in spans)
        self.unwritten_documents += span is None

    def count(self, name, number=1):
        """Adds to a count."""
        if number:
            self.counts[name] += number

    @property
    def reasons(self):
        """Counter of the rejects' reasons."""
        return collections.Counter(reason for *_, reason in self.rejects)


@dataclasses.dataclass(frozen=True)
class Stated:
    """A span as a file states it, before it is held against the text.

    Attributes:
        span: `Span`.
        text: the span's text as the file gives it; None where the format gives none.
        line: where it stands in the file, "" where unknown.
    """

    span: Span
    text: str | None
    line: int | str = ""


def joined_text(text, fragments):
    """The fragments of a text, joined by blanks.

    >>> joined_text("left and right arm", ((0, 4), (15, 18)))
    'left arm'
    """
    return " ".join(text[start:end] for start, end in fragments)


def blanked(text):
    r"""A text with a blank in place of each tab and line break, of the same length.

    >>> blanked("a\r\nb\tc")
    'a  b c'
    """
    return text.translate({9: " ", 10: " ", 13: " "})


def collapsed(text):
    """A text with one blank in place of each run of white space, none at its ends."""
    return " ".join(text.split())


def same_text(stated, actual):
    """How a stated text agrees with the document's: "", "blanks", "white space", "case", or None where it does not.

    Formats of one line a span cannot hold line breaks and tabs and write blanks; some collapse white space, and i2b2's
    2010 files are in lower case.

    >>> [same_text("a b", text) for text in ("a b", "a\\nb", "a \\n b", "A b", "ab")]
    ['', 'blanks', 'white space', 'case', None]
    """
    if stated == actual:
        return ""
    if blanked(stated) == blanked(actual):
        return "blanks"
    if collapsed(stated) == collapsed(actual):
        return "white space"
    if collapsed(stated).lower() == collapsed(actual).lower():
        return "case"
    return None


LEFT_OUT = {
    "order": "fragments that begin before the one before ends",
    "outside": "span beyond the text",
    "text": "the span's text is not the document's text at its place",
    "twice": "a second span with this id",
}
"""Reasons for which a span is left out."""


def check_spans(document, stated, file, tally, allowed=("blanks",)):
    """Holds stated spans against the document; the good ones become `document.spans`, others go to the rejects.

    Args:
        document: `Document`; its `spans` are replaced.
        stated: list of `Stated`.
        file: name of the file, for the rejects.
        allowed: what `same_text` may give for a span to be good, beside "".
        tally: `Tally`. Counts `span_text_differs_in_blanks`, `..._white_space`, `..._case`, `overlapping_spans`
            (spans that share a character with an earlier one), `zero_length_spans`, `fragmented_spans`.
    """
    length, good, ids = len(document.text), [], set()
    for item in stated:
        span, reason = item.span, None
        edges = [edge for fragment in span.fragments for edge in fragment]
        if not edges or min(edges) < 0 or max(edges) > length:
            reason = "outside"
        elif edges != sorted(edges):
            reason = "order"
        elif span.span_id in ids:
            reason = "twice"
        elif item.text is not None:
            agreement = same_text(item.text, joined_text(document.text, span.fragments))
            if agreement and agreement not in allowed:
                agreement = None
            if agreement is None:
                reason = "text"
            elif agreement:
                tally.count(f"span_text_differs_in_{agreement.replace(' ', '_')}")
        if reason:
            tally.reject(file, item.line, "span", LEFT_OUT[reason])
            continue
        ids.add(span.span_id)
        good.append(span)
        tally.count("zero_length_spans", any(start == end for start, end in span.fragments))
        tally.count("fragmented_spans", len(span.fragments) > 1)
    tally.count("overlapping_spans", count_overlaps(good))
    document.spans = good


def count_overlaps(spans):
    """How many spans share a character with an earlier one (in order of start, the longer first).

    >>> spans = [Span(str(n), "x", (edges,)) for n, edges in enumerate([(0, 9), (2, 4), (9, 12), (11, 13)])]
    >>> count_overlaps(spans)
    2
    """
    fragments = sorted((start, -end, number) for number, span in enumerate(spans) for start, end in span.fragments)
    reach, overlapping = 0, set()
    for start, negative_end, number in fragments:
        if start < reach and -negative_end > start:
            overlapping.add(number)
        reach = max(reach, -negative_end)
    return len(overlapping)


def check_text(document, file, tally, line=""):
    """Whether a document's text can be written in UTF-8; where not, it goes to the rejects."""
    if re.search("[\ud800-\udfff]", document.text):
        tally.reject(file, line, "text", "half a surrogate pair: no text in UTF-8", "documents")
        return False
    return True
