"""Files appear whole under their name or not at all: after errors, full disks, other users and kill -9."""

import errno
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from medtop.files.atomic import atomic_path, sha256, write_json, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_only_when_the_block_ends(tmp_path):
    target = tmp_path / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == target.parent  # a rename across file systems would not be atomic
    assert target.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_error_leaves_the_earlier_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_error_without_an_earlier_file_leaves_nothing(tmp_path):
    with pytest.raises(ValueError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise ValueError
    assert names(tmp_path) == []


def test_missing_folders_are_made(tmp_path):
    write_text(tmp_path / "x" / "y" / "a.txt", "é\n")
    assert (tmp_path / "x" / "y" / "a.txt").read_bytes() == b"\xc3\xa9\n"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o027])
def test_what_is_not_shared_is_its_owners_alone_and_what_is_shared_follows_the_umask(tmp_path, mask):
    earlier = os.umask(mask)
    try:
        for name, shared, wanted, of_folder in (
            ("private/a.txt", False, 0o600, 0o700),
            ("shared/a.txt", True, 0o666 & ~mask, 0o777 & ~mask),
        ):
            path = tmp_path / name
            with atomic_path(path, shared=shared) as temporary:
                assert stat.S_IMODE(temporary.stat().st_mode) == wanted  # while it is written, too
            assert stat.S_IMODE(path.stat().st_mode) == wanted
            assert stat.S_IMODE(path.parent.stat().st_mode) == of_folder
    finally:
        os.umask(earlier)


def test_folder_of_that_name_is_refused_before_any_work(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(IsADirectoryError) as caught, atomic_path(tmp_path / "a.txt"):
        raise AssertionError("the block was reached")
    assert caught.value.filename == str(tmp_path / "a.txt")


def test_folder_that_cannot_be_written_names_the_file_not_the_temporary_one(tmp_path, monkeypatch):
    """Tests may run as root, whom permissions do not stop: the refusal is made where the file is opened."""

    def refuse(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError) as caught, atomic_path(tmp_path / "a.txt"):
        raise AssertionError("the block was reached")
    assert caught.value.filename == str(tmp_path / "a.txt")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")
def test_full_disk_names_the_file(tmp_path):
    """Writing to a full disk raises an OSError without a file name; the user must learn which file it was."""
    with pytest.raises(OSError) as caught, atomic_path(tmp_path / "a.txt"), open("/dev/full", "w") as full:
        full.write("x")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "a.txt"))
    assert names(tmp_path) == []


def test_errors_about_other_files_keep_their_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "a.txt"):
        open(tmp_path / "input.csv")
    assert caught.value.filename == str(tmp_path / "input.csv")


def test_two_writers_of_one_file_do_not_share_their_temporary_file(tmp_path):
    with atomic_path(tmp_path / "a.txt") as first, atomic_path(tmp_path / "a.txt") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a.txt").read_text() == "first"  # the outer block ends last
    assert names(tmp_path) == ["a.txt"]


def test_json_round_trip_and_order_of_keys(tmp_path):
    value = {"b": 1, "a": [1.5, None, "é"]}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value and list(json.loads(text)) == ["b", "a"]
    assert "é" in text and text.endswith("\n")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_refuses_what_no_other_reader_accepts(tmp_path, number):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"value": number})
    assert names(tmp_path) == []


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 7])
def test_sha256_against_hashlib(tmp_path, size):
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "a").write_bytes(content[:size])
    assert sha256(tmp_path / "a") == hashlib.sha256(content[:size]).hexdigest()


WRITER = """
import sys
from medtop.files.atomic import atomic_path
number = 0
while True:
    number += 1
    with atomic_path(sys.argv[1]) as temporary, open(temporary, "w") as file:
        for line in range(2000):
            file.write(f"{number}\\n")
"""


@pytest.mark.slow
def test_kill_9_never_leaves_half_a_file_under_the_final_name(tmp_path, repo_root):
    target = tmp_path / "a.txt"
    interrupted = 0
    for attempt in range(25):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(target)], cwd=repo_root)
        while writer.poll() is None and not target.exists():
            time.sleep(0.001)
        time.sleep(0.0007 * attempt)
        writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
        lines = target.read_text().split("\n")
        assert len(lines) == 2001 and len({*lines[:-1]}) == 1, f"attempt {attempt}"
        interrupted += len(names(tmp_path)) - 1
        write_text(target, "the next one")
        assert names(tmp_path) == ["a.txt"], f"attempt {attempt}: left by the killed writer"
        target.unlink()
    assert interrupted, "no writer was killed while it wrote: this test showed nothing"
