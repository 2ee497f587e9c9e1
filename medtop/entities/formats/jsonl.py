r"""JSON lines: one document a line (or one JSON array, `.json`).

    {"document_id": "a", "text": "...", "spans": [{"span_id": "T1", "type": "Disease", "fragments": [[10, 14]],
     "text": "arms", "attributes": {"assertion": "absent"}, "score": 0.91}]}

Optional beside these: `patient_id` and any other text or number, which become columns of the document. Names that other
tools write are read too: `full_text`; `entities`, `label`, `labels`; `start`, `end`, `start_position`, `end_position`,
`start_offset`, `end_offset`; `label`, `entity_type`; `entity_value`; spans as `[start, end, type]`.
"""

import json

from medtop.entities.documents import Document, Span, Stated, check_spans, check_text, joined_text
from medtop.entities.format import Format, by_collection
from medtop.entities.reading import lines_of, output_file, read_text, stem
from medtop.files.bounded import TEXT_BYTES, parse_json

SUFFIXES = (".jsonl",)
"""In a folder; a `.json` file is read where it is named itself, for other files of that kind lie about."""

_NAMES = (".jsonl", ".json")
_TEXT, _SPANS, _ID = ("text", "full_text"), ("spans", "entities", "label", "labels"), ("document_id", "id", "doc_id")
_START, _END = ("start", "start_position", "start_offset"), ("end", "end_position", "end_offset")
_TYPE, _VALUE = ("type", "label", "entity_type"), ("text", "entity_value")


def read(files, tally):
    """Yields the `Document`s of `files`."""
    for name in files.names:
        path, text = files.path(name), read_text(files.path(name))
        is_array = text.lstrip()[:1] == "["
        for number, item in _array(path, text) if is_array else _lines(path, text, tally):
            document = _document(item, number, name, path, tally)
            if document is not None:
                yield document


def _array(path, text):
    return list(enumerate(parse_json(text, path, most=TEXT_BYTES), 1))


def _lines(path, text, tally):
    for number, line in lines_of(text):
        if line.strip():
            try:
                yield number, parse_json(line, path)
            except ValueError:
                tally.reject(path, number, "document", "expected JSON", "documents")


def _pick(item, names):
    """The value under the first of several names that an object has, or None."""
    return next((item[name] for name in names if name in item), None)


def _document(item, number, name, path, tally):
    text = _pick(item, _TEXT) if isinstance(item, dict) else None
    if not isinstance(text, str):
        tally.reject(path, number, "text", "expected an object with a text", "documents")
        return None
    document_id = _pick(item, _ID)
    document_id = f"{stem(name, _NAMES)}-{number}" if document_id is None else str(document_id)
    document = Document(document_id, text, source=name, patient_id=str(item.get("patient_id") or ""))
    document.kept = {"collection": stem(name, _NAMES), **(item["kept"] if isinstance(item.get("kept"), dict) else {})}
    taken = {"kept", "patient_id", *_TEXT, *_ID}
    document.columns = {
        key: str(value) for key, value in item.items() if key not in taken and isinstance(value, (str, int, float))
    }
    if not check_text(document, path, tally, number):
        return None
    stated, spans = [], next((item[key] for key in _SPANS if isinstance(item.get(key), list)), [])
    for place, span in enumerate(spans, 1):
        try:
            stated.append(_stated(span, place, number))
        except (AttributeError, KeyError, TypeError, ValueError, IndexError):
            tally.reject(path, number, f"span {place}", "expected start, end and type")
    check_spans(document, stated, path, tally)
    return document


def _stated(item, place, line):
    if isinstance(item, list):
        start, end, kind = item
        return Stated(Span(f"T{place}", str(kind), ((_whole(start), _whole(end)),)), None, line)
    fragments = item.get("fragments") or [[_pick(item, _START), _pick(item, _END)]]
    fragments = tuple((_whole(start), _whole(end)) for start, end in fragments)
    kind, score = _pick(item, _TYPE), item.get("score")
    if not isinstance(kind, str) or not kind:
        raise ValueError(kind)
    attributes = {str(name): str(value) for name, value in (item.get("attributes") or {}).items()}
    span = Span(
        str(item.get("span_id") or f"T{place}"), kind, fragments, attributes, None if score is None else float(score)
    )
    text = _pick(item, _VALUE)
    return Stated(span, text if isinstance(text, str) else None, line)


def _whole(value):
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(value)
    return value


def as_dict(document):
    """A document as the object that stands on its line."""
    item = {"document_id": document.document_id}
    if document.patient_id:
        item["patient_id"] = document.patient_id
    item |= {"text": document.text, "spans": [_span_dict(document, span) for span in document.spans]}
    item |= {name: value for name, value in document.columns.items() if name not in item}
    kept = {name: value for name, value in document.kept.items() if name != "collection"}
    return item | ({"kept": kept} if kept else {})


def _span_dict(document, span):
    item = {"span_id": span.span_id, "type": span.type, "fragments": [list(edges) for edges in span.fragments]}
    item["text"] = joined_text(document.text, span.fragments)
    if span.attributes:
        item["attributes"] = span.attributes
    return item | ({} if span.score is None else {"score": round(span.score, 6)})


def write(folder, documents, tally):
    """Writes collection files below `folder`."""
    for name, group in by_collection(documents, ".jsonl"):
        with open(output_file(folder, name, ""), "wb") as file:
            for document in group:
                file.write(json.dumps(as_dict(document), ensure_ascii=False).encode("utf-8") + b"\n")


FORMAT = Format("jsonl", SUFFIXES, read, write, one_file_a_document=False)
