"""Codes as strings: their coding system, and rolling them up. Only distinct codes pass, so plain Python will do."""

import dataclasses

import numpy as np

from medtop.cohort.given_tables import read_text_table
from medtop.cohort.prefixes import MARKED
from medtop.files.errors import DataError

NONE, CATEGORY = "none", "first3"
MANY = ("refuse", "all", "first")
MISSING = ("keep", "drop")


def coding_system(code):
    """Splits a code into (system, code): one of `prefixes.MARKED` and the code in upper case without dots, or "" and
    the code as it is.

    >>> coding_system("ICD10_E11.31"), coding_system("icd9_250.4"), coding_system("250.21")
    (('icd10', 'E1131'), ('icd9', '2504'), ('', '250.21'))
    """
    mark, _, rest = code.partition("_")
    system = mark.lower()
    if rest and system in MARKED:
        return system, rest.replace(".", "").upper()
    return "", code


def category(code):
    """The category of a code: its first three characters after its mark (`ICD9_`, `ICD10_`, ...); four for ICD-9 E
    codes, two for ICD-9 procedures, all of a HCPCS code.

    ICD-9's external causes are an E before a category of three digits (E849 is one category, E84 none).

    >>> category("ICD10_E11.31"), category("ICD9_2504"), category("ICD9_E8490"), category("25021")
    ('ICD10_E11', 'ICD9_250', 'ICD9_E849', '250')
    """
    system, rest = coding_system(code)
    length = 4 if system == "icd9" and rest.startswith("E") else {"icd9proc": 2, "hcpcs": 5}.get(system, 3)
    return f"{system.upper()}_{rest[:length]}" if system else rest[:length]


@dataclasses.dataclass
class RollUp:
    """How distinct source codes become the codes of the sequences.

    Attributes:
        names: list of strings [D'], the rolled-up codes in text order.
        places: int32 [D], for each source code its place in `names`; with `starts` [T], the places of all its targets.
        starts: int64 [D + 1], where each source code's targets begin in `places`; None where each has one target.
        report: dict for the manifest: kind, codes before and after, and for a map the share of rows it covers.
    """

    names: list
    places: np.ndarray
    report: dict
    starts: np.ndarray | None = None


def roll_up(connection, codes, code_rows, code_map=NONE, many="refuse", missing="keep"):
    """Rolls up distinct codes.

    Args:
        connection: DuckDB connection, used to read a map.
        codes: list of distinct strings [D].
        code_rows: int64 [D], rows of each.
        code_map: "none", "first3" (`category`), or a file of two columns (from, to) with a header line; codes are found
            in it as they are or, ICD codes, without regard to dots and case.
        many: of `MANY`: what becomes of a code with several targets in the file.
        missing: of `MISSING`: a code without an entry stays as it is, or gives no token.

    Raises:
        DataError: for a file that is missing, has other than two columns, gaps, or two targets for one code that
            nobody allowed.
    """
    if code_map in (NONE, CATEGORY) and (many, missing) != (MANY[0], MISSING[0]):
        raise DataError("--code_map_many, --code_map_missing: expected a file of --code_map with them, received none")
    starts = None
    report = {"kind": code_map, "codes_before": len(codes)}
    if code_map == NONE:
        rolled = list(codes)
    elif code_map == CATEGORY:
        rolled = [category(code) for code in codes]
    else:
        entries = _read_map(connection, code_map, many)
        found = [entries.get(_key(code)) for code in codes]
        kept = {"keep": lambda code: [code], "drop": lambda code: []}[missing]
        targets = [kept(code) if own is None else own for code, own in zip(codes, found, strict=True)]
        rolled = [target for own in targets for target in own]
        if any(len(own) != 1 for own in targets):
            starts = np.concatenate([[0], np.cumsum([len(own) for own in targets])]).astype(np.int64)
        covered = np.array([own is not None for own in found], bool)
        several = np.array([own is not None and len(own) > 1 for own in found], bool)
        report |= {"many": many, "missing": missing, "codes_with_several_targets": int(several.sum())}
        rows = max(int(code_rows.sum()), 1)
        report |= {
            "codes_covered": int(covered.sum()),
            "share_of_codes_covered": float(covered.mean()) if codes else 0.0,
            "share_of_rows_covered": float(code_rows[covered].sum() / rows),
            "commonest_codes_not_covered": [
                codes[place] for place in np.argsort(-code_rows, kind="stable") if not covered[place]
            ][:10],
        }
    names = sorted(set(rolled))
    numbers = {name: number for number, name in enumerate(names)}
    report["codes_after"] = len(names)
    return RollUp(names, np.array([numbers[name] for name in rolled], np.int32), report, starts)


def _key(code):
    return coding_system(code)


def _read_map(connection, path, many):
    """dict key of a code -> list of its targets, in the order of the file."""
    columns = read_text_table(connection, path, "code_map")
    if len(columns) != 2:
        raise DataError(f"{path}: expected two columns (from, to) and a header line, received {len(columns)} columns")
    entries = {}
    for line, old, new in connection.execute(
        "SELECT line, {}, {} FROM code_map ORDER BY line".format(*(f'"{name}"' for name in columns))
    ).fetchall():
        if not (old and new):
            raise DataError(f"{path}: line {line}: expected a code and what it becomes, received an empty field")
        own = entries.setdefault(_key(old), [])
        if new in own or (own and many == "first"):
            continue
        if own and many == "refuse":
            raise DataError(
                f"{path}: line {line}: expected one target for {old!r}, received a second one: {new!r}; "
                "--code_map_many=all takes every one, first the first"
            )
        own.append(new)
    return entries
