"""The generated notes: labels by the published rule, phrases by Bayes, the best reachable AUROC, the same bytes."""

import csv
import datetime

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medtop.evaluation.aggregation import Aggregation
from medtop.evaluation.metrics import paired_bootstrap
from medtop.evaluation.predictions import Predictions, logit
from medtop.files.errors import DataError
from medtop.synthetic.notes import FILES, GeneratorSettings, write_notes
from medtop.synthetic.notes_texts import LEVELS, PHRASES, SHARES, NoteWriter, best_roc_auc, draw_levels, risk_of_levels


def rows_of(path):
    csv.field_size_limit(1 << 30)
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notes")
    summary = write_notes(folder, GeneratorSettings(num_patients=1200, seed=5))
    return folder, summary


def when(text):
    return datetime.datetime.fromisoformat(text)


def expected_labels(folder):
    """The rule read aloud from the tables alone: dict admission -> 1, 0, None (unknown), absent (no example)."""
    deaths = {row["SUBJECT_ID"]: row["DOD"] for row in rows_of(folder / "PATIENTS.csv")}
    admissions, days = rows_of(folder / "ADMISSIONS.csv"), datetime.timedelta(days=30)
    found = {}
    for row in admissions:
        if row["ADMISSION_TYPE"] == "NEWBORN" or row["DEATHTIME"]:
            continue
        own, end = [o for o in admissions if o["SUBJECT_ID"] == row["SUBJECT_ID"]], when(row["DISCHTIME"])
        next_ones = [when(o["ADMITTIME"]) for o in own if o["ADMISSION_TYPE"] != "ELECTIVE"]
        label = int(any(end < time < end + days for time in next_ones))
        died = deaths[row["SUBJECT_ID"]]
        if not label and died and when(died).date() >= end.date() and when(died) - end < days:
            label = None
        found[row["HADM_ID"]] = label
    return found


@pytest.mark.slow
def test_labels_are_what_the_tables_say(generated):
    folder, summary = generated
    expected = expected_labels(folder)
    written = {row["admission_id"]: row["readmission"] for row in rows_of(folder / "true_risk.csv")}
    assert written == {name: "" if label is None else str(label) for name, label in expected.items()}
    known = [label for label in expected.values() if label is not None]
    assert summary["examples"] == len(expected) and summary["known"] == len(known)
    assert summary["prevalence"] == pytest.approx(np.mean(known)) and abs(np.mean(known) - 0.3) < 0.03
    kinds = {row["ADMISSION_TYPE"] for row in rows_of(folder / "ADMISSIONS.csv")}
    assert kinds == {"EMERGENCY", "URGENT", "ELECTIVE", "NEWBORN"}
    assert {"", "0", "1"} == set(written.values()), "some deaths hide the label"


def test_notes_hold_their_phrase_and_no_other_one(generated):
    folder, _ = generated
    levels = {row["admission_id"]: row["level"] for row in rows_of(folder / "true_risk.csv")}
    notes = rows_of(folder / "NOTEEVENTS.csv")
    summaries = [note for note in notes if note["CATEGORY"] == "Discharge summary"]
    good = [note for note in summaries if not note["ISERROR"] and note["HADM_ID"] in levels]
    assert {note["HADM_ID"] for note in good} == set(levels) and len(good) == len(levels)
    for note in good:
        found = [level for level, phrases in PHRASES.items() if any(phrase in note["TEXT"] for phrase in phrases)]
        assert found == [levels[note["HADM_ID"]]] * (levels[note["HADM_ID"]] != "none")
    wrong = [note for note in summaries if note["ISERROR"]]
    assert 0 < len(wrong) < 0.05 * len(summaries) and all(note["CHARTTIME"] == "" for note in summaries)
    misleading = sum(any(phrase in note["TEXT"] for phrase in PHRASES["strong"]) for note in wrong)
    assert misleading > len(wrong) / 3


