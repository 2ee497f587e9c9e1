r"""What i2b2's 2012 and 2014 files share: a text and a list of tags with start, end and text, in XML.

    <root><TEXT><![CDATA[...]]></TEXT><TAGS><EVENT id="E0" start="1" end="10" text="Admission" .../></TAGS></root>

Offsets count code points of the text as an XML parser gives it (`\r\n` in the file is one line break).
"""

import xml.etree.ElementTree as ElementTree

from medtop.entities import xml_text
from medtop.entities.documents import Document, Span, Stated, check_spans
from medtop.entities.format import writable_spans
from medtop.entities.reading import output_file, read_text, stem, write_exactly
from medtop.files.bounded import whole_number

SUFFIXES = (".xml",)


def read_files(files, tally, read_tag, keep, format_name, patient_of=lambda document_id: ""):
    """Yields `Document`s.

    Args:
        files: `InputFiles`.
        tally: `Tally`.
        read_tag: function of an element -> (type, attributes), or None where it is no span.
        keep: names of elements that are kept as they are.
        format_name: key of what is kept.
        patient_of: function of the document's id -> patient's id.
    """
    for name in files.names:
        path = files.path(name)
        root = xml_text.parse(path, read_text(path), tally)
        if root is None:
            continue
        body = root.find("TEXT")
        if body is None:
            tally.reject(path, "", "TEXT", "expected an element with the text", "documents")
            continue
        document_id = stem(name, SUFFIXES)
        document = Document(document_id, body.text or "", source=name, patient_id=patient_of(document_id))
        stated, lines = [], []
        for place, tag in enumerate(root.find("TAGS") if root.find("TAGS") is not None else (), 1):
            if tag.tag in keep:
                tag.tail = None
                lines.append(ElementTree.tostring(tag, encoding="unicode"))
                continue
            made = read_tag(tag)
            try:
                edges = whole_number(tag.get("start")), whole_number(tag.get("end"))
                score = None if tag.get("score") is None else float(tag.get("score"))
            except ValueError:
                made = None
            if made is None or None in edges:
                tally.reject(path, "", f"tag {place}", "expected a known tag with start, end and type")
                continue
            kind, attributes = made
            span = Span(tag.get("id") or f"T{place}", kind, (edges,), attributes, score)
            stated.append(Stated(span, tag.get("text")))
        check_spans(document, stated, path, tally)
        document.kept = {format_name: {"root": root.tag, **({"lines": lines} if lines else {})}}
        yield document


def write_files(folder, documents, tally, write_tag, root, format_name):
    """Writes one `.xml` file a document.

    Args:
        folder, documents, tally: as formats have them.
        write_tag: function of a `Span` -> (tag, dict of attributes after id, start, end and text).
        root: name of the root element where the document does not say it.
        format_name: as for `read_files`.
    """
    for document in documents:
        if not xml_text.can_hold(document.text):
            tally.no_place(document, None, "a character that XML has no place for")
            continue
        kept = document.kept.get(format_name, {})
        name = kept.get("root", root)
        lines = ['<?xml version="1.0" encoding="UTF-8" ?>', f"<{name}>"]
        lines += [f"<TEXT>{xml_text.cdata(document.text)}</TEXT>", "<TAGS>"]
        for span in writable_spans(document, format_name, tally):
            tag, more = write_tag(span)
            first = {"id": span.span_id, "start": span.start, "end": span.end}
            values = first | {"text": document.text[span.start : span.end]} | more
            values |= {} if span.score is None else {"score": f"{span.score:.4f}"}
            pairs = " ".join(f"{xml_text.name(key)}={xml_text.attribute(str(value))}" for key, value in values.items())
            lines.append(f"<{xml_text.name(tag)} {pairs} />")
        lines += [*kept.get("lines", ()), "</TAGS>", f"</{name}>"]
        write_exactly(output_file(folder, document.document_id, ".xml"), "".join(f"{line}\n" for line in lines))
