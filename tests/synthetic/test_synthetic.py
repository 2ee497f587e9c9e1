"""The generated cohort: its written risk recomputed by another route, its outcomes against it, its files."""

import csv
import dataclasses
import datetime
import gzip
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medtop.files.errors import DataError
from medtop.synthetic import codes as synthetic_codes
from medtop.synthetic import cohort, notes, risk
from medtop.synthetic import patients as lives
from medtop.synthetic.blocks import LABEL_TASKS, SECONDS_PER_DAY, generate, observed_history

SCRIPT = Path(__file__).resolve().parents[2] / "preprocessing" / "make_synthetic_cohort.py"
NAMES = [label for _, label in LABEL_TASKS]


@pytest.fixture(scope="module")
def blocks():
    """20,000 patients."""
    return list(generate(20_000, 7))


@pytest.fixture(scope="module")
def known(blocks):
    """Risks and realised labels of 20,000 patients, float [N, K] and int [N, K]."""
    return np.concatenate([block.risks for block in blocks]), np.concatenate([block.targets for block in blocks])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Prefix of a written cohort of 300 patients."""
    prefix = tmp_path_factory.mktemp("cohort") / "c"
    cohort.write_cohort(prefix, 300, 7)
    return prefix


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def past_of(block):
    """Whether each stay ends at or before the prediction time."""
    return block.discharges <= block.prediction_times[block.visit_patients]


# --- the written risk, recomputed from the files in plain Python, one patient after the other


def day(text):
    return datetime.date.fromisoformat(text[:10])


def parts_by_hand(stays, birth, prediction_day):
    """The five parts of the five outcomes from a patient's stays: a list of (admit, discharge, [undotted codes])."""
    stage, first, burden = {}, {}, dict.fromkeys(synthetic_codes.ACUTE_GROUPS, 0.0)
    diseases = {**synthetic_codes.CHRONIC_CONDITIONS, **synthetic_codes.ENDPOINT_DISEASES}
    meaning = {code: (name, n) for name, steps in diseases.items() for n, pair in enumerate(steps, 1) for code in pair}
    for number, (_, discharge, codes) in enumerate(stays):
        for code in codes:
            if code in meaning:
                name, level = meaning[code]
                stage[name] = max(stage.get(name, 0), level)
                first.setdefault(name, number)
        for group, members in synthetic_codes.ACUTE_GROUPS.items():
            if any(code in members for code in codes):
                burden[group] += math.exp(-(prediction_day - discharge).days / 90)
    gaps = [(later[0] - earlier[1]).days for earlier, later in itertools.pairwise(stays)]
    long_share = sum((discharge - admit).days > 7 for admit, discharge, _ in stays) / len(stays)
    numbers = {
        "age": ((prediction_day - birth).days / 365.25 - 66) / 12,
        "visits": (math.log(len(stays)) - 1.8) / 0.8,
        "long_share": (long_share - 0.2) / 0.22,
    }
    quick = math.log((1 + sum(gaps) / len(gaps)) / (1 + gaps[-1])) if len(stays) >= 3 else 0.0
    result = []
    for o in range(5):
        additive = sum(weights[o] * stage.get(name, 0) for name, weights in risk.STAGE_WEIGHTS.items())
        additive += sum(weights[o] * numbers[name] for name, weights in risk.NUMBER_WEIGHTS.items())
        timing = sum(weights[o] * (1 - math.exp(-burden[name])) for name, weights in risk.TIMING_WEIGHTS.items())
        order = combination = 0.0
        for (a, b), weights in zip(risk.ORDER_PAIRS, risk.ORDER_WEIGHTS, strict=True):
            if a in first and b in first and first[a] != first[b]:
                order += weights[o] if first[a] < first[b] else -weights[o]
        for (a, b), weights in zip(risk.COMBINATION_PAIRS, risk.COMBINATION_WEIGHTS, strict=True):
            combination += weights[o] * (a in stage and b in stage)
        result.append([additive, timing, order, combination, quick])
    return result, numbers["age"], sum(1 - math.exp(-value) for value in burden.values())


