"""Two stays that end alike, the last observed day, a death on the day of discharge: which rule decides."""

import csv
import json

import pytest
from note_tables import HEADER

from medtop.notes.options import NotesOptions
from medtop.notes.preprocess import NotesInput, preprocess_notes

FIRST = "SUBJECT_ID,HADM_ID,ADMITTIME,DISCHTIME,DEATHTIME,ADMISSION_TYPE"


def labels(folder, admissions, dead=(), source=None, **options):
    """dict admission -> row of labels.csv."""
    folder.mkdir(exist_ok=True)
    (folder / "ADMISSIONS.csv").write_text("\n".join([FIRST, *(f"{row},EMERGENCY" for row in admissions)]) + "\n")
    people = sorted({row.split(",")[0] for row in admissions})
    ends = dict(dead)
    rows = [f"{name},F,2080-01-01 00:00:00,{ends.get(name, '')}" for name in people]
    (folder / "PATIENTS.csv").write_text("\n".join(["SUBJECT_ID,GENDER,DOB,DOD", *rows]) + "\n")
    with open(folder / "NOTEEVENTS.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number, row in enumerate(admissions, 1):
            subject, admission, admit, discharge, _ = row.split(",")
            for day in (admit, discharge):
                note = [subject, admission, day[:10], day, "", "Discharge summary", "Report", "", "", "some text"]
                writer.writerow([number, *note])
    preprocess_notes(NotesInput(str(folder), **(source or {})), NotesOptions(**options), str(folder / "out"))
    with open(folder / "out.labels.csv", newline="") as file:
        return {int(row["admission_id"]): row for row in csv.DictReader(file)}


def test_of_two_stays_with_one_prediction_time_the_one_that_ends_last_is_kept(tmp_path):
    """Predictions two days after admissions at the same instant; of equal ends the lower number is kept."""
    rows = labels(
        tmp_path,
        [
            "1,11,2150-01-01 08:00:00,2150-01-05 08:00:00,",
            "1,12,2150-01-01 08:00:00,2150-01-09 08:00:00,",
            "2,22,2150-01-01 08:00:00,2150-01-07 08:00:00,",
            "2,21,2150-01-01 08:00:00,2150-01-07 08:00:00,",
        ],
        mode="early",
        early_days=2,
    )
    assert sorted(rows) == [12, 21]


@pytest.mark.parametrize("end, label", [("2150-02-03", ""), ("2150-02-04", "0"), ("2150-02-05", "0")])
def test_observed_for_thirty_days_and_no_less(tmp_path, end, label):
    """Discharged on 5 January at 12:00: the window ends on 4 February at 12:00, which lies within the last day."""
    admissions = ["1,11,2150-01-01 08:00:00,2150-01-05 12:00:00,"]
    assert labels(tmp_path, admissions, observation_end=end)[11]["readmission"] == label


@pytest.mark.parametrize("day, label", [("2150-01-05", ""), ("2150-02-03", ""), ("2150-02-05", "0")])
def test_a_death_on_the_day_of_discharge_is_a_death_after_it(tmp_path, day, label):
    """Not in the hospital (no deathtime): the label is unknown, as for a death within the thirty days."""
    admissions = ["1,11,2150-01-01 08:00:00,2150-01-05 08:00:00,"]
    rows = labels(tmp_path, admissions, [("1", f"{day} 00:00:00")])
    assert rows[11]["readmission"] == label


def test_rows_that_cannot_be_split_are_rows_too(tmp_path):
    """Of six rows of ADMISSIONS two have another number of columns and one a discharge before its admission."""
    good = ["1,11,2150-01-01 08:00:00,2150-01-05 08:00:00,", "2,21,2150-01-01 08:00:00,2150-01-05 08:00:00,"]
    good += ["3,31,2150-01-01 08:00:00,2150-01-05 08:00:00,"]
    labels(tmp_path, good)
    before = json.loads((tmp_path / "out.manifest.json").read_text())
    assert (before["admissions_in"], before["admissions_out"], before["admissions_dropped"]) == (3, 3, {})
    assert before["source"]["counts"] == {}  # nothing was wrong: nothing is counted
    with open(tmp_path / "ADMISSIONS.csv", "a") as file:
        file.write("4,41,2150-01-01 08:00:00\n5,51,2150-01-01 08:00:00,2150-01-05 08:00:00,,URGENT,more,and more\n")
        file.write("6,61,2150-01-09 08:00:00,2150-01-05 08:00:00,,EMERGENCY\n")
    manifest = preprocess_notes(NotesInput(str(tmp_path)), NotesOptions(), str(tmp_path / "again")).manifest
    assert manifest["admissions_in"] == 6 and manifest["admissions_out"] == 3
    dropped = manifest["admissions_dropped"]  # too few columns, too many, a stay that ends before it begins
    assert sorted(dropped.values()) == [1, 1, 1] and dropped["discharge_before_admit"] == 1
    assert manifest["admissions_merged"] == 0


@pytest.mark.parametrize("deaths, unusable", [(["", "", ""], 0), (["2150-03-01 00:00:00", "x", "2150-13-01"], 2)])
def test_days_of_death_that_cannot_be_read_are_counted_and_no_others(tmp_path, deaths, unusable):
    admissions = [f"{n},{n}1,2150-01-01 08:00:00,2150-01-05 08:00:00," for n in (1, 2, 3)]
    labels_of = dict(zip("123", deaths, strict=True))
    with_leave = {"accept_unusable": ("death",)} if unusable else {}
    folder = tmp_path / "m"
    labels(folder, admissions, labels_of, source=with_leave)
    counts = json.loads((folder / "out.manifest.json").read_text())["source"]["counts"]
    assert counts.get("patients_with_unreadable_day_of_death") == (unusable or None)
