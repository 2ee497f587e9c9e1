"""Where a diagnosis stands in ICD's tree: its category of three characters and its chapter."""

import re

# First and last category of each chapter: ICD-10-CM (CMS, 2024) and ICD-9-CM (CMS, version 32).
ICD10_CHAPTERS = tuple(
    tuple(span.split("-"))
    for span in (
        "A00-B99 C00-D49 D50-D89 E00-E89 F01-F99 G00-G99 H00-H59 H60-H95 I00-I99 J00-J99 K00-K95 L00-L99 M00-M99 "
        "N00-N99 O00-O9A P00-P96 Q00-Q99 R00-R99 S00-T88 U00-U85 V00-Y99 Z00-Z99"
    ).split()
)
ICD9_CHAPTERS = tuple(
    tuple(span.split("-"))
    for span in (
        "001-139 140-239 240-279 280-289 290-319 320-389 390-459 460-519 520-579 580-629 630-679 680-709 710-739 "
        "740-759 760-779 780-799 800-999 E00-E99 V01-V91"
    ).split()
)

_CODE = re.compile(r"(ICD10|ICD9)(?:CM)?_(.+)")


def place_of(category, spans):
    """The place of the span (first, last) that holds a category of three characters; -1 for none.

    >>> place_of("E11", [("A00", "B99"), ("E00", "E89")])
    1
    """
    return next((place for place, (low, high) in enumerate(spans) if low <= category <= high), -1)


def hierarchy_of(token):
    """(category, chapter) of a code as the vocabulary writes it; "" where it is no diagnosis of ICD.

    >>> hierarchy_of("ICD10_E11.9"), hierarchy_of("ICD9_25000"), hierarchy_of("RX_1")
    (('ICD10 E11', 'ICD10 E00-E89'), ('ICD9 250', 'ICD9 240-279'), ('', ''))
    """
    match = _CODE.fullmatch(token.upper())
    if not match:
        return "", ""
    system, code = match[1], match[2].replace(".", "")
    category = code[:3]
    spans = ICD10_CHAPTERS if system == "ICD10" else ICD9_CHAPTERS
    place = place_of(category, spans)
    chapter = f"{system} {'-'.join(spans[place])}" if place >= 0 else ""
    return f"{system} {category}", chapter
