"""What a run on notes makes of the tables; written to the manifest."""

import dataclasses
import datetime

from medtop.cohort.split_options import SplitOptions
from medtop.files.options import Rule, at_least, option

MODES = ("discharge", "early")
DEATHS = ("unknown", "negative")
ENCODINGS = ("utf-8", "latin-1", "cp1252")


def _is_day(text):
    try:
        return bool(datetime.date.fromisoformat(text))
    except ValueError:
        return False


@dataclasses.dataclass(frozen=True)
class NotesOptions(SplitOptions):
    """How admissions become labelled texts."""

    mode: str = option(
        "discharge",
        "Predict at discharge from the last discharge summary, or some days after admission from the notes until then.",
        choices=MODES,
    )
    early_days: int = option(3, "--mode=early: days from the admission to the prediction.", rule=at_least(1))
    # Also sets `deaths`, `cleaning` and `windows`, and excludes what ClinicalBERT's script had not.
    legacy: bool = option(False, "ClinicalBERT's labels, notes, cleaning and windows, with their faults.")
    readmission_days: int = option(30, "A readmission begins less than so many days after discharge.", rule=at_least(1))
    deaths: str = option(
        "unknown",
        "Label of those who die in that time without readmission. Default unknown.",
        choices=DEATHS,
        default_in_help=False,
    )
    # None where there is no common one, as in MIMIC, whose dates are shifted.
    observation_end: str | None = option(
        None,
        "Last day of the data, YYYY-MM-DD: what could not be seen is unknown.",
        rule=Rule("a day such as 2019-12-31", _is_day),
    )
    exact_dates: bool = option(
        False, "Keep first and last dates in the manifest; else their months, as a date is an identifier."
    )
    max_summary_days: int = option(
        7,
        "Leave out discharge summaries and addenda charted more than so many days after the discharge; those charted "
        "once the patient's next admission has begun are left out always.",
        rule=at_least(0),
    )
    max_days_before: int = option(
        7, "Leave out notes charted more than so many days before the day of their admission.", rule=at_least(0)
    )
    drop_copied: str = option(
        "none",
        "Leave out notes that repeat earlier ones of their admission: exact (the same words) or near (also those of "
        "which 90% of the runs of five words stood in them). Counted.",
        choices=("none", "exact", "near"),
    )
    cleaning: str = option(
        "careful",
        "Default careful; published is ClinicalBERT's.",
        choices=("careful", "published"),
        default_in_help=False,
    )
    lower_case: bool = option(True, "Texts in lower case.")
    windows: str = option(
        "none",
        "words: also write the folder <output_Prefix>/ of 318-word windows. Default none.",
        choices=("none", "words"),
        default_in_help=False,
    )
    seed: int = option(0, "Seed of the split.", rule=at_least(0))
