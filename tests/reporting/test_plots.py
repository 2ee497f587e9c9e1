"""PNG plots: a picture of the promised size in which the curves are where the numbers say; whole or not at all."""

import numpy as np
import pytest
from matplotlib import image

from medtop.reporting.curves import Panel, calibration, precision_recall, roc
from medtop.reporting.png import write_plot
from medtop.reporting.svg import Series

BLUE = np.array([0x1F, 0x6F, 0xB4]) / 255
RED = np.array([0xC8, 0x50, 0x1E]) / 255
AXES = dict(x_label="x", y_label="y", x_range=(0, 1), y_range=(0, 1))


def rows_of_colour(path, colour):
    """Heights (0 bottom of the picture, 1 top) of pixels of a colour."""
    pixels = image.imread(path)[:, :, :3]
    close = np.abs(pixels - colour).max(axis=2) < 0.02
    return 1 - np.nonzero(close)[0] / len(pixels), close


def test_lines_are_drawn_in_order_at_their_heights(tmp_path):
    panel = Panel("two lines", [Series("low", [0, 1], [0.2, 0.2]), Series("high", [0, 1], [0.8, 0.8])], AXES)
    write_plot(tmp_path / "plot.png", [panel])
    assert (tmp_path / "plot.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    low, high = (rows_of_colour(tmp_path / "plot.png", colour)[0] for colour in (BLUE, RED))
    in_axes = [np.median(np.sort(rows)[: len(rows) * 9 // 10]) for rows in (low, high)]
    assert in_axes[1] - in_axes[0] > 0.4 and len(low) > 300 and len(high) > 200


def test_steps_hold_the_value_of_their_right_end(tmp_path):
    """As in the SVG charts: y[i] holds from x[i - 1] to x[i]."""
    panel = Panel("steps", [Series("", [0, 0.5, 1], [0.1, 0.9, 0.5], kind="step")], AXES)
    write_plot(tmp_path / "plot.png", [panel])
    _, close = rows_of_colour(tmp_path / "plot.png", BLUE)
    columns = np.nonzero(close.any(axis=0))[0]
    quarter, later = (columns[0] + (columns[-1] - columns[0]) * share // 100 for share in (25, 75))
    assert np.nonzero(close[:, quarter])[0].mean() < np.nonzero(close[:, later])[0].mean()  # 0.9 stands above 0.5


@pytest.mark.quick(first=1)
@pytest.mark.parametrize("count, shape", [(1, (1, 1)), (3, (1, 3)), (4, (2, 3))])
def test_panels_stand_in_rows_of_three(tmp_path, count, shape):
    write_plot(tmp_path / "plot.png", [Panel(f"{n}", [Series("", [0, 1], [0, 1])], AXES) for n in range(count)])
    height, width = image.imread(tmp_path / "plot.png").shape[:2]
    assert (height, width) == (round(4.6 * shape[0] * 150), round(5.2 * shape[1] * 150))


@pytest.mark.slow
def test_the_curves_of_a_classifier_and_times_can_be_drawn(tmp_path):
    rng = np.random.default_rng(0)
    scores = rng.random(200)
    targets = rng.random(200) < scores
    curves = [("model", targets, scores), ("other", targets, rng.random(200)), ("one class", targets[:0], scores[:0])]
    panels = [roc(curves), precision_recall(curves), calibration(targets, scores, scores**2)]
    assert [series.name for series in panels[0].series] == ["model", "other", ""]
    times = np.array(["2101-10-20T19:08", "2101-10-22T07:00"], "datetime64[s]").astype(float)
    panels.append(Panel("dates", [Series("", times, [0.2, 0.4])], {**AXES, "x_dates": True}))
    write_plot(tmp_path / "plot.png", panels)
    assert image.imread(tmp_path / "plot.png").std() > 0.05


@pytest.mark.filterwarnings("error")
@pytest.mark.slow
def test_dates_of_every_span_find_their_ticks(tmp_path):
    """From one note alone to a year of them, without a complaint of matplotlib's."""
    start = float(np.datetime64("2101-10-20T19:08", "s").astype(int))
    hours = (0, 1, 5, 13, 26, 40, 55, 80, 100, 150, 250, 400, 700, 1500, 9000)
    panels = [
        Panel(
            "dates",
            [Series("", np.linspace(start, start + 3600 * span, 3), [0, 0.5, 1], "points")],
            {**AXES, "x_dates": True},
        )
        for span in hours
    ]
    write_plot(tmp_path / "plot.png", panels)
    assert rows_of_colour(tmp_path / "plot.png", BLUE)[1].sum() > 15 * 3 * 50  # every point is in its picture


def test_a_plot_that_fails_leaves_the_earlier_one(tmp_path):
    path = tmp_path / "plot.png"
    path.write_bytes(b"earlier")
    with pytest.raises(ValueError):
        write_plot(path, [Panel("bad", [Series("", [0, 1], [0, 1, 2])], AXES)])
    assert path.read_bytes() == b"earlier" and [one.name for one in tmp_path.iterdir()] == ["plot.png"]


def test_a_curve_that_is_drawn_already_gets_a_second_name():
    """With one window an admission, the mean and the maximum of its windows are the model's own curve."""
    rng = np.random.default_rng(1)
    scores, targets = rng.random(50), rng.random(50) < 0.4
    curves = [
        ("model", targets, scores),
        ("mean", targets, scores),
        ("max", targets, 2 * scores),
        ("TF-IDF", targets, 1 - scores),
    ]
    for panel in (roc(curves), precision_recall(curves)):
        assert [series.name for series in panel.series] == ["model = mean = max", "TF-IDF", ""]
