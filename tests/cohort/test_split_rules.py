"""Splits over time and by site: who goes where, what is hidden at the boundary, and that a leak over it is seen."""

import csv
import dataclasses
import datetime as dt
import json

import cohort_tables as slow
import numpy as np
import pytest
from cohort_tables import row

from medtop.cohort.build import Options, build_cohort
from medtop.cohort.manifest import default_manifest
from medtop.cohort.periods import Known, Periods, day_number
from medtop.cohort.pickled_lists import read_chunks
from medtop.cohort.splits import SPLITS, assign_splits
from medtop.files.errors import DataError

VALID, TEST = "2012-01-01", "2013-01-01"
SCRIPT = "preprocessing/preprocess_pretrain_data.py"
BOUNDS = {"train": ("1900-01-01", VALID), "valid": (VALID, TEST), "test": (TEST, "2900-01-01")}


def build(folder, rows, people=None, **options):
    """(`Cohort`, its manifest, dict split -> list of (patient, day, {label: value or None}))."""
    folder.mkdir(exist_ok=True)
    connection, report = slow.make_tables(rows, people)
    options = Options(
        **{
            "split_by": "time",
            "valid_from": VALID,
            "test_from": TEST,
            "min_code_count": 1,
            "min_code_patients": 1,
            **options,
        }
    )
    cohort = build_cohort(connection, report, options, folder)
    examples = {split: list(_examples(folder / f"out.bencs.{split}", cohort.tasks)) for split in SPLITS}
    return cohort, default_manifest(report, cohort, options, {"vocabulary": None}), examples


def _examples(path, tasks):
    for chunk in read_chunks(path):
        for place, patient in enumerate(chunk.patient_ids):
            labels = {}
            for task, names in tasks.items():
                values, weights = chunk.labels[task][place], chunk.weights[task][place]
                labels |= {name: float(values[k]) if weights[k] else None for k, name in enumerate(names)}
            day = dt.datetime.fromtimestamp(int(chunk.prediction_times[place]), dt.UTC).date()
            yield patient, day.isoformat(), labels


def at(folder, rows, *, person=None, time="2011-11-01", **options):
    """Labels of patient a, who is in the training split, at a time before the boundary."""
    folder.mkdir(exist_ok=True)
    (folder / "times.csv").write_text(f"patient_id,prediction_time\na,{time}\n")
    (folder / "splits.csv").write_text("patient_id,split\na,train\n")
    given = {"prediction_times": str(folder / "times.csv"), "splits": str(folder / "splits.csv")}
    _, _, examples = build(
        folder, [row("a", "2011-10-28", "2011-11-01", "X"), *rows], {"a": person or {}}, **given, **options
    )
    return examples["train"][0][2]


@pytest.mark.parametrize(
    "stay, wanted",
    [
        (("2011-12-24", "2012-02-01"), 1.0),  # eight days in hospital are known on the day before the boundary
        (("2011-12-24", "2011-12-28"), 0.0),
        (("2011-12-25", "2012-02-01"), None),  # seven days are not enough to tell
        (("2011-12-25", "2011-12-28"), None),  # nor may the short one be known where the long one is not
        (("2012-01-01", "2012-01-20"), None),
    ],
)
def test_next_long_stay_at_the_boundary(tmp_path, stay, wanted):
    assert at(tmp_path, [row("a", *stay, "X")], tasks=("long_stay",)) == {"long_stay": wanted}


EVENT = "ICD10_I219"


@pytest.mark.parametrize(
    "rows, person, wanted",
    [
        ([row("a", "2011-12-28", "2011-12-31", EVENT)], {}, (1.0, None)),  # the cut lies within 90 days: for all
        ([row("a", "2011-12-28", "2012-01-01", EVENT)], {}, (None, None)),  # its codes come on the boundary
        ([row("a", "2011-12-28", "2012-01-01", "X")], {}, (None, None)),  # and so do those that are no event
        ([row("a", "2012-01-03", "2012-01-05", EVENT)], {}, (0.0, None)),
        ([row("a", "2012-01-03", "2012-01-05", "X")], {}, (0.0, None)),
        ([row("a", "2012-06-03", "2012-06-05", "X")], {"death": dt.date(2011, 12, 31)}, (0.0, None)),
        ([row("a", "2012-06-03", "2012-06-05", "X")], {"death": dt.date(2012, 1, 1)}, (0.0, None)),
        ([row("a", "2012-06-03", "2012-06-05", "X")], {"observation_end": dt.date(2011, 12, 20)}, (None, None)),
    ],
)
def test_complications_at_the_boundary(tmp_path, rows, person, wanted):
    labels = at(tmp_path, rows, person=person, tasks=("complications",), horizons=(60, 90))
    assert (labels["MACE_60"], labels["MACE_90"]) == wanted


