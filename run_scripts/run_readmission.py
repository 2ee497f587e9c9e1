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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags, training_flags
from medtop.files.errors import DataError
from medtop.files.options import Rule, option
from medtop.readmission import prepare
from medtop.runs.plan import plan_run
from medtop.training.run_directory import RunDirectory, results_directory


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClinicalBertOptions:
    """What ClinicalBERT's command lines hold beside the texts, in its words."""

    bert_model: str = option("", "HuggingFace folder or run directory to start from; the same as --init_checkpoint.")
    task_name: str = option("readmission", "As in ClinicalBERT's command lines.", choices=("readmission",))
    warmup_proportion: float | None = option(
        None,
        "Share of the steps that warm up, instead of --num_warmup_steps.",
        rule=Rule("a share from 0 to 1", lambda value: 0 <= value <= 1),
    )
    no_cuda: bool = option(False, "Use no GPU.")
    fp16: bool = option(False, "16-bit computation: --precision=mixed_bfloat16, which needs no loss scaling.")


training_flags.define(tasks=("readmission",), aggregation="max_mean", num_train_epochs=3)
flags.define(prepare.TextInput, ClinicalBertOptions)


def _options(original):
    """(`TrainingOptions` without warm-up share, `TextInput`) out of the flags."""
    options = training_flags.options_from()
    if original.bert_model and options.init_checkpoint:
        raise DataError("--bert_model and --init_checkpoint are two names of one flag: give one of them")
    changes = {"init_checkpoint": original.bert_model or options.init_checkpoint}
    if original.no_cuda:
        changes["num_gpus"] = 0
    if original.fp16:
        changes["precision"] = "mixed_bfloat16"
    return dataclasses.replace(options, **changes), flags.read(prepare.TextInput)


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
    original, driver = flags.read(ClinicalBertOptions), flags.read(training_flags.DriverOptions)
    command = shlex.join(["python", *sys.argv])
    options, texts = _options(original)
    options = prepare.prepare(options, texts, _importer(command), driver.overwrite)
    run = RunDirectory(options.output_dir)
    plan = plan_run(options)
    plan = dataclasses.replace(plan, options=_with_warmup(plan.options, plan, original.warmup_proportion))
    results = training_flags.execute_plan(plan, driver, command)
    if options.do_train and run.exists():
        prepare.write_text_settings(run, prepare.text_settings(options, texts.readmission_mode))
    if results is None:
        print(f"next: python run_scripts/run_readmission.py --do_eval --output_dir={options.output_dir} --data_dir=...")
        return
    from medtop.readmission.results import admission_table

    print(admission_table(results) if options.aggregation != "none" else results.table)
    made = results_directory(options)
    print(f"report: {made.report_file}; one line per admission: {made.readmission_predictions_file}")
    print(f"next: python run_scripts/score_notes.py --run_dir={options.output_dir} --text_file=note.txt")


if __name__ == "__main__":
    commands.run(main)
