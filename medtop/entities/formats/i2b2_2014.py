"""i2b2 2014 (de-identification): identifiers in XML, one file a document, named `<patient>-<document>.xml`.

A span's type is the tag's `TYPE` (PATIENT, DOCTOR, DATE, ...); the tag itself (NAME, LOCATION, ...) follows from it.
"""

import re

from medtop.entities.format import Format
from medtop.entities.formats import i2b2_xml

CATEGORIES = {
    "NAME": ("PATIENT", "DOCTOR", "USERNAME"),
    "PROFESSION": ("PROFESSION",),
    "LOCATION": ("ROOM DEPARTMENT HOSPITAL ORGANIZATION STREET CITY STATE COUNTRY ZIP LOCATION LOCATION-OTHER".split()),
    "AGE": ("AGE",),
    "DATE": ("DATE",),
    "CONTACT": ("PHONE", "FAX", "EMAIL", "URL", "IPADDR", "IPADDRESS"),
    "ID": "SSN MEDICALRECORD HEALTHPLAN ACCOUNT LICENSE VEHICLE DEVICE BIOID IDNUM ID".split(),
}
"""Tag -> its types, of the annotation guideline."""

_TAGS = {kind: tag for tag, kinds in CATEGORIES.items() for kind in kinds}
_COMMON = ("id", "start", "end", "text", "TYPE", "score")


def _read_tag(tag):
    kind = tag.get("TYPE") or tag.tag
    attributes = {name: value for name, value in tag.attrib.items() if name not in _COMMON and value}
    return kind, attributes | ({"tag": tag.tag} if tag.tag != _tag_of(kind) else {})


def _tag_of(kind):
    return _TAGS.get(kind.upper(), "PHI")


def _write_tag(span):
    more = {name: value for name, value in span.attributes.items() if name not in ("tag", "comment", *_COMMON)}
    tag = span.attributes.get("tag", _tag_of(span.type))
    return tag, {"TYPE": span.type} | more | {"comment": span.attributes.get("comment", "")}


def patient_of(document_id):
    """The patient's number of a document's name; "" where it has another form.

    >>> patient_of("gold/110-02")
    '110'
    """
    match = re.fullmatch(r"(?:.*/)?(\d+)-\d+", document_id)
    return match[1] if match else ""


def read(files, tally):
    """Yields the `Document`s of `files`."""
    return i2b2_xml.read_files(files, tally, _read_tag, (), "i2b2_2014", patient_of)


def write(folder, documents, tally):
    """Writes one file a document below `folder`."""
    i2b2_xml.write_files(folder, documents, tally, _write_tag, "deIdi2b2", "i2b2_2014")


FORMAT = Format("i2b2_2014", i2b2_xml.SUFFIXES, read, write, one_file_a_document=True)
