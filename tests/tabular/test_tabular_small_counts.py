"""What few people have leaves a cross-validation's files; people are the schema's groups."""

import dataclasses
import json

import numpy as np
import pytest
from tabular_cases import write
from test_tabular_script import SCRIPT, SMALL

from medtop.tabular.encoding import TargetValues
from medtop.tabular.schema import CLASSIFICATION
from medtop.tabular.small_counts import shown_measures, shown_rows


@dataclasses.dataclass
class Column:
    name: str
    kind: str = CLASSIFICATION


@dataclasses.dataclass
class Given:
    table: list
    dropped: dict
    targets: list
    groups: np.ndarray


@pytest.mark.parametrize("count, small", [(0, False), (1, True), (10, True), (11, False)])
@pytest.mark.parametrize("part", ["class", "unknown"])
def test_targets_at_the_ends_of_the_rule(count, small, part):
    """Ten rows a person: a class of few people takes its target's numbers, few unknown people its n."""
    groups = np.repeat(np.arange(60), 10)
    few = groups < count
    target = TargetValues(
        Column("mode"), np.where(few, 1.0, 0.0), ~few if part == "unknown" else few | ~few, ["a", "b"]
    )
    other = TargetValues(Column("flow", "regression"), np.zeros(600), np.ones(600, bool), [])
    number = {"value": 0.8, "low": 0.7, "high": 0.9}
    entry = {"n": int(target.known.sum()), "accuracy": number | {"difference": dict(number)}}
    measured = {"fixed": {"mode": entry, "flow": {"n": 600, "mae": number}, "": {"mean_skill": number}}}
    data = Given([None] * 600, {}, [target, other], groups)
    shown = shown_measures(data, measured, 11)["fixed"]
    assert (shown["mode"]["n"] is None) == small
    hidden = small and part == "class"
    assert (shown["mode"]["accuracy"]["value"] is None) == hidden
    assert (shown["mode"]["accuracy"]["difference"]["low"] is None) == hidden
    assert shown["flow"] == measured["fixed"]["flow"] and shown[""] == measured["fixed"][""]
    assert entry["n"] is not None and entry["accuracy"]["value"] == 0.8, "the caller's numbers stay"
    assert shown_measures(data, measured, 0) == measured == shown_measures(data, measured, 1)


def test_reasons_of_few_rows():
    data = Given([None] * 90, {"age missing": 4, "mode missing": 30, "not adult": 200}, [], np.arange(90))
    assert shown_rows(data, 0) == {"used": 90, "dropped": data.dropped}
    assert shown_rows(data, 11)["dropped"] == {"age missing": None, "mode missing": None, "not adult": 200}


def test_the_script_hides_them(tmp_path, run_script):
    """30 people in the table: a least count above that leaves no target."""
    data, schema = write(tmp_path)
    done = run_script(
        SCRIPT, f"--data_file={data}", f"--schema_file={schema}", f"--output_dir={tmp_path}/run", *SMALL,
        "--loss_balancing=fixed", "--single_task=false", "--baselines=false", "--min_cell=31",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    held_out = json.loads((tmp_path / "run/metrics.json").read_text())["held_out"]
    for target in ("mode", "flow"):
        entry = held_out["fixed"][target]
        assert entry.pop("n") is None and all(measure["value"] is None for measure in entry.values())
    assert held_out["fixed"]["mean_skill"]["value"] is not None
