"""The log of steps: each step once, also across kills."""

import json
import math

import pytest

from medtop.files.errors import DataError
from medtop.training.log import TrainingLog, read_log


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_reach_the_disk_at_flush_and_in_order(tmp_path):
    log = TrainingLog(tmp_path / "log.jsonl")
    log.append({"step": 1, "loss": 0.5})
    assert not log.path.exists()
    log.append({"step": 2, "loss": 0.25})
    log.flush()
    log.flush()
    log.append({"step": 3, "loss": 0.125})
    log.flush()
    assert rows(log.path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}, {"step": 3, "loss": 0.125}]
    assert read_log(log.path) == rows(log.path)


def test_floats_come_back_bit_for_bit(tmp_path):
    log = TrainingLog(tmp_path / "log.jsonl")
    value = 0.1 + 0.2
    log.append({"step": 1, "loss": value, "tiny": 5e-324})
    log.flush()
    assert read_log(log.path) == [{"step": 1, "loss": value, "tiny": 5e-324}]


def test_numbers_that_json_has_no_word_for_become_null(tmp_path):
    log = TrainingLog(tmp_path / "log.jsonl")
    log.append({"step": 1, "a": math.nan, "b": math.inf, "c": -math.inf, "d": None, "e": 0.0, "f": "x"})
    log.flush()
    assert rows(log.path) == [{"step": 1, "a": None, "b": None, "c": None, "d": None, "e": 0.0, "f": "x"}]


def test_rewind_takes_back_what_comes_after_the_checkpoint(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(
        "".join(json.dumps({"step": step}) + "\n" for step in range(1, 8)) + '{"step": 8, "lo'
    )  # cut by a kill
    assert [row["step"] for row in read_log(path)] == list(range(1, 8))
    log = TrainingLog(path)
    log.rewind("step", 5)
    for step in (6, 7):
        log.append({"step": step, "again": True})
    log.flush()
    assert rows(path) == [{"step": step} for step in range(1, 6)] + [{"step": step, "again": True} for step in (6, 7)]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log.jsonl"]


def test_log_that_is_not_there_is_empty(tmp_path):
    path = tmp_path / "log.jsonl"
    assert read_log(path) == []
    TrainingLog(path).rewind("step", 0)
    assert path.read_text() == ""


def test_another_content_is_refused_with_its_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\nstep 2\n{"step": 3}\n')
    with pytest.raises(DataError, match=r"log.jsonl: line 2: expected a JSON object"):
        read_log(path)
