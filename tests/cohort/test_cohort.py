"""The columnar cohort against a slow reading of its rules, patient by patient."""

import datetime as dt
import random
from collections import Counter

import cohort_tables as slow
import numpy as np
import pytest

from medtop.cohort import build as cohort
from medtop.cohort import example_columns, sorted_rows, tally
from medtop.cohort.build import Options, build_cohort
from medtop.cohort.manifest import default_manifest
from medtop.cohort.pickled_lists import read_chunks
from medtop.cohort.splits import SPLITS
from medtop.cohort.vocabulary import UNK, Vocabulary
from medtop.files.errors import DataError

FIRST_CODE = 5


def build(rows, people, folder, **options):
    """Runs the cohort on these rows; returns (Cohort, dict split -> list of examples)."""
    folder.mkdir(parents=True, exist_ok=True)
    connection, report = slow.make_tables(rows, people)
    result = build_cohort(connection, report, Options(**options), folder)
    connection.close()
    return result, {split: list(read_examples(folder / f"out.bencs.{split}", result.vocabulary)) for split in SPLITS}


def read_examples(path, vocabulary):
    """Yields each example of a file as plain Python values, codes as strings."""
    for chunk in read_chunks(path):
        code, visit = 0, 0
        for place, patient in enumerate(chunk.patient_ids):
            codes = slice(code, code + int(chunk.code_counts[place]))
            visits = slice(visit, visit + int(chunk.visit_counts[place]))
            code, visit = codes.stop, visits.stop
            labels = {
                task: [
                    float(value) if weight else None
                    for value, weight in zip(values[place], chunk.weights[task][place], strict=True)
                ]
                for task, values in chunk.labels.items()
            }
            yield {
                "patient": patient,
                "time": int(chunk.prediction_times[place]),
                "sex": int(chunk.sexes[place]),
                "age_at_prediction": int(chunk.ages_at_prediction[place]),
                "codes": [vocabulary.tokens[number] for number in chunk.codes[codes]],
                **{name: getattr(chunk, name)[codes].tolist() for name in ("visits", "visit_positions")},
                **{
                    name: getattr(chunk, name)[visits].tolist()
                    for name in ("stay_days", "gaps_before", "recencies", "ages")
                },
                "labels": labels,
            }


def seconds(moment):
    return int((moment - dt.datetime(1970, 1, 1)).total_seconds())


def expected(rows, people, options, times=None):
    """dict (patient, seconds) -> slow example, and Counter of reasons, of patients and of rows."""
    found, patients, dropped = {}, Counter(), Counter()
    for patient, person in people.items():
        own = slow.living([entry for entry in rows if entry["patient_id"] == patient], person)
        if not own:
            continue  # counted as `after_death`
        visits = slow.visits_of(own, options.visit)
        if times is not None:
            chosen = times.get(patient, [])
        elif options.index == "lineage":
            chosen = slow.slow_lineage(visits)
        elif options.index == "none":
            chosen = visits[-1]["discharge"]
        else:
            chosen = slow.slow_random_visit(visits, person, patient, options.seed, options.min_visits)
        if isinstance(chosen, str):
            patients[chosen] += 1
            dropped[chosen] += len(own)
            continue
        for when, until in chosen if times is not None else [(chosen, chosen)]:
            found[patient, seconds(when)] = slow.slow_example(visits, person, when, until)
    return found, patients, dropped


def assert_same(examples_found, wanted, codes=True):
    """All examples equal the slow ones; rare codes may be [UNK]."""
    flat = [example for split in SPLITS for example in examples_found[split]]
    assert {(example["patient"], example["time"]) for example in flat} == set(wanted)
    assert len(flat) == len(wanted)
    for example in flat:
        want = wanted[example["patient"], example["time"]]
        for name in (
            "visits",
            "visit_positions",
            "stay_days",
            "gaps_before",
            "recencies",
            "ages",
            "age_at_prediction",
            "sex",
        ):
            assert example[name] == want[name], name
        assert len(example["codes"]) == len(want["codes"])
        assert all(got in (code, UNK) for got, code in zip(example["codes"], want["codes"], strict=True))
        if codes:
            assert example["codes"] == want["codes"]
        if "complications" in example["labels"]:
            assert example["labels"]["complications"] == want["complications"]
        assert example["labels"]["long_stay"] == [want["long_stay"]]


