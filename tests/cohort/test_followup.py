"""Ends of observation: which labels are known, and the risk corrected for censoring, by a second route."""

import datetime as dt

import cohort_tables as slow
import numpy as np
import pytest
from cohort_tables import row

from medtop.cohort.build import Options, build_cohort
from medtop.cohort.followup import CENSORED, DEATH, EVENT, cumulative_incidence, follow_up
from medtop.cohort.labels import REASONS
from medtop.cohort.manifest import default_manifest, summary_lines

AT = dt.date(2010, 1, 10)


def day(number):
    return AT + dt.timedelta(days=number)


def weighted_risk(days, kinds, horizon):
    """The mean of event / G(day-) over all patients: weights written out one by one, G by Kaplan and Meier."""
    n, total = len(days), 0.0
    for mine, kind in zip(days, kinds, strict=True):
        if kind != EVENT or mine > horizon:
            continue
        observed = 1.0
        for other in sorted(set(days)):
            if other >= mine:
                break
            lost = sum(d == other and k == CENSORED for d, k in zip(days, kinds, strict=True))
            # who has an event or dies on that day is no longer there to be lost on it
            there = sum(d > other or (d == other and k == CENSORED) for d, k in zip(days, kinds, strict=True))
            observed *= 1 - lost / there if there else 1
        total += 1 / observed
    return total / n


@pytest.mark.parametrize("seed", range(4))
def test_the_risk_equals_that_of_written_out_weights(seed):
    rng = np.random.default_rng(seed)
    days, kinds = rng.integers(0, 30, 200), rng.integers(0, 3, 200)
    days[:20], kinds[:20] = 31, CENSORED  # observed beyond every horizon
    counts = np.zeros((32, 3), np.int64)
    np.add.at(counts, (days, kinds), 1)
    for horizon, risk in zip((5, 12, 30), cumulative_incidence(counts, (5, 12, 30)), strict=True):
        assert risk == pytest.approx(weighted_risk(days.tolist(), kinds.tolist(), horizon), abs=1e-12)


def test_without_censoring_it_is_the_share_and_undefined_beyond_observation():
    counts = np.zeros((12, 3), np.int64)
    counts[3, EVENT], counts[5, DEATH], counts[11, CENSORED] = 3, 2, 5
    assert cumulative_incidence(counts, (2, 3, 10)) == [0.0, 0.3, 0.3]
    counts[11, CENSORED], counts[6, CENSORED] = 0, 5
    assert cumulative_incidence(counts, (6, 7)) == [0.3, None]
    assert cumulative_incidence(np.zeros((5, 3), np.int64), (3,)) == [None]


def test_it_recovers_the_risk_that_the_known_overstate():
    """10,000 patients, half of them observed for 100 of 365 days: true risk 1 - exp(-365/2000)."""
    rng = np.random.default_rng(0)
    event = np.ceil(rng.exponential(2000, 10_000)).astype(np.int64)
    observed = np.where(rng.random(10_000) < 0.5, 100, 500)
    ends = follow_up(event[:, None], np.full(10_000, 10**9), observed, np.zeros((10_000, 1), bool), 365)
    counts = np.zeros((367, 3), np.int64)
    np.add.at(counts, (ends.days[:, 0], ends.kinds[:, 0]), 1)
    true = 1 - np.exp(-365 / 2000)
    assert cumulative_incidence(counts, (365,))[0] == pytest.approx(true, abs=0.01)
    known = (event <= np.minimum(observed, 365)) | (observed >= 365)
    assert (event <= 365)[known].mean() > true + 0.02


def test_events_and_deaths_after_the_end_of_observation_are_not_seen():
    ends = follow_up(np.array([[7], [7], [9], [5], [50]]), np.array([9, 9, 6, 9, 60]), np.array([7, 6, 7, -1, 99]),
                     np.zeros((5, 1), bool), 20)  # fmt: skip
    assert ends.kinds[:, 0].tolist()[:3] == [EVENT, CENSORED, DEATH] and ends.days[:3, 0].tolist() == [7, 6, 6]
    assert ends.at_risk[:, 0].tolist() == [True, True, True, False, True] and ends.days[4, 0] == 21


