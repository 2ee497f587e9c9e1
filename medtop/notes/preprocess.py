"""A whole run on notes: earlier outputs, admissions, labels, splits, notes, texts, manifest, files at their names."""

import collections
import csv
import dataclasses
import os
from pathlib import Path

import numpy as np

from medtop.cohort.date_shift import key_of
from medtop.cohort.splits import SPLITS, write_splits
from medtop.files import staging
from medtop.files.errors import DataError
from medtop.files.options import at_least, compared, option
from medtop.files.sql import open_database
from medtop.notes import manifest as note_manifest
from medtop.notes.admissions import label_admissions, load_admissions
from medtop.notes.choice import choose_notes
from medtop.notes.division import check_division, split_patients
from medtop.notes.findings import check_notes
from medtop.notes.note_texts import iterate_texts
from medtop.notes.options import ENCODINGS
from medtop.notes.outputs import FOLDER_NAMES, TextFiles, join_notes, write_labels
from medtop.notes.rows import iterate_note_rejects, judge_admissions, load_notes, unusable_times
from medtop.notes.shifting import move_notes_back, move_outputs, put_patients_shifts
from medtop.notes.tables import find_layout
from medtop.sources.dates import DateRules, as_written_sql
from medtop.sources.rejects import HEADER

OUTPUTS = (
    *(f"notes.{split}.parquet" for split in SPLITS),
    *(f"/{name}" for name in FOLDER_NAMES.values()),
    "labels.csv",
    "splits.csv",
    "rejects.csv",
    "manifest.json",
)
"""Everything that may stand under a prefix; a name with a slash stands in the folder `<prefix>/`."""

ON_DISK_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True)
class NotesInput:
    """What is read, and how."""

    data_dir: str  # folder with ADMISSIONS and NOTEEVENTS, or MIMIC-IV's tables; not a flag
    encoding: str = option("utf-8", "Encoding of the notes.", choices=ENCODINGS)
    strict: bool = option(False, "Stop at the first bad row instead of listing it in .rejects.csv.", compared=False)
    memory_limit: str = option(
        "2GB", "Memory of the database; beyond it, it uses the disk beside the outputs.", compared=False
    )
    threads: int = option(0, "Threads of the database, 0 = one a core.", rule=at_least(0), compared=False)
    accept_unusable: tuple = option(
        (), "death or rows, where more than half of them cannot be used, and which are taken all the same."
    )
    shift_dates: bool = option(
        False,
        "Move all dates of a patient by the secret number of days of --key_file, as deidentify_notes.py does.",
        compared=False,
    )
    key_file: str = option("", "With --shift_dates: the key of deidentify_notes.py, mode 0600.", compared=False)
    moved_notes: bool = option(
        False,
        "With --shift_dates: the notes' dates have been moved already, by deidentify_notes.py --date_columns.",
        compared=False,
    )
    # Flags of their own; MIMIC's dates are shifted.
    dates: DateRules = dataclasses.field(
        default_factory=lambda: DateRules(shifted_dates=True), metadata={"compared": False}
    )


def settings_of(source, options):
    """The flags that determine the outputs, as plain values; files by their full path."""
    settings = {
        **compared(source),
        **source.dates.settings,
        "data_dir": str(Path(source.data_dir).resolve()),
        **compared(options),
    }
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    if options.splits and options.splits not in SPLITS:
        settings["splits"] = str(Path(options.splits).resolve())
    if options.sites:
        settings["sites"] = str(Path(options.sites).resolve())
    if source.shift_dates:  # named only where it is used: runs of before stay the same runs
        settings["shift_dates"] = key_of(source).digest("fingerprint").hex()[:16]
        settings |= {"moved_notes": True} if source.moved_notes else {}
    return settings


def preprocess_notes(source, options, prefix, overwrite=False, dry_run=False, progress=None):
    """Admissions and notes -> `<prefix>.labels.csv`, `.splits.csv`, `.notes.{train,valid,test}.parquet`,
    `.manifest.json`, `.rejects.csv` where rows were bad, and with `windows="words"` the folder `<prefix>/`.

    All appear when everything is done, the manifest last.

    Args:
        source: `NotesInput`.
        options: `NotesOptions`.
        prefix: beginning of the outputs' names, with their folder.
        overwrite: replace outputs of other flags, another input, or unknown origin.
        dry_run: write nothing.
        progress: None, or a function called with (what is counted, how many so far).

    Returns:
        `medtop.files.staging.Outcome`.

    Raises:
        DataError: for bad input, or outputs of another run.
    """
    check_division(options, source.dates)
    key_of(source, [Path(prefix).parent])
    if source.moved_notes and not source.shift_dates:
        raise DataError("--moved_notes has no effect without --shift_dates")
    settings = settings_of(source, options)

    def make(folder, write):
        manifest = _run(source, options, settings, folder, write, progress)
        files = [*manifest["source"]["files"], *([settings["splits"]] if options.splits not in (None, *SPLITS) else [])]
        files += [settings["sites"]] if options.sites else []
        return manifest | {"inputs": {str(Path(file).resolve()): staging.fingerprint(file) for file in files}}

    return staging.run_once(prefix, settings, OUTPUTS, make, overwrite=overwrite, dry_run=dry_run)


