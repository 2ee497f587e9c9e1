"""Labels, discharge texts and early texts of random tables, against the rules of docs/notes.md in plain Python."""

import csv
import datetime
import random

import pyarrow.parquet as parquet
import pytest
from notes_rules import discharge_notes, early_notes, examples, label

SCRIPT = "preprocessing/preprocess_notes.py"
START = datetime.datetime(2150, 1, 1, 8)


def random_stays(rng, patients=40):
    """Stays that overlap, touch and repeat, hours apart from each other."""
    stays = []
    for patient in range(1, patients + 1):
        for number in range(rng.randrange(1, 5)):
            admit = START + datetime.timedelta(hours=rng.randrange(100 * 24))
            length = datetime.timedelta(hours=rng.choice([5, 30, 60, 100, 200]))
            kind = rng.choice(["EMERGENCY", "URGENT", "ELECTIVE"])
            stays.append(
                {
                    "patient": patient,
                    "admission": patient * 10 + number,
                    "admit": admit,
                    "discharge": admit + length,
                    "kind": kind,
                }
            )
    return stays


def random_notes(rng, stays):
    """Up to eight notes a stay, some long before it, long after it, or on the day of its end; no two alike."""
    notes = []
    for stay in stays:
        for number in range(rng.randrange(9)):
            base = rng.choice([stay["admit"], stay["discharge"], stay["discharge"]])
            moment = base + datetime.timedelta(hours=rng.choice([-400, -170, -40, -5, 0, 3, 9, 30, 150, 190, 700]))
            timed = rng.random() < 0.5
            notes.append(
                {
                    "admission": stay["admission"],
                    "day": moment.date(),
                    "time": moment if timed else None,
                    "category": rng.choice(["Discharge summary", "Discharge summary", "Nursing", "ECG"]),
                    "description": rng.choice(["Report", "Report", "Addendum"]),
                    "error": rng.random() < 0.1,
                    "text": rng.choice([f"words of note {stay['admission']} {number}"] * 9 + ["  "]),
                }
            )
    rng.shuffle(notes)
    for row, note in enumerate(notes):
        note["row"] = row
    return notes


def random_deaths(rng, stays):
    """dict patient -> day of death of a third of the patients: before, within and after their stays."""
    patients = sorted({stay["patient"] for stay in stays})
    return {
        name: (START + datetime.timedelta(days=rng.randrange(130))).date() for name in patients if rng.random() < 0.3
    }


def write_tables(folder, stays, notes, deaths):
    folder.mkdir()
    with open(folder / "PATIENTS.csv", "w", newline="") as file:
        csv.writer(file).writerows([("SUBJECT_ID", "DOD"), *deaths.items()])
    with open(folder / "ADMISSIONS.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME ADMISSION_TYPE".split())
        for stay in stays:
            writer.writerow((stay["patient"], stay["admission"], stay["admit"], stay["discharge"], "", stay["kind"]))
    with open(folder / "NOTEEVENTS.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("SUBJECT_ID HADM_ID CHARTDATE CHARTTIME CATEGORY DESCRIPTION ISERROR TEXT".split())
        for note in notes:
            patient = note["admission"] // 10
            kind = (note["category"], note["description"], 1 if note["error"] else "")
            writer.writerow((patient, note["admission"], note["day"], note["time"] or "", *kind, note["text"]))
    return folder


@pytest.mark.quick("1-discharge", "1-early")
@pytest.mark.parametrize("mode", ["discharge", "early"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_label_and_text(tmp_path, run_script, mode, seed):
    rng = random.Random(seed)
    stays = random_stays(rng)
    notes, deaths = random_notes(rng, stays), random_deaths(rng, stays)
    folder = write_tables(tmp_path / "raw", stays, notes, deaths)
    early = ("--mode=early", "--early_days=2") if mode == "early" else ()
    process = run_script(SCRIPT, folder, tmp_path / "out", "--splits=train", *early)
    assert process.returncode == 0, process.stderr
    with open(tmp_path / "out.labels.csv", newline="") as file:
        labels = {int(row["admission_id"]): row["readmission"] for row in csv.DictReader(file)}
    texts = parquet.read_table(tmp_path / "out.notes.train.parquet").to_pylist()
    texts = {int(row["admission_id"]): row["text"] for row in texts}
    by_name = {stay["admission"]: stay for stay in stays}
    asked = {stay["admission"] for stay in examples(stays, deaths, 2 if mode == "early" else None)}
    assert set(labels) <= asked and len(labels) > len(asked) - 5  # of two stays with one prediction time one is kept
    for name, said in labels.items():
        expected = label(stays, by_name[name], deaths=deaths)
        assert said == ("" if expected is None else str(expected)), name
    expected = {}
    for name in labels:  # of two stays with one prediction time one is no example
        stay = by_name[name]
        read = discharge_notes(stays, stay, notes) if mode == "discharge" else early_notes(stay, notes, 2)
        assert read is not None, name
        if read:
            expected[name] = " ".join(note["text"] for note in read)
    assert texts == expected and len(texts) > 10
    assert any(text.count("words") > 1 for text in texts.values())
    if mode == "early":
        ended = [stay for stay in stays if early_notes(stay, notes, 2) is None]
        assert ended and not {stay["admission"] for stay in ended} & set(labels)
