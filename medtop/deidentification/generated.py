"""Generated notes with known identifiers, in the layout of entities' tables, and the hospital's roster beside them."""

import csv
import dataclasses
import datetime
import json

import numpy as np

from medtop.cohort.splits import SPLITS
from medtop.entities.documents import Document, Span
from medtop.entities.tables import TableWriter
from medtop.files.atomic import write_json
from medtop.files.folders import has_json_key, whole_folder
from medtop.synthetic.identifier_texts import Patient, Writer, joined
from medtop.synthetic.identifier_values import CLASSES, Values

VERSION = 1
SUMMARY, ROSTER = "identifiers.json", "roster.csv"
ROSTER_COLUMNS = ("patient_id", "role", "first_name", "last_name", "mrn", "phone", "birth_date")
SHARES = (0.5, 0.15, 0.35)
_STAFF, _NOTES_EACH = 40, 3


@dataclasses.dataclass(frozen=True)
class TruthSettings:
    """What is generated: patients of all splits together, three notes each."""

    num_patients: int = 600
    seed: int = 1


def write_truth(folder, settings, overwrite=False):
    """Writes `identifiers.documents.<split>.parquet`, `.spans.<split>.parquet`, `roster.csv` and `identifiers.json`.

    The roster holds patients and staff of all splits; relatives stand in no roster. Names of the three splits are
    apart, and half the forms of test texts occur in no other split.

    Args:
        folder: a new folder.
        settings: `TruthSettings`.
        overwrite: whether an earlier output may be replaced.

    Returns:
        dict, the content of `identifiers.json`.

    Raises:
        DataError: for a folder that holds something else.
    """
    about = {"settings": dataclasses.asdict(settings) | {"version": VERSION}, "splits": {}}
    with whole_folder(folder, has_json_key(SUMMARY, "settings"), overwrite) as work:
        rows, seeds = [], np.random.SeedSequence(settings.seed).spawn(len(SPLITS))
        for split, share, seed in zip(SPLITS, SHARES, seeds, strict=True):
            values = Values(np.random.default_rng(seed), split)
            staff = [_full_name(values)[:2] for _ in range(_STAFF)]
            count = round(settings.num_patients * share)
            patients = [make_patient(values, f"{split}{number}") for number in range(count)]
            paths = [work / f"identifiers.{kind}.{split}.parquet" for kind in ("documents", "spans")]
            with TableWriter(*paths) as table:
                counts = _write_notes(table, Writer(values, staff), patients, split)
            about["splits"][split] = {"patients": count, "documents": table.documents, "spans": counts}
            rows += [(p.patient_id, "patient", p.first, p.last, p.mrn, p.phone, p.birth.isoformat()) for p in patients]
            rows += [("", "staff", first, last, "", "", "") for first, last in staff]
        with open(work / ROSTER, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([ROSTER_COLUMNS, *rows])
        about["classes"] = {name: list(kinds) for name, kinds in CLASSES.items()}
        write_json(work / SUMMARY, about)
    return about


def _full_name(values):
    """(first name, surname, sex)."""
    sex = values.pick("FM")
    return values.pick(values.names[sex]), values.pick(values.names["last"]), sex


def make_patient(values, patient_id):
    """A made-up `Patient` of the split that `values` draw for."""
    first, last, sex = _full_name(values)
    birth = datetime.date(1915, 1, 1) + datetime.timedelta(days=int(values.rng.integers(30_000)))
    return Patient(patient_id, first, last, sex, birth, values.number("MRN"), values.phone())


def _write_notes(table, writer, patients, split):
    """Writes three notes a patient; dict type -> spans."""
    counts = {}
    for patient in patients:
        for number in range(_NOTES_EACH):
            pieces, damage = writer.note(patient, int(writer.values.rng.integers(8, 16)))
            text, edges = joined(pieces)
            document = Document(f"{patient.patient_id}-{number}", text, patient_id=patient.patient_id, split=split)
            document.columns = {"damage": json.dumps(damage)}
            for place, (start, end, kind) in enumerate(edges, 1):
                document.spans.append(Span(f"T{place}", kind, ((start, end),)))
                counts[kind] = counts.get(kind, 0) + 1
            table.add(document)
    return dict(sorted(counts.items()))
