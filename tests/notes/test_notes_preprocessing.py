"""From ADMISSIONS and NOTEEVENTS to labels and texts, against tables worked out by hand and ClinicalBERT's own way."""

import csv
import gzip
import importlib.util
import json
import random

import duckdb
import numpy as np
import pyarrow.parquet as parquet
import pytest
from absl import flags
from conftest import ROOT
from note_tables import (
    EARLY_STARTS,
    EARLY_TEXTS,
    ENDED_IN_THREE_DAYS,
    LABELS,
    LEGACY_EARLY_TEXTS,
    LEGACY_LABELS,
    LEGACY_TEXTS,
    NOTES,
    REASONS,
    TEXTS,
    write_notes,
    write_tables,
)

from medtop.cli import commands  # noqa: F401 - before the flags of absl are patched: it keeps them
from medtop.cohort.splits import SPLITS, assign_splits
from medtop.files.errors import DataError
from medtop.notes.note_texts import cut_buckets
from medtop.notes.options import NotesOptions
from medtop.notes.preprocess import NotesInput, preprocess_notes

LEGACY = {"legacy": True, "deaths": "negative", "cleaning": "published", "windows": "words"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return write_tables(tmp_path_factory.mktemp("notes") / "mimic3")


def run(folder, prefix, source=None, **options):
    manifest, _ = preprocess_notes(NotesInput(str(folder), **(source or {})), NotesOptions(**options), prefix)
    return manifest


def read_labels(prefix):
    with open(f"{prefix}.labels.csv", newline="") as file:
        return {int(row["admission_id"]): row for row in csv.DictReader(file)}


def read_rows(prefix, splits=SPLITS):
    tables = {split: parquet.read_table(f"{prefix}.notes.{split}.parquet").to_pylist() for split in splits}
    return {int(row["admission_id"]): {**row, "split": split} for split, rows in tables.items() for row in rows}


def labels_of(expected):
    return {name: label for name, label in expected.items() if not isinstance(label, str)}


def value(text):
    return int(text) if text else None


def dropped_of(expected):
    reasons = [label for label in expected.values() if isinstance(label, str)]
    return {reason: reasons.count(reason) for reason in reasons}


@pytest.mark.parametrize("legacy, expected", [({}, LABELS), (LEGACY, LEGACY_LABELS)], ids=["default", "legacy"])
def test_labels_by_hand(tables, tmp_path, legacy, expected):
    manifest = run(tables, tmp_path / "out", **legacy)
    found = read_labels(tmp_path / "out")
    assert {name: value(row["readmission"]) for name, row in found.items()} == labels_of(expected)
    assert {name: row["reason"] for name, row in found.items() if row["reason"]} == ({} if legacy else REASONS)
    assert manifest["admissions_dropped"] == dropped_of(expected)
    assert found[11]["prediction_time"] == "2150-01-05 12:00:00" and found[11]["patient_id"] == "1"
    assert manifest["source"]["counts"]["negative_gaps"] == 2  # 41 -> 42 and 81 -> 82
    assert manifest["source"]["counts"]["admissions_after_death"] == 2  # 121, 132


@pytest.mark.parametrize("legacy, expected", [({}, TEXTS), (LEGACY, LEGACY_TEXTS)], ids=["default", "legacy"])
def test_discharge_texts_by_hand(tables, tmp_path, legacy, expected):
    manifest = run(tables, tmp_path / "out", **legacy)
    rows = read_rows(tmp_path / "out")
    assert {name: row["text"] for name, row in rows.items()} == {name: text for name, text in expected.items() if text}
    labels = LEGACY_LABELS if legacy else LABELS
    assert all(row["readmission"] == labels[name] for name, row in rows.items())
    assert all(row["note_starts"] == [0] and len(row["note_times"]) == 1 for row in rows.values())
    assert str(rows[11]["note_times"][0]) == "2150-01-06 23:59:59"  # of that day, the hour is not known
    assert manifest["source"]["counts"]["notes_after_day_of_discharge"] == 1


def test_early_texts_by_hand(tables, tmp_path):
    manifest = run(tables, tmp_path / "out", mode="early", early_days=3)
    rows, labels = read_rows(tmp_path / "out"), read_labels(tmp_path / "out")
    assert {name: row["text"] for name, row in rows.items()} == EARLY_TEXTS
    assert {name: row["note_starts"] for name, row in rows.items()} == EARLY_STARTS
    assert [str(time) for time in rows[11]["note_times"]] == [
        "2149-12-31 23:00:00",
        "2150-01-01 12:00:00",
        "2150-01-03 09:30:00",
        "2150-01-03 23:59:59",
        "2150-01-04 10:00:00",
    ]
    assert str(rows[11]["prediction_time"]) == labels[11]["prediction_time"] == "2150-01-04 10:00:00"
    assert {name: value(row["readmission"]) for name, row in labels.items()} == {
        name: label for name, label in labels_of(LABELS).items() if name not in ENDED_IN_THREE_DAYS
    }
    assert all(rows[name]["readmission"] == LABELS[name] for name in rows)
    assert manifest["admissions_dropped"]["ended_before_prediction_time"] == len(ENDED_IN_THREE_DAYS)
    assert manifest["prediction_times"] == {"index": "3 days after the admission"}
    assert (
        manifest["rows_dropped"]["marked_as_error"] == 2 and manifest["source"]["counts"]["notes_before_admission"] == 1
    )
    starts, text = rows[11]["note_starts"], rows[11]["text"]
    assert [text[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)][3] == (
        "echo without an hour"
    )


def test_early_legacy_texts_by_hand(tables, tmp_path):
    run(tables, tmp_path / "out", mode="early", early_days=3, **LEGACY)
    rows, labels = read_rows(tmp_path / "out"), read_labels(tmp_path / "out")
    assert {name: value(row["readmission"]) for name, row in labels.items()} == labels_of(LEGACY_LABELS)
    assert ENDED_IN_THREE_DAYS - {112} <= set(labels)  # stays that had ended are kept
    texts = {name: row["text"] for name, row in rows.items()}
    assert texts == LEGACY_EARLY_TEXTS
    assert rows[11]["note_starts"] == [0]


def test_two_days(tables, tmp_path):
    run(tables, tmp_path / "out", mode="early", early_days=2)
    assert read_rows(tmp_path / "out")[11]["text"] == "before the admission arrived with pain third day"


@pytest.mark.parametrize("mode", ["discharge", "early"])
def test_the_sums_add_up(tables, tmp_path, mode):
    several = False
    for name, legacy in (("default", {}), ("legacy", LEGACY)):
        manifest = run(tables, tmp_path / name, mode=mode, **legacy)
        for what in ("rows", "admissions", "patients"):
            assert manifest[f"{what}_in"] == manifest[f"{what}_out"] + manifest.get(f"{what}_merged", 0) + sum(
                manifest[f"{what}_dropped"].values()
            ), what
        assert manifest["rows_in"] == len(NOTES)
        rows = read_rows(tmp_path / name)
        with open(tmp_path / f"{name}.splits.csv", newline="") as file:
            split_of = {row["patient_id"]: row["split"] for row in csv.DictReader(file)}
        assert sum(entry["texts"] for entry in manifest["splits"].values()) == len(rows)
        for split, tasks in manifest["labels"].items():
            entry, own = tasks["readmission"]["readmission"], manifest["splits"][split]
            assert entry["examples"] == own["examples"] == entry["known"] + sum(entry["unknown"].values())
            owners = {"examples": set(), "known": set(), "positives": set(), "negatives": set()}
            for label in read_labels(tmp_path / name).values():
                if split_of[label["patient_id"]] == split:
                    value = label["readmission"]
                    cells = ["examples", *(["known", {"1": "positives", "0": "negatives"}[value]] if value else [])]
                    for cell in cells + ([] if value else [label["reason"]]):
                        owners.setdefault(cell, set()).add(label["patient_id"])
            counts = {cell: len(people) for cell, people in owners.items()}
            shown = entry.get("patients", {**entry, "negatives": entry["known"] - entry["positives"]})
            assert counts == {cell: shown[cell] for cell in list(owners)[:4]} | shown["unknown"]
            several |= "patients" in entry
    assert several


def test_deaths_and_the_end_of_observation(tables, tmp_path):
    run(tables, tmp_path / "a", deaths="negative")
    negative = read_labels(tmp_path / "a")
    assert negative[61]["readmission"] == "0"
    assert negative[131]["readmission"] == "0" and 132 not in negative  # an admission after death is none
    run(tables, tmp_path / "b", observation_end="2150-02-07")
    found = read_labels(tmp_path / "b")
    censored = {name for name, row in found.items() if row["reason"] == "censored"}
    # discharged after 9 January 00:00, and no readmission seen; readmissions seen count
    assert censored == {13, 22, 32, 42, 43, 72, 81, 92, 102}
    assert found[11]["readmission"] == found[12]["readmission"] == "1"


def test_summaries_long_after_the_discharge(tables, tmp_path):
    manifest = run(tables, tmp_path / "out", max_summary_days=0)
    assert read_rows(tmp_path / "out")[11]["text"] == "first summary"
    assert manifest["rows_dropped"]["charted_long_after_discharge"] == 1


def test_cased_texts(tables, tmp_path):
    run(tables, tmp_path / "out", lower_case=False)
    assert read_rows(tmp_path / "out")[11]["text"] == "Second  Summary:  Aspirin 4.5 mg Doctor Who, Md"


@pytest.mark.slow
def test_order_of_lines_changes_nothing(tables, tmp_path):
    expected = {
        mode: (run(tables, tmp_path / mode, mode=mode), read_rows(tmp_path / mode))[1]
        for mode in ("discharge", "early")
    }
    shuffled = tmp_path / "tables"
    write_tables(shuffled)
    lines = (shuffled / "ADMISSIONS.csv").read_text().splitlines()
    (shuffled / "ADMISSIONS.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    write_notes(shuffled / "NOTEEVENTS.csv", list(reversed(NOTES)))
    for mode, rows in expected.items():
        run(shuffled, tmp_path / f"again_{mode}", mode=mode)
        assert read_rows(tmp_path / f"again_{mode}") == rows


def test_splits_are_by_patient_and_shared(tables, tmp_path):
    run(tables, tmp_path / "out", seed=5)
    with open(tmp_path / "out.splits.csv", newline="") as file:
        splits = {row["patient_id"]: row["split"] for row in csv.DictReader(file)}
    assert splits == dict(zip(splits, assign_splits(list(splits), 5), strict=True)) and len(splits) == 13
    for row in read_rows(tmp_path / "out").values():
        assert splits[row["patient_id"]] == row["split"]
    given = tmp_path / "given.csv"
    given.write_text("patient_id,split\n1,test\n3,valid\n4,train\n")
    manifest = run(tables, tmp_path / "own", splits=str(given))
    assert {row["patient_id"]: row["split"] for row in read_rows(tmp_path / "own").values()} == {
        "1": "test",
        "3": "valid",
        "4": "train",
    }
    assert manifest["patients_dropped"] == {"not_in_splits_file": 10}
    run(tables, tmp_path / "all", splits="test")
    assert {row["split"] for row in read_rows(tmp_path / "all").values()} == {"test"}


def test_labels_serve_the_codes_path(tables, tmp_path):
    from medtop.cohort.build import Options
    from medtop.cohort.pickled_lists import read_chunks
    from medtop.cohort.preprocess import CohortInput, preprocess
    from medtop.sources.dates import DateRules
    from medtop.sources.rules import Rules

    run(tables, tmp_path / "out")
    codes = tmp_path / "codes.tsv"
    lines = ["patient\tadmit\tdischarge\tcode\tpoa\tpriority\tthird"]
    for line in (tables / "ADMISSIONS.csv").read_text().splitlines()[1:]:
        subject, _, admit, discharge, *_ = line.split(",")
        lines += [f"{subject}\t{admit}\t{discharge}\tI10\t1\t{n}\t0" for n in (1, 2)]
    codes.write_text("\n".join(lines) + "\n")
    options = Options(
        tasks=(),
        prediction_times=f"{tmp_path}/out.labels.csv",
        splits=f"{tmp_path}/out.splits.csv",
        min_code_count=1,
        min_code_patients=1,
    )
    manifest = preprocess(
        CohortInput(str(codes), rules=Rules(DateRules(shifted_dates=True))), options, str(tmp_path / "codes")
    ).manifest
    assert manifest["tasks"] == {"readmission": ["readmission"]}
    found = {}
    for split in SPLITS:
        for chunk in read_chunks(f"{tmp_path}/codes.bencs.{split}"):
            labels, weights = chunk.labels["readmission"][:, 0], chunk.weights["readmission"][:, 0]
            for name, time, label, weight in zip(
                chunk.patient_ids, chunk.prediction_times, labels, weights, strict=True
            ):
                found[str(name), int(time)] = int(label) if weight else None
    expected = {
        (row["patient_id"], int(np.datetime64(row["prediction_time"].replace(" ", "T")).astype(int))): value(
            row["readmission"]
        )
        for row in read_labels(tmp_path / "out").values()
    }
    assert found == expected


@pytest.fixture(scope="module")
def clinicalbert():
    place = importlib.util.spec_from_file_location("clinicalbert", ROOT / "benchmarks/clinicalbert_preprocessing.py")
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


FRAGMENTS = [
    "[**2101-1-5**]",
    "[",
    "]",
    "Dr. Who",
    "M.D.",
    "12.",
    "4.5",
    "1.\n",
    "--",
    "___",
    "=",
    "\n",
    "\r\n",
    "  ",
    "Admission Date:",
    "discharge date:",
    "pain",
    "of",
    "É",
    "İ",
    "ΑΣ",
    "\xa0",
    '"quoted"',
    "a,b",
    "\t",
]
WEIGHTS = [1 if fragment in "[]" else 20 for fragment in FRAGMENTS]


def random_tables(folder, seed):
    """Admissions that overlap, repeat and end in death; notes in disorder, some long, some empty."""
    numbers = random.Random(seed)
    folder.mkdir()
    admissions, notes = [], []
    for patient in range(1, 101):
        for number in range(numbers.randrange(1, 6)):
            name = patient * 10 + number
            admit = np.datetime64("2150-01-01T00:00:00") + np.timedelta64(numbers.randrange(90 * 24), "h")
            stay = admit + np.timedelta64(numbers.randrange(1, 12 * 24), "h")
            death = str(stay).replace("T", " ") if numbers.random() < 0.1 else ""
            kind = numbers.choice(["EMERGENCY", "URGENT", "ELECTIVE", "ELECTIVE", "NEWBORN"])
            admissions.append([patient, name, str(admit).replace("T", " "), str(stay).replace("T", " "), death, kind])
            for _ in range(numbers.randrange(4)):
                day = str(admit + np.timedelta64(numbers.randrange(-1, 8), "D"))[:10]
                words = numbers.choices(FRAGMENTS, WEIGHTS, k=numbers.choice([0, 5, 30, 900]))
                notes.append(
                    (
                        name,
                        day,
                        "",
                        numbers.choice(["Discharge summary", "Nursing"]),
                        numbers.choice(["", 1]),
                        " ".join(words),
                    )
                )
    numbers.shuffle(admissions)
    numbers.shuffle(notes)
    with open(folder / "ADMISSIONS.csv", "w", newline="") as file:
        csv.writer(file).writerows(["SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME ADMISSION_TYPE".split()])
        csv.writer(file).writerows(admissions)
    write_notes(folder / "NOTEEVENTS.csv", notes)
    return folder


@pytest.mark.quick("discharge-1", "early-3")
@pytest.mark.parametrize("mode, seed", [("discharge", 1), ("discharge", 2), ("early", 3), ("early", 4)])
def test_legacy_equals_clinicalberts_own_way(clinicalbert, tmp_path, mode, seed):
    folder = random_tables(tmp_path / "tables", seed)
    run(folder, tmp_path / "out", mode=mode, early_days=2, **LEGACY)
    admissions = clinicalbert.read_admissions(folder)
    found = {name: int(row["readmission"]) for name, row in read_labels(tmp_path / "out").items()}
    assert found == dict(zip(admissions["HADM_ID"], admissions["OUTPUT_LABEL"], strict=True))
    assert 0 < sum(found.values()) < len(found)
    joined = clinicalbert.join_notes(admissions, folder)
    texts = clinicalbert.discharge_texts(joined) if mode == "discharge" else clinicalbert.early_texts(joined, 2)
    windows = clinicalbert.cut_windows(texts)
    expected = sorted(zip(windows["ID"].astype(int), windows["Label"].astype(int), windows["TEXT"], strict=True))
    short = dict(zip(admissions["HADM_ID"], admissions["DURATION"] < 2, strict=True))
    splits = dict(csv.reader(open(tmp_path / "out.splits.csv", newline="")))
    if mode == "early":  # ClinicalBERT's test set leaves out stays that had ended
        expected = [row for row in expected if not (short[row[0]] and splits[str(row[0] // 10)] == "test")]
    received = []
    for name in ("train", "val", "test"):
        with open(tmp_path / "out" / f"{name}.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert all(splits[row["ID"][:-1]].startswith(name) for row in rows)
        received += [(int(row["ID"]), int(row["Label"]), row["TEXT"]) for row in rows]
    words = [len(text.split(" ")) for _, _, text in received]
    assert sorted(received) == expected and len(expected) > 50 and max(words) == 318 and 10 < min(words) < 318


def test_windows_without_legacy_leave_unknown_labels_out(tables, tmp_path):
    notes = [(name, "2150-01-05", "", "Discharge summary", "", "word " * 20) for name in (11, 41, 42)]
    folder = write_tables(tmp_path / "tables")
    write_notes(folder / "NOTEEVENTS.csv", notes)
    run(folder, tmp_path / "out", windows="words", splits="train")
    with open(tmp_path / "out/train.csv", newline="") as file:
        assert [(row["ID"], row["Label"], row["TEXT"]) for row in csv.DictReader(file)] == [
            ("11", "1", "word " * 19 + "word"),
            ("42", "0", "word " * 19 + "word"),
        ]


def test_mimic4(tmp_path):
    (tmp_path / "iv/hosp").mkdir(parents=True)
    (tmp_path / "iv/note").mkdir()
    kinds = ["EW EMER.", "SURGICAL SAME DAY ADMISSION", "EU OBSERVATION", "OBSERVATION ADMIT", "URGENT"]
    admissions = ["subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,hospital_expire_flag"]
    admissions += [f"7,{n},2180-0{n}-01 08:00:00,2180-0{n}-25 08:00:00,,{kind},0" for n, kind in enumerate(kinds, 1)]
    admissions += ["8,9,2180-01-01 08:00:00,2180-01-20 08:00:00,,URGENT,1"]
    with gzip.open(tmp_path / "iv/hosp/admissions.csv.gz", "wt") as file:
        file.write("\n".join(admissions) + "\n")
    rows = [
        "note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text",
        '7-DS-1,7,1,DS,1,2180-01-25 00:00:00,2180-01-25 10:00:00,"___ first\nline"',
        "7-DS-2,7,1,AD,2,2180-01-26 00:00:00,,an addendum",
        "7-DS-3,7,3,DS,3,2180-03-25 00:00:00,2180-03-26 10:00:00,third",
        "7-DS-4,7,3,DS,4,2180-03-25 00:00:00,2180-03-25 10:00:00,stored before it",
    ]
    with gzip.open(tmp_path / "iv/note/discharge.csv.gz", "wt") as file:
        file.write("\n".join(rows) + "\n")
    manifest = run(tmp_path / "iv", tmp_path / "out")
    # 2 is planned, 3 observation: both passed over; 4 comes after 1, 2 and 3, but within 30 days only after 3
    found = {name: value(row["readmission"]) for name, row in read_labels(tmp_path / "out").items()}
    assert found == {1: 0, 2: 0, 3: 1, 4: 1, 5: 0}
    assert manifest["admissions_dropped"] == {"died_in_hospital": 1}  # by the flag
    assert {name: row["text"] for name, row in read_rows(tmp_path / "out").items()} == {
        1: "first line an addendum",
        3: "third",
    }
    with pytest.raises(DataError, match="radiology"):
        run(tmp_path / "iv", tmp_path / "early", mode="early")
    (tmp_path / "iv/note/radiology.csv").write_text(
        rows[0] + "\n7-RR-1,7,2,RR,1,2180-02-02 07:00:00,,chest film\n7-RR-2,7,2,RR,2,2180-02-04 09:00:00,,late\n"
    )
    run(tmp_path / "iv", tmp_path / "early", mode="early", early_days=3)
    assert {name: row["text"] for name, row in read_rows(tmp_path / "early").items()} == {2: "chest film"}


def test_again_is_nothing_and_other_flags_are_refused(tables, tmp_path):
    source, options = NotesInput(str(tables)), NotesOptions(**LEGACY)
    first, done = preprocess_notes(source, options, tmp_path / "out")
    assert not done
    names = sorted(path.name for path in tmp_path.rglob("*"))
    assert names == [
        "out",
        "out.labels.csv",
        "out.manifest.json",
        "out.notes.test.parquet",
        "out.notes.train.parquet",
        "out.notes.valid.parquet",
        "out.rejects.csv",
        "out.splits.csv",
        "test.csv",
        "train.csv",
        "val.csv",
    ]
    second, done = preprocess_notes(source, options, tmp_path / "out")
    assert done and second == json.loads((tmp_path / "out.manifest.json").read_text()) == json.loads(json.dumps(first))
    with pytest.raises(DataError, match=r"mode 'discharge' -> 'early'.*--overwrite"):
        preprocess_notes(source, NotesOptions(mode="early"), tmp_path / "out")
    preprocess_notes(source, NotesOptions(mode="early"), tmp_path / "out", overwrite=True)
    assert not list((tmp_path / "out").iterdir())  # of the earlier run's folder nothing is left
    (tmp_path / "out.notes.test.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match=r"notes.test.parquet is missing or has changed"):
        preprocess_notes(source, NotesOptions(mode="early"), tmp_path / "out")
    (tmp_path / "other.labels.csv").write_text("mine")
    with pytest.raises(DataError, match="no manifest claims"):
        preprocess_notes(source, options, tmp_path / "other")


def test_a_failed_run_leaves_nothing(tmp_path):
    folder = write_tables(tmp_path / "tables")
    (folder / "NOTEEVENTS.csv").write_bytes((folder / "NOTEEVENTS.csv").read_bytes() + b'1,1,11,"2150')
    with pytest.raises(DataError, match="never closed"):
        run(folder, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["tables"]


def test_many_buckets_give_the_same_files(tmp_path, monkeypatch):
    folder = random_tables(tmp_path / "tables", 7)
    expected = run(folder, tmp_path / "a", mode="early", early_days=2), read_rows(tmp_path / "a")
    monkeypatch.setattr("medtop.notes.note_texts.BUCKET_BYTES", 2_000)
    monkeypatch.setattr("medtop.notes.outputs.ROW_GROUP_BYTES", 1_000)
    monkeypatch.setattr("medtop.notes.quoted_csv.BLOCK_BYTES", 4_096)
    with open(folder / "NOTEEVENTS.csv", "rb") as file, gzip.open(folder / "NOTEEVENTS.csv.gz", "wb") as packed:
        packed.write(file.read())
    (folder / "NOTEEVENTS.csv").unlink()
    manifest = run(folder, tmp_path / "b", mode="early", early_days=2)
    assert read_rows(tmp_path / "b") == expected[1]
    assert any(len(row["note_starts"]) > 1 for row in expected[1].values())
    assert manifest["splits"] == expected[0]["splits"]
    assert parquet.ParquetFile(f"{tmp_path}/b.notes.train.parquet").num_row_groups >= 3


def test_buckets_hold_whole_examples(monkeypatch):
    monkeypatch.setattr("medtop.notes.note_texts.BUCKET_BYTES", 10)
    examples = np.array([0, 0, 1, 2, 2, 5], np.int32)
    assert cut_buckets(examples, np.array([6, 6, 1, 9, 9, 1])).tolist() == [0, 2, 5, 6]
    assert cut_buckets(examples, np.full(6, 1)).tolist() == [0, 6]
    assert cut_buckets(examples[:0], np.zeros(0)).tolist() == [0]


def test_script(tables, tmp_path, run_script):
    process = run_script("preprocessing/preprocess_notes.py", tables, tmp_path / "out", "--dry_run")
    assert process.returncode == 0, process.stderr
    assert "dry run" in process.stdout and "died_in_hospital 1" in process.stdout and not list(tmp_path.iterdir())
    process = run_script("preprocessing/preprocess_notes.py", tables, "out", "--legacy", "--mode=early", cwd=tmp_path)
    assert process.returncode == 0 and "run_readmission.py" in process.stdout, process.stderr
    assert (tmp_path / "out/val.csv").is_file()


@pytest.mark.parametrize(
    "wrong",
    [
        "--early_days=2",
        "--legacy --cleaning=careful",
        "--observation_end=soon",
        "--mode=early --max_summary_days=1",
        "--cleaning=published --nolower_case",
    ],
)
def test_flags_that_do_not_fit(wrong, tmp_path):
    place = importlib.util.spec_from_file_location("script", ROOT / "preprocessing/preprocess_notes.py")
    module, values = importlib.util.module_from_spec(place), flags.FlagValues()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flags, "FLAGS", values)
        place.loader.exec_module(module)
        values(["script", *wrong.split()])
        with pytest.raises(DataError, match=r"^--\w+(: expected .*, (received|which) | has no effect with | needs )"):
            module.main(["script", str(tmp_path), str(tmp_path / "x")])


def test_the_demo(test_data, tmp_path):
    """MIMIC-III's open demo has admissions, and no notes below the header of NOTEEVENTS."""
    folder = tmp_path / "demo"
    folder.mkdir()
    for name in ("ADMISSIONS", "PATIENTS", "NOTEEVENTS"):
        (folder / f"{name}.csv.gz").write_bytes((test_data / f"mimic3_demo/{name}.csv.gz").read_bytes())
    with pytest.raises(DataError, match="received the header only"):
        run(folder, tmp_path / "out")
    (folder / "NOTEEVENTS.csv.gz").unlink()
    (folder / "NOTEEVENTS.csv").write_text(
        "SUBJECT_ID,HADM_ID,CHARTDATE,CATEGORY,TEXT\n10006,142345,2164-11-01,Discharge summary,text\n"
    )
    run(folder, tmp_path / "out")
    rows = duckdb.sql(f"SELECT * FROM read_csv('{folder}/ADMISSIONS.csv.gz')").fetchall()
    kept = sum(1 for row in rows if row[6] != "NEWBORN" and row[5] is None)
    assert len(read_labels(tmp_path / "out")) == kept > 80


@pytest.mark.parametrize("deaths", ["unknown", "negative"])
def test_a_stay_around_a_death_in_another_is_no_example(tmp_path, deaths):
    """MIT-LCP/mimic-code#1520: the outer stay is said to end hours after the death in the inner one."""
    folder = tmp_path / "m"
    folder.mkdir()
    admissions = ["subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,hospital_expire_flag"]
    admissions += ["1,52,2156-10-20 05:17:00,2156-10-30 08:00:00,,URGENT,0"]
    admissions += ["1,53,2156-10-29 00:01:00,2156-10-30 04:40:00,2156-10-30 04:40:00,URGENT,1"]
    admissions += ["2,60,2150-01-01 10:00:00,2150-01-09 10:00:00,,URGENT,0"]
    notes = ["note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text"]
    notes += [f"n,{row.split(',')[0]},{row.split(',')[1]},DS,1,{row.split(',')[3]},,words" for row in admissions[1:]]
    (folder / "admissions.csv").write_text("\n".join(admissions) + "\n")
    (folder / "discharge.csv").write_text("\n".join(notes) + "\n")
    manifest = run(folder, tmp_path / "out", deaths=deaths)
    assert manifest["admissions_dropped"] == {"died_in_hospital": 2} and manifest["admissions_out"] == 1
    assert manifest["source"]["counts"]["admissions_around_a_death_in_another"] == 1
