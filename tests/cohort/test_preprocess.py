"""preprocess_pretrain_data.py from end to end, as a user runs it: outputs, manifest, second runs, kills, bad input."""

import csv
import dataclasses
import datetime as dt
import fcntl
import importlib.util
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time

import cohort_tables as slow
import numpy as np
import pytest
from conftest import ROOT

from medtop.cohort import preprocess as running
from medtop.cohort.build import Options
from medtop.cohort.pickled_lists import read_chunks, read_header, read_medbert_rows
from medtop.cohort.preprocess import CohortInput, preprocess
from medtop.cohort.split_options import SplitOptions
from medtop.cohort.splits import SPLITS
from medtop.cohort.vocabulary import Vocabulary
from medtop.files import staging
from medtop.files.errors import DataError
from medtop.files.options import compared
from medtop.sources.dates import DateRules
from medtop.sources.rules import Rules

SCRIPT = "preprocessing/preprocess_pretrain_data.py"
HEADER = "patient_id\tvadate\tvddate\tdiag\tpoa\tdiagnosis_priority\tthird_party_ind\n"
DEFAULT_OUTPUTS = {"bencs.train", "bencs.valid", "bencs.test", "types", "vocab.txt", "splits.csv", "manifest.json"}


def write_tsv(path, num_patients=60, seed=0, numeric=True):
    """A Med-BERT table of random patients: stays that end on one day, ties in the order, repeated codes."""
    rng = np.random.default_rng(seed)
    lines = []
    for patient in rng.permutation(num_patients):
        name = str(1000 - 3 * patient) if numeric else f"p{patient}"
        for _ in range(int(rng.geometric(0.25))):
            admit = dt.date(2010, 1, 1) + dt.timedelta(days=int(rng.integers(0, 300)))
            discharge = admit + dt.timedelta(days=int(rng.choice([0, 1, 3, 8, 20])))
            for _ in range(int(rng.geometric(0.3))):
                code = f"ICD10_{'EIN'[rng.integers(3)]}{rng.integers(10, 19)}"
                lines.append(
                    f"{name}\t{admit}\t{discharge}\t{code}\t{rng.integers(3)}\t{rng.integers(4)}\t{rng.integers(2)}\n"
                )
                if rng.random() < 0.2:  # another stay that ends on the same day
                    early = admit - dt.timedelta(days=int(rng.integers(0, 5)))
                    lines.append(f"{name}\t{early}\t{discharge}\t{code}\t0\t1\t1\n")
    path.write_text(HEADER + "".join(lines))
    return path


def content(prefix):
    """dict name -> bytes of everything under a prefix."""
    return {path.name: path.read_bytes() for path in sorted(prefix.parent.glob(f"{prefix.name}.*"))}


def manifest_of(prefix):
    manifest = json.loads((prefix.parent / f"{prefix.name}.manifest.json").read_text())
    assert manifest["rows_in"] == manifest["rows_out"] + manifest["rows_merged"] + sum(
        manifest["rows_dropped"].values()
    )
    assert manifest["patients_in"] == manifest["patients_out"] + sum(manifest["patients_dropped"].values())
    return manifest


