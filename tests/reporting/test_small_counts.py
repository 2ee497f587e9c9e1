"""Counts of few people leave no page, and nothing that is shown gives them away: checked by sums, and by a search."""

import copy
import csv
import itertools
import re

import numpy as np
import pytest

from medtop.evaluation.calibration import Calibration, LabelCalibration, fit_calibration
from medtop.evaluation.clinical import clinical_measures
from medtop.evaluation.metrics import evaluate
from medtop.evaluation.predictions import Predictions
from medtop.evaluation.small_cells import (
    hide_in_sentence,
    is_small,
    leave_out_small,
    sum_is_small,
    suppress,
    withheld,
    withheld_in_table,
)
from medtop.evaluation.table_one import Characteristics, table_one, write_table_one
from medtop.reporting.methods import methods_text
from medtop.reporting.page import write_report
from medtop.reporting.small_counts import shown_manifest
from medtop.reporting.tripod import write_tripod
from medtop.runs.results import people_of


def determined(lines, hidden):
    """The hidden cells that the sums of the lines (sets of cells) tell, by linear algebra."""
    hidden = sorted(hidden)
    sums = np.array([[cell in line for cell in hidden] for line in lines], float)
    rank = np.linalg.matrix_rank(sums) if len(sums) else 0
    return {
        cell for cell, row in zip(hidden, np.eye(len(hidden)), strict=True)
        if np.linalg.matrix_rank(np.vstack([sums, row])) == rank
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_no_small_cell_of_a_table_can_be_worked_out(seed):
    generator = np.random.default_rng(seed)
    rows, columns = generator.integers(2, 5, 2)
    counts = np.where(generator.random((rows, columns)) < 0.3, generator.integers(0, 11, (rows, columns)), 0)
    counts += np.where(counts == 0, generator.integers(0, 2, (rows, columns)) * generator.integers(11, 90), 0)
    table = {row: {column: int(counts[row, column]) for column in range(columns)} for row in range(rows)}
    hidden = withheld_in_table(table, 11)
    small = {cell for cell in itertools.product(range(rows), range(columns)) if is_small(int(counts[cell]), 11)}
    assert small <= hidden
    lines = [{(row, column) for column in range(columns)} for row in range(rows)]
    lines += [{(row, column) for row in range(rows)} for column in range(columns)]
    # Where a line has nothing else to hide (its other cells are all hidden), its sum must go: that is the caller's.
    full = [line for line in lines if line & hidden and is_small(sum(int(counts[c]) for c in line & hidden), 11)]
    assert all(line <= hidden | {cell for cell in line if not counts[cell]} for line in full)
    shown = [line for line in lines if line not in full]
    assert not small & determined(shown, hidden), (counts, hidden)


def test_a_line_by_hand():
    assert withheld({"a": (3,), "b": (50,), "c": (20,), "d": (0,)}, 11) == {"a", "c"}
    assert withheld({"a": (3,), "b": (9,), "c": (20,)}, 11) == {"a", "b"}  # 12 together
    assert withheld({"a": (3,), "b": (2,), "c": (20,)}, 11) == {"a", "b", "c"}  # 5 together is few
    assert withheld({"a": (40, 12, 3), "b": (50, 20, 30)}, 11) == {"a", "b"}
    assert withheld({"a": (40,), "b": (0,)}, 11) == set() == withheld({"a": (4,)}, 1)
    assert sum_is_small({"a": (3,), "b": (2,)}, {"a", "b"}, 11)


def test_sentences():
    shown = hide_in_sentence(
        "4 deaths, 12 stays, within 7 days, 5% of rows, MACE_365 3, --min_visits=2, 1,204 rows", 11
    )
    expected = "fewer than 11 deaths, 12 stays, within 7 days, 5% of rows, MACE_365 fewer than 11, --min_visits=2, "
    assert shown == expected + "1,204 rows"


def label(examples, known, positives, **unknown):
    about = {"examples": examples, "known": known, "positives": positives, "unknown": unknown}
    return about | {"prevalence": positives / known, "share_known": known / examples, "risk_ipcw": positives / known}


MANIFEST = {
    "source": {"name": "columns", "notes": ["617 rows were odd"], "warnings": []},
    "rows_in": 9_999, "rows_out": 9_025, "rows_merged": 357, "rows_dropped": {"no_code": 617},
    "patients_in": 5_987, "patients_out": 5_856, "patients_dropped": {"too_few_visits": 131},
    "splits": {
        "train": {"patients": 4_067, "examples": 4_067, "codes": 99_000, "longest": 12},
        "valid": {"patients": 1_602, "examples": 1_602, "codes": 44_000, "longest": 12},
        "test": {"patients": 187, "examples": 187, "codes": 4_444, "longest": 12},
    },
    "labels": {
        "train": {"t": {"A": label(4_067, 3_544, 523, censored=523)}},
        "valid": {"t": {"A": label(1_602, 1_431, 431, censored=171)}},
        "test": {"t": {"A": label(187, 122, 83, censored=65)}},
    },
    "statements": ["743 patients have stays that begin after their day of death."],
}  # fmt: skip
METRICS = {
    "test": {
        "t": {
            "A": {"roc_auc": {"value": 0.8, "low": 0.7, "high": 0.9}, "n": 122, "positives": 83, "unknown": 65,
                  "average_precision": {"value": 0.8}, "brier": {"value": 0.8}, "calibration_error": {"value": 0.8}},
        }
    }
}  # fmt: skip
SMALL = ("617", "357", "131", "187", "523", "431", "171", "122", "83", "65", "743")


def pages(folder, least):
    manifest = shown_manifest(MANIFEST, least)
    write_tripod(folder / "tripod.md", {"manifest": manifest})
    metrics = {"test": leave_out_small(METRICS["test"], least)[0]}
    write_report(folder / "report.html", title="T", metrics=metrics, split="test", manifest=manifest)
    page = (folder / "report.html").read_text()
    return {
        "tripod": (folder / "tripod.md").read_text(),
        "report": re.sub(r"<style>.*?</style>|<path[^>]*>|<(rect|text|svg)[^>]*>", "", page),
        "methods": methods_text(manifest, {}),
    }


def test_pages_of_a_manifest_show_no_small_count(tmp_path):
    before, text = MANIFEST["splits"]["test"]["patients"], pages(tmp_path, 0)
    for count in SMALL:
        assert any(re.search(rf"(?<![\d,.]){count}\b", page) for page in text.values()), count
    for name, page in pages(tmp_path, 1_000).items():
        gone = [count for count in SMALL if re.search(rf"(?<![\d,.]){count}\b", page)]
        assert not gone, (name, gone)
        assert "None" not in page, name
    assert MANIFEST["splits"]["test"]["patients"] == before, "the caller's manifest stays"


def test_what_is_hidden_of_a_manifest_cannot_be_worked_out():
    shown = shown_manifest(MANIFEST, 200)
    assert shown["patients_dropped"] == {"too_few_visits": None} and shown["patients_in"] is None
    assert shown["patients_out"] == 5_856  # all splits together; of them two are hidden
    assert [shown["splits"][split]["patients"] for split in ("train", "valid", "test")] == [4_067, None, None]
    labels = {split: tasks["t"]["A"] for split, tasks in shown["labels"].items()}
    for name in ("positives", "prevalence", "risk_ipcw"):
        assert labels["test"][name] is None
    assert labels["test"]["unknown"] == {"censored": None} and labels["test"]["known"] is None
    assert shown_manifest(MANIFEST, 0) is MANIFEST and shown_manifest(None, 11) is None


NUMBERS = itertools.count()


def people(count, seed, positives):
    """Patients of one example each."""
    generator = np.random.default_rng(seed)
    values = np.zeros(count)
    values[:positives], values[positives : positives + 40] = 1, np.nan
    return Characteristics(
        sex=np.array(["F", "M", ""], object)[generator.integers(0, 3, count)],
        age_years=np.where(np.arange(count) < 3, np.nan, 50.0),
        visits=np.full(count, 2), codes=np.full(count, 3), history_days=np.full(count, 9), labels={"t A": values},
        patients=np.array([next(NUMBERS) for _ in range(count)]),
    )  # fmt: skip


def test_table_one_gives_nothing_away(tmp_path):
    parts = {"train": people(400, 0, 60), "valid": people(120, 1, 7), "test": people(150, 2, 30)}
    write_table_one(tmp_path / "t.csv", table_one(parts, min_cell=11))
    rows = {
        (row["group"], row["label"], row["characteristic"]): row
        for row in csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8"))
    }
    # 97 have the outcome; train and test's 90 stand elsewhere, so that 97 would tell of validation's 7.
    assert rows["with", "t A", "examples"]["n"] == "" and rows["with", "t A", "codes"]["value"] == ""
    others = [rows[name, "t A", "examples"]["n"] for name in ("without", "unknown")]
    assert others.count("") == 1, "the total is known: one more goes"
    assert rows["train", "", "examples"]["value"] == "400" and rows["train", "", "age_years"]["n"] == ""  # 397: 3 lack
    small = table_one({"train": parts["train"].take(np.arange(400) < 5), "test": parts["test"]}, min_cell=11)
    chosen = {(row["group"], row["label"], row["characteristic"]): row for row in small}
    assert "n" not in chosen["train", "", "examples"] and "value" not in chosen["train", "", "sex F"]
    assert "n" not in chosen["test", "", "examples"], "the total would give the other split away"


EDGES = pytest.mark.parametrize("count, small", [(0, False), (1, True), (10, True), (11, False), (12, False)])
"""The counts on both sides of the rule's ends: 1 to 10 are not shown, nobody and 11 are."""


@EDGES
def test_a_manifest_at_the_ends_of_the_rule(tmp_path, count, small):
    manifest = copy.deepcopy(MANIFEST)
    manifest |= {"patients_dropped": {"too_few_visits": count}, "rows_merged": count, "overlapping_visits": count}
    manifest["days_observed_after_prediction"] = {"train": {"n": count, "median": 90}}
    manifest["labels"]["test"]["t"]["A"] |= {"negatives_with_later_codes": count}
    manifest["statements"] = [f"{count} patients have stays that begin after their day of death."]
    shown = shown_manifest(manifest, 11)
    told = None if small else count
    assert shown["patients_dropped"] == {"too_few_visits": told}
    assert shown["rows_merged"] == shown["overlapping_visits"] == told
    assert shown["days_observed_after_prediction"]["train"] == {"n": told, "median": None if small else 90}
    manifest["splits"]["valid"]["patients"] = count  # with many examples
    manifest["days_observed_after_prediction"]["valid"] = {"n": 500, "median": 90}
    of_few = shown_manifest(manifest, 11)["days_observed_after_prediction"]["valid"]
    assert of_few == ({"n": None, "median": None} if small else {"n": 500, "median": 90})
    assert shown["labels"]["test"]["t"]["A"]["negatives_with_later_codes"] == told
    assert shown["statements"][0].startswith("fewer than 11 patients" if small else f"{count} patients")
    assert (shown["patients_in"] is None) == (shown["rows_in"] is None) == small  # sums of shown and hidden
    write_tripod(tmp_path / "tripod.md", {"manifest": shown})
    assert ("fewer than 11 patients have" in (tmp_path / "tripod.md").read_text()) == small


@EDGES
@pytest.mark.parametrize("group", ["positives", "negatives", "censored"])
def test_labels_of_a_manifest_at_the_ends_of_the_rule(count, small, group):
    """Two splits, of which the test split's group holds `count`: it, and the same group of another split, go."""
    numbers = {"positives": 100, "negatives": 200, "censored": 300} | {group: count}
    known = numbers["positives"] + numbers["negatives"]
    manifest = copy.deepcopy(MANIFEST)
    entry = label(known + numbers["censored"], known, numbers["positives"], censored=numbers["censored"])
    manifest["labels"] = {"train": {"t": {"A": label(900, 600, 200, censored=300)}}, "test": {"t": {"A": entry}}}
    shown = shown_manifest(manifest, 11)["labels"]["test"]["t"]["A"]
    hidden = shown["unknown"]["censored"] is None if group == "censored" else shown["positives"] is None
    assert hidden == small


@EDGES
@pytest.mark.parametrize("group", ["positives", "negatives", "unknown"])
def test_metrics_at_the_ends_of_the_rule(count, small, group):
    """A label of few with or without it leaves cards and tables; few unknown ones take the number of known ones."""
    n, positives = 200, {"positives": count, "negatives": 200 - count}.get(group, 90)
    entry = {"n": n, "positives": positives, "unknown": count if group == "unknown" else 50, "marks": []}
    kept, gone = leave_out_small({"t": {"A": entry | {"roc_auc": {"value": 0.8}}}}, 11)
    assert gone == (["t A"] if small and group != "unknown" else [])
    if group == "unknown":
        told = {name: kept["t"]["A"][name] for name in ("n", "unknown")}
        assert told == ({"n": None, "unknown": None} if small else {"n": n, "unknown": count})


@EDGES
@pytest.mark.parametrize("part", ["n", "positives", "negatives"])
def test_an_evaluations_groups_at_the_ends_of_the_rule(count, small, part):
    """run_evaluation.py: the group of few goes with its measures, and one more, for the total is known."""
    n, positives = {"n": (count, 0), "positives": (500, count), "negatives": (500, 500 - count)}[part]
    measures = {"roc_auc": {"value": 0.8, "low": 0.7, "high": 0.9}}
    cell = lambda n, positives: {"n": n, "positives": positives, "prevalence": 0.5, "measures": measures}  # noqa: E731
    groups = {"site a": cell(n, positives), "site b": cell(700, 350), "site c": cell(900, 450)}
    total = cell(sum(c["n"] for c in groups.values()), 1_000) | {"groups": {"site": groups}}
    shown = suppress({"t": {"A": total}}, 11)["t"]["A"]
    hidden = {name for name, cell in shown["groups"]["site"].items() if cell["n"] is None}
    assert hidden == ({"site a", "site b"} if small else set()) and shown["n"] == total["n"]
    assert (shown["groups"]["site"]["site a"]["measures"]["roc_auc"]["value"] is None) == small


@EDGES
def test_a_calibration_at_the_ends_of_the_rule(count, small):
    for n, positives in ((count, 0), (500, count), (500, 500 - count)):
        reason = f"{count} positives in valid"
        fitted = Calibration("t", "platt", {"A": LabelCalibration(n=n, positives=positives, reason=reason, slope=0.9)})
        told = fitted.shown(11).labels["A"]
        assert (told.n, told.positives) == ((None, None) if small else (n, positives)) and told.slope == 0.9
        assert told.reason == ("fewer than 11 positives in valid" if small else reason)


@EDGES
def test_table_one_at_the_ends_of_the_rule(count, small):
    """Women of the test split; those with the outcome; those whose age is not known."""
    parts = {name: people(400, 0, 60) for name in ("train", "valid", "test")}
    for name, part in parts.items():
        few = count if name == "test" else 100
        part.sex[:] = ["F" if n < few else "M" for n in range(400)]
        part.labels["t A"][:] = [float(n < few) for n in range(400)]
        part.age_years[:] = [np.nan if n < few else 50.0 for n in range(400)]
    rows = {(row["group"], row["label"], row["characteristic"]): row for row in table_one(parts, min_cell=11)}
    assert ("value" not in rows["test", "", "sex F"]) == small
    assert ("n" not in rows["with", "t A", "examples"]) == small  # the other splits' are known
    assert rows["test", "", "age_years"]["n"] == (None if small else 400 - count)


@EDGES
@pytest.mark.parametrize("what", ["sex", "outcome", "age", "known age", "split"])
def test_table_one_counts_people(count, small, what):
    """300 examples of so many patients of the test split: women, with the outcome, without and with an age, all."""
    parts = {name: people(900, 0, 450) for name in ("train", "valid", "test")}
    test = parts["test"]
    for part in parts.values():
        part.sex[:] = np.repeat(["F", "M"], 450)
        part.labels["t A"][:] = np.repeat([1.0, 0.0], 450)
        part.age_years[:] = np.repeat([50.0, 60.0], 450)
    few = np.arange(900) < (300 if count else 0)
    if what == "sex":
        test.sex[:] = np.where(few, "F", "M")
    elif what == "outcome":
        test.labels["t A"][:] = few
    elif what == "age":
        test.age_years[few] = np.nan
    elif what == "known age":
        test.age_years[~few] = np.nan
    else:
        few = np.ones(900, bool)
    test.patients[few] = 10**6 + np.arange(few.sum()) % max(count, 1)
    if what == "split" and not count:
        return  # a split without patients has no examples
    rows = {(row["group"], row["label"], row["characteristic"]): row for row in table_one(parts, min_cell=11)}
    place, field = {
        "sex": (("test", "", "sex F"), "value"),
        "outcome": (("with", "t A", "examples"), "value"),
        "age": (("test", "", "age_years"), "n"),
        "known age": (("test", "", "age_years"), "value"),
        "split": (("test", "", "examples"), "value"),
    }[what]
    assert (rows[place].get(field) is None) == (small or (what == "known age" and not count))


@EDGES
@pytest.mark.parametrize("part", ["positives", "negatives", "unknown", "known", "deaths_without_event"])
def test_a_manifest_counts_people(count, small, part):
    """Labels of 200 examples and more, so many patients of which are in the test split."""
    manifest = copy.deepcopy(MANIFEST)
    for tasks in manifest["labels"].values():
        tasks["t"]["A"] = label(9_000, 8_000, 4_000, censored=1_000) | {"deaths_without_event": 500}
        patients = {"examples": 900, "known": 800, "positives": 400, "negatives": 400, "unknown": {"censored": 100}}
        tasks["t"]["A"]["patients"] = patients | {"deaths_without_event": 50}
    people = manifest["labels"]["test"]["t"]["A"]["patients"]
    people |= {"unknown": {"censored": count}} if part == "unknown" else {part: count}
    labels = {split: tasks["t"]["A"] for split, tasks in shown_manifest(manifest, 11)["labels"].items()}
    shown = labels["test"]
    value = {
        "unknown": shown["unknown"]["censored"],
        "negatives": shown["known"] if shown["positives"] is not None else None,
    }.get(part, shown.get(part))
    assert (value is None) == small
    assert "patients" not in shown
    if small and part in ("positives", "negatives", "unknown"):
        hidden = [split for split, entry in labels.items() if None in (entry["positives"], *entry["unknown"].values())]
        assert len(hidden) == 2, "the sum over splits would tell"


@EDGES
@pytest.mark.parametrize("part", ["positive", "negative", "unknown"])
def test_people_are_counted_where_patients_have_several_examples(count, small, part):
    """A dozen admissions of one patient are one person: in labels, groups and the fitted calibration."""
    rng = np.random.default_rng(3)
    kinds = dict.fromkeys(("positive", "negative", "unknown"), 90) | {part: count}
    many = {name: 600 if people else 0 for name, people in kinds.items()}  # examples, of patients of their own
    kind = np.repeat(list(many), list(many.values()))
    owners = [f"{name} {number % kinds[name]}" for name, examples in many.items() for number in range(examples)]
    scored = Predictions(
        "t",
        ("A",),
        owners,
        np.arange(len(kind)),
        (kind == "positive")[:, None],
        (kind != "unknown")[:, None],
        rng.normal(size=(len(kind), 1)),
    )
    metrics = evaluate(scored, scored.probabilities, num_bootstrap=0)
    assert {name: metrics["A"][f"{name}_patients"] for name in kinds} == kinds
    kept, gone = leave_out_small({"t": metrics}, 11)
    assert gone == (["t A"] if small and part != "unknown" else [])
    if part == "unknown":
        assert (kept["t"]["A"]["n"] is None) == small == ("unknown_patients" not in kept["t"]["A"])
    groups = {"half": np.where(np.arange(len(kind)) // 300 % 2, "first", "second")}
    shown = suppress({"t": clinical_measures(scored, scored.probabilities, groups=groups, num_bootstrap=0)}, 11)
    hidden = small and part != "unknown"
    assert (shown["t"]["A"]["n"] is None) == hidden == ("positive_patients" not in shown["t"]["A"])
    assert not hidden or shown["t"]["A"]["measures"]["roc_auc"]["value"] is None
    assert all((cell["n"] is None) == hidden for cell in shown["t"]["A"]["groups"]["half"].values())
    told = fit_calibration(scored).shown(11, people_of(scored)).labels["A"]
    assert (told.n is None) == hidden


def test_each_example_its_own_patient_names_no_people():
    scored = Predictions("t", ("A",), ["a", "b"], [0, 0], [[1], [0]], [[1], [1]], [[0.3], [0.1]])
    assert scored.patient_counts([0]) == {} == people_of(scored) and people_of(None) == {}
