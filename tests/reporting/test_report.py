"""report.html: one page, complete, escaped, tolerant of what is missing; charts drawn where the numbers are."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from medtop.evaluation import metrics as evaluation
from medtop.evaluation.calibration import fit_calibration
from medtop.evaluation.clinical import calibration_in_brief, clinical_measures
from medtop.evaluation.marks import add_marks
from medtop.evaluation.predictions import Predictions, sigmoid
from medtop.reporting import svg as charts
from medtop.reporting.curves import reliability
from medtop.reporting.evaluation_page import write_evaluation_page
from medtop.reporting.flow import flow_chart
from medtop.reporting.methods import methods_text
from medtop.reporting.page import _attention, write_report
from medtop.reporting.result_table import CAUTION, behind, result_table

HOSTILE = '<script>alert("x")</script>&\'"'
VOID = {"meta", "link", "br", "hr", "img", "input"}


def predictions_of(count=300, seed=0, labels=("MACE_365", HOSTILE, "empty")):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, len(labels))) - 1
    targets = (rng.random(logits.shape) < sigmoid(logits)).astype(np.float32)
    if len(labels) > 2:
        targets[:, 2] = 0
    return Predictions(
        "complications", labels, np.arange(count).astype(str), np.zeros(count), targets, np.ones_like(targets), logits
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A full report with hostile names in every place that takes a name."""
    predictions = predictions_of()
    calibration = fit_calibration(predictions)
    results = {"complications": (predictions, calibration.apply(predictions))}
    entry = evaluation.evaluate(
        *results["complications"],
        thresholds=calibration.thresholds,
        uncalibrated=predictions.probabilities,
        num_bootstrap=20,
    )
    metrics = {
        "valid": {"complications": entry},
        "test": {
            "complications": entry,
            "masked_lm": {"masked_lm": evaluation.masked_metrics(9, loss=1.0, accuracy=0.5)},
        },
    }
    baselines = {f"counts {HOSTILE}": results}
    comparison = evaluation.compare(results, baselines, num_bootstrap=20)
    log = [{"step": step, "loss": 3 / step, HOSTILE + "_loss": 1.0, "note": HOSTILE} for step in range(1, 500)]
    log += [{"step": 400, "valid_loss": 2.0, "valid_roc_auc": 0.7, "broken_loss": None}, {"no": "step"}]
    manifest = {
        "source": {"name": HOSTILE, "notes": [HOSTILE]},
        "rows_in": 1000,
        "rows_out": 900,
        "rows_merged": 40,
        "rows_dropped": {HOSTILE: 60},
        "patients_in": 310,
        "patients_out": 300,
        "patients_dropped": {"too_few_visits": 10},
        "dates": {"first_admission": "2001-01-01", "prediction_times": ["2002-01-01", "2003-01-01"]},
        "splits": {"train": {"patients": 200, "examples": 210, "codes": 4000, "longest": 77}},
        "labels": {
            "train": {
                "complications": {
                    "MACE_365": {
                        "examples": 200,
                        "known": 150,
                        "positives": 15,
                        "prevalence": 0.1,
                        "share_known": 0.75,
                        "unknown": {"censored": 50},
                    }
                }
            }
        },
        "statements": [HOSTILE],
    }
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(
        path,
        title=HOSTILE,
        metrics=metrics,
        split="test",
        results=results,
        baselines=baselines,
        uncalibrated={"complications": predictions.probabilities},
        comparison=comparison,
        train_log=log,
        manifest=manifest,
        facts={"run": HOSTILE},
        notes=[HOSTILE],
    )
    return path.read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Collects text, tags and attributes, and checks that tags close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.words, self.tags, self.attributes = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    return reader


def test_every_name_is_escaped(page):
    assert "<script" not in page.lower()
    reader = read(page)
    assert "script" not in reader.tags
    assert sum(HOSTILE in word for word in reader.words) >= 12  # shown, as text
    assert not any(name.startswith("on") for name, _ in reader.attributes)


def test_page_needs_nothing_from_outside(page):
    reader = read(page)
    assert not {"link", "img", "iframe", "object", "embed"} & set(reader.tags)
    assert not any(name in ("src", "srcset", "data") for name, _ in reader.attributes)
    assert all(value.startswith("#") for name, value in reader.attributes if name == "href")
    assert "url(" not in page and "@import" not in page and "http" not in page.replace("http-equiv", "")


