"""Code maps for `--code_map` from public files: ICD-9-CM to ICD-10-CM, their categories, CCS, CCSR, phecodes.

Each reader takes the files that the user names and gives pairs (code with its mark, what it becomes); a code that the
file lists without a target gives None. Nothing is chosen among several targets: `--code_map_many` decides.
"""

import csv
import re
from pathlib import Path

from medtop.cohort.codes import category
from medtop.files.atomic import atomic_path
from medtop.files.bounded import parse_json, read_bytes, reading_csv
from medtop.files.errors import DataError

NO_TARGET = ("NODX", "NOPCS", "")
_GEM_LINE = re.compile(r"\s*(\S+)\s+(\S+)\s+([01]{4}\d|[01]{5})\s*")


def make_map(kind, inputs, output=None):
    """Reads public files and writes a map of two columns, from and to.

    Args:
        kind: of `KINDS`.
        inputs: list of paths; two for `gem_ccsr` (GEM, CCSR).
        output: the CSV file, or None.

    Returns:
        dict: kind, codes (distinct ones in the files), codes_with_several_targets, codes_without_target, targets
        (distinct), pairs.

    Raises:
        DataError: for a missing file, another number of files, or content that is no such table.
    """
    reader, wanted = KINDS[kind]
    if len(inputs) != wanted:
        raise DataError(
            f"--input: expected {wanted} file{'s' * (wanted > 1)} for --kind={kind}, received {len(inputs)}"
        )
    targets = {}
    for code, target in reader(*map(Path, inputs)):
        own = targets.setdefault(code, {})
        if target is not None:
            own[target] = None
    if not any(targets.values()):
        raise DataError(f"{inputs[0]}: expected a table for --kind={kind}, received no code with a target")
    pairs = [(code, target) for code, own in targets.items() for target in own]
    if output is not None:
        with atomic_path(output) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("from", "to"))
            writer.writerows(pairs)
    return {
        "kind": kind,
        "codes": len(targets),
        "codes_with_several_targets": sum(len(own) > 1 for own in targets.values()),
        "codes_without_target": sum(not own for own in targets.values()),
        "targets": len({target for _, target in pairs}),
        "pairs": len(pairs),
    }


def _text(path):
    """A file's text; gzip is told by its first bytes."""
    if not path.is_file():
        raise DataError(f"{path}: expected a public table of codes, found no such file")
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    raw = read_bytes(path, packed=packed)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text, plain or gzip, received other bytes") from error


def _rows(path, quote='"'):
    """(list of headers in lower case, rows) of a comma-separated file; quotes around fields do not count."""
    lines = csv.reader(_text(path).splitlines(), quotechar=quote)
    with reading_csv(path):
        clean = [[field.strip().strip("'\"").strip() for field in row] for row in lines if row]
    if not clean:
        raise DataError(f"{path}: expected a table with a header line, received an empty file")
    for number, row in enumerate(clean[1:], 2):
        if len(row) < len(clean[0]):
            raise DataError(f"{path}: row {number}: expected {len(clean[0])} values, received {len(row)}")
    return [name.lower() for name in clean[0]], clean[1:]


def _columns(path, headers, *choices):
    """Places of columns, each the first of its names that is there."""
    places = []
    for names in choices:
        known = [headers.index(name) for name in names if name in headers]
        if not known:
            raise DataError(f"{path}: line 1: expected a column {names[0]}, received {', '.join(headers)[:200]}")
        places.append(known[0])
    return places


def _marked(code, system):
    return f"ICD{system}_{code.replace('.', '').strip().upper()}"


