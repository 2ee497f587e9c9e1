"""Med-BERT's pretraining: masked codes and prolonged stay. The same trainer as run_toppretraining.py.

Example:
  python run_scripts/run_EHRpretraining.py --input_file=data/cohort.train.tfrecord \\
    --valid_file=data/cohort.valid.tfrecord \\
    --output_dir=runs/pretrained --bert_config_file=medtop/configs/medbert.json --do_train --do_eval \\
    --train_batch_size=32 --learning_rate=5e-5 --num_train_steps=100000
"""

import logging
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, training_flags  # noqa: E402

training_flags.define(tasks=("masked_lm", "long_stay"))


def main(_):
    """Flags in, library call, table out."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    training_flags.run_trainer("run_EHRpretraining.py", say=print, command=shlex.join(["python", *sys.argv]))


if __name__ == "__main__":
    commands.run(main)
