"""Whole cohorts against an independent reading of the rules in pandas (`tests/oracles/cohort_rules.py`): every patient,
every label, every count. Open data where MEDTOP_TEST_DATA names them, generated tables always."""

import math

import cohort_rules as rules
import cohort_tables as slow
import pandas as pd
import pytest

from medtop.cohort.build import Options
from medtop.cohort.endpoints import SHIPPED
from medtop.cohort.pickled_lists import SEXES, read_chunks
from medtop.cohort.preprocess import CohortInput, preprocess
from medtop.cohort.vocabulary import Vocabulary
from medtop.synthetic.cohort import write_cohort

ENDPOINTS = "diabetes_complications"
UNK = "[UNK]"


def examples_of(prefix):
    """dict patient -> what was written of its one example."""
    vocabulary, found = Vocabulary.read(f"{prefix}.types"), {}
    for split in rules.SPLITS:
        for chunk in read_chunks(f"{prefix}.bencs.{split}"):
            code = visit = 0
            for place, patient in enumerate(chunk.patient_ids):
                codes = slice(code, code := code + int(chunk.code_counts[place]))
                visits = slice(visit, visit := visit + int(chunk.visit_counts[place]))
                assert patient not in found
                found[patient] = {
                    "split": split,
                    "time": pd.Timestamp(int(chunk.prediction_times[place]), unit="s"),
                    "codes": [vocabulary.tokens[number] for number in chunk.codes[codes]],
                    "visits": chunk.visits[codes].tolist(),
                    "stay_days": chunk.stay_days[visits].tolist(),
                    "age": int(chunk.ages_at_prediction[place]),
                    "sex": SEXES[chunk.sexes[place]] or None,
                    "labels": {task: (chunk.labels[task][place], chunk.weights[task][place]) for task in chunk.labels},
                }
    return found, vocabulary


def compare(folder, data, tables, rows=None, **options):
    """Runs preprocessing on `data`, recounts `tables`, holds everything together; (examples, manifest)."""
    chosen = Options(endpoints=ENDPOINTS, min_code_count=1, min_code_patients=1, **options)
    manifest = preprocess(CohortInput(str(data)), chosen, str(folder / "out")).manifest
    lists = rules.endpoint_lists(SHIPPED / f"{ENDPOINTS}.json")
    wanted, left_out = rules.cohort(
        *tables,
        lists,
        chosen.horizons,
        chosen.seed,
        chosen.min_visits,
        chosen.labels == "complete_followup",
    )
    found, vocabulary = examples_of(folder / "out")
    assert set(found) == set(wanted)
    for patient, want in wanted.items():
        have = found[patient]
        for name in ("split", "time", "visits", "stay_days", "age", "sex"):
            assert have[name] == want[name], name
        assert len(have["codes"]) == len(want["codes"])
        for got, code in zip(have["codes"], want["codes"], strict=True):
            assert got == code or (got == UNK and code not in vocabulary.ids)
        assert {
            label: float(value) if weight else None
            for task, names in manifest["tasks"].items()
            for label, value, weight in zip(names, *have["labels"][task], strict=True)
        } == {name: None if math.isnan(value) else value for name, value in want["labels"].items()}
    assert manifest["patients_out"] == len(wanted) and manifest["patients_dropped"] == left_out["patients"]
    for reason, count in left_out["rows"].items():
        assert manifest["rows_dropped"][reason] == count, reason
    assert manifest["rows_out"] == sum(len(want["codes"]) for want in wanted.values())
    for split in rules.SPLITS:
        for task, names in manifest["tasks"].items():
            for label in names:
                values = [want["labels"][label] for want in wanted.values() if want["split"] == split]
                entry = manifest["labels"][split][task][label]
                assert entry["known"] == sum(not math.isnan(value) for value in values)
                assert entry["positives"] == sum(value == 1 for value in values)
    return wanted, manifest


BOTH = pytest.mark.parametrize("labels", ["observed", "complete_followup"])


@pytest.mark.quick(first=1)
@BOTH
def test_mimic_demo(test_data, tmp_path, labels):
    folder = test_data / "mimic3_demo"
    wanted, manifest = compare(tmp_path, folder, rules.mimic3(folder), labels=labels)
    assert len(wanted) > 50 and manifest["source"]["name"] == "mimic"


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("seed", [0, 1])
def test_synpuf(test_data, tmp_path, labels, seed):
    folder = test_data / "synpuf_sample2"
    wanted, _ = compare(tmp_path, folder, rules.synpuf(folder), labels=labels, seed=seed, horizons=(365, 730))
    values = pd.DataFrame({patient: want["labels"] for patient, want in wanted.items()}).T
    assert len(wanted) > 2_500 and (values.eq(1).sum() > 0).all()  # there is something to compare


def tables_of(rows, people):
    """Frames from the stays tables of `cohort_tables`."""
    diagnoses = pd.DataFrame(rows).rename(columns={"patient_id": "patient", "stay_id": "stay"})
    frame = pd.DataFrame([{"patient": name, **person} for name, person in people.items()])
    for name in ("birth", "death", "observation_end"):
        frame[name] = pd.to_datetime(frame[name])
    return diagnoses, frame


@pytest.mark.quick(first=1)
@BOTH
@pytest.mark.parametrize("seed, min_visits", [(0, 1), (1, 3)])
def test_random_tables(tmp_path, labels, seed, min_visits):
    """Overlaps, ties, deaths, histories, both ICD versions: written as one CSV of standard columns and read again."""
    rows, people = slow.random_rows(seed, 80)
    rows = [entry for entry in rows if entry["code"].startswith("ICD")]
    named = {entry["patient_id"] for entry in rows}
    people = {name: person for name, person in people.items() if name in named}
    last = pd.Timestamp("2016-01-01").date()
    for person in people.values():  # the column of the file; where it is empty, a source has a rule of its own
        person["observation_end"] = person["observation_end"] or last
    frame = pd.DataFrame(rows).drop(columns="present_on_admission")
    frame = frame.join(pd.DataFrame(people).T, on="patient_id")
    frame.to_csv(tmp_path / "table.csv", index=False)
    wanted, manifest = compare(
        tmp_path, tmp_path / "table.csv", tables_of(rows, people), labels=labels, seed=seed, min_visits=min_visits
    )
    assert manifest["rows_dropped"]["after_death"] > 0
    values = pd.DataFrame({patient: want["labels"] for patient, want in wanted.items()}).T
    assert values.isna().any(axis=None) and values.eq(1).any(axis=None) and values.eq(0).any(axis=None)


@pytest.mark.quick(first=1)
@BOTH
def test_generated_cohort(tmp_path, labels):
    """What `make_synthetic_cohort.py` writes, read back by pandas."""
    write_cohort(tmp_path / "cohort", 120, 3)
    table = tmp_path / "cohort.csv"
    raw = pd.read_csv(table, dtype=str)
    times = ["admit", "discharge"]
    diagnoses = raw.rename(columns={"patient_id": "patient", "stay_id": "stay"})
    diagnoses[times] = diagnoses[times].apply(pd.to_datetime)
    for name in rules.ORDER:
        if name in diagnoses:
            diagnoses[name] = pd.to_numeric(diagnoses[name])
    people = raw.groupby("patient_id").first().reset_index().rename(columns={"patient_id": "patient"})
    for name in ("birth", "death", "observation_end"):
        people[name] = pd.to_datetime(people[name])
    compare(tmp_path, table, (diagnoses, people), labels=labels)