def test_page_holds_every_section_and_its_numbers(page):
    reader = read(page)
    words = " ".join(reader.words)
    for heading in ("Results", "Calibration", "Curves by label", "Training", "Cohort", "Flow of patients and rows"):
        assert heading in words
    for text in (
        "Split valid",
        "1,000",
        "censored 50",
        "10.0%",
        "75.0%",
        "2001-01-01",
        "empty: no curves, one class only.",
        "Labels by split",
        "Methods, ready to paste",
        "complications empty: only negatives among the known labels",
        "masked_lm: n 9, loss 1.000",
    ):
        assert text in words, text
    links = {value[1:] for name, value in reader.attributes if name == "href"}
    assert links == {value for name, value in reader.attributes if name == "id"}
    # two labels with curves and a calibration plot each; training: loss, the hostile one, roc_auc
    titles = re.findall(r'<text class="title"[^>]*>([^<]*)', page)
    assert [titles.count(title) for title in ("ROC", "Precision and recall", "MACE_365")] == [2, 2, 1]
    assert titles.count("loss") == 1 and titles.count("roc_auc") == 1 and "broken_loss" not in titles


def test_svg_is_well_formed_xml(page):
    plots = re.findall(r'<div class="plots">(<svg.*?</svg>)</div>', page)
    drawings = [drawing for plot in plots for drawing in ElementTree.fromstring(f"<all>{plot}</all>")]
    assert len(drawings) == 2 * 3 + 3 + 1  # labels, training, flow chart
    for drawing in drawings:
        assert drawing.get("role") == "img" and drawing.get("aria-label")


def test_a_bare_report_is_written_too(tmp_path):
    path = tmp_path / "report.html"
    metrics = {"test": {"masked_lm": {"masked_lm": evaluation.masked_metrics(3, loss=2.0)}}}
    write_report(path, title="run", metrics=metrics, split="test")
    page = path.read_text(encoding="utf-8")
    read(page)
    assert "masked_lm: n 3" in page and "Cohort" not in page and "Training" not in page
    write_report(path, title="run", metrics={}, split="test", manifest={"labels": {}, "rows_dropped": {}})
    read(path.read_text(encoding="utf-8"))


def test_size_stays_small_for_many_examples(tmp_path):
    predictions = predictions_of(20_000, labels=("a", "b"))
    results = {"complications": (predictions, predictions.probabilities)}
    path = tmp_path / "report.html"
    write_report(
        path,
        title="run",
        metrics={},
        split="test",
        results=results,
        train_log=[{"step": step, "loss": float(np.sin(step))} for step in range(20_000)],
    )
    assert path.stat().st_size < 120_000


def test_reliability_by_hand():
    """Ten of 0.2 with one positive and ten of 0.8 with ten: Wilson's interval for 1 of 10 is 0.0179 to 0.4042."""
    targets = np.r_[np.arange(10) < 1, np.ones(10, bool)]
    mean, share, low, high = reliability(targets, np.repeat([0.2, 0.8], 10))
    assert mean.tolist() == pytest.approx([0.2, 0.8]) and share.tolist() == [0.1, 1.0]
    assert low[0] == pytest.approx(0.0179, abs=1e-4) and high[0] == pytest.approx(0.4042, abs=1e-4)
    assert high[1] == pytest.approx(1.0)


def path_points(svg, kind):
    path = re.search(rf'class="{kind}"[^>]* d="([^"]*)"', svg)[1]
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


def test_chart_puts_points_where_the_numbers_are():
    svg = charts.chart(
        "t", [charts.Series("s", [0, 5, 10], [0, 1, 2])], x_label="x", y_label="y", x_range=(0, 10), y_range=(0, 4)
    )
    (left, bottom), (middle, quarter), (right, half) = path_points(svg, "curve")
    assert middle == pytest.approx((left + right) / 2) and bottom - quarter == pytest.approx(quarter - half)
    ticks = dict(re.findall(r'text-anchor="end" x="[^"]*" y="([\d.]+)">([\d.]+)<', svg))
    heights = {float(value): float(y) for y, value in ticks.items()}
    assert heights[2.0] - 3.5 == pytest.approx(half, abs=0.11) and heights[0.0] - 3.5 == pytest.approx(bottom, abs=0.11)
    assert {0.0, 2.0, 4.0} <= set(heights)