@pytest.mark.quick(first=6)
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "options",
    [{"min_visits": 1}, {"min_visits": 3}, {"visit": "discharge_date"}, {"index": "lineage"}, {"index": "none"}],
)
@pytest.mark.parametrize("with_times, with_stays", [(True, True), (False, False)])
def test_equals_slow_reading(tmp_path, seed, options, with_times, with_stays):
    rows, people = slow.random_rows(seed, 60, with_times, with_stays)
    options = {"min_code_count": 1, "min_code_patients": 1, "seed": seed, **options}
    result, found = build(rows, people, tmp_path, **options)
    wanted, patients, dropped = expected(rows, people, Options(**options))
    known = set(result.vocabulary.tokens)
    assert_same(found, wanted, codes=all(code in known for want in wanted.values() for code in want["codes"]))
    tally = result.tally
    assert tally.patients_dropped() == dict(patients)
    rows_dropped = tally.rows_dropped()
    assert {reason: rows_dropped[reason] for reason in dropped} == dict(dropped)
    assert tally.rows_out == sum(len(want["codes"]) for want in wanted.values())
    assert tally.rows_out + tally.rows_merged == sum(want["rows"] for want in wanted.values())
    late = [entry for entry in rows if not slow.living([entry], people[entry["patient_id"]])]
    gone = set(people) - {entry["patient_id"] for entry in rows if entry not in late}
    assert result.after_death == (len(late), len({entry["patient_id"] for entry in late}), len(gone)) and late
    assert len(rows) == len(late) + tally.rows_out + tally.rows_merged + sum(rows_dropped.values())
    assert len(people) == len(gone) + tally.patients[0] + sum(patients.values())


def test_random_rows_hold_what_the_rules_speak_of():
    """The comparison above is empty unless the random tables hold overlaps, ties, deaths and all label states."""
    rows, people = slow.random_rows(1, 60)
    wanted, patients, _ = expected(rows, people, Options(seed=1, min_visits=2))
    states = Counter(value for want in wanted.values() for value in want["complications"])
    assert min(states[1], states[0], states[None]) > 10
    assert set(Counter(want["long_stay"] for want in wanted.values())) == {0, 1, None}
    assert set(patients) == {"fewer_than_min_visits", "stay_ends_in_death"}
    visits = [slow.visits_of([entry for entry in rows if entry["patient_id"] == patient], "stay") for patient in people]
    pairs = [(before, after) for own in visits for before, after in zip(own, own[1:], strict=False)]
    assert sum(after["admit"] < before["discharge"] for before, after in pairs) > 20
    assert sum(after["discharge"] == before["discharge"] for before, after in pairs) > 5
    assert any(len(visit["codes"]) < len(visit["rows"]) for own in visits for visit in own)


def given_file(path, rows, people, seed=4):
    """Writes prediction times: several per patient, dates and times, some without history, some strangers."""
    rng = np.random.default_rng(seed)
    times, lines, counts = {}, [], Counter()
    for patient, person in people.items():
        own = [entry for entry in rows if entry["patient_id"] == patient]
        living = slow.living(own, person)
        for number in range(int(rng.integers(0, 4))):
            stay = own[int(rng.integers(len(own)))]
            when = stay["discharge"] + dt.timedelta(days=int(rng.integers(-30, 60)), minutes=int(rng.integers(0, 3)))
            until = when
            if number % 2:
                when = dt.datetime(when.year, when.month, when.day)
                until = when + dt.timedelta(days=1, seconds=-1)
            if (when, until) in times.get(patient, []) or any(when == other for other, _ in times.get(patient, [])):
                continue
            lines.append(f"{patient},{when.date() if number % 2 else when}")
            if not living:
                continue
            if min(entry["discharge"] for entry in living) > until:
                counts["no_stay_by_prediction_time"] += 1
            elif person["death"] is not None and person["death"] < when.date():
                counts["death_before_prediction_time"] += 1
            else:
                times.setdefault(patient, []).append((when, until))
    lines.append("stranger,2012-01-01")
    random.Random(seed).shuffle(lines)
    path.write_text("\n".join(["Patient_ID,prediction_time", *lines]) + "\n")
    return times, counts


