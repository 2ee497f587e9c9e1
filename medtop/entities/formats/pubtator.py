r"""PubTator: many documents in a file, a blank line between them.

    123|t|title
    123|a|abstract on one line
    123<tab>10<tab>14<tab>arms<tab>Disease<tab>D001132[<tab>parts]     a span
    123<tab>CID<tab>D015738<tab>D003693                                kept as it is, unread

The text is the title, one line break, the abstract; offsets count code points from its beginning. A document with more
line breaks is written with a blank for each further one, so that every offset stays; that is counted. The sixth column
is the attribute `concept`, the seventh `parts` (BC5CDR's composite mentions) or `score=0.91`.
"""

import re

from medtop.entities.documents import Document, Span, Stated, blanked, check_spans, check_text
from medtop.entities.format import Format, by_collection, writable_spans
from medtop.entities.reading import lines_of, output_file, read_text, stem
from medtop.files.bounded import whole_number

SUFFIXES = (".PubTator.txt", ".pubtator.txt", ".pubtator", ".PubTator", ".txt")
_TEXT = re.compile(r"([^|\t]+)\|([ta])\|(.*)", re.DOTALL)
_SCORE = re.compile(r"score=(\d+(?:\.\d+)?)")


def read(files, tally):
    """Yields the `Document`s of `files`."""
    for name in files.names:
        path, block = files.path(name), []
        for number, line in lines_of(read_text(path)):
            starts = (match := _TEXT.fullmatch(line)) and match[2] == "t"
            if block and (not line.strip() or starts):
                yield from _document(block, name, path, tally)
                block = []
            if line.strip():
                block.append((number, line, match))
        if block:
            yield from _document(block, name, path, tally)


def _document(block, name, path, tally):
    """The `Document` of one block of lines; nothing where it has no title."""
    first, _, match = block[0]
    if not match or match[2] != "t":
        tally.reject(path, first, "document", "expected id|t|title", "documents")
        return
    document_id, text, stated, lines = match[1], match[3], [], []
    for number, line, match in block[1:]:
        columns = line.split("\t")
        if match and match[1] == document_id and match[2] == "a" and not stated and not lines:
            text += "\n" + match[3]
        elif columns[0] != document_id:
            tally.reject(path, number, "document", "a line of another document, without a title of its own")
        elif len(columns) >= 5 and not columns[1][:1].isalpha():  # a relation's name begins with a letter
            edges = whole_number(columns[1]), whole_number(columns[2])
            if None in edges:
                tally.reject(path, number, "span", "expected whole numbers as start and end")
            else:
                stated.append(Stated(_span(columns, len(stated) + 1, edges), columns[3], number))
        else:
            lines.append(line.partition("\t")[2])
    document = Document(document_id, text, source=name, kept={"collection": stem(name, SUFFIXES)})
    if lines:
        document.kept["pubtator"] = {"lines": lines}
    if check_text(document, path, tally, first):
        check_spans(document, stated, path, tally)
        yield document


def _span(columns, number, edges):
    attributes, score = {}, None
    for column, value in zip(("concept", "parts"), columns[5:7], strict=False):
        if column == "parts" and (match := _SCORE.fullmatch(value)):
            score = float(match[1])
        elif value or column == "parts" or len(columns) > 6:
            attributes[column] = value
    return Span(f"T{number}", columns[4], (edges,), attributes, score)


def write(folder, documents, tally):
    """Writes collection files below `folder`."""
    for name, group in by_collection(documents, ".pubtator.txt"):
        with open(output_file(folder, name, ""), "wb") as file:
            for document in group:
                if lines := document_lines(document, tally):
                    file.write("".join(f"{line}\n" for line in [*lines, ""]).encode("utf-8"))


def document_lines(document, tally):
    """The lines of a document; none where its id cannot stand in the format."""
    name = document.document_id
    if not name or re.search(r"[|\t\r\n]", name):
        tally.no_place(document, None, "an id with | or white space: PubTator has none")
        return []
    title, line_break, abstract = document.text.partition("\n")
    lines = [f"{name}|t|{_one_line(title, tally)}"]
    if line_break:
        lines.append(f"{name}|a|{_one_line(abstract, tally)}")
    for span in writable_spans(document, "PubTator", tally):
        columns = [name, str(span.start), str(span.end), blanked(document.text[span.start : span.end]), span.type]
        concept, parts = span.attributes.get("concept"), span.attributes.get("parts")
        if span.score is not None:
            parts = f"score={span.score:.4f}"
        columns += [concept or ""] * (concept is not None or parts is not None) + [parts] * (parts is not None)
        tally.count("attributes_without_a_place_in_pubtator", len(span.attributes.keys() - {"concept", "parts"}))
        lines.append("\t".join(columns))
    return lines + [f"{name}\t{line}" for line in document.kept.get("pubtator", {}).get("lines", ())]


def _one_line(text, tally):
    """A text with blanks in place of its line breaks, counted."""
    line = text.translate({10: " ", 13: " "})
    tally.count("line_breaks_written_as_blanks", sum(text.count(letter) for letter in "\r\n"))
    return line


FORMAT = Format("pubtator", SUFFIXES, read, write, one_file_a_document=False)
