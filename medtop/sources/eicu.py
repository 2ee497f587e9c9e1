"""eICU: recognised, and refused with the reason.

Its times are offsets in minutes from each unit stay's own admission; hospital stays of a patient are ordered by the
year of discharge alone, so that for a fifth of the patients nobody can say which stay came first. Sequences of stays
would have to invent that order.
"""

from medtop.files.errors import DataError
from medtop.sources.tables import tables_of

NAME = "eicu"


def recognise(data_file):
    """Whether a folder holds eICU's tables."""
    return tables_of(data_file, ("patient", "diagnosis", "hospital")) is not None


def refusal(data_file):
    """The error that says why."""
    return DataError(
        f"{data_file}: expected stays that can be ordered in time, received eICU, whose times are offsets from each "
        "stay's own admission: for a fifth of its patients nobody knows which stay came first; a table of one stay "
        "a patient "
        "can be read with --source=columns"
    )
