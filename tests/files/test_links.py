"""Links where a lock or a working folder belongs are refused; what killed processes left, and only that, is cleared."""

import os
import signal
import stat
import subprocess
import sys

import pytest

from medtop.files import staging
from medtop.files.atomic import write_text
from medtop.files.errors import DataError
from medtop.files.folders import whole_folder
from medtop.files.locks import hold, open_own
from medtop.files.temporary import temporary_folder
from medtop.grid.cells import Cell
from medtop.grid.runner import Runner
from medtop.training.log import TrainingLog
from medtop.training.run_directory import RunDirectory


@pytest.fixture
def mine(tmp_path):
    """A folder of somebody's own, whose file must stay as it is."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
    assert (folder / "thesis.txt").read_text() == "years of work"


def make(folder, write):
    if write:
        (folder / "out.a").write_text("made")
    return {"settings": {}, "inputs": {}}


def prepare(prefix):
    return staging.run_once(prefix, {}, ("a", "manifest.json"), make)


def run_folder(folder):
    with RunDirectory(folder).locked():
        write_text(folder / "best" / "weights.npz", "")
        TrainingLog(folder / "train_log.jsonl").append({"step": 1})


@pytest.mark.parametrize("place", ["out/.cohort.preprocess", "out/.cohort.preprocess/lock"])
def test_linked_working_folder_or_lock_of_preprocessing(tmp_path, mine, place):
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).symlink_to(mine / "thesis.txt" if place.endswith("lock") else mine)
    with pytest.raises(DataError, match=f"{place}: expected a .* of our own, found a symbolic link; remove it"):
        prepare(tmp_path / "out" / "cohort")


def test_working_folder_that_holds_other_files_is_not_emptied(tmp_path):
    folder = tmp_path / ".cohort.preprocess"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="found other files in it"):
        prepare(tmp_path / "cohort")
    assert (folder / "thesis.txt").read_text() == "years of work"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give folders away")
def test_working_folder_of_another_user(tmp_path):
    folder = tmp_path / ".cohort.preprocess"
    folder.mkdir()
    os.chown(folder, 12345, -1)
    with pytest.raises(DataError, match="found another user's"):
        prepare(tmp_path / "cohort")


def test_links_inside_a_left_working_folder_are_removed_not_followed(tmp_path, mine):
    folder = tmp_path / ".cohort.preprocess"
    folder.mkdir()
    (folder / "lock").touch()
    (folder / "work").symlink_to(mine)
    prepare(tmp_path / "cohort")
    assert (tmp_path / "cohort.a").read_text() == "made"


@pytest.mark.parametrize("place", [".lock", "best", "checkpoints", "restricted"])
def test_links_in_a_run_directory(tmp_path, mine, place):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / place).symlink_to(mine / "thesis.txt" if place == ".lock" else mine)
    with pytest.raises(DataError, match=f"run/{place}: expected a .* of our own, found a symbolic link"):
        run_folder(tmp_path / "run")


def test_linked_training_log(tmp_path, mine):
    (tmp_path / "train_log.jsonl").symlink_to(mine / "thesis.txt")
    log = TrainingLog(tmp_path / "train_log.jsonl")
    log.append({"step": 1})
    with pytest.raises(DataError, match="found a symbolic link"):
        log.flush()


@pytest.mark.parametrize("place", ["cell", "cell/.lock"])
def test_linked_cell_of_a_grid(tmp_path, mine, place):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).symlink_to(mine / "thesis.txt" if place.endswith(".lock") else mine)
    cell = Cell(1, "cell", {}, {}, None, tmp_path / "cell")
    with pytest.raises(DataError, match="found a symbolic link"):
        Runner(None, say=print).run_one(cell)


def test_hard_link_and_pipe_in_place_of_a_lock(tmp_path, mine):
    os.link(mine / "thesis.txt", tmp_path / "lock")
    with pytest.raises(DataError, match="found a file that has other names too"), open_own(tmp_path / "lock"):
        raise AssertionError("opened")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="found something else"), open_own(tmp_path / "pipe"):
        raise AssertionError("opened")


LEAVER = """
import sys
from pathlib import Path
from medtop.files.atomic import atomic_path
from medtop.files.folders import whole_folder
from medtop.files.temporary import temporary_folder
folder = Path(sys.argv[1])
with (atomic_path(folder / "a.csv") as a, atomic_path(folder / "best" / "b.npz"),
      whole_folder(folder / "export", lambda _: False) as c, temporary_folder() as d):
    for path in (a, c / "in", d / "in"):
        path.write_text("430 patients")
    print("made", flush=True)
    sys.stdin.read()
