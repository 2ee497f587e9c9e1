"""Risk as notes arrive: how well a finished run tells readmissions after each day of the stay, over all admissions.

After d days (d whole days after the admission) an admission is read as `preprocess_notes.py --mode=early
--early_days=d` reads it: the notes charted by then, no discharge summaries, stays that have ended left out. The longer
the stay, the fewer are still there, and the more ill: so each measure stands twice, over all who are there on that day,
and over those who are there with notes on every day asked for.
"""

import csv
import dataclasses
import itertools
import logging
import shutil

import numpy as np

from medtop.evaluation.metrics import evaluate
from medtop.evaluation.predictions import Predictions, logit
from medtop.files.atomic import write_json
from medtop.files.errors import DataError
from medtop.files.folders import RESTRICTED, check_target, has_json_key, whole_folder
from medtop.files.formulas import quote_option, quoting
from medtop.files.locks import PRIVATE_FOLDER
from medtop.files.options import REQUIRED, SEED, Rule, at_least, option
from medtop.notes.options import NotesOptions
from medtop.notes.preprocess import preprocess_notes
from medtop.notes.texts import read_texts
from medtop.readmission.day_counts import DayPeople, people, without_small
from medtop.readmission.prepare import read_text_settings
from medtop.reporting.by_day_page import write_day_page, write_day_plot
from medtop.training.run_directory import RunDirectory

logger = logging.getLogger(__name__)

MAIN_FILE = "by_day.json"
EVERYBODY, STAYERS = POPULATIONS = ("there on the day", "there on every day")
METRICS = ("roc_auc", "average_precision", "recall_at_precision_80", "brier", "calibration_error")
COLUMNS = ("day", "population", "n", "positives", "metric", "value", "low", "high")
PREDICTION_COLUMNS = ("day", "patient_id", "admission_id", "prediction_time", "target", "probability", "windows")
_TEXTS = 256

