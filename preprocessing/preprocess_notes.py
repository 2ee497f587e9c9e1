"""Turns tables of admissions and notes into one text per admission with its 30-day readmission label.

Example (MIMIC-III: a folder with ADMISSIONS, PATIENTS and NOTEEVENTS, .csv or .csv.gz):

  python preprocessing/preprocess_notes.py data/mimic3 data/discharge --mode=discharge

It writes <output_Prefix>.labels.csv (a file for --prediction_times), .splits.csv, .notes.{train,valid,test}.parquet,
.manifest.json and, where rows were bad, .rejects.csv. --legacy does what ClinicalBERT's script does and writes its data
folder <output_Prefix>/ (train.csv, val.csv, test.csv). --dry_run writes nothing. docs/notes.md gives every rule.
"""

import datetime
import sys
import time
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands
from medtop.files.errors import DataError

FLAGS = flags.FLAGS

flags.DEFINE_enum(
    "mode",
    "discharge",
    ["discharge", "early"],
    "Predict at discharge from the last discharge summary, or some days after admission from the notes until then.",
)
flags.DEFINE_integer("early_days", 3, "--mode=early: days from the admission to the prediction.", lower_bound=1)
flags.DEFINE_bool("legacy", False, "ClinicalBERT's labels, notes, cleaning and windows, with their faults.")
flags.DEFINE_integer(
    "readmission_days", 30, "A readmission begins less than so many days after discharge.", lower_bound=1
)
flags.DEFINE_enum(
    "deaths", None, ["unknown", "negative"], "Label of those who die in that time without readmission. Default unknown."
)
flags.DEFINE_string("observation_end", None, "Last day of the data, YYYY-MM-DD: what could not be seen is unknown.")
flags.DEFINE_integer(
    "max_summary_days",
    None,
    "Leave out discharge summaries charted more than so many days after the discharge.",
    lower_bound=0,
)
flags.DEFINE_enum("cleaning", None, ["careful", "published"], "Default careful; published is ClinicalBERT's.")
flags.DEFINE_bool("lower_case", True, "Texts in lower case.")
flags.DEFINE_enum(
    "windows",
    None,
    ["none", "words"],
    "words: also write the folder <output_Prefix>/ of 318-word windows. Default none.",
)
flags.DEFINE_string(
    "splits",
    None,
    "File patient_id,split, or the name of one split for all patients; default 7:1:2 "
    "by a seeded hash of the patient's id.",
)
flags.DEFINE_integer("seed", 0, "Seed of the split.", lower_bound=0)
flags.DEFINE_enum("encoding", "utf-8", ["utf-8", "latin-1", "cp1252"], "Encoding of the notes.")
flags.DEFINE_string("date_format", None, "strptime format of all times, such as '%d/%m/%Y %H:%M'; ISO needs none.")
flags.DEFINE_bool("strict", False, "Stop at the first bad row instead of listing it in .rejects.csv.")
flags.DEFINE_bool("dry_run", False, "Show counts, labels and reasons for dropping; write nothing.")
flags.DEFINE_bool("overwrite", False, "Replace outputs that other flags or other input have made.")
flags.DEFINE_string("memory_limit", "2GB", "Memory of the database; beyond it, it uses the disk beside the outputs.")
flags.DEFINE_integer("threads", 0, "Threads of the database, 0 = one a core.", lower_bound=0)

PROGRESS_SECONDS = 10
SET_BY_LEGACY = ("deaths", "observation_end", "max_summary_days", "cleaning", "lower_case", "windows")


def _options():
    from medtop.notes.options import NotesOptions

    if FLAGS.mode == "discharge" and FLAGS["early_days"].present:
        raise DataError("--early_days: expected --mode=early with it, received --mode=discharge")
    if FLAGS.mode == "early" and FLAGS.max_summary_days is not None:
        raise DataError("--max_summary_days: expected --mode=discharge with it, received --mode=early")
    if FLAGS.legacy:
        for name in SET_BY_LEGACY:
            if FLAGS[name].present:
                raise DataError(f"--{name}: expected no such flag with --legacy, which follows ClinicalBERT's script")
    if FLAGS.observation_end:
        try:
            datetime.date.fromisoformat(FLAGS.observation_end)
        except ValueError:
            raise DataError(
                f"--observation_end: expected a day such as 2019-12-31, received {FLAGS.observation_end!r}"
            ) from None
    return NotesOptions(
        mode=FLAGS.mode,
        early_days=FLAGS.early_days,
        legacy=FLAGS.legacy,
        readmission_days=FLAGS.readmission_days,
        deaths="negative" if FLAGS.legacy else FLAGS.deaths or "unknown",
        observation_end=FLAGS.observation_end,
        max_summary_days=FLAGS.max_summary_days,
        cleaning="published" if FLAGS.legacy else FLAGS.cleaning or "careful",
        lower_case=FLAGS.lower_case,
        windows="words" if FLAGS.legacy else FLAGS.windows or "none",
        splits=FLAGS.splits,
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
    from medtop.notes.manifest import next_command, summary_lines
    from medtop.notes.preprocess import NotesInput, preprocess_notes

    _, data_dir, prefix = arguments
    options = _options()
    if not options.lower_case and options.cleaning == "published":
        raise DataError("--nolower_case: expected --cleaning=careful with it, received published, which lowers all")
    source = NotesInput(data_dir, FLAGS.encoding, FLAGS.date_format, FLAGS.strict, FLAGS.memory_limit, FLAGS.threads)
    manifest, done_before = preprocess_notes(source, options, prefix, FLAGS.overwrite, FLAGS.dry_run, _progress())
    print("\n".join(summary_lines(manifest)))
    if FLAGS.dry_run:
        print("dry run: nothing was written")
        return
    print(
        f"{prefix}.manifest.json: "
        + (
            "the same run has been done before, nothing to do"
            if done_before
            else f"written, with {', '.join(manifest['outputs'])}"
        )
    )
    print(f"next: {next_command(prefix, options)}")


if __name__ == "__main__":
    commands.run(main, ["data_dir", "output_Prefix"])
