"""Scores new notes with a finished run of run_readmission.py: text in, risk out, with the windows that drove it.

Example:
  python run_scripts/score_notes.py --run_dir=checkpoints/discharge --text_file=note.txt
  cat note.txt | python run_scripts/score_notes.py --run_dir=checkpoints/discharge --text_file=-
  python run_scripts/score_notes.py --run_dir=checkpoints/discharge --input_file=notes.csv --output_file=risks.csv
  python run_scripts/score_notes.py --run_dir=checkpoints/discharge --text_file=note.txt --explain=note.html
  python run_scripts/score_notes.py --run_dir=checkpoints/early --input_file=notes.csv --timeline \\
    --output_file=timeline.csv

--input_file is a CSV of notes, plain or gzipped (columns text, and admission_id, patient_id, note_time or MIMIC's names
for them), whose notes are joined by admission, or <prefix>.notes.<split>.parquet of preprocess_notes.py. --timeline
gives the risk after each new note of an admission, as CSV and as a plot (.png beside it).
"""

import dataclasses
import itertools
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medtop.cli import commands, flags
from medtop.files.errors import DataError
from medtop.files.formulas import quote_option
from medtop.files.options import REQUIRED, at_least, option
from medtop.notes.options import ENCODINGS
from medtop.readmission import input
from medtop.readmission.prepare import read_text_settings
from medtop.readmission.stay_facts import StayFacts, read_discharges, read_outcomes
from medtop.training.run_directory import RunDirectory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is scored, and what comes out."""

    run_dir: str = option(REQUIRED, "Run directory of run_readmission.py.")
    text_file: str = option("", "A file with one note; - reads standard input.")
    input_file: str = option("", "CSV of notes, or a .parquet file of preprocess_notes.py.")
    output_file: str = option("", "CSV to write; <name>.windows.csv beside it lists the windows.")
    encoding: str = option("utf-8", "Encoding of the notes.", choices=ENCODINGS)
    admission_id: tuple = option((), "Admissions of --input_file to score; default: all.")
    timeline: bool = option(False, "The risk after each new note of an admission.")
    plot_file: str = option("", "PNG of --timeline; default: the name of --output_file with .png.")
    explain: str = option("", "HTML page to write: each note with its words shaded by what the risk rests on.")
    explain_steps: int = option(32, "Places at which gradients are taken for --explain.", rule=at_least(2))
    admissions_file: str = option("", "ADMISSIONS (hadm_id, dischtime): --timeline's picture marks the discharge.")
    labels_file: str = option("", ".labels.csv of preprocess_notes.py: the picture says who was readmitted.")
    top_windows: int = option(3, "Windows shown or listed for each text.", rule=at_least(1))
    batch_size: int = option(32, "Windows in a batch.", rule=at_least(1))
    quote_formulas: bool = quote_option()
    overwrite: bool = option(False, "Replace existing outputs.")


flags.define(Options)


_TEXTS = 64  # scored at a time
_EXPLAINED = 50  # notes on the page of --explain
_SHOWN = 160  # characters of a window on the screen


def _check(options):
    """Refuses flags that do not go together, and outputs that are there; gives the outputs' paths."""
    if bool(options.text_file) == bool(options.input_file):
        raise DataError("--text_file or --input_file is needed, and one of them only")
    if options.input_file and not options.output_file:
        raise DataError("--input_file needs --output_file: the CSV to write")
    for name in ("timeline", "admission_id", "output_file"):
        if options.text_file and getattr(options, name):
            raise DataError(f"--{name} has no effect with --text_file: leave it out, or give --input_file")
    for name in ("plot_file", "admissions_file", "labels_file"):
        if getattr(options, name) and not options.timeline:
            raise DataError(f"--{name} needs --timeline")
    if options.explain and options.timeline:
        raise DataError("--explain has no effect with --timeline: leave one of them out")
    if options.explain and Path(options.explain).exists() and not options.overwrite:
        raise DataError(f"{options.explain}: expected a new file, found one; --overwrite replaces it")
    out = Path(options.output_file or "-")
    beside = Path(options.plot_file or out.with_suffix(".png")) if options.timeline else out.with_suffix(".windows.csv")
    for path in (out, beside) if options.output_file else ():
        if path.exists() and not options.overwrite:
            raise DataError(f"{path}: expected a new file, found one; --overwrite replaces it")
    read_text_settings(RunDirectory(options.run_dir))
    return out, beside


