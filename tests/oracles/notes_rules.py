"""The rules of docs/notes.md on labels and notes, in plain Python, row by row: the oracle of `preprocess_notes.py`.

Written from the page, not from the code. Times are `datetime`; a note is a dict with admission, day, time (or None),
category, description, error, text, row (its place in the file).
"""

import datetime

DAY = datetime.timedelta(days=1)


def known_at(note):
    """When a note is known: without an hour, at the last second of its day."""
    return note["time"] or datetime.datetime.combine(note["day"], datetime.time(23, 59, 59))


def examples(stays, deaths=None, days=None):
    """The stays that are no newborns', did not end in death or begin after it, and whose prediction is not after it.

    Args:
        stays: all stays.
        deaths: dict patient -> date of death.
        days: of early predictions after the admission, for stays that have not ended by then; None: at the discharge.
    """
    kept = []
    for stay in _alive(stays, deaths or {}):
        moment = stay["discharge"] if days is None else stay["admit"] + days * DAY
        ended = days is not None and stay["discharge"] <= moment
        if not (ended or stay["kind"] == "NEWBORN" or stay.get("died") or _dead_at(stay, moment, deaths or {})):
            kept.append(stay)
    return kept


def label(stays, stay, window=30, deaths=None):
    """1, 0 or None of a stay among all stays (dicts: patient, admit, discharge, kind).

    Args:
        stays, stay: all stays, and the one that is asked about.
        window: days.
        deaths: dict patient -> date of death, where it is known.
    """
    deaths = deaths or {}
    others = [other for other in _alive(stays, deaths) if other is not stay and other["patient"] == stay["patient"]]
    if any(other["admit"] <= stay["discharge"] < other["discharge"] for other in others):
        return None
    later = [other for other in others if other["admit"] > stay["discharge"] and other["kind"] != "ELECTIVE"]
    if any(other["admit"] - stay["discharge"] < window * DAY for other in later):
        return 1
    died = deaths.get(stay["patient"])
    return None if died is not None and (died - stay["discharge"].date()).days < window else 0


def _alive(stays, deaths):
    """Stays that begin on a day after their patient's death are none."""
    return [stay for stay in stays if not _dead_at(stay, stay["admit"], deaths)]


def _dead_at(stay, moment, deaths):
    died = deaths.get(stay["patient"])
    return died is not None and moment.date() > died


def next_admission(stays, stay):
    """When the patient's next stay of any kind begins, or None."""
    later = [one["admit"] for one in stays if one["patient"] == stay["patient"] and one["admit"] > stay["discharge"]]
    return min(later, default=None)


def discharge_notes(stays, stay, notes, most_days=7, days_before=7):
    """The notes of a stay that are read at its discharge, in order: the summary, then its addenda."""
    after = next_admission(stays, stay)

    def usable(note):
        if note["admission"] != stay["admission"] or note["error"] or not note["text"].strip():
            return False
        if note["category"].lower() != "discharge summary":
            return False
        at_discharge = note["time"] is None and note["day"] == stay["discharge"].date()
        if after is not None and known_at(note) >= after and not at_discharge:
            return False
        late = (note["day"] - stay["discharge"].date()).days
        early = (stay["admit"].date() - note["day"]).days
        return late <= most_days and early <= days_before

    mine = sorted(filter(usable, notes), key=lambda note: (known_at(note), note["row"]))
    summaries = [note for note in mine if note["description"].lower() != "addendum"]
    addenda = [note for note in mine if note["description"].lower() == "addendum"]
    return [summaries[-1], *addenda] if summaries else []


def early_notes(stay, notes, days, days_before=7):
    """The notes of a stay that are read some days after its admission, in order; None where it has ended by then."""
    moment = stay["admit"] + days * DAY
    if stay["discharge"] <= moment:
        return None
    mine = [
        note
        for note in notes
        if note["admission"] == stay["admission"]
        and not note["error"]
        and note["text"].strip()
        and note["category"].lower() != "discharge summary"
        and known_at(note) <= moment
        and (stay["admit"].date() - note["day"]).days <= days_before
    ]
    return sorted(mine, key=lambda note: (known_at(note), note["row"]))