def test_complete_followup_reaches_the_boundary_only(tmp_path):
    rows = [row("a", "2011-12-28", "2011-12-31", EVENT), row("b", "2014-12-28", "2014-12-31", "X")]
    death = {"death": dt.date(2011, 12, 31), "observation_end": dt.date(2011, 12, 31)}
    asked = {"tasks": ("complications",), "horizons": (60, 61), "labels": "complete_followup"}
    labels = at(tmp_path, rows, person=death, **asked)
    assert (labels["MACE_60"], labels["MACE_61"]) == (1.0, None)  # 31 December is the sixtieth day


@pytest.mark.parametrize("index", ["random_visit", "none"])
@pytest.mark.parametrize("visit", ["stay", "discharge_date"])
def test_a_patient_is_in_its_own_split_and_period(tmp_path, index, visit):
    rows, people = slow.random_rows(5)
    tasks = ("long_stay",) if index == "none" else ("long_stay", "complications")
    long_stay = {"long_stay_label": "any"} if index == "none" else {}
    _, manifest, examples = build(tmp_path, rows, people, index=index, visit=visit, tasks=tasks, **long_stay)
    usual = dict(zip(sorted(people), assign_splits(sorted(people), 0), strict=True))
    for split, entries in examples.items():
        low, high = BOUNDS[split]
        assert entries and all(low <= day < high and usual[patient] == split for patient, day, _ in entries)
        assert manifest["dates"]["prediction_times_of_splits"][split][0] == min(day for _, day, _ in entries)[:7]
    assert manifest["patients_dropped"]["outside_period"] > 10
    assert manifest["patients_in"] == manifest["patients_out"] + sum(manifest["patients_dropped"].values())
    dropped = sum(manifest["rows_dropped"].values())
    assert manifest["rows_in"] == manifest["rows_out"] + manifest["rows_merged"] + dropped
    assert manifest["split_by"]["valid_from"] == VALID
    assert any("--split_by=time" in sentence for sentence in manifest["statements"])


def changed_future(rows, people, boundary, seed):
    """Another future from a day on: other codes of stays that end then, other lengths and new stays, other deaths."""
    rng, day = np.random.default_rng(seed), dt.datetime.fromisoformat(boundary)
    changed = []
    for entry in rows:
        entry = dict(entry)
        if entry["discharge"] >= day:
            if entry["admit"] >= day and rng.random() < 0.5:
                continue
            entry["code"] = str(rng.choice([EVENT, "ICD10_N186", "NEW"]))
        changed.append(entry)
    for patient in people:
        begin = day + dt.timedelta(days=int(rng.integers(0, 300)))
        changed.append(row(patient, begin.isoformat(), (begin + dt.timedelta(days=9)).isoformat(), EVENT, stay="new"))
    new_people = {}
    for patient, person in people.items():
        death, end = person.get("death"), person.get("observation_end")
        late = None if rng.random() < 0.5 else day.date() + dt.timedelta(days=int(rng.integers(0, 400)))
        new_people[patient] = person | {
            "death": late if death is None or death >= day.date() else death,
            "observation_end": end if end is None or end < day.date() else dt.date(2030, 1, 1),
        }
    return changed, new_people


CASES = [
    {"tasks": ("long_stay", "complications")},
    {"tasks": ("long_stay", "complications"), "labels": "complete_followup", "visit": "discharge_date"},
    {"tasks": ("long_stay",), "long_stay_label": "any", "index": "none"},
]


def files(folder):
    return {name: (folder / f"out.{name}").read_bytes() for name in ("bencs.train", "bencs.valid", "vocab.txt")}


@pytest.mark.quick(first=3)
@pytest.mark.parametrize("options", CASES)
@pytest.mark.parametrize("seed", range(3))
def test_nothing_after_the_boundary_moves_a_training_byte(tmp_path, options, seed):
    rows, people = slow.random_rows(seed)
    build(tmp_path / "a", rows, people, **options)
    build(tmp_path / "b", *changed_future(rows, people, VALID, seed), **options)
    build(tmp_path / "c", *changed_future(rows, people, TEST, seed), **options)
    base, other, later = (files(tmp_path / name) for name in "abc")
    assert base["vocab.txt"] == other["vocab.txt"] == later["vocab.txt"]
    assert base["bencs.train"] == other["bencs.train"] == later["bencs.train"]
    assert base["bencs.valid"] == later["bencs.valid"] != other["bencs.valid"]


