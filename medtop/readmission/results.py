"""What an evaluation of notes adds: windows become admissions, and the model is set beside simpler ways.

Beside the chosen aggregation stand the other two (`mean`, `max`), TF-IDF with logistic regression, and, where their
predictions are given, structured codes alone; all on the same admissions, with paired differences.

Letters: S windows, N admissions, K labels.
"""

import csv
import dataclasses
import logging

import numpy as np

from medtop.data import tfrecord
from medtop.evaluation.aggregation import (
    DEFAULT_C,
    MAX_MEAN,
    METHODS,
    Admissions,
    Aggregation,
    read_aggregation,
    tune_c,
    write_aggregation,
)
from medtop.evaluation.calibration import fit_calibration
from medtop.evaluation.predictions import Predictions, check_probabilities, match_examples, read_predictions
from medtop.files.atomic import atomic_path
from medtop.files.errors import DataError
from medtop.readmission.tfidf import fit_tfidf
from medtop.reporting.curves import calibration, precision_recall, roc
from medtop.reporting.png import write_plot

logger = logging.getLogger(__name__)

TFIDF_NAME, CODES_NAME = "TF-IDF", "codes alone"
COLUMNS = (
    "patient_id",
    "admission_id",
    "prediction_time",
    "task",
    "label",
    "target",
    "probability",
    "windows",
)
"""Columns of readmission_predictions.csv, in this order; an unknown target is empty, `windows` is their number."""


@dataclasses.dataclass
class ScoredWindows:
    """The windows of one split, scored.

    Attributes:
        predictions: dict task -> `Predictions` with a row for each of S windows.
        admissions: their `Admissions`.
    """

    predictions: dict
    admissions: Admissions

    def aggregate(self, aggregation):
        """dict task -> `Predictions` of the N admissions."""
        return {task: self.admissions.aggregate(scores, aggregation) for task, scores in self.predictions.items()}


def choose_aggregation(options, run, windows):
    """The aggregation of an evaluation, also written to the run directory.

    With a validation split it is as the options say, c from validation where they say 0; without one, what an earlier
    evaluation of the run has stored, else as the options say.

    Args:
        options: `medtop.training.options.TrainingOptions`.
        run: `RunDirectory`.
        windows: dict split -> `ScoredWindows`.
    """
    if "valid" not in windows and run.aggregation_file.is_file():
        return read_aggregation(run.aggregation_file)
    c, tried = options.aggregation_c or DEFAULT_C, {}
    if options.aggregation == MAX_MEAN and not options.aggregation_c and "valid" in windows:
        valid = windows["valid"]
        areas = [tune_c(scores, valid.admissions)[1] for scores in valid.predictions.values()]
        tried = {c: float(np.mean([area[c] for area in areas if area])) for c in next(filter(None, areas), {})}
        c = max(tried, key=tried.get) if tried else DEFAULT_C
        logger.info("aggregation: c = %g chosen on validation", c)
    chosen = Aggregation(options.aggregation, c)
    write_aggregation(run.aggregation_file, chosen, tried)
    return chosen


def rivals(plan, windows, aggregation, predictions):
    """Simpler ways on the same admissions.

    Args:
        plan: `medtop.training.options.TrainingPlan`; without a training split there is no TF-IDF.
        windows: dict split -> `ScoredWindows`.
        aggregation: the `Aggregation` that the model itself uses.
        predictions: dict split -> task -> `Predictions` of the admissions by it.

    Returns:
        (dict split -> name -> task -> (`Predictions`, probabilities), dict name -> task -> thresholds, sentences that a
        reader needs). Probabilities are calibrated on validation where there is one.
    """
    raw = {
        Aggregation(method, aggregation.c).name: {
            split: scored.aggregate(Aggregation(method, aggregation.c)) for split, scored in windows.items()
        }
        for method in METHODS
        if method != aggregation.method
    }
    sentences = [f"Probabilities of an admission: {aggregation.name} of its windows' probabilities."]
    if plan.options.baselines and plan.train is not None:
        raw[TFIDF_NAME], reasons = _tfidf(plan, windows, predictions)
        sentences += reasons
    compared, thresholds = {split: {} for split in windows}, {}
    for name, of_split in raw.items():
        fitted = {task: fit_calibration(scores) for task, scores in of_split.get("valid", {}).items()}
        thresholds[name] = {task: calibrated.thresholds for task, calibrated in fitted.items()}
        for split, tasks in of_split.items():
            compared[split][name] = {
                task: (scores, fitted[task].apply(scores) if task in fitted else scores.probabilities)
                for task, scores in tasks.items()
            }
    if plan.options.codes_predictions:
        sentences.append(_add_codes(compared, predictions, plan.options.codes_predictions))
    return compared, thresholds, sentences


