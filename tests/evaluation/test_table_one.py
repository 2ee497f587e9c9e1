"""Table 1 worked out by hand from two made-up records."""

import csv

import numpy as np
import pytest

from medtop.evaluation.table_one import characteristics, table_one, write_table_one
from medtop.model.tasks import choose_tasks

TASKS = [task for task in choose_tasks(None, {"long_stay": ["long_stay"]}) if task.level == "patient"]
PART = {  # [CLS] a b [SEP] c; [CLS] a
    "patient_id": np.array(["p", "q"]),
    "counts": np.array([5, 2]),
    "token_ids": np.array([2, 7, 8, 3, 9, 2, 7]),
    "visits": np.array([0, 1, 1, 1, 2, 0, 1]),
    "visit_positions": np.array([0, 0, 1, 2, 0, 0, 0]),
    "age_days": np.array([7305, 7000, 7000, 7000, 7200, 0, 0]),
    "recency_days": np.array([0, 100, 100, 100, 10, 0, 4]),
    "sex": np.array([1, 0]),
    "long_stay_labels": np.array([[1.0], [0.0]]),
    "long_stay_weights": np.array([[1.0], [0.0]]),
}


def test_characteristics_by_hand():
    people = characteristics([PART], TASKS)
    assert people.codes.tolist() == [3, 1] and people.visits.tolist() == [2, 1]
    assert people.age_years[0] == pytest.approx(20.0) and np.isnan(people.age_years[1])
    assert people.history_days.tolist() == [100, 4] and people.sex.tolist()[0] == "F"
    assert people.labels["long_stay long_stay"][0] == 1 and np.isnan(people.labels["long_stay long_stay"][1])


def test_the_table(tmp_path):
    observed = {"train": {"n": 4, "median": 300, "low": 20, "high": 800}}
    by_split = {"train": characteristics([PART, PART], TASKS), "test": characteristics([PART], TASKS)}
    few = {"with": {"n": 3, "median": 8, "low": 7, "high": 9}, "without": {"n": 0}, "unknown": {"n": 2}}
    rows = table_one(by_split, observed, {"long_stay": {"long_stay": few}})
    chosen = {(row["group"], row["label"], row["characteristic"]): row for row in rows}
    assert chosen["train", "", "codes"]["value"] == 2 and chosen["train", "", "codes"]["n"] == 4
    assert chosen["train", "", "sex F"]["share"] == 0.5
    assert chosen["train", "", "follow_up_days"]["value"] == 300 and ("test", "", "follow_up_days") not in chosen
    label = "long_stay long_stay"
    assert chosen["with", label, "examples"]["value"] == 3 and chosen["unknown", label, "examples"]["value"] == 3
    assert chosen["without", label, "examples"]["value"] == 0 and "value" not in chosen["without", label, "visits"]
    assert chosen["with", label, "follow_up_days"]["value"] == 8 and chosen["with", label, "follow_up_days"]["n"] == 3
    assert ("without", label, "follow_up_days") not in chosen
    assert chosen["unknown", label, "follow_up_days"]["value"] is None, "too few for quartiles"
    rows = table_one(by_split, observed, {"long_stay": {"long_stay": few}}, min_cell=3)
    write_table_one(tmp_path / "t.csv", rows)
    written = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert len(written) == len(rows)
    (hidden,) = [r for r in written if (r["group"], r["label"], r["characteristic"]) == ("test", "", "codes")]
    assert hidden["n"] == "" and hidden["value"] == ""