def risks_by_hand(stays, birth, prediction_day):
    parts, age, recent = parts_by_hand(stays, birth, prediction_day)
    predictors = list(risk.INTERCEPTS)
    for o, p in itertools.product(range(5), range(5)):
        predictors[o] += risk.PART_LOADINGS[p][o] * (parts[o][p] - risk.PART_MEANS[p][o]) / risk.PART_SCALES[p][o]
    death = risk.DEATH_RATE_PER_YEAR / 365.25 * math.exp(0.6 * age + 0.35 * (recent - 0.9))
    loss, result = risk.LOSS_RATE_PER_YEAR / 365.25, []
    for o in range(4):
        event = math.log1p(math.exp(predictors[o])) / 1095
        for days in (365, 730, 1095):
            total = event + death + loss
            ended = (1 - math.exp(-total * days)) / total
            result.append(event * ended / (event * ended + death * ended + math.exp(-total * days)))
    return result + [1 / (1 + math.exp(-predictors[4]))]


def test_risks_follow_from_the_written_table_up_to_the_prediction_time(written):
    """Rows after the prediction time are thrown away before anything is computed, so the future has no influence."""
    times = {row["patient_id"]: row["prediction_time"] for row in read(f"{written}.prediction_times.csv")}
    births, stays = {}, {}
    for row in read(f"{written}.csv"):
        if row["discharge"] <= times[row["patient_id"]]:
            births[row["patient_id"]] = day(row["birth"])
            patient = stays.setdefault(row["patient_id"], {})
            stay = patient.setdefault(row["stay_id"], (day(row["admit"]), day(row["discharge"]), []))
            stay[2].append(row["code"].removeprefix("ICD10_"))
    stated = {}
    for row in read(f"{written}.true_risk.csv"):
        assert row["prediction_time"] == times[row["patient_id"]]
        stated.setdefault(row["patient_id"], []).append((row["task"], row["label"], float(row["risk"])))
    assert len(stated) == 300
    for patient in list(stated)[:200]:
        expected = risks_by_hand(list(stays[patient].values()), births[patient], day(times[patient]))
        assert [row[:2] for row in stated[patient]] == list(LABEL_TASKS)
        np.testing.assert_allclose([row[2] for row in stated[patient]], expected, atol=1e-6, rtol=0)


def test_risks_follow_from_the_observed_rows_alone(blocks):
    """Every later row is changed, moved or lost; the history that is read back, and its risks, stay the same."""
    block, later = blocks[0], ~past_of(blocks[0])
    codes, admits, discharges = block.codes.copy(), block.admits.copy(), block.discharges.copy()
    codes[later[block.code_visits]] = synthetic_codes.STAGE_CODES[-1, 0, 0]
    admits[later] += 40 * SECONDS_PER_DAY
    discharges[later] += 90 * SECONDS_PER_DAY
    changed = dataclasses.replace(block, codes=codes, admits=admits, discharges=discharges)
    found = risk.true_risks(risk.observed_components(observed_history(changed)))
    np.testing.assert_array_equal(found, block.risks)


def test_labels_follow_from_the_written_table(written):
    """The rule of docs/contract.md, "Time and labels", over the file, against the generator's labels."""
    (block,) = generate(300, 7)
    times = {row["patient_id"]: day(row["prediction_time"]) for row in read(f"{written}.prediction_times.csv")}
    patients = {}
    for row in read(f"{written}.csv"):
        patients.setdefault(row["patient_id"], []).append(row)
    seen = set()
    for targets, (patient, rows) in zip(block.targets, patients.items(), strict=True):
        start, end = times[patient], day(rows[0]["observation_end"])
        death = (day(rows[0]["death"]) - start).days if rows[0]["death"] else math.inf
        expected = []
        for prefixes in synthetic_codes.ENDPOINT_PREFIXES.values():
            dates = [day(r["admit"]) for r in rows if r["code"].removeprefix("ICD10_").startswith(prefixes)]
            first = (min(dates) - start).days if dates else math.inf
            for days in (365, 730, 1095):
                zero = death <= days or (end - start).days >= days
                expected.append(-1 if first <= 0 else 1 if first <= days else 0 if zero else -1)
        later = [(day(r["admit"]), day(r["discharge"])) for r in rows if day(r["admit"]) > start]
        near = later and (later[0][0] - start).days <= 365
        expected.append(int((later[0][1] - later[0][0]).days > 7) if near else -1)
        assert targets.tolist() == expected
        seen.update(enumerate(expected))
    assert len(seen) == 39  # each label was met as 1, as 0 and as unknown


