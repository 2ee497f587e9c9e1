"""A pair of tables ADMISSIONS and NOTEEVENTS, written by hand, with every case that the rules decide.

Labels: E an emergency or urgent admission, P a planned (ELECTIVE) one. Beside each admission stands what follows from
the rules, worked out by hand: prediction is at discharge, a readmission begins less than 30 days later.
"""

import csv

ADMISSIONS = """SUBJECT_ID,HADM_ID,ADMITTIME,DISCHTIME,DEATHTIME,ADMISSION_TYPE
1,11,2150-01-01 10:00:00,2150-01-05 12:00:00,,EMERGENCY
1,12,2150-01-20 10:00:00,2150-01-25 12:00:00,,ELECTIVE
1,13,2150-02-02 10:00:00,2150-02-05 12:00:00,,URGENT
2,21,2150-01-01 00:00:00,2150-01-03 00:00:00,,NEWBORN
2,22,2150-01-10 00:00:00,2150-01-12 00:00:00,,EMERGENCY
3,31,2150-01-01 08:00:00,2150-01-04 12:00:00,,EMERGENCY
3,32,2150-01-04 18:00:00,2150-01-09 12:00:00,,EMERGENCY
4,41,2150-01-01 08:00:00,2150-01-10 12:00:00,,EMERGENCY
4,42,2150-01-06 08:00:00,2150-01-20 12:00:00,,EMERGENCY
4,43,2150-03-01 08:00:00,2150-03-05 12:00:00,,EMERGENCY
5,51,2150-01-01 08:00:00,2150-01-05 08:00:00,,EMERGENCY
5,52,2150-01-25 08:00:00,2150-01-30 08:00:00,2150-01-30 08:00:00,EMERGENCY
6,61,2150-01-01 08:00:00,2150-01-05 08:00:00,,EMERGENCY
7,71,2150-01-01 08:00:00,2150-01-05 08:00:00,,EMERGENCY
7,72,2150-02-04 08:00:00,2150-02-09 08:00:00,,EMERGENCY
8,81,2150-01-01 08:00:00,2150-01-10 08:00:00,,EMERGENCY
8,82,2150-01-03 08:00:00,2150-01-05 08:00:00,,EMERGENCY
9,91,2150-01-01 08:00:00,2150-01-05 08:00:00,,EMERGENCY
9,92,2150-01-05 08:00:00,2150-01-09 08:00:00,,EMERGENCY
10,101,2150-01-01 08:00:00,2150-01-05 08:00:00,,ELECTIVE
10,102,2150-01-15 08:00:00,2150-01-16 08:00:00,,ELECTIVE
11,111,2150-01-01 08:00:00,2150-01-05 08:00:00,,EMERGENCY
11,112,2150-01-05 08:00:00,2150-01-05 08:00:00,,EMERGENCY
12,121,2150-01-01 08:00:00,2150-01-04 08:00:00,,EMERGENCY
13,131,2150-01-01 08:00:00,2150-01-04 08:00:00,,EMERGENCY
13,132,2150-01-12 08:00:00,2150-01-14 08:00:00,,EMERGENCY
"""
"""1: the elective next one is passed over. 2: newborn. 3: back on the same day. 4: overlapping stays. 5: death in the
next stay. 6: death at home (PATIENTS). 7: exactly 30 days. 8: a stay within a stay. 9: at the very instant of the
discharge. 10: only elective ones. 11: one of no length, at that instant. 12: three days to the second, and
a day of death before the discharge. 13: an admission after death."""

PATIENTS = """SUBJECT_ID,GENDER,DOB,DOD
5,F,2080-01-01 00:00:00,2150-01-30 00:00:00
6,M,2080-01-01 00:00:00,2150-01-20 00:00:00
12,M,2080-01-01 00:00:00,2150-01-02 00:00:00
13,M,2080-01-01 00:00:00,2150-01-10 00:00:00
"""

LABELS = {  # admission -> label (None: unknown), or why it is no example
    11: 1,  # 12 is planned; 13 begins 27.9 days after the discharge
    12: 1,
    13: 0,
    21: "newborn",
    22: 0,
    31: 1,  # 6 hours later
    32: 0,
    41: None,  # in stay 42 when discharged
    42: 0,  # 43 begins 39.8 days later
    43: 0,
    51: 1,
    52: "died_in_hospital",
    61: None,  # died at home on day 15
    71: 0,  # 30 days to the second
    72: 0,
    81: 0,  # 82 lies within it, nothing follows
    82: None,  # in stay 81 when discharged
    91: None,  # 92 begins at that instant: a transfer
    92: 0,
    101: 0,
    102: 0,
    111: 0,  # 112 does not begin after it
    112: "same_prediction_time",
    121: "death_before_prediction_time",
    131: None,  # 132 is no readmission: the patient was dead
    132: "admission_after_death",
}
REASONS = {
    41: "in_other_stay_at_discharge",
    61: "death_without_readmission",
    82: "in_other_stay_at_discharge",
    91: "in_other_stay_at_discharge",
    131: "death_without_readmission",
}

