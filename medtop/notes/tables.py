"""Where the tables of admissions, patients and notes are, and what their columns are called: MIMIC-III and MIMIC-IV.

A hospital's own notes fit when they are written in one of the two shapes. The tables may lie in one folder or in its
folders (`hosp` and `note` of MIMIC-IV), in upper or lower case, plain or gzipped.
"""

import dataclasses
from pathlib import Path

from medtop.files.errors import DataError
from medtop.files.shown import shown_headers
from medtop.notes.quoted_csv import table_header
from medtop.sources.tables import find_tables, headers_of

ADMISSION_COLUMNS = {
    "patient": "subject_id",
    "admission": "hadm_id",
    "raw_admit": "admittime",
    "raw_discharge": "dischtime",
    "raw_death": "deathtime",
    "kind": "admission_type",
}
PATIENT_COLUMNS = {"patient": "subject_id", "raw_death": "dod"}
EXPIRED = "hospital_expire_flag"

NOTE_COLUMNS = {
    3: {
        "patient": "subject_id",
        "admission": "hadm_id",
        "day": "chartdate",
        "time": "charttime",
        "stored": "storetime",
        "category": "category",
        "kind": "description",
        "error": "iserror",
        "text": "text",
    },
    4: {
        "patient": "subject_id",
        "admission": "hadm_id",
        "time": "charttime",
        "stored": "storetime",
        "kind": "note_type",
        "text": "text",
    },
}
REQUIRED_OF = {3: {"patient", "admission", "day", "category", "text"}, 4: {"patient", "admission", "time", "text"}}

PLANNED = {3: ("ELECTIVE",), 4: ("ELECTIVE", "SURGICAL SAME DAY ADMISSION")}
OBSERVATION = ("EU OBSERVATION", "DIRECT OBSERVATION", "AMBULATORY OBSERVATION")
"""MIMIC-IV's stays under observation that did not become admissions."""
NEWBORN = "NEWBORN"


@dataclasses.dataclass(frozen=True)
class NoteTables:
    """The tables of one data folder.

    Attributes:
        version: 3 or 4, of MIMIC.
        admissions: path.
        patients: path, or None where there is none.
        notes: list of (path, category) of the tables of notes; the category is for tables that hold one kind only
            (MIMIC-IV), None where a column says it.
    """

    version: int
    admissions: Path
    patients: Path | None
    notes: list

    @property
    def not_readmissions(self):
        """Types of admission that are no unplanned readmission, upper case: planned ones, and mere observation."""
        return PLANNED[self.version] + (OBSERVATION if self.version == 4 else ())

    @property
    def files(self):
        """All paths that are read."""
        return [path for path in (self.admissions, self.patients, *(path for path, _ in self.notes)) if path]


def find_layout(folder, mode):
    """Finds the tables.

    Args:
        folder: folder that holds them, or folders that do.
        mode: "discharge" or "early": MIMIC-IV has radiology reports only to offer before the discharge.

    Raises:
        DataError: for a missing folder or table, or one that is there twice.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"{folder}: expected a folder with ADMISSIONS and NOTEEVENTS, found "
            f"{'a file' if folder.exists() else 'nothing'}"
        )
    wanted = {"admissions", "patients", "noteevents", "discharge", "radiology"}
    files = {}
    for place in [folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir())]:
        for path in find_tables(place, lambda stem: stem in wanted):
            stem = path.name.lower().split(".")[0]
            if stem in files:
                raise DataError(f"{folder}: expected one file for {stem}, received {files[stem]} and {path}")
            files[stem] = path
    if "admissions" not in files:
        raise DataError(f"{folder}: expected a table ADMISSIONS (.csv or .csv.gz), found none")
    if "noteevents" in files:
        version, notes = 3, [(files["noteevents"], None)]
    else:
        needed = "discharge" if mode == "discharge" else "radiology"
        if needed not in files:
            also = f", or {needed} (MIMIC-IV)" if "discharge" not in files else f"; {needed} for --mode={mode}"
            raise DataError(f"{folder}: expected a table NOTEEVENTS (MIMIC-III){also}, found none")
        version = 4
        notes = [(files[needed], "Discharge summary" if needed == "discharge" else "Radiology")]
    return NoteTables(version, files["admissions"], files.get("patients"), notes)


def note_places(path, version):
    """Where a table of notes keeps its columns: dict of our names -> position; optional ones may be missing.

    Raises:
        DataError: for a missing column, or one that is there twice.
    """
    _, headers = table_header(path)
    folded = [header.lower() for header in headers]
    places = {}
    for name, header in NOTE_COLUMNS[version].items():
        if folded.count(header) > 1:
            raise DataError(f"{path}: line 1: expected one column {header}, received {folded.count(header)}")
        if header in folded:
            places[name] = folded.index(header)
        elif name in REQUIRED_OF[version]:
            raise DataError(
                f"{path}: line 1: expected a column {header}, received columns {shown_headers(headers, 400)}"
            )
    return places


def admission_columns(path):
    """Columns to read from ADMISSIONS: dict of our names -> header; the flag of death where it is there."""
    return {**ADMISSION_COLUMNS, **({"expired": EXPIRED} if EXPIRED in headers_of(path) else {})}
