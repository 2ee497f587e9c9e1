"""attribution.html (importance over patients, without identities) and patients.html (one patient after another)."""

import re

import numpy as np

from medtop.reporting.elements import bullets, escape, html_table, write_page
from medtop.reporting.forest import ForestRow, forest
from medtop.reporting.svg import Series, chart
from medtop.reporting.timeline import timeline

WARNING = (
    "What the model used, not what causes anything: a code may stand for a disease, for a habit of coding, or for care "
    "that was given. Attention weights are not shown, because they say where a layer looked, not what changed the risk."
)
MOST_CODES = 25
AGE_CURVES = 6
"""Codes whose attribution is drawn over age."""
MOST_PATIENTS = 200


def write_attribution_page(path, rows, names, labels, checks, num_patients, titles=None, facts=None, notes=()):
    """Writes the page of all patients, whole or not at all.

    Args:
        path: the file.
        rows: as `explain.importance.importance` gives.
        names: list of codes and context channels.
        labels: list of (task, label).
        checks: content of faithfulness.json.
        num_patients: how many were explained.
        titles: dict code -> title, or None.
        facts: dict of names and values shown at the top; notes: sentences that a reader needs.
    """
    titles = titles or {}
    sections = [("faithfulness", "How far to trust it", _checks(checks, labels))]
    for number, (task, label) in enumerate(labels):
        sections.append((f"label{number}", escape(f"{task} {label}"), _label(rows, names, number, titles)))
    write_page(path, "What the model used", sections, {"patients": num_patients, **(facts or {})}, [WARNING, *notes])


def _checks(checks, labels):
    complete, deletion = checks["completeness"], checks["deletion"]
    rows = [
        [f"{100 * share:.0f}%", f"{ours:.3f}", f"{random:.3f}", "-" if further is None else f"{100 * further:.0f}%"]
        for share, ours, random, further in zip(
            deletion["shares"],
            deletion["logit_falls_by"],
            deletion["random"],
            deletion["patients_in_whom_it_falls_further"],
            strict=True,
        )
    ]
    agreement = checks["agreement_with_randomised_weights"]
    shown = ", ".join(f"{'.'.join(label)} {value:+.2f}" for label, value in zip(labels, agreement, strict=True))
    lines = [f"Rank correlation with attributions of a model that was never trained (should be near 0): {shown}."]
    if complete["median"] is not None:
        lines.insert(
            0,
            "Attributions add up to the change of the logit up to "
            f"{100 * complete['median']:.2f}% (median) and {100 * complete['percentile_95']:.2f}% (95th "
            "percentile).",
        )
    header = ["codes taken out", "logit falls by", "at random", "patients in whom it falls further"]
    return f"{bullets(lines)}<h3>{escape(deletion['label'])}</h3>{html_table(header, rows)}"


def _label(rows, names, number, titles):
    everybody = [row for row in rows if not row["group_column"]]
    everybody.sort(key=lambda row: -abs(row["attribution"][number]["value"]))
    top = everybody[:MOST_CODES]
    points = [
        ForestRow(f"{names[row['item']]} ({row['patients']})", *_numbers(row["attribution"][number])) for row in top
    ]
    plot = forest("Mean attribution, in logits, of those who have the code (how many)", points, "attribution", 0.0)
    cells = [
        [names[row["item"]], *([titles.get(names[row["item"]], "")] if titles else []), row["patients"]]
        + [_text(row["attribution"][number]), *_share(row, number), _text(row["deletion_effect"][number])]
        for row in top
    ]
    parts = ["of it wide part"] if any(row["wide"][number] is not None for row in top) else []
    header = ["code", *(["title"] if titles else []), "patients", "attribution", *parts, "deletion effect"]
    table = html_table(header, cells, 2 if titles else 1, wrap=True)
    groups = _by_age(rows, names, top, number) + _by_group(rows, names, top, number)
    return f'<div class="plots">{plot}</div>{table}{groups}'


def _share(row, number):
    """The cell of the wide part's share, none where there is no such part."""
    return [] if row["wide"][number] is None else [f"{row['wide'][number]:+.3f}"]


def _by_age(rows, names, top, number):
    """Mean attribution over age bands, for the codes that matter most: as top-BERT's age-specific plots."""
    of_band = {(row["group"], row["item"]): row for row in rows if row["group_column"] == "age_band"}
    bands = sorted(
        {group for group, _ in of_band if group[:1].isdigit()}, key=lambda name: int(re.match(r"\d+", name)[0])
    )
    charts = []
    for row in top[:AGE_CURVES] if len(bands) > 1 else ():
        entries = [
            (place, of_band[band, row["item"]]) for place, band in enumerate(bands) if (band, row["item"]) in of_band
        ]
        points = [(place, entry["attribution"][number]) for place, entry in entries]
        if len(points) < 2:
            continue
        x, values = [place for place, _ in points], [entry["value"] for _, entry in points]
        ends = ("low", "high")  # no bar where a band has too few patients for an interval
        low, high = ([entry["value"] if entry[end] is None else entry[end] for _, entry in points] for end in ends)
        series = [Series("", x, values, "points", low, high, style=0), Series("", x, values, style=0, faint=True)]
        series.append(Series("", [0, len(bands) - 1], [0, 0], style=5, faint=True))
        ends = np.array([*low, *high, 0.0])
        margin = 0.06 * (float(np.ptp(ends)) or 1.0)  # no point or bar on the frame
        axes = dict(x_label="age at the prediction, years", y_label="attribution", x_range=(-0.4, len(bands) - 0.6))
        axes["y_range"] = float(ends.min()) - margin, float(ends.max()) + margin
        charts.append(chart(names[row["item"]], series, x_ticks=dict(enumerate(bands)), **axes))
    return f'<h3>By age</h3><div class="plots">{"".join(charts)}</div>' if charts else ""


