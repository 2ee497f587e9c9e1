"""Prefixes of codes in endpoint files: in which systems they are written, and which text is none.

A prefix that is misread matches nothing, and an outcome that never occurs looks like many good negatives: so whatever
is no plain prefix of its own system is refused.
"""

import re

from medtop.files.errors import DataError

SYSTEMS = ("icd9", "icd10", "icd9proc", "icd10pcs", "hcpcs", "phecode", "verbatim")
"""Systems of an endpoint file: ICD-9-CM and ICD-10(-CM) diagnoses, ICD-9-CM procedures (volume 3), ICD-10-PCS, HCPCS
(CPT is its level I), phecodes, and codes as the source writes them."""

MARKED = SYSTEMS[:5]
"""Systems whose codes carry their name before an underscore in the stays table: `ICD9_4280`, `HCPCS_92928`."""

_SHAPES = {  # of prefixes without dots, in upper case
    "icd9": r"[0-9]{1,5}|V[0-9]{0,4}|E(0[0-3]?|[89][0-9]?)?|E(0[0-3]|[89][0-9])[0-9]{1,2}",
    "icd10": r"[A-Z]([0-9][0-9A-Z]{0,5})?",
    "icd9proc": r"[0-9]{1,4}",
    "icd10pcs": r"[0-9A-HJ-NP-Z]{1,7}",
    "hcpcs": r"[0-9A-Z][0-9]{0,3}|[0-9A-Z][0-9]{3}[0-9A-Z]",
    "phecode": r"[0-9]{1,4}",
}
_EXAMPLES = {
    "icd9": "250.4, V45 or E849",
    "icd10": "E11.2",
    "icd9proc": "36.06",
    "icd10pcs": "027",
    "hcpcs": "92928",
    "phecode": "250.2",
}
_WILD = re.compile(r"[*%?_\[\]]|\.\.|x+$")  # 410.x; the capital X of ICD-10-CM (T36.0X) fills a place
_RANGE = re.compile(r"[0-9A-Za-z] *(-|\u2013|\u2014|:|~|\bto\b) *[0-9A-Za-z]")


def plain_prefix(system, text, where):
    """A prefix as it is held against codes: without blanks around it; ICD without dots, marked systems in upper case.

    Args:
        system: one of `SYSTEMS`.
        text: as the file gives it.
        where: names the place in errors, such as `own.json: endpoints.MI.icd9`.

    Raises:
        DataError: for a wildcard, a range, a dot at the wrong place, or what is no prefix in that system.

    >>> plain_prefix("icd9", " 250.4 ", "file"), plain_prefix("icd10", "e11.31", "file")
    ('2504', 'E1131')
    """
    text = text.strip()
    if system == "verbatim":
        return text
    expected = f"{where}: expected the beginning of a code, such as {_EXAMPLES[system]}, received"
    if _RANGE.search(text):
        raise DataError(f"{expected} a range, {text!r}; write every prefix of it")
    if _WILD.search(text):
        raise DataError(f"{expected} a wildcard, {text!r}; a prefix alone matches all that begin with it")
    plain = text if system == "phecode" else text.upper()
    bare = plain.replace(".", "")
    if not re.fullmatch(_SHAPES[system], bare) or text.count(".") > 1:
        other = next((name for name in ("icd10", "icd9") if name != system and re.fullmatch(_SHAPES[name], bare)), None)
        hint = f", which looks like {other}" if system in ("icd9", "icd10") and other else ""
        raise DataError(f"{expected} {text!r}{hint}")
    if "." in plain and system in ("icd9", "icd10", "icd9proc"):
        head = 2 if system == "icd9proc" else 4 if system == "icd9" and plain.startswith("E") else 3
        if plain.index(".") != head:
            raise DataError(f"{expected} {text!r}, whose dot is not after {head} characters (a zero lost in front?)")
    return plain if system == "phecode" else bare
