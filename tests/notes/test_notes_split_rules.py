"""Notes split over time and by site: what is hidden at the boundary, by hand; nothing after it moves a byte."""

import csv
import dataclasses
import datetime as dt
import random

import pyarrow.parquet as parquet
import pytest

from medtop.cohort.splits import SPLITS, assign_splits
from medtop.files.errors import DataError
from medtop.notes import preprocess
from medtop.notes.options import NotesOptions
from medtop.notes.preprocess import NotesInput, preprocess_notes
from medtop.sources.dates import DateRules

VALID, TEST = "2012-01-01", "2013-01-01"
OWN_DATES = DateRules(shifted_dates=False)
TIME = {"split_by": "time", "valid_from": VALID, "test_from": TEST}
HEADER = "SUBJECT_ID,HADM_ID,ADMITTIME,DISCHTIME,DEATHTIME,ADMISSION_TYPE"


def write(folder, admissions, notes=(), deaths=()):
    """Tables of admissions (patient, id, admitted, discharged[, died[, kind]]), notes (id, charted, category, text)."""
    folder.mkdir(exist_ok=True)
    rows = [(*row, *("", "EMERGENCY")[len(row) - 4 :]) for row in admissions]
    (folder / "ADMISSIONS.csv").write_text("\n".join([HEADER, *(",".join(map(str, row)) for row in rows)]) + "\n")
    patient_of = {row[1]: row[0] for row in admissions}
    with open(folder / "NOTEEVENTS.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME CATEGORY DESCRIPTION ISERROR TEXT".split())
        for number, (name, time, category, text) in enumerate(notes):
            kind = "Addendum" if text.startswith("addendum") else "Report"
            writer.writerow([number, patient_of[name], name, time[:10], time, category, kind, "", text])
    died = "".join(f"{patient},F,1950-01-01,{day}\n" for patient, day in [("nobody", ""), *deaths])
    (folder / "PATIENTS.csv").write_text("SUBJECT_ID,GENDER,DOB,DOD\n" + died)
    return folder


def summaries(admissions):
    """A discharge summary for each."""
    return [(row[1], f"{row[3][:10]} 11:00:00", "Discharge summary", f"summary of stay {row[1]}") for row in admissions]


def run(tmp_path, folder, name="out", **options):
    """(manifest, dict split -> {admission: (label or None, text)})."""
    source = NotesInput(str(folder), dates=OWN_DATES)
    manifest, _ = preprocess_notes(source, NotesOptions(**TIME | options), tmp_path / name)
    rows = {split: parquet.read_table(f"{tmp_path / name}.notes.{split}.parquet").to_pylist() for split in SPLITS}
    return manifest, {
        split: {int(row["admission_id"]): (row["readmission"], row["text"]) for row in own}
        for split, own in rows.items()
    }


def given(tmp_path, **places):
    path = tmp_path / "splits.csv"
    path.write_text("patient_id,split\n" + "".join(f"{name},{place}\n" for name, place in places.items()))
    return str(path)


def test_at_the_boundary_by_hand(tmp_path):
    stays = [
        ("a", 1, "2011-10-01 08:00:00", "2011-10-05 12:00:00"),  # 0: nothing within 30 days, all of them before 2012
        ("a", 2, "2011-11-20 08:00:00", "2011-12-01 12:00:00"),  # 1: back on the 28th; until 31 December 12:00
        ("a", 3, "2011-12-28 08:00:00", "2011-12-30 12:00:00"),  # until 29 January: unknown, though back on the 31st
        ("a", 4, "2011-12-31 08:00:00", "2012-01-03 12:00:00"),  # goes on over the boundary
        ("a", 5, "2012-02-01 08:00:00", "2012-02-03 12:00:00"),  # of the validation period; a is for training
        ("b", 6, "2011-12-01 08:00:00", "2011-12-02 12:00:00"),  # until 1 January 12:00: unknown
        ("b", 7, "2012-03-01 08:00:00", "2012-03-02 12:00:00"),
        ("c", 8, "2011-06-01 08:00:00", "2011-06-02 12:00:00"),  # before the validation period, which is c's
        ("c", 9, "2012-01-01 00:00:00", "2012-01-01 12:00:00"),  # 1: back on the 20th
        ("c", 10, "2012-01-20 08:00:00", "2012-02-02 12:00:00"),
        ("c", 11, "2012-12-02 08:00:00", "2012-12-02 00:00:00"),
        ("d", 12, "2013-12-01 08:00:00", "2013-12-05 12:00:00"),  # nothing is cut in the test period
        ("d", 13, "2012-12-01 08:00:00", "2012-12-05 12:00:00"),
    ]
    stays[10] = ("c", 11, "2012-12-01 08:00:00", "2012-12-02 00:00:00")  # until 1 January 00:00, just before the test
    folder = write(tmp_path / "tables", stays, summaries(stays))
    splits = given(tmp_path, a="train", b="train", c="valid", d="test")
    manifest, rows = run(tmp_path, folder, splits=splits)
    labels = {split: {name: label for name, (label, _) in own.items()} for split, own in rows.items()}
    assert labels == {
        "train": {1: 0, 2: 1, 3: None, 6: None},
        "valid": {9: 1, 10: 0, 11: 0},
        "test": {12: 0},
    }
    assert manifest["admissions_dropped"] == {"outside_period": 5}
    assert manifest["labels"]["train"]["readmission"]["readmission"]["unknown"] == {"censored": 2}
    assert manifest["split_by"]["valid_from"] == VALID and manifest["dates"]["prediction_times_of_splits"] == {
        "train": ["2011-10", "2011-12"], "valid": ["2012-01", "2012-12"], "test": ["2013-12"] * 2,
    }  # fmt: skip
    assert any("Splits over time: training before 2012-01-01" in line for line in manifest["statements"])