def test_chart_survives_constant_empty_and_undefined_series():
    for x, y in (([1], [2]), ([], []), ([1, 2, 3], [5, 5, 5]), ([1, 2, 3], [1, np.nan, np.inf])):
        for kind in ("line", "step", "points"):
            svg = charts.chart("t", [charts.Series("s", x, y, kind)], x_label="x", y_label="y")
            ElementTree.fromstring(svg)
            assert "nan" not in svg and "inf" not in svg


def test_thinned_curves_keep_ends_and_jumps():
    x = np.r_[np.linspace(0, 1, 5000), np.linspace(1, 1.0001, 5000)]
    y = np.r_[np.zeros(5000), np.linspace(0, 1, 5000)]
    thin_x, thin_y = charts.thin(x, y, 100)
    assert len(thin_x) <= 100 and (thin_x[0], thin_y[0]) == (0, 0) and (thin_x[-1], thin_y[-1]) == (x[-1], 1)
    assert np.abs(np.diff(thin_y)).max() < 0.05 and np.abs(np.diff(thin_x)).max() < 0.05


@pytest.mark.parametrize(
    "low, high, ticks",
    [(0, 0.3, [0, 0.1, 0.2, 0.3]), (0, 1000, [0, 200, 400, 600, 800, 1000]), (-1, 1, [-1, -0.5, 0, 0.5, 1])],
)
def test_ticks_are_round_numbers(low, high, ticks):
    assert charts.nice_ticks(low, high) == pytest.approx(ticks)


def test_what_must_not_be_missed_comes_first(tmp_path):
    """A label of few events and a calibration that is off stand before the results, and are marked in the tables."""
    predictions = predictions_of(600, labels=("a", "b"))
    predictions.targets[:, 1] = np.arange(600) < 5
    probabilities = predictions.probabilities**2  # too low
    entry = evaluation.evaluate(predictions, probabilities, num_bootstrap=20)
    metrics = {"test": {"complications": entry}}
    add_marks(metrics, {})
    brief = calibration_in_brief(predictions, probabilities, num_bootstrap=100)
    path = tmp_path / "report.html"
    results = {"complications": (predictions, probabilities)}
    write_report(path, title="r", metrics=metrics, split="test", results=results, calibration={"complications": brief})
    page = path.read_text(encoding="utf-8")
    first = page[page.index('id="attention"') : page.index('id="results"')]
    assert "complications b: 5 positives in test" in first and "a: calibration is off: " in first
    ratio = brief["a"]["observed_expected"]
    expected = predictions.targets[:, 0].sum() / probabilities[:, 0].sum()
    assert ratio["value"] == pytest.approx(expected) and ratio["low"] > 1
    assert f"O : E {expected:.3f}" in first and "⚠ 5" in page and page.count('class="off"') >= 2
    probabilities = np.clip(predictions.targets * 0 + predictions.targets.mean(0), 0, 1)  # right in the large
    brief = calibration_in_brief(predictions, probabilities, num_bootstrap=100)
    assert brief["a"]["observed_expected"]["low"] <= 1 <= brief["a"]["observed_expected"]["high"]


def test_the_main_table_draws_where_the_numbers_are():
    """Model and rival of one label on the scale of the axis: positions by hand."""
    entry = {"value": 0.8, "low": 0.7, "high": 0.9}
    rival = {"t": {"a": {"roc_auc": {"value": 0.6, "low": 0.55, "high": 0.65}}}}
    comparison = {
        "baselines": {"r": rival},
        "differences": {"r": {"t": {"a": {"difference": 0.2, "low": 0.1, "high": 0.3, "p_value": 0.01}}}},
    }
    tasks = {"t": {"a": {"roc_auc": entry, "n": 10, "positives": 4}}}
    page = result_table(tasks, comparison)
    low, high = 0.49, 0.91  # 0.5 and the largest number, and a hundredth around them
    across = lambda value: 6 + (value - low) / (high - low) * 258  # noqa: E731
    assert f'<rect class="model" x="{across(0.8) - 3.5:.1f}"' in page
    assert f'<circle class="rival" cx="{across(0.6):.1f}"' in page
    assert f"M{across(0.7):.1f} 8.0H{across(0.9):.1f}" in page
    assert "0.800 [0.700,\u00a00.900]" in page and "+0.200 [+0.100,\u00a0+0.300]" in page and "0.010" in page