def epidemic(patients=300):
    """Code X means nothing until 2012 and brings an infarction in 2012; stays every 80 days, X in half the patients."""
    rows = []
    for number in range(patients):
        for stay in range(20):
            admit = dt.date(2010, 1, 1) + dt.timedelta(days=number % 80 + 80 * stay)
            codes = ["ICD10_X00" if number % 2 else "ICD10_Z00"]
            if number % 2 and admit >= dt.date(2012, 1, 10):
                codes = [*codes, EVENT]
            rows += [row(f"p{number}", f"{admit}", f"{admit + dt.timedelta(days=2)}", code) for code in codes]
    return rows


def risk_of_x(folder):
    """(share of infarctions among the known labels of training patients with X, how many labels are known)."""
    cohort, _, examples = build(folder, epidemic(), tasks=("complications",), horizons=(365,))
    labels = [entry[2]["MACE_365"] for entry in examples["train"] if int(entry[0][1:]) % 2]
    known = [value for value in labels if value is not None]
    return float(np.mean(known)) if known else 0.0, len(known)


def test_a_planted_leak_over_the_boundary_is_found(tmp_path, monkeypatch):
    """What X brings begins after the boundary: training labels that know of it have looked over the boundary."""
    cut, known_without_leak = risk_of_x(tmp_path / "cut")
    assert cut == 0

    def blind(self, visits, splits, observation_ends, deaths):
        return Known(visits, np.full(len(splits), 1 << 40), observation_ends, deaths)

    assert known_without_leak > 50
    monkeypatch.setattr(Periods, "at_boundary", blind)
    leaking, known = risk_of_x(tmp_path / "leaking")
    assert leaking > 0.3 and known > 50


def test_the_cut_leaves_no_surplus_of_events(tmp_path):
    """Near the boundary events would be known and their absence not: the share of events stays that of the whole."""
    rng, rows = np.random.default_rng(0), []
    for number in range(3000):
        day = dt.date(2010, 1, 1) + dt.timedelta(days=int(rng.integers(0, 720)))
        rows.append(row(f"p{number}", f"{day}", f"{day}", "X"))
        later = day + dt.timedelta(days=int(rng.integers(1, 1000)))  # uniform: 10% within 100 days
        rows.append(row(f"p{number}", f"{later}", f"{later}", EVENT))
    lines = "".join(f"{entry['patient_id']},{entry['admit'].date()}\n" for entry in rows if entry["code"] == "X")
    (tmp_path / "t.csv").write_text("patient_id,prediction_time\n" + lines)
    asked = {"prediction_times": str(tmp_path / "t.csv"), "tasks": ("complications",), "horizons": (100, 800)}
    _, manifest, _ = build(
        tmp_path, rows, {f"p{n}": {"observation_end": dt.date(2020, 1, 1)} for n in range(3000)}, **asked
    )
    entry = manifest["labels"]["train"]["complications"]["MACE_100"]
    assert entry["known"] > 2000 and abs(entry["prevalence"] - 0.1) < 0.02
    assert manifest["labels"]["train"]["complications"]["MACE_800"]["known"] == 0
    assert any("Nothing is known of" in line and "MACE_800" in line for line in manifest["statements"])


def test_one_given_time_a_patient_decides(tmp_path):
    rows = [row(f"p{k}", "2010-01-01", "2010-01-05", "X") for k in range(6)]
    times = ["2011-12-31", "2012-01-01", "2012-12-31", "2013-01-01", "2013-05-01", "2010-03-01"]
    (tmp_path / "times.csv").write_text(
        "patient_id,prediction_time,own\n" + "".join(f"p{k},{day},{k % 2}\n" for k, day in enumerate(times))
    )
    given = {"prediction_times": str(tmp_path / "times.csv"), "tasks": ()}
    _, manifest, examples = build(tmp_path, rows, **given)
    assert {split: [entry[0] for entry in entries] for split, entries in examples.items()} == {
        "train": ["p0", "p5"],
        "valid": ["p1", "p2"],
        "test": ["p3", "p4"],
    }
    assert any("own come from the file" in sentence for sentence in manifest["statements"])


