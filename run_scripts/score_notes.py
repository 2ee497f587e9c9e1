"""Scores new notes with a finished run of run_readmission.py: text in, risk out, with the windows that drove it.

Example:
  python run_scripts/score_notes.py --run_dir=checkpoints/discharge --text_file=note.txt
  cat note.txt | python run_scripts/score_notes.py --run_dir=checkpoints/discharge --text_file=-
  python run_scripts/score_notes.py --run_dir=checkpoints/discharge --input_file=notes.csv --output_file=risks.csv
  python run_scripts/score_notes.py --run_dir=checkpoints/early --input_file=notes.csv --timeline \\
    --output_file=timeline.csv

--input_file is a CSV of notes, plain or gzipped (columns text, and admission_id, patient_id, note_time or MIMIC's names
for them), whose notes are joined by admission, or <prefix>.notes.<split>.parquet of preprocess_notes.py. --timeline
gives the risk after each new note of an admission, as CSV and as a plot (.png beside it).
"""

import itertools
import logging
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands
from medtop.files.errors import DataError
from medtop.readmission import input
from medtop.readmission.prepare import read_text_settings
from medtop.training.run_directory import RunDirectory

FLAGS = flags.FLAGS

flags.DEFINE_string("run_dir", None, "Run directory of run_readmission.py.", required=True)
flags.DEFINE_string("text_file", "", "A file with one note; - reads standard input.")
flags.DEFINE_string("input_file", "", "CSV of notes, or a .parquet file of preprocess_notes.py.")
flags.DEFINE_string("output_file", "", "CSV to write; <name>.windows.csv beside it lists the windows.")
flags.DEFINE_enum("encoding", "utf-8", ["utf-8", "latin-1", "cp1252"], "Encoding of the notes.")
flags.DEFINE_list("admission_id", [], "Admissions of --input_file to score; default: all.")
flags.DEFINE_bool("timeline", False, "The risk after each new note of an admission.")
flags.DEFINE_string("plot_file", "", "PNG of --timeline; default: the name of --output_file with .png.")
flags.DEFINE_integer("top_windows", 3, "Windows shown or listed for each text.", lower_bound=1)
flags.DEFINE_integer("batch_size", 32, "Windows in a batch.", lower_bound=1)
flags.DEFINE_bool("overwrite", False, "Replace existing outputs.")

_TEXTS = 64  # scored at a time
_SHOWN = 160  # characters of a window on the screen


def _check():
    """Refuses flags that do not go together, and outputs that are there; gives the outputs' paths."""
    if bool(FLAGS.text_file) == bool(FLAGS.input_file):
        raise DataError("flags: expected one of --text_file and --input_file")
    if FLAGS.input_file and not FLAGS.output_file:
        raise DataError("--output_file: expected a CSV to write, received ''")
    for name in ("timeline", "admission_id", "output_file"):
        if FLAGS.text_file and FLAGS[name].value:
            raise DataError(f"--{name}: expected it with --input_file only, received it with --text_file")
    if FLAGS.plot_file and not FLAGS.timeline:
        raise DataError("--plot_file: expected it with --timeline only")
    out = Path(FLAGS.output_file or "-")
    beside = Path(FLAGS.plot_file or out.with_suffix(".png")) if FLAGS.timeline else out.with_suffix(".windows.csv")
    for path in (out, beside) if FLAGS.output_file else ():
        if path.exists() and not FLAGS.overwrite:
            raise DataError(f"{path}: expected a new file, found one; --overwrite replaces it")
    read_text_settings(RunDirectory(FLAGS.run_dir))
    return out, beside


def _one_text():
    """The note of --text_file."""
    if FLAGS.text_file == "-":
        raw, name = sys.stdin.buffer.read(), "standard input"
    else:
        raw, name = Path(FLAGS.text_file).read_bytes(), FLAGS.text_file
    try:
        text = raw.decode("utf-8-sig" if FLAGS.encoding == "utf-8" else FLAGS.encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: expected {FLAGS.encoding.upper()} text; byte {error.start} is not") from None
    if "\0" in text:
        raise DataError(f"{name}: expected text, received a NUL byte at character {text.index(chr(0))}")
    if not text.strip():
        raise DataError(f"{name}: expected a note, received no text")
    return text


def _show(scorer, text):
    """Prints the risk of one note and its windows."""
    (text,) = scorer.clean([text])
    scored = scorer.score([text])
    for place, label in enumerate(scored.labels):
        print(f"{label}: risk {scored.probabilities[0, place]:.4f} ({len(scored.texts)} windows)")
        for window in scored.drivers(0, place, FLAGS.top_windows):
            start, end = int(scored.starts[window]), int(scored.ends[window])
            print(
                f"  window {scored.numbers[window] + 1}, characters {start} to {end}: probability "
                f"{scored.window_probabilities[window, place]:.4f}, {100 * scored.shares[window, place]:.0f}% of the "
                f"risk: {' '.join(text[start:end].split())[:_SHOWN]}"
            )


def main(_):
    """Checks, scores, says where the files lie."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    out, beside = _check()
    notes = None
    if FLAGS.text_file:
        text = _one_text()
    elif not FLAGS.input_file.endswith(".parquet"):
        notes = input.read_notes(FLAGS.input_file, FLAGS.timeline, FLAGS.admission_id, FLAGS.encoding)
    from medtop.readmission import files
    from medtop.readmission.score import NoteScorer, Stay

    scorer = NoteScorer(FLAGS.run_dir, FLAGS.batch_size)
    if FLAGS.text_file:
        _show(scorer, text)
        return
    if notes is None:
        stays = input.read_stays(FLAGS.input_file, Stay, FLAGS.admission_id)
    else:
        stays = iter(input.stays_of_notes(notes, scorer.clean, Stay))
    blocks = iter(lambda: list(itertools.islice(stays, _TEXTS)), [])
    if FLAGS.timeline:
        moments = [moment for block in blocks for moment in scorer.timeline(block)]
        files.write_timeline(out, moments, scorer.task.name, scorer.task.labels)
        drawn = files.write_timeline_plot(beside, moments, scorer.task.labels)
        print(f"{len(moments)} moments: {out}; plot of {drawn} admissions: {beside}")
        return
    scored = ((block, scorer.score([stay.text for stay in block])) for block in blocks)
    count = files.write_risks(out, beside, scored, scorer.task.name, FLAGS.top_windows)
    print(f"{count} admissions scored: {out}; the windows that drove each: {beside}")


if __name__ == "__main__":
    commands.run(main)
