"""Notes to windows of words: how many notes a second, beside ClinicalBERT's own way, and in how much memory.

    python benchmarks/notes_preprocessing.py [--num_notes=20000] [--num_words=1500] [--rounds=1]
    python benchmarks/notes_preprocessing.py --num_notes=50000,200000 --ours_only

Both read the same ADMISSIONS and NOTEEVENTS and make labels, join, clean and cut windows of 318 words (no tokens). Ours
is `preprocess_notes.py --legacy`, which also writes the texts as Parquet, labels and splits; theirs is
`clinicalbert_preprocessing.py`. Times are those of whole processes, imports included; runs alternate. The two must give
the same windows. --ours_only shows growth and peak memory; --mode=early joins notes instead of taking one.
"""

import argparse
import csv
import datetime
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEAST_RATIO, MOST_GIB = 50, 2
WORDS = """patient was admitted to the with and of heart failure given mg daily chest pain denies shortness breath
history coronary artery disease hypertension on exam vital signs stable lungs clear auscultation bilaterally abdomen
soft non tender no edema continued home medications follow up primary care""".split()


def run(*command):
    """(seconds, CPU-seconds, peak memory in GiB) of a command that must end well."""
    begin = time.monotonic()
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))}: ended with status {status}")
    return time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def make_note(random_numbers, num_words):
    """A note in the manner of a discharge summary: marks of de-identification, lists, numbers, rules, short lines."""
    words = random_numbers.choices(WORDS, k=num_words)
    for step, word in (
        (60, "[**2101-1-%d**]"),
        (30, "4.%d"),
        (50, "\n%d. Aspirin"),
        (400, "Dr. Who, M.D. %d"),
        (300, "---------- %d"),
    ):
        for place in range(random_numbers.randrange(step), num_words, step):
            words[place] = word % random_numbers.randrange(1, 28)
    for place in range(9, num_words, 12):
        words[place] += ".\n"
    return " ".join(words)


def generate(folder, num_notes, num_words, notes_each):
    """Writes ADMISSIONS and NOTEEVENTS, `notes_each` notes an admission, in disorder; returns their bytes."""
    random_numbers = random.Random(0)
    kinds = ["Discharge summary", "Nursing", "Radiology"] if notes_each > 1 else ["Discharge summary"]
    rows = []
    with open(folder / "ADMISSIONS.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME ADMISSION_TYPE".split())
        for number in range(num_notes // notes_each):  # three admissions a patient, every fourth one planned
            admit = datetime.datetime(2100 + number // 3 % 97, 1, 1, 10) + datetime.timedelta(days=number % 3 * 25)
            discharge = admit + datetime.timedelta(days=5, hours=2)
            writer.writerow([number // 3, number, admit, discharge, "", "ELECTIVE" if number % 4 == 3 else "EMERGENCY"])
            rows += [(number, (admit if notes_each > 1 else discharge).date())] * notes_each
    random_numbers.shuffle(rows)
    notes = [make_note(random_numbers, num_words) for _ in range(200)]
    with open(folder / "NOTEEVENTS.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow("ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME CATEGORY ISERROR TEXT".split())
        for row, (number, day) in enumerate(rows):
            text = notes[row % len(notes)]
            cut = random_numbers.randrange(len(text))
            writer.writerow([row, number // 3, number, day, "", kinds[row % len(kinds)], "", text[cut:] + text[:cut]])
    return (folder / "NOTEEVENTS.csv").stat().st_size


def ours(folder, mode):
    """Our run; its outputs stay."""
    shutil.rmtree(folder / "ours", ignore_errors=True)
    (folder / "ours").mkdir()
    return run(ROOT / "preprocessing/preprocess_notes.py", folder, folder / "ours/notes", f"--mode={mode}", "--legacy")


def windows_of(paths):
    """All windows as a sorted list of (admission, label, text)."""
    rows = []
    for path in paths:
        with open(path, encoding="utf-8", newline="") as file:
            rows += [(int(float(row["ID"])), int(float(row["Label"])), row["TEXT"]) for row in csv.DictReader(file)]
    return sorted(rows)


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_notes", default="20000", help="one number, or several with --ours_only")
    parser.add_argument("--num_words", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--mode", default="discharge", choices=["discharge", "early"])
    parser.add_argument("--ours_only", action="store_true", help="growth and peak memory instead of the ratio")
    parser.add_argument("--folder", help="where to work; default: the system's temporary folder")
    options = parser.parse_args()
    for size in map(int, options.num_notes.split(",")):
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            folder = Path(name)
            content = generate(folder, size, options.num_words, 10 if options.mode == "early" else 1)
            print(f"{size:,} notes of {options.num_words:,} words, {content / 1e6:,.0f} MB, --mode={options.mode}")
            ratios = []
            for number in range(1, options.rounds + 1):
                seconds, cpu, peak = ours(folder, options.mode)
                print(
                    f"round {number}: ours {seconds:.1f} s, {cpu:.1f} CPU-s, {size / seconds:,.0f} notes/s, "
                    f"{size / cpu:,.0f} notes/CPU-s, peak {peak:.2f} GiB (under {MOST_GIB}: {peak < MOST_GIB})",
                    flush=True,
                )
                if options.ours_only:
                    continue
                theirs = run(
                    ROOT / "benchmarks/clinicalbert_preprocessing.py", folder, folder / "theirs.csv", options.mode, 3
                )
                ratios.append(theirs[0] / seconds)
                print(
                    f"round {number}: theirs {theirs[0]:.1f} s, {theirs[1]:.1f} CPU-s, "
                    f"{size / theirs[0]:,.0f} notes/s, peak {theirs[2]:.2f} GiB; "
                    f"ratio {ratios[-1]:.0f} (CPU {theirs[1] / cpu:.0f}; at least "
                    f"{LEAST_RATIO}: {ratios[-1] >= LEAST_RATIO})",
                    flush=True,
                )
            if ratios:
                same = windows_of((folder / "ours/notes").glob("*.csv")) == windows_of([folder / "theirs.csv"])
                print(f"same windows: {same}")


if __name__ == "__main__":
    main()
