"""Trains a model of clinical notes on 30-day readmission and evaluates it, one risk per admission.

Example (ClinicalBERT's data folder with train.csv, val.csv and test.csv of TEXT, ID, Label, and its flags):
  python run_scripts/run_readmission.py --task_name=readmission --readmission_mode=discharge --do_train --do_eval \\
    --data_dir=data/discharge --bert_model=model/pretraining --max_seq_length=512 --output_dir=checkpoints/discharge

--data_dir is also the prefix that preprocess_notes.py wrote; --input_file, --valid_file and --test_file name records of
create_notes_features.py instead. --bert_model (or --init_checkpoint) is a HuggingFace folder or a run directory;
without it, --bert_config_file and --vocab_file start from random weights. Run the same command again to go on.
"""

import dataclasses
import logging
import shlex
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, training_flags
from medtop.files.errors import DataError
from medtop.readmission import prepare
from medtop.training.options import make_plan
from medtop.training.run_directory import RunDirectory

training_flags.define(tasks=["readmission"])
flags.FLAGS.set_default("aggregation", "max_mean")
flags.FLAGS.set_default("num_train_epochs", 3)

flags.DEFINE_string(
    "data_dir",
    "",
    "Folder with train.csv, val.csv and test.csv (TEXT, ID, Label), or the prefix of preprocess_notes.py.",
)
flags.DEFINE_string(
    "bert_model", "", "HuggingFace folder or run directory to start from; the same as --init_checkpoint."
)
flags.DEFINE_enum("task_name", "readmission", ["readmission"], "As in ClinicalBERT's command lines.")
flags.DEFINE_enum(
    "readmission_mode", "", ["", "discharge", "early"], "What the texts are; refused where the data say otherwise."
)
flags.DEFINE_string("vocab_file", "", "WordPiece vocabulary; default: that of --bert_model.")
flags.DEFINE_bool("lower_case", None, "Lower-case and take accents off; default: as the vocabulary was made.")
flags.DEFINE_integer("window_overlap", 0, "Pieces that neighbouring windows share.", lower_bound=0)
flags.DEFINE_bool("legacy", False, "The first window of each text only, as ClinicalBERT; the rest is dropped.")
flags.DEFINE_float(
    "warmup_proportion",
    None,
    "Share of the steps that warm up, instead of --num_warmup_steps.",
    lower_bound=0,
    upper_bound=1,
)
flags.DEFINE_bool("no_cuda", False, "Use no GPU.")
flags.DEFINE_bool("fp16", False, "16-bit computation: --precision=mixed_bfloat16, which needs no loss scaling.")


def _options(values):
    """(`TrainingOptions` without warm-up share, `TextInput`) out of the flags."""
    if values.bert_model and values.init_checkpoint:
        raise DataError("--bert_model: expected it or --init_checkpoint, received both")
    options = training_flags.options_from(values)
    changes = {"init_checkpoint": values.bert_model or values.init_checkpoint}
    if values.no_cuda:
        changes["num_gpus"] = 0
    if values.fp16:
        changes["precision"] = "mixed_bfloat16"
    names = [field.name for field in dataclasses.fields(prepare.TextInput)]
    texts = prepare.TextInput(**{name: values[name].value for name in names})
    return dataclasses.replace(options, **changes), texts


def _importer(command):
    """A function (HuggingFace folder, run directory to write) that imports and says what it took."""

    def import_folder(folder, target):
        from medtop.convert.import_weights import import_weights, plan_import

        model = import_weights(plan_import(folder, target, command=command))
        return f"{len(model.arrays)} weights; {model.parity}"

    return import_folder


def _with_warmup(options, plan, share):
    """The options with `--warmup_proportion` as a number of steps."""
    if share is None or plan.train is None:
        return options
    each = -(-plan.train.num_examples // options.train_batch_size)
    steps = options.num_train_steps or options.num_train_epochs * each
    return dataclasses.replace(options, num_warmup_steps=int(share * steps))


def main(_):
    """Flags in, library calls, table out."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    values, command = flags.FLAGS, shlex.join(["python", *sys.argv])
    options, texts = _options(values)
    options = prepare.prepare(options, texts, _importer(command), values.overwrite)
    run = RunDirectory(options.output_dir)
    if options.do_train:
        options = _with_warmup(options, make_plan(options), values.warmup_proportion)
    else:
        config, _, tasks = run.read()
        make_plan(dataclasses.replace(options, tasks=None), config, tasks)
    from medtop.readmission.results import admission_table
    from medtop.runs.execute import execute

    results = execute(options, values.resume, values.overwrite, command)
    if options.do_train and run.exists():
        prepare.write_text_settings(run, prepare.text_settings(options, texts.readmission_mode))
    if results is None:
        print(f"next: python run_scripts/run_readmission.py --do_eval --output_dir={options.output_dir} --data_dir=...")
        return
    print(admission_table(results) if options.aggregation != "none" else results.table)
    print(f"report: {options.output_dir}/report.html; one line per admission: {run.readmission_predictions_file}")
    print(f"next: python run_scripts/score_notes.py --run_dir={options.output_dir} --text_file=note.txt")


if __name__ == "__main__":
    commands.run(main)
