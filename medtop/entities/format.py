"""What a format is: a name, the ends of its files' names, how they are read and how they are written."""

import collections.abc
import dataclasses
import itertools
import re

from medtop.files.errors import DataError


@dataclasses.dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: as flags give it.
        suffixes: ends of its files' names.
        read: function of (`InputFiles`, `Tally`) that yields `Document`s.
        write: function of (folder, iterable of `Document`, `Tally`).
        one_file_a_document: whether each document has its own file.
    """

    name: str
    suffixes: tuple
    read: collections.abc.Callable
    write: collections.abc.Callable
    one_file_a_document: bool


_REFERENCE = re.compile(r"(?:^|[ :])([TREAM]\d+)\b")


def note_lines_left_out(lines, known, tally):
    r"""The kept lines of a standoff file whose references are all there; lines that name a span left out are counted.

    Args:
        lines: list of str, `id<tab>rest`.
        known: set of ids that are written.
        tally: counts `kept_lines_that_name_a_span_left_out`.

    >>> from medtop.entities.documents import Tally
    >>> note_lines_left_out(["R1\tTreats Arg1:T1 Arg2:T9", "#1\tNote R1\tseen T9", "#2\tNote T1\t"], {"T1"}, Tally())
    ['#2\tNote T1\t']
    """
    known = known | {line.split("\t")[0] for line in lines}
    while True:
        kept = [line for line in lines if set(_REFERENCE.findall((line.split("\t") + [""])[1])) <= known]
        if len(kept) == len(lines):
            return kept
        tally.count("kept_lines_that_name_a_span_left_out", len(lines) - len(kept))
        known -= {line.split("\t")[0] for line in lines} - {line.split("\t")[0] for line in kept}
        lines = kept


def by_collection(documents, suffix):
    """Yields (file name, iterable of documents): those of one collection file go back to a file of its name.

    Documents that each came from a file of their own, or from none, go to one file, `documents<suffix>`. One document
    is held at a time.

    Raises:
        DataError: where the documents of one collection do not stand together.
    """
    seen = set()
    for name, group in itertools.groupby(documents, lambda document: document.kept.get("collection") or "documents"):
        if name in seen:
            raise DataError(f"{name}{suffix}: expected the documents of a collection together, received them apart")
        seen.add(name)
        yield name + suffix, group


def writable_spans(document, format_name, tally, *, fragments=False, zero_length=True):
    """The spans of a document that a format can hold; the others go to the rejects.

    Args:
        document: `Document`.
        format_name: for the reason.
        tally: `Tally`.
        fragments: whether the format has fragments.
        zero_length: whether the format has spans without a character.
    """
    good = []
    for span in document.spans:
        if len(span.fragments) > 1 and not fragments:
            tally.no_place(document, span, f"fragments: {format_name} has none")
        elif not zero_length and span.start == span.end:
            tally.no_place(document, span, f"zero length: {format_name} has none")
        else:
            good.append(span)
    return good
