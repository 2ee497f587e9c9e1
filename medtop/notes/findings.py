"""What a reader of results on notes should know of the tables: the rules and sentences of tables of diagnoses."""

import collections
import dataclasses

from medtop.sources.findings import findings_of
from medtop.sources.unusable import check_rows

NO_FAULT = ("admission_id_empty", "admission_unknown")
"""Notes outside a known admission are no sign of a table that is read wrongly: outpatients have notes too."""


@dataclasses.dataclass(frozen=True)
class _Table:
    """What `findings_of` asks a report for."""

    counts: dict
    given: dict
    rows_dropped: dict
    rows_in: int
    patients_dropped: dict = dataclasses.field(default_factory=dict)


def notes_dropped(notes, unusable):
    """Rows of the tables of notes that are no notes or cannot be read: dict reason -> rows.

    Args:
        notes: `medtop.notes.rows.Notes`.
        unusable: dict reason -> notes that cannot be used.
    """
    reasons = collections.Counter(unusable) + collections.Counter(reason for *_, reason in notes.rejects)
    return {reason: rows for reason, rows in reasons.items() if reason not in NO_FAULT}


def check_notes(path, notes, unusable, accepted):
    """Stops where more than half of the notes cannot be read, unless `rows` is among the accepted columns."""
    check_rows(path, notes.rows_in, notes_dropped(notes, unusable), accepted)


def warnings_of(admissions, notes, unusable):
    """Sentences: list of str.

    Args:
        admissions: `medtop.notes.admissions.Admissions`.
        notes, unusable: as for `notes_dropped`.
    """
    tables = (
        ("admissions", _Table(admissions.counts, admissions.given, admissions.rejected, admissions.rows_in)),
        ("notes", _Table(notes.counts, {}, notes_dropped(notes, unusable), notes.rows_in)),
    )
    return [f"{name}: {finding}" for name, table in tables for finding in findings_of(table)]
