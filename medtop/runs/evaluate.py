"""A finished model on labelled data that it never saw: another hospital, another year; the run stays untouched."""

import csv
import dataclasses
import datetime
import logging
from pathlib import Path

import numpy as np

import medtop
from medtop.evaluation.clinical import clinical_measures
from medtop.evaluation.groups import OF_RECORDS, choose_groups, groups_of_records
from medtop.evaluation.ipcw import add_ipcw, read_follow_up
from medtop.evaluation.marks import add_marks, mark_lines
from medtop.evaluation.meds_files import write_meds_predictions
from medtop.evaluation.metrics import evaluate, paired_bootstrap
from medtop.evaluation.predictions import read_predictions, write_predictions
from medtop.evaluation.recalibration import METHODS, fitting_part, recalibrate
from medtop.evaluation.small_cells import suppress, without_counts
from medtop.files.atomic import atomic_path, sha256, write_json
from medtop.files.errors import DataError
from medtop.files.folders import RESTRICTED, has_json_key, whole_folder
from medtop.files.formulas import quote_option, quoting
from medtop.files.options import REQUIRED, SEED, Rule, at_least, option, share
from medtop.reporting.evaluation_page import write_evaluation_page

logger = logging.getLogger(__name__)

MAIN_FILE = "evaluation.json"
COLUMNS = (
    "task",
    "label",
    "group_column",
    "group",
    "n",
    "positives",
    "measure",
    "threshold",
    "value",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
    "reason",
)


_SHARE = share()
_SHARES = Rule("numbers between 0 and 1", lambda values: all(_SHARE.holds(value) for value in values))


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """What `run_evaluation.py` is asked to do: either `predictions`, or `run_dir` and `input_file`."""

    output_dir: str = option(REQUIRED, "New folder for the results.")
    run_dir: str = option("", "Run directory of a trained model.")
    input_file: str = option("", "Labelled TFRecord files: a name, glob or comma list.")
    predictions: str = option("", "A predictions.csv with targets, in place of --run_dir and --input_file.")
    compare_predictions: str = option("", "predictions.csv of another model on the same examples.")
    groups_file: str = option("", "CSV: patient_id, perhaps prediction_time, and columns of groups.")
    follow_up: str = option(
        "", "<prefix>.follow_up.csv of the examples: adds the AUROC corrected for censoring (roc_auc_ipcw)."
    )
    subgroups: tuple = option((), "sex, age_band (from the records), year, or columns of --groups_file.")
    thresholds: tuple[float, ...] = option((), "Risks at or above which people are alerted.", rule=_SHARES)
    alert_rates: tuple[float, ...] = option((), "Shares of people to alert, those of highest risk.", rule=_SHARES)
    recalibrate: str = option("none", "Fitted on a part of the patients, judged on the rest.", choices=METHODS)
    recalibration_share: float = option(0.5, "Share of the patients that it is fitted on.", rule=share())
    min_cell: int = option(0, "Smallest count of people that is shown; 0 = all.", rule=at_least(0))
    meds: bool = option(False, "Write MEDS prediction files too, one per label.")
    num_bootstrap: int = option(1000, "Resamples of patients for intervals.", rule=at_least(0))
    seed: int = option(0, "Of the resamples and of the recalibration's part.", rule=SEED)
    batch_size: int = option(64, "Patients in a batch.", rule=at_least(1))
    quote_formulas: bool = quote_option()
    overwrite: bool = option(False, "Replace an earlier evaluation in --output_dir.")


def check_settings(settings):
    """Refuses what cannot be, before a framework is loaded.

    Raises:
        DataError: naming the flag.
    """
    if bool(settings.predictions) == bool(settings.run_dir and settings.input_file):
        raise DataError("--predictions, or --run_dir with --input_file, is needed: give one of the two")
    if settings.run_dir and Path(settings.output_dir).resolve() == Path(settings.run_dir).resolve():
        raise DataError(f"--output_dir: expected another folder than the run's, received {settings.output_dir}")
    for name in ("predictions", "compare_predictions", "groups_file", "follow_up"):
        path = getattr(settings, name)
        if path and not Path(path).is_file():
            raise DataError(f"--{name}: expected an existing file, received {path}")