def check(done, message=None):
    """A script that ended well, or with one line that holds `message`."""
    if message is None:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 1 and message in done.stderr, (done.returncode, done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_everything_from_a_tsv(tmp_path, run_script):
    """All files, the sum of rows, the splits, the next command; twice is once; other flags are refused or overwrite."""
    data, prefix = write_tsv(tmp_path / "table.tsv", 80), tmp_path / "out/cohort"
    done = run_script(SCRIPT, data, "NA", prefix, 0, "--min_visits=2")
    check(done)
    assert {name.removeprefix("cohort.") for name in content(prefix)} == DEFAULT_OUTPUTS
    assert sorted(path.name for path in prefix.parent.iterdir()) == sorted(content(prefix))  # nothing hidden is left
    manifest = manifest_of(prefix)
    rows = len(data.read_text().splitlines()) - 1
    assert manifest["rows_in"] == rows and manifest["rows_dropped"].keys() == {
        "after_prediction_time",
        "fewer_than_min_visits",
    }
    splits = {
        entry["patient_id"]: entry["split"] for entry in csv.DictReader((tmp_path / "out/cohort.splits.csv").open())
    }
    vocabulary = Vocabulary.read(f"{prefix}.types")
    assert vocabulary == Vocabulary.read(f"{prefix}.vocab.txt")
    codes = 0
    for split in SPLITS:
        header = read_header(f"{prefix}.bencs.{split}")
        assert header["vocabulary_hash"] == vocabulary.hash and header["split"] == split
        assert header["prediction_times"] == "random_visit"
        for chunk in read_chunks(f"{prefix}.bencs.{split}"):
            assert {splits[patient] for patient in chunk.patient_ids} == {split}
            codes += len(chunk.codes)
    assert codes == manifest["rows_out"] and len(splits) == manifest["patients_out"]
    assert "create_BERTpretrain_EHRfeatures.py --input_file" in done.stdout.splitlines()[-1]

    # The label looks forward (the lineage read it off the stays in the input), unless the whole history is asked for.
    assert manifest["settings"]["long_stay_label"] == "next"
    whole = run_script(SCRIPT, data, "NA", tmp_path / "whole", 0, "--index=none")
    check(whole)
    assert json.loads((tmp_path / "whole.manifest.json").read_text())["settings"]["long_stay_label"] == "any"

    before = content(prefix)
    times = {path: path.stat().st_mtime_ns for path in prefix.parent.iterdir()}
    again = run_script(SCRIPT, data, "NA", prefix, 0, "--min_visits=2", "--threads=1", cwd=tmp_path)
    check(again)
    assert "done before, nothing to do" in again.stdout
    assert times == {path: path.stat().st_mtime_ns for path in prefix.parent.iterdir()}
    check(run_script(SCRIPT, data, "NA", prefix, 0, "--seed=5"), "(min_visits 2 -> 1; seed 0 -> 5); use --overwrite")
    assert content(prefix) == before
    check(run_script(SCRIPT, data, "NA", prefix, 0, "--seed=5", "--overwrite"))
    assert manifest_of(prefix)["settings"]["seed"] == 5 and content(prefix) != before


def test_never_loads_a_framework(tmp_path):
    """Neither TensorFlow nor Keras nor pandas (slow to load) is imported by a whole run."""
    data = write_tsv(tmp_path / "table.tsv")
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['x', {str(data)!r}, 'NA', {str(tmp_path / 'out')!r}, '0']\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "found = {'tensorflow', 'keras', 'torch', 'jax', 'pandas'} & sys.modules.keys()\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.manifest.json").is_file()


def test_dry_run_writes_nothing(tmp_path, run_script):
    data = write_tsv(tmp_path / "table.tsv")
    done = run_script(SCRIPT, data, "NA", tmp_path / "out/cohort", 0, "--dry_run", "--min_visits=3")
    check(done)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.tsv"]
    for words in (
        "60 patients, 20",
        "codes known: train",
        "long_stay",
        "MACE_1095",
        "rows dropped: fewer_than_min_visits",
        "dry run: nothing was written",
    ):
        assert words in done.stdout, words
    done = run_script(SCRIPT, data, "NA", tmp_path / "out/cohort", 0, "--dry_run", "--layout=medbert")
    check(done)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.tsv"]
    assert "splits: train 42 patients, valid 6 patients, test 12 patients" in done.stdout


