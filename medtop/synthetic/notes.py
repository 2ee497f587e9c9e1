"""A generated notes set with known truth: ADMISSIONS, PATIENTS and NOTEEVENTS as MIMIC-III writes them.

No open notes with readmission labels exist. Here each admission's notes hold one phrase, drawn after its label, so that
the risk given the text is known by Bayes (`synthetic_texts`), and with it the best ROC AUC that any model can reach.
"""

import contextlib
import csv
import dataclasses
import itertools
from pathlib import Path

import numpy as np

from medtop.files.atomic import atomic_path, write_json
from medtop.files.begun import begun, was_begun
from medtop.files.bounded import read_json
from medtop.files.errors import DataError
from medtop.files.options import Rule, at_least, check, option
from medtop.notes.records import TASK
from medtop.synthetic.notes_stays import DAY, cohort_people, made_up_people, text_of
from medtop.synthetic.notes_texts import (
    BACKGROUND,
    LEVELS,
    PHRASES,
    SIGNALS,
    NoteWriter,
    best_roc_auc,
    draw_levels,
    risk_of_levels,
)

VERSION = 1
ADMISSIONS_HEADER = (
    "ROW_ID",
    "SUBJECT_ID",
    "HADM_ID",
    "ADMITTIME",
    "DISCHTIME",
    "DEATHTIME",
    "ADMISSION_TYPE",
    "HOSPITAL_EXPIRE_FLAG",
)
PATIENTS_HEADER = ("ROW_ID", "SUBJECT_ID", "GENDER", "DOB", "DOD")
NOTES_HEADER = (
    "ROW_ID",
    "SUBJECT_ID",
    "HADM_ID",
    "CHARTDATE",
    "CHARTTIME",
    "STORETIME",
    "CATEGORY",
    "DESCRIPTION",
    "CGID",
    "ISERROR",
    "TEXT",
)
RISK_HEADER = ("patient_id", "admission_id", "prediction_time", "task", "label", "level", "risk", "readmission")
"""What the trainers' `--true_risk_file` reads, and more."""
FILES = ("ADMISSIONS.csv", "PATIENTS.csv", "NOTEEVENTS.csv", "true_risk.csv")
SUMMARY = "generator.json"

_ERRONEOUS = 0.02
_DAILY_WORDS = 60


@dataclasses.dataclass(frozen=True)
class GeneratorSettings:
    """What is generated."""

    num_patients: int = option(
        2000, "Number of patients; with --cohort the most that are taken of it, 0 = all.", rule=at_least(0)
    )
    seed: int = option(1, "Seed; the same seed gives the same bytes.", rule=at_least(0))
    prevalence: float = option(
        0.3,
        "Share of admissions that a readmission follows (not with --cohort).",
        rule=Rule("more than 0, less than 0.9", lambda value: 0 < value < 0.9),
    )
    # "mixed": the strong phrase in one place among such stretches; "none", as `random_labels`: drawn without the label
    signal: str = option(
        "everywhere",
        "The telling phrase in every stretch of a note, in one place only, mixed, or without a bearing on the label.",
        choices=SIGNALS,
    )
    random_labels: bool = option(False, "Draw phrases without looking at labels.")
    # Lengths are uniform on a logarithmic scale.
    min_words: int = option(60, "Shortest discharge summary, in words.", rule=at_least(1))
    max_words: int = option(240, "Longest discharge summary, in words.", rule=at_least(1))
    daily_notes: bool = option(True, "A note for each day of the stay, beside the discharge summary.")
    cohort: str = option("", "Prefix of a cohort of make_synthetic_cohort.py (--layout=stays).")

    def __post_init__(self):
        check(self)
        if not self.cohort and not self.num_patients:
            raise DataError("--num_patients=0 needs --cohort: whose notes these are")
        if self.max_words < self.min_words:
            raise DataError(f"--max_words: expected at least min_words ({self.min_words}), received {self.max_words}")

    @property
    def is_random(self):
        """Whether phrases say nothing about labels."""
        return self.random_labels or self.signal == "none"


def write_notes(folder, settings, overwrite=False):
    """Writes `FILES` and, last, `generator.json` to a folder.

    `true_risk.csv`: one row per admission that is an example, with the phrase's level, the risk given the notes and the
    label that the tables give (empty = unknown); prediction time is the discharge.

    Args:
        folder: made where it is missing.
        settings: `GeneratorSettings`.
        overwrite: whether files made with other settings may be replaced.

    Returns:
        dict, the content of `generator.json`.

    Raises:
        DataError: for files of another run without `overwrite`; for a bad cohort.
    """
    folder, about = Path(folder), dataclasses.asdict(settings) | {"version": VERSION}
    if (earlier := _earlier(folder, about, overwrite)) is not None:
        return earlier
    seeds = np.random.SeedSequence(settings.seed).spawn(3)
    times, levels, words = (np.random.default_rng(seed) for seed in seeds)
    people = list(_people(settings, times))
    stays = [stay for person in people for stay in person.stays]
    labels = np.array([stay.label for stay in stays])
    known = np.array([stay.known for stay in stays if stay.known is not None])
    if settings.cohort and not len(known):
        raise DataError(f"--cohort: expected stays with known labels, received none of {len(stays)}")
    prevalence = float(known.mean()) if settings.cohort else settings.prevalence
    drawn = draw_levels(labels, levels, settings.is_random)
    risks = risk_of_levels(prevalence, settings.is_random)
    with begun(folder / SUMMARY, about):
        with contextlib.ExitStack() as stack:
            tables = {}
            for name, header in zip(
                FILES, (ADMISSIONS_HEADER, PATIENTS_HEADER, NOTES_HEADER, RISK_HEADER), strict=True
            ):
                file = stack.enter_context(
                    open(stack.enter_context(atomic_path(folder / name)), "w", encoding="utf-8", newline="")
                )
                tables[name] = csv.writer(file)
                tables[name].writerow(header)
            (folder / SUMMARY).unlink(missing_ok=True)
            _write_people(tables, people)
            notes = _write_stays(tables, stays, drawn, risks, settings, words)
        examples = len([stay for stay in stays if stay.kind != "NEWBORN" and stay.death is None])
        summary = {
            "settings": about,
            "patients": len(people),
            "admissions": len(stays),
            "examples": examples,
            "notes": notes,
            "known": len(known),
            "prevalence": float(known.mean()) if len(known) else None,
            "best_roc_auc": best_roc_auc(settings.is_random),
            "levels": {
                name: {"admissions": int((drawn == place).sum()), "risk": float(risks[place])}
                for place, name in enumerate(LEVELS)
            },
        }
        write_json(folder / SUMMARY, summary)
    return summary


