"""--shift_dates of preprocess_notes.py: one number of days for each patient over notes, admissions and stays."""

import csv
import datetime as dt
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from fixed_key import write_key

from medtop.cohort.pickled_lists import read_chunks
from medtop.files.keys import read_key

MAKE, NOTES = "preprocessing/make_synthetic_notes.py", "preprocessing/preprocess_notes.py"
REMOVE, STAYS = "run_scripts/deidentify_notes.py", "preprocessing/preprocess_pretrain_data.py"
DATE_COLUMNS = "CHARTDATE,CHARTTIME,STORETIME"
DAY = dt.timedelta(days=1)


def texts(prefix):
    """dict admission -> (patient, prediction time, label, list of the notes' times, text) of all splits."""
    rows = [
        row
        for split in ("train", "valid", "test")
        for row in pq.read_table(f"{prefix}.notes.{split}.parquet").to_pylist()
    ]
    return {
        row["admission_id"]: (
            row["patient_id"], row["prediction_time"], row["readmission"], row["note_times"], row["text"],
        )
        for row in rows
    }  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory, run_script):
    """Tables, a key, and four runs: as they are, moved, of texts moved before, and the stays moved."""
    folder = tmp_path_factory.mktemp("site")
    key = folder / "secret/key"
    write_key(key)

    def call(script, *arguments):
        done = run_script(script, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    call(MAKE, f"--output_dir={folder}/tables", "--num_patients=40", "--seed=4")
    shift = ["--shift_dates", f"--key_file={key}"]
    call(NOTES, f"{folder}/tables", f"{folder}/plain/notes", "--mode=early")
    call(NOTES, f"{folder}/tables", f"{folder}/moved/notes", "--mode=early", *shift)
    kept = "--keep_columns=HADM_ID,CATEGORY,DESCRIPTION,CGID,ISERROR"
    flags = ["--replace=surrogate", f"--key_file={key}", kept, f"--date_columns={DATE_COLUMNS}"]
    call(REMOVE, f"--input={folder}/tables/NOTEEVENTS.csv", f"--output={folder}/safe", *flags)
    (folder / "both").mkdir()
    (folder / "both/NOTEEVENTS.csv").write_bytes((folder / "safe/notes.csv").read_bytes())
    for name in ("ADMISSIONS.csv", "PATIENTS.csv"):
        (folder / "both" / name).write_bytes((folder / "tables" / name).read_bytes())
    call(NOTES, f"{folder}/both", f"{folder}/after/notes", "--mode=early", *shift, "--moved_notes")
    with open(folder / "tables/ADMISSIONS.csv", newline="") as file, open(folder / "stays.csv", "w") as stays:
        stays.write("patient_id,admit,discharge,code\n")
        for row in csv.DictReader(file):
            stays.write(f"{row['SUBJECT_ID']},{row['ADMITTIME']},{row['DISCHTIME']},ICD10_I10\n")
    call(STAYS, folder / "stays.csv", "NA", f"{folder}/stays/cohort", 0, "--shifted_dates", *shift)
    call(STAYS, folder / "stays.csv", "NA", f"{folder}/true_stays/cohort", 0, "--shifted_dates")
    return folder, read_key(key)


@pytest.mark.slow
def test_only_dates_move(site):
    folder, key = site
    plain, moved = texts(folder / "plain/notes"), texts(folder / "moved/notes")
    assert plain.keys() == moved.keys() and len(plain) > 30
    for admission, (patient, time, label, times, text) in plain.items():
        days = key.shift_days(patient) * DAY
        assert moved[admission] == (patient, time + days, label, [each + days for each in times], text)
    assert (folder / "plain/notes.splits.csv").read_bytes() == (folder / "moved/notes.splits.csv").read_bytes()
    with open(folder / "plain/notes.labels.csv") as one, open(folder / "moved/notes.labels.csv") as other:
        for row, new in zip(csv.DictReader(one), csv.DictReader(other), strict=True):
            old = dt.datetime.fromisoformat(row.pop("prediction_time"))
            shifted = dt.datetime.fromisoformat(new.pop("prediction_time"))
            assert shifted - old == key.shift_days(row["patient_id"]) * DAY and row == new


@pytest.mark.slow
def test_texts_that_were_moved_before_give_the_same_times(site):
    """De-identified notes with moved dates beside true admissions: what is read, and when, is the same."""
    folder, _ = site
    moved, after = texts(folder / "moved/notes"), texts(folder / "after/notes")
    assert {name: row[:4] for name, row in moved.items()} == {name: row[:4] for name, row in after.items()}


def test_intervals_stay_over_notes_admissions_and_stays(site):
    """Between a patient's notes, prediction times and last discharge of the table of stays."""
    folder, key = site
    plain, moved = texts(folder / "plain/notes"), texts(folder / "moved/notes")
    last = {}
    for name in ("true_stays", "stays"):
        chunks = [
            chunk
            for split in ("train", "valid", "test")
            for chunk in read_chunks(f"{folder}/{name}/cohort.bencs.{split}")
        ]
        last[name] = {
            patient: int(time)
            for chunk in chunks
            for patient, time in zip(chunk.patient_ids, chunk.prediction_times, strict=True)
        }
    assert last["stays"].keys() == last["true_stays"].keys() and len(last["stays"]) > 5
    seen = 0
    for admission, (patient, time, _, times, _) in plain.items():
        if patient not in last["stays"]:
            continue
        before = [each.timestamp() for each in (time, *times)] + [last["true_stays"][patient]]
        _, new_time, _, new_times, _ = moved[admission]
        after = [each.timestamp() for each in (new_time, *new_times)] + [last["stays"][patient]]
        np.testing.assert_array_equal(np.subtract.outer(before, before), np.subtract.outer(after, after))
        assert before != after
        seen += 1
    assert seen > 10 and key.secret.hex() not in (folder / "moved/notes.manifest.json").read_text()


def test_the_manifest_holds_moved_dates_and_no_key(site):
    folder, key = site
    plain, moved = (json.loads((folder / name / "notes.manifest.json").read_text()) for name in ("plain", "moved"))
    assert moved["source"]["counts"]["patients_with_shifted_dates"] > 0
    assert plain["dates"] != moved["dates"] and plain["labels"] == moved["labels"]
    assert (
        "shift_dates" not in plain["settings"]
        and moved["settings"]["shift_dates"] == key.digest("fingerprint").hex()[:16]
    )


def test_flags(site, tmp_path, run_script):
    folder, _ = site
    (tmp_path / "out").mkdir()
    write_key(tmp_path / "out/key")
    for flags, message in (
        (["--shift_dates"], "--shift_dates needs --key_file"),
        ([f"--key_file={tmp_path}/out/key"], "no effect without --shift_dates"),
        (["--moved_notes"], "--moved_notes has no effect without --shift_dates"),
        (["--shift_dates", f"--key_file={tmp_path}/out/key"], "outside of the output"),
    ):
        done = run_script(NOTES, f"{folder}/tables", f"{tmp_path}/out/notes", *flags)
        assert done.returncode == 1 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["key"]