def test_horizons_reach_a_century():
    (parse,) = [field.metadata["parse"] for field in dataclasses.fields(Options) if field.name == "horizons"]
    assert parse(["36525", " 30", "365", "30"]) == (30, 365, 36_525)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--prediction_times=times.csv", "--index=none"], "--index and --prediction_times exclude each other"),
        (["--layout=medbert", "--engine=spark"], "--engine has no effect with --layout=medbert"),
        (["--layout=medbert", "--min_visits=2"], "--min_visits has no effect with --layout=medbert"),
        (["--horizons=365,soon"], "--horizons: expected a whole number"),
        (["--horizons=0"], "--horizons: expected a whole number from 1 to 36,525, received '0'"),
        (["--horizons=36526"], "--horizons: expected a whole number from 1 to 36,525, received '36526'"),
        (["--horizons=1_0"], "--horizons: expected a whole number from 1"),
        (["--tasks=mortality"], "--tasks: expected long_stay and complications, received 'mortality'"),
        (["--endpoints=heart"], "--endpoints: expected diabetes_complications, hospital_complications"),
        (["--memory_limit=lots"], "--memory_limit: expected a size such as 2GB, received 'lots'"),
        (["--code_map=nowhere.csv"], "nowhere.csv: expected a table with a header line, found no such file"),
        (["--unknown=1"], "expected a flag that --help lists"),
        (["--source=nothing"], "--source: expected one of"),
    ],
)
def test_wrong_flags(tmp_path, run_script, flags, message):
    data = write_tsv(tmp_path / "table.tsv", 5)
    check(run_script(SCRIPT, data, "NA", tmp_path / "out", 0, *flags), message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.tsv"]


def test_each_flag_reaches_the_run(tmp_path, run_script, monkeypatch):
    """Fault 11, flags that did nothing: none is at its default here, and all stand in the manifest's settings."""
    data = write_tsv(tmp_path / "table.tsv", 40)
    with data.open("a") as file:
        file.write("7\tnever\t2010-01-01\tICD10_I10\t0\t1\t0\n")
    data.write_text(re.sub(r"20(\d\d)-(\d\d)-(\d\d)", r"\3.\2.\1", data.read_text()))
    (tmp_path / "codes.csv").write_text("system,code\nicd10,N179\n")
    wanted = Options(
        index="lineage",
        min_visits=2,
        visit="discharge_date",
        endpoints="hospital_complications",
        code_table=str(tmp_path / "codes.csv"),
        horizons=(30, 60),
        labels="complete_followup",
        tasks=("long_stay",),
        long_stay_label="any",
        long_stay_within_days=9,
        code_map="first3",
        splits="train",
        min_code_count=3,
        min_code_patients=4,
        exact_dates=True,
        subset_size=25,
        seed=4,
    )
    flags = {name: value for name, value in dataclasses.asdict(wanted).items() if value != getattr(Options(), name)}
    unset = {"layout", "prediction_times", "subject_ids", "vocabulary", "follow_up"}
    unset |= {field.name for field in dataclasses.fields(SplitOptions)} - {"splits"}  # tests/cohort/test_split_rules.py
    unset |= {"code_map_many", "code_map_missing", "num_parts", "engine"}  # test_code_maps, test_parts, test_spark
    assert set(dataclasses.asdict(wanted)) == {*flags, *unset}  # a new option is tried here, too
    words = [
        f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in flags.items()
        if name != "subset_size"
    ]
    words += [
        "--source=columns",
        "--columns=patient_id=patient_id,admit=vadate,discharge=vddate,code=diag",
    ]
    dates = DateRules("%d.%m.%y", "Europe/Berlin", 1930, ("1960-01-01",), True)
    rules = Rules(
        dates,
        code_system="icd10",
        code_separator=";",
        observation_end="2015-01-01",
        death_grace_days=3,
        accept_unusable=("rows",),
    )
    given = {**compared(dates), **compared(rules)}
    del given["dates"], given["choices"]  # choices of single sources: tests/sources
    assert not {name for name, value in given.items() if value == {**compared(DateRules()), **compared(Rules())}[name]}
    words += [f"--{name}={','.join(value) if isinstance(value, tuple) else value}" for name, value in given.items()]
    command = [SCRIPT, data, "NA", tmp_path / "out", 25, *words]
    check(run_script(*command))
    settings = manifest_of(tmp_path / "out")["settings"]
    names = {"patient_id": "patient_id", "admit": "vadate", "discharge": "vddate", "code": "diag"}
    uncompared = ("num_parts", "engine")
    made = {name: value for name, value in dataclasses.asdict(wanted).items() if name not in uncompared}
    assert settings == {
        **json.loads(json.dumps(made)),
        "data_file": str(data),
        "source": "columns",
        "columns": names,
        **json.loads(json.dumps(given)),
        **json.loads(json.dumps(rules.choices.settings)),
    }
    command[3] = tmp_path / "strict"
    check(run_script(*command, "--strict"), "expected a usable row (strict), received admit_unparsable")

    opened = []

    def opens(*arguments):
        opened.append(arguments[1:])
        raise InterruptedError

    monkeypatch.setattr(running, "open_database", opens)
    with pytest.raises(InterruptedError):
        preprocess(CohortInput(str(data), memory_limit="1GB", threads=3), Options(), tmp_path / "other")
    assert opened == [("1GB", 3, False)]


def test_wrong_arguments(tmp_path, run_script):
    data = write_tsv(tmp_path / "table.tsv", 5)
    check(run_script(SCRIPT, data, "NA", tmp_path / "out"), "arguments: expected <data_File> <vocab/NA>")
    check(
        run_script(SCRIPT, data, "NA", tmp_path / "out", "all"),
        "<subset_size>: expected a whole number from 0, received 'all'",
    )
    check(run_script(SCRIPT, data, tmp_path / "no.types", tmp_path / "out", 0), "no.types: expected a vocabulary")
    check(run_script(SCRIPT, tmp_path / "none.tsv", "NA", tmp_path / "out", 0), "none.tsv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.tsv"]


def test_a_pickle_with_a_class_is_no_vocabulary(tmp_path, run_script):
    with open(tmp_path / "evil.types", "wb") as file:
        pickle.dump({"a": dt.date(2020, 1, 1)}, file)
    data = write_tsv(tmp_path / "table.tsv", 5)
    check(run_script(SCRIPT, data, tmp_path / "evil.types", tmp_path / "out", 0), "datetime.date; nothing was run")


def test_bad_rows_are_listed_and_counted(tmp_path):
    data, prefix = write_tsv(tmp_path / "table.tsv", 20), tmp_path / "cohort"
    with data.open("a") as file:
        file.write("1\t2010-01-09\t2010-01-01\tICD10_I10\t0\t1\t0\n1\tnever\t2010-01-01\tICD10_I10\t0\t1\t0\n")
    outcome = preprocess(CohortInput(str(data)), Options(), prefix)
    manifest = manifest_of(prefix)
    assert manifest == outcome.manifest
    assert manifest["rows_dropped"]["discharge_before_admit"] == 1 and manifest["rows_dropped"]["admit_unparsable"] == 1
    rejects = list(csv.DictReader((tmp_path / "cohort.rejects.csv").open()))
    assert [entry["reason"] for entry in rejects] == ["discharge_before_admit", "admit_unparsable"]
    with pytest.raises(DataError, match="strict"):
        preprocess(CohortInput(str(data), strict=True), Options(seed=9), tmp_path / "other")
    assert not list(tmp_path.glob("*other*"))


def test_changed_input_or_output_is_noticed(tmp_path):
    data, prefix = write_tsv(tmp_path / "table.tsv", 20), tmp_path / "cohort"
    assert not preprocess(CohortInput(str(data)), Options(), prefix).done_before
    assert preprocess(CohortInput(str(data)), Options(), prefix).done_before
    write_tsv(data, 25)
    with pytest.raises(DataError, match="table.tsv has changed.*--overwrite"):
        preprocess(CohortInput(str(data)), Options(), prefix)
    preprocess(CohortInput(str(data)), Options(), prefix, overwrite=True)
    (tmp_path / "cohort.types").unlink()
    with pytest.raises(DataError, match="types is missing or has changed"):
        preprocess(CohortInput(str(data)), Options(), prefix)


def test_files_of_unknown_origin_are_kept(tmp_path):
    data, prefix = write_tsv(tmp_path / "table.tsv", 20), tmp_path / "cohort"
    (tmp_path / "cohort.splits.csv").write_text("mine")
    with pytest.raises(DataError, match="cohort.splits.csv: expected no such file, found one that no manifest claims"):
        preprocess(CohortInput(str(data)), Options(), prefix)
    assert (tmp_path / "cohort.splits.csv").read_text() == "mine"
    preprocess(CohortInput(str(data)), Options(), prefix, overwrite=True)
    (tmp_path / "cohort.manifest.json").write_text("{")
    with pytest.raises(DataError, match="manifest is damaged"):
        preprocess(CohortInput(str(data)), Options(), prefix)


def test_files_of_another_layout_go_away(tmp_path):
    data, prefix = write_tsv(tmp_path / "table.tsv", 20), tmp_path / "cohort"
    preprocess(CohortInput(str(data)), Options(layout="medbert"), prefix)
    assert (tmp_path / "cohort.ptencs.train").is_file()
    preprocess(CohortInput(str(data)), Options(), prefix, overwrite=True)
    assert {name.removeprefix("cohort.") for name in content(prefix)} == DEFAULT_OUTPUTS


def test_a_failed_run_leaves_earlier_outputs(tmp_path, monkeypatch):
    data, prefix = write_tsv(tmp_path / "table.tsv", 20), tmp_path / "cohort"
    preprocess(CohortInput(str(data)), Options(), prefix)
    before = content(prefix)

    def fails(*_):
        raise RuntimeError("in the middle")

    monkeypatch.setattr(staging, "write_json", fails)
    with pytest.raises(RuntimeError):
        preprocess(CohortInput(str(data)), Options(seed=1), prefix, overwrite=True)
    assert content(prefix) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "table.tsv"])


