"""Codes in one normal form: `E119`, `E11.9`, `e11.9 ` and `icd-10-cm: E11.9` are one code, `ICD10_E119`.

Only distinct codes pass here, so plain Python will do. Nothing that is not certain is changed: a code without a mark
gets one where `--code_system` says which, or where nearly all codes of the column have ICD-10's shape.
"""

import re

from medtop.files.errors import DataError
from medtop.files.sql import quote
from medtop.sources.words import NULL_WORDS, trimmed

CODE_SYSTEMS = ("auto", "icd9", "icd10", "verbatim")
ICD_MARKS = ("ICD10_", "ICD9_")
ENOUGH = 0.95
"""Share of the rows that must have ICD-10's shape for a column without marks to be taken for ICD-10."""

_MARK = re.compile(r"ICD[-_ ]?(9|10)(?:[-_ ]?(?:CM|GM|AM|CA|WHO))?[-_ :]+(\S.*)", re.IGNORECASE)
_PROCEDURE = re.compile(r"(PCS|PROC|SG|PX)[-_ :]", re.IGNORECASE)
_SHAPE_10 = re.compile(r"[A-Z][0-9][0-9AB](\.?([0-9X]{1,4}|[0-9X]{3}[A-Z]))?", re.IGNORECASE)
_SHORT_9 = re.compile(r"[0-9]{1,2}\.[0-9]{1,2}")
_FLOAT = re.compile(r"[0-9]{4,}\.0+")
_BETWEEN = re.compile(r"\s*[;,|/+]\s*|\s+")
_DOTTED_9 = re.compile(r"[0-9]{3}\.[0-9]{1,2}")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_USUAL = re.compile(r"ICD(?:9|10)_[A-Z]?[0-9][0-9A-Z]*")  # is its own normal form, and none of what is counted
_BODY = re.compile(r"[\s.]")


def marked(code):
    """A code with a mark of ICD-9 or ICD-10 in its normal form; None for others, procedures among them.

    >>> marked("icd-10-cm: e11.9"), marked("ICD9_250.00"), marked("ICD10PCS_0DTJ4ZZ"), marked("E11.9")
    ('ICD10_E119', 'ICD9_25000', None, None)
    """
    match = _MARK.fullmatch(code)
    if not match or _PROCEDURE.match(match[2]):
        return None
    return f"ICD{match[1]}_{_BODY.sub('', trimmed(match[2])).upper()}"


def with_mark(code, system):
    """A code without a mark as one of `system` ("icd9", "icd10"); ICD-9's lost leading zeros come back where the dot
    shows that they are lost.

    >>> with_mark("e11.9", "icd10"), with_mark("38.9", "icd9"), with_mark("V27.0", "icd9")
    ('ICD10_E119', 'ICD9_0389', 'ICD9_V270')
    """
    if system == "icd9" and _SHORT_9.fullmatch(code):
        code = "0" * (3 - code.index(".")) + code
    return f"{system.upper()}_{_BODY.sub('', code).upper()}"


def is_null_word(code):
    """Whether a code says that there is none: a null word, also behind a mark."""
    mark = _MARK.fullmatch(code)
    return trimmed(mark[2] if mark else code).upper() in NULL_WORDS


def holds_several(code):
    """Whether a cell seems to hold several codes.

    >>> holds_several("I10;E119"), holds_several("427.31, I48.0"), holds_several("ICD-10-CM E11.9")
    (True, True, False)
    """
    mark = _MARK.fullmatch(code)
    parts = _BETWEEN.split(mark[2] if mark else code)
    return sum(len(part) > 2 and any(map(str.isdigit, part)) for part in parts) > 1


def guess_system(codes, rows):
    """`icd10` where no code has a mark and nearly all rows have ICD-10's shape, else None.

    Args:
        codes: list of trimmed codes.
        rows: list of int, rows of each.
    """
    if not codes or any(_MARK.fullmatch(code) for code in codes):
        return None
    fitting = sum(number for code, number in zip(codes, rows, strict=True) if _SHAPE_10.fullmatch(code))
    return "icd10" if fitting >= ENOUGH * sum(rows) else None


