"""evaluation.html: clinical measures of a model on labelled data, for reading and printing."""

import math

from medtop.evaluation.clinical import FEW_POSITIVES
from medtop.reporting.elements import WITHHELD, Markup, bullets, escape, html_table, write_page
from medtop.reporting.forest import ForestRow, forest
from medtop.reporting.result_table import CAUTION
from medtop.reporting.svg import Series, chart

NAMES = {
    "roc_auc": "AUROC",
    "roc_auc_ipcw": "AUROC, IPCW",
    "average_precision": "average precision",
    "brier": "Brier",
    "calibration_slope": "slope",
    "calibration_intercept": "intercept",
    "observed_expected": "O : E",
    "integrated_calibration_index": "ICI",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "positive_predictive_value": "PPV",
    "negative_predictive_value": "NPV",
    "alerts_per_1000": "alerts per 1,000",
    "net_benefit": "net benefit",
}
"""How a measure is called in tables."""

READING = (
    "Slope 1 and intercept 0 are right; a slope below 1 says that risks are too extreme, an intercept above 0 that "
    "they are too low. O : E is what happened over what was predicted. ICI is the mean distance between the smooth "
    "calibration curve and the predicted risk. Intervals are 95% bootstrap intervals over patients. "
    f"{CAUTION}: the interval excludes what is right (of many, one in twenty does so by chance), or fewer than "
    f"{FEW_POSITIVES} positives."
)
RIGHT = {"calibration_slope": 1.0, "calibration_intercept": 0.0, "observed_expected": 1.0}
"""What is right, of the measures that have it."""


def write_evaluation_page(path, title, clinical, facts, notes, comparison=None):
    """Writes the page, whole or not at all.

    Args:
        path: the file.
        title: its heading.
        clinical: dict task -> label -> entry, as `evaluation.clinical.clinical_measures` gives; suppressed values None.
        facts: dict shown at the top.
        notes: sentences that a reader needs.
        comparison: dict task -> label -> {"difference", "low", "high", "p_value", "n"} of this model minus another, or
            None.
    """
    sections = [
        ("measures", "Discrimination and calibration", _measures(clinical)),
        ("comparison", "Against the other model", _comparison(comparison or {})),
        ("curves", "Calibration and decision curves", _curves(clinical)),
        ("thresholds", "At thresholds", _thresholds(clinical)),
        ("groups", "Subgroups", _groups(clinical)),
    ]
    write_page(path, title, sections, facts, notes)


def entry_text(entry, digits=3):
    """`0.812 [0.790, 0.833]`, "-" where undefined."""
    if entry is None or entry.get("value") is None:
        return "-"
    text = f"{entry['value']:.{digits}f}"
    if entry.get("low") is None:
        return text
    return f"{text} [{entry['low']:.{digits}f},\u00a0{entry['high']:.{digits}f}]"  # breaks before the interval only


def _labels(clinical):
    for task, labels in clinical.items():
        for label, entry in labels.items():
            yield (label if len(clinical) == 1 or label == task else f"{task} {label}"), entry


def _measures(clinical):
    rows, points = [], []
    met = {measure for _, entry in _labels(clinical) for measure in entry["measures"]}
    shown = [measure for measure in NAMES if measure in met]  # not every label has a horizon
    for name, entry in _labels(clinical):
        measures = entry["measures"]
        cells = [_checked(measure, measures[measure]) if measure in measures else "-" for measure in shown]
        rows.append([name, _hidden(entry["n"]), _count(entry), *cells])
        auroc = measures["roc_auc"]
        note = "few positives" if entry.get("few_positives") else ""
        points.append(ForestRow(name, auroc["value"], auroc["low"], auroc["high"], note))
    if not rows:
        return ""
    header = ["label", "n", "positives", *(NAMES[name] for name in shown)]
    plot = forest("AUROC by label", points, "AUROC", 0.5)
    return f'<div class="plots">{plot}</div>{html_table(header, rows, wrap=True)}<p class="soft">{escape(READING)}</p>'


def _checked(measure, entry):
    """The cell of a measure, marked where its interval excludes what is right."""
    text, right = entry_text(entry), RIGHT.get(measure)
    if right is None or entry is None or entry.get("low") is None or entry["low"] <= right <= entry["high"]:
        return text
    return Markup(f'<strong class="off">{CAUTION} {escape(text)}</strong>')


def _count(entry):
    """How many positives, marked where they are few."""
    if entry["positives"] is None:
        return _hidden(None)
    return f"{CAUTION} {entry['positives']}" if entry["positives"] < FEW_POSITIVES else entry["positives"]


def _comparison(comparison):
    rows = []
    for task, labels in comparison.items():
        for label, entry in labels.items():
            if entry["difference"] is not None:
                rows.append(ForestRow(f"{task} {label}", entry["difference"], entry["low"], entry["high"]))
    plot = forest("Difference in AUROC, this model minus the other, same resampled patients", rows, "difference", 0.0)
    return f'<div class="plots">{plot}</div>' if plot else ""