def test_two_runs_on_one_prefix(tmp_path):
    data, prefix = write_tsv(tmp_path / "table.tsv", 20), tmp_path / "cohort"
    with staging.staging(prefix), pytest.raises(DataError, match="expected no other run on this prefix"):
        preprocess(CohortInput(str(data)), Options(), prefix)
    preprocess(CohortInput(str(data)), Options(), prefix)


def test_killed_while_moving_files(tmp_path, monkeypatch):
    """The short moment in which outputs get their names: the next run knows them as its own and replaces them."""
    data, prefix = write_tsv(tmp_path / "table.tsv", 20), tmp_path / "cohort"
    preprocess(CohortInput(str(data)), Options(), tmp_path / "wanted")
    replace, moved = os.replace, []

    class Killed(BaseException):
        pass

    def dies(source, target):
        if ".preprocess" in str(source) and ".preprocess" not in str(target):
            if len(moved) == 3:
                raise Killed
            moved.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(Killed):
        preprocess(CohortInput(str(data)), Options(), prefix)
    monkeypatch.undo()
    assert len(content(prefix)) == 3 and not (tmp_path / "cohort.manifest.json").exists()
    preprocess(CohortInput(str(data)), Options(), prefix)
    for name in ("bencs.train", "types", "splits.csv"):
        assert (tmp_path / f"cohort.{name}").read_bytes() == (tmp_path / f"wanted.{name}").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_killed_while_it_notes_what_it_moves(tmp_path, monkeypatch):
    """Before the first move: what a killed run leaves in its hidden folder is known to the next one as its own."""
    data, prefix, replace, seen = write_tsv(tmp_path / "table.tsv", 20), tmp_path / "cohort", os.replace, []

    def stops(source, target):
        if str(target).endswith("moving.json"):
            seen.append([path.name for path in (tmp_path / ".cohort.preprocess").iterdir()])
        replace(source, target)

    monkeypatch.setattr(os, "replace", stops)
    preprocess(CohortInput(str(data)), Options(), prefix)
    monkeypatch.undo()
    assert seen and all(names <= {"lock", "work"} for names in map(set, seen))


