"""ClinicalBERT's own way from ADMISSIONS and NOTEEVENTS to windows of words, as its published script goes, in pandas.

What `notes_preprocessing.py` compares with, and what the tests hold `--legacy` against. Written anew after the
description of the script (Huang, Altosaar, Ranganath, 2019): one cleaning call per note, one row appended per window.
Where pandas has dropped what it used, the nearest that is left stands here: `bfill` of groups for `fillna(method=)`,
`pandas.concat` for `DataFrame.append`, `str.lower` for `Series.str.lower`, which has become another function.

    python benchmarks/clinicalbert_preprocessing.py <folder> <out.csv> [discharge|early] [days]
"""

import re
import sys
from pathlib import Path

import pandas

WINDOW, SHORTEST = 318, 10


def read_admissions(folder):
    """Admissions with OUTPUT_LABEL and DURATION, newborns and deaths left out: DataFrame."""
    frame = pandas.read_csv(Path(folder) / "ADMISSIONS.csv")
    for column in ("ADMITTIME", "DISCHTIME", "DEATHTIME"):
        frame[column] = pandas.to_datetime(frame[column], format="%Y-%m-%d %H:%M:%S", errors="coerce")
    frame = frame.sort_values(["SUBJECT_ID", "ADMITTIME"]).reset_index(drop=True)
    groups = frame.groupby("SUBJECT_ID")
    frame["NEXT_ADMITTIME"] = groups["ADMITTIME"].shift(-1)
    frame.loc[groups["ADMISSION_TYPE"].shift(-1) == "ELECTIVE", "NEXT_ADMITTIME"] = pandas.NaT
    frame = frame.sort_values(["SUBJECT_ID", "ADMITTIME"])
    frame["NEXT_ADMITTIME"] = frame.groupby("SUBJECT_ID")["NEXT_ADMITTIME"].bfill()
    days = (frame["NEXT_ADMITTIME"] - frame["DISCHTIME"]).dt.total_seconds() / 86_400
    frame["OUTPUT_LABEL"] = (days < 30).astype(int)
    frame["DURATION"] = (frame["DISCHTIME"] - frame["ADMITTIME"]).dt.total_seconds() / 86_400
    return frame[(frame["ADMISSION_TYPE"] != "NEWBORN") & frame["DEATHTIME"].isna()]


def join_notes(admissions, folder):
    """Admissions with each of their notes: DataFrame."""
    notes = pandas.read_csv(Path(folder) / "NOTEEVENTS.csv", dtype={"TEXT": object})
    notes = notes.sort_values(by=["SUBJECT_ID", "HADM_ID", "CHARTDATE"])
    joined = admissions.merge(
        notes[["SUBJECT_ID", "HADM_ID", "CHARTDATE", "TEXT", "CATEGORY"]], on=["SUBJECT_ID", "HADM_ID"], how="left"
    )
    joined["CHARTDATE"] = pandas.to_datetime(joined["CHARTDATE"], format="%Y-%m-%d", errors="coerce")
    return joined


def discharge_texts(joined):
    """The last discharge summary of each admission: DataFrame HADM_ID, TEXT, OUTPUT_LABEL."""
    summaries = joined[joined["CATEGORY"] == "Discharge summary"]
    last = summaries.groupby(["SUBJECT_ID", "HADM_ID"]).nth(-1).reset_index()
    return last[last["TEXT"].notna()][["HADM_ID", "TEXT", "OUTPUT_LABEL"]].copy()


def early_texts(joined, days):
    """The joined notes of each admission's first days: DataFrame HADM_ID, TEXT, OUTPUT_LABEL."""
    since = (joined["CHARTDATE"] - joined["ADMITTIME"].dt.normalize()).dt.total_seconds() / 86_400
    early = joined[(since < days) & joined["TEXT"].notna()]
    texts = pandas.DataFrame(early.groupby("HADM_ID")["TEXT"].apply(lambda group: " ".join(group))).reset_index()
    texts["OUTPUT_LABEL"] = texts["HADM_ID"].apply(lambda name: early[early["HADM_ID"] == name].OUTPUT_LABEL.values[0])
    return texts


def clean(text):
    """One text, cleaned in the published order."""
    text = re.sub(r"\[(.*?)\]", "", text)
    text = re.sub(r"[0-9]+\.", "", text)
    text = re.sub(r"dr\.", "doctor", text)
    text = re.sub(r"m\.d\.", "md", text)
    text = re.sub("admission date:", "", text)
    text = re.sub("discharge date:", "", text)
    return re.sub("--|__|==", "", text)


def cut_windows(texts):
    """Windows of 318 words, one row appended at a time: DataFrame TEXT, ID, Label."""
    texts["TEXT"] = texts["TEXT"].str.replace("\n", " ", regex=False).str.replace("\r", " ", regex=False)
    texts["TEXT"] = texts["TEXT"].apply(str.strip).apply(str.lower).apply(clean)
    windows = pandas.DataFrame({"TEXT": [], "ID": [], "Label": []})

    def append(words, row):
        new = {"TEXT": " ".join(words), "ID": texts["HADM_ID"].iloc[row], "Label": texts["OUTPUT_LABEL"].iloc[row]}
        return pandas.concat([windows, pandas.DataFrame([new])], ignore_index=True)

    for row in range(len(texts)):
        words = texts["TEXT"].iloc[row].split()
        for number in range(len(words) // WINDOW):
            windows = append(words[number * WINDOW : (number + 1) * WINDOW], row)
        if len(words) % WINDOW > SHORTEST:
            windows = append(words[-(len(words) % WINDOW) :], row)
    return windows


def main():
    """Reads a folder, writes one CSV of windows."""
    folder, output, *rest = sys.argv[1:]
    joined = join_notes(read_admissions(folder), folder)
    texts = early_texts(joined, int(rest[1])) if rest[:1] == ["early"] else discharge_texts(joined)
    cut_windows(texts).to_csv(output, index=False)


if __name__ == "__main__":
    main()
