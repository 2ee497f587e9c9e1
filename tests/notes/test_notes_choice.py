"""Which notes are read, through the script: addenda, notes of another stay's time, copies. Texts worked out by hand."""

import csv
import json

import pyarrow.parquet as parquet
import pytest

SCRIPT = "preprocessing/preprocess_notes.py"
HEADER = "SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,CATEGORY,DESCRIPTION,ISERROR,TEXT".split(",")


def write_tables(folder, notes, admissions=(), header=HEADER):
    """Two stays of patient 1 (10 January to 14, 2 March to 5) and one of patient 2, with notes."""
    folder.mkdir()
    stays = [
        (1, 11, "2150-01-10 08:00:00", "2150-01-14 12:00:00", "", "EMERGENCY"),
        (1, 12, "2150-01-18 08:00:00", "2150-01-20 12:00:00", "", "EMERGENCY"),
        (2, 21, "2150-05-01 08:00:00", "2150-05-09 12:00:00", "", "EMERGENCY"),
        *admissions,
    ]
    with open(folder / "ADMISSIONS.csv", "w", newline="") as file:
        csv.writer(file).writerows(["SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME ADMISSION_TYPE".split(), *stays])
    with open(folder / "NOTEEVENTS.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *notes])
    return folder


def summary(admission, day, text, kind="Report", time=""):
    return (admission // 10, admission, day, time, "Discharge summary", kind, "", text)


def nursing(admission, time, text):
    return (admission // 10, admission, time[:10], time, "Nursing", "Report", "", text)


@pytest.fixture
def texts(tmp_path, run_script):
    """A function: (notes, flags) -> (dict admission -> row, manifest, screen)."""

    def run(notes, *flags, **tables):
        folder = write_tables(tmp_path / "raw", notes, **tables)
        process = run_script(SCRIPT, folder, tmp_path / "out", "--splits=train", *flags)
        assert process.returncode == 0, process.stderr
        rows = parquet.read_table(tmp_path / "out.notes.train.parquet").to_pylist()
        manifest = json.loads((tmp_path / "out.manifest.json").read_text())
        assert manifest["rows_in"] == manifest["rows_out"] + manifest["rows_merged"] + sum(
            manifest["rows_dropped"].values()
        )
        return {int(row["admission_id"]): row for row in rows}, manifest, process.stdout

    return run


ADDENDA = [
    summary(11, "2150-01-16", "second addendum", "Addendum"),
    summary(11, "2150-01-14", "the summary"),
    summary(11, "2150-01-14", "first addendum", "ADDENDUM "),
    summary(21, "2150-05-09", "an addendum alone", "Addendum"),
    summary(12, "2150-01-19", "draft"),
    summary(12, "2150-01-20", "final"),
]


def test_a_summary_is_read_with_its_addenda_in_the_order_of_time(texts):
    rows, manifest, screen = texts(ADDENDA)
    assert {name: row["text"] for name, row in rows.items()} == {
        11: "the summary first addendum second addendum",
        12: "final",
    }
    assert rows[11]["note_starts"] == [0, 12, 27] and len(rows[11]["note_times"]) == 3
    assert manifest["rows_dropped"] == {"addendum_without_summary": 1, "earlier_discharge_summary": 1}
    assert manifest["source"]["counts"]["addenda_read"] == 2 and "addendum_without_summary 1" in screen


def test_legacy_takes_the_last_row(texts):
    rows, _, _ = texts(ADDENDA, "--legacy")
    assert {name: row["text"] for name, row in rows.items()} == {
        11: "second addendum",
        12: "final",
        21: "an addendum alone",
    }


def test_without_a_description_the_screen_says_that_addenda_cannot_be_told(texts):
    place = HEADER.index("DESCRIPTION")
    notes = [note[:place] + note[place + 1 :] for note in ADDENDA]
    rows, _, screen = texts(notes, header=[name for name in HEADER if name != "DESCRIPTION"])
    assert rows[11]["text"] == "second addendum" and "addenda cannot be told from summaries" in screen


def test_what_is_charted_after_the_next_admission_is_not_read(texts):
    notes = [
        summary(11, "2150-01-18", "charted on the day of the next admission"),
        summary(11, "2150-01-17", "before it"),
        summary(11, "2150-02-01", "an addendum after it", "Addendum"),
        summary(12, "2150-01-29", "nine days late"),
        summary(12, "2150-01-22", "two days late"),
        summary(12, "2149-03-01", "of a stay of the year before", "Addendum"),
        summary(21, "2153-05-01", "years later"),
    ]
    rows, manifest, screen = texts(notes)
    assert {name: row["text"] for name, row in rows.items()} == {11: "before it", 12: "two days late"}
    assert manifest["rows_dropped"] == {
        "charted_after_next_admission": 2,
        "charted_long_after_discharge": 2,
        "charted_long_before_admission": 1,
    }
    assert "charted_after_next_admission 2" in screen


def test_the_limits_are_flags_but_never_beyond_the_next_admission(texts):
    notes = [
        summary(11, "2150-01-19", "after the next admission"),
        summary(12, "2150-01-29", "nine days late"),
        summary(21, "2150-04-20", "eleven days early"),
    ]
    rows, _, _ = texts(notes, "--max_summary_days=9", "--max_days_before=11")
    assert {name: row["text"] for name, row in rows.items()} == {12: "nine days late", 21: "eleven days early"}


@pytest.mark.parametrize("time, read", [("", True), ("2150-01-14 17:59:00", True), ("2150-01-14 18:00:00", False)])
def test_on_the_day_of_discharge_the_hour_decides(texts, time, read):
    """Back on the day of the discharge: a summary of that day without an hour counts as written at the discharge."""
    back = [(1, 13, "2150-01-14 18:00:00", "2150-01-16 08:00:00", "", "URGENT")]
    rows, _, _ = texts([summary(11, "2150-01-14", "summary", time=time), ADDENDA[-1]], admissions=back)
    assert (11 in rows) == read and rows[12]["text"] == "final"


def test_notes_of_long_before_the_stay_are_no_early_notes(texts):
    notes = [
        nursing(21, "2149-04-30 09:00:00", "a year before"),
        nursing(21, "2150-04-23 09:00:00", "eight days before"),
        nursing(21, "2150-04-24 09:00:00", "seven days before"),
        nursing(21, "2150-05-02 09:00:00", "second day"),
    ]
    rows, manifest, _ = texts(notes, "--mode=early")
    assert rows[21]["text"] == "seven days before second day"
    assert manifest["rows_dropped"] == {"charted_long_before_admission": 2}


LONG = "the patient slept well and had no pain at all during the night while on two liters of oxygen"
COPIES = [
    nursing(21, "2150-05-01 09:00:00", LONG + "."),
    nursing(21, "2150-05-02 09:00:00", LONG.upper() + " "),
    nursing(21, "2150-05-02 10:00:00", f"{LONG} bp"),
    nursing(21, "2150-05-02 11:00:00", f"{LONG} and then he developed chest pain with a new oxygen requirement"),
    nursing(11, "2150-01-10 10:00:00", f"{LONG}"),
]


@pytest.mark.parametrize(
    "drop, kept, counted", [("none", 4, {}), ("exact", 3, {"exact": 1}), ("near", 2, {"exact": 1, "near": 1})]
)
def test_copied_notes(texts, drop, kept, counted):
    rows, manifest, screen = texts(COPIES, "--mode=early", f"--drop_copied={drop}")
    assert len(rows[21]["note_starts"]) == kept and rows[11]["text"] == LONG  # of another admission: no copy
    assert "oxygen requirement" in rows[21]["text"]
    counts = manifest["source"]["counts"]
    assert {kind: counts[f"notes_copied_{kind}"] for kind in counted} == counted
    assert manifest["rows_merged"] == sum(counted.values())
    assert all(f"notes_copied_{kind} 1" in screen for kind in counted)


def test_a_carriage_return_alone_begins_a_line(texts):
    rows, _, _ = texts([summary(21, "2150-05-09", "Drugs:\r1. Aspirin 4.5 mg\r2. Iron")])
    assert rows[21]["text"] == "drugs:  aspirin 4.5 mg  iron"


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--mode=early --max_summary_days=7", "--max_summary_days has no effect with --mode=early"),
        ("--legacy --max_days_before=3", "--max_days_before has no effect with --legacy"),
        ("--legacy --drop_copied=near", "--drop_copied has no effect with --legacy"),
        ("--max_summary_days=-1", "--max_summary_days: expected"),
    ],
)
def test_flags_without_effect_are_refused(tmp_path, run_script, flags, message):
    folder = write_tables(tmp_path / "raw", ADDENDA)
    process = run_script(SCRIPT, folder, tmp_path / "out", *flags.split())
    assert process.returncode == 1 and message in process.stderr and process.stderr.count("\n") == 1


def test_a_note_without_a_word_is_no_text(texts):
    rows, manifest, _ = texts([summary(21, "2150-05-09", "-- ___ ... *"), *ADDENDA[:3]])
    assert set(rows) == {11} and manifest["splits"]["train"]["empty_after_cleaning"] == 1