def _read_text(options):
    """The note of --text_file."""
    if options.text_file == "-":
        raw, name = sys.stdin.buffer.read(), "standard input"
    else:
        raw, name = Path(options.text_file).read_bytes(), options.text_file
    try:
        text = raw.decode("utf-8-sig" if options.encoding == "utf-8" else options.encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: expected {options.encoding.upper()} text; byte {error.start} is not") from None
    if "\0" in text:
        raise DataError(f"{name}: expected text, received a NUL byte at character {text.index(chr(0))}")
    if not text.strip():
        raise DataError(f"{name}: expected a note, received no text")
    return text


def _show(scorer, text, top_windows):
    """Prints the risk of one note and its windows."""
    (text,) = scorer.clean([text])
    scored = scorer.score([text])
    for place, label in enumerate(scored.labels):
        print(f"{label}: risk {scored.probabilities[0, place]:.4f} ({len(scored.texts)} windows)")
        for window in scored.drivers(0, place, top_windows):
            start, end = int(scored.starts[window]), int(scored.ends[window])
            print(
                f"  window {scored.numbers[window] + 1}, characters {start} to {end}: probability "
                f"{scored.window_probabilities[window, place]:.4f}, {100 * scored.shares[window, place]:.0f}% of the "
                f"risk: {' '.join(text[start:end].split())[:_SHOWN]}"
            )


def _explain(scorer, options, notes):
    """Writes the page of --explain.

    Args:
        scorer: `NoteScorer`.
        options: `Options`.
        notes: list of (name, cleaned text).
    """
    from medtop.readmission.explain import WordExplainer
    from medtop.reporting.words_page import write_words_page

    explainer, shown = WordExplainer(scorer, options.explain_steps), []
    for name, text in notes:
        shown.append((name, text, scorer.score([text]).probabilities[0], explainer.explain(text)))
    write_words_page(options.explain, shown, scorer.task.labels)
    print(f"words of {len(shown)} note{'s' * (len(shown) != 1)}: {options.explain} (it holds the notes' texts)")


def main(_):
    """Checks, scores, says where the files lie."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options = flags.read(Options)
    out, beside = _check(options)
    notes = None
    facts = StayFacts(
        read_discharges(options.admissions_file) if options.admissions_file else {},
        read_outcomes(options.labels_file) if options.labels_file else {},
    )
    if options.text_file:
        text = _read_text(options)
    elif not options.input_file.endswith(".parquet"):
        notes = input.read_notes(options.input_file, options.timeline, options.admission_id, options.encoding)
    from medtop.readmission import files
    from medtop.readmission.score import NoteScorer, Stay

    scorer = NoteScorer(options.run_dir, options.batch_size)
    if options.text_file:
        _show(scorer, text, options.top_windows)
        if options.explain:
            _explain(scorer, options, [(Path(options.text_file).name, *scorer.clean([text]))])
        return
    if notes is None:
        stays = input.read_stays(options.input_file, Stay, options.admission_id)
    else:
        stays = iter(input.stays_of_notes(notes, scorer.clean, Stay))
    if options.explain:
        first = list(itertools.islice(stays, _EXPLAINED))
        _explain(scorer, options, [(f"admission {stay.admission_id}", stay.text) for stay in first])
        stays = itertools.chain(first, stays)
    blocks = iter(lambda: list(itertools.islice(stays, _TEXTS)), [])
    if options.timeline:
        moments = [moment for block in blocks for moment in scorer.timeline(block)]
        files.write_timeline(out, moments, scorer.task.name, scorer.task.labels, options.quote_formulas)
        facts = dataclasses.replace(facts, thresholds=scorer.calibration.thresholds)
        drawn = files.write_timeline_plot(beside, moments, scorer.task.labels, facts)
        print(f"{len(moments)} moments: {out}; plot of {drawn} admissions: {beside}")
        return
    scored = ((block, scorer.score([stay.text for stay in block])) for block in blocks)
    count = files.write_risks(out, beside, scored, scorer.task.name, options.top_windows, options.quote_formulas)
    print(f"{count} admissions scored: {out}; the windows that drove each: {beside}")


if __name__ == "__main__":
    commands.run(main)
