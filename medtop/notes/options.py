"""What a run on notes makes of the tables; filled from flags, written to the manifest."""

import dataclasses

MODES = ("discharge", "early")
DEATHS = ("unknown", "negative")


@dataclasses.dataclass(frozen=True)
class NotesOptions:
    """How admissions become labelled texts.

    Attributes:
        mode: "discharge": prediction at discharge from the last discharge summary; "early": `early_days` after
            admission, from the notes charted until then.
        early_days: days after admission.
        legacy: ClinicalBERT's rules, with their faults: labels, choice of notes, cleaning, windows of words.
        readmission_days: an unplanned admission counts when it begins less than so many days after the discharge.
        deaths: what a death in that time without readmission is: "unknown" or "negative".
        observation_end: last day of the data (YYYY-MM-DD), or None where no common one exists, as in MIMIC.
        max_summary_days: discharge summaries charted more than so many days after the discharge are left out; None
            takes them all.
        cleaning: "careful" or "published" (`medtop.text.cleaning`).
        lower_case: whether texts become lower case.
        windows: "none", or "words": also ClinicalBERT's data folder of 318-word windows.
        splits: file, name of one split, or None for the seeded hash of the patient's id.
        seed: of the split.
    """

    mode: str = "discharge"
    early_days: int = 3
    legacy: bool = False
    readmission_days: int = 30
    deaths: str = "unknown"
    observation_end: str | None = None
    max_summary_days: int | None = None
    cleaning: str = "careful"
    lower_case: bool = True
    windows: str = "none"
    splits: str | None = None
    seed: int = 0