@pytest.mark.parametrize("most_values", [4_000_000, 50])
def test_given_times_equal_slow_reading(tmp_path, monkeypatch, most_values):
    """Several times per patient, dates and times; also where histories are laid out in many small groups."""
    monkeypatch.setattr(example_columns, "MOST_VALUES", most_values)
    rows, people = slow.random_rows(5, 80)
    times, counts = given_file(tmp_path / "times.csv", rows, people)
    options = {"prediction_times": str(tmp_path / "times.csv"), "min_code_count": 1, "min_code_patients": 1}
    result, found = build(rows, people, tmp_path / "out", **options)
    wanted, _, _ = expected(rows, people, Options(**options), times)
    assert max(Counter(patient for patient, _ in wanted).values()) > 1
    assert_same(found, wanted, codes=False)
    assert result.tally.times_dropped() == dict(counts)
    assert result.given_times["rows_dropped"]["patient_without_stays"] == 1
    rows_in = len(rows) - result.after_death[0]
    assert rows_in == result.tally.rows_out + result.tally.rows_merged + sum(result.tally.rows_dropped().values())
    splits = [{example["patient"] for example in found[split]} for split in SPLITS]
    assert not (splits[0] & splits[1] or splits[0] & splits[2] or splits[1] & splits[2])


def test_own_labels(tmp_path):
    """Columns `<task>` and `<task>.<label>`: values as written, empty is unknown; our task of that name gives way."""
    rows = [
        slow.row("a", "2010-01-01", "2010-01-02", "ICD10_I10"),
        slow.row("b", "2010-01-01", "2010-01-02", "ICD10_I10"),
    ]
    path = tmp_path / "times.csv"
    path.write_text("patient_id,prediction_time,long_stay,gout.left,gout.right\na,2010-02-01,1,,0\nb,2010-02-01,,1,1\n")
    result, found = build(rows, {}, tmp_path / "out", prediction_times=str(path), tasks=("long_stay",))
    assert result.tasks == {"long_stay": ["long_stay"], "gout": ["left", "right"]}
    labels = {example["patient"]: example["labels"] for split in SPLITS for example in found[split]}
    assert labels == {"a": {"long_stay": [1], "gout": [None, 0]}, "b": {"long_stay": [None], "gout": [1, 1]}}
    entries = [entry["gout"]["left"]["unknown"].get("not_given", 0) for entry in result.tally.labels().values()]
    assert sum(entries) == 1


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "patient,prediction_time\na,2010-01-01\n",
            "line 1: expected the column patient_id, received patient, prediction_time",
        ),
        ("patient_id,prediction_time\na,2010-01-01\na,soon\n", "line 3: expected a patient and a prediction time"),
        ("patient_id,prediction_time,x\na,2010-01-01,2\n", "line 2: column x: expected 1, 0 or nothing"),
        ("patient_id,prediction_time,x\na,2010-01-01,1\na,2010-01-01,0\n", "line 3: expected one row for a patient"),
        (
            "patient_id,prediction_time,.x\na,2010-01-01,1\n",
            "line 1: expected label columns called <task> or <task>.<label>",
        ),
        ("", "received an empty file"),
    ],
)
def test_bad_prediction_times(tmp_path, text, message):
    path = tmp_path / "times.csv"
    path.write_text(text)
    rows = [slow.row("a", "2009-01-01", "2009-01-02", "ICD10_I10")]
    with pytest.raises(DataError) as error:
        build(rows, {}, tmp_path / "out", prediction_times=str(path))
    assert message in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def output_bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("out.*"))}


def test_file_order_and_batch_size_change_nothing(tmp_path, monkeypatch):
    rows, people = slow.random_rows(7, 150)
    build(rows, people, tmp_path / "one")
    shuffled = rows[:]
    random.Random(0).shuffle(shuffled)
    build(shuffled, people, tmp_path / "two")
    assert output_bytes(tmp_path / "one") == output_bytes(tmp_path / "two")
    whole = sorted_rows.sorted_rows

    def small(*arguments, **more):
        for part in whole(*arguments, **more):  # cut into pieces of 7 rows, joined again at patients' ends
            yield from sorted_rows.whole_patients(part.part(start, start + 7) for start in range(0, len(part), 7))

    monkeypatch.setattr(cohort, "sorted_rows", small)
    monkeypatch.setattr(cohort, "CHUNK_EXAMPLES", 5_000)
    build(rows, people, tmp_path / "three")
    assert output_bytes(tmp_path / "one") == output_bytes(tmp_path / "three")