def _earlier(folder, about, overwrite):
    """The summary of an earlier run with the same settings; None where there is none or it is to be replaced."""
    path = folder / SUMMARY
    if overwrite:
        return None
    if path.is_file():
        try:
            summary = read_json(path)
            settings = summary["settings"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: expected the summary of a generated set, received another content") from error
        differences = [
            f"{name} was {settings.get(name)!r}, is {about[name]!r}"
            for name in about
            if settings.get(name) != about[name]
        ]
        if differences:
            raise DataError(f"{folder}: expected the same settings, received {'; '.join(differences)} (--overwrite)")
        if all((folder / name).is_file() for name in FILES):
            return summary
        return None
    strange = [name for name in FILES if (folder / name).exists()]
    if strange and not was_begun(path, about):
        raise DataError(f"{folder / strange[0]}: expected no such file, found one that was not generated (--overwrite)")
    return None


def _people(settings, rng):
    if not settings.cohort:
        return made_up_people(settings.num_patients, settings.prevalence, rng)
    return itertools.islice(cohort_people(settings.cohort), settings.num_patients or None)


def _write_people(tables, people):
    for number, person in enumerate(people, 1):
        death = None if person.death is None else person.death // DAY * DAY
        row = (number, person.patient, person.sex, text_of(person.birth // DAY * DAY), text_of(death))
        tables["PATIENTS.csv"].writerow(row)


def _write_stays(tables, stays, levels, risks, settings, rng):
    """Writes admissions, notes and risks; the number of notes."""
    writer, notes = NoteWriter(rng), 0
    for number, (stay, level) in enumerate(zip(stays, levels.tolist(), strict=True), 1):
        times = [text_of(time) for time in (stay.admit, stay.discharge, stay.death)]
        died = int(stay.death is not None)
        tables["ADMISSIONS.csv"].writerow((number, stay.patient, stay.admission, *times, stay.kind, died))
        for time, category, error, text in _notes_of(stay, LEVELS[level], settings, writer, rng):
            notes += 1
            moment = "" if category == "Discharge summary" else text_of(time)
            tables["NOTEEVENTS.csv"].writerow(
                (
                    notes,
                    stay.patient,
                    stay.admission,
                    text_of(time)[:10],
                    moment,
                    moment,
                    category,
                    "Report",
                    "",
                    "1" if error else "",
                    text,
                )
            )
        if stay.kind != "NEWBORN" and not died:
            known = "" if stay.known is None else stay.known
            row = (stay.patient, stay.admission, times[1], TASK, TASK, LEVELS[level], f"{risks[level]:.8f}", known)
            tables["true_risk.csv"].writerow(row)
    return notes


def _notes_of(stay, level, settings, writer, rng):
    """(time, category, whether an error, text) of an admission's notes.

    The phrase stands in the discharge summary and in one note of the first day. Notes marked as errors hold another
    level's phrase: whoever reads them is misled.
    """
    planted = _planted(level, settings.signal, rng)
    if settings.daily_notes:
        days = max(1, (stay.discharge - stay.admit) // DAY)
        for day in range(days):
            text = writer.note(_DAILY_WORDS, rng, **(planted if day == 0 else {}))
            time = stay.admit + day * DAY + int(rng.integers(1, 12)) * 3600
            yield min(time, stay.discharge), ("Nursing", "Physician ")[day % 2], False, text
    if rng.random() < _ERRONEOUS:
        wrong = _planted("protective" if level == "strong" else "strong", settings.signal, rng)
        yield stay.discharge, "Discharge summary", True, writer.note(_DAILY_WORDS, rng, **wrong)
    words = round(float(np.exp(rng.uniform(np.log(settings.min_words), np.log(settings.max_words)))))
    yield stay.discharge, "Discharge summary", False, writer.note(words, rng, **planted)


def _planted(level, signal, rng):
    """What `NoteWriter.note` plants for a level: dict of `once` or `throughout`, or both."""
    phrase = _phrase(level, rng)
    if signal == "one_window":
        return {"once": phrase}
    if signal == "mixed" and level == "strong":
        return {"once": phrase, "throughout": _phrase(LEVELS[rng.choice(len(BACKGROUND), p=BACKGROUND)], rng)}
    return {"throughout": phrase}


def _phrase(level, rng):
    return str(rng.choice(PHRASES[level])) if level in PHRASES else ""
