"""A few notes written by hand with all kinds of identifiers, and the roster of their hospital."""

import csv

import pyarrow as pa
import pyarrow.parquet as pq

_COLUMNS = ("patient_id", "role", "first_name", "last_name", "mrn", "phone")
_PEOPLE = [
    ("p1", "patient", "Zelda", "Fairbanks", "4711-0815", "617-555-0101"),
    ("p2", "patient", "Kwame", "Parkinson", "00998877", "617-555-0102"),
    ("", "staff", "Ottilie", "Quillfeather", "", ""),
]
ROSTER = [dict(zip(_COLUMNS, row, strict=True)) for row in _PEOPLE]
NOTES = [
    (
        "n1",
        "p1",
        "Zelda Fairbanks (MRN 4711-0815) was seen on 3/14/2014 by Dr. Quillfeather.\r\nBP 120/80.\tStable.\n"
        "Follow-up March 28, 2014. Call 617-555-0101 or mail zf@example.org. "
        "She is 93 years old, lives at 12 Oak Street.",
    ),
    (
        "n2",
        "p1",
        "Ms. Fairbnaks returned on 2014-03-28; SSN 123-45-6789, Pacemaker serial number AB-1234567.\n"
        "Her son Thaddeus Fairbanks came. \U0001f44d\U0001f3fd Naïve é e\u0301 text.  Two blanks.",
    ),
    (
        "n3",
        "p2",
        "KWAME PARKINSON, seen 14MAR2014, has Parkinson disease and MS. Fax: 617-555-9999. Account # 11-2233-44",
    ),
    ("n4", "p2", "No identifiers here: EF 55-60%, strength 5/5."),
]
SECRETS = tuple(
    "Zelda Fairbanks Fairbnaks 4711 0815 Quillfeather 3/14/2014 555-0101 zf@ 2014-03-28 123-45-6789 1234567 Thaddeus "
    "KWAME 14MAR2014 555-9999 11-2233-44".split()
) + ("March 28", "12 Oak")
"""What must be nowhere in an output, a log or an error."""


def write_roster(path):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(ROSTER[0]))
        writer.writeheader()
        writer.writerows(ROSTER)
    return path


def write_notes(path, notes=NOTES):
    """Notes as a `.parquet`, a `.csv`, or a folder of `.txt`."""
    if path.suffix == ".parquet":
        names = ("note_id", "patient_id", "text")
        columns = {name: [note[place] for note in notes] for place, name in enumerate(names)}
        pq.write_table(pa.table(columns | {"author": ["Quillfeather"] * len(notes)}), path)
    elif path.suffix == ".csv":
        with open(path, "w", newline="", encoding="utf-8") as file:
            rows = [(*note, "Quillfeather") for note in notes]
            csv.writer(file).writerows([("ROW_ID", "SUBJECT_ID", "TEXT", "CGID"), *rows])
    else:
        path.mkdir()
        for name, _, text in notes:
            (path / f"{name}.txt").write_bytes(text.encode())
    return path


def read_notes(path):
    """dict id -> text of an output."""
    if path.is_dir():
        return {file.stem: file.read_bytes().decode() for file in path.rglob("*.txt")}
    if path.suffix == ".parquet":
        return {row["note_id"]: row["text"] for row in pq.read_table(path).to_pylist()}
    with open(path, newline="", encoding="utf-8") as file:
        return {row["ROW_ID"]: row["TEXT"] for row in csv.DictReader(file)}