def test_the_first_day_tells_what_the_summary_tells(generated):
    """The early mode can reach as much."""
    folder, _ = generated
    admits = {row["HADM_ID"]: when(row["ADMITTIME"]) for row in rows_of(folder / "ADMISSIONS.csv")}
    levels = {row["admission_id"]: row["level"] for row in rows_of(folder / "true_risk.csv")}
    told = set()
    for note in rows_of(folder / "NOTEEVENTS.csv"):
        if note["CATEGORY"] != "Discharge summary" and note["HADM_ID"] in levels:
            gap = when(note["CHARTTIME"]) - admits[note["HADM_ID"]]
            assert datetime.timedelta(0) <= gap
            if gap < datetime.timedelta(days=1):
                found = {level for level, ways in PHRASES.items() if any(way in note["TEXT"] for way in ways)}
                told |= {(note["HADM_ID"], level) for level in found}
    assert told == {(name, level) for name, level in levels.items() if level != "none"}


def test_the_risk_is_calibrated_and_its_auroc_the_best_reachable(generated):
    folder, summary = generated
    rows = [row for row in rows_of(folder / "true_risk.csv") if row["readmission"]]
    risk = np.array([float(row["risk"]) for row in rows])
    label = np.array([int(row["readmission"]) for row in rows])
    for value in np.unique(risk):
        mine = label[risk == value]
        assert abs(mine.mean() - value) < 4 * np.sqrt(value * (1 - value) / len(mine))
    assert roc_auc_score(label, risk) == pytest.approx(summary["best_roc_auc"], abs=0.02)


def test_best_auroc_against_scikit_learn():
    counts = np.round(SHARES * 10_000).astype(int)
    labels = np.repeat([0] * 4 + [1] * 4, counts.reshape(-1))
    levels = np.repeat([0, 1, 2, 3] * 2, counts.reshape(-1))
    assert best_roc_auc() == pytest.approx(roc_auc_score(labels, risk_of_levels(0.3)[levels]), abs=1e-9)
    assert best_roc_auc(random_labels=True) == 0.5
    by_hand = [0.57, 0.30, 0.10, 0.03], [0.40, 0.05, 0.15, 0.40]
    for level, risk in enumerate(risk_of_levels(0.3)):
        positive, negative = 0.3 * by_hand[1][level], 0.7 * by_hand[0][level]
        assert risk == pytest.approx(positive / (positive + negative))


def test_random_labels_leave_nothing_to_find():
    labels = np.array([0, 1] * 20_000)
    for random_labels, apart in ((True, False), (False, True)):
        levels = draw_levels(labels, np.random.default_rng(1), random_labels)
        share = np.array([[np.mean(levels[labels == label] == level) for level in range(4)] for label in (0, 1)])
        assert (np.abs(share[0] - share[1]).max() > 0.05) is np.bool_(apart)
        expected = np.broadcast_to(SHARES.mean(axis=0), (2, 4)) if random_labels else SHARES
        assert np.abs(share - expected).max() < 0.02
    assert set(risk_of_levels(0.3, random_labels=True)) == {0.3}


@pytest.mark.parametrize("signal", ["none", "everywhere"])
def test_a_set_with_random_labels(tmp_path, signal):
    settings = GeneratorSettings(num_patients=600, signal=signal, random_labels=signal != "none", daily_notes=False)
    summary = write_notes(tmp_path, settings)
    rows = [row for row in rows_of(tmp_path / "true_risk.csv") if row["readmission"]]
    level = np.array([LEVELS.index(row["level"]) for row in rows])
    label = np.array([int(row["readmission"]) for row in rows])
    score = (SHARES[1] / SHARES[0])[level]  # what would tell if anything did
    assert summary["best_roc_auc"] == 0.5 and abs(roc_auc_score(label, score) - 0.5) < 0.06
    assert {row["risk"] for row in rows} == {"0.30000000"}


