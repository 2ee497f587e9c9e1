"""MEDS labels as prediction times: the same cohort as from a CSV, instants and dates, ids by a map, what is refused."""

import datetime as dt
import json

import cohort_tables as slow
import numpy as np
import pyarrow as pa
import pytest
from cohort_tables import row
from pyarrow import parquet

from medtop.cohort.build import Options, build_cohort
from medtop.cohort.pickled_lists import read_chunks
from medtop.cohort.splits import SPLITS
from medtop.evaluation.meds_files import write_meds_predictions
from medtop.evaluation.predictions import Predictions

SCRIPT = "preprocessing/preprocess_pretrain_data.py"


def write_labels(path, rows, **more):
    """A MEDS label file of (subject, time, value)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subjects, times, values = zip(*rows, strict=True)
    columns = {
        "subject_id": pa.array(subjects, pa.int64()),
        "prediction_time": pa.array([dt.datetime.fromisoformat(time) for time in times], pa.timestamp("us")),
        "boolean_value": pa.array(values, pa.bool_()),
    }
    parquet.write_table(pa.table(columns | more), path)
    return path


def examples(folder, rows, **options):
    """((patient, time, codes, {label: value or None}) of all splits, in order; the manifest's entry of the times)."""
    folder.mkdir(exist_ok=True)
    connection, report = slow.make_tables(rows)
    cohort = build_cohort(
        connection, report, Options(tasks=(), min_code_count=1, min_code_patients=1, **options), folder
    )
    entries = []
    for chunk in (chunk for split in SPLITS for chunk in read_chunks(folder / f"out.bencs.{split}")):
        for place, patient in enumerate(chunk.patient_ids):
            labels = {
                f"{task}.{name}": float(chunk.labels[task][place, k]) if chunk.weights[task][place, k] else None
                for task, names in cohort.tasks.items()
                for k, name in enumerate(names)
            }
            entries.append((patient, int(chunk.prediction_times[place]), int(chunk.code_counts[place]), labels))
    return sorted(entries, key=str), cohort.given_times


ROWS = [
    row(str(patient), f"2010-0{month}-01 08:00", f"2010-0{month}-05 10:00", f"C{month}")
    for patient in range(12)
    for month in (1, 3, 5)
]
TIMES = [(patient, f"2010-04-0{1 + patient % 3} 00:00:00", bool(patient % 2)) for patient in range(12)]


@pytest.mark.parametrize("shards", [1, 3])
def test_the_same_as_a_csv(tmp_path, shards):
    lines = "".join(f"{patient},{time[:-1]}1,{int(value)}\n" for patient, time, value in TIMES)
    (tmp_path / "t.csv").write_text("patient_id,prediction_time,death\n" + lines)
    rows = [(patient, time[:-1] + "1", value) for patient, time, value in TIMES]
    for shard in range(shards):
        write_labels(tmp_path / f"death/train/{shard}.parquet", rows[shard::shards])
    expected, _ = examples(tmp_path / "a", ROWS, prediction_times=str(tmp_path / "t.csv"))
    labelled, report = examples(tmp_path / "b", ROWS, prediction_times=str(tmp_path / "death"))
    assert labelled == expected and len(labelled) == 12 and report["rows"] == 12
    assert {entry[3]["death.death"] for entry in labelled} == {0.0, 1.0}


def test_several_labels_and_unknown_ones(tmp_path):
    first = write_labels(tmp_path / "own.a.parquet", [(1, "2010-04-01 12:00", True), (2, "2010-04-01 12:00", None)])
    second = write_labels(tmp_path / "own.b.parquet", [(1, "2010-04-01 12:00", False), (3, "2010-04-01 12:00", True)])
    labelled, _ = examples(tmp_path / "x", [*ROWS], prediction_times=f"{first},{second}")
    assert [(entry[0], entry[3]) for entry in labelled] == [
        ("1", {"own.a": 1.0, "own.b": 0.0}),
        ("2", {"own.a": None, "own.b": None}),
        ("3", {"own.a": None, "own.b": 1.0}),
    ]


def test_midnight_is_an_instant_where_stays_have_times_of_day(tmp_path):
    path = write_labels(tmp_path / "l.parquet", [(1, "2010-03-05 00:00:00", True)])
    assert examples(tmp_path / "a", ROWS, prediction_times=str(path))[0][0][2] == 1  # the stay of that day is to come
    dated = [entry | {"discharge": entry["discharge"].replace(hour=23, minute=59, second=59)} for entry in ROWS]
    assert examples(tmp_path / "b", dated, prediction_times=str(path))[0][0][2] == 2


def test_our_predictions_come_back_as_labels(tmp_path):
    """Ids that are no numbers go out with a map and come back by it; known labels only."""
    patients = np.array([f"p{k}" for k in range(12)])
    rows = [entry | {"patient_id": f"p{entry['patient_id']}"} for entry in ROWS]
    times = np.full(12, int(dt.datetime(2010, 4, 1, 12, tzinfo=dt.UTC).timestamp()))
    targets, known = np.arange(12)[:, None] % 2, (np.arange(12) > 2)[:, None]
    predictions = Predictions("task", ("own",), patients, times, targets, known, np.zeros((12, 1)))
    (path,) = write_meds_predictions(tmp_path / "meds", {"task": (predictions, predictions.probabilities)})
    ids = str(tmp_path / "meds/task.subject_ids.csv")
    labelled, _ = examples(tmp_path / "x", rows, prediction_times=str(path), subject_ids=ids)
    assert {entry[0]: entry[3]["task.own"] for entry in labelled} == {f"p{k}": k % 2 for k in range(3, 12)}
    (tmp_path / "some.csv").write_text("patient_id,subject_id\np3,3\np9,11\n")
    labelled, report = examples(
        tmp_path / "y", rows, prediction_times=str(path), subject_ids=str(tmp_path / "some.csv")
    )
    assert [entry[0] for entry in labelled] == ["p3", "p9"]
    assert report["rows_dropped"]["patient_without_stays"] == 7


def table(**columns):
    return pa.table(columns)


TIME = pa.array([dt.datetime(2010, 4, 1)] * 2, pa.timestamp("us"))
BAD = {
    "subject_id": table(patient=[1, 2], prediction_time=TIME, boolean_value=[True, False]),
    "boolean_value, received float_value": table(subject_id=[1, 2], prediction_time=TIME, float_value=[0.1, 0.2]),
    "as a timestamp": table(subject_id=[1, 2], prediction_time=["2010", "2011"], boolean_value=[True, False]),
    "one value for a subject and time": table(subject_id=[1, 1], prediction_time=TIME, boolean_value=[True, False]),
    "in each row": table(subject_id=[1, None], prediction_time=TIME, boolean_value=[True, False]),
    "another content": b"no parquet",
}


@pytest.mark.parametrize("words", BAD)
def test_what_is_refused(tmp_path, run_script, words):
    (tmp_path / "t.csv").write_text("patient_id,admit,discharge,code\n1,2010-01-01,2010-01-05,X\n")
    if isinstance(BAD[words], bytes):
        (tmp_path / "l.parquet").write_bytes(BAD[words])
    else:
        parquet.write_table(BAD[words], tmp_path / "l.parquet")
    done = run_script(
        SCRIPT,
        tmp_path / "t.csv",
        "NA",
        tmp_path / "o",
        0,
        "--tasks=long_stay",
        f"--prediction_times={tmp_path}/l.parquet",
    )
    assert done.returncode == 1 and words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_an_empty_folder_a_missing_file_and_a_map_without_labels_are_refused(tmp_path, run_script):
    (tmp_path / "t.csv").write_text("patient_id,admit,discharge,code\n1,2010-01-01,2010-01-05,X\n")
    (tmp_path / "none").mkdir()
    basic = [tmp_path / "t.csv", "NA", tmp_path / "o", 0, "--tasks=long_stay"]
    for flags, words in (
        ([f"--prediction_times={tmp_path}/none"], "none: expected MEDS labels"),
        ([f"--prediction_times={tmp_path}/gone.parquet"], "gone.parquet: expected MEDS labels"),
        (["--subject_ids=x.csv"], "no effect without MEDS labels"),
    ):
        done = run_script(SCRIPT, *basic, *flags)
        assert done.returncode == 1 and words in done.stderr, done


def test_through_the_script(tmp_path, run_script):
    (tmp_path / "t.csv").write_text(
        "patient_id,admit,discharge,code\n" + "".join(f"{k},2010-01-01,2010-01-05,X\n" for k in range(30))
    )
    path = write_labels(tmp_path / "own.parquet", [(k, "2010-02-01 10:00", k % 2 == 0) for k in range(30)])
    basic = [tmp_path / "t.csv", "NA", tmp_path / "o", 0, "--tasks=long_stay", f"--prediction_times={path}"]
    done = run_script(SCRIPT, *basic)
    assert done.returncode == 0 and "own" in done.stdout, done.stderr
    manifest = json.loads((tmp_path / "o.manifest.json").read_text())
    assert manifest["labels"]["train"]["own"]["own"]["known"] > 10 and str(path) in manifest["inputs"]
    assert "nothing to do" in run_script(SCRIPT, *basic).stdout
    write_labels(path, [(k, "2010-02-01 10:00", k % 2 == 1) for k in range(30)])
    assert "has changed" in run_script(SCRIPT, *basic).stderr