"""


def hidden(folder):
    return sorted(path.name for path in folder.rglob("*") if path.name.endswith(".tmp"))


def test_what_a_killed_process_left_is_cleared_and_what_a_running_one_holds_stays(tmp_path, repo_root, monkeypatch):
    system = tmp_path / "system"
    system.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(system))
    environment = {**os.environ, "TMPDIR": str(system)}
    command = [sys.executable, "-c", LEAVER, str(tmp_path / "run")]
    writer = subprocess.Popen(
        command, cwd=repo_root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "made\n"
    (tmp_path / "run" / ".notes.tmp").write_text("mine")

    def others():
        write_text(tmp_path / "run" / "report.html", "")
        with whole_folder(tmp_path / "run" / "evaluation", lambda _: True, True), temporary_folder():
            pass
        with RunDirectory(tmp_path / "run").locked():
            pass
        return hidden(tmp_path), list(system.iterdir())

    before = hidden(tmp_path)
    assert len(before) == 4 and others() == (before, list(system.iterdir())) and len(list(system.iterdir())) == 1
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdin.close()
    writer.stdout.close()
    assert hidden(tmp_path) == before
    assert others() == ([".notes.tmp"], [])


def test_earlier_folder_that_a_kill_left_between_two_renames(tmp_path):
    old = tmp_path / ".export.77-0123abcd.old"
    old.mkdir()
    with whole_folder(tmp_path / "export", lambda _: False) as folder:
        (folder / "a").write_text("new")
        assert old.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_their_owners_alone_or_shared_except_what_names_patients(tmp_path):
    for name, shared in (("export", True), ("attributions", False)):
        with whole_folder(tmp_path / name, lambda _: False, shared=shared) as folder:
            (folder / "restricted").mkdir()
            for place in ("report.html", "restricted/predictions.csv"):
                (folder / place).write_text("")
    public = 0o777 & ~mode_of_umask()
    assert mode(tmp_path / "export") == public and mode(tmp_path / "export/report.html") == public & 0o666
    assert mode(tmp_path / "attributions") == 0o700 and mode(tmp_path / "attributions/report.html") == 0o600
    for name in ("export", "attributions"):
        assert mode(tmp_path / name / "restricted") == 0o700
        assert mode(tmp_path / name / "restricted/predictions.csv") == 0o600


def mode_of_umask():
    now = os.umask(0o022)
    os.umask(now)
    return now


def test_outputs_of_preprocessing_are_their_owners_alone(tmp_path):
    prepare(tmp_path / "out" / "cohort")
    assert {mode(path) for path in (tmp_path / "out").iterdir()} == {0o600}


def test_run_of_an_older_version_is_read_and_its_lists_are_moved(tmp_path):
    (tmp_path / "splits.csv").write_text("patient_id,split\np1,train\n")
    (tmp_path / "predictions.csv").write_text("patient_id\np1\n")
    run = RunDirectory(tmp_path)
    assert run.has_splits() and run.read_splits() == {"train": ["p1"]}
    with run.locked():
        assert run.read_splits() == {"train": ["p1"]}
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "restricted"]
    assert mode(tmp_path / "restricted") == 0o700
    assert {path.name: mode(path) for path in (tmp_path / "restricted").iterdir()} == {
        "splits.csv": 0o600,
        "predictions.csv": 0o600,
    }


def test_lock_tells_whether_somebody_holds_it(tmp_path):
    with open_own(tmp_path / "lock") as first, open_own(tmp_path / "lock") as second:
        assert hold(first) and not hold(second) and not hold(second, shared=True)
