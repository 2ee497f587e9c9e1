"""Trains a tagger of clinical entities, scores it, and marks entities in new texts.

Example (after preprocessing/convert_entities.py wrote data/cdr.documents.train.parquet and its like):

  python run_scripts/run_entities.py --do_train --do_eval --input_prefix=data/cdr --output_dir=checkpoints/cdr
  python run_scripts/run_entities.py --do_predict --output_dir=checkpoints/cdr \
      --predict_input=notes --predict_output=marked --predict_format=brat

A dictionary and a CRF with hand-made features are trained and always shown; --model=encoder trains the encoder beside
them, with the trainers' flags. --model chooses which predicts; each predicted span has a score. docs/entities.md gives
every rule.
"""

import logging
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags, training_flags
from medtop.entities import evaluate, marking, run
from medtop.files.errors import DataError

training_flags.define(tasks=("entities",), learning_rate=2e-3)
flags.define(run.EntityOptions)

_SHARED = ("output_dir", "do_train", "do_eval", "seed", "num_bootstrap")
_MADE_HERE = ("input_file", "valid_file", "test_file", "tasks")


def _options():
    """(`EntityOptions`, `TrainingOptions`, `DriverOptions`) out of the flags."""
    if wrong := flags.given(*_MADE_HERE):
        raise DataError(f"--{wrong[0]}: expected --input_prefix instead, whose tables this script makes records of")
    training, driver = training_flags.options_from(), flags.read(training_flags.DriverOptions)
    shared = {name: getattr(training, name) for name in _SHARED}
    return flags.read(run.EntityOptions, **shared, overwrite=driver.overwrite), training, driver


def _import_model(source, target):
    """A HuggingFace folder as a run directory."""
    from medtop.convert.import_weights import import_weights, plan_import

    command = shlex.join(["python", *sys.argv])
    import_weights(plan_import(source, target, seq_relationship="drop", overwrite=True, command=command))


def main(_):
    """Flags in, library calls, a table out."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options, training, driver = _options()
    run.check_options(options)
    folder = shlex.quote(options.output_dir)
    if options.do_train:
        about, _ = run.train(options)
        size, types = about["training"], ", ".join(about["types"])
        print(f"trained on {size['documents']:,} documents, {size['sentences']:,} sentences: {types}")
        for name, number in about["counts"].items():
            print(f"  {name.replace('_', ' ')}: {number:,}")
        if options.model in run.NEURAL:
            command = shlex.join(["python", *sys.argv])
            weighed = run.train_encoder(options, training, driver.resume, command, _import_model)
            for line in run.stack_lines(weighed or {}):
                print(line)
    if options.do_eval:
        found = run.evaluate_run(options)
        print("\n".join(evaluate.report_lines(found[options.model])))
        print("\n".join(run.table_lines(found)))
        print(f"written: {folder}/metrics.json, {folder}/entities.html")
    if options.do_predict:
        documents, spans, tally = marking.predict_texts(options)
        print(f"{documents:,} documents, {spans:,} spans: {options.predict_output} ({options.predict_format})")
        for name, number in [*tally.reasons.items(), *tally.counts.items()]:
            print(f"  {name.replace('_', ' ')}: {number:,}")
    elif not options.do_eval:
        more = f"--input_prefix={shlex.quote(options.input_prefix)} --output_dir={folder}"
        print(f"next: python run_scripts/run_entities.py --do_eval {more}")


if __name__ == "__main__":
    commands.run(main)