def labels(folder, people, kind):
    """dict patient -> (value or None) of MACE within 365 days after a stay that all share; and the manifest."""
    rows = [row(name, "2010-01-08", "2010-01-10", "X") for name in people]
    rows += [row(name, f"{day(e)}", f"{day(e)}", "ICD10_I21") for name, (e, _, _) in people.items() if e is not None]
    times, splits = folder / "times.csv", folder / "splits.csv"
    times.write_text("patient_id,prediction_time\n" + "".join(f"{name},2010-01-10\n" for name in people))
    splits.write_text("patient_id,split\n" + "".join(f"{name},train\n" for name in people))
    known = {
        name: {"death": None if death is None else day(death), "observation_end": None if end is None else day(end)}
        for name, (_, death, end) in people.items()
    }
    connection, report = slow.make_tables(rows, known)
    options = Options(
        prediction_times=str(times), splits=str(splits), tasks=("complications",), horizons=(365,), labels=kind
    )
    result = build_cohort(connection, report, options, folder)
    from medtop.cohort.pickled_lists import read_chunks

    chunk = next(read_chunks(folder / "out.bencs.train"))
    found = {
        name: float(value) if weight else None
        for name, value, weight in zip(
            chunk.patient_ids, chunk.labels["complications"][:, 0], chunk.weights["complications"][:, 0], strict=True
        )
    }
    return found, default_manifest(report, result, options, {})


PEOPLE = {  # event, death, end of observation, in days after the prediction; then the labels of both kinds
    "event_then_end": ((30, None, 60), 1, None),
    "event_and_all_seen": ((30, None, 365), 1, 1),
    "event_past_the_end": ((90, None, 60), 1, None),
    "nothing_and_all_seen": ((None, None, 365), 0, 0),
    "nothing_and_end": ((None, None, 364), None, None),
    "death_ends_observation": ((None, 50, 50), 0, 0),  # would have been seen to the latest end, day 365
    "event_then_death": ((20, 50, 50), 1, 1),
    "death_after_the_end": ((None, 300, 200), 0, None),
    "death_known_and_seen_beyond": ((None, 100, 120), 0, None),
    "unknown_end": ((30, None, None), 1, None),
}


@pytest.mark.parametrize("kind, place", [("observed", 1), ("complete_followup", 2)])
def test_known_labels(tmp_path, kind, place):
    found, manifest = labels(tmp_path, {name: entry[0] for name, entry in PEOPLE.items()}, kind)
    assert found == {name: entry[place] for name, entry in PEOPLE.items()}
    assert any("--labels=complete_followup" in text for text in manifest["statements"]) == (kind != "observed")


def test_overstated_prevalence_is_said(tmp_path):
    """12 events of patients who are observed for 60 days, beside 100 who are seen through without one."""
    people = {f"e{number}": (30, None, 60) for number in range(12)}
    people |= {f"c{number}": (None, None, 60) for number in range(200)}
    people |= {f"n{number}": (None, None, 400) for number in range(100)}
    _, manifest = labels(tmp_path, people, "observed")
    entry = manifest["labels"]["train"]["complications"]["MACE_365"]
    assert entry["prevalence"] == pytest.approx(12 / 112) and entry["risk_ipcw"] == pytest.approx(12 / 312)
    text = " ".join(manifest["statements"])
    assert "MACE_365 10.7% against 3.8%" in text and "--labels=complete_followup" in text
    lines = summary_lines(manifest)
    header = next(line for line in lines if "train prevalence" in line)
    assert header.split()[1:5] == ["train", "prevalence", "IPCW", "known"]
    assert any(line.split()[:3] == ["MACE_365", "10.7%", "3.8%"] for line in lines)
    _, complete = labels(tmp_path, people, "complete_followup")
    assert complete["labels"]["train"]["complications"]["MACE_365"]["known"] == 100
    assert "censored" in REASONS
