"""AUROC corrected for censoring: by hand, against a simulation whose truth is known, and from table to evaluation."""

import json

import numpy as np
import pytest

from medtop.evaluation.ipcw import add_ipcw, censoring_weights, read_follow_up, weighted_auroc
from medtop.evaluation.predictions import Predictions
from medtop.files.errors import DataError

EVENT, DEATH, CENSORED = 0, 1, 2


def test_weights_and_auroc_by_hand():
    """Of five who are still there on day 2, one has the event and one is lost: four could have been lost, G is 3/4."""
    days, ends = np.array([1, 2, 2, 4, 3, 5]), np.array([EVENT, CENSORED, EVENT, CENSORED, DEATH, EVENT])
    weights = censoring_weights(days, ends, 3)
    np.testing.assert_allclose(weights, [1, 0, 1, 4 / 3, 4 / 3, 4 / 3])
    targets = (ends == EVENT) & (days <= 3)
    scores = np.array([0.9, 0.99, 0.3, 0.5, 0.1, 0.8])
    # the first case is above all three controls, the second above one of them: (4 + 4/3) / (2 * 4)
    np.testing.assert_allclose(weighted_auroc(scores, targets, weights[:, None]), [2 / 3])
    scores[1] = -1  # who was lost has no say
    np.testing.assert_allclose(weighted_auroc(scores, targets, weights[:, None]), [2 / 3])
    # at horizon 5 the late event is a case of weight 4/3 as well; who was lost on day 4 counts no more
    late = censoring_weights(days, ends, 5)
    np.testing.assert_allclose(late, [1, 0, 1, 0, 4 / 3, (4 / 3) * 2])


def test_without_censoring_it_is_the_plain_auroc():
    rng = np.random.default_rng(1)
    scores, targets = rng.integers(0, 20, 300) / 20, rng.random(300) < 0.3
    pairs = [(s > t) + 0.5 * (s == t) for s in scores[targets] for t in scores[~targets]]
    np.testing.assert_allclose(weighted_auroc(scores, targets, np.ones((300, 2))), [np.mean(pairs)] * 2)
    assert np.isnan(weighted_auroc(scores, np.zeros(300, bool), np.ones((300, 1)))).all()


def test_it_is_the_truth_where_known_labels_are_not():
    """High scores have their events early; who is lost later has shown them. The full data say what is right."""
    rng = np.random.default_rng(2)
    count, horizon = 40_000, 365
    early = rng.random(count) < 0.25
    late = ~early & (rng.random(count) < 0.25)
    event = np.where(early, rng.integers(1, 60, count), np.where(late, rng.integers(200, 366, count), 10_000))
    scores = 2.0 * early + 0.5 * late + rng.normal(size=count)
    death = np.where(rng.random(count) < 0.05, rng.integers(1, 366, count), 20_000)
    observed = rng.integers(1, 700, count)
    truth = weighted_auroc(scores, (event <= horizon) & (event <= death), np.ones((count, 1)))[0]
    first = np.minimum(np.minimum(event, death), observed)
    ends = np.where(event == first, EVENT, np.where(death == first, DEATH, CENSORED))
    targets = (ends == EVENT) & (first <= horizon)
    weights = censoring_weights(first, ends, horizon)
    plain = weighted_auroc(scores, targets, (weights > 0).astype(float)[:, None])[0]
    corrected = weighted_auroc(scores, targets, weights[:, None])[0]
    assert abs(corrected - truth) < 0.01 < 0.03 < plain - truth


TABLE = """patient_id,admit,discharge,code,death,observation_end
a,2012-01-01,2012-01-03,ICD10_Z00,,2014-12-31
a,2012-03-01,2012-03-02,ICD10_I21,,2014-12-31
b,2012-01-01,2012-01-03,ICD10_Z00,,2012-04-12
c,2012-01-01,2012-01-03,ICD10_Z00,2012-01-13,2012-01-13
d,2012-01-01,2012-01-03,ICD10_I21,,2014-12-31
e,2012-01-01,2012-01-03,ICD10_Z00,,2014-12-31
"""


def test_labels_without_days_take_no_part():
    ones, clinical = np.ones((1, 3)), {}
    names = ("CKD_soon", "CKD_0", "CKD_" + "9" * 5_000)
    predictions = Predictions("t", names, np.array(["a"]), np.zeros(1), ones, ones, ones)
    assert add_ipcw(clinical, predictions, ones / 2, {"CKD": {}}) == [] and clinical == {}


def test_from_the_table_to_the_evaluation(tmp_path, run_script):
    """Days counted by hand; d has had the event before and is not at risk."""
    (tmp_path / "t.csv").write_text(TABLE)
    (tmp_path / "own.json").write_text(json.dumps({"endpoints": {"MI": {"icd10": ["I21"]}}}))
    (tmp_path / "times.csv").write_text("patient_id,prediction_time\n" + "".join(f"{p},2012-01-03\n" for p in "abcde"))
    done = run_script(
        "preprocessing/preprocess_pretrain_data.py", tmp_path / "t.csv", "NA", tmp_path / "o", 0, "--follow_up",
        f"--prediction_times={tmp_path / 'times.csv'}", f"--endpoints={tmp_path / 'own.json'}", "--horizons=90,365",
        "--splits=train", "--min_code_count=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "o.follow_up.csv").read_text().splitlines()
    assert lines[0] == "patient_id,prediction_time,endpoint,days,end"
    ends = {line.split(",")[0]: line.split(",")[3:] for line in lines[1:]}
    assert ends == {"a": ["58", "event"], "b": ["100", "censored"], "c": ["10", "death"], "e": ["366", "censored"]}
    assert json.loads((tmp_path / "o.manifest.json").read_text())["outputs"].keys() >= {"follow_up.csv"}
    rows = ["patient_id,prediction_time,task,label,target,probability"]
    for patient, probability in zip("abce", (0.4, 0.9, 0.5, 0.1), strict=True):
        for label, known in (("MI_90", "0"), ("MI_365", "" if patient == "b" else "0")):
            target = "1" if patient == "a" else known
            rows.append(f"{patient},2012-01-03T00:00:00,complications,{label},{target},{probability}")
    (tmp_path / "p.csv").write_text("\n".join(rows) + "\n")
    times = {line.split(",")[1] for line in lines[1:]}
    assert times == {"2012-01-03T00:00:00"}
    done = run_script(
        "run_scripts/run_evaluation.py", f"--predictions={tmp_path / 'p.csv'}", "--num_bootstrap=20",
        f"--follow_up={tmp_path / 'o.follow_up.csv'}", f"--output_dir={tmp_path / 'e'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    labels = json.loads((tmp_path / "e/evaluation.json").read_text())["clinical"]["complications"]
    assert labels["MI_90"]["measures"]["roc_auc_ipcw"]["value"] == pytest.approx(1 / 3)  # nobody is lost by then
    # b is lost on day 100: of b and e, who could be lost, one is left, so that e counts twice beside c
    assert labels["MI_365"]["measures"]["roc_auc_ipcw"]["value"] == pytest.approx(2 / 3)
    assert labels["MI_365"]["measures"]["roc_auc"]["value"] == pytest.approx(1 / 2)
    assert "AUROC, IPCW" in (tmp_path / "e/evaluation.html").read_text()


@pytest.mark.parametrize("content", ["a,b\n", "patient_id,prediction_time,endpoint,days,end\na,t,MI,x,event\n"])
def test_other_tables_are_refused(tmp_path, content):
    (tmp_path / "f.csv").write_text(content)
    with pytest.raises(DataError, match="f.csv: line"):
        read_follow_up(tmp_path / "f.csv")
