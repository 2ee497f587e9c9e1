"""The generated cohort as PCORnet, OMOP, MEDS and FHIR: each gives the lists of the plain table."""

import csv
import json

import pytest

from medtop.cohort.build import Options
from medtop.cohort.preprocess import CohortInput, preprocess
from medtop.files.errors import DataError
from medtop.sources.rules import Rules
from medtop.synthetic import data_models
from medtop.synthetic.cohort import cohort_paths, write_cohort

PATIENTS = 60
LISTS = [f"bencs.{split}" for split in ("train", "valid", "test")] + ["types", "vocab.txt", "splits.csv"]


def plain(folder, numbered):
    """The plain table and its prediction times; with patients as numbers from 1 where `numbered`."""
    write_cohort(folder / "plain", PATIENTS, 3)
    paths = cohort_paths(folder / "plain")
    if not numbered:
        return paths["stays"], paths["prediction_times"]
    for name in ("stays", "prediction_times"):
        with open(paths[name], newline="") as file:
            header, *rows = csv.reader(file)
        with open(paths[name], "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows([str(int(row[0][1:]) + 1), *row[1:]] for row in rows)
    return paths["stays"], paths["prediction_times"]


def lists(data, times, prefix, rules, splits=None):
    """Every list as bytes, and the manifest."""
    options = Options(prediction_times=str(times), splits=splits)
    outcome = preprocess(CohortInput(data_file=str(data), rules=rules, threads=1), options, prefix)
    return {name: prefix.with_name(f"{prefix.name}.{name}").read_bytes() for name in LISTS}, outcome.manifest


@pytest.mark.quick("omop")
@pytest.mark.parametrize("layout", data_models.LAYOUTS)
def test_the_lists_are_those_of_the_plain_table(layout, tmp_path):
    stays, times = plain(tmp_path, layout in ("omop", "meds"))
    rules = Rules(observation_end=None if layout == "omop" else "2016-06-30")  # only OMOP can say until when
    expected, plainly = lists(stays, times, tmp_path / "expected", rules)
    write_cohort(tmp_path / "model", PATIENTS, 3, layout=layout)
    paths = cohort_paths(tmp_path / "model", layout)
    assert paths["prediction_times"].read_text() == times.read_text().replace("\r", "")
    received, manifest = lists(paths["stays"], paths["prediction_times"], tmp_path / "received", rules)
    assert manifest["source"]["name"] == layout and manifest["rows_dropped"] == plainly["rows_dropped"]
    assert received == expected
    if layout == "meds":  # MEDS's own splits are those of the seed
        own = str(paths["stays"] / "metadata" / "subject_splits.parquet")
        assert lists(paths["stays"], times, tmp_path / "own", rules, splits=own)[0] == expected


def test_a_folder_of_others_is_left_alone(tmp_path):
    folder = tmp_path / "c.omop"
    folder.mkdir()
    (folder / "person.csv").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(DataError):
            write_cohort(tmp_path / "c", 2, 1, layout="omop", overwrite=overwrite)
    assert (folder / "person.csv").read_text() == "mine" and [path.name for path in tmp_path.iterdir()] == ["c.omop"]


@pytest.mark.slow
def test_written_again_only_with_other_settings_and_leave(tmp_path):
    first = write_cohort(tmp_path / "c", 3, 1, layout="fhir_ndjson", gzip=True)
    assert write_cohort(tmp_path / "c", 3, 1, layout="fhir_ndjson", gzip=True) == first
    with pytest.raises(DataError, match="overwrite"):
        write_cohort(tmp_path / "c", 4, 1, layout="fhir_ndjson", gzip=True)
    write_cohort(tmp_path / "c", 4, 1, layout="fhir_ndjson", gzip=True, overwrite=True)
    assert json.loads((tmp_path / "c.generator.json").read_text())["patients"] == 4
