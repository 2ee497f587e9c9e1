"""Scoring new patients with a finished run."""

import dataclasses
import logging

import numpy as np

from medtop.cohort.vocabulary import UNK_ID
from medtop.data.batches import BatchOptions
from medtop.data.description import read_dataset
from medtop.data.tfrecord import read_examples
from medtop.evaluation.aggregation import read_aggregation
from medtop.evaluation.calibration import Calibration, read_calibrations
from medtop.evaluation.predictions import MIN_KNOWN_CODES, write_predictions
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


@dataclasses.dataclass
class Predicted:
    """What `predict` did.

    Attributes:
        examples: number of examples (admissions, where the run joins the windows of notes).
        without_probability: examples whose probability was left empty.
        known_codes: mean share of codes that the vocabulary knows, over examples with codes; None where records hold no
            codes by name (notes, Med-BERT's layout).
    """

    examples: int
    without_probability: int = 0
    known_codes: float | None = None


def known_codes(info):
    """Share of each example's codes that have an id of their own, over its whole record: float64 [N], NaN without any.

    Returns:
        None for records without codes (notes), and of Med-BERT's layout, where no code is marked as unknown.
    """
    if not info.layout.can_count or info.vocabulary.is_medbert:
        return None
    shares = []
    for columns in read_examples(info):
        tokens, counts = columns["token_ids"], columns["counts"]
        special = np.isin(tokens, info.vocabulary.special_ids)
        owners = np.repeat(np.arange(len(counts)), counts)
        known = np.bincount(owners[~special], minlength=len(counts))
        codes = known + np.bincount(owners[tokens == UNK_ID], minlength=len(counts))
        shares.append(np.where(codes > 0, known / np.maximum(codes, 1), np.nan))
    return np.concatenate(shares)


def predict(
    run_dir,
    input_file,
    output_file,
    batch_size=64,
    max_seq_length=None,
    min_known_codes=MIN_KNOWN_CODES,
    quote_formulas=False,
):
    """Writes calibrated probabilities for the examples of TFRecord files.

    Labels in the records are not needed; where they are there, they stand in column `target`. Where records hold codes,
    column `known_codes` gives the share of an example's codes that the model's vocabulary knows; the probability of an
    example with none, or with a smaller share than `min_known_codes`, is left empty: a model that knows nothing of a
    patient gives an ordinary risk, which looks like a prediction.

    Args:
        run_dir: a finished run.
        input_file: TFRecord files, as for `read_dataset`.
        output_file: CSV with the columns of predictions.csv.
        batch_size: patients in a batch.
        max_seq_length: longest row; None = as in training.
        min_known_codes: from 0 to 1; 0 leaves no probability empty.
        quote_formulas: see `medtop.files.formulas`.

    Returns:
        `Predicted`.
    """
    shares = known_codes(read_dataset(input_file))
    results = score(run_dir, input_file, batch_size, max_seq_length)
    examples = len(next(iter(results.values()))[0])
    if shares is None:
        write_predictions(output_file, list(results.values()), quote_formulas=quote_formulas)
        return Predicted(examples)
    known = np.nan_to_num(shares)  # a record without codes tells nothing either
    empty = (known == 0) | (known < min_known_codes) if min_known_codes > 0 else np.zeros(examples, bool)
    written = [(scores, np.where(empty[:, None], np.nan, values)) for scores, values in results.values()]
    write_predictions(output_file, written, shares, quote_formulas)
    return Predicted(examples, int(empty.sum()), float(np.nanmean(shares)) if np.isfinite(shares).any() else 0.0)


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