def _tfidf(plan, windows, predictions):
    """(dict split -> task -> Predictions, sentences)."""
    infos = {split: info for split, info in (("train", plan.train), ("valid", plan.valid), ("test", plan.test)) if info}
    splits = {"train": _training_split(plan.train, list(next(iter(predictions.values())).values()))}
    splits |= {
        split: (tfrecord.read_examples(infos[split]), windows[split].admissions, predictions[split])
        for split in windows
    }
    predicted, reasons = fit_tfidf(splits, plan.vocabulary.special_ids, seed=plan.options.seed)
    sentences = [
        f"{TFIDF_NAME}, {task} {label}: {reason}."
        for task, labels in reasons.items()
        for label, reason in labels.items()
    ]
    logger.info("baseline fitted: %s", TFIDF_NAME)
    return predicted, sentences


def _training_split(info, like):
    """What `fit_tfidf` needs of the training split, whose windows were not scored.

    Args:
        like: `Predictions` of another split, for tasks and labels.
    """
    ids = {name: [] for name in ("patient_id", "admission_id", "prediction_time")}
    values = {scores.task: ([], []) for scores in like}
    for columns in tfrecord.read_examples(info):
        for name, part in ids.items():
            part.append(np.asarray(columns[name]))
        for task, (labels, weights) in values.items():
            labels.append(columns[f"{task}_labels"])
            weights.append(columns[f"{task}_weights"])
    admissions = Admissions.of(*(np.concatenate(part) for part in ids.values()))
    made = {}
    for scores in like:
        targets, weights = (np.concatenate(part)[admissions.first] for part in values[scores.task])
        made[scores.task] = Predictions(
            scores.task,
            scores.labels,
            admissions.patient_ids,
            admissions.prediction_times,
            targets,
            weights,
            np.zeros_like(targets),
            admissions.admission_ids,
        )
    return tfrecord.read_examples(info), admissions, made


def _add_codes(compared, predictions, path):
    """Adds the predictions of another run to the splits that it covers; gives a sentence that says how far it does.

    Raises:
        DataError: for a file that has none of the tasks and labels, or none of the examples.
    """
    given = read_predictions(path)
    covered = []
    for split, tasks in predictions.items():
        for task, scores in tasks.items():
            if task not in given or given[task][0].labels != scores.labels:
                continue
            other, probabilities = given[task]
            place = match_examples(
                scores.patient_ids,
                scores.prediction_times,
                other.patient_ids,
                other.prediction_times,
                f"{path}: task {task}",
            )
            common = place >= 0
            if common.any():
                compared[split].setdefault(CODES_NAME, {})[task] = (
                    dataclasses.replace(scores.take(common), logits=other.logits[place[common]]),
                    probabilities[place[common]],
                )
                covered.append(f"{int(common.sum())} of {len(scores)} {split} admissions")
    if not covered:
        tasks = next(iter(predictions.values())).items()
        wanted = ", ".join(f"{task} ({', '.join(scores.labels)})" for task, scores in tasks)
        raise DataError(
            f"{path}: expected predictions of {wanted} for these admissions (patient_id, "
            "prediction_time), received none"
        )
    return f"{CODES_NAME.capitalize()}: {path}, for {', '.join(covered)}; each difference is over those."