def gem(path):
    """General Equivalence Mappings between ICD-9-CM and ICD-10-CM: CMS's text (three fields a line), or CSV with the
    columns `icd9cm` and `icd10cm`, the first of which is mapped."""
    text = _text(path)
    if match := _GEM_LINE.fullmatch(text.split("\n", 1)[0]):
        nine_first = not re.match(r"[A-Z]\d{2}", match[1]) or re.match(r"[A-Z]\d[0-9A-Z]", match[2]) is not None
        matches = [_GEM_LINE.fullmatch(line) for line in text.splitlines() if line.strip()]
        if bad := next((number for number, line in enumerate(matches, 1) if line is None), None):
            raise DataError(f"{path}: line {bad}: expected a code, its target and five flags")
        rows, systems = [(line[1], line[2], line[3]) for line in matches], (9, 10) if nine_first else (10, 9)
    else:
        headers, lines = _rows(path)
        nine, ten = _columns(path, headers, ("icd9cm",), ("icd10cm",))
        flags = headers.index("flags") if "flags" in headers else None
        systems = (9, 10) if nine < ten else (10, 9)
        rows = [
            (line[min(nine, ten)], line[max(nine, ten)], line[flags] if flags is not None else "") for line in lines
        ]
    for code, target, flag in rows:
        none = target.upper() in NO_TARGET or flag[1:2] == "1"
        yield _marked(code, systems[0]), None if none else _marked(target, systems[1])


def gem_category(path):
    """`gem`, to the category (three characters) of the target: many codes with several targets have one category."""
    for code, target in gem(path):
        yield code, target and category(target)


def ccs(path):
    """AHRQ's single-level CCS of ICD-9-CM diagnoses (`AppendixASingleDX.txt`): categories with their codes below."""
    number = None
    for line in _text(path).splitlines():
        if match := re.match(r"(\d+)\s+\S", line):
            number = match[1]
        elif number and re.fullmatch(r"\s+[0-9VE][0-9A-Z]*(\s+[0-9VE][0-9A-Z]*)*\s*", line):
            for code in line.split():
                yield _marked(code, 9), f"CCS_{number}"


def ccsr(path):
    """AHRQ's CCSR of ICD-10-CM: its CSV (the default category of inpatient data), or JSON code -> category."""
    text = _text(path)
    if text.lstrip().startswith("{"):
        try:
            pairs = parse_json(text, path).items()
        except (ValueError, AttributeError) as error:
            raise DataError(f"{path}: expected JSON code -> category ({error})") from None
        for code, target in pairs:
            yield _marked(code, 10), f"CCSR_{target}"
        return
    headers, rows = _rows(path)
    names = ("default ccsr category ip", "default ccsr category inpatient", "ccsr category 1")
    code, target = _columns(path, headers, ("icd-10-cm code",), names)
    for row in rows:
        yield _marked(row[code], 10), f"CCSR_{row[target]}" if row[target] and row[target] != "XXX000" else None


def gem_ccsr(gem_path, ccsr_path):
    """ICD-9-CM by way of its ICD-10-CM targets to their CCSR categories; ICD-10-CM as `ccsr`."""
    categories = dict(ccsr(ccsr_path))
    yield from categories.items()
    for code, target in gem(gem_path):
        yield code, categories.get(target) if target else None


def phecode(path):
    """PheWAS catalog's maps (columns `icd9` or `icd10` or `icd10cm`, and `phecode`); or `code`, `vocabulary_id` and
    `phecode` of phecode X's combined table. A phecode stays as it is: 250.2."""
    headers, rows = _rows(path)
    if "vocabulary_id" in headers:
        code, system, target = _columns(path, headers, ("code", "icd"), ("vocabulary_id",), ("phecode",))
        for row in rows:
            yield _marked(row[code], 9 if "9" in row[system] else 10), row[target] or None
        return
    code, target = _columns(path, headers, ("icd9", "icd10cm", "icd10"), ("phecode",))
    for row in rows:
        yield _marked(row[code], 9 if headers[code] == "icd9" else 10), row[target] or None


KINDS = {
    "gem": (gem, 1),
    "gem_category": (gem_category, 1),
    "ccs": (ccs, 1),
    "ccsr": (ccsr, 1),
    "gem_ccsr": (gem_ccsr, 2),
    "phecode": (phecode, 1),
}
"""Kind -> (reader, how many files it takes)."""
