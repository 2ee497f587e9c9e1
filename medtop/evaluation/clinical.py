"""What a clinician and a journal ask of a risk: discrimination, calibration, consequences at thresholds, by subgroup.

One set of resampled patients serves every measure, group and model, so that all differences are paired.

Letters: N examples, K labels, E known elements of a label, P patients, R resamples.
"""

import dataclasses
import math

import numpy as np

from medtop.evaluation.bootstrap import ERRORS, RANKING, LabelStatistics, interval, resampled
from medtop.evaluation.calibration_measures import CALIBRATION, CalibrationStatistics, SmoothCalibration
from medtop.evaluation.decisions import AT_THRESHOLD, DecisionStatistics, operating_points
from medtop.evaluation.predictions import check_probabilities
from medtop.evaluation.recalibration import refits_of

MEASURES = ("roc_auc", "average_precision", "brier", *CALIBRATION)
"""Of each label and each subgroup, in this order."""

FEW_POSITIVES = 10
DECISION_GRID = tuple(np.round(np.arange(1, 100) / 100, 2))
"""Thresholds of decision curves."""

CURVE_POINTS = 60
MISSING_GROUP = "missing"
_CENTRED = ("integrated_calibration_index",)  # an absolute value: noise only adds to it (`interval`)


@dataclasses.dataclass
class Elements:
    """The known elements of one label: scores float64 [E], targets bool [E], patients int [E], rows int [E] of N."""

    scores: np.ndarray
    targets: np.ndarray
    patients: np.ndarray
    rows: np.ndarray


def label_elements(predictions, probabilities):
    """(list of `Elements`, one per label; number of patients P)."""
    probabilities = check_probabilities(predictions, probabilities)
    _, number = np.unique(np.asarray(predictions.patient_ids, str), return_inverse=True)
    number = number.reshape(-1).astype(np.int64)
    elements = []
    for place in range(len(predictions.labels)):
        rows = np.flatnonzero(predictions.known[:, place])
        elements.append(Elements(probabilities[rows, place], predictions.targets[rows, place] > 0, number[rows], rows))
    return elements, int(number.max()) + 1 if len(number) else 0


def statistics_of(elements, chosen, num_patients, refit=None):
    """The two statistics that give `MEASURES` of the elements `chosen` (bool [E]), as items for `resampled`."""
    parts = elements.scores[chosen], elements.targets[chosen], elements.patients[chosen], num_patients
    return [LabelStatistics(*parts, metrics=(*RANKING, *ERRORS)), CalibrationStatistics(*parts, refit=refit)]


def measures_of(items, replicates):
    """dict measure -> (value, float64 [R] replicates) of the items of `statistics_of`."""
    joined = {}
    for item, drawn in zip(items, replicates, strict=True):
        point = item.point()
        joined |= {name: (point[name], drawn[name]) for name in item.metrics if name in MEASURES}
    return {name: joined[name] for name in MEASURES}


def value_entry(value, replicates, name=""):
    """`{"value", "low", "high"}`, None where undefined; 95% percentile interval over the resamples."""
    low, high = interval(value, replicates, centred=name in _CENTRED)
    return {"value": _finite(value), "low": low, "high": high}


def _finite(value):
    """float, or None where undefined."""
    return float(value) if math.isfinite(value) else None


def clinical_measures(
    predictions,
    probabilities,
    *,
    thresholds=(),
    alert_rates=(),
    groups=None,
    fitted_on=None,
    num_bootstrap=1000,
    seed=0,
):
    """All clinical measures of one patient-level task.

    Args:
        predictions: `Predictions`.
        probabilities: float [N, K].
        thresholds: given thresholds, or dict label -> list of them; alert_rates: shares of examples to alert.
        groups: dict column -> str [N], each example's group ("" = missing, a group of its own), or None.
        fitted_on: where the probabilities were recalibrated on other patients: their `Predictions`, probabilities
            before recalibration, and dict label -> what `recalibrate` said. The intervals of `CALIBRATION` then hold
            the error of that fit, which is made anew in each resample of all patients; else None.
        num_bootstrap, seed: resamples of patients.

    Returns:
        dict label -> {"n", "positives", "prevalence", "measures": {name: entry}, "operating_points": [...],
        "decision_curve": {...}, "calibration_curve": {...}, "groups": {column: {group: {"n", "positives",
        "few_positives", "measures", "differences"}}}}; an entry is {"value", "low", "high"}. A group's differences are
        the group minus all other examples. Where patients have several examples, "positive_patients" and
        "negative_patients" stand beside "n".
    """
    elements, num_patients = label_elements(predictions, probabilities)
    several = num_patients < len(predictions)  # examples of one patient
    refits, num_patients = _refits(fitted_on, num_patients)
    result = {}
    for place, label in enumerate(predictions.labels):
        chosen = thresholds.get(label, ()) if isinstance(thresholds, dict) else thresholds
        parts = elements[place], num_patients, several, refits.get(label)
        result[label] = _label(*parts, chosen, alert_rates, groups or {}, num_bootstrap, seed)
    return result


def _refits(fitted_on, num_patients):
    """(dict label -> `Refit`, number of patients judged and fitted on)."""
    refits, more = refits_of(*fitted_on, num_patients) if fitted_on else ({}, 0)
    return refits, num_patients + more


BRIEF = ("calibration_slope", "calibration_intercept", "observed_expected")
"""Measures of `calibration_in_brief`."""


