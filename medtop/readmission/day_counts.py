"""Counts of few people hidden in the risk by day: by the house's rule (`medtop.evaluation.small_cells`).

A number is hidden where it rests on few *patients*: of twelve admissions all may be of one person.
"""

import dataclasses

import numpy as np

from medtop.evaluation.small_cells import is_small


@dataclasses.dataclass(frozen=True)
class DayPeople:
    """Whom a day's numbers rest on.

    Attributes:
        day: days after the admission.
        parts: dict population -> `people` of it; the first is the whole day, the second a part of it.
        others: `people` of the day who are not in that part.
        unknown: patients of whom the label of some admission is unknown.
    """

    day: int
    parts: dict
    others: tuple
    unknown: int


def people(predictions, chosen):
    """(patients, of them with a readmission, without one) of the chosen admissions whose label is known.

    Args:
        predictions: `Predictions` of one label, N admissions.
        chosen: bool [N].
    """
    known = chosen & predictions.known[:, 0]
    positive = predictions.targets[:, 0] > 0
    return tuple(len(np.unique(predictions.patient_ids[part])) for part in (known, known & positive, known & ~positive))


def without_small(rows, counts, days, least):
    """Copies of what is shown, without counts of 1 to `least` - 1 patients and what would give them away.

    A population goes on a day, its measures too, where its patients, those with or those without a readmission are few.
    Those who are there on every day are a part of those who are there on one: where the others are few, the whole goes,
    for the difference of the two would tell of them. Where the whole goes, or few admissions lack a note or few
    patients a label, the day's numbers of admissions go as well: they are the sum of all these.

    Args:
        rows: dicts with day, population, n, positives, metric, value, low, high.
        counts: dict day -> dict of examples, without_notes, ended_all_splits (admissions).
        days: list of `DayPeople`.
        least: smallest count that is shown; 0 or 1 hides nothing.

    Returns:
        (rows, counts), None in place of what is hidden.
    """
    if least <= 1:
        return rows, counts
    hidden, shown = set(), {}
    for day in days:
        hidden |= {(name, day.day) for name, numbers in day.parts.items() if _few(numbers, least)}
        whole = next(iter(day.parts))
        if _few(day.others, least):
            hidden.add((whole, day.day))
        own = dict(counts[day.day])
        if (whole, day.day) in hidden or _few((own["examples"], own["without_notes"], day.unknown), least):
            own |= {"examples": None, "without_notes": None}
        if is_small(own["ended_all_splits"], least):
            own["ended_all_splits"] = None
        shown[day.day] = own
    nothing = dict.fromkeys(("n", "positives", "value", "low", "high"))
    return [row | nothing if (row["population"], row["day"]) in hidden else row for row in rows], shown


def _few(numbers, least):
    return any(is_small(number, least) for number in numbers)