def evaluate_model(settings):
    """Evaluates and writes the folder: evaluation.json, clinical.csv, evaluation.html and, readable by the owner
    only, restricted/predictions.csv.

    Returns:
        dict task -> label -> entry, as `clinical_measures` gives, small cells hidden.

    Raises:
        DataError: as `check_settings`; for predictions without known labels; for examples that two files disagree on.
    """
    check_settings(settings)
    earlier = has_json_key(MAIN_FILE, "clinical")
    with whole_folder(settings.output_dir, earlier, settings.overwrite, shared=True) as folder:
        results, of_records = _results(settings)
        notes = []
        groups = _groups(settings, results, of_records, notes)
        results, groups, recalibration, fitted_on = _recalibrated(settings, results, groups, notes)
        metrics, clinical, comparison = {}, {}, {}
        ends = read_follow_up(settings.follow_up) if settings.follow_up else {}
        for task, (predictions, probabilities) in results.items():
            if not predictions.known.any():
                where = settings.predictions or settings.input_file
                raise DataError(f"{where}: task {task}: expected known labels, received none")
            shared = {"num_bootstrap": settings.num_bootstrap, "seed": settings.seed}
            metrics[task] = evaluate(predictions, probabilities, **shared)
            clinical[task] = clinical_measures(
                predictions,
                probabilities,
                thresholds=settings.thresholds,
                alert_rates=settings.alert_rates,
                groups=groups[task],
                fitted_on=fitted_on.get(task),
                **shared,
            )
            notes += add_ipcw(clinical[task], predictions, probabilities, ends, **shared)
            logger.info("task %s: %d labels evaluated", task, len(predictions.labels))
        add_marks({"the evaluated data": metrics}, {})
        comparison = _compared(settings, results)
        shown = suppress(clinical, settings.min_cell)
        if settings.min_cell <= 1:
            notes += mark_lines(metrics)
        else:
            metrics = {}  # counts by label stand in them unsuppressed
            comparison = without_counts(comparison)
            notes.append(f"Cells with 1 to {settings.min_cell - 1} people are suppressed.")
        write_json(
            folder / MAIN_FILE,
            {
                "medtop": medtop.__version__,
                "settings": dataclasses.asdict(settings),
                "recalibration": recalibration,
                "clinical": shown,
                "metrics": metrics,
                "comparison": comparison,
                "notes": notes,
            },
        )
        _write_csv(folder / "clinical.csv", shown, settings.quote_formulas)
        write_predictions(folder / RESTRICTED / "predictions.csv", list(results.values()))
        if settings.meds:
            write_meds_predictions(folder / RESTRICTED / "meds", results)
        write_evaluation_page(
            folder / "evaluation.html", "Evaluation", shown, _facts(settings, results), notes, comparison
        )
    return shown


def _results(settings):
    """(task -> (Predictions, probabilities); groups of the records, by column)."""
    if settings.predictions:
        return read_predictions(settings.predictions), {}
    from medtop.data.description import read_dataset
    from medtop.data.tfrecord import read_examples
    from medtop.runs.predict import score

    results = score(settings.run_dir, settings.input_file, settings.batch_size)
    info = read_dataset(settings.input_file)
    of_records = {}
    if info.layout.can_count and set(settings.subgroups) & {*OF_RECORDS}:
        of_records = groups_of_records(read_examples(info))
    return results, of_records


def _groups(settings, results, of_records, notes):
    groups = {}
    for task, (predictions, _) in results.items():
        own = {name: column for name, column in of_records.items() if len(column) == len(predictions)}
        groups[task], more = choose_groups(settings.subgroups, own, predictions, settings.groups_file or None)
        notes += [sentence for sentence in more if sentence not in notes]
    return groups


