"""The curves that judge a classifier: ROC, precision and recall, calibration; for SVG (report) and PNG."""

import dataclasses
import math

import numpy as np

from medtop.evaluation.bootstrap import calibration_bins
from medtop.reporting.svg import Series


@dataclasses.dataclass
class Panel:
    """One chart to be drawn.

    Attributes:
        title: shown above.
        series: list of `medtop.reporting.svg.Series`.
        axes: dict of `x_label`, `y_label`, `x_range`, `y_range`.
    """

    title: str
    series: list
    axes: dict


def roc(curves):
    """ROC curves.

    Args:
        curves: list of (name, targets bool [N], scores float [N]); those with one class only are left out.
    """
    from sklearn.metrics import roc_curve  # here: scikit-learn takes seconds to load

    series = []
    for name, targets, scores in curves:
        if targets.any() and not targets.all():
            false, true, _ = roc_curve(targets, scores)
            _add(series, Series(name, false, true))
    series.append(Series("", [0, 1], [0, 1], style=5, faint=True))
    axes = dict(x_label="1 - specificity", y_label="sensitivity", x_range=(0, 1), y_range=(0, 1))
    return Panel("ROC", series, axes)


def _add(series, curve):
    """Appends a curve; one that is drawn already gets its name too.

    Where each admission has one window, the mean and the maximum of windows are the model's own curve.
    """
    for drawn in series:
        if len(drawn.x) == len(curve.x) and np.array_equal(drawn.x, curve.x) and np.array_equal(drawn.y, curve.y):
            drawn.name = f"{drawn.name} = {curve.name}"
            return
    series.append(curve)


def precision_recall(curves):
    """Precision over recall, and the share of positives of the first curve's targets as a line.

    Args:
        curves: as for `roc`; those without positives are left out.
    """
    from sklearn.metrics import precision_recall_curve  # here: as above

    series = []
    for name, targets, scores in curves:
        if targets.any():
            precision, recall, _ = precision_recall_curve(targets, scores)
            precision[-1] = precision[-2]  # scikit-learn closes the curve at precision 1, which nothing was measured at
            _add(series, Series(name, recall[::-1], precision[::-1], kind="step"))
    share = float(np.mean(curves[0][1]))
    series.append(Series("", [0, 1], [share, share], style=5, faint=True))
    axes = dict(x_label="recall", y_label="precision", x_range=(0, 1), y_range=(0, 1))
    return Panel("Precision and recall", series, axes)


def reliability(targets, scores):
    """Points of a calibration plot: mean score and share of positives per equal-mass bin, with 95% Wilson intervals.

    Returns:
        (mean score, share, low, high), float64 [bins] each.
    """
    bins = calibration_bins(scores)
    sizes = np.bincount(bins)
    used = sizes > 0
    count = sizes[used]
    mean = np.bincount(bins, scores)[used] / count
    share = np.bincount(bins, np.asarray(targets, float))[used] / count
    z = 1.959963984540054
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return mean, share, centre - half, centre + half


def calibration(targets, scores, before=None):
    """Observed share over predicted probability.

    Args:
        targets: bool [N], at least one.
        scores: float [N], calibrated.
        before: float [N], uncalibrated, drawn beside; or None.
    """
    mean, share, low, high = reliability(targets, scores)
    series = [Series("calibrated", mean, share, "points", low, high)]
    edge = max(mean.max(), high.max())
    if before is not None:
        raw, observed, _, _ = reliability(targets, before)
        series.append(Series("before calibration", raw, observed, "points"))
        edge = max(edge, raw.max(), observed.max())
    edge = min(1.0, math.ceil(edge * 20 + 0.2) / 20)
    series.append(Series("", [0, edge], [0, edge], style=5, faint=True))
    axes = dict(x_label="predicted probability", y_label="observed share", x_range=(0, edge), y_range=(0, edge))
    return Panel("Calibration", series, axes)