def _by_group(rows, names, top, number):
    parts = []
    for column in dict.fromkeys(row["group_column"] for row in rows if row["group_column"]):
        groups = sorted({row["group"] for row in rows if row["group_column"] == column})
        value = {
            (row["group"], row["item"]): row["attribution"][number] for row in rows if row["group_column"] == column
        }
        cells = [
            [names[row["item"]], *(_text(value.get((group, row["item"]))) for group in groups)] for row in top[:12]
        ]
        parts.append(
            f"<details><summary>By {escape(column)}</summary>"
            f"{html_table(['code', *groups], cells, wrap=True)}</details>"
        )
    return "".join(parts)


def _numbers(entry):
    return entry["value"], entry["low"], entry["high"]


def _text(entry):
    if entry is None or entry["value"] is None:
        return "-"
    interval = "" if entry["low"] is None else f" [{entry['low']:+.3f},\u00a0{entry['high']:+.3f}]"
    return f"{entry['value']:+.3f}{interval}"


def write_patients_page(path, patients, tokens, labels):
    """Writes patients.html: each patient's visits in their order, codes shaded by attribution for the first label.

    It holds patients' data. A code's title says its attribution and deletion effect.

    Args:
        path: the file.
        patients: list of `explain.patients.Patient`; the first `MOST_PATIENTS` are shown.
        tokens: the vocabulary's tokens.
        labels: list of (task, label).
    """
    shades = f"Shades: attribution for {' '.join(labels[0])}; a code's title says what taking it out would change."
    notes = [WARNING, "This page holds patients' data.", shades]
    notes.append("The line is the logit after each stay: later stays taken out, days counted from that discharge.")
    if len(patients) > MOST_PATIENTS:
        notes.append(f"The first {MOST_PATIENTS} of {len(patients)} patients are shown.")
    sections = [
        (f"patient{number}", escape(patient.patient_id), _timeline(patient, tokens, labels))
        for number, patient in enumerate(patients[:MOST_PATIENTS])
    ]
    write_page(path, "Patients", sections, {}, notes)


def _timeline(patient, tokens, labels):
    ids, visits = patient.tokens["token_ids"], patient.tokens.get("visits")
    recencies = patient.tokens.get("recencies")
    visits = np.ones(len(ids), int) if visits is None else visits
    place = {int(code): number for number, code in enumerate(patient.codes)}
    largest = max(float(np.abs(patient.attribution[:, 0]).max(initial=0)), 1e-9)
    rows = []
    for visit in sorted({int(visit) for visit, code in zip(visits, ids, strict=True) if int(code) in place}):
        here = [spot for spot, code in enumerate(ids) if visits[spot] == visit and int(code) in place]
        when = f"visit {visit}" if recencies is None else f"{int(recencies[here[0]])} days before"
        codes = " ".join(_code(patient, place[int(ids[spot])], tokens[int(ids[spot])], largest) for spot in here)
        rows.append(f"<dt>{escape(when)}</dt><dd>{codes}</dd>")
    shown = ", ".join(f"{'.'.join(label)} {value:+.2f}" for label, value in zip(labels, patient.logits, strict=True))
    return f"<p>Logits: {escape(shown)}</p>{_stays(patient, labels)}<dl>{''.join(rows)}</dl>"


def _stays(patient, labels):
    """The stays to scale with the first label's logit after each; "" where the model reads no days or nobody asked."""
    recencies, lengths = patient.tokens.get("recencies"), patient.tokens.get("stays")
    if patient.after is None or recencies is None or not len(patient.stays):
        return ""
    places = [int(np.flatnonzero(patient.tokens["visits"] == number)[0]) for number in patient.stays]
    days = np.zeros(len(places)) if lengths is None else lengths[places]
    drawing = timeline(labels[0][1], recencies[places], days, patient.after[:, 0])
    return f'<div class="plots">{drawing}</div>'


def _code(patient, number, name, largest):
    value, effect = float(patient.attribution[number, 0]), float(patient.deletion[number, 0])
    colour = "--series-1" if value > 0 else "--series-0"
    share = round(60 * min(abs(value) / largest, 1))  # text stays readable
    style = f"background:color-mix(in srgb, var({colour}) {share}%, transparent)"
    title = f"attribution {value:+.3f}, without it the logit changes by {-effect:+.3f}"
    return f'<span style="{style}" title="{escape(title)}">{escape(name)}</span>'
