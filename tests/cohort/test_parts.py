"""Parts of a cohort: whatever their number, every output is the same, byte for byte, and so are the sums."""

import datetime
import random

import pytest

from medtop.cohort.build import Options
from medtop.cohort.engines.parts import spans
from medtop.cohort.preprocess import OUTPUTS, CohortInput, preprocess
from medtop.cohort.tally import SUMS, TABLES, Tally
from medtop.synthetic.cohort import cohort_paths, write_cohort

DAY = datetime.timedelta(days=1)
IDS = {"text": ["p{}", "Ö{}", "漢{}", "P {}"], "numbers": ["{}", "-{}", "00{}", "9{}"]}


def messy(folder, ids, patients=40, seed=3):
    """A table with null orders and stays, ties, dates of 1960 and of both versions, deaths, rows in no order."""
    chance = random.Random(seed)
    rows = []
    for number in range(patients):
        name = IDS[ids][number % 4].format(number + 1)
        day = datetime.date(1960, 1, 1) + chance.randrange(20_000) * DAY
        death = day + chance.randrange(400, 3000) * DAY if number % 5 == 0 else ""
        for stay in range(chance.randrange(1, 9)):
            end = day + chance.choice([0, 1, 3, 9]) * DAY
            for _ in range(chance.randrange(1, 5)):
                code = chance.choice(
                    ["ICD10_E119", "ICD10_I214", "ICD9_25000", "ICD10_N183", "ICD10_E1131", "ICD10_Z00"]
                )
                order = chance.choice(["", "1", "1", "2"])
                stay_id = chance.choice(["", f"s{stay}"])
                rows.append(f"{name},{day},{end},{code},{stay_id},{order},{death},1950-02-03,2020-01-01")
            if chance.random() < 0.2:
                rows.append(rows[-1])
            day = end + chance.randrange(0, 500) * DAY
    chance.shuffle(rows)
    path = folder / "messy.csv"
    header = "patient_id,admit,discharge,code,stay_id,order_1,death,birth,observation_end\n"
    path.write_text(header + "\n".join(rows) + "\n", encoding="utf-8")
    names = sorted({row.split(",")[0] for row in rows})
    times = [f"{name},{datetime.date(1990, 1, 1) + number * 90 * DAY}" for number, name in enumerate(names * 2)]
    (folder / "times.csv").write_text("patient_id,prediction_time\n" + "\n".join(times) + "\n", encoding="utf-8")
    splits = [f"{name},{('train', 'valid', 'test')[number % 3]}" for number, name in enumerate(names[:-4])]
    (folder / "splits.csv").write_text("patient_id,split\n" + "\n".join(splits) + "\n", encoding="utf-8")
    (folder / "map.csv").write_text("from,to\nICD10_E119,A\nICD10_E119,B\nICD10_I214,A\nICD10_N183,C\nICD9_25000,B\n")
    return path


def outputs(path, prefix, parts, **options):
    """(every output as bytes but the manifest, the manifest without what may differ)."""
    manifest = preprocess(CohortInput(data_file=str(path)), Options(num_parts=parts, **options), prefix).manifest
    files = {name: prefix.with_name(f"{prefix.name}.{name}") for name in OUTPUTS if name != "manifest.json"}
    left = sorted(file.name for file in prefix.parent.iterdir() if file.name.startswith(f".{prefix.name}"))
    assert not left
    varying = ("outputs", "created", "time", "seconds", "prefix")
    return (
        {name: file.read_bytes() for name, file in files.items() if file.is_file()},
        {name: value for name, value in manifest.items() if name not in varying},
    )


CASES = {
    "random visits": {},
    "last visits": {"index": "none", "tasks": ("long_stay",), "long_stay_label": "any"},
    "given times": {"prediction_times": "times.csv"},
    "splits and subset": {"splits": "splits.csv", "subset_size": 25},
    "days, full follow-up": {"visit": "discharge_date", "labels": "complete_followup"},
    "over time": {"split_by": "time", "valid_from": "1995-01-01", "test_from": "2005-01-01"},
    "several targets": {"code_map": "map.csv", "code_map_many": "all", "code_map_missing": "drop"},
}


@pytest.mark.quick("several targets-numbers")
@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("case", CASES)
def test_outputs_do_not_depend_on_the_parts(tmp_path, case, ids):
    path = messy(tmp_path, ids)
    files = ("prediction_times", "splits", "code_map")
    options = {name: str(tmp_path / value) if name in files else value for name, value in CASES[case].items()}
    whole, manifest = outputs(path, tmp_path / "p1", 1, **options)
    assert manifest["patients_out"] > 10 and len(whole) >= 6
    for parts in (4, 7):
        files, sums = outputs(path, tmp_path / f"p{parts}", parts, **options)
        assert files == whole
        assert sums == manifest


@pytest.mark.slow
def test_more_parts_than_patients_and_a_generated_cohort(tmp_path):
    write_cohort(tmp_path / "c", 50, 1)
    paths = cohort_paths(tmp_path / "c")
    times = str(paths["prediction_times"])
    whole = outputs(paths["stays"], tmp_path / "p1", 1, prediction_times=times)
    assert outputs(paths["stays"], tmp_path / "p99", 99, prediction_times=times) == whole


def test_spans():
    for patients in (0, 1, 5, 100):
        for parts in (1, 2, 7, 200):
            found = spans(patients, parts)
            assert [place for low, high in found for place in range(low, high)] == list(range(patients))
            assert len(found) <= max(parts, 1)


def test_every_sum_of_a_tally_is_merged():
    """Whoever adds a sum to `Tally` adds it to what parts merge."""
    others = {
        "horizons",
        "tasks",
        "longest",
        "_times",
        "_latest",
        "_latest_labels",
    }  # the last two: no patient is in two parts
    tally = Tally({"long_stay": ["long_stay"]}, 3, (365,))
    assert set(vars(tally)) == {*SUMS, *TABLES, *others}
    again = Tally(tally.tasks, 3, tally.horizons)
    tally.rows, tally.longest[1], tally._times = 7, 5, [[3, 9], [], [1, 1]]
    again.load(tally.arrays())
    again.add(tally)
    assert (again.rows, again.longest[1], again._times) == (14, 5, tally._times)