def normal_codes(codes, rows, system):
    """The normal form of distinct codes.

    Args:
        codes: list of str.
        rows: list of int, rows of each.
        system: one of `CODE_SYSTEMS`.

    Returns:
        (list of the normal forms, None for null words; the system that codes without a mark were taken for, or None).
    """
    trim = [trimmed(code) for code in codes]
    kept = [code if _USUAL.fullmatch(code) else None if not code or is_null_word(code) else code for code in trim]
    if system == "verbatim":
        return kept, None
    given = [(code, number) for code, number in zip(kept, rows, strict=True) if code is not None]
    assumed = guess_system(*map(list, zip(*given, strict=True))) if system == "auto" and given else system
    assumed = None if assumed == "auto" else assumed

    def form(code):
        if code is None or _USUAL.fullmatch(code):
            return code
        own = marked(code)
        if own or not assumed or _MARK.fullmatch(code):
            return own or code
        return with_mark(code, assumed)

    return [form(code) for code in kept], assumed


def count_codes_alike(codes):
    """Codes that differ from another one only in case or in a dot: how many distinct ones.

    >>> count_codes_alike(["E11.9", "e119", "250.00", "25000", "41.1", "411"])  # the last two are two phecodes
    4
    """
    groups = {}
    for code in codes:
        groups.setdefault(_alike(code), []).append(code)
    return sum(len(group) for group in groups.values() if len(group) > 1)


def _alike(code):
    if _USUAL.fullmatch(code):
        return code
    if _NUMBER.fullmatch(code) and not _DOTTED_9.fullmatch(code):
        return code
    return _BODY.sub("", code).upper()


def settle_codes(connection, system, unknown_reason, where="reason = 0"):
    """Brings the codes of the table `stays` to their normal form, in place; null words get a reason to be dropped.

    Args:
        connection: DuckDB connection with the wide table `stays`.
        system: one of `CODE_SYSTEMS`.
        unknown_reason: number of the reason for a missing code.
        where: SQL condition of the rows to look at.

    Returns:
        (counts, assumed, rows): dict name -> rows (without zeros), `codes_alike` -> distinct codes; the system that
        codes without a mark were taken for, or None; dict normal form -> rows.
    """
    rows = connection.execute(f"SELECT code, count(*) FROM stays WHERE {where} GROUP BY code ORDER BY code").fetchall()
    if all(map(_USUAL.fullmatch, (code for code, _ in rows))):  # nothing to change, and none is like another
        return {}, None, dict(rows)
    codes, numbers = [code for code, _ in rows], [number for _, number in rows]
    forms, assumed = normal_codes(codes, numbers, system)
    counts = dict.fromkeys(
        ("code_null_words", "code_trimmed", "code_normalised", "codes_with_several", "codes_written_as_floats"), 0
    )
    changed = []
    for code, number, form in zip(codes, numbers, forms, strict=True):
        if form == code and _USUAL.fullmatch(code):
            continue
        if form is None:
            counts["code_null_words"] += number
        elif form != code:
            counts["code_trimmed" if form == trimmed(code) else "code_normalised"] += number
        if form != code:
            changed.append((code, form))
        if form is not None:
            counts["codes_with_several"] += number * holds_several(trimmed(code))
            counts["codes_written_as_floats"] += number * bool(_FLOAT.fullmatch(form.partition("_")[2] or form))
    if changed:
        _replace(connection, changed, unknown_reason, where)
    kept = {}
    for form, number in zip(forms, numbers, strict=True):
        if form is not None:
            kept[form] = kept.get(form, 0) + number
    counts["codes_alike"] = count_codes_alike(kept)
    return {name: number for name, number in counts.items() if number}, assumed, kept


def _replace(connection, changed, unknown_reason, where):
    connection.execute("CREATE OR REPLACE TEMP TABLE medtop_codes (old VARCHAR, new VARCHAR)")
    for start in range(0, len(changed), 1000):
        values = ", ".join(
            f"({quote(old)}, {'NULL' if new is None else quote(new)})" for old, new in changed[start : start + 1000]
        )
        connection.execute(f"INSERT INTO medtop_codes VALUES {values}")
    connection.execute(
        f"UPDATE stays SET reason = {unknown_reason} FROM medtop_codes WHERE {where} AND code = old AND new IS NULL"
    )
    connection.execute(
        f"UPDATE stays SET code = new FROM medtop_codes WHERE {where} AND code = old AND new IS NOT NULL"
    )
    connection.execute("DROP TABLE medtop_codes")


def check_code_options(separator):
    """Refuses a `--code_separator` that means nothing."""
    if separator is not None and (not separator or any(letter.isalnum() or letter in "._" for letter in separator)):
        raise DataError(f"--code_separator: expected a sign between codes, such as ;, received {separator!r}")