_DAYS = Rule(
    "whole days above 0, each once, rising",
    lambda days: bool(days) and all(a < b for a, b in itertools.pairwise((0, *days))),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DaySettings:
    """What is asked for."""

    run_dir: str = option(REQUIRED, "A finished run of run_readmission.py, best one of --mode=early.")
    output_dir: str = option(REQUIRED, "New folder for the results.")
    days: tuple[int, ...] = option((1, 2, 3, 5, 7), "Days after the admission.", rule=_DAYS)
    num_bootstrap: int = option(500, "Resamples of patients for intervals.", rule=at_least(0))
    seed: int = option(0, "Of the resamples.", rule=SEED)
    batch_size: int = option(32, "Windows in a batch.", rule=at_least(1))
    min_cell: int = option(0, "Smallest count of people that is shown; 0 = all.", rule=at_least(0))
    quote_formulas: bool = quote_option()
    overwrite: bool = option(False, "Replace earlier results in --output_dir.")


@dataclasses.dataclass
class Day:
    """The admissions that are there after some days, scored.

    Attributes:
        day: days after the admission.
        predictions: `Predictions`, N admissions; probabilities: float64 [N, K], calibrated.
        windows: int [N], windows of each.
        counts: dict of what `preprocess_notes` counted: examples, without_notes, ended.
    """

    day: int
    predictions: Predictions
    probabilities: np.ndarray
    windows: np.ndarray
    counts: dict


def risk_by_day(settings, source):
    """Scores, evaluates and writes by_day.json, by_day.csv, restricted/predictions.csv, by_day.png and by_day.html.

    Args:
        settings: `DaySettings`.
        source: `medtop.notes.preprocess.NotesInput`: the tables of admissions and notes.

    Returns:
        list of rows: dicts with the keys `COLUMNS`; None in place of what `min_cell` hides.

    Raises:
        DataError: for a run that is none on notes, tables without a patient of its test split, or a folder in the way.
    """
    check_target(settings.output_dir, has_json_key(MAIN_FILE, "days"), settings.overwrite)
    run = RunDirectory(settings.run_dir)
    about = read_text_settings(run)
    if about["mode"] == "discharge":
        logger.warning("%s was trained on discharge summaries: before the discharge there are none", run.path)
    from medtop.readmission.score import NoteScorer  # loads TensorFlow

    scorer = NoteScorer(settings.run_dir, settings.batch_size)
    with whole_folder(settings.output_dir, has_json_key(MAIN_FILE, "days"), settings.overwrite) as folder:
        texts = folder / "texts"  # they hold notes, and do not stay
        texts.mkdir()
        days = [_scored(day, source, run, about, scorer, texts) for day in settings.days]
        shutil.rmtree(texts)
        counts = {day.day: day.counts for day in days}
        rows, counts = without_small(_measured(days, scorer, settings), counts, _people(days), settings.min_cell)
        quote = settings.quote_formulas
        _write_csv(folder / "by_day.csv", COLUMNS, ([row[name] for name in COLUMNS] for row in rows), quote)
        (folder / RESTRICTED).mkdir(PRIVATE_FOLDER)
        _write_csv(folder / RESTRICTED / "predictions.csv", PREDICTION_COLUMNS, _predicted(days), quote)
        content = {"days": list(settings.days), "run_dir": str(run.path), "min_cell": settings.min_cell}
        content["counts"] = counts
        write_json(folder / MAIN_FILE, content | {"rows": rows})
        write_day_plot(folder / "by_day.png", rows, POPULATIONS)
        write_day_page(folder / "by_day.html", rows, POPULATIONS, content)
    return rows


def _scored(day, source, run, about, scorer, folder):
    """The `Day`."""
    options = NotesOptions(
        mode="early",
        early_days=day,
        cleaning=about["cleaning"],
        lower_case=about["lower_case"],
        splits=str(run.splits_file),
    )
    manifest = preprocess_notes(source, options, folder / f"day{day}").manifest
    batches = list(read_texts(folder / f"day{day}.notes.test.parquet"))
    if not batches:
        raise DataError(
            f"{source.data_dir}: expected notes of patients of the run's test split ({run.splits_file}) {day} days "
            "after an admission, received none"
        )
    join = lambda name: [value for batch in batches for value in getattr(batch, name)]  # noqa: E731
    texts, labels = join("texts"), np.array(join("labels"), np.float64)
    probabilities, windows = [], []
    for first in range(0, len(texts), _TEXTS):
        part = texts[first : first + _TEXTS]
        scored = scorer.score(part)
        probabilities.append(scored.probabilities)
        windows.append(np.bincount(scored.texts, minlength=len(part)))
    probabilities = np.concatenate(probabilities)
    predictions = Predictions(
        scorer.task.name,
        scorer.task.labels,
        np.array(join("patient_ids")),
        np.array(join("prediction_times"), np.int64),
        np.nan_to_num(labels)[:, None],
        (~np.isnan(labels)).astype(np.float32)[:, None],
        logit(probabilities),
        admission_ids=np.array(join("admission_ids")),
    )
    counts = {
        "examples": manifest["splits"]["test"]["examples"],
        "without_notes": manifest["splits"]["test"]["without_notes"],
        "ended_all_splits": manifest["admissions_dropped"].get("ended_before_prediction_time", 0),
    }
    logger.info("day %d: %d admissions scored", day, len(texts))
    return Day(day, predictions, probabilities, np.concatenate(windows), counts)


def _measured(days, scorer, settings):
    """The rows: each day, population and metric."""
    rows = []
    for population, day, chosen in _parts(days):
        if not chosen.any():
            continue
        entry = evaluate(
            day.predictions.take(chosen),
            day.probabilities[chosen],
            thresholds=scorer.calibration.thresholds,
            num_bootstrap=settings.num_bootstrap,
            seed=settings.seed,
        )[scorer.task.labels[0]]
        about = {"day": day.day, "population": population, "n": entry["n"], "positives": entry["positives"]}
        rows += [{**about, "metric": metric, **entry[metric]} for metric in METRICS]
    return rows


def _parts(days):
    """Yields (population, `Day`, bool [N]: who of that day belongs to it)."""
    always = set.intersection(*(set(day.predictions.admission_ids.tolist()) for day in days))
    for population, day in itertools.product(POPULATIONS, days):
        chosen = np.ones(len(day.predictions), bool)
        if population == STAYERS:
            chosen = np.isin(day.predictions.admission_ids, sorted(always))
        yield population, day, chosen


def _people(days):
    """The `DayPeople` of each day."""
    parts = {(population, day.day): chosen for population, day, chosen in _parts(days)}
    listed = []
    for day in days:
        scores = day.predictions
        cells = {population: people(scores, parts[population, day.day]) for population in POPULATIONS}
        unknown = len(np.unique(scores.patient_ids[~scores.known[:, 0]]))
        listed.append(DayPeople(day.day, cells, people(scores, ~parts[STAYERS, day.day]), unknown))
    return listed


def _predicted(days):
    for day in days:
        scores = day.predictions
        times = np.datetime_as_string(scores.prediction_times.astype("datetime64[s]"))
        for row in range(len(scores)):
            target = int(scores.targets[row, 0]) if scores.known[row, 0] else ""
            about = (day.day, scores.patient_ids[row], scores.admission_ids[row], times[row], target)
            yield (*about, repr(float(day.probabilities[row, 0])), int(day.windows[row]))


def _write_csv(path, header, rows, quote_formulas):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = quoting(csv.writer(file, lineterminator="\n"), quote_formulas)
        writer.writerow(header)
        writer.writerows(["" if value is None else value for value in row] for row in rows)
