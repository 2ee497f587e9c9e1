"""Trains one encoder end to end on masked codes, prolonged stay and complications, and evaluates it.

Example:
  python run_scripts/run_toppretraining.py --input_file=data/cohort.train.tfrecord \\
    --valid_file=data/cohort.valid.tfrecord \\
    --test_file=data/cohort.test.tfrecord --output_dir=runs/first --bert_config_file=medtop/configs/topbert.json \\
    --do_train --do_eval --num_train_epochs=20 --early_stopping=roc_auc:5

Run the same command again to go on after a stop. Pretrain, then fine-tune: the same script twice, the second time with
--init_checkpoint=<first run> and other --tasks.
"""

import logging
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, training_flags  # noqa: E402

training_flags.define()


def main(_):
    """Flags in, library call, table out."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    training_flags.run_trainer("run_toppretraining.py", say=print, command=shlex.join(["python", *sys.argv]))


if __name__ == "__main__":
    commands.run(main)