def test_methods_say_what_was_done():
    manifest = {
        "patients_in": 10,
        "patients_out": 8,
        "patients_dropped": {"outside_period": 2},
        "source": {"name": "s"},
    }
    manifest |= {"prediction_times": {"index": "random_visit"}, "splits": {"train": {"patients": 8}}}
    manifest["split_by"] = {"by": "time", "valid_from": "2011-01-01", "test_from": "2012-01-01"}
    model = {"version": "1", "parts": "wide", "wide_days": (31, 92), "seed": 3, "tasks": ["t"], "split": "test"}
    text = methods_text(manifest, model | {"num_bootstrap": 1000, "calibration": ["platt"]})
    assert "8 were analysed; 2 were left out (outside period 2)" in text and "test from 2012-01-01" in text
    assert "transformer" not in text and "within 31, 92 days" in text and "1,000 bootstrap samples" in text
    assert "transformer" in methods_text({}, model | {"parts": "encoder", "layers": 2}) and methods_text({}, {}) == ""


def test_the_flow_chart_adds_up():
    """In = analysed + left out, each reason with its number; without counts there is no chart."""
    manifest = {"patients_in": 1310, "patients_out": 1200, "patients_dropped": {"no_stay": 100, HOSTILE: 10, "none": 0}}
    manifest["splits"] = {
        "train": {"patients": 900, "examples": 950},
        "valid": {"patients": 0},
        "test": {"patients": 300},
    }
    chart = flow_chart(manifest)
    ElementTree.fromstring(chart)
    words = re.findall(r"<text[^>]*>([^<]*)", chart)
    assert words[:3] == ["In the source: 1,310", "Left out: 110", "no stay: 100"] and "none: 0" not in words
    assert words[-4:] == ["Analysed: 1,200", "train: 900", "950 examples", "test: 300"] and "<script" not in chart
    assert flow_chart({}) == "" and "Left out" not in flow_chart({"patients_in": 2, "patients_out": 2})


def test_a_better_rival_is_named_first():
    """By hand: behind on a, level on b (the interval holds 0), ahead on c."""

    def entry(value):
        return {"roc_auc": {"value": value, "low": value - 0.1, "high": value + 0.1}, "n": 9, "positives": 3}

    labels = {"a": entry(0.6), "b": entry(0.6), "c": entry(0.9)}
    rival = {"t": {"a": entry(0.8), "b": entry(0.65), "c": entry(0.7)}}
    differences = {"a": (-0.2, -0.3, -0.1), "b": (-0.05, -0.2, 0.1), "c": (0.2, 0.1, 0.3)}
    differences = {
        name: dict(zip(("difference", "low", "high"), three, strict=True)) for name, three in differences.items()
    }
    comparison = {"baselines": {"simple_model": rival}, "differences": {"simple_model": {"t": differences}}}
    line = behind({"t": labels}, comparison)
    assert line.endswith("below 0: a (simple model, -0.200)") and behind({"t": labels}, None) == ""
    page = _attention({"t": labels}, {}, comparison)
    assert "A simpler rival ranks better" in page and _attention({"t": labels}, {}, None) == ""


def test_an_evaluation_marks_what_is_off(tmp_path):
    predictions = predictions_of(600, labels=("a",))
    predictions.targets[:, 0] = np.arange(600) < 9
    probabilities = np.full((600, 1), 0.001) + predictions.probabilities * 1e-4  # too low
    clinical = {"t": clinical_measures(predictions, probabilities, num_bootstrap=60)}
    write_evaluation_page(tmp_path / "e.html", "Evaluation", clinical, {}, [])
    page = (tmp_path / "e.html").read_text()
    (label,) = clinical["t"].values()
    assert label["measures"]["observed_expected"]["low"] > 1
    assert f'<strong class="off">{CAUTION}' in page and f"{CAUTION} 9" in page
