"""Few people in the risk by day: what goes, what stays, and what the numbers that stay would tell."""

import copy
import itertools
import re

import numpy as np
import pytest

from medtop.evaluation.predictions import Predictions
from medtop.readmission.day_counts import DayPeople, people, without_small
from medtop.reporting.by_day_page import write_day_page, write_day_plot

WHOLE, PART = POPULATIONS = ("there on the day", "there on every day")
METRICS = ("roc_auc", "average_precision", "recall_at_precision_80", "brier", "calibration_error")
LEAST = 11


def table(parts, others=None, unknown=0, **counts):
    """(rows, counts, days) of days 1, 2, ...: a pair of (patients, with, without) for each; admissions as patients."""
    rows, days, counted = [], [], {}
    for day, numbers in enumerate(parts, 1):
        for population, (n, positives, _) in zip(POPULATIONS, numbers, strict=True):
            about = {"day": day, "population": population, "n": n, "positives": positives}
            rows += [{**about, "metric": metric, "value": 0.7, "low": 0.6, "high": 0.8} for metric in METRICS]
        rest = tuple(a - b for a, b in zip(*numbers, strict=True)) if others is None else others
        days.append(DayPeople(day, dict(zip(POPULATIONS, numbers, strict=True)), rest, unknown))
        counted[day] = {"examples": numbers[0][0] + 50, "without_notes": 50, "ended_all_splits": 700, **counts}
    return rows, counted, days


def shown(rows, counts):
    """(populations and days that are shown, days whose admissions are)."""
    cells = {(row["population"], row["day"]) for row in rows if row["n"] is not None}
    for row in rows:  # a cell goes whole or stays whole
        values = [row[name] for name in ("n", "positives", "value", "low", "high")]
        assert (None in values) == (set(values) == {None}) == ((row["population"], row["day"]) not in cells)
    return cells, {day for day, own in counts.items() if own["examples"] is not None}


ALL = {(WHOLE, 1), (PART, 1), (WHOLE, 2), (PART, 2)}


@pytest.mark.parametrize("place, few", list(itertools.product(range(3), (0, 1, LEAST - 1, LEAST))))
def test_a_day_goes_where_a_number_of_its_people_is_few_and_not_at_none(place, few):
    """Patients, with, without: 1 and 10 are few, 0 and 11 are not."""
    numbers = [300, 200, 100]
    numbers[place] = few
    hidden = 0 < few < LEAST
    rows, counts = without_small(*table([(numbers, (0, 0, 0)), ((400, 100, 300), (0, 0, 0))], (0, 0, 0)), LEAST)
    assert shown(rows, counts) == (ALL - {(WHOLE, 1)} if hidden else ALL, {2} if hidden else {1, 2})


@pytest.mark.parametrize("few, hidden", [(0, False), (1, True), (LEAST - 1, True), (LEAST, False)])
def test_who_is_there_on_the_day_alone_cannot_be_worked_out(few, hidden):
    """All who are there less those who are there on every day: the difference is of `few` people."""
    parts = [((200 + few, 80, 120 + few), (200, 80, 120)), ((900, 400, 500), (200, 80, 120))]
    rows, counts = without_small(*table(parts), LEAST)
    cells, days = shown(rows, counts)
    assert cells == (ALL - {(WHOLE, 1)} if hidden else ALL) and days == ({2} if hidden else {1, 2})
    numbers = {(row["population"], row["day"]): row["n"] for row in rows}
    for day in (1, 2):
        if None not in (both := [numbers[name, day] for name in POPULATIONS]):
            assert both[0] - both[1] == 0 or both[0] - both[1] >= LEAST


@pytest.mark.parametrize(
    "name, few", list(itertools.product(("without_notes", "unknown", "ended_all_splits"), (0, 1, LEAST - 1, LEAST)))
)
def test_numbers_of_admissions_go_with_what_they_are_the_sum_of(name, few):
    parts = [((400, 100, 300), (200, 50, 150))]
    rows, counts = without_small(*table(parts, **{name: few}), LEAST)
    hidden = 0 < few < LEAST
    assert shown(rows, counts)[0] == {(WHOLE, 1), (PART, 1)}
    if name == "ended_all_splits":
        assert counts[1][name] == (None if hidden else few) and counts[1]["examples"] == 450
    else:
        assert (counts[1]["examples"] is None) == (counts[1]["without_notes"] is None) == hidden


def test_admissions_of_few_patients_are_few():
    """Forty admissions of four patients; a label that is unknown counts for nobody."""
    ids = np.array([f"p{n % 4}" for n in range(40)] + ["q", "r"])
    targets, weights = np.zeros((42, 1)), np.ones((42, 1))
    targets[::4] = 1  # p0, and q
    weights[41] = 0
    times, logits = np.arange(42), np.zeros((42, 1))
    scores = Predictions("readmission", ("readmission",), ids, times, targets, weights, logits)
    assert people(scores, np.ones(42, bool)) == (5, 2, 3)
    assert people(scores, np.arange(42) < 40) == (4, 1, 3)
    assert people(scores, np.arange(42) == 41) == (0, 0, 0)


@pytest.mark.parametrize("least", [0, 1])
def test_nothing_is_hidden_where_it_is_not_asked_for(least):
    rows, counts, days = table([((3, 1, 2), (2, 1, 1))])
    assert without_small(rows, counts, days, least) == (rows, counts)


@pytest.mark.quick("True")
@pytest.mark.parametrize("small", [False, True])
def test_page_and_plot_show_what_is_left(tmp_path, small):
    """Every number of the hidden cells is sought in the page; also where nothing is left to draw."""
    kept = (7, 4, 3) if small else (5_123, 1_234, 3_889)
    rows, counts, days = table([((617, 9, 608), (0, 0, 0)), (kept, (800, 300, 500))], (0, 0, 0), ended_all_splits=5)
    before = copy.deepcopy((rows, counts))
    facts = {"run_dir": "run", "days": [1, 2], "min_cell": LEAST}
    rows_shown, counts_shown = without_small(rows, counts, days, LEAST)
    write_day_page(tmp_path / "p.html", rows_shown, POPULATIONS, facts | {"counts": counts_shown})
    write_day_plot(tmp_path / "p.png", rows_shown, POPULATIONS)
    page = re.sub(r"<style>.*?</style>", "", (tmp_path / "p.html").read_text(), flags=re.DOTALL)
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    assert not {"617", "667", "9", "5", "7", "4", "3"} & set(cells) and "0.700 [0.600, 0.800]" in cells
    assert ("5,123" in page) is not small and "withheld" in cells and "1 to 10 patients" in page
    assert "None" not in page and "nan" not in page.lower()
    assert (rows, counts) == before, "the caller's own stay"
