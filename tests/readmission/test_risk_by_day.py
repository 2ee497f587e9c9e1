"""run_risk_by_day.py: who is there on which day, against a recount by hand; measures are scikit-learn's on its file."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from notes_data import finished_readmission
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

SCRIPT = "run_scripts/run_risk_by_day.py"


@pytest.fixture(scope="module")
def folder(run_script, tmp_path_factory):
    """(folder of the run and its tables, folder of results after 1 and 4 days)."""
    source, _ = finished_readmission(run_script)
    made = tmp_path_factory.mktemp("by_day") / "out"
    process = run_script(
        SCRIPT, "raw", "--run_dir=run", "--days=1,4", f"--output_dir={made}", "--num_bootstrap=30", cwd=source
    )
    assert process.returncode == 0, process.stderr
    assert "day 1, there on the day: AUROC" in process.stdout and "trained on discharge summaries" in process.stderr
    return source, made


def recount(source, day):
    """dict admission -> number of notes charted by `day` days after the admission, by pandas alone."""
    admissions = pd.read_csv(source / "raw/ADMISSIONS.csv", parse_dates=["ADMITTIME", "DISCHTIME"])
    notes = pd.read_csv(source / "raw/NOTEEVENTS.csv", parse_dates=["CHARTTIME", "CHARTDATE"])
    splits = pd.read_csv(source / "run/restricted/splits.csv")
    test = set(splits[splits["split"] == "test"]["patient_id"])
    admissions = admissions[admissions["SUBJECT_ID"].isin(test)].set_index("HADM_ID")
    moment = admissions["ADMITTIME"] + pd.Timedelta(days=day)
    there = admissions[
        (admissions["DISCHTIME"] > moment)
        & (admissions["ADMISSION_TYPE"] != "NEWBORN")
        & (admissions["DEATHTIME"].isna())
    ]
    notes = notes[(notes["CATEGORY"] != "Discharge summary") & (notes["ISERROR"] != 1)]
    known = notes["CHARTTIME"].fillna(notes["CHARTDATE"] + pd.Timedelta(seconds=86_399))
    notes = notes[notes["HADM_ID"].isin(there.index) & (known <= notes["HADM_ID"].map(moment))]
    return notes.groupby("HADM_ID").size().to_dict()


@pytest.mark.slow
def test_who_is_there_and_what_is_known(folder):
    source, made = folder
    predictions = pd.read_csv(made / "restricted/predictions.csv")
    for day in (1, 4):
        own = predictions[predictions["day"] == day]
        assert set(own["admission_id"]) == set(recount(source, day)) and len(own) > 10
    assert len(predictions[predictions["day"] == 4]) < len(predictions[predictions["day"] == 1])


@pytest.mark.slow
def test_measures_are_scikit_learns(folder):
    _, made = folder
    predictions, rows = pd.read_csv(made / "restricted/predictions.csv"), pd.read_csv(made / "by_day.csv")
    always = set.intersection(*(set(part["admission_id"]) for _, part in predictions.groupby("day")))
    measures = {"roc_auc": roc_auc_score, "average_precision": average_precision_score, "brier": brier_score_loss}
    for population, chosen in (("there on the day", None), ("there on every day", always)):
        for day in (1, 4):
            own = predictions[predictions["day"] == day].dropna(subset=["target"])
            own = own if chosen is None else own[own["admission_id"].isin(chosen)]
            told = rows[(rows["day"] == day) & (rows["population"] == population)].set_index("metric")
            assert (told["n"] == len(own)).all() and (told["positives"] == own["target"].sum()).all()
            for name, measure in measures.items():
                assert told.loc[name, "value"] == pytest.approx(measure(own["target"], own["probability"]), abs=1e-6)
            assert (told["low"] <= told["value"] + 1e-9).all() and (told["value"] <= told["high"] + 1e-9).all()


def test_files_hold_no_text_and_no_leftovers(folder):
    source, made = folder
    assert sorted(path.name for path in made.iterdir()) == [
        "by_day.csv",
        "by_day.html",
        "by_day.json",
        "by_day.png",
        "restricted",
    ]
    with open(source / "raw/NOTEEVENTS.csv", newline="") as file:
        words = next(csv.DictReader(file))["TEXT"].split()[:6]
    assert " ".join(words).lower() not in (made / "by_day.html").read_text().lower()
    assert json.loads((made / "by_day.json").read_text())["days"] == [1, 4]
    assert np.frombuffer((made / "by_day.png").read_bytes()[:4], np.uint8).tolist() == [137, 80, 78, 71]


@pytest.mark.slow
def test_days_of_few_people_are_withheld_everywhere_but_in_their_owners_file(folder, run_script):
    """The least count is one more than day 1 has patients of the rarer kind, recounted from the first run's file."""
    source, made = folder
    told = pd.read_csv(made / "restricted/predictions.csv").dropna(subset=["target"])
    patients = {
        day: min(own["patient_id"].nunique(), *(own[own["target"] == side]["patient_id"].nunique() for side in (0, 1)))
        for day, own in told.groupby("day")
    }
    least, new = patients[1] + 1, made.with_name("small")
    arguments = ["--run_dir=run", "--days=1,4", f"--output_dir={new}", "--num_bootstrap=30", f"--min_cell={least}"]
    done = run_script(SCRIPT, "raw", *arguments, cwd=source)
    assert done.returncode == 0, done.stderr
    rows, page = pd.read_csv(new / "by_day.csv"), (new / "by_day.html").read_text()
    assert max(patients.values()) < least and len(rows) == len(pd.read_csv(made / "by_day.csv"))
    assert rows[["n", "positives", "value", "low", "high"]].isna().all(axis=None), "both days are of few patients"
    assert "AUROC" not in done.stdout and "withheld" in page and f"1 to {least - 1} patients" in page
    content = json.loads((new / "by_day.json").read_text())
    assert content["min_cell"] == least and {row["n"] for row in content["rows"]} == {None}
    assert all(own["examples"] is own["without_notes"] is None for own in content["counts"].values())
    mine = (new / "restricted/predictions.csv").read_text()
    assert mine == (made / "restricted/predictions.csv").read_text(), "the owner's file holds everybody"
    assert (new / "by_day.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"--days": "2,1"}, "--days: expected whole days above 0"),
        ({"--days": "0"}, "--days: expected whole days above 0"),
        ({"--run_dir": "raw"}, "expected a run of run_readmission.py"),
        ({}, "--overwrite"),
    ],
)
def test_bad_input_is_one_line(folder, run_script, changes, message):
    source, made = folder
    flags = {"--run_dir": "run", "--days": "1", "--output_dir": str(made), **changes}
    if changes:
        flags["--output_dir"] = str(made.with_name("new"))
    process = run_script(SCRIPT, "raw", *(f"{name}={value}" for name, value in flags.items()), cwd=source)
    lines = [line for line in process.stderr.splitlines() if message in line]
    assert process.returncode == 1 and len(lines) == 1 and "Traceback" not in process.stderr, process.stderr
    assert not made.with_name("new").exists()