def test_components_of_a_history_written_by_hand():
    """Two patients; the second has one visit without a meaningful code."""
    code = synthetic_codes.CODES.index
    history = risk.RiskHistory(
        ages=np.array([78.0, 66.0]),
        visit_patients=np.array([0, 0, 0, 1]),
        stay_days=np.array([2, 8, 7, 1]),
        gaps_before=np.array([0, 30, 10, 0]),
        recencies=np.array([25, 7, 0, 0]),
        code_visits=np.array([0, 0, 1, 1, 1, 2, 2, 3]),
        codes=np.array(
            [
                code("R809"),
                code("J81"),
                code("I129"),
                code("R060"),
                code("J81"),
                code("I10"),
                code("F329"),
                synthetic_codes.FIRST_BACKGROUND,
            ]
        ),
    )
    found = risk.observed_components(history)
    place = {name: number for number, name in enumerate(synthetic_codes.CONDITIONS)}
    assert found["stages"][0, place["hypertension"]] == 2  # the highest ever documented, not the last
    assert found["stages"][0].sum() == 4 and found["stages"][1].sum() == 0
    assert found["order"].tolist() == [[1, 0, 0], [0, 0, 0]]  # proteinuria before hypertension
    assert found["combination"].sum() == 0
    burden = math.exp(-25 / 90) + math.exp(-7 / 90)  # two codes of the group in one visit count once
    np.testing.assert_allclose(found["recent"], [[0, 0, 1 - math.exp(-burden)], [0, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(found["age"], [1, 0])
    np.testing.assert_allclose(found["long_share"], [(1 / 3 - 0.2) / 0.22, -0.2 / 0.22])  # 7 days are not more than 7
    np.testing.assert_allclose(found["acceleration"], [math.log(21 / 11), 0])


def test_reversed_order_turns_the_sign_and_timing_fades():
    code = synthetic_codes.CODES.index

    def components(codes, recencies):
        return risk.observed_components(
            risk.RiskHistory(
                ages=np.array([66.0]),
                visit_patients=np.array([0, 0]),
                stay_days=np.array([1, 1]),
                gaps_before=np.array([0, 50]),
                recencies=np.array(recencies),
                code_visits=np.array([0, 1]),
                codes=np.array([code(name) for name in codes]),
            )
        )

    one, other = components(["R809", "I10"], [51, 0]), components(["I10", "R809"], [51, 0])
    assert one["order"][0, 0] == 1 and other["order"][0, 0] == -1
    assert (risk.linear_predictors(one) > risk.linear_predictors(other)).all()
    recent, old = components(["E119", "J81"], [51, 0]), components(["J81", "E119"], [51, 0])
    assert (risk.linear_predictors(recent) > risk.linear_predictors(old)).all()


# --- outcomes against the written risk


@pytest.mark.parametrize("place", range(13), ids=NAMES)
def test_realised_rates_match_the_stated_risks(known, place):
    """Overall and in fifths of the risk, among known labels: within 4.5 standard errors."""
    risks, targets = (array[known[1][:, place] >= 0, place] for array in known)
    order = np.argsort(risks, kind="stable")
    for part in [order, *np.array_split(order, 5)]:
        error = math.sqrt((risks[part] * (1 - risks[part])).sum())
        assert abs(targets[part].sum() - risks[part].sum()) < 4.5 * error


@pytest.mark.parametrize("place", range(13), ids=NAMES)
def test_best_reachable_lies_between_080_and_088(known, place):
    rows = known[1][:, place] >= 0
    assert 0.80 <= roc_auc_score(known[1][rows, place], known[0][rows, place]) <= 0.88


def test_prevalence_and_share_known(known, blocks):
    risks, targets = known
    rates = {name: targets[targets[:, k] >= 0, k].mean() for k, name in enumerate(NAMES)}
    for endpoint in synthetic_codes.ENDPOINTS:
        assert 0.12 <= rates[f"{endpoint}_1095"] <= 0.25
        assert rates[f"{endpoint}_365"] < rates[f"{endpoint}_730"] < rates[f"{endpoint}_1095"]
    assert 0.15 <= rates["long_stay"] <= 0.35
    assert ((targets >= 0).mean(0) > 0.6).all()
    prevalent = np.concatenate([block.components["stages"][:, synthetic_codes.NUM_CHRONIC :] > 0 for block in blocks])
    assert ((prevalent.mean(0) > 0.10) & (prevalent.mean(0) < 0.20)).all()
    unknown = np.repeat(prevalent, 3, 1)
    assert (targets[:, :12][unknown] == -1).all()


def test_long_stay_risk_holds_whatever_brought_the_patient_in(blocks):
    """First admissions with a new complication last more than 7 days as often as their stated risk, like the others."""
    sums = {True: [0.0, 0.0, 0.0], False: [0.0, 0.0, 0.0]}
    for block in blocks:
        later = np.flatnonzero(~past_of(block))
        patients, index = np.unique(block.visit_patients[later], return_index=True)
        first = later[index]
        endpoint = synthetic_codes.CONDITION_OF[block.codes] - synthetic_codes.NUM_CHRONIC
        rows = endpoint >= 0
        coded = np.zeros(len(block.admits), bool)
        old = (
            block.components["stages"][
                block.visit_patients[block.code_visits[rows]], synthetic_codes.NUM_CHRONIC + endpoint[rows]
            ]
            > 0
        )
        coded[block.code_visits[rows][~old]] = True
        long = (block.discharges[first] - block.admits[first]) > 7 * SECONDS_PER_DAY
        for with_event in (True, False):
            chosen = coded[first] == with_event
            p = block.risks[patients[chosen], -1]
            for place, value in enumerate((long[chosen].sum(), p.sum(), (p * (1 - p)).sum())):
                sums[with_event][place] += value
    for realised, expected, variance in sums.values():
        assert expected > 200 and abs(realised - expected) < 4.5 * math.sqrt(variance)


def test_tally_auroc_agrees_with_scikit_learn(known, blocks):
    tally = cohort.CohortTally()
    for block in blocks:
        tally.add(block)
    labels = tally.labels()
    risks, targets = known
    rows = targets >= 0
    for k, name in enumerate(NAMES):
        expected = roc_auc_score(targets[rows[:, k], k], risks[rows[:, k], k])
        assert labels[name]["best_roc_auc"] == pytest.approx(expected, abs=1e-4)
        assert labels[name]["known"] == pytest.approx(rows[:, k].mean())
    several = rows[:, :12]
    expected = roc_auc_score(targets[:, :12][several], risks[:, :12][several])
    assert labels["micro"]["best_roc_auc"] == pytest.approx(expected, abs=1e-4)
    macro = np.mean([labels[name]["best_roc_auc"] for name in risk.LABELS])
    assert labels["macro"]["best_roc_auc"] == pytest.approx(macro)


# --- lives


def test_sizes_resemble_the_cohort_that_is_described(blocks):
    codes, visits, long, ages, female = [], [], [], [], []
    for block in blocks:
        past = past_of(block)
        visits.append(np.bincount(block.visit_patients[past], minlength=len(block)))
        rows = past[block.code_visits]
        codes.append(np.bincount(block.visit_patients[block.code_visits][rows], minlength=len(block)))
        long.append((block.discharges - block.admits)[past] > 7 * SECONDS_PER_DAY)
        ages.append((block.prediction_times // SECONDS_PER_DAY - block.births) / 365.25)
        female.append(block.sexes == "F")
    codes, visits, ages = np.concatenate(codes), np.concatenate(visits), np.concatenate(ages)
    assert 27 <= np.median(codes) <= 34 and 40 <= codes.mean() <= 50 and (codes > 512).sum() >= 1
    assert 7 <= visits.mean() <= 9 and visits.min() >= 2 and visits.max() > 60
    assert 0.17 <= np.concatenate(long).mean() <= 0.23
    assert 29 < ages.min() and ages.max() < 90.1
    assert 0.4 < np.concatenate(female).mean() < 0.55


def test_code_frequencies_are_zipf_like_over_thousands_of_codes(blocks):
    counts = np.sort(sum(np.bincount(block.codes, minlength=len(synthetic_codes.CODES)) for block in blocks))[::-1]
    assert len(counts) > 3900 and (counts > 0).sum() > 3500
    ranks = np.arange(100, 2000)
    slope = np.polyfit(np.log(ranks), np.log(counts[ranks]), 1)[0]
    assert -1.3 < slope < -0.7


@pytest.mark.slow
def test_stays_are_ordered_and_apart(blocks):
    for block in blocks:
        same = block.visit_patients[1:] == block.visit_patients[:-1]
        assert (np.diff(block.visit_patients) >= 0).all() and (block.discharges >= block.admits).all()
        admit_days, discharge_days = block.admits // SECONDS_PER_DAY, block.discharges // SECONDS_PER_DAY
        assert (admit_days[1:] > discharge_days[:-1])[same].all()
        whole_days = (block.discharges - block.admits) // SECONDS_PER_DAY
        assert (whole_days == discharge_days - admit_days).all()
        assert ((block.discharges - block.admits > 7 * SECONDS_PER_DAY) == (whole_days > 7)).all()
        assert (np.bincount(block.code_visits, minlength=len(block.admits)) >= 1).all()
        cells = block.code_visits * len(synthetic_codes.CODES) + block.codes
        assert len(np.unique(cells)) == len(cells)
        assert (admit_days > block.births[block.visit_patients] + 17 * 365).all()
        ended = block.prediction_times[block.visit_patients] == block.discharges
        assert (np.bincount(block.visit_patients[ended], minlength=len(block)) == 1).all()


def test_death_and_loss_end_what_is_seen(blocks):
    deaths = in_stay = 0
    for block in blocks:
        days = block.discharges // SECONDS_PER_DAY
        start = block.prediction_times // SECONDS_PER_DAY
        assert (days <= block.observation_days[block.visit_patients]).all()
        dead = block.death_days >= 0
        assert (block.death_days[dead] > start[dead]).all()
        assert (block.death_days[dead] == block.observation_days[dead]).all()
        deaths += dead.sum()
        last = np.cumsum(np.bincount(block.visit_patients, minlength=len(block))) - 1
        in_stay += (dead & (days[last] == block.death_days)).sum()
        alive = block.observation_days[~dead] - start[~dead]
        assert (alive < risk.HORIZONS[-1]).any() and (alive >= risk.HORIZONS[-1]).any()
    assert 0.05 < deaths / 20_000 < 0.2
    assert 0.3 < in_stay / deaths < 0.6


def test_no_endpoint_code_before_its_drawn_event():
    """The first code of an endpoint that the history lacks stands in the stay that the drawn event marked."""
    rng = np.random.default_rng(3)
    people = lives.draw_people(rng, 3000)
    past = lives.draw_history(rng, people)
    visit, code, *_ = lives.draw_codes(rng, people, past)
    components = risk.observed_components(lives.history_of(people, past, visit, code))
    prevalent = components["stages"][:, synthetic_codes.NUM_CHRONIC :] > 0
    future = lives.draw_future(rng, people, components, prevalent)
    visit, code, *_ = lives.draw_codes(rng, people, future.visits, lives.possible_endpoints(future, prevalent))
    events, repeats = 0, 0
    for place, prefixes in enumerate(synthetic_codes.ENDPOINT_PREFIXES.values()):
        matches = np.array([name.startswith(prefixes) for name in synthetic_codes.CODES])
        coded = np.zeros(len(future.visits.patients), bool)
        coded[visit[matches[code]]] = True
        for patient in range(3000):
            stays = np.flatnonzero(future.visits.patients == patient)
            marked = stays[future.visits.endpoints[stays, place]]
            assert len(marked) <= 1
            if prevalent[patient, place]:
                assert len(marked) == 0
                repeats += coded[stays].sum()
            elif len(marked):
                events += 1
                assert stays[coded[stays]][0] == marked[0]
            else:
                assert not coded[stays].any()
    assert events > 500 and repeats > 500


def test_endpoints_are_those_of_the_shipped_file():
    path = Path(cohort.__file__).parents[1] / "endpoint_files" / "diabetes_complications.json"
    shipped = json.loads(path.read_text(encoding="utf-8"))["endpoints"]
    assert {name: tuple(code.replace(".", "") for code in codes["icd10"]) for name, codes in shipped.items()} == (
        synthetic_codes.ENDPOINT_PREFIXES
    )


def test_codes_belong_to_their_endpoints_and_no_others():
    codes, conditions = synthetic_codes.CODES, synthetic_codes.CONDITIONS
    assert len(set(codes)) == len(codes)
    for number, code in enumerate(codes):
        name = conditions[synthetic_codes.CONDITION_OF[number]] if synthetic_codes.CONDITION_OF[number] >= 0 else None
        owners = [e for e, prefixes in synthetic_codes.ENDPOINT_PREFIXES.items() if code.startswith(prefixes)]
        assert owners == ([name] if name in synthetic_codes.ENDPOINTS else [])


# --- files


def test_same_seed_same_bytes_and_more_patients_keep_the_first(written, tmp_path):
    cohort.write_cohort(tmp_path / "again", 300, 7)
    cohort.write_cohort(tmp_path / "more", 450, 7)
    cohort.write_cohort(tmp_path / "other", 300, 8)
    for suffix in (".csv", ".prediction_times.csv", ".true_risk.csv"):
        content = Path(f"{written}{suffix}").read_bytes()
        assert content == (tmp_path / f"again{suffix}").read_bytes()
        assert (tmp_path / f"more{suffix}").read_bytes().startswith(content)
        assert content != (tmp_path / f"other{suffix}").read_bytes()


def test_blocks_continue_the_numbers_and_differ():
    first, second = generate(150, 1, block_size=100)
    assert (first.first, len(first), second.first, len(second)) == (0, 100, 100, 50)
    assert cohort.patient_ids(second)[0].as_py() == "P00000100"
    assert not np.array_equal(first.births[:50], second.births)
    (alone,) = generate(60, 1, block_size=100)
    np.testing.assert_array_equal(alone.codes, first.codes[: len(alone.codes)])


@pytest.mark.slow
def test_layouts_hold_the_same_patients(written, tmp_path):
    cohort.write_cohort(tmp_path / "m", 300, 7, layout="medbert", gzip=True)
    cohort.write_cohort(tmp_path / "t", 300, 7, layout="topbert")
    rows = read(f"{written}.csv")
    assert list(rows[0]) == (
        "patient_id,stay_id,admit,discharge,code,order_1,order_2,order_3,present_on_admission,"
        "birth,sex,death,observation_end"
    ).split(",")
    with gzip.open(tmp_path / "m.tsv.gz", "rt", encoding="utf-8") as file:
        medbert = [line.rstrip("\n").split("\t") for line in file]
    assert medbert[0] == "patient_id vadate vddate diag poa diagnosis_priority third_party_ind".split()
    assert [line[:4] for line in medbert[1:]] == [
        [row["patient_id"], row["admit"][:10], row["discharge"][:10], row["code"]] for row in rows
    ]
    topbert = read(tmp_path / "t.csv")
    assert len(topbert[0]) == 10 and [row["diagnosis"] for row in topbert] == [row["code"] for row in rows]
    age = (day(topbert[0]["admit"]) - day(topbert[0]["dob"])).days // 365.25
    assert int(topbert[0]["age_at_enc"]) == age
    stated = [row["risk"] for row in read(f"{written}.true_risk.csv")]
    assert [row["risk"] for row in read(tmp_path / "m.true_risk.csv")] == stated
    times = [row["prediction_time"][:10] for row in read(f"{written}.prediction_times.csv")]
    assert [row["prediction_time"] for row in read(tmp_path / "m.prediction_times.csv")] == [
        f"{text} 00:00:00" for text in times
    ]


def test_rows_of_a_stay_are_consistent(written):
    rows = read(f"{written}.csv")
    stays, ended = {}, {}
    for row in rows:
        same = (row["patient_id"], row["admit"], row["discharge"], row["birth"], row["sex"], row["death"])
        assert stays.setdefault(row["stay_id"], same) == same
        assert row["present_on_admission"] in ("Y", "N", "") and row["sex"] in ("F", "M")
        assert row["order_1"] == {"Y": "1", "N": "2", "": "3"}[row["present_on_admission"]]
    for patient, _, discharge, _, _, death in stays.values():
        ended[patient] = (discharge, death)
    assert all(not death or discharge[:10] <= death for discharge, death in ended.values())
    assert sum(bool(death) for _, death in ended.values()) > 5
    ids = [row["patient_id"] for row in rows]
    assert ids == sorted(ids) and len(set(ids)) == 300


def test_summary_says_what_was_written(written):
    summary = json.loads(Path(f"{written}.generator.json").read_text())
    assert summary["settings"] == cohort.settings_of(300, 7, "stays", False)
    assert summary["patients"] == 300 and summary["rows"] == len(read(f"{written}.csv"))
    assert set(summary["labels"]) == {*NAMES, "micro", "macro"}


@pytest.mark.slow
def test_a_finished_cohort_is_kept_and_another_is_refused(tmp_path):
    prefix = tmp_path / "c"
    before = cohort.write_cohort(prefix, 50, 1)
    stamp = os.stat(f"{prefix}.csv").st_mtime_ns
    assert cohort.write_cohort(prefix, 50, 1) == before
    assert os.stat(f"{prefix}.csv").st_mtime_ns == stamp
    with pytest.raises(DataError, match="seed 1 -> 2"):
        cohort.write_cohort(prefix, 50, 2)
    with pytest.raises(DataError, match="layout 'stays' -> 'medbert'"):
        cohort.write_cohort(prefix, 50, 1, layout="medbert")
    assert cohort.write_cohort(prefix, 60, 2, overwrite=True)["patients"] == 60
    Path(f"{prefix}.generator.json").write_text("[]")
    with pytest.raises(DataError, match="expected a generated cohort's summary"):
        cohort.write_cohort(prefix, 60, 2)
    Path(f"{prefix}.generator.json").unlink()
    with pytest.raises(DataError, match="received 3 of them"):
        cohort.write_cohort(prefix, 60, 2)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def kill_before_the_summary(writing, *arguments):
    """Runs it in a process of its own, which ends between its tables and its summary as by kill -9."""
    if (child := os.fork()) == 0:
        cohort.write_json = notes.write_json = lambda path, value: os._exit(9)
        writing(*arguments)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.slow
def test_a_run_that_was_killed_between_its_files_is_taken_up(tmp_path):
    for made, writing, *arguments in (
        (tmp_path / "a", cohort.write_cohort, tmp_path / "a/c", 50, 1),
        (tmp_path / "b", notes.write_notes, tmp_path / "b", notes.GeneratorSettings(num_patients=5)),
    ):
        made.mkdir()
        kill_before_the_summary(writing, *arguments)
        left = sorted(os.listdir(made))
        assert left[0].endswith(".begun.json") and len(left) >= 4
        writing(*arguments)
        assert sorted(os.listdir(made))[0] == left[1] and len(os.listdir(made)) == len(left)


@pytest.mark.slow
def test_an_error_while_writing_leaves_no_file(tmp_path):
    def fail(patients):
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        cohort.write_cohort(tmp_path / "c", 50, 1, progress=fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_patients": 0, "seed": 1}, "num_patients: expected at least 1, received 0"),
        ({"num_patients": 5, "seed": -1}, "seed: expected 0 or more, received -1"),
        (
            {"num_patients": 5, "seed": 1, "layout": "a"},
            "layout: expected one of stays, medbert, topbert, pcornet, omop, meds, fhir_ndjson, received 'a'",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(tmp_path, arguments, message):
    with pytest.raises(DataError) as caught:
        cohort.write_cohort(tmp_path / "c", **arguments)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def run_script(folder, *arguments):
    return subprocess.run([sys.executable, SCRIPT, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)


def test_script_writes_prints_and_names_the_next_command(tmp_path):
    done = run_script(tmp_path, "--output_prefix=made/c", "--num_patients=120", "--seed=3")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "made").iterdir()} == {
        "c.csv",
        "c.prediction_times.csv",
        "c.true_risk.csv",
        "c.generator.json",
    }
    summary = json.loads((tmp_path / "made" / "c.generator.json").read_text())
    assert f"{summary['labels']['micro']['best_roc_auc']:.4f}" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "next: python preprocessing/preprocess_pretrain_data.py made/c.csv NA made/c 0 "
        "--prediction_times=made/c.prediction_times.csv"
    )


@pytest.mark.slow
def test_script_refuses_an_unknown_flag_and_explains_itself(tmp_path):
    wrong = run_script(tmp_path, "--output_prefix=c", "--patients=5")
    assert wrong.returncode == 1 and "patients" in wrong.stderr and not list(tmp_path.iterdir())
    assert "make_synthetic_cohort.py --output_prefix=" in run_script(tmp_path, "--help").stdout