def test_one_window_holds_the_phrase_once_and_texts_differ_in_length(tmp_path):
    settings = GeneratorSettings(num_patients=300, signal="one_window", min_words=50, max_words=1500, daily_notes=False)
    write_notes(tmp_path, settings)
    levels = {row["admission_id"]: row["level"] for row in rows_of(tmp_path / "true_risk.csv")}
    lengths, places = [], []
    for note in rows_of(tmp_path / "NOTEEVENTS.csv"):
        level = levels.get(note["HADM_ID"], "none")
        if note["ISERROR"] or level == "none":
            continue
        assert sum(note["TEXT"].count(phrase) for phrase in PHRASES[level]) == 1
        lengths.append(len(note["TEXT"].split()))
        places.append(max(note["TEXT"].find(phrase) for phrase in PHRASES[level]) / len(note["TEXT"]))
    assert min(lengths) < 100 and max(lengths) > 1200 and 200 < np.median(lengths) < 400
    assert np.histogram(places, 4, (0, 1))[0].min() > 0.15 * len(places), "anywhere in the text"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Rows of (true_risk.csv row, how often each level's phrases stand in its text, the text)."""
    folder = tmp_path_factory.mktemp("mixed")
    write_notes(folder, GeneratorSettings(1000, signal="mixed", min_words=200, max_words=600, daily_notes=False))
    rows = {row["admission_id"]: row for row in rows_of(folder / "true_risk.csv") if row["readmission"]}
    notes = [note for note in rows_of(folder / "NOTEEVENTS.csv") if note["HADM_ID"] in rows and not note["ISERROR"]]
    return [(rows[note["HADM_ID"]], counts_of(note["TEXT"]), note["TEXT"]) for note in notes]


def counts_of(text):
    return {level: sum(text.count(phrase) for phrase in phrases) for level, phrases in PHRASES.items()}


@pytest.mark.slow
def test_mixed_holds_the_strong_phrase_once_among_what_others_hold_everywhere(mixed):
    beside, labels = {"none": 0, "protective": 0, "weak": 0}, {"none": [], "protective": [], "weak": []}
    for row, counts, _ in mixed:
        around = [level for level in ("protective", "weak") if counts[level]]
        assert all(counts[level] >= 6 for level in around) and len(around) < 2
        if row["level"] == "strong":
            assert counts["strong"] == 1
            beside[(around or ["none"])[0]] += 1
            labels[(around or ["none"])[0]].append(int(row["readmission"]))
        else:
            assert counts["strong"] == 0 and around == [row["level"]] * (row["level"] != "none")
    total = sum(beside.values())
    for share, (level, count) in zip((0.57 / 0.97, 0.30 / 0.97, 0.10 / 0.97), beside.items(), strict=True):
        assert abs(count / total - share) < 4 * np.sqrt(share * (1 - share) / total), level
    # what stands beside it says nothing more: the risk stays that of the strong phrase
    for found in labels.values():
        assert abs(np.mean(found) - risk_of_levels(0.3)[3]) < 4 * np.sqrt(0.85 * 0.15 / len(found))


def test_in_mixed_the_mean_of_perfect_windows_loses_what_the_aggregation_finds(mixed):
    """A scorer that knows P(label | a window's phrases), as training on windows would learn it at best.

    The mean sinks the one telling window among n, so that it ranks the rest of the chart first; the published
    aggregation comes closer to the best reachable AUROC the larger c is.
    """
    labels = np.array([int(row["readmission"]) for row, _, _ in mixed])
    windows = [
        [counts_of(" ".join(part)) for part in np.array_split(text.split(), len(text.split()) // 40)]
        for _, _, text in mixed
    ]
    groups = np.repeat(np.arange(len(mixed)), [len(one) for one in windows])
    seen = np.array(
        [
            3 if one["strong"] else 2 if one["weak"] else 1 if one["protective"] else 0
            for text in windows
            for one in text
        ]
    )
    rate = np.bincount(seen, labels[groups]) / np.bincount(seen)
    ways = {"mean": Aggregation("mean"), 2: Aggregation(), 32: Aggregation(c=32)}
    joint = {name: way.combine(rate[seen][:, None], groups, len(mixed)) for name, way in ways.items()}
    areas = {name: roc_auc_score(labels, found[:, 0]) for name, found in joint.items()}
    assert areas["mean"] + 0.02 < areas[2] and areas[2] + 0.01 < areas[32], areas
    assert areas[32] > best_roc_auc() - 0.03 and areas["mean"] < best_roc_auc() - 0.05, areas
    patients, stays = (np.array([row[name] for row, _, _ in mixed]) for name in ("patient_id", "admission_id"))
    known = np.ones((len(mixed), 1))
    predictions = Predictions(
        "readmission",
        ("readmission",),
        patients,
        np.zeros(len(mixed)),
        labels[:, None],
        known,
        logit(joint["mean"]),
        stays,
    )
    for c in (2, 32):
        of = paired_bootstrap(predictions, joint[c], predictions, joint["mean"], num_bootstrap=200)["readmission"]
        assert of["low"] > 0 and of["difference"] == pytest.approx(areas[c] - areas["mean"])


def test_everywhere_means_in_each_stretch():
    rng = np.random.default_rng(2)
    writer = NoteWriter(rng)
    for _ in range(20):
        words = writer.note(400, rng, throughout="xx yy zz").split()
        found = np.flatnonzero(np.array(words) == "xx")
        assert np.diff(found).max() < 55 and found[0] < 40 and len(words) - found[-1] < 60
    assert "xx" not in writer.note(400, rng)


def test_the_same_seed_gives_the_same_bytes_and_others_are_refused(tmp_path):
    settings = GeneratorSettings(num_patients=30)
    for name in ("a", "b"):
        write_notes(tmp_path / name, settings)
    for file in FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    before = (tmp_path / "a" / FILES[0]).stat().st_mtime_ns
    assert write_notes(tmp_path / "a", settings)["patients"] == 30
    assert (tmp_path / "a" / FILES[0]).stat().st_mtime_ns == before, "a second run does nothing"
    with pytest.raises(DataError, match="seed was 1, is 2"):
        write_notes(tmp_path / "a", GeneratorSettings(num_patients=30, seed=2))
    write_notes(tmp_path / "a", GeneratorSettings(num_patients=30, seed=2), overwrite=True)
    assert (tmp_path / "a" / FILES[2]).read_bytes() != (tmp_path / "b" / FILES[2]).read_bytes()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "ADMISSIONS.csv").write_text("real data")
    with pytest.raises(DataError, match="ADMISSIONS.csv: expected no such file"):
        write_notes(tmp_path / "c", settings)
    assert (tmp_path / "c" / "ADMISSIONS.csv").read_text() == "real data"


@pytest.mark.parametrize(
    "changes, flag",
    [
        ({"num_patients": 0}, "num_patients"),
        ({"prevalence": 1.0}, "prevalence"),
        ({"signal": "x"}, "signal"),
        ({"min_words": 0}, "min_words"),
        ({"min_words": 9, "max_words": 8}, "max_words"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_settings(changes, flag):
    with pytest.raises(DataError, match=f"--{flag}"):
        GeneratorSettings(**changes)


def test_a_cohorts_patients_and_stays(tmp_path, run_script):
    from medtop.synthetic import cohort

    cohort.write_cohort(str(tmp_path / "c"), 150, 3)
    process = run_script(
        "preprocessing/make_synthetic_notes.py",
        f"--cohort={tmp_path}/c",
        "--output_dir=notes",
        "--num_patients=100",
        cwd=tmp_path,
    )
    assert process.returncode == 0 and "best reachable AUROC: 0.7735" in process.stdout, process.stderr
    stays = {
        (row["patient_id"], row["stay_id"], row["admit"][:19], row["discharge"][:19])
        for row in rows_of(tmp_path / "c.csv")
    }
    made = {
        (row["SUBJECT_ID"], row["HADM_ID"], row["ADMITTIME"], row["DISCHTIME"])
        for row in rows_of(tmp_path / "notes" / "ADMISSIONS.csv")
    }
    assert made == {stay for stay in stays if stay[0] < "P00000100"} and len({stay[0] for stay in made}) == 100
    written = {row["admission_id"]: row["readmission"] for row in rows_of(tmp_path / "notes" / "true_risk.csv")}
    expected = expected_labels(tmp_path / "notes")
    inside = {name for name in expected if name in written and written[name] == "" and expected[name] is not None}
    assert set(written) == set(expected)
    certain = {name: str(label) for name, label in expected.items() if label is not None and name not in inside}
    assert {name: written[name] for name in certain} == certain
    assert len(inside) < 3  # in another stay at discharge
    script = "preprocessing/make_synthetic_notes.py"
    process = run_script(script, f"--cohort={tmp_path}/no", "--output_dir=x", cwd=tmp_path)
    assert process.returncode == 1 and process.stderr.count("\n") == 1 and "--cohort" in process.stderr