def test_whole_patients_joins_what_batches_cut():
    patients = np.repeat(np.arange(6), [1, 9, 1, 3, 20, 2]).astype(np.int32)
    rows = sorted_rows.Rows(patients, *(np.arange(36, dtype=np.int64) for _ in range(2)), np.arange(36, dtype=np.int32))
    for size in (1, 2, 3, 5, 36, 100):
        parts = list(sorted_rows.whole_patients(rows.part(start, start + size) for start in range(0, 36, size)))
        assert np.concatenate([part.codes for part in parts]).tolist() == list(range(36))
        ends = [set(part.patients.tolist()) for part in parts]
        assert all(not (one & other) for one, other in zip(ends, ends[1:], strict=False))


def test_small_chunks_hold_the_same_examples(tmp_path, monkeypatch):
    rows, people = slow.random_rows(8, 100)
    _, one = build(rows, people, tmp_path / "one")
    monkeypatch.setattr(cohort, "CHUNK_EXAMPLES", 3)
    _, two = build(rows, people, tmp_path / "two")
    assert one == two
    assert len(list(read_chunks(tmp_path / "two/out.bencs.train"))) > 10


def test_future_only_codes_change_no_feature(tmp_path):
    """A code that occurs only after the prediction time (also a frequent one) moves no id, no byte of a feature."""
    rows, people = slow.random_rows(9, 100)
    result, before = build(rows, people, tmp_path / "one", tasks=("long_stay",))
    times = {example["patient"]: example["time"] for split in SPLITS for example in before[split]}
    future = [entry for entry in rows if seconds(entry["discharge"]) > times.get(entry["patient_id"], 2**60)]
    assert len(future) > 50
    planted = [{**entry, "code": "ICD10_X999", "order_1": None, "order_3": 9} for entry in future]
    _, after = build(rows + planted, people, tmp_path / "two", tasks=("long_stay",))
    assert before == after
    for name in (
        "out.bencs.train",
        "out.bencs.valid",
        "out.bencs.test",
        "out.types",
        "out.vocab.txt",
        "out.splits.csv",
    ):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert "ICD10_X999" not in result.vocabulary.ids


def test_a_code_of_the_past_does_change_features(tmp_path):
    """The check above is able to fail."""
    rows, people = slow.random_rows(9, 100)
    build(rows, people, tmp_path / "one", tasks=("long_stay",))
    planted = [{**entry, "code": "ICD10_X999"} for entry in rows]
    build(rows + planted, people, tmp_path / "two", tasks=("long_stay",))
    assert (tmp_path / "one/out.bencs.train").read_bytes() != (tmp_path / "two/out.bencs.train").read_bytes()


def test_vocabulary_counts_training_features_only(tmp_path):
    """By falling frequency in the training split's features after merging; ties by code; rare ones are [UNK]."""
    rows, people = slow.random_rows(10, 150)
    result, found = build(rows, people, tmp_path, min_code_count=10)
    wanted, _, _ = expected(rows, people, Options())
    counts = Counter(
        code for example in found["train"] for code in wanted[example["patient"], example["time"]]["codes"]
    )
    order = sorted((code for code in counts if counts[code] >= 10), key=lambda code: (-counts[code], code))
    assert list(result.vocabulary.tokens[FIRST_CODE:]) == order
    assert any(count < 10 for count in counts.values()), "no rare code to drop: the test shows nothing"
    known = set(order)
    for split in SPLITS:
        codes = [code for example in found[split] for code in example["codes"]]
        share = sum(code != UNK for code in codes) / len(codes)
        assert result.known_codes[split] == pytest.approx(share)
        for example in found[split]:
            want = wanted[example["patient"], example["time"]]["codes"]
            assert example["codes"] == [code if code in known else UNK for code in want]


