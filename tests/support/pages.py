"""Every HTML page that medtop writes, made of small data with long and hostile names: for a browser to open."""

import json
import re

import numpy as np

from medtop.entities.documents import Document, Span
from medtop.entities.reader_page import write_page as write_reader
from medtop.evaluation import metrics as evaluation
from medtop.evaluation.calibration import fit_calibration
from medtop.evaluation.clinical import calibration_in_brief, clinical_measures
from medtop.evaluation.marks import add_marks
from medtop.evaluation.predictions import Predictions, sigmoid
from medtop.explain.importance import importance
from medtop.explain.patients import Patient
from medtop.grid.curve_files import write_curve_page
from medtop.grid.learning_curve import Point
from medtop.readmission.explain import WeighedWords
from medtop.reporting.attribution_page import write_attribution_page, write_patients_page
from medtop.reporting.data_report import write_data_report
from medtop.reporting.evaluation_page import write_evaluation_page
from medtop.reporting.page import write_report, write_training_page
from medtop.reporting.words_page import write_words_page
from medtop.runs.explain import checks_of, contributions_of

LONG = "a_name_of_a_label_that_goes_on_and_on_without_any_blank_1095"
HOSTILE = "<img src=x onerror=alert(1)>"
LABELS = ("MACE_365", "MACE_730", "CKD_365", LONG, HOSTILE, "empty")
BASELINES = ("windowed_logistic_regression", "recency_gradient_boosting", "logistic_regression", "gradient_boosting")


def predictions_of(seed=0, count=240, labels=LABELS, task="complications"):
    """`Predictions` whose last label has no positives, the first two few or badly calibrated ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, len(labels))) - 1.5
    targets = (rng.random(logits.shape) < sigmoid(logits)).astype(np.float32)
    targets[:, 0] = np.arange(count) < 6
    targets[:, -1] = 0
    ids = np.array([f"p{number // 2}" for number in range(count)])
    return Predictions(task, labels, ids, np.arange(count), targets, rng.random(logits.shape) < 0.9, logits)


def report(path):
    """A run's report: two tasks, four rivals, small counts, a calibration that is off, long logs."""
    scored = {"complications": predictions_of(), "long_stay": predictions_of(1, labels=("long_stay",) * 1)}
    scored["long_stay"].task = "long_stay"
    scored["long_stay"].targets[:] = np.arange(240)[:, None] % 3 == 0
    fitted = {task: fit_calibration(part) for task, part in scored.items()}
    results = {task: (part, fitted[task].apply(part)) for task, part in scored.items()}
    results["complications"] = (scored["complications"], np.clip(results["complications"][1] ** 0.5, 0, 0.99))
    metrics = {
        split: {
            task: evaluation.evaluate(*pair, thresholds=fitted[task].thresholds, num_bootstrap=20)
            for task, pair in results.items()
        }
        for split in ("valid", "test")
    }
    metrics["test"]["masked_lm"] = {"masked_lm": evaluation.masked_metrics(9, loss=1.0, accuracy=0.5)}
    add_marks(metrics, fitted)
    rivals = {name: results for name in BASELINES}
    names = [f"{task}_loss" for task in ("masked_lm", *results, LONG)] + ["valid_roc_auc"]
    log = [{"step": step} | {name: 3 / step for name in names} for step in range(1, 300)]
    label = {"examples": 200, "known": 150, "positives": 15, "prevalence": 0.1, "share_known": 0.75}
    label["unknown"] = {"censored": 50, "prevalent": 20, "no_admission_in_window": 11}
    manifest = {
        "source": {"name": "columns", "notes": [HOSTILE, "a note " * 40]},
        **{"rows_in": 1000, "rows_out": 900, "rows_merged": 40, "rows_dropped": {LONG: 60}},
        **{"patients_in": 310, "patients_out": 300, "patients_dropped": {"outside_period": 10}},
        "dates": {"first_admission": "2001-01-01", "last_discharge": "2004-01-01", "prediction_times": ["2002-01-01"]},
        "prediction_times": {"index": "random_visit"},
        "split_by": {"by": "time", "valid_from": "2003-01-01", "test_from": "2003-06-01"},
        "splits": {split: {"patients": 200, "examples": 210, "codes": 4000} for split in ("train", "valid", "test")},
        "labels": {split: {"complications": dict.fromkeys(LABELS, label)} for split in ("train", "valid", "test")},
        "tasks": {"complications": list(LABELS)},
        "settings": {"horizons": [365, 730], "endpoints": "diabetes_complications", "labels": "observed"},
        "statements": ["A statement without end. " * 20, LONG * 5],
    }
    model = {"version": "1", "parts": "both", "wide_days": [31, 92], "layers": 2, "width": 96, "embeddings": ["code"]}
    model |= {"tasks": list(results), "seed": 0, "num_bootstrap": 20, "calibration": ["platt"], "baselines": BASELINES}
    write_report(
        path,
        title=f"Results of {LONG}",
        metrics=metrics,
        split="test",
        results=results,
        baselines=rivals,
        uncalibrated={task: part.probabilities for task, part in scored.items()},
        comparison=evaluation.compare(results, rivals, num_bootstrap=20),
        calibration={task: calibration_in_brief(*pair, num_bootstrap=50) for task, pair in results.items()},
        train_log=log,
        manifest=manifest,
        model=model,
        facts={"run directory": f"/data/{LONG * 3}", "seed": 0},
        notes=[HOSTILE],
    )


