"""What a timeline marks beside the risk: when each stay ended, and whether a readmission followed, where known."""

import csv
import dataclasses
import datetime

from medtop.files.bounded import reading_csv
from medtop.files.errors import DataError
from medtop.notes.quoted_csv import iterate_rows, table_header
from medtop.notes.texts import plain_number

_EPOCH = datetime.datetime(1970, 1, 1)


@dataclasses.dataclass(frozen=True)
class StayFacts:
    """Facts by admission.

    Attributes:
        discharges: dict admission -> seconds since 1970-01-01.
        outcomes: dict admission -> 1, 0, or None where the labels file says unknown.
        thresholds: dict label -> risk at or above which a patient is predicted positive.
    """

    discharges: dict = dataclasses.field(default_factory=dict)
    outcomes: dict = dataclasses.field(default_factory=dict)
    thresholds: dict = dataclasses.field(default_factory=dict)

    def title(self, admission):
        """Heading of an admission's chart."""
        if admission not in self.outcomes:
            return f"Admission {admission}"
        said = {1: "readmitted", 0: "not readmitted", None: "outcome unknown"}[self.outcomes[admission]]
        return f"Admission {admission}: {said}"


def read_discharges(path):
    """dict admission -> seconds of its discharge, of a table such as ADMISSIONS (hadm_id, dischtime).

    Raises:
        DataError: for a missing column; a time that cannot be read is left out.
    """
    folded = [header.lower() for header in table_header(path)[1]]
    places = [next((folded.index(name) for name in names if name in folded), None) for names in _ADMISSION_HEADERS]
    if None in places:
        raise DataError(f"{path}: line 1: expected columns hadm_id and dischtime, received {', '.join(folded)[:200]}")
    discharges = {}
    for _, field in iterate_rows(path):
        admission, text = (field(place).strip() for place in places)
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError:
            continue
        seconds = (moment.replace(tzinfo=None) - _EPOCH) // datetime.timedelta(seconds=1)
        discharges[plain_number(admission)] = seconds
    return discharges


_ADMISSION_HEADERS = (("hadm_id", "admission_id"), ("dischtime", "discharge"))


def read_outcomes(path):
    """dict admission -> 1, 0 or None (unknown), of `<prefix>.labels.csv`.

    Raises:
        DataError: for another file.
    """
    with reading_csv(path), open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if not {"admission_id", "readmission"} <= set(reader.fieldnames or ()):
            raise DataError(f"{path}: line 1: expected the .labels.csv of preprocess_notes.py, received other columns")
        outcomes = {}
        for row in reader:
            if row["readmission"] not in ("", "0", "1"):
                raise DataError(f"{path}: line {reader.line_num}: column readmission: expected 1, 0 or nothing")
            outcomes[row["admission_id"]] = int(row["readmission"]) if row["readmission"] else None
    return outcomes