def _run(source, options, settings, folder, write, progress):
    layout = find_layout(source.data_dir, options.mode)
    size = sum(os.path.getsize(path) for path in layout.files)
    with open_database(folder, source.memory_limit, source.threads, size >= ON_DISK_BYTES) as connection:
        admissions = load_admissions(connection, layout, source.dates, source.accept_unusable)
        division = split_patients(connection, options)
        decided = label_admissions(connection, layout, options)
        decided |= {f"splits_{name}": number for name, number in division.report["counts"].items()}
        _make_examples(connection, options)
        notes = load_notes(connection, layout, source.dates, source.encoding, progress)
        if key := key_of(source):
            decided["patients_with_shifted_dates"] = put_patients_shifts(connection, key)
            if source.moved_notes:
                move_notes_back(connection)
        unusable = judge_admissions(connection)
        _check_usable(layout, notes, unusable)
        check_notes(layout.notes[0][0], notes, unusable, source.accept_unusable)
        _rejects(connection, source, admissions, notes, layout, folder if write else None)
        chosen = choose_notes(connection, options)
        if key:
            move_outputs(connection, chosen)
        chosen.counts |= (
            notes.counts | decided | ({"note_times_unusable": n} if (n := unusable_times(connection)) else {})
        )
        examples = connection.sql(
            f"""SELECT patient_id, admission_id, {as_written_sql("prediction_time")}::TIMESTAMP_S AS prediction_time,
                label, split,
                ended::TINYINT AS ended FROM examples ORDER BY place"""
        ).to_arrow_table()
        written = None
        if write:
            write_labels(folder / "out.labels.csv", connection)
            written = _write_texts(folder, layout, chosen, examples, source.encoding, options, progress)
            _write_splits(connection, folder, division.places)
        return note_manifest.build(
            connection, settings, options, layout, admissions, notes, unusable, chosen, written, division
        )


def _check_usable(layout, notes, unusable):
    """Refuses tables of notes of which no row can be used: the encoding or the form of times is another one, then."""
    reasons = collections.Counter(unusable) + collections.Counter(reason for *_, reason in notes.rejects)
    if reasons.total() < notes.rows_in:
        return
    ((commonest, count),) = reasons.most_common(1)
    hint = {
        "text_not_in_encoding": "; give the encoding with --encoding",
        "time_unparsable": "; give the form with --date_format",
    }.get(commonest, "")
    raise DataError(
        f"{layout.notes[0][0]}: expected usable notes, received none: {count} of {notes.rows_in} rows "
        f"dropped for {commonest}{hint}"
    )


def _make_examples(connection, options):
    """Makes `examples`, numbered by split, patient and prediction time; `next_admit`: when the patient's next admission
    of any type begins."""
    connection.execute(
        """UPDATE labelled SET dropped = reason FROM patient_splits
            WHERE dropped IS NULL AND split < 0 AND patient_splits.patient_id = labelled.patient_id"""
    )
    ended = f"discharge < admit + INTERVAL {int(options.early_days)} DAY" if options.mode == "early" else "false"
    connection.execute(
        f"""CREATE OR REPLACE TABLE examples AS
        SELECT (row_number() OVER (ORDER BY split, patient_index, prediction_time, admission_id) - 1)::INTEGER AS place,
            patient_id, admission_id, admit, discharge, prediction_time, label, unknown, patient_index, split,
            {ended} AS ended, next_admit, ends AS period_ends
        FROM labelled JOIN patient_splits USING (patient_id)
            JOIN (SELECT a.patient_id, a.admission_id, min(b.admit) FILTER (b.admit > a.discharge) AS next_admit
                  FROM admissions a JOIN admissions b USING (patient_id)
                  GROUP BY a.patient_id, a.admission_id) USING (patient_id, admission_id)
        WHERE dropped IS NULL"""
    )


def _rejects(connection, source, admissions, notes, layout, folder):
    """Lists bad rows; with `strict` stops at the first."""

    def listed():
        yield from admissions.rejects
        yield from iterate_note_rejects(connection, notes, layout)

    rows = listed()
    first = next(rows, None)
    if first is None:
        return
    if source.strict:
        file, line, column, reason = first
        raise DataError(f"{file}: line {line}, column {column}: expected a usable row (strict), received {reason}")
    if folder is None:
        return
    with open(folder / "out.rejects.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerow(first)
        writer.writerows(rows)


def _write_texts(folder, layout, chosen, examples, encoding, options, progress):
    """Writes the texts; returns the `TextFiles`, closed, with its counts."""
    with TextFiles(folder, examples, options) as files:
        paths = [path for path, _ in layout.notes]
        for part, texts in iterate_texts(folder, paths, chosen, encoding, progress):
            files.write(*join_notes(chosen.examples[part], chosen.times[part], texts, options))
    return files


def _write_splits(connection, folder, places):
    names = [
        row[0] for row in connection.execute("SELECT patient_id FROM cohort_patients ORDER BY patient_index").fetchall()
    ]
    kept = np.flatnonzero(places >= 0)
    write_splits(folder / "out.splits.csv", [([names[place] for place in kept.tolist()], places[kept])])
