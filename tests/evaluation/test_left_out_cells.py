"""Small cells leave a card before it leaves the house, and nothing that stays gives them away."""

import copy
import json

from medtop.evaluation.small_cells import leave_out_small
from medtop.reporting.card import Card, render


def entry(n, positives, marks=()):
    value = {"value": 0.7, "low": 0.6, "high": 0.8}
    return {"n": n, "positives": positives, "roc_auc": value, "average_precision": value, "marks": list(marks)}


METRICS = {
    "complications": {
        "MACE_365": entry(200, 40, ["4 positives in valid"]),
        "RET_365": entry(200, 7, ["7 positives in test"]),
        "micro": entry(400, 47, ["holds marked labels: RET_365"]),
        "macro": entry(400, 47),
    },
    "long_stay": {"long_stay": entry(60, 53)},
    "masked_lm": {"masked_lm": {"n": 3}},
}


def test_labels_of_few_people_go_and_pooled_counts_with_them():
    before = copy.deepcopy(METRICS)
    kept, gone = leave_out_small(METRICS, 11)
    assert METRICS == before, "the caller's metrics stay"
    assert gone == ["complications RET_365", "long_stay long_stay"]  # 7 with it; 7 without it
    assert set(kept["complications"]) == {"MACE_365", "micro", "macro"} and kept["masked_lm"] == METRICS["masked_lm"]
    assert kept["complications"]["micro"]["n"] is None and kept["complications"]["micro"]["positives"] is None
    assert kept["complications"]["MACE_365"]["marks"] == ["few positives in valid"]
    assert "7" not in json.dumps({**kept["complications"], "masked": 0}).replace("0.7", "")


def test_zero_and_one_hide_nothing():
    for least in (0, 1):
        assert leave_out_small(METRICS, least) == (METRICS, [])


def test_the_card_shows_what_is_left():
    kept, _ = leave_out_small({"complications": METRICS["complications"]}, 11)
    text = "\n".join(render(Card(split="test", metrics=kept)))
    assert "MACE" in text and "None" not in text and "RET" not in text and "47" not in text