def test_frozen_vocabulary(tmp_path):
    rows, people = slow.random_rows(11, 60)
    Vocabulary.from_counts(["ICD10_I10", "NEVER"], [9, 5]).write(tmp_path / "given")
    result, found = build(rows, people, tmp_path / "out", vocabulary=str(tmp_path / "given.types"))
    assert result.vocabulary.tokens[FIRST_CODE:] == ("ICD10_I10", "NEVER")
    assert {code for split in SPLITS for example in found[split] for code in example["codes"]} == {"ICD10_I10", UNK}
    Vocabulary(["empty_pad", "A"]).write(tmp_path / "medbert")
    with pytest.raises(DataError, match="expected a vocabulary of the default layout"):
        build(rows, people, tmp_path / "out2", vocabulary=str(tmp_path / "medbert.types"))


def test_subset_is_seeded_and_nested(tmp_path):
    rows, people = slow.random_rows(12, 80)
    chosen = {}
    for size, seed in ((10, 0), (30, 0), (30, 1), (0, 0)):
        result, found = build(rows, people, tmp_path / f"{size}_{seed}", subset_size=size, seed=seed, min_visits=1)
        chosen[size, seed] = {example["patient"]: example["time"] for split in SPLITS for example in found[split]}
        assert result.patients_not_in_subset == (80 - size if size else 0)
        assert len(rows) == (
            result.tally.rows_out
            + result.tally.rows_merged
            + result.rows_not_in_subset
            + result.after_death[0]
            + sum(result.tally.rows_dropped().values())
        )
    assert chosen[10, 0].items() <= chosen[30, 0].items() <= chosen[0, 0].items()  # same times in a larger sample
    assert chosen[30, 0].keys() != chosen[30, 1].keys()


def test_one_split_takes_all_patients(tmp_path):
    rows = [slow.row(str(patient), "2010-01-01", "2010-01-02", "ICD10_I10") for patient in range(30)]
    _, found = build(rows, {}, tmp_path, splits="train")
    assert {name: len(found[name]) for name in SPLITS} == {"train": 30, "valid": 0, "test": 0}
    for split in ("valid", "test"):
        _, found = build(rows, {}, tmp_path / split, splits=split, vocabulary=str(tmp_path / "out.types"))
        assert {name: len(found[name]) for name in SPLITS} == {name: 30 * (name == split) for name in SPLITS}
    with pytest.raises(DataError, match="vocabulary: expected a training split"):
        build(rows, {}, tmp_path / "none", splits="test")


def test_numeric_ids_come_in_numeric_order(tmp_path):
    rows = [slow.row(patient, "2010-01-01", "2010-01-02", "ICD10_I10") for patient in ("10", "9", "100")]
    _, found = build(rows, {}, tmp_path, splits=None)
    (tmp_path / "splits.csv").write_text("patient_id,split\n9,train\n10,train\n100,train\n")
    _, found = build(rows, {}, tmp_path / "two", splits=str(tmp_path / "splits.csv"))
    assert [example["patient"] for example in found["train"]] == ["9", "10", "100"]
    assert (tmp_path / "two/out.splits.csv").read_text() == "patient_id,split\n9,train\n10,train\n100,train\n"


def test_overlaps_are_counted(tmp_path):
    rows = [
        slow.row("a", "2010-01-01", "2010-01-10", "X"),
        slow.row("a", "2010-01-05", "2010-01-12", "X"),
        slow.row("a", "2010-01-12", "2010-01-13", "X"),
        slow.row("b", "2009-01-01", "2010-01-11", "X"),
    ]
    result, _ = build(rows, {}, tmp_path)
    assert result.tally.overlaps == 1


def test_dry_run_counts_the_same_and_writes_nothing(tmp_path):
    rows, people = slow.random_rows(13, 50)
    connection, report = slow.make_tables(rows, people)
    dry = build_cohort(connection, report, Options(), tmp_path, write=False)
    assert list(tmp_path.iterdir()) == []
    wet = build_cohort(connection, report, Options(), tmp_path)
    assert dry.tally.labels() == wet.tally.labels() and dry.tally.splits() == wet.tally.splits()
    assert dry.vocabulary == wet.vocabulary


def test_nobody_left_is_an_error(tmp_path):
    rows = [slow.row("a", "2010-01-01", "2010-01-02", "X")]
    with pytest.raises(DataError, match="expected at least one patient.*fewer_than_min_visits 1"):
        build(rows, {}, tmp_path, min_visits=5)