def calibration_in_brief(predictions, probabilities, *, fitted_on=None, num_bootstrap=200, seed=0):
    """dict label -> {measure of `BRIEF`: {"value", "low", "high"}}: whether calibration failed, at little cost.

    Args:
        as for `clinical_measures`.
    """
    elements, num_patients = label_elements(predictions, probabilities)
    refits, num_patients = _refits(fitted_on, num_patients)
    items = [
        CalibrationStatistics(part.scores, part.targets, part.patients, num_patients, BRIEF, refits.get(label))
        for label, part in zip(predictions.labels, elements, strict=True)
    ]
    drawn = resampled(items, num_patients, num_bootstrap, seed)
    return {
        label: {name: value_entry(item.point()[name], replicates[name], name) for name in BRIEF}
        for label, item, replicates in zip(predictions.labels, items, drawn, strict=True)
    }


def _label(elements, num_patients, several, refit, thresholds, alert_rates, groups, num_bootstrap, seed):
    points = operating_points(elements.scores, thresholds, alert_rates)
    parts = elements.scores, elements.targets, elements.patients, num_patients
    decisions = DecisionStatistics(*parts, [point.threshold for point in points])
    curve = DecisionStatistics(*parts, DECISION_GRID)
    everything = np.ones(len(elements.scores), bool)
    cells = {(None, None): everything}
    for column, names in groups.items():
        own = np.asarray(names, object)[elements.rows]
        own = np.array([name or MISSING_GROUP for name in own], object)
        cells |= {(column, name): own == name for name in sorted(set(own))}
    items, places = [decisions, curve], {}
    for (column, _), chosen in cells.items():
        for some in [chosen] if column is None else [chosen, ~chosen]:
            if some.tobytes() not in places:  # of two groups, each is all others of the other
                places[some.tobytes()] = len(items)
                items += statistics_of(elements, some, num_patients, refit)
    drawn = resampled(items, num_patients, num_bootstrap, seed)

    def measured(some):
        place = places[some.tobytes()]
        return measures_of(items[place : place + 2], drawn[place : place + 2])

    owners = elements.patients if several else None
    entry = _counts(elements.targets, owners)
    entry["groups"] = {column: {} for column in groups}
    for (column, name), chosen in cells.items():
        own = measured(chosen)
        measures = {measure: value_entry(*pair, measure) for measure, pair in own.items()}
        if column is None:
            entry["measures"] = measures
            continue
        rest = measured(~chosen)
        differences = {
            measure: value_entry(own[measure][0] - rest[measure][0], own[measure][1] - rest[measure][1])
            for measure in own
        }
        group = _counts(elements.targets[chosen], owners if owners is None else owners[chosen])
        group["few_positives"] = group["positives"] < FEW_POSITIVES
        entry["groups"][column][name] = group | {"measures": measures, "differences": differences}
    entry["operating_points"] = _operating_points(points, decisions, drawn[0])
    entry["decision_curve"] = _decision_curve(curve, drawn[1])
    entry["calibration_curve"] = _calibration_curve(elements, num_patients, num_bootstrap, seed)
    return entry


def _counts(targets, patients=None):
    """Of elements, and of their patients where these are given."""
    n, positives = len(targets), int(np.sum(targets))
    counts = {"n": n, "positives": positives, "prevalence": positives / n if n else None}
    if patients is not None:
        kinds = {"positive_patients": targets, "negative_patients": ~targets}
        counts |= {name: len(np.unique(patients[chosen])) for name, chosen in kinds.items()}
    return counts


def _operating_points(points, statistics, drawn):
    values = statistics.point()
    return [
        dataclasses.asdict(point)
        | {name: value_entry(values[name, place], drawn[name, place]) for name in AT_THRESHOLD}
        for place, point in enumerate(points)
    ]


def _decision_curve(statistics, drawn):
    """Net benefit over thresholds: of the model with its interval, of alerting all, of alerting none (0)."""
    values = statistics.point()
    places = range(len(statistics.thresholds))
    entries = [value_entry(values["net_benefit", place], drawn["net_benefit", place]) for place in places]
    return {
        "threshold": [float(threshold) for threshold in statistics.thresholds],
        "model": [entry["value"] for entry in entries],
        "low": [entry["low"] for entry in entries],
        "high": [entry["high"] for entry in entries],
        "treat_all": [_finite(values["treat_all", place]) for place in places],
    }


def _calibration_curve(elements, num_patients, num_bootstrap, seed):
    """The smooth curve from the 1st to the 99th percentile of the risks, with a pointwise 95% interval."""
    empty = {"probability": [], "observed": [], "low": [], "high": []}
    if not elements.targets.any() or elements.targets.all():
        return empty
    smooth = SmoothCalibration(elements.scores)
    grid = np.linspace(*np.quantile(elements.scores, [0.01, 0.99]), CURVE_POINTS)
    line = smooth.curve(smooth.fit(elements.targets, np.ones((len(elements.scores), 1))), grid)[:, 0]
    item = _CurveStatistics(smooth, elements, grid, num_patients)
    drawn = resampled([item], num_patients, min(num_bootstrap, 200), seed)[0]
    entries = [value_entry(value, drawn[place]) for place, value in enumerate(line)]
    return {
        "probability": [float(value) for value in grid],
        "observed": [entry["value"] for entry in entries],
        "low": [entry["low"] for entry in entries],
        "high": [entry["high"] for entry in entries],
    }


class _CurveStatistics:
    """The smooth curve at each place of a grid, as an item for `resampled`."""

    def __init__(self, smooth, elements, grid, num_patients):
        self.smooth, self.elements, self.grid, self.num_patients = smooth, elements, grid, num_patients
        self.metrics = tuple(range(len(grid)))

    @property
    def rows(self):
        return len(self.elements.scores) * 8

    def values(self, counts):
        fitted = self.smooth.fit(self.elements.targets, counts[self.elements.patients], 1e-5)
        return dict(enumerate(self.smooth.curve(fitted, self.grid)))
