"""New notes scored by a finished run: the same risk as its evaluation gave, the windows that drove it, day by day."""

import csv
import dataclasses
import gzip

import numpy as np
import pyarrow.parquet as parquet
import pytest
from notes_data import finished_readmission

from medtop.evaluation.aggregation import read_aggregation
from medtop.evaluation.calibration import read_calibrations
from medtop.evaluation.predictions import logit, sigmoid
from medtop.files.errors import DataError
from medtop.readmission.files import timeline_panels, write_risks, write_timeline
from medtop.readmission.input import Note, read_notes, read_stays, stays_of_notes
from medtop.readmission.score import Moment, NoteScorer, Stay
from medtop.readmission.stay_facts import StayFacts


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(run_script):
    """A finished run on generated notes, with a calibration."""
    return finished_readmission(run_script)[0]


@pytest.fixture(scope="module")
def scorer(folder):
    return NoteScorer(folder / "run", batch_size=5)


@pytest.fixture(scope="module")
def rounding(folder):
    """What float32 logits of other batches may do to a risk: calibration multiplies their last digits by its slope."""
    return 1e-6 * max(
        1.0, read_calibrations(folder / "run/calibration.json")["readmission"].labels["readmission"].slope
    )


def test_the_risk_is_that_of_the_evaluation(folder, scorer, rounding):
    evaluated = {row["admission_id"]: row for row in rows_of(folder / "run/restricted/readmission_predictions.csv")}
    stays = list(read_stays(folder / "n.notes.test.parquet", Stay))
    scored = scorer.score([stay.text for stay in stays])
    assert len(stays) == len(evaluated) > 15 and np.ptp(scored.probabilities) > 0
    for row, stay in enumerate(stays):
        expected = evaluated[stay.admission_id]
        assert scored.probabilities[row, 0] == pytest.approx(float(expected["probability"]), abs=10 * rounding)
        assert (scored.texts == row).sum() == int(expected["windows"])


def test_windows_add_up_to_the_risk(folder, scorer, rounding):
    """The published formula on the window probabilities, then the run's calibration, gives the risk."""
    stays = list(read_stays(folder / "n.notes.test.parquet", Stay))
    scored = scorer.score([stay.text for stay in stays])
    c = read_aggregation(folder / "run/aggregation.json").c
    entry = read_calibrations(folder / "run/calibration.json")["readmission"].labels["readmission"]
    assert entry.reason is None and abs(entry.slope - 1) + abs(entry.intercept) > 0.01, "one that does something"
    for row, stay in enumerate(stays):
        mine = scored.texts == row
        found, n = scored.window_probabilities[mine, 0], mine.sum()
        joint = (found.max() + found.mean() * n / c) / (1 + n / c)
        risk = sigmoid(entry.slope * logit(joint) + entry.intercept)
        assert scored.probabilities[row, 0] == pytest.approx(risk, abs=rounding)
        assert scored.shares[mine, 0].sum() == pytest.approx(1)
        assert scored.numbers[mine].tolist() == list(range(n)) and scored.starts[mine][0] == 0
        assert scored.ends[mine][-1] == len(stay.text)
        drivers = scored.drivers(row)
        assert len(drivers) == min(3, n) and drivers[0] == np.flatnonzero(mine)[np.argmax(found)]


def test_a_timeline_is_the_risk_of_each_beginning(folder, scorer, rounding):
    notes = read_notes(folder / "raw/NOTEEVENTS.csv", need_times=True)
    stays = [stay for stay in stays_of_notes(notes, scorer.clean, Stay) if len(stay.starts) > 2][:3]
    moments = scorer.timeline(stays)
    assert len(moments) == sum(len(stay.starts) for stay in stays)
    place = 0
    for stay in stays:
        texts = [stay.text[:end].strip() for end in [*stay.starts[1:], None]]
        alone = scorer.score(texts).probabilities
        for number in range(len(texts)):
            moment = moments[place]
            assert (moment.admission_id, moment.notes, moment.time) == (
                stay.admission_id,
                number + 1,
                stay.times[number],
            )
            assert moment.probabilities == pytest.approx(alone[number], abs=rounding)
            place += 1
        assert stay.times == sorted(stay.times)