def _recalibrated(settings, results, groups, notes):
    """(results, groups of the judged patients; what was fitted, by task and label; on whom, by task)."""
    if settings.recalibrate == "none":
        return results, groups, {}, {}
    judged, kept, fitted, fitted_on = {}, {}, {}, {}
    for task, (predictions, probabilities) in results.items():
        part = fitting_part(predictions.patient_ids, settings.recalibration_share, settings.seed)
        columns, fitted[task] = [], {}
        for place, label in enumerate(predictions.labels):
            values, fitted[task][label] = recalibrate(
                probabilities[:, place],
                predictions.targets[:, place],
                predictions.known[:, place],
                part,
                settings.recalibrate,
            )
            columns.append(values)
            if fitted[task][label]["reason"]:
                notes.append(f"{task} {label}: {fitted[task][label]['reason']}.")
        judged[task] = predictions.take(~part), np.stack(columns, 1)[~part]
        fitted_on[task] = predictions.take(part), probabilities[part], fitted[task]
        kept[task] = {name: column[~part] for name, column in groups[task].items()}
        learned, rest = (len(np.unique(predictions.patient_ids[rows])) for rows in (part, ~part))
        how = f"recalibrated ({settings.recalibrate}) on {learned} patients, judged on the other {rest}"
        notes.append(f"{task}: {how}; intervals of the calibration measures hold the error of this fit.")
    return judged, kept, fitted, fitted_on


def _compared(settings, results):
    """task -> label -> AUROC of this model minus the other's, paired."""
    if not settings.compare_predictions:
        return {}
    others = read_predictions(settings.compare_predictions)
    common = [task for task in results if task in others]
    if not common:
        names = ", ".join(results)
        raise DataError(f"--compare_predictions: expected a task among {names}, received {', '.join(others)}")
    return {
        task: paired_bootstrap(*results[task], *others[task], num_bootstrap=settings.num_bootstrap, seed=settings.seed)
        for task in common
    }


def _facts(settings, results):
    first = next(iter(results.values()))[0]
    facts = {"evaluated on": datetime.date.today().isoformat(), "medtop": medtop.__version__}
    if settings.predictions:
        facts |= {"predictions": settings.predictions, "SHA-256 of the predictions": sha256(settings.predictions)}
    else:
        facts |= {"run": settings.run_dir, "records": settings.input_file}
    facts |= {"patients": len(np.unique(first.patient_ids)), "examples": len(first)}
    return facts | {"resamples": settings.num_bootstrap, "seed": settings.seed}


def _write_csv(path, clinical, quote_formulas):
    """One row per measure: overall, at thresholds, by group."""
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = quoting(csv.DictWriter(file, COLUMNS, restval=""), quote_formulas)
        writer.writeheader()
        for task, labels in clinical.items():
            for label, entry in labels.items():
                for row in _rows(entry):
                    cells = {name: "" if value is None else value for name, value in row.items()}
                    writer.writerow({"task": task, "label": label} | cells)


def _rows(entry):
    cells = [("", "", entry)]
    cells += [(column, group, cell) for column, groups in entry["groups"].items() for group, cell in groups.items()]
    for column, group, cell in cells:
        about = {"group_column": column, "group": group, "n": cell["n"], "positives": cell["positives"]}
        about["reason"] = cell.get("reason") or ("few positives" if cell.get("few_positives") else "")
        for measure, value in cell["measures"].items():
            other = cell.get("differences", {}).get(measure) or {}
            yield about | {
                "measure": measure,
                **value,
                "difference": other.get("value"),
                "difference_low": other.get("low"),
                "difference_high": other.get("high"),
            }
    for point in entry["operating_points"]:
        for measure, value in point.items():
            if isinstance(value, dict):
                yield {
                    "n": entry["n"],
                    "positives": entry["positives"],
                    "measure": measure,
                    "threshold": point["threshold"],
                    **value,
                }
