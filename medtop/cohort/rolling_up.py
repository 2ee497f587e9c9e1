"""Rolling up the distinct codes of a table by a map (`--code_map`): few enough for plain Python."""

import dataclasses

import numpy as np

from medtop.cohort.codes import CATEGORY, MANY, MISSING, NONE
from medtop.cohort.given_tables import read_text_table
from medtop.cohort.vocabulary_map import CodeMap, map_key
from medtop.files.errors import DataError
from medtop.files.sql import quote_name
from medtop.sources.unusable import CODE_MAP, SAID, STOPS


@dataclasses.dataclass
class RollUp:
    """How distinct source codes become the codes of the sequences.

    Attributes:
        names: list of strings [D'], the rolled-up codes in text order.
        places: int32 [D], for each source code its place in `names`; with `starts` [T], the places of all its targets.
        starts: int64 [D + 1], where each source code's targets begin in `places`; None where each has one target.
        report: dict for the manifest: kind, codes before and after, and for a map the share of rows it covers.
        code_map: `CodeMap` that was applied, or None.
    """

    names: list
    places: np.ndarray
    report: dict
    starts: np.ndarray | None = None
    code_map: CodeMap | None = None


def code_map_of(connection, code_map=NONE, many="refuse", missing="keep"):
    """The `CodeMap` that the flags ask for, None for none.

    Args:
        connection: DuckDB connection, used to read a file.
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
    if code_map == NONE:
        return None
    return CodeMap(CATEGORY) if code_map == CATEGORY else _read_map(connection, code_map, many, missing)


def agreed_map(given, vocabulary_file, kept):
    """The map to use with a vocabulary that is given: the one that it was made with.

    Args:
        given: `CodeMap` of the flags, or None.
        vocabulary_file: for the error.
        kept: `CodeMap` that the vocabulary keeps, or None: older ones keep none.

    Raises:
        DataError: where both are there and differ.
    """
    if given is not None and kept is not None and given != kept:
        raise DataError(
            f"--code_map: expected the map that {vocabulary_file} was made with, which lies beside it and is taken "
            "where --code_map is left out, received another one"
        )
    return given if kept is None else kept


def check_coverage(report, name, accepted):
    """Stops where a map that drops what it does not know knows less than half of the rows.

    Args:
        report: of `RollUp`.
        name: of the map, for the error.
        accepted: `--accept_unusable`.
    """
    share = report.get("share_of_rows_covered", 1.0)
    if report.get("missing") == "drop" and 1 - share > STOPS and CODE_MAP not in accepted:
        raise DataError(
            f"--code_map={name}: expected codes that stand in the map, received {1 - share:.0%} of the rows without; "
            f"are they written alike? --accept_unusable={CODE_MAP} drops them (--code_map_missing=drop)"
        )


def coverage_warnings(report):
    """Sentences on a map that knows too few of the rows; empty where all is well."""
    share = report.get("share_of_rows_covered", 1.0)
    drops = report.get("missing") == "drop"
    if 1 - share <= (SAID if drops else STOPS):
        return []
    what = "are dropped" if drops else "keep their codes as they are"
    return [f"code map: {1 - share:.0%} of the rows have a code that it does not hold, and {what}"]


def roll_up(codes, code_rows, code_map=None):
    """Rolls up distinct codes.

    Args:
        codes: list of distinct strings [D].
        code_rows: int64 [D], rows of each.
        code_map: `CodeMap`, or None: every code stays as it is.

    Returns:
        `RollUp`.
    """
    starts, report = None, {"kind": code_map.kind if code_map else NONE, "codes_before": len(codes)}
    targets = [code_map.targets(code) if code_map else (code,) for code in codes]
    rolled = [target for own in targets for target in own]
    if any(len(own) != 1 for own in targets):
        starts = np.concatenate([[0], np.cumsum([len(own) for own in targets])]).astype(np.int64)
    if code_map and code_map.kind != CATEGORY:
        report |= _covered(codes, code_rows, code_map)
    names = sorted(set(rolled))
    numbers = {name: number for number, name in enumerate(names)}
    report["codes_after"] = len(names)
    return RollUp(names, np.array([numbers[name] for name in rolled], np.int32), report, starts, code_map)


def _covered(codes, code_rows, code_map):
    """What a map of a file covers, for the manifest."""
    targets = [code_map.entry(code) for code in codes]
    covered = np.array([own is not None for own in targets], bool)
    several = np.array([own is not None and len(own) > 1 for own in targets], bool)
    rows = max(int(code_rows.sum()), 1)
    return {
        "many": code_map.many,
        "missing": code_map.missing,
        "codes_with_several_targets": int(several.sum()),
        "codes_covered": int(covered.sum()),
        "share_of_codes_covered": float(covered.mean()) if codes else 0.0,
        "share_of_rows_covered": float(code_rows[covered].sum() / rows),
        "commonest_codes_not_covered": [
            codes[place] for place in np.argsort(-code_rows, kind="stable") if not covered[place]
        ][:10],
    }


def _read_map(connection, path, many, missing):
    """The `CodeMap` of a file; targets in its order."""
    columns = read_text_table(connection, path, "code_map")
    if len(columns) != 2:
        raise DataError(f"{path}: expected two columns (from, to) and a header line, received {len(columns)} columns")
    entries = {}
    for line, old, new in connection.execute(
        "SELECT line, {}, {} FROM code_map ORDER BY line".format(*map(quote_name, columns))
    ).fetchall():
        if not (old and new):
            raise DataError(f"{path}: line {line}: expected a code and what it becomes, received an empty field")
        own = entries.setdefault(map_key(old), [])
        if new in own or (own and many == "first"):
            continue
        if own and many == "refuse":
            raise DataError(
                f"{path}: line {line}: expected one target for {old!r}, received a second one: {new!r}; "
                "--code_map_many=all takes every one, first the first"
            )
        own.append(new)
    return CodeMap("file", many, missing, {key: tuple(own) for key, own in entries.items()})
