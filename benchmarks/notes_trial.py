"""Repeats the trial of notes on other texts: labels, discharge and early texts, and windows, against independent code.

Tables come from `make_synthetic_notes.py`, and, with --open_notes (any table of texts), from random stays that overlap,
touch, repeat and end in death, whose notes hold texts that nobody tuned to. Each runs through `preprocess_notes.py`;
every label and text is compared with the rules of docs/notes.md in plain Python (tests/oracles), and every window of
--legacy with ClinicalBERT's own way in pandas (clinicalbert_preprocessing.py). One line each: what was compared, how
many, how many differ; exit code 1 where any does.

Example:
  python benchmarks/notes_trial.py --work_dir=checkpoints/notes_trial --open_notes=note.csv.gz --seeds=1,2
"""

import collections
import csv
import dataclasses
import datetime
import importlib.util
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "oracles")]

import pyarrow.parquet as parquet  # noqa: E402
from note_cleaning_rules import carefully_cleaned  # noqa: E402
from notes_rules import discharge_notes, early_notes, examples, label  # noqa: E402

from medtop.cli import commands, flags  # noqa: E402
from medtop.corpus.documents import TextSource, read_batches  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.files.options import REQUIRED, at_least, option  # noqa: E402
from medtop.text.cleaning import has_word  # noqa: E402