def test_notes_charted_after_the_period_are_not_read(tmp_path):
    stays = [("a", 1, "2011-11-01 08:00:00", "2011-12-31 12:00:00")]
    notes = [
        (1, "2011-12-31 12:00:00", "Discharge summary", "the summary"),
        (1, "2011-12-31 23:59:00", "Discharge summary", "addendum of that day"),
        (1, "2012-01-01 00:00:00", "Discharge summary", "addendum of the year after"),
        (1, "2012-01-02 00:00:00", "Discharge summary", "a summary of the year after"),
    ]
    folder = write(tmp_path / "tables", stays, notes)
    manifest, rows = run(tmp_path, folder, splits=given(tmp_path, a="train"))
    assert rows["train"][1] == (None, "the summary addendum of that day")
    assert manifest["rows_dropped"]["charted_after_period"] == 2
    assert manifest["rows_in"] == manifest["rows_out"] + sum(manifest["rows_dropped"].values())
    _, rows = run(tmp_path, folder, "valid", splits=given(tmp_path, a="test"))
    assert not any(rows.values()), "and a test patient is looked at from 2013 on"


def random_stays(seed, patients=100):
    """(admissions, notes, deaths) over 2010 to 2013, many of them near the boundaries."""
    rng, stays, notes, deaths = random.Random(seed), [], [], []
    for patient in range(patients):
        day = dt.datetime(2010, 6, 1) + dt.timedelta(days=rng.randrange(1000))
        for _ in range(rng.randrange(1, 14)):
            end = day + dt.timedelta(days=rng.choice([0, 1, 3, 9, 40]), hours=rng.randrange(1, 24))
            name = len(stays) + 1
            kind = rng.choice(["EMERGENCY", "ELECTIVE", "NEWBORN", "URGENT"])
            died = f"{end:%F %T}" if rng.random() < 0.05 else ""
            stays.append((f"p{patient}", name, f"{day:%F %T}", f"{end:%F %T}", died, kind))
            notes.append((name, f"{day + dt.timedelta(days=1):%F %T}", "Nursing", f"first day of {name}"))
            for place in range(rng.randrange(4)):
                when = end + dt.timedelta(days=rng.choice([-2, -1, 0, 1, 6]), hours=rng.randrange(24))
                category = rng.choice(["Discharge summary", "Nursing"])
                notes.append((name, f"{when:%F %T}", category, rng.choice(["addendum ", ""]) + f"text {name} {place}"))
            day = end + dt.timedelta(days=rng.choice([-1, 1, 10, 29, 30, 31, 90]), hours=rng.randrange(24))
        if rng.random() < 0.3:
            deaths.append((f"p{patient}", f"{day + dt.timedelta(days=rng.randrange(60)):%F}"))
    return stays, notes, deaths


def changed_after(boundary, stays, notes, deaths, seed):
    """The same tables with everything that comes to be known from the boundary on changed, removed or added."""
    rng = random.Random(seed)
    kept, removed = [], set()
    for patient, name, start, end, died, kind in stays:
        if start >= boundary:
            if rng.random() < 0.5:
                removed.add(name)
                continue
            kind, end, died = "URGENT", start, ""
        elif end >= boundary:  # it had begun: how it ends is not known
            end = f"{dt.datetime.fromisoformat(end) + dt.timedelta(days=rng.randrange(50)):%F %T}"
            died = end if rng.random() < 0.5 else ""
        kept.append((patient, name, start, end, died, kind))
    extra = len(stays) + 1
    for patient in sorted({row[0] for row in stays}):
        if rng.random() < 0.5:
            kept.append((patient, extra, f"{boundary} 03:00:00", f"{boundary} 09:00:00", "", "EMERGENCY"))
            extra += 1
    texts = [(name, when, kind, "CHANGED" if when >= boundary else text) for name, when, kind, text in notes]
    texts = [row for row in texts if row[0] not in removed]
    died = [(patient, day) for patient, day in deaths if day < boundary]
    died += [(patient, f"{boundary}") for patient in sorted({row[0] for row in stays} - {p for p, _ in died})[::2]]
    return kept, texts, died


