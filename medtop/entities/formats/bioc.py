"""BioC XML: collection, documents, passages with offsets, annotations with locations.

The text is the passages at their offsets; what lies between them is line breaks. Offsets count code points. Relations
and the passages' and documents' own infons are kept as they are, unread; an annotation's infon `type` is the span's
type, `score` its score, the other infons are its attributes; several locations are fragments.
"""

import itertools
import xml.etree.ElementTree as ElementTree

from medtop.entities import xml_text
from medtop.entities.documents import Document, Span, Stated, check_spans, joined_text
from medtop.entities.format import Format, by_collection
from medtop.entities.reading import output_file, read_text, stem
from medtop.files.bounded import TEXT_BYTES, whole_number

SUFFIXES = (".bioc.xml", ".BioC.xml", ".xml")


def read(files, tally):
    """Yields the `Document`s of `files`."""
    for name in files.names:
        path = files.path(name)
        root = xml_text.parse(path, read_text(path), tally)
        for place, item in enumerate(root.iter("document") if root is not None else (), 1):
            document = _document(item, place, name, path, tally)
            if document is not None:
                yield document


def _document(item, place, name, path, tally):
    document_id = (item.findtext("id") or f"{stem(name, SUFFIXES)}-{place}").strip()
    text, passages, stated = "", [], []
    for passage in item.findall("passage"):
        pieces = [passage] if passage.find("text") is not None else passage.findall("sentence")
        begin = len(text)
        for piece in pieces:
            offset = whole_number(piece.findtext("offset"))
            if offset is None or not len(text) <= offset <= TEXT_BYTES:
                reason = "a passage that begins before the one before ends, nowhere or too far away"
                tally.reject(path, "", f"document {place}", reason, "documents")
                return None
            begin = offset if piece is pieces[0] else begin
            text += "\n" * (offset - len(text)) + (piece.findtext("text") or "")
        if pieces:
            infons = {infon.get("key", ""): infon.text or "" for infon in passage.findall("infon")}
            passages.append([begin, len(text), infons])
        for annotation in passage.iter("annotation"):
            stated.append(_stated(annotation, len(stated) + 1, path, place, tally))
    document = Document(document_id, text, source=name, kept={"collection": stem(name, SUFFIXES)})
    relations = [_raw(relation) for relation in item.iter("relation")]
    infons = {infon.get("key", ""): infon.text or "" for infon in item.findall("infon")}
    document.kept["bioc"] = {"passages": passages, "relations": relations, "infons": infons}
    check_spans(document, [item for item in stated if item is not None], path, tally, ("blanks", "white space"))
    return document


def _raw(element):
    element.tail = None
    return ElementTree.tostring(element, encoding="unicode")


def _stated(annotation, number, path, place, tally):
    infons = {infon.get("key", ""): infon.text or "" for infon in annotation.findall("infon")}
    kind = infons.pop("type", "")
    try:
        score = float(infons.pop("score")) if "score" in infons else None
    except ValueError:
        kind = ""
    edges = [
        tuple(whole_number(item.get(name)) for name in ("offset", "length")) for item in annotation.findall("location")
    ]
    if not kind or not edges or None in itertools.chain(*edges):
        tally.reject(path, "", f"document {place} annotation {number}", "expected a type, whole numbers and a location")
        return None
    fragments = tuple((offset, offset + length) for offset, length in edges)
    span = Span(annotation.get("id") or f"T{number}", kind, fragments, infons, score)
    text = annotation.findtext("text")
    return Stated(span, text, "")


def write(folder, documents, tally):
    """Writes collection files below `folder`."""
    for name, group in by_collection(documents, ".bioc.xml"):
        with open(output_file(folder, name, ""), "wb") as file:
            file.write(b'<?xml version="1.0" encoding="UTF-8"?>\n<collection><source/><date/><key/>\n')
            for document in group:
                file.write(document_text(document, tally).encode("utf-8"))
            file.write(b"</collection>\n")


def document_text(document, tally):
    """The XML of a document; "" where XML has no place for it."""
    if not xml_text.can_hold(document.text) or not xml_text.can_hold(document.document_id):
        tally.no_place(document, None, "a character that XML has no place for")
        return ""
    kept = document.kept.get("bioc", {})
    passages = kept.get("passages") or [[0, len(document.text), {}]]
    owners = [
        max(n for n, (begin, _, _) in enumerate(passages) if begin <= span.start or n == 0) for span in document.spans
    ]
    parts = [f"<document><id>{xml_text.element(document.document_id)}</id>{_infons(kept.get('infons', {}))}\n"]
    for number, (begin, end, infons) in enumerate(passages):
        text = xml_text.element(document.text[begin:end])
        parts.append(f"<passage>{_infons(infons)}<offset>{begin}</offset><text>{text}</text>\n")
        parts += [
            _annotation(document, span) for span, owner in zip(document.spans, owners, strict=True) if owner == number
        ]
        parts.append("</passage>\n")
    return "".join([*parts, *(f"{relation}\n" for relation in kept.get("relations", ())), "</document>\n"])


def _infons(infons):
    return "".join(f"<infon key={xml_text.attribute(k)}>{xml_text.element(v)}</infon>" for k, v in infons.items())


def _annotation(document, span):
    infons = {"type": span.type, **span.attributes}
    if span.score is not None:
        infons["score"] = f"{span.score:.4f}"
    places = "".join(f'<location offset="{start}" length="{end - start}"/>' for start, end in span.fragments)
    text = xml_text.element(joined_text(document.text, span.fragments))
    return (
        f"<annotation id={xml_text.attribute(span.span_id)}>{_infons(infons)}{places}<text>{text}</text></annotation>\n"
    )


FORMAT = Format("bioc", SUFFIXES, read, write, one_file_a_document=False)
