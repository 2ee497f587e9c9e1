"""i2b2 2012: events (problems, tests, treatments, ...) with polarity and modality, and time expressions, in XML.

Spans are `EVENT` and `TIMEX3`; a span's type is their `type`, the other values are its attributes. `SECTIME` and
`TLINK` are kept as they are, unread.
"""

from medtop.entities.format import Format
from medtop.entities.formats import i2b2_xml

_COMMON = ("id", "start", "end", "text", "type", "score")
_TIMES = ("DATE", "TIME", "DURATION", "FREQUENCY")


def _read_tag(tag):
    kind = tag.get("type")
    if tag.tag not in ("EVENT", "TIMEX3") or not kind:
        return None
    attributes = {name: value for name, value in tag.attrib.items() if name not in _COMMON}
    return kind, attributes | ({"tag": tag.tag} if tag.tag != _tag_of(kind) else {})


def _tag_of(kind):
    return "TIMEX3" if kind.upper() in _TIMES else "EVENT"


def _write_tag(span):
    more = {name: value for name, value in span.attributes.items() if name not in ("tag", *_COMMON)}
    return span.attributes.get("tag", _tag_of(span.type)), more | {"type": span.type}


def read(files, tally):
    """Yields the `Document`s of `files`."""
    return i2b2_xml.read_files(files, tally, _read_tag, ("SECTIME", "TLINK"), "i2b2_2012")


def write(folder, documents, tally):
    """Writes one file a document below `folder`."""
    i2b2_xml.write_files(folder, documents, tally, _write_tag, "ClinicalNarrativeTemporalAnnotation", "i2b2_2012")


FORMAT = Format("i2b2_2012", i2b2_xml.SUFFIXES, read, write, one_file_a_document=True)