def evaluation_page(path):
    """run_evaluation.py's page: subgroups with long names, thresholds, curves, another model."""
    predictions = predictions_of(2)
    groups = {"sex": np.array(["F", "M", ""] * 80, object), "site": np.array([LONG, HOSTILE] * 120, object)}
    clinical = clinical_measures(
        predictions,
        predictions.probabilities,
        thresholds=(0.1,),
        alert_rates=(0.05,),
        groups=groups,
        num_bootstrap=20,
    )
    other = {label: {"difference": 0.1, "low": -0.1, "high": 0.3, "p_value": 0.2, "n": 9} for label in LABELS}
    facts = {"records": f"/data/{LONG * 3}", "patients": 120}
    notes = ["A note. " * 40]
    write_evaluation_page(path, "Evaluation", {"complications": clinical}, facts, notes, {"complications": other})


def _patients():
    rng = np.random.default_rng(3)
    patients = []
    for number in range(30):
        codes = np.sort(rng.choice(np.arange(5, 40), 8, replace=False))
        values = rng.normal(size=(8, 2))
        curves = {
            name: rng.normal(size=(4, 2)) for name in ("attribution", "random", "attribution kept", "random kept")
        }
        tokens = {"token_ids": np.array([2, *codes]), "visits": np.array([0, 1, 1, 1, 2, 2, 3, 3, 3])}
        tokens["recencies"] = np.array([0, 300, 300, 300, 100, 100, 4, 4, 4])
        context = {"age": rng.normal(size=2), "sex": rng.normal(size=2)}
        tokens["stays"] = np.array([0, 5, 5, 5, 30, 30, 2, 2, 2])
        parts = codes, values, values * 0.5, context, rng.normal(size=2), np.zeros(2), curves, tokens
        parts += (rng.normal(size=(3, 2)), np.array([1, 2, 3]))
        patients.append(Patient(f"<b>p{number}</b>", *parts))
    return patients


def attribution_pages(path, patients_path):
    """run_attribution.py's two pages."""
    patients = _patients()
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"ICD10_{LONG if n == 3 else n}" for n in range(35))]
    contributions = contributions_of(patients, tokens, 2)
    groups = {
        "sex": np.array(["F", "M", ""] * 10, object),
        "age_band": np.array(["18-44", "45-64", "85+"] * 10, object),
    }
    rows = importance(contributions, groups, num_bootstrap=20)
    labels = [("complications", LONG), ("complications", HOSTILE)]
    checks = checks_of(patients, labels) | {"agreement_with_randomised_weights": [0.1, -0.1]}
    write_attribution_page(path, rows, contributions.names, labels, checks, len(patients))
    write_patients_page(patients_path, patients, tokens, labels)


def data_report(path, run_script):
    """preprocess_pretrain_data.py --check's page, of a table with faults."""
    folder = path.parent
    rows = [
        f"{n % 40},{2010 + n % 5}-0{1 + n % 9}-01,{2010 + n % 5}-0{1 + n % 9}-1{n % 9},ICD10_I{n % 70}"
        for n in range(400)
    ]
    rows += ["NULL,2010-01-01,2010-01-02,X", "7,2100-01-01,2100-01-02,ICD10_I10", "8,2012-05-05,2012-05-01,ICD10_I10"]
    (folder / "t.csv").write_text("patient_id,admit,discharge,code\n" + "\n".join(rows) + "\n")
    done = run_script("preprocessing/preprocess_pretrain_data.py", folder / "t.csv", "NA", folder / "t", 0, "--check")
    assert done.returncode == 0, done.stderr
    write_data_report(path, json.loads((folder / "t.data_report.json").read_text()))


def words_page(path):
    """score_notes.py --explain's page."""
    text = f"Chest pain, {HOSTILE} and {LONG * 3}\nno   edema." * 3
    edges = [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
    starts, ends = np.array(edges).T
    values = np.random.default_rng(0).normal(size=(len(starts), 1))
    words = WeighedWords(starts, ends, values, values.sum(0), np.zeros(1))
    write_words_page(path, [(f"admission {LONG}", text, np.array([0.3]), words)], ("readmission",))


def curve_page(path):
    """A learning curve of eight models on labels of any name."""
    rng, points = np.random.default_rng(4), []
    for label in ("macro", LONG, HOSTILE):
        for model in ("wide", "stack", "bert", "bert+bigru", "bigru-ppmi", "retain", *BASELINES):
            for size in (100, 500, 1000, 5000, 14_000):
                values = dict(enumerate(0.6 + 0.05 * np.log10(size / 100) + 0.01 * rng.normal(size=4)))
                points.append(Point(model, size, "complications", label, values))
    write_curve_page(path, points, "roc_auc", {"test data": f"{HOSTILE}/{LONG}"}, missing=2)


def every_page(folder, run_script):
    """Writes them all: list of paths."""
    paths = {
        name: folder / f"{name}.html"
        for name in (
            "report",
            "evaluation",
            "attribution",
            "patients",
            "data",
            "training",
            "entities",
            "words",
            "curve",
        )
    }
    report(paths["report"])
    evaluation_page(paths["evaluation"])
    attribution_pages(paths["attribution"], paths["patients"])
    data_report(paths["data"], run_script)
    log = [{"step": step, "loss": 1 / step, f"{LONG}_loss": 2.0} for step in range(1, 50)]
    write_training_page(paths["training"], "Training", log)
    text = f"Chest pain and {LONG * 3}."
    document = Document("one", text, [Span("1", "problem", ((0, 10),))])
    write_reader(paths["entities"], [(document, [Span("1", "drug", ((0, 5),))])])
    words_page(paths["words"])
    curve_page(paths["curve"])
    return list(paths.values())
