"""What `score_notes.py` writes: risks with the windows that drove them, and timelines as CSV and PNG."""

import csv

import numpy as np

from medtop.files.atomic import atomic_path
from medtop.files.formulas import quoting
from medtop.readmission.stay_facts import StayFacts
from medtop.reporting.curves import Panel
from medtop.reporting.png import write_plot
from medtop.reporting.svg import Series

RISK_COLUMNS = ("patient_id", "admission_id", "task", "label", "probability", "windows")
WINDOW_COLUMNS = (
    "patient_id",
    "admission_id",
    "task",
    "label",
    "rank",
    "window",
    "window_start",
    "window_end",
    "window_probability",
    "share",
)
TIMELINE_COLUMNS = (
    "patient_id",
    "admission_id",
    "note_time",
    "notes",
    "windows",
    "task",
    "label",
    "probability",
    "change",
)
"""Columns of the three files, in this order. `window_probability` is uncalibrated, `share` the window's part of the
uncalibrated risk of its admission, `notes` how many are known at `note_time`, `change` what the last of them did to the
risk (empty for the first)."""

MOST_PANELS = 12


def write_risks(path, windows_path, blocks, task, most, quote_formulas=False):
    """Writes one row per admission and label, and beside it the windows that drove each risk; both whole or not at all.

    Args:
        path, windows_path: the files.
        blocks: iterable of (list of stays, `ScoredTexts` of their texts).
        task: name of the task.
        most: windows listed for each.
        quote_formulas: see `medtop.files.formulas`.

    Returns:
        Number of admissions.
    """
    count = 0
    with (
        atomic_path(path) as risks,
        atomic_path(windows_path) as windows,
        open(risks, "w", encoding="utf-8", newline="") as risk_file,
        open(windows, "w", encoding="utf-8", newline="") as window_file,
    ):
        risk_writer, window_writer = (
            quoting(csv.writer(file, lineterminator="\n"), quote_formulas) for file in (risk_file, window_file)
        )
        risk_writer.writerow(RISK_COLUMNS)
        window_writer.writerow(WINDOW_COLUMNS)
        for stays, scored in blocks:
            sizes = np.bincount(scored.texts, minlength=len(stays))
            for row, stay in enumerate(stays):
                count += 1
                for place, label in enumerate(scored.labels):
                    about = (stay.patient_id, stay.admission_id, task, label)
                    risk_writer.writerow((*about, repr(float(scored.probabilities[row, place])), int(sizes[row])))
                    for rank, window in enumerate(scored.drivers(row, place, most), 1):
                        values = (scored.window_probabilities[window, place], scored.shares[window, place])
                        window_writer.writerow(
                            (
                                *about,
                                rank,
                                scored.numbers[window],
                                scored.starts[window],
                                scored.ends[window],
                                *(repr(float(value)) for value in values),
                            )
                        )
    return count


def write_timeline(path, moments, task, labels, quote_formulas=False):
    """Writes a row for each note and label, whole or not at all.

    Args:
        path: the file.
        moments: list of `medtop.readmission.score.Moment`.
        task: name of the task.
        labels: its labels.
        quote_formulas: see `medtop.files.formulas`.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = quoting(csv.writer(file, lineterminator="\n"), quote_formulas)
        writer.writerow(TIMELINE_COLUMNS)
        before = None
        for moment in moments:
            stay = moment.patient_id, moment.admission_id
            changes = [""] * len(labels)
            if before is not None and (before.patient_id, before.admission_id) == stay:
                changes = [repr(float(change)) for change in moment.probabilities - before.probabilities]
            before = moment
            time = np.datetime_as_string(np.datetime64(int(moment.time), "s"))
            writer.writerows(
                (
                    moment.patient_id,
                    moment.admission_id,
                    time,
                    moment.notes,
                    moment.windows,
                    task,
                    label,
                    repr(float(risk)),
                    change,
                )
                for label, risk, change in zip(labels, moment.probabilities, changes, strict=True)
            )


def timeline_panels(moments, labels, most=MOST_PANELS, facts=None):
    """One chart per admission: the risk after each note, holding until the next one.

    Marked besides: the note that moved the risk most; and, where `facts` know them, the discharge, the threshold and,
    in the heading, whether a readmission followed.

    Args:
        moments: list of `Moment`.
        labels: names of the K labels, one curve each.
        most: number of admissions that are drawn, the first ones.
        facts: `medtop.readmission.stay_facts.StayFacts`, or None.

    Returns:
        list of `medtop.reporting.curves.Panel`.
    """
    stays, facts = {}, facts or StayFacts()
    for moment in moments:
        stays.setdefault((moment.patient_id, moment.admission_id), []).append(moment)
    panels = []
    for (_, admission), course in list(stays.items())[:most]:
        times = np.array([moment.time for moment in course], np.float64)
        risks = np.array([moment.probabilities for moment in course])  # [notes, K]
        series = []
        for place, label in enumerate(labels):
            steps = np.repeat(times, 2)[1:], np.repeat(risks[:, place], 2)[:-1]
            name = label if len(labels) > 1 else ""
            series += [Series("", *steps, style=place), Series(name, times, risks[:, place], "points", style=place)]
        if len(labels) == 1:
            series += _marked(times, risks[:, 0], course, facts.discharges.get(admission), facts.thresholds, labels[0])
        what = f"risk of {labels[0]}" if len(labels) == 1 else "risk"
        axes = dict(x_label="note written", y_label=what, x_dates=True, y_range=(0, 1))
        panels.append(Panel(facts.title(admission), series, axes))
    return panels


def _marked(times, risks, course, discharge, thresholds, label):
    """What stands beside the curve of one label: the note that moved the risk most, discharge, threshold."""
    series = []
    if len(risks) > 1:
        changes = np.diff(risks)
        place = int(np.argmax(np.abs(changes))) + 1
        name = f"note {course[place].notes} moved it most: {changes[place - 1]:+.2f}"
        series.append(Series(name, times[place : place + 1], risks[place : place + 1], "points", style=1))
    if discharge is not None:
        series.append(Series("discharge", np.array([discharge, discharge], float), np.array([0.0, 1.0]), style=2))
    if label in thresholds:
        last = times[-1] if discharge is None else max(times[-1], discharge)
        span = np.array([times[0], last], float)
        level = thresholds[label]
        series.append(Series(f"threshold {level:.2f}", span, np.full(2, level), style=5, faint=True))
    return series


def write_timeline_plot(path, moments, labels, facts=None):
    """Draws `timeline_panels` as a PNG file; gives the number of admissions that are drawn."""
    panels = timeline_panels(moments, labels, facts=facts)
    write_plot(path, panels)
    return len(panels)