def _curves(clinical):
    parts = []
    for name, entry in _labels(clinical):
        charts = [_calibration(entry["calibration_curve"]), _decision(entry["decision_curve"], entry["prevalence"])]
        charts = [svg for svg in charts if svg]
        if charts:
            parts.append(
                f'<section class="label"><h3>{escape(name)}</h3><div class="plots">{"".join(charts)}</div></section>'
            )
    return "".join(parts)


def _calibration(curve):
    if not curve["probability"]:
        return ""
    edge = max(*curve["probability"], *(value for value in curve["high"] if value is not None), 0.02)
    edge = min(1.0, math.ceil(edge * 20) / 20)
    series = [
        Series("observed, smooth", curve["probability"], curve["observed"]),
        Series("95% interval", curve["probability"], _numbers(curve["low"]), style=1, faint=True),
        Series("", curve["probability"], _numbers(curve["high"]), style=1, faint=True),
        Series("", [0, edge], [0, edge], style=5, faint=True),
    ]
    axes = dict(x_label="predicted risk", y_label="observed share", x_range=(0, edge), y_range=(0, edge))
    return chart("Calibration", series, **axes)


def _decision(curve, prevalence):
    """Up to the threshold at which nothing is left to gain, three times the prevalence or more."""
    if not curve["threshold"] or not prevalence:
        return ""
    last = min(1.0, max(0.1, 3 * prevalence))
    kept = [place for place, threshold in enumerate(curve["threshold"]) if threshold <= last]
    threshold = [curve["threshold"][place] for place in kept]
    columns = {name: _numbers([curve[name][place] for place in kept]) for name in ("model", "low", "high", "treat_all")}
    top = max([value for value in columns["high"] + columns["model"] if value == value], default=prevalence)
    top = top if top > 0 else prevalence  # nothing is gained anywhere
    floor = -0.25 * top
    columns = {name: [value if value >= floor else math.nan for value in column] for name, column in columns.items()}
    series = [
        Series("model", threshold, columns["model"]),
        Series("alert all", threshold, columns["treat_all"], style=2),
        Series("95% interval", threshold, columns["low"], style=1, faint=True),
        Series("", threshold, columns["high"], style=1, faint=True),
        Series("alert none", [0, last], [0, 0], style=5, faint=True),
    ]
    axes = dict(x_label="threshold", y_label="net benefit", x_range=(0, last), y_range=(floor, 1.05 * top))
    return chart("Decision curve", series, **axes)


def _numbers(values):
    return [math.nan if value is None else value for value in values]


def _thresholds(clinical):
    rows, names = [], ()
    for name, entry in _labels(clinical):
        for point in entry["operating_points"]:
            names = [key for key in point if key in NAMES]
            rate = point["alert_rate"]
            chosen = "given" if rate is None else f"highest {100 * rate:g}%"
            cells = (entry_text(point[key], 1 if key == "alerts_per_1000" else 3) for key in names)
            rows.append([name, chosen, f"{point['threshold']:.4f}", *cells])
    if not rows:
        return ""
    return html_table(["label", "chosen", "threshold", *(NAMES[key] for key in names)], rows, 2, wrap=True)


def _groups(clinical):
    parts = []
    for name, entry in _labels(clinical):
        for column, groups in entry["groups"].items():
            rows, points, marks = [], [], []
            for group, cell in groups.items():
                measures, differences = cell["measures"], cell["differences"]
                note = cell.get("reason") or ("few positives" if cell["few_positives"] else "")
                points.append(ForestRow(group, *(measures["roc_auc"][key] for key in ("value", "low", "high")), note))
                shown = [entry_text(measures[key]) for key in ("roc_auc", "calibration_slope", "observed_expected")]
                rows.append(
                    [
                        group,
                        _hidden(cell["n"]),
                        _hidden(cell["positives"]),
                        *shown,
                        entry_text(differences["roc_auc"]),
                        entry_text(differences["observed_expected"]),
                        note,
                    ]
                )
                if note:
                    marks.append(f"{group}: {note}")
            header = [
                "group",
                "n",
                "positives",
                "AUROC",
                "slope",
                "O : E",
                "AUROC minus the rest",
                "O : E minus the rest",
                "mark",
            ]
            parts.append(
                f'<section class="label"><h3>{escape(name)} by {escape(column)}</h3>'
                f'<div class="plots">{forest(f"AUROC by {column}", points, "AUROC", 0.5)}</div>'
                f"{html_table(header, rows, wrap=True)}{bullets(marks)}</section>"
            )
    return "".join(parts)


def _hidden(number):
    return WITHHELD if number is None else number
