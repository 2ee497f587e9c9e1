"""The TRIPOD+AI checklist: every item is there, filled from what is known, or left to the authors by name."""

import re

from medtop.reporting.tripod import ITEMS, PEOPLE, write_tripod

FACTS = {
    "manifest": {
        "source": {"name": "columns"},
        "dates": {"first_admission": "2010-01", "last_discharge": "2015-12"},
        "settings": {"min_visits": 1, "endpoints": "mine<script>.json", "horizons": [365], "long_stay_label": "next"},
        "prediction_times": {"index": "random_visit"},
        "patients_in": 10,
        "patients_out": 9,
        "patients_dropped": {"no visit": 1},
        "labels": {"train": {"t": {"a": {"known": 5, "positives": 2, "unknown": {"censored": 4}}}}},
        "statements": ["A rule."],
        "split_by": {"by": "site"},
        "endpoints": {"matches": {"a": {"event": {"ICD10": {"I21": {"codes": 3, "rows": 70}}}}}},
    },
    "settings": {"learning_rate": 1e-3, "loss_balancing": "fixed"},
    "metrics": {"test": {"t": {"a": {"roc_auc": {"value": 0.8, "low": 0.7, "high": 0.9}, "brier": {"value": 0.1}}}}},
    "split": "test",
    "version": "1.0",
    "versions": {"NumPy": "2.0"},
    "date": "2020-01-02",
}


def sections(path):
    parts = re.split(r"^## (\d+)\. .*$", path.read_text(encoding="utf-8"), flags=re.M)[1:]
    return dict(zip(parts[0::2], parts[1::2], strict=True))


def test_every_item_is_filled_or_left_to_the_authors(tmp_path):
    write_tripod(tmp_path / "tripod.md", FACTS)
    found = sections(tmp_path / "tripod.md")
    assert list(found) == [number for number, _ in ITEMS] == [str(number) for number in range(1, 28)]
    assert "t a: AUROC 0.800 [0.700, 0.900], Brier 0.100" in found["23"]
    assert "1 patients left out: no visit." in found["6"] and "a 2 of 5" in found["10"]
    assert "censored 4" in found["11"] and "2010-01 to 2015-12" in found["5"] and "A rule." in found["7"]
    assert "a, event, ICD10: codes that begin with (how many of the data do): I21 (3)." in found["8"]
    assert "Versions: NumPy 2.0." in found["22"] and "Evaluated on 2020-01-02." in found["22"]
    assert "A BERT encoder" in found["12"] and "Splits by site" in found["12"]
    assert "<script>" not in found["8"] and "mine&lt;script&gt;.json" in found["8"]
    for number in ("1", "2", "3", "4", "16", "17", "19", "24", "25", "26", "27"):
        assert PEOPLE in found[number]


def test_without_facts_all_items_are_the_authors(tmp_path):
    write_tripod(tmp_path / "tripod.md", {})
    assert all(PEOPLE in text for text in sections(tmp_path / "tripod.md").values())


def test_methods_are_those_of_the_run(tmp_path):
    manifest = FACTS["manifest"] | {"prediction_times": {"index": "lineage"}, "split_by": {"by": "time"}}
    manifest |= {"settings": {"mode": "discharge"}}
    write_tripod(tmp_path / "tripod.md", FACTS | {"manifest": manifest, "parts": "wide"})
    found = sections(tmp_path / "tripod.md")
    assert "BERT" not in found["12"] and "the wide part" in found["12"] and "Splits over time" in found["12"]
    assert "chosen by a rule that looks at outcomes" in found["6"] and "None" not in found["6"]
