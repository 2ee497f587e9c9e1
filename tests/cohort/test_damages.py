"""One random damage in a clean table: the outputs are those of the clean one, or the run is refused, or what happened
is counted and printed. None is silent."""

import collections

import damages
import numpy as np
import pytest

from medtop.cohort.build import Options
from medtop.cohort.manifest import summary_lines
from medtop.cohort.preprocess import CohortInput, preprocess
from medtop.files.errors import DataError
from medtop.sources.dates import DateRules
from medtop.sources.rules import Rules

RUNS = 300
QUICK = 15
OUTPUTS = ("bencs.train", "bencs.valid", "bencs.test", "vocab.txt", "splits.csv")


def run(table, folder):
    """("refused", message), or ("done", bytes of the outputs, {count: number}, lines of the screen)."""
    path, flags, options = table.write(folder)
    try:
        manifest = preprocess(input_of(path, flags), Options(**options), str(folder / "out")).manifest
    except DataError as error:
        return "refused", str(error)
    made = [(folder / f"out.{name}").read_bytes() for name in OUTPUTS if (folder / f"out.{name}").exists()]
    return "done", made, counts_of(manifest), summary_lines(manifest)


def input_of(path, flags):
    return CohortInput(str(path), rules=Rules(dates=DateRules(**flags)))


def counts_of(manifest):
    """Whatever the manifest counts or says, by name: dict of numbers; a sentence counts as 1."""
    source, times = manifest["source"], manifest.get("prediction_times", {})
    found = {**source["counts"], **manifest["rows_dropped"], **manifest["patients_dropped"]}
    found |= {**times.get("rows_dropped", {}), **times.get("counts", {})}
    if manifest["overlapping_visits"]:
        found["overlapping_visits"] = manifest["overlapping_visits"]
    sentences = [*manifest["statements"], *source.get("warnings", ()), *source.get("notes", ())]
    return {name: number for name, number in found.items() if number} | dict.fromkeys(sentences, 1)


ORDINARY = (
    "after_prediction_time",
    "stay_ends_in_death",
    "fewer_than_min_visits",
    "overlapping_visits",
    "Observation: ",
    "More patients are censored",
    "An event is known even where",
)
"""Counts and sentences of every table, which differ when any label does: they are no word about a damage."""


def silence(clean, damaged):
    """Why the damage is silent, or None."""
    if damaged[0] == "refused":
        return None if "\n" not in damaged[1] else f"refused in several lines: {damaged[1]}"
    if damaged[1] == clean[1]:
        return None
    new = {name: number for name, number in damaged[2].items() if clean[2].get(name) != number}
    screen = "\n".join(damaged[3])
    said = [name for name in new if name in screen and not name.startswith(ORDINARY)]
    return None if said else f"other outputs, and only {sorted(new)} counted"


@pytest.fixture(scope="module")
def clean_runs(tmp_path_factory):
    """Function: what the clean table that a damage belongs to gives; each is made once."""
    made = {}

    def clean_of(prepare):
        if prepare not in made:
            table = damages.clean_table()
            prepare(table)
            made[prepare] = run(table, tmp_path_factory.mktemp(prepare.__name__))
            assert made[prepare][0] == "done" and len(made[prepare][1]) == len(OUTPUTS)
        return made[prepare]

    return clean_of


@pytest.fixture
def clean(clean_runs):
    return clean_runs(damages.plain)


def try_damage(number, clean_runs, folder):
    """(the damage's name, how it ended, why it is silent or None)."""
    damage = damages.DAMAGES[number % len(damages.DAMAGES)]
    table, prepare = damages.clean_table(), getattr(damage, "prepare", damages.plain)
    prepare(table)
    damage(table, np.random.default_rng([number, 16]))
    found, clean = run(table, folder), clean_runs(prepare)
    reason = silence(clean, found)
    ended = "refused" if found[0] == "refused" else "equal" if found[1] == clean[1] else "counted"
    return damage.__name__, ended, reason


def test_the_clean_table_is_clean(clean):
    """A repeated run gives the same bytes; no warning stands on its screen."""
    assert not any(line.startswith("warning") for line in clean[3])
    assert set(clean[2]) & {"code_empty", "admit_unparsable", "stay_after_death"} == set()


def test_silence_is_noticed(clean):
    """The test can fail: other outputs without a word are silent, with a word on the screen they are not."""
    other = [b"", *clean[1][1:]]
    assert silence(clean, ("done", other, clean[2], clean[3])) is not None
    assert silence(clean, ("done", other, clean[2] | {"ids_trimmed": 3}, clean[3])) is not None  # not printed
    assert silence(clean, ("done", other, clean[2] | {"ids_trimmed": 3}, [*clean[3], "ids_trimmed 3"])) is None
    assert silence(clean, ("done", other, clean[2] | {"stay_ends_in_death": 9}, [*clean[3], "stay_ends_in_death"]))
    assert silence(clean, clean) is None and silence(clean, ("refused", "x")) is None


def fuzz(numbers, clean_runs, folder):
    silent, ended = [], collections.Counter()
    for number in numbers:
        name, how, reason = try_damage(number, clean_runs, folder / str(number))
        ended[how] += 1
        if reason:
            silent.append(f"{number} {name}: {reason}")
    return silent, ended


def test_some_damages(clean_runs, tmp_path):
    """Every other kind once: `make test-slow` does them all, ten times."""
    silent, _ = fuzz(range(0, 2 * QUICK, 2), clean_runs, tmp_path)
    assert not silent, "\n".join(silent)


@pytest.mark.slow
def test_three_hundred_damages(clean_runs, tmp_path):
    silent, ended = fuzz(range(RUNS), clean_runs, tmp_path)
    assert not silent, "\n".join(silent)
    assert min(ended[how] for how in ("refused", "equal", "counted")) >= 20, ended  # no way of ending is empty