LEGACY_LABELS = LABELS | {
    41: 1,  # a gap of -4.2 days is less than 30
    61: 0,  # deaths at home are not looked at
    81: 1,  # the next row is 82: -7 days
    82: 0,
    91: 1,  # 0 days
    111: 1,  # 0 days
    112: 0,
    121: 0,
    131: 1,
    132: 0,
}

NOTES = [  # HADM_ID, CHARTDATE, CHARTTIME, CATEGORY, ISERROR, TEXT, in an order of its own
    (
        11,
        "2150-01-06",
        "",
        "Discharge summary",
        "",
        "[**2150-1-6**] Second  Summary:\n1. Aspirin 4.5 mg\nDr. Who, M.D.",
    ),
    (11, "2150-01-05", "", "Discharge summary", "", "first summary"),
    (11, "2150-01-01", "2150-01-01 12:00:00", "Nursing", "", "arrived with pain"),
    (11, "2149-12-31", "2149-12-31 23:00:00", "Radiology", "", "before the admission"),
    (11, "2150-01-03", "2150-01-03 09:00:00", "Nursing", "1", "wrong patient"),
    (11, "2150-01-03", "2150-01-03 09:30:00", "Nursing", "", "third day"),
    (11, "2150-01-04", "2150-01-04 10:00:00", "Nursing", "", "at the hour"),
    (11, "2150-01-04", "2150-01-04 10:00:01", "Nursing", "", "a second late"),
    (11, "2150-01-03", "", "Echo", "", "echo without an hour"),
    (12, "2150-01-25", "", "Discharge summary", "", "planned stay"),
    (13, "2150-02-05", "", "Discharge summary", "1", "marked as an error"),
    (13, "2150-02-04", "", "Discharge summary", "", "the one before it"),
    (21, "2150-01-03", "", "Discharge summary", "", "newborn summary"),
    (31, "2150-01-04", "", "Discharge summary", "", "[open\n--- bracket K 4.5]"),
    (32, "2150-01-09", "", "Discharge summary", "", "  \n "),
    (32, "2150-01-08", "", "Discharge summary", "", "not empty"),
    (41, "2150-01-10", "", "Discharge summary", "", "Admission Date: x Discharge Date: y"),
    (52, "2150-01-30", "", "Discharge summary", "", "died"),
    (61, "2150-01-05", "", "discharge summary", "", "other letters"),
    ("", "2150-01-05", "", "Discharge summary", "", "no admission"),
    (999, "2150-01-05", "", "Discharge summary", "", "unknown admission"),
]

TEXTS = {  # --mode=discharge
    11: "second  summary:  aspirin 4.5 mg doctor who, md",
    12: "planned stay",
    13: "the one before it",
    31: "[open   bracket k 4.5]",
    32: "not empty",
    41: "x  y",
    61: "other letters",
}
LEGACY_TEXTS = {
    11: " second  summary:  aspirin 5 mg doctor who, md",
    12: "planned stay",
    13: "marked as an error",
    31: "",
    41: " x  y",
}  # 32: the last summary is blank; 61: "discharge summary" is not "Discharge summary"

EARLY_TEXTS = {11: "before the admission arrived with pain third day echo without an hour at the hour"}
EARLY_STARTS = {11: [0, 21, 39, 49, 70]}
LEGACY_EARLY_TEXTS = {
    11: "before the admission arrived with pain wrong patient third day echo without an hour",
    13: "the one before it",  # a discharge summary of the third day
}
"""--mode=early --early_days=3. Stay 11: prediction on 4 January at 10:00. Legacy: days before the fourth of the stay,
in file order within a day. Everything else is a discharge summary, for legacy one of a later day."""

ENDED_IN_THREE_DAYS = {22, 82, 102, 112, 131}
"""2, 2, 1, 0 and 3 days long; 13 lasts 3 days and 2 hours."""

HEADER = [
    "ROW_ID",
    "SUBJECT_ID",
    "HADM_ID",
    "CHARTDATE",
    "CHARTTIME",
    "STORETIME",
    "CATEGORY",
    "DESCRIPTION",
    "CGID",
    "ISERROR",
    "TEXT",
]


def subject_of(admission):
    """The patient of an admission of the tables above; 6 where it is unknown."""
    return 6 if admission in ("", 999) else admission // 10


def write_notes(path, notes):
    """Writes NOTEEVENTS; `notes` as in `NOTES`."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for row, (admission, day, time, category, error, text) in enumerate(notes, 1):
            writer.writerow([row, subject_of(admission), admission, day, time, "", category, "Report", "", error, text])


def write_tables(folder):
    """Writes the three tables into a folder (made when missing); returns it."""
    folder.mkdir(exist_ok=True)
    (folder / "ADMISSIONS.csv").write_text(ADMISSIONS)
    (folder / "PATIENTS.csv").write_text(PATIENTS)
    write_notes(folder / "NOTEEVENTS.csv", NOTES)
    return folder