def test_several_given_times_follow_the_patients_split(tmp_path):
    patients = [f"p{k}" for k in range(40)]
    rows = [row(patient, "2010-01-01", "2010-01-05", "X") for patient in patients]
    days = ["2011-06-01", "2012-06-01", "2013-06-01"]
    lines = [f"{patient},{day}\n" for patient in patients for day in days]
    (tmp_path / "times.csv").write_text("patient_id,prediction_time\n" + "".join(lines))
    given = {"prediction_times": str(tmp_path / "times.csv"), "tasks": ("long_stay",)}
    _, manifest, examples = build(tmp_path, rows, **given)
    usual = dict(zip(patients, assign_splits(patients, 0), strict=True))
    for split, day in zip(SPLITS, days, strict=True):
        assert [entry[:2] for entry in examples[split]] == [
            (p, day) for p in sorted(patients, key=lambda p: p) if usual[p] == split
        ]
    assert manifest["prediction_times"]["rows_dropped"]["outside_period"] == 80


SITES = {"a": ["N"], "b": ["N", "N"], "c": ["S"], "d": ["N", "S"], "e": [""], "f": [], "g": ["W"], "h": ["N", "W"]}


def site_run(folder, **options):
    rows = [row(patient, "2010-01-01", "2010-01-05", "X") for patient in SITES]
    with open(folder / "sites.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["Patient_ID", "site"], *([p, site] for p, sites in SITES.items() for site in sites)])
    asked = {"split_by": "site", "valid_from": None, "test_from": None, "sites": str(folder / "sites.csv")}
    return build(folder, rows, tasks=("long_stay",), **asked | options)


def test_split_by_site(tmp_path):
    _, manifest, examples = site_run(tmp_path, test_sites=("S",), valid_sites=("W",))
    assert {split: [entry[0] for entry in entries] for split, entries in examples.items()} == {
        "train": ["a", "b"],
        "valid": ["g"],
        "test": ["c"],
    }
    assert manifest["patients_dropped"] == {"no_site": 2, "sites_of_several_splits": 2}
    assert manifest["split_by"] == {"by": "site", "train_sites": ["N"], "valid_sites": ["W"], "test_sites": ["S"]}
    assert any("training at N, validation at W, test at S" in sentence for sentence in manifest["statements"])


def test_validation_patients_of_the_training_sites(tmp_path):
    _, _, examples = site_run(tmp_path, test_sites=("S",))
    assert [entry[0] for entry in examples["test"]] == ["c"]
    assert sorted(entry[0] for split in ("train", "valid") for entry in examples[split]) == ["a", "b", "g", "h"]


def test_an_unknown_site_is_refused(tmp_path):
    with pytest.raises(DataError, match="--test_sites: expected sites that .* holds, received 'Q'"):
        site_run(tmp_path, test_sites=("S", "Q"))


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--split_by=time", "--valid_from=2012-01-01"], "expected --test_from"),
        (["--split_by=time", "--valid_from=2012-01-01", "--test_from=2012-01-01"], "expected a day after"),
        (["--split_by=time", "--valid_from=01.02.2012", "--test_from=2013-01-01"], "--valid_from: expected a date"),
        (["--valid_from=2012-01-01"], "no effect without --split_by=time"),
        (["--split_by=site", "--sites=x.csv"], "expected --test_sites"),
        (["--sites=x.csv"], "no effect without --split_by=site"),
        (["--split_by=site", "--sites=x.csv", "--test_sites=A", "--valid_sites=B,A"], "'A' in both".replace("'", "")),
        (["--split_by=time", "--valid_from=2012-01-01", "--test_from=2013-01-01", "--splits=test"], "expected a file"),
        (["--split_by=time", "--valid_from=2012-01-01", "--test_from=2013-01-01", "--index=lineage"], "another rule"),
        (["--split_by=site", "--sites=x.csv", "--test_sites=A"], "x.csv: expected a table"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, run_script, flags, words):
    table = tmp_path / "t.csv"
    table.write_text("patient_id,admit,discharge,code\n1,2010-01-01,2010-01-05,ICD10_I10\n")
    done = run_script(SCRIPT, table, "NA", tmp_path / "out", 0, "--tasks=long_stay", *flags, cwd=tmp_path)
    assert done.returncode == 1 and words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not list(tmp_path.glob("out*"))


def test_through_the_script(tmp_path, run_script):
    """The statement stands on the screen and in the manifest; the same run is known again, another boundary is not."""
    with open(tmp_path / "t.csv", "w") as file:
        file.write("patient_id,admit,discharge,code,site\n")
        for k in range(60):
            for year in (2010, 2012, 2014):
                file.write(f"p{k},{year}-02-01,{year}-02-05,ICD10_I10,{'NSW'[k % 3]}\n")
    basic = [
        tmp_path / "t.csv",
        "NA",
        tmp_path / "out",
        0,
        "--tasks=long_stay",
        "--min_code_count=1",
        "--min_code_patients=1",
    ]
    times = ["--split_by=time", "--valid_from=2011-01-01", "--test_from=2013-06-01"]
    done = run_script(SCRIPT, *basic, *times)
    assert done.returncode == 0 and "Splits over time: training before 2011-01-01" in done.stdout, done
    manifest = json.loads((tmp_path / "out.manifest.json").read_text())
    assert manifest["settings"]["test_from"] == "2013-06-01" and manifest["split_by"]["by"] == "time"
    assert "nothing to do" in run_script(SCRIPT, *basic, *times).stdout
    assert run_script(SCRIPT, *basic, *times[:2], "--test_from=2014-01-01").returncode == 1
    sites = ["--split_by=site", f"--sites={tmp_path / 't.csv'}", "--test_sites=S", "--valid_sites=W", "--overwrite"]
    done = run_script(SCRIPT, *basic, *sites)
    assert done.returncode == 0 and "test at S" in done.stdout, done
    manifest = json.loads((tmp_path / "out.manifest.json").read_text())
    assert manifest["settings"]["valid_sites"] == ["W"] and str(tmp_path / "t.csv") in manifest["inputs"]
    with open(tmp_path / "out.splits.csv") as file:
        assert all(
            int(entry["patient_id"][1:]) % 3 == {"train": 0, "test": 1, "valid": 2}[entry["split"]]
            for entry in csv.DictReader(file)
        )


def test_days_of_observation_stand_in_the_manifest(tmp_path):
    """Until the end of observation, or the boundary where that comes first: by hand."""
    times = [("a", "2011-12-22"), ("b", "2011-12-12"), ("c", "2012-12-31"), ("d", "2013-06-01")]
    (tmp_path / "times.csv").write_text("patient_id,prediction_time\n" + "".join(f"{p},{t}\n" for p, t in times))
    rows = [row(patient, "2010-01-01", "2010-01-05", "X") for patient in "abcd"]
    people = {patient: {"observation_end": dt.date(2013, 6, 11)} for patient in "acd"} | {
        "b": {"observation_end": None}
    }
    given = {"prediction_times": str(tmp_path / "times.csv"), "tasks": ("long_stay",)}
    _, manifest, _ = build(tmp_path, rows, people, **given)
    one = lambda days: {"n": 1, "median": days, "low": days, "high": days}  # noqa: E731
    assert manifest["days_observed_after_prediction"] == {"train": one(9), "valid": one(0), "test": one(10)}


def test_days_of_observation_by_outcome(tmp_path):
    """Fourteen with a prolonged stay, twelve without, one unknown: quartiles by hand; of one person only the number."""
    rows, people, times = [], {}, []
    for number in range(27):
        name = f"p{number:02d}"
        rows.append(row(name, "2010-01-01", "2010-01-05", "X"))
        if number < 26:  # another stay within 30 days, nine days long or one
            rows.append(row(name, "2010-01-10", "2010-01-19" if number < 14 else "2010-01-11", "Y"))
        people[name] = {"observation_end": dt.date(2010, 1, 5) + dt.timedelta(days=40 + number)}
        times.append(f"{name},2010-01-05 23:59:59")
    (tmp_path / "times.csv").write_text("patient_id,prediction_time\n" + "\n".join(times) + "\n")
    given = {"prediction_times": str(tmp_path / "times.csv"), "tasks": ("long_stay",), "split_by": "patient"}
    given |= {"valid_from": None, "test_from": None}
    _, manifest, _ = build(tmp_path, rows, people, **given)
    assert manifest["days_observed_by_outcome"]["long_stay"]["long_stay"] == {
        "with": {"n": 14, "median": 46, "low": 43, "high": 50},
        "without": {"n": 12, "median": 59, "low": 56, "high": 62},
        "unknown": {"n": 1},
    }


def test_shifted_dates_have_no_boundary(tmp_path):
    connection, report = slow.make_tables([row("a", "2010-01-01", "2010-01-05", "X")])
    report.dates = dataclasses.replace(report.dates, shifted_dates=True)
    options = Options(split_by="time", valid_from=VALID, test_from=TEST)
    with pytest.raises(DataError, match="--split_by=time: expected dates of one calendar"):
        build_cohort(connection, report, options, tmp_path)


def test_day_number():
    assert day_number("1969-12-31") == -1