def test_endpoints_need_icd_codes(tmp_path):
    rows = [slow.row("a", "2010-01-01", "2010-01-02", "250.21")]
    connection, report = slow.make_tables(rows)
    report.icd_codes = False
    with pytest.raises(DataError, match="expected ICD codes .* --tasks=long_stay"):
        build_cohort(connection, report, Options(), tmp_path)
    assert build_cohort(connection, report, Options(tasks=("long_stay",)), tmp_path).tasks == {
        "long_stay": ["long_stay"]
    }
    own = tmp_path / "own.json"
    own.write_text('{"endpoints": {"KETO": {"phecode": ["250.2"]}}}')
    result = build_cohort(connection, report, Options(endpoints=str(own), horizons=(30,)), tmp_path)
    assert result.tasks["complications"] == ["KETO_30"]
    assert (
        sum(
            entry["complications"]["KETO_30"]["unknown"].get("prevalent", 0) for entry in result.tally.labels().values()
        )
        == 1
    )


def test_tables_that_do_not_fit_are_a_fault(tmp_path):
    """A row without a patient would vanish in the join: the sum of rows would not hold, so it stops."""
    connection, report = slow.make_tables([slow.row(name, "2010-01-01", "2010-01-02", "X") for name in "ab"])
    connection.execute("DELETE FROM patients WHERE patient_id = 'b'")
    with pytest.raises(RuntimeError, match="2 rows of stays, 1 after joining"):
        build_cohort(connection, report, Options(), tmp_path)


def test_short_observation_is_named(tmp_path):
    """Events are known where their absence is not: the manifest says for which labels that is most of the patients."""
    rows = [slow.row(f"p{number}", "2010-01-01", "2010-01-05", "X") for number in range(40)]
    for days, said in ((300, True), (365, False)):
        end = dt.date(2010, 1, 5) + dt.timedelta(days=days)
        people = {f"p{number}": {"observation_end": end} for number in range(40)}
        connection, report = slow.make_tables(rows, people)
        options = Options(horizons=(365,))
        manifest = default_manifest(report, build_cohort(connection, report, options, tmp_path), options, {})
        sentences = [
            line for line in manifest["statements"] if line.startswith("More patients are censored than known")
        ]
        assert bool(sentences) is said
        assert not said or "MACE_365, CKD_365, RET_365, NEUR_365" in sentences[0]


@pytest.mark.quick("False")
@pytest.mark.parametrize("several", [False, True])
def test_codes_of_few_patients_are_unknown_however_often_they_occur(tmp_path, monkeypatch, several):
    """Against sets of patients, who have several examples, over several batches, and codes again and again."""
    monkeypatch.setattr(sorted_rows, "BATCH_ROWS", 50)
    monkeypatch.setattr(tally, "MOST_COUNTED", 7)
    rows, people = slow.random_rows(10, 120)
    rows = [
        entry | {"code": f"OWN{int(entry['patient_id'][1:]) % 45}"} if place % 3 == 0 else entry
        for place, entry in enumerate(rows)
    ]
    shared = {"min_code_count": 1, "tasks": (), "index": "none", "splits": "train"}
    if several:
        lines = [f"{entry['patient_id']},{entry['discharge']:%Y-%m-%dT%H:%M:%S}" for entry in rows]
        (tmp_path / "times.csv").write_text("patient_id,prediction_time\n" + "\n".join(dict.fromkeys(lines)) + "\n")
        shared |= {"prediction_times": str(tmp_path / "times.csv"), "index": "random"}
    _, found = build(rows, people, tmp_path / "all", min_code_patients=1, **shared)
    whose = {}
    for example in found["train"]:
        for code in example["codes"]:
            whose.setdefault(code, set()).add(example["patient"])
    assert (len(found["train"]) > 1.5 * len({example["patient"] for example in found["train"]})) == several
    for least in (2, 3, 5):
        result, _ = build(rows, people, tmp_path / str(least), min_code_patients=least, **shared)
        few = {code for code, patients in whose.items() if len(patients) < least}
        assert set(result.vocabulary.tokens[FIRST_CODE:]) == set(whose) - few and few
        assert result.code_patients == {
            "min_code_patients": least,
            "left_out_for_few_patients": len(few),
            "codes_of_fewer_than_5_patients": sum(least <= len(patients) < 5 for patients in whose.values()),
        }
