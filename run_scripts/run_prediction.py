"""Predicts new patients with a finished run: calibrated probabilities, one row per patient, task and label.

Example:
  python preprocessing/preprocess_pretrain_data.py new.csv runs/first/vocab.txt data/new 0 --index=none \\
    --tasks= --splits=test
  python preprocessing/create_BERTpretrain_EHRfeatures.py --input_file=data/new.bencs.test \\
    --output_file=data/new.tfrecord --vocab_file=data/new.types
  python run_scripts/run_prediction.py --run_dir=runs/first --input_file=data/new.tfrecord \\
    --output_file=new_predictions.csv
"""

import logging
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands  # noqa: E402
from medtop.files.errors import DataError  # noqa: E402

flags.DEFINE_string("run_dir", None, "Run directory of a trained model.", required=True)
flags.DEFINE_string("input_file", None, "TFRecord files of the patients: a name, glob or comma list.", required=True)
flags.DEFINE_string("output_file", None, "CSV to write.", required=True)
flags.DEFINE_integer("batch_size", 64, "Patients in a batch.", lower_bound=1)
flags.DEFINE_integer("max_seq_length", None, "Longest row; default: as in training.", lower_bound=2)
flags.DEFINE_bool("overwrite", False, "Replace an existing output file.")


def main(_):
    """Checks, predicts, says where the file lies."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    values = flags.FLAGS
    if Path(values.output_file).exists() and not values.overwrite:
        raise DataError(f"{values.output_file}: expected a new file, found one; --overwrite replaces it")
    from medtop.runs.predict import predict

    count = predict(values.run_dir, values.input_file, values.output_file, values.batch_size, values.max_seq_length)
    print(f"{count} examples scored: {values.output_file}")


if __name__ == "__main__":
    commands.run(main)
