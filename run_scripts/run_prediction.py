"""Predicts new patients with a finished run: calibrated probabilities, one row per patient, task and label.

Example:
  python preprocessing/preprocess_pretrain_data.py new.csv runs/first/vocab.txt data/new 0 --index=none \\
    --tasks= --splits=test
  python preprocessing/create_BERTpretrain_EHRfeatures.py --input_file=data/new.bencs.test \\
    --output_file=data/new.tfrecord --vocab_file=data/new.types
  python run_scripts/run_prediction.py --run_dir=runs/first --input_file=data/new.tfrecord \\
    --output_file=new_predictions.csv

Where the new records carry labels, run_evaluation.py measures the model on them.
"""

import dataclasses
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402
from medtop.files.formulas import quote_option  # noqa: E402
from medtop.files.options import REQUIRED, Rule, at_least, option  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Whom to predict, with which run."""

    run_dir: str = option(REQUIRED, "Run directory of a trained model.")
    input_file: str = option(REQUIRED, "TFRecord files of the patients: a name, glob or comma list.")
    output_file: str = option(REQUIRED, "CSV to write.")
    batch_size: int = option(64, "Patients in a batch.", rule=at_least(1))
    max_seq_length: int | None = option(None, "Longest row; default: as in training.", rule=at_least(2))
    min_known_codes: float = option(
        0.5,
        "Smallest share of a patient's codes that the model must know, and one at least, for a probability; 0 = none.",
        rule=Rule("a number from 0 to 1", lambda value: 0 <= value <= 1),
    )
    quote_formulas: bool = quote_option()
    overwrite: bool = option(False, "Replace an existing output file.")


flags.define(Options)


def main(_):
    """Checks, predicts, says where the file lies."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options = flags.read(Options)
    if Path(options.output_file).exists() and not options.overwrite:
        raise DataError(f"{options.output_file}: expected a new file, found one; --overwrite replaces it")
    from medtop.runs.predict import predict

    done = predict(
        options.run_dir,
        options.input_file,
        options.output_file,
        options.batch_size,
        options.max_seq_length,
        options.min_known_codes,
        options.quote_formulas,
    )
    print(f"{done.examples:,} examples scored: {options.output_file}")
    if done.known_codes is not None:
        print(f"codes known to the model: {done.known_codes:.1%} on average")
    if done.without_probability:
        print(
            f"{done.without_probability:,} of {done.examples:,} examples have no probability: the model knows none of "
            f"their codes, or less than {options.min_known_codes:.0%} of them (--min_known_codes)"
        )


if __name__ == "__main__":
    commands.run(main)
