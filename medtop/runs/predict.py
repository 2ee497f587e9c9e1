"""Scoring new patients with a finished run."""

import logging

from medtop.data.batches import BatchOptions
from medtop.data.description import read_dataset
from medtop.evaluation.aggregation import read_aggregation
from medtop.evaluation.calibration import Calibration, read_calibrations
from medtop.evaluation.predictions import write_predictions
from medtop.evaluation.scoring import Scorer
from medtop.files.errors import DataError
from medtop.model.multitask import build_model
from medtop.training.run_directory import RunDirectory
from medtop.training.trainer import load_best

logger = logging.getLogger(__name__)


def check_input(run_dir, input_file):
    """(`BertConfig`, tasks, `DatasetInfo`), checked against each other.

    Raises:
        DataError: when the run has no patient-level task, or the data have another vocabulary, layout, kind of gap, or
            separators.
    """
    config, vocabulary, tasks = RunDirectory(run_dir).read()
    tasks = [task for task in tasks if task.level == "patient"]
    if not tasks:
        raise DataError(f"{run_dir}: expected a run with a patient-level task, received masked codes only")
    info = read_dataset(input_file)
    if info.vocabulary != vocabulary:
        raise DataError(
            f"{info.names[0]}: expected the vocabulary of {run_dir} (give its vocab.txt to "
            f"preprocess_pretrain_data.py), received another one ({len(info.vocabulary)} tokens)"
        )
    RunDirectory(run_dir).check_records(info)
    return config, tasks, info


def predict(run_dir, input_file, output_file, batch_size=64, max_seq_length=None):
    """Writes calibrated probabilities for the examples of TFRecord files.

    Labels in the records are not needed; where they are there, they stand in column `target`.

    Args:
        run_dir: a finished run.
        input_file: TFRecord files, as for `read_dataset`.
        output_file: CSV with the columns of predictions.csv.
        batch_size: patients in a batch.
        max_seq_length: longest row; None = as in training.

    Returns:
        Number of examples (admissions, where the run joins the windows of notes).
    """
    results = score(run_dir, input_file, batch_size, max_seq_length)
    write_predictions(output_file, list(results.values()))
    return len(next(iter(results.values()))[0])


def score(run_dir, input_file, batch_size=64, max_seq_length=None):
    """What a finished run says of the examples of TFRecord files; arguments as for `predict`.

    Returns:
        dict task -> (`Predictions`, calibrated probabilities float64 [N, K]), in file order.
    """
    config, tasks, info = check_input(run_dir, input_file)
    run = RunDirectory(run_dir)
    settings = run.settings()
    model = build_model(config, run.read()[2])
    load_best(model, run)
    options = BatchOptions(batch_size=batch_size, max_seq_length=max_seq_length or settings["max_seq_length"])
    # notes of a run that was evaluated by admission: one row per admission, as in its own results
    aggregation = read_aggregation(run.aggregation_file) if run.aggregation_file.is_file() else None
    predictions = Scorer(model, info, config, tasks, options, 0, aggregation).predictions()
    if run.calibration_file.is_file():
        calibrations = read_calibrations(run.calibration_file)
    else:
        logger.warning("%s holds no calibration: probabilities are the model's own", run_dir)
        calibrations = {
            task.name: Calibration.identity(task.name, task.labels, class_weights=task.positive_weights)
            for task in tasks
        }
    return {task: (scores, calibrations[task].apply(scores)) for task, scores in predictions.items()}