@pytest.mark.quick(first=1)
@pytest.mark.parametrize("seed, mode", [(1, "discharge"), (2, "early")])
def test_nothing_after_a_boundary_moves_a_byte_of_its_split(tmp_path, seed, mode):
    tables = random_stays(seed)
    _, first = run(tmp_path, write(tmp_path / "first", *tables), "a", mode=mode, deaths="negative")
    others = set()
    for split, boundary in (("train", VALID), ("valid", TEST)):
        folder = write(tmp_path / f"changed_{split}", *changed_after(boundary, *tables, seed))
        name = f"b_{split}"
        _, again = run(tmp_path, folder, name, mode=mode, deaths="negative")
        before, after = ((tmp_path / f"{prefix}.notes.{split}.parquet").read_bytes() for prefix in ("a", name))
        assert before == after and again[split] == first[split]
        others |= {other for other in SPLITS if first[other] != again[other]}
    assert others, "the changes are seen elsewhere"
    known = [label for label, _ in first["train"].values() if label is not None]
    assert len(known) > 20 and 0 < sum(known) < len(known)


def leaked(tmp_path, name):
    """Share of training patients' stays whose readmission, planted after the boundary, their labels know of."""
    patients = [f"q{number}" for number in range(40)]
    stays = [(patient, n + 1, "2011-12-10 08:00:00", "2011-12-20 12:00:00") for n, patient in enumerate(patients)]
    back = [(patient, n + 101, "2012-01-05 08:00:00", "2012-01-06 12:00:00") for n, patient in enumerate(patients)]
    folder = write(tmp_path / "tables", [*stays, *back], summaries([*stays, *back]))
    _, rows = run(tmp_path, folder, name)
    labels = [label for label, _ in rows["train"].values()]
    assert len(labels) == sum(place == "train" for place in assign_splits(patients, 0))
    return sum(label == 1 for label in labels) / len(labels)


def test_a_leak_over_the_boundary_is_seen_where_nothing_is_cut(tmp_path, monkeypatch):
    assert leaked(tmp_path, "cut") == 0
    whole = preprocess.label_admissions

    def uncut(connection, layout, options):
        counts = whole(connection, layout, dataclasses.replace(options, split_by="patient"))
        connection.execute(
            "UPDATE labelled SET dropped = 'outside_period' WHERE prediction_time >= TIMESTAMP '2012-01-01'"
        )
        return counts

    monkeypatch.setattr(preprocess, "label_admissions", uncut)
    assert leaked(tmp_path, "uncut") == 1


def test_sites(tmp_path):
    stays = [(name, n, "2011-10-01 08:00:00", "2011-10-05 12:00:00") for n, name in enumerate("abcd", 1)]
    folder = write(tmp_path / "tables", stays, summaries(stays))
    (tmp_path / "sites.csv").write_text("patient_id,site\na,N\nb,S\nc,W\nc,N\n")
    plain = dict.fromkeys(("valid_from", "test_from"))
    sites = {"split_by": "site", "sites": str(tmp_path / "sites.csv"), "test_sites": ("N",), "valid_sites": ("S",)}
    manifest, rows = run(tmp_path, folder, **plain, **sites)
    assert {split: set(own) for split, own in rows.items()} == {"train": set(), "valid": {2}, "test": {1}}
    assert (
        manifest["patients_dropped"] == {"no_site": 1, "sites_of_several_splits": 1} == manifest["admissions_dropped"]
    )
    assert str(tmp_path / "sites.csv") in manifest["inputs"]
    assert any("No example in the train split" in line for line in manifest["statements"])


@pytest.mark.parametrize(
    "options, dates, expected",
    [
        ({}, DateRules(shifted_dates=True), "--split_by=time: expected --noshifted_dates"),
        ({"legacy": True}, OWN_DATES, "--split_by=time and --legacy exclude each other"),
        ({"test_from": VALID}, OWN_DATES, "--test_from: expected a day after --valid_from"),
        ({"split_by": "patient"}, OWN_DATES, "--valid_from has no effect without --split_by=time"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, options, dates, expected):
    with pytest.raises(DataError, match=expected):
        preprocess_notes(NotesInput(str(tmp_path), dates=dates), NotesOptions(**TIME | options), tmp_path / "out")


def test_the_script(tmp_path, run_script):
    stays = [(f"p{n}", n, "2011-10-01 08:00:00", "2011-10-05 12:00:00") for n in range(1, 9)]
    folder = write(tmp_path / "tables", stays, summaries(stays))
    time = ["--split_by=time", f"--valid_from={VALID}", f"--test_from={TEST}"]
    command = ["preprocessing/preprocess_notes.py", str(folder), str(tmp_path / "out"), *time]
    refused = run_script(*command)
    assert refused.returncode == 1 and "--noshifted_dates" in refused.stderr + refused.stdout
    done = run_script(*command, "--noshifted_dates")
    assert done.returncode == 0, done.stderr
    assert "Splits over time" in done.stdout and "No example in the valid and test split" in done.stdout