def test_texts_without_words_are_refused_by_number(scorer):
    with pytest.raises(DataError, match="received text 2 of 2 without any"):
        scorer.score(["fever", " \n "])
    with pytest.raises(DataError, match="received no text"):
        scorer.score([])


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_table_of_notes_is_read_as_mimic_writes_it(tmp_path):
    """Errors are left out; a note without an hour is known at the end of its day; 7.0 is admission 7."""
    path = write(
        tmp_path / "n.csv",
        [
            ["SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "ISERROR", "TEXT"],
            ["1", "7", "2101-01-02", "2101-01-02 08:30:00", "", "second"],
            ["1", "7.0", "2101-01-02", "", "", "third"],
            ["1", "7", "2101-01-01", "2101-01-01 00:00:00", "", "first"],
            ["1", "7", "2101-01-02", "", "1", "of another patient"],
            ["2", "8", "2101-01-01", "2101-01-01T00:00:05", "", "   "],
            ["3", "9", "2101-01-01", "2101-01-01", "", "alone"],
        ],
    )
    notes = read_notes(path, need_times=True)
    morning = int(np.datetime64("2101-01-02T08:30:00", "s").astype(int))
    midnight = int(np.datetime64("2101-01-02T23:59:59", "s").astype(int))
    begin = int(np.datetime64("2101-01-01", "s").astype(int))
    assert (
        notes[:3]
        == [Note("1", "7", "second", morning), Note("1", "7", "third", midnight), Note("1", "7", "first", begin)]
        and len(notes) == 5
    )
    stays = stays_of_notes(notes, lambda texts: texts, Stay)
    assert stays == [
        Stay("1", "7", "first second third", [0, 6, 13], [begin, morning, midnight]),
        Stay("3", "9", "alone", [0], [begin + 86_399]),
    ]
    assert [note.admission_id for note in read_notes(path, admissions=["9"])] == ["9"]
    plain = read_notes(write(tmp_path / "plain.csv", [["text"], ["one"], ["two"]]))
    assert [(note.admission_id, note.time) for note in plain] == [("1", None), ("2", None)]


@pytest.mark.parametrize(
    "rows, times, message",
    [
        ([["note", "id"], ["secret", "1"]], False, "line 1: expected a column text"),
        ([["text", "id"], ["secret", "1"]], True, "expected a column note_time"),
        ([["text", "note_time"], ["secret", "soon"]], True, "line 2: expected a time such as"),
        ([["text", "note_time"], ["secret", ""]], True, "line 2: expected a time for each note"),
        ([["text", "note_time"], ["secret", "NaT"]], True, "line 2: expected a time such as"),
        ([["text", "note_time"], ["secret", "2101-01-01 00:00:00+02:00"]], True, "line 2: expected a time such as"),
        ([["text", "charttime"], ["secret", "2101"]], False, "line 2: expected a time such as"),
        ([["id", "text"], ["1"]], False, "line 2: expected 2 columns, received fewer"),
        ([["id", "text"], ["1", "secret", "x"]], False, "line 2: expected 2 columns, received more"),
        ([["id", "text"]], False, "expected notes below the header, received none"),
        ([["hadm_id", "text"], ["", "secret"]], False, "expected notes below the header, received none"),
        ([["text", "TEXT"], ["secret", "x"]], False, "line 1: expected one column text, received several"),
    ],
)
def test_bad_tables_end_in_one_line_without_text(tmp_path, rows, times, message):
    with pytest.raises(DataError, match=message) as caught:
        read_notes(write(tmp_path / "n.csv", rows), times)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content, message",
    [
        (b'id,text\n1,"sec\0ret"\n', "NUL byte at byte 14"),
        (b'id,text\n1,"secret\n2,other\n', "line 2: .* never closed"),  # it would take other patients' notes
        (b'id,text\n1,"secret\n2,"other"\n', "line 3: .* closed"),
        ("id,text\n1,secret\n".encode("utf-16"), "received UTF-16"),
        (gzip.compress(b"id,text\n1,secret\n")[:-9], "whole gzip file"),
        (b"", "received an empty file"),
    ],
    ids=["nul", "open", "open_far", "utf16", "cut_gzip", "empty"],
)
def test_damaged_files_end_in_one_line_without_text(tmp_path, content, message):
    (tmp_path / "n.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_notes(tmp_path / "n.csv")
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_notes_without_an_admission_are_passed_over_and_counted(tmp_path, caplog):
    """They are of no admission: one of the patient's id would join notes of different times."""
    header = ["SUBJECT_ID", "HADM_ID", "TEXT"]
    path = write(tmp_path / "n.csv", [header, ["1", "", "of no stay"], ["1", "7", 'said ""ouch""'], ["1", " ", "x"]])
    assert read_notes(path) == [Note("1", "7", 'said ""ouch""', None)]
    assert "2 notes without an admission id" in caplog.text and "of no stay" not in caplog.text
    by_patient = read_notes(write(tmp_path / "p.csv", [["SUBJECT_ID", "TEXT"], ["1", "a"], ["2", "b"], ["1", "c"]]))
    assert [(note.patient_id, note.admission_id) for note in by_patient] == [("1", "1"), ("2", "2"), ("1", "1")]
    caplog.clear()
    stays = stays_of_notes([Note("1", "7", "a", None), Note("1", "8", " \n", None)], lambda texts: texts, Stay)
    assert stays == [Stay("1", "7", "a", [0], [0])] and "1 of 2 notes without a word" in caplog.text
    with pytest.raises(DataError, match="expected texts with words, received none in 1 notes"):
        stays_of_notes([Note("1", "8", " \n", None)], lambda texts: texts, Stay)


def test_a_gzipped_table_in_another_encoding(tmp_path):
    (tmp_path / "n.csv.gz").write_bytes(gzip.compress('id;text\n1;"fi\xe8vre; ""x"""\n'.encode("latin-1")))
    assert read_notes(tmp_path / "n.csv.gz", encoding="latin-1") == [Note("1", "1", 'fi\xe8vre; "x"', None)]
    with pytest.raises(DataError, match="line 2: expected UTF-8 text"):
        read_notes(tmp_path / "n.csv.gz")


def test_other_bad_inputs(tmp_path, folder):
    (tmp_path / "latin.csv").write_bytes("text\nfi\xe8vre\n".encode("latin-1"))
    with pytest.raises(DataError, match="expected UTF-8 text"):
        read_notes(tmp_path / "latin.csv")
    with pytest.raises(DataError, match="found no such file"):
        read_notes(tmp_path / "none.csv")
    with pytest.raises(DataError, match="received 1 that it does not hold"):
        read_notes(write(tmp_path / "n.csv", [["id", "text"], ["1", "a"]]), admissions=["1", "2"])
    with pytest.raises(DataError, match="received 1 that it does not hold"):
        list(read_stays(folder / "n.notes.test.parquet", Stay, ["no such"]))
    columns = parquet.read_table(folder / "n.notes.test.parquet").drop_columns(["note_times"])
    parquet.write_table(columns, tmp_path / "other.parquet")
    with pytest.raises(DataError, match="with note_starts and note_times"):
        list(read_stays(tmp_path / "other.parquet", Stay))


def test_files_hold_what_was_scored(tmp_path, scorer):
    stays = [Stay("p", "a", "fever and cough " * 20, [0], [0]), Stay("q", "b", "chest pain", [0], [60])]
    scored = scorer.score([stay.text for stay in stays])
    assert write_risks(tmp_path / "r.csv", tmp_path / "w.csv", [(stays, scored)], "readmission", 2) == 2
    risks, windows = rows_of(tmp_path / "r.csv"), rows_of(tmp_path / "w.csv")
    assert [(row["patient_id"], row["admission_id"], float(row["probability"])) for row in risks] == [
        ("p", "a", scored.probabilities[0, 0]),
        ("q", "b", scored.probabilities[1, 0]),
    ]
    assert [(row["admission_id"], row["rank"]) for row in windows] == [("a", "1"), ("a", "2"), ("b", "1")]
    assert float(windows[0]["share"]) >= float(windows[1]["share"])
    assert (windows[2]["window_start"], windows[2]["window_end"], windows[2]["share"]) == ("0", "10", "1.0")
    moments = [Moment("p", "a", 3600 * hour, hour + 1, 1, np.array([0.1 * hour])) for hour in range(3)]
    moments.append(dataclasses.replace(moments[0], admission_id="b"))
    write_timeline(tmp_path / "t.csv", moments, "readmission", ["readmission"])
    assert rows_of(tmp_path / "t.csv")[2] == {
        "patient_id": "p",
        "admission_id": "a",
        "note_time": "1970-01-01T02:00:00",
        "notes": "3",
        "windows": "1",
        "task": "readmission",
        "label": "readmission",
        "probability": "0.2",
        "change": "0.1",
    }
    assert [row["change"] for row in rows_of(tmp_path / "t.csv")] == ["", "0.1", "0.1", ""]  # b begins anew
    panels = timeline_panels(moments, ["readmission"], most=1)
    line, points, moved = panels[0].series
    assert moved.name == "note 2 moved it most: +0.10" and moved.x.tolist() == [3600]
    facts = StayFacts({"a": 9000}, {"a": 1, "b": None}, {"readmission": 0.15})
    marked = timeline_panels(moments, ["readmission"], facts=facts)
    assert [panel.title for panel in marked] == ["Admission a: readmitted", "Admission b: outcome unknown"]
    discharge, threshold = marked[0].series[3:]
    assert discharge.x.tolist() == [9000, 9000] and threshold.y.tolist() == [0.15, 0.15]
    assert threshold.x.tolist() == [0, 9000]
    assert len(panels) == 1 and points.x.tolist() == [0, 3600, 7200] and points.y == pytest.approx([0, 0.1, 0.2])
    # the risk holds from a note to the next one
    assert line.x.tolist() == [0, 3600, 3600, 7200, 7200] and line.y == pytest.approx([0, 0, 0.1, 0.1, 0.2])


def test_the_script_scores_a_text_a_table_and_a_stay(folder, tmp_path, run_script):
    stay = next(read_stays(folder / "n.notes.test.parquet", Stay))
    (tmp_path / "note.txt").write_text(stay.text)
    script = ("run_scripts/score_notes.py", f"--run_dir={folder / 'run'}")
    process = run_script(*script, "--text_file=note.txt", cwd=tmp_path)
    evaluated = {row["admission_id"]: row for row in rows_of(folder / "run/restricted/readmission_predictions.csv")}
    risk = float(evaluated[stay.admission_id]["probability"])
    assert process.returncode == 0 and f"risk {risk:.4f}" in process.stdout, process.stderr
    assert "% of the risk" in process.stdout
    timeline = (
        *script,
        f"--input_file={folder / 'raw/NOTEEVENTS.csv'}",
        "--timeline",
        "--output_file=t.csv",
        f"--admission_id={stay.admission_id}",
        f"--admissions_file={folder / 'raw/ADMISSIONS.csv'}",
        f"--labels_file={folder / 'n.labels.csv'}",
    )
    process = run_script(*timeline, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert {row["admission_id"] for row in rows_of(tmp_path / "t.csv")} == {stay.admission_id}
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    process = run_script(*timeline, cwd=tmp_path)
    assert process.returncode == 1 and "t.csv: expected a new file" in process.stderr


@pytest.mark.parametrize(
    "flags, message",
    [
        ((), "--text_file or --input_file is needed"),
        (("--text_file=none.txt",), "none.txt"),
        (("--text_file=note.txt", "--timeline"), "--timeline has no effect with --text_file"),
        (("--input_file=n.csv",), "--input_file needs --output_file"),
        (
            ("--input_file=n.csv", "--output_file=o.csv", "--plot_file=p.png"),
            "--plot_file needs --timeline",
        ),
        (("--text_file=note.txt", "--labels_file=l.csv"), "--labels_file needs --timeline"),
        (("--text_file=note.txt", "--run_dir=."), "expected a run of run_readmission.py"),
        (("--text_file=nul.txt",), "NUL byte at character 1"),
        (("--text_file=blank.txt",), "received no text"),
        (("--text_file=latin.txt",), "expected UTF-8 text; byte 2 is not"),
    ],
)
def test_what_cannot_be_scored_ends_in_one_line(folder, tmp_path, run_script, flags, message):
    (tmp_path / "note.txt").write_text("fever")
    (tmp_path / "nul.txt").write_text("a\0b")
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "latin.txt").write_bytes("fi\xe8vre".encode("latin-1"))
    process = run_script("run_scripts/score_notes.py", f"--run_dir={folder / 'run'}", *flags, cwd=tmp_path)
    assert process.returncode == 1 and message in process.stderr, process.stderr
    assert process.stderr.startswith("error: ") and process.stderr.count("\n") == 1
