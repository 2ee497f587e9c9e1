"""XML in and out, so that every character of a text comes back: no entity is expanded, no file fetched."""

import re
import xml.etree.ElementTree as ElementTree

from medtop.files.errors import DataError

_NO_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_CDATA = re.compile(r"(<!\[CDATA\[.*?\]\]>)", re.DOTALL)
_BARE_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\d+|#x[0-9a-fA-F]+);)")


def can_hold(text):
    """Whether XML 1.0 can hold a text at all: it has no place for most control characters."""
    return not _NO_CHARACTER.search(text)


def parse(path, text, tally):
    """The root of an XML text, or None where it is no XML (it goes to the rejects).

    Files of i2b2 2012 hold bare ampersands; they are read as `&amp;` and counted.

    Raises:
        DataError: for a file that declares entities, which can be made to fill the memory.
    """
    if "<!ENTITY" in text:
        raise DataError(f"{path}: expected XML without entity declarations, received one with them")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        first = error
    parts = [
        part if part.startswith("<![CDATA[") else _BARE_AMPERSAND.sub("&amp;", part) for part in _CDATA.split(text)
    ]
    try:
        root = ElementTree.fromstring("".join(parts))
    except (ElementTree.ParseError, ValueError):
        tally.reject(path, first.position[0], f"column {first.position[1]}", "expected XML", "documents")
        return None
    tally.count("xml_files_with_bare_ampersands")
    return root


def element(text):
    """A text as the content of an element; carriage returns survive only as references."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def attribute(text):
    """A text as the value of an attribute, quotes included."""
    for letter, reference in (('"', "&quot;"), ("\n", "&#10;"), ("\t", "&#9;")):
        text = element(text) if letter == '"' else text
        text = text.replace(letter, reference)
    return f'"{text}"'


def cdata(text):
    """A text as CDATA, as i2b2's files have it, or escaped where CDATA would change it."""
    return element(text) if "\r" in text or "]]>" in text else f"<![CDATA[{text}]]>"


def name(text):
    """A text as a name of XML: letters, digits, `_`, `-` and `.`; others become `_`.

    >>> name("assertion status"), name("2nd")
    ('assertion_status', '_2nd')
    """
    text = re.sub(r"[^\w.-]", "_", text)
    return text if re.match(r"[^\W\d]", text) else f"_{text}"