def write_admission_predictions(path, results):
    """Writes readmission_predictions.csv, whole or not at all; one row per admission and label.

    Args:
        path: the file.
        results: iterable of (`Predictions` with admission ids, probabilities float64 [N, K], windows int [N]).
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for scores, probabilities, sizes in results:
            probabilities = check_probabilities(scores, probabilities)
            times = np.datetime_as_string(scores.prediction_times.astype("datetime64[s]"))
            known, targets = scores.known, scores.targets.astype(int)
            for row, (patient, admission, time, size) in enumerate(
                zip(scores.patient_ids, scores.admission_ids, times, sizes, strict=True)
            ):
                writer.writerows(
                    (
                        patient,
                        admission,
                        time,
                        scores.task,
                        label,
                        targets[row, place] if known[row, place] else "",
                        repr(float(probabilities[row, place])),
                        int(size),
                    )
                    for place, label in enumerate(scores.labels)
                )


def write_admission_files(run, results, windows, min_cell=0):
    """Writes readmission_predictions.csv and the plots roc.png, precision_recall.png and calibration.png of a run.

    Args:
        run: `RunDirectory`.
        results: `medtop.runs.results.Results`, complete.
        windows: dict split -> `ScoredWindows`.
        min_cell: labels of fewer people with or without them are in no plot.
    """
    split = results.split
    predictions, probabilities = results.predictions[split], results.probabilities[split]
    counts = windows[split].admissions.counts
    write_admission_predictions(
        run.readmission_predictions_file,
        [(scores, probabilities[task], counts) for task, scores in predictions.items()],
    )
    panels = {run.roc_plot: [], run.precision_recall_plot: [], run.calibration_plot: []}
    results = results.shown(min_cell)
    for task, scores in results.predictions[split].items():
        for place, label in enumerate(scores.labels):
            name = task if label == task else f"{task} {label}"
            for path, panel in _panels(results, split, task, place, panels).items():
                panels[path].append(dataclasses.replace(panel, title=f"{panel.title}: {name} ({split})"))
    for path, drawn in panels.items():
        if drawn:
            write_plot(path, drawn)


def _panels(results, split, task, place, paths):
    """dict path -> `Panel` of one label; {} where it has one class only."""
    scored = results.predictions[split][task]
    rows = scored.known[:, place]
    targets, scores = scored.targets[rows, place] > 0, results.probabilities[split][task][rows, place]
    if not targets.any() or targets.all():
        return {}
    curves = [("model", targets, scores)]
    for name, tasks in results.baselines.get(split, {}).items():
        if task in tasks:
            other, values = tasks[task]
            known = other.known[:, place]
            curves.append((name, other.targets[known, place] > 0, values[known, place]))
    before = results.uncalibrated(scored)[rows, place]
    drawn = roc(curves), precision_recall(curves), calibration(targets, scores, before)
    return dict(zip(paths, drawn, strict=True))


def admission_table(results):
    """The results of the reported split as aligned text: one row per way, with 95% intervals.

    Args:
        results: `medtop.runs.results.Results`.

    Returns:
        str of several lines; "difference" is the model's ROC AUC minus that way's, paired over the same patients.
    """
    split, lines = results.split, []
    comparison = results.comparison[split]
    spans = [f"{name} [95%]" for name in ("AUROC", "AUPRC", "RP80", "Brier")]
    header = ["", "n", "positives", *spans, "ECE", "difference [95%]"]
    for task, labels in results.metrics[split].items():
        for label, entry in labels.items():
            if label in ("micro", "macro") or "roc_auc" not in entry:
                continue
            rows = [["model", *_cells(entry), ""]]
            for name, tasks in comparison["baselines"].items():
                if label in tasks.get(task, {}):
                    difference = comparison["differences"][name].get(task, {}).get(label)
                    rows.append([name, *_cells(tasks[task][label]), _difference(difference)])
            best = comparison["best_reachable"].get(task, {}).get(label)
            if best:
                values = [
                    _number(best[name])
                    for name in ("roc_auc", "average_precision", "recall_at_precision_80", "brier", "calibration_error")
                ]
                rows.append(["best reachable", str(best["n"]), "", *values, ""])
            lines += [f"{task} {label} ({split})" if label != task else f"{task} ({split})", *_aligned([header, *rows])]
    return "\n".join(lines)


def _cells(entry):
    spans = [_span(entry[name]) for name in ("roc_auc", "average_precision", "recall_at_precision_80", "brier")]
    return [str(entry["n"]), str(entry["positives"]), *spans, _number(entry["calibration_error"]["value"])]


def _number(value, sign=""):
    return "-" if value is None else f"{value:{sign}.3f}"


def _span(entry, sign=""):
    if entry.get("low") is None:
        return _number(entry["value"], sign)
    return f"{_number(entry['value'], sign)} [{_number(entry['low'], sign)}, {_number(entry['high'], sign)}]"


def _difference(entry):
    if entry is None:
        return "-"
    return _span({"value": entry["difference"], "low": entry["low"], "high": entry["high"]}, "+")


def _aligned(rows):
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