EARLY_DAYS = 2
START = datetime.datetime(2150, 1, 1, 8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Which tables."""

    work_dir: str = option(REQUIRED, "New folder for tables and outputs.")
    open_notes: str = option("", "A table of texts (.csv, .csv.gz, .parquet), such as MTSamples'.")
    num_patients: int = option(200, "Patients of each set.", rule=at_least(10))
    seeds: tuple[int, ...] = option((1,), "Of the tables.")


flags.define(Options)


def open_tables(folder, path, patients, seed):
    """Writes ADMISSIONS, PATIENTS and NOTEEVENTS: random stays, and notes whose texts are those of a table."""
    rng, texts = random.Random(seed), []
    for batch in read_batches(TextSource("", [Path(path)]), collections.Counter()):
        texts += [document.text for document in batch]
    if not texts:
        raise DataError(f"{path}: expected texts, received none")
    folder.mkdir(parents=True)
    admissions, notes, people = [], [], []
    for patient in range(1, patients + 1):
        died = START + datetime.timedelta(days=rng.randrange(60, 200)) if rng.random() < 0.15 else None
        people.append((patient, died.date() if died else ""))
        for number in range(rng.randrange(1, 5)):
            admit = START + datetime.timedelta(hours=rng.randrange(100 * 24))
            discharge = admit + datetime.timedelta(hours=rng.choice([5, 30, 60, 100, 200]))
            kind = rng.choice(["EMERGENCY", "URGENT", "ELECTIVE", "NEWBORN"])
            name = patient * 10 + number
            admissions.append((patient, name, admit, discharge, "", kind))
            for _ in range(rng.randrange(7)):
                hours = rng.choice([-400, -40, -5, 0, 3, 9, 30, 150, 190, 700])
                moment = rng.choice([admit, discharge, discharge]) + datetime.timedelta(hours=hours)
                category = rng.choice(["Discharge summary", "Discharge summary", "Nursing", "ECG"])
                about = (category, rng.choice(["Report", "Report", "Addendum"]), rng.choice(["", "", "", "", 1]))
                time = moment if rng.random() < 0.5 else ""
                notes.append((patient, name, moment.date(), time, *about, rng.choice(texts)))
    rng.shuffle(notes)
    _write(folder / "ADMISSIONS.csv", "SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME ADMISSION_TYPE", admissions)
    _write(folder / "PATIENTS.csv", "SUBJECT_ID DOD", people)
    header = "SUBJECT_ID HADM_ID CHARTDATE CHARTTIME CATEGORY DESCRIPTION ISERROR TEXT"
    _write(folder / "NOTEEVENTS.csv", header, notes)


def _write(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(), *rows])


def _rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _moment(text):
    return datetime.datetime.fromisoformat(text) if text else None


def read_tables(folder):
    """(stays, notes, deaths) as tests/oracles/notes_rules.py takes them."""
    stays = [
        {
            "patient": row["SUBJECT_ID"],
            "admission": row["HADM_ID"],
            "admit": _moment(row["ADMITTIME"]),
            "discharge": _moment(row["DISCHTIME"]),
            "kind": row["ADMISSION_TYPE"],
            "died": bool(row["DEATHTIME"]) or row.get("HOSPITAL_EXPIRE_FLAG") == "1",
        }
        for row in _rows(folder / "ADMISSIONS.csv")
    ]
    notes = [
        {
            "admission": row["HADM_ID"],
            "day": _moment(row["CHARTDATE"][:10]).date(),
            "time": _moment(row["CHARTTIME"]),
            "category": row["CATEGORY"],
            "description": row["DESCRIPTION"],
            "error": row["ISERROR"] == "1",
            "text": row["TEXT"],
            "row": number,
        }
        for number, row in enumerate(_rows(folder / "NOTEEVENTS.csv"))
    ]
    deaths = {
        row["SUBJECT_ID"]: _moment(row["DOD"][:10]).date() for row in _rows(folder / "PATIENTS.csv") if row["DOD"]
    }
    for row in _rows(folder / "ADMISSIONS.csv"):
        if row["DEATHTIME"]:
            deaths.setdefault(row["SUBJECT_ID"], _moment(row["DEATHTIME"]).date())
    return stays, notes, deaths


def run(folder, prefix, *arguments):
    """preprocess_notes.py on the tables; its output goes to standard error."""
    script = [sys.executable, str(ROOT / "preprocessing/preprocess_notes.py"), str(folder), str(prefix)]
    subprocess.run([*script, *arguments], check=True, stdout=sys.stderr)


def differing(expected, received):
    """How many keys of two dicts have different values, or stand in one alone."""
    return sum(expected.get(key) != received.get(key) for key in {*expected, *received})


def by_the_page(folder, prefix, mode):
    """Yields (what, compared, differing) of the default rules."""
    early = ("--mode=early", f"--early_days={EARLY_DAYS}") if mode == "early" else ()
    run(folder, prefix, f"--mode={mode}", *early[1:])
    stays, notes, deaths = read_tables(folder)
    by_name, of_stay = {stay["admission"]: stay for stay in stays}, {}
    by_patient = {}
    for stay in stays:
        by_patient.setdefault(stay["patient"], []).append(stay)
    for note in notes:
        of_stay.setdefault(note["admission"], []).append(note)
    received = {row["admission_id"]: row["readmission"] for row in _rows(f"{prefix}.labels.csv")}
    expected = {}
    for stay in examples(stays, deaths, EARLY_DAYS if mode == "early" else None):
        value = label(by_patient[stay["patient"]], stay, deaths=deaths)
        expected[stay["admission"]] = "" if value is None else str(value)
    yield f"{mode}: labels", len(expected), differing(expected, received)
    texts = {}
    for split in ("train", "valid", "test"):
        for row in parquet.read_table(f"{prefix}.notes.{split}.parquet").to_pylist():
            texts[row["admission_id"]] = row["text"]
    wanted = {}
    for name in received:
        stay, own = by_name[name], of_stay.get(name, [])
        if mode == "early":
            read = early_notes(stay, own, EARLY_DAYS)
        else:
            read = discharge_notes(by_patient[stay["patient"]], stay, own)
        cleaned = [carefully_cleaned(note["text"]) for note in read or []]
        if joined := " ".join(text for text in cleaned if has_word(text)):
            wanted[name] = joined
    yield f"{mode}: texts", len(wanted), differing(wanted, texts)


def by_clinicalbert(folder, prefix, mode):
    """Yields (what, compared, differing) of --legacy."""
    run(folder, prefix, "--legacy", f"--mode={mode}", *([f"--early_days={EARLY_DAYS}"] if mode == "early" else []))
    path = ROOT / "benchmarks" / "clinicalbert_preprocessing.py"  # a program of its own: loaded by its path
    spec = importlib.util.spec_from_file_location(path.stem, path)
    clinicalbert = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(clinicalbert)
    admissions = clinicalbert.read_admissions(folder)
    expected = {str(a): str(b) for a, b in zip(admissions["HADM_ID"], admissions["OUTPUT_LABEL"], strict=True)}
    received = {row["admission_id"]: row["readmission"] for row in _rows(f"{prefix}.labels.csv")}
    yield f"{mode}, legacy: labels", len(expected), differing(expected, received)
    joined = clinicalbert.join_notes(admissions, folder)
    texts = (
        clinicalbert.discharge_texts(joined) if mode == "discharge" else clinicalbert.early_texts(joined, EARLY_DAYS)
    )
    windows = clinicalbert.cut_windows(texts)
    rows = zip(windows["ID"].astype(int), windows["Label"].astype(int), windows["TEXT"], strict=True)
    theirs = collections.Counter((str(name), str(value), text) for name, value, text in rows)
    if mode == "early":  # its test set leaves out stays that had ended
        ended = {
            str(name)
            for name, days in zip(admissions["HADM_ID"], admissions["DURATION"], strict=True)
            if days < EARLY_DAYS
        }
        splits = {row["patient_id"]: row["split"] for row in _rows(f"{prefix}.splits.csv")}
        patients = dict(zip(admissions["HADM_ID"].astype(str), admissions["SUBJECT_ID"].astype(str), strict=True))
        gone = {name for name in ended if splits[patients[name]] == "test"}
        theirs = collections.Counter({row: count for row, count in theirs.items() if row[0] not in gone})
    ours = collections.Counter()
    for split in ("train", "val", "test"):
        ours.update((row["ID"], row["Label"], row["TEXT"]) for row in _rows(Path(prefix) / f"{split}.csv"))
    yield f"{mode}, legacy: windows", theirs.total(), (theirs - ours).total() + (ours - theirs).total()


def generated_labels(folder, prefix):
    """(what, compared, differing): labels of the discharge against what the generator says of its own."""
    truth = {row["admission_id"]: row["readmission"] for row in _rows(folder / "true_risk.csv")}
    received = {row["admission_id"]: row["readmission"] for row in _rows(f"{prefix}.labels.csv")}
    both = truth.keys() & received.keys()
    return "discharge: labels, the generator's own", len(both), sum(truth[name] != received[name] for name in both)


def main(_):
    """Makes the tables, compares, prints a line each."""
    options, bad = flags.read(Options), 0
    csv.field_size_limit(1 << 30)
    work = Path(options.work_dir)
    if work.exists():
        raise DataError(f"--work_dir: expected a new folder, found one: {work}")
    print(f"{'tables':12} {'seed':>4} {'what':38} {'compared':>9} {'differ':>7}")
    for seed in options.seeds:
        sets = {"generated": work / f"generated_{seed}"}
        script = [sys.executable, str(ROOT / "preprocessing/make_synthetic_notes.py")]
        flags_of = [f"--output_dir={sets['generated']}", f"--num_patients={options.num_patients}", f"--seed={seed}"]
        subprocess.run([*script, *flags_of], check=True, stdout=sys.stderr)
        if options.open_notes:
            sets["open"] = work / f"open_{seed}"
            open_tables(sets["open"], options.open_notes, options.num_patients, seed)
        for name, folder in sets.items():
            lines = []
            for mode in ("discharge", "early"):
                lines += by_the_page(folder, f"{folder}_{mode}", mode)
                lines += by_clinicalbert(folder, f"{folder}_{mode}_legacy", mode)
            if name == "generated":
                lines.append(generated_labels(folder, f"{folder}_discharge"))
            for what, compared, differ in lines:
                print(f"{name:12} {seed:4} {what:38} {compared:9} {differ:7}", flush=True)
                bad += differ
    return 1 if bad else 0


if __name__ == "__main__":
    commands.run(main)
