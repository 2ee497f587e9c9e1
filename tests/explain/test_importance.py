"""Means over patients by hand; removal orders and masks; which labels are explained."""

import csv

import numpy as np
import pytest

from medtop.explain.faithfulness import completeness, kept_masks, rank_agreement, removal_masks, removal_orders
from medtop.explain.importance import importance, write_importance
from medtop.explain.patients import Patient
from medtop.files.errors import DataError
from medtop.reporting.attribution_page import write_attribution_page, write_patients_page
from medtop.runs.explain import checks_of, choose_labels, contributions_of


def patient(number, codes, values):
    values = np.asarray(values, float)[:, None]
    return Patient(
        patient_id=f"<p{number}>",
        codes=np.asarray(codes),
        attribution=values,
        deletion=2 * values,
        context={"age": np.array([0.5])},
        logits=np.array([values.sum() + 0.5]),
        baseline=np.array([0.0]),
        curves={name: np.zeros((4, 1)) for name in ("attribution", "random", "attribution kept", "random kept")},
        tokens={"token_ids": np.array([2, *codes]), "visits": np.array([0] + [1] * len(codes))},
    )


PATIENTS = [patient(0, [5, 6], [1.0, -2.0]), patient(1, [5], [3.0]), patient(2, [6], [0.5])]
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "=A", "B<"]


def test_means_over_those_who_have_the_code(tmp_path):
    contributions = contributions_of(PATIENTS, TOKENS, 1)
    rows = importance(contributions, {"sex": np.array(["F", "M", "F"], object)}, num_bootstrap=200)
    found = {(row["group"], contributions.names[row["item"]]): row for row in rows}
    assert found["", "=A"]["patients"] == 2 and found["", "=A"]["attribution"][0]["value"] == 2.0
    assert found["", "=A"]["deletion_effect"][0]["value"] == 4.0
    assert found["", "=A"]["attribution"][0]["low"] >= 1.0 and found["", "=A"]["attribution"][0]["high"] <= 3.0
    assert found["", "[age]"]["attribution"][0]["value"] == 0.5
    assert found["", "[age]"]["deletion_effect"][0]["value"] is None
    assert found["F", "B<"]["attribution"][0]["value"] == -0.75
    assert found["M", "=A"]["patients"] == 1 and found["M", "=A"]["attribution"][0]["low"] is None
    write_importance(tmp_path / "i.csv", rows, contributions.names, [("t", "a")], {"=A": "a title"}, min_cell=2)
    written = list(csv.DictReader((tmp_path / "i.csv").open()))
    assert [row["code"] for row in written if not row["group"]] == ["=A", "B<", "[age]"]
    assert written[0]["title"] == "a title" and not [row for row in written if row["group"] == "M"]


def test_completeness_by_hand():
    assert completeness([[1.0, 0.9]], [[1.0, 1.0]], [[0.0, 0.0]]) == pytest.approx(np.array([[0.0, 0.1]]))
    assert np.isnan(completeness([[1.0]], [[0.5]], [[0.5]])).all()
    assert checks_of(PATIENTS, [("t", "a")])["completeness"]["percentile_95"] == pytest.approx(0.0)


def test_only_patients_with_a_choice_count_in_the_deletion_curve():
    """Of one code there is nothing to choose: the top tenth and a random one are the same."""
    several = patient(3, [5, 6], [2.0, 1.0])
    several.curves["attribution"] = several.curves["attribution"] - 1.0
    deletion = checks_of([*PATIENTS, several], [("t", "a")])["deletion"]
    assert deletion["patients_with_several_codes"] == 2
    assert deletion["patients_in_whom_it_falls_further"] == [0.5] * 4
    alone = checks_of([patient(0, [5], [1.0])], [("t", "a")])["deletion"]
    assert alone["patients_in_whom_it_falls_further"] == [None] * 4


def test_removal_takes_the_most_important_codes_first():
    best, random = removal_orders([0.1, 3.0, -1.0], np.random.default_rng(0))
    assert best.tolist() == [1, 0, 2] and sorted(random) == [0, 1, 2]
    standing = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], bool)
    assert removal_masks(best, standing, (0.1, 0.7)).tolist() == [[0, 1, 1, 0], [1, 1, 1, 0]]
    assert kept_masks(best, standing, (0.1, 0.7)).tolist() == [[1, 0, 0, 1], [0, 0, 0, 1]]
    assert rank_agreement([[1.0, 2, 3]], [[2.0, 4, 9]]) == 1 and np.isnan(rank_agreement([[1.0]], [[2.0]]))


def test_labels_are_chosen_by_name():
    offered = {"long_stay": ("long_stay",), "complications": ("MACE", "CKD")}
    assert choose_labels([], offered) == [("long_stay", 0), ("complications", 0), ("complications", 1)]
    assert choose_labels(["CKD", "complications.CKD"], offered) == [("complications", 1)]
    with pytest.raises(DataError, match="--labels: expected some of CKD, MACE, .* received 'RET'"):
        choose_labels(["RET"], offered)


def test_pages_hold_no_markup_of_others_and_the_common_page_no_patient(tmp_path):
    contributions = contributions_of(PATIENTS, TOKENS, 1)
    rows = importance(contributions, {"sex": np.array(["F", "M", "<b>"], object)}, num_bootstrap=20)
    checks = checks_of(PATIENTS, [("t", "a<i>")]) | {"agreement_with_randomised_weights": [0.1]}
    write_attribution_page(tmp_path / "a.html", rows, contributions.names, [("t", "a<i>")], checks, 3)
    page = (tmp_path / "a.html").read_text()
    assert "B&lt;" in page and "<i>" not in page and "<b>" not in page and "p0" not in page
    write_patients_page(tmp_path / "p.html", PATIENTS, TOKENS, [("t", "a<i>")])
    page = (tmp_path / "p.html").read_text()
    assert "&lt;p0&gt;" in page and "without it the logit changes by +4.000" in page and "<i>" not in page
