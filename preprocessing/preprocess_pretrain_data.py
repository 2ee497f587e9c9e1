"""Turns a table of diagnoses into pickled lists of patients, with labels at a prediction time, and a vocabulary.

Example (Med-BERT's four arguments; NA makes a new vocabulary, 0 takes all patients):

  python preprocessing/preprocess_pretrain_data.py data/cohort.tsv NA data/cohort 0 --prediction_times=data/times.csv

It writes <output_Prefix>.bencs.{train,valid,test}, .types, .vocab.txt, .splits.csv, .manifest.json and, where rows were
bad, .rejects.csv. --dry_run shows what would come of it and writes nothing; --layout=medbert makes Med-BERT's lists.
docs/preprocessing.md gives every rule.
"""

import sys
import time
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands
from medtop.files.errors import DataError

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "source", None, "Layout of <data_File>, such as medbert_tsv, mimic, synpuf, columns; else recognised."
)
flags.DEFINE_string("columns", None, "Any CSV or Parquet: patient_id=MRN,admit=ADM_DT,discharge=DIS_DT,code=DX,...")
flags.DEFINE_string(
    "date_format", None, "strptime format of all dates in <data_File>, such as %d/%m/%Y; ISO dates need none."
)
flags.DEFINE_enum("layout", "default", ["default", "medbert"], "medbert: Med-BERT's positional lists, ids and split.")
flags.DEFINE_enum(
    "index",
    "random_visit",
    ["random_visit", "lineage", "none"],
    "Prediction time: discharge of a random visit; top-BERT's rule, which looks at the outcome; the last visit.",
)
flags.DEFINE_string(
    "prediction_times",
    None,
    "File patient_id,prediction_time[,<task>[.<label>] ...]: own times, and own labels (1, 0, empty).",
)
flags.DEFINE_integer(
    "min_visits", 1, "Visits that --index=random_visit wants up to the prediction time.", lower_bound=1
)
flags.DEFINE_enum("visit", "stay", ["stay", "discharge_date"], "A visit is a stay, or what ends on one day (Med-BERT).")
flags.DEFINE_list("tasks", None, "Labels to make: long_stay, complications. Default both; long_stay with --index=none.")
flags.DEFINE_string(
    "endpoints",
    "diabetes_complications",
    "Endpoint file: diabetes_complications, hospital_complications, or a .json or .yaml file.",
)
flags.DEFINE_list("horizons", ["365", "730", "1095"], "Horizons of the complications in days.")
flags.DEFINE_enum(
    "long_stay_label",
    None,
    ["next", "any"],
    "Is the next stay, or any of the record, longer than 7 days? Default next; any with --index=none.",
)
flags.DEFINE_integer("long_stay_within_days", 365, "How far away the next stay may begin.", lower_bound=1)
flags.DEFINE_string("code_map", "none", "Roll codes up: none, first3 (categories), or a file of two columns from,to.")
flags.DEFINE_string(
    "splits",
    None,
    "File patient_id,split (train, valid, test), or the name of one split that takes all patients, such as "
    "test for new patients; default 7:1:2 by a seeded hash of the id.",
)
flags.DEFINE_integer("min_code_count", 2, "Codes rarer than this in the training split become [UNK].", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of the split, of random visits and of the subset.", lower_bound=0)
flags.DEFINE_bool("strict", False, "Stop at the first bad row instead of listing it in .rejects.csv.")
flags.DEFINE_bool("dry_run", False, "Show patients, dates, codes, labels and reasons for dropping; write nothing.")
flags.DEFINE_bool("overwrite", False, "Replace outputs that other flags or other input have made.")
flags.DEFINE_string("memory_limit", "2GB", "Memory of the database; beyond it, it uses the disk beside the outputs.")
flags.DEFINE_integer("threads", 0, "Threads of the database, 0 = one for small input, else one a core.", lower_bound=0)

PROGRESS_SECONDS = 10
MEDBERT_FLAGS_WITHOUT_EFFECT = (
    "index",
    "prediction_times",
    "min_visits",
    "visit",
    "tasks",
    "endpoints",
    "horizons",
    "long_stay_label",
    "long_stay_within_days",
    "code_map",
    "splits",
    "min_code_count",
)


def _whole_number(text, name):
    if not (text.isascii() and text.isdigit()):
        raise DataError(f"{name}: expected a whole number from 0, received {text!r}")
    return int(text)


def _tasks():
    from medtop.cohort.build import TASKS

    tasks = FLAGS.tasks if FLAGS.tasks is not None else (["long_stay"] if _whole_history() else list(TASKS))
    if wrong := [task for task in tasks if task not in TASKS]:
        raise DataError(f"--tasks: expected {' and '.join(TASKS)}, received {wrong[0]!r}")
    return tuple(task for task in TASKS if task in tasks)


def _whole_history():
    return FLAGS.index == "none" and not FLAGS.prediction_times


def _check(vocabulary):
    """Refuses flags that would have no effect."""
    if FLAGS.layout == "medbert":
        for name in MEDBERT_FLAGS_WITHOUT_EFFECT:
            if FLAGS[name].present:
                raise DataError(f"--{name}: expected no such flag with --layout=medbert, where it has no effect")
    if FLAGS.prediction_times and FLAGS["index"].present:
        raise DataError("--index: expected either --index or --prediction_times, received both")
    if vocabulary and FLAGS["min_code_count"].present:
        raise DataError("--min_code_count: expected no such flag with a given vocabulary, which stays as it is")


def _options(vocabulary, subset_size):
    from medtop.cohort.build import Options

    _check(vocabulary)
    horizons = tuple(sorted({_whole_number(days.strip(), "--horizons") for days in FLAGS.horizons}))
    if not horizons or horizons[0] < 1:
        raise DataError("--horizons: expected days from 1, such as 365,730,1095")
    return Options(
        layout=FLAGS.layout,
        index=FLAGS.index,
        prediction_times=FLAGS.prediction_times,
        min_visits=FLAGS.min_visits,
        visit=FLAGS.visit,
        tasks=_tasks(),
        endpoints=FLAGS.endpoints,
        horizons=horizons,
        long_stay_label=FLAGS.long_stay_label or ("any" if _whole_history() else "next"),
        long_stay_within_days=FLAGS.long_stay_within_days,
        code_map=FLAGS.code_map,
        splits=FLAGS.splits,
        vocabulary=vocabulary,
        min_code_count=FLAGS.min_code_count,
        subset_size=subset_size,
        seed=FLAGS.seed,
    )


def _progress():
    """A line on standard error at most every ten seconds."""
    begin = shown = time.monotonic()

    def show(what, count):
        nonlocal shown
        now = time.monotonic()
        if now - shown >= PROGRESS_SECONDS:
            print(f"{count:,} {what} after {now - begin:.0f} s", file=sys.stderr, flush=True)
            shown = now

    return show


def main(arguments):
    """Flags in, one library call, files out."""
    from medtop.cohort.manifest import next_command, summary_lines
    from medtop.cohort.preprocess import Input, preprocess
    from medtop.cohort.splits import SPLITS
    from medtop.sources import parse_columns

    _, data_file, vocabulary, prefix, subset_size = arguments
    vocabulary = None if vocabulary.upper() == "NA" else vocabulary
    options = _options(vocabulary, _whole_number(subset_size, "<subset_size>"))
    source = Input(
        data_file,
        FLAGS.source,
        parse_columns(FLAGS.columns) if FLAGS.columns else None,
        FLAGS.date_format,
        FLAGS.strict,
        FLAGS.memory_limit,
        FLAGS.threads,
    )
    outcome = preprocess(source, options, prefix, FLAGS.overwrite, FLAGS.dry_run, _progress())
    print("\n".join(summary_lines(outcome.manifest)))
    if FLAGS.dry_run:
        print("dry run: nothing was written")
        return
    print(
        f"{prefix}.manifest.json: "
        + (
            "the same run has been done before, nothing to do"
            if outcome.done_before
            else f"written, with {', '.join(outcome.manifest['outputs'])}"
        )
    )
    print(f"next: {next_command(prefix, FLAGS.splits if FLAGS.splits in SPLITS else 'train')}")


if __name__ == "__main__":
    commands.run(main, ["data_File", "vocab/NA", "output_Prefix", "subset_size/0forAll"])