STAGES = ("lock", "work/train.codes.array", "work/*bencs.train*", "work/*types*", "work/*manifest*")
"""Files in the hidden folder that tell how far a run has come."""


@pytest.fixture
def to_kill(tmp_path, run_script):
    """(command line of a run, its prefix, what it writes when nobody kills it)."""
    data, prefix = write_tsv(tmp_path / "table.tsv", 400), tmp_path / "out/cohort"
    check(run_script(SCRIPT, data, "NA", tmp_path / "whole/cohort", 0))
    command = [sys.executable, str(ROOT / SCRIPT), str(data), "NA", str(prefix), "0"]
    return command, prefix, content(tmp_path / "whole/cohort")


def kill_when(command, reached):
    """Runs the command and kills it when `reached()`; whether it was still running."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not reached():
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def assert_nothing_or_whole(prefix, wanted):
    """What stands under final names is whole; with the manifest, which comes last, everything is there."""
    standing = content(prefix)
    assert standing.keys() <= wanted.keys()
    assert all(standing[name] == wanted[name] for name in standing if not name.endswith("manifest.json"))
    assert standing.keys() == wanted.keys() or f"{prefix.name}.manifest.json" not in standing


def assert_next_run_is_whole(command, prefix, wanted):
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    after = content(prefix)
    assert all(after[name] == wanted[name] for name in wanted if not name.endswith("manifest.json"))
    assert sorted(path.name for path in prefix.parent.iterdir()) == sorted(after)


@pytest.mark.slow
def test_kill_9(to_kill):
    """Killed at five stages; the next run cleans up and takes what a first one takes."""
    command, prefix, wanted = to_kill
    hidden = prefix.parent / ".cohort.preprocess"
    killed = 0

    def reached(stage):
        try:
            return any(hidden.glob(stage))
        except FileNotFoundError:  # the run's end removes the folder while it is being listed
            return False

    for stage in STAGES:
        killed += kill_when(command, lambda stage=stage: reached(stage))
        assert_nothing_or_whole(prefix, wanted)
    assert killed >= 2, "the run was over before it could be killed: the test shows nothing"
    assert_next_run_is_whole(command, prefix, wanted)


@pytest.mark.slow
def test_killed_after_the_last_move(to_kill):
    """Everything stands, only the hidden folder was not removed any more: the next run has nothing to do but that."""
    command, prefix, wanted = to_kill
    subprocess.run(command, check=True, capture_output=True)
    hidden = prefix.parent / ".cohort.preprocess"
    (hidden / "work").mkdir(parents=True)
    assert_next_run_is_whole(command, prefix, wanted)
    (hidden / "work").mkdir(parents=True)
    with open(hidden / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a run still going, with --overwrite
        subprocess.run(command, check=True, capture_output=True)
        assert hidden.exists()
    assert_next_run_is_whole(command, prefix, wanted)


@pytest.mark.slow
def test_kill_9_at_any_moment(to_kill):
    """Killed fifty times at random moments."""
    command, prefix, wanted = to_kill
    begin = time.monotonic()
    subprocess.run([*command, "--dry_run"], check=True, capture_output=True)
    length, rng, killed = time.monotonic() - begin, np.random.default_rng(0), 0
    for _ in range(50):
        until = time.monotonic() + rng.uniform(0.2, 1.1) * length
        killed += kill_when(command, lambda until=until: time.monotonic() > until)
        assert_nothing_or_whole(prefix, wanted)
        if content(prefix):  # it had come to its end, or to the moment before
            assert_next_run_is_whole(command, prefix, wanted)
            for name in wanted:
                (prefix.parent / name).unlink()
    assert killed >= 10
    assert_next_run_is_whole(command, prefix, wanted)


# --- Med-BERT's layout -----------------------------------------------------------------------------------------------


def medbert_rows(prefix):
    return [row for split in SPLITS for row in read_medbert_rows(f"{prefix}.bencs.{split}")]


def test_medbert_example(tmp_path, run_script, test_data):
    """Med-BERT's own nine rows, value for value and in order."""
    folder = test_data / "medbert_example"
    wanted = json.loads((folder / "expected_from_example.json").read_text())
    check(run_script(SCRIPT, folder / "data_file.tsv", "NA", tmp_path / "out", 0, "--layout=medbert"))
    with open(tmp_path / "out.types", "rb") as file:
        types = pickle.load(file)
    assert list(types.items()) == list(wanted["types"].items())
    rows = sorted(medbert_rows(tmp_path / "out"))
    assert rows == wanted["bencs_before_split"]
    assert [int(max(row[1]) > 7) for row in rows] == wanted["los_label"]
    with open(tmp_path / "out.ptencs.train", "rb") as file:
        full = pickle.load(file)
    assert full[[row[0] for row in read_medbert_rows(tmp_path / "out.bencs.train")].index(2)] == [
        [
            [0, 737, ["ICD9_150", "ICD9_240.1"], [5, 6]],
            [0, 2, ["ICD9_001.2", "ICD9_240.1"], [7, 6]],
            [12, 0, ["ICD9_157"], [8]],
        ]
    ]
    manifest_of(tmp_path / "out")


