"""Admissions of made-up patients, or of a generated cohort, with the readmission that each really has.

The rule is the default one of `preprocess_notes.py`: an admission that is not elective begins after the discharge and
less than 30 days later.
"""

import csv
import dataclasses
import datetime
import gzip
from pathlib import Path

from medtop.files.bounded import reading_csv
from medtop.files.errors import DataError

DAY = 86_400
WINDOW = 30 * DAY
_EPOCH = datetime.datetime(1970, 1, 1)
_FIRST_DAY = (datetime.datetime(2100, 1, 1) - _EPOCH).days
"""MIMIC's dates are shifted to the 22nd century."""

_ELECTIVE, _NEWBORN, _DIES, _DIES_LATER = 0.1, 0.02, 0.03, 0.03


@dataclasses.dataclass
class Stay:
    """One admission.

    Attributes:
        patient, admission: str.
        admit, discharge: int, seconds since 1970-01-01.
        kind: "EMERGENCY", "URGENT", "ELECTIVE" or "NEWBORN".
        death: int, time of a death in hospital, or None.
        label: 1 or 0: an unplanned readmission follows within 30 days; whatever may hide it.
        known: what a reader of the tables can say: 1, 0; None for newborns and deaths in hospital, which are no
            examples, and where a death within 30 days leaves it open.
    """

    patient: str
    admission: str
    admit: int
    discharge: int
    kind: str = "EMERGENCY"
    death: int | None = None
    label: int = 0
    known: int | None = 0


@dataclasses.dataclass
class Person:
    """A patient: id, sex ("F", "M"), birth and death (seconds, death may be None), and the stays in order."""

    patient: str
    sex: str
    birth: int
    death: int | None
    stays: list


def text_of(seconds):
    """`2101-03-02 14:05:00`; "" for None."""
    return "" if seconds is None else str(_EPOCH + datetime.timedelta(seconds=int(seconds)))


def made_up_people(count, prevalence, rng):
    """Yields `Person`s whose admissions are followed by a readmission with one probability, independently.

    Args:
        count: how many.
        prevalence: that probability, less than 1.
        rng: NumPy generator.
    """
    admission = 100_000
    for number in range(count):
        patient, stays = str(10_001 + number), []
        time = (_FIRST_DAY + int(rng.integers(0, 36_500))) * DAY + int(rng.integers(0, DAY))
        newborn = rng.random() < _NEWBORN
        birth = time if newborn else time - int(rng.integers(18 * 365, 90 * 365)) * DAY
        unplanned_by = None  # before this time no unplanned admission may begin: an earlier label is 0
        kind = "NEWBORN" if newborn else str(rng.choice(["EMERGENCY", "EMERGENCY", "URGENT"]))
        while True:
            admission += int(rng.integers(1, 4))
            stay = Stay(patient, str(admission), time, time + int(rng.integers(2 * DAY, 14 * DAY)), kind)
            stays.append(stay)
            if kind == "NEWBORN":
                stay.known = None
                break
            if rng.random() < _DIES:
                stay.death, stay.known = stay.discharge, None
                break
            stay.label = stay.known = int(rng.random() < prevalence)
            earliest = max(unplanned_by or 0, stay.discharge + DAY)
            if stay.label:
                time = int(rng.integers(earliest, stay.discharge + WINDOW - DAY))
                kind, unplanned_by = "URGENT" if rng.random() < 0.3 else "EMERGENCY", None
            elif kind != "ELECTIVE" and rng.random() < _ELECTIVE:
                time, kind = stay.discharge + int(rng.integers(5 * DAY, 25 * DAY)), "ELECTIVE"
                unplanned_by = stay.discharge + WINDOW + DAY
            elif rng.random() < 0.4:
                later = max(earliest, stay.discharge + WINDOW + DAY)
                time, kind, unplanned_by = later + int(rng.integers(0, 700 * DAY)), "EMERGENCY", None
            else:
                break
        death = stays[-1].death
        if death is None and kind != "NEWBORN" and rng.random() < _DIES_LATER:
            death = stays[-1].discharge + int(rng.integers(1, 60)) * DAY
        person = Person(patient, str(rng.choice(["F", "M"])), birth, death, stays)
        _hide_behind_death(person)
        yield person


def _hide_behind_death(person):
    """No readmission, but a death within 30 days: unknown. Tables hold the date of death alone."""
    if person.death is None:
        return
    day = person.death // DAY * DAY
    for stay in person.stays:
        if stay.known == 0 and stay.discharge // DAY * DAY <= day < stay.discharge + WINDOW:
            stay.known = None


def cohort_people(prefix):
    """Yields the `Person`s of a cohort that `make_synthetic_cohort.py` wrote with --layout=stays.

    Raises:
        DataError: for a missing file or another layout.
    """
    path = next((Path(f"{prefix}.csv{end}") for end in ("", ".gz") if Path(f"{prefix}.csv{end}").is_file()), None)
    if path is None:
        raise DataError(f"--cohort: expected {prefix}.csv of make_synthetic_cohort.py, found no such file")
    opened = (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="")
    with reading_csv(path), opened as file:
        reader = csv.DictReader(file)
        needed = {"patient_id", "stay_id", "admit", "discharge", "birth", "sex", "death"}
        if not needed <= set(reader.fieldnames or ()):
            raise DataError(f"{path}: expected a cohort written with --layout=stays, received other columns")
        person, seen = None, set()
        for row in reader:  # rows of a patient stand together, one per code
            if person is None or person.patient != row["patient_id"]:
                if person is not None:
                    yield _labelled(person)
                birth, death = _seconds(row["birth"]), _seconds(row["death"])
                person, seen = Person(row["patient_id"], row["sex"], birth, death, []), set()
            if row["stay_id"] not in seen:
                seen.add(row["stay_id"])
                admit, discharge = _seconds(row["admit"]), _seconds(row["discharge"])
                person.stays.append(Stay(person.patient, row["stay_id"], admit, discharge))
        if person is not None:
            yield _labelled(person)


def _seconds(text):
    return int((datetime.datetime.fromisoformat(text) - _EPOCH).total_seconds()) if text else None


def _labelled(person):
    """Sets the labels of a cohort's stays, all unplanned: the rule read aloud, one stay at a time."""
    for stay in person.stays:
        inside = any(o.admit <= stay.discharge < o.discharge for o in person.stays if o is not stay)
        later = [o.admit for o in person.stays if o.admit > stay.discharge]
        stay.label = int(bool(later) and min(later) - stay.discharge < WINDOW)
        death = None if person.death is None else person.death // DAY
        stay.known = None if inside else stay.label
        if death is not None and stay.admit // DAY <= death <= stay.discharge // DAY:
            stay.death, stay.known = stay.discharge, None
    _hide_behind_death(person)
    return person