@pytest.mark.quick(first=1)
@pytest.mark.parametrize("numeric, patients_per_split", [(True, 100_000), (False, 70)])
def test_medbert_layout_equals_its_own_way(tmp_path, monkeypatch, numeric, patients_per_split):
    """Value for value, in order, with Med-BERT's pandas way on random patients; also where it splits several times."""
    place = importlib.util.spec_from_file_location("medbert_way", ROOT / "benchmarks/medbert_preprocessing.py")
    way = importlib.util.module_from_spec(place)
    place.loader.exec_module(way)
    monkeypatch.setattr(way, "PATIENTS_PER_SPLIT", patients_per_split)
    monkeypatch.setattr("medtop.cohort.medbert_layout.PATIENTS_PER_SPLIT", patients_per_split)
    data = write_tsv(tmp_path / "table.tsv", 300, seed=3, numeric=numeric)
    way.preprocess(data, tmp_path / "pandas")
    outcome = preprocess(CohortInput(str(data)), Options(layout="medbert"), tmp_path / "ours")
    assert outcome.manifest["rows_merged"] > 50
    for name in [f"{kind}.{split}" for kind in ("bencs", "ptencs") for split in SPLITS] + ["types"]:
        assert pickles(tmp_path / f"ours.{name}") == pickles(tmp_path / f"pandas.{name}"), name
    splits = {entry["patient_id"]: entry["split"] for entry in csv.DictReader((tmp_path / "ours.splits.csv").open())}
    for split in SPLITS:
        assert {str(row[0]) for row in read_medbert_rows(tmp_path / f"ours.bencs.{split}")} == {
            patient for patient, place in splits.items() if place == split
        }


def pickles(path):
    """All values of a file, types and their order included."""
    values = []
    with open(path, "rb") as file:
        while file.peek(1):
            values.append(pickle.load(file))
    return repr(values)


def test_medbert_vocabulary_goes_on(tmp_path):
    """As in the original, a given vocabulary keeps its ids and unseen codes get the next ones."""
    data = write_tsv(tmp_path / "table.tsv", 30)
    Vocabulary(["empty_pad", "ICD10_N11", "OTHER"]).write(tmp_path / "given")
    outcome = preprocess(
        CohortInput(str(data)), Options(layout="medbert", vocabulary=str(tmp_path / "given.types")), tmp_path / "out"
    )
    vocabulary = Vocabulary.read(tmp_path / "out.types")
    assert vocabulary.tokens[:3] == ("empty_pad", "ICD10_N11", "OTHER")
    assert outcome.manifest["vocabulary"]["new_codes"] == len(vocabulary) - 3 > 0
    with pytest.raises(DataError, match="expected Med-BERT's vocabulary"):
        Vocabulary.from_counts([], []).write(tmp_path / "ours")
        preprocess(
            CohortInput(str(data)),
            Options(layout="medbert", vocabulary=str(tmp_path / "ours.types")),
            tmp_path / "out2",
        )


# --- open data -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_generated_cohort_gets_its_own_labels(tmp_path, run_script):
    """Prevalence and share known of each label equal what the generator counted on its side."""
    check(
        run_script(
            "preprocessing/make_synthetic_cohort.py", f"--output_prefix={tmp_path / 'syn'}", "--num_patients=600"
        )
    )
    wanted = json.loads((tmp_path / "syn.generator.json").read_text())["labels"]
    outcome = preprocess(
        CohortInput(str(tmp_path / "syn.csv")),
        Options(prediction_times=str(tmp_path / "syn.prediction_times.csv")),
        tmp_path / "out",
    )
    labels = outcome.manifest["labels"]
    found = {}
    for task in ("complications", "long_stay"):
        for label in labels["train"][task]:
            entries = [labels[split][task][label] for split in SPLITS]
            known = sum(entry["known"] for entry in entries)
            found[label] = known / 600, sum(entry["positives"] for entry in entries) / known
    for label, (known, prevalence) in found.items():
        assert known == pytest.approx(wanted[label]["known"]) and prevalence == pytest.approx(
            wanted[label]["prevalence"]
        )
    assert len(found) == 13


def test_slow_and_fast_agree_on_a_tsv(tmp_path):
    """The whole way from a file: features of each patient equal the slow reading of the same rows."""
    data = write_tsv(tmp_path / "table.tsv", 50, numeric=False)
    preprocess(CohortInput(str(data)), Options(tasks=("long_stay",)), tmp_path / "out")
    rows = {}
    for line in data.read_text().splitlines()[1:]:
        patient, admit, discharge, code, poa, priority, third = line.split("\t")
        rows.setdefault(patient, []).append(
            slow.row(patient, admit, discharge, code, (int(poa), int(third), int(priority)))
        )
    person = {"birth": None, "sex": None, "death": None, "observation_end": None}
    seen = 0
    for split in SPLITS:
        for chunk in read_chunks(tmp_path / f"out.bencs.{split}"):
            ends = np.cumsum(chunk.visit_counts)
            for place, patient in enumerate(chunk.patient_ids):
                visits = slow.visits_of(rows[patient], "stay")
                when = slow.slow_random_visit(visits, person, patient, 0, 1)
                want = slow.slow_example(visits, person, when, when)
                part = slice(ends[place] - chunk.visit_counts[place], ends[place])
                assert chunk.prediction_times[place] == int((when - dt.datetime(1970, 1, 1)).total_seconds())
                assert chunk.stay_days[part].tolist() == want["stay_days"]
                assert chunk.gaps_before[part].tolist() == want["gaps_before"]
                assert chunk.recencies[part].tolist() == want["recencies"]
                assert chunk.code_counts[place] == len(want["codes"])
                seen += 1
    assert seen == 50
