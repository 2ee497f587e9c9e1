"""What a run on notes did, as one dict for `<prefix>.manifest.json`, and as lines to read.

Three sums add up, for admissions, notes and patients: `in = out + merged + sum(dropped.values())`.
"""

import platform
import shlex

import duckdb
import numpy
import pyarrow

import medtop
from medtop.cohort.division import empty_splits, short_periods
from medtop.cohort.label_patients import label_entry
from medtop.cohort.manifest import label_lines, shown_dates
from medtop.cohort.splits import SPLITS
from medtop.files.sql import numbers
from medtop.notes.findings import warnings_of

FORMAT = "medtop notes"
MOST_REASONS = 10


def build(connection, settings, options, layout, admissions, notes, unusable, chosen, written, division):
    """The manifest.

    Args:
        connection: DuckDB connection with `labelled` and `examples`.
        settings: dict of the flags that determine the outputs.
        options: `NotesOptions`.
        layout: `medtop.notes.tables.NoteTables`.
        admissions: `Admissions`.
        notes: `Notes`.
        unusable: dict reason -> notes that cannot be used.
        chosen: `ChosenNotes`.
        written: `TextFiles`, or None where nothing was written.
        division: `medtop.cohort.division.Division` of the patients.
    """
    malformed = {}
    for _, _, _, reason in notes.rejects:
        malformed[reason] = malformed.get(reason, 0) + 1
    dropped = dict(
        connection.execute(
            "SELECT dropped, count(*) FROM labelled WHERE dropped IS NOT NULL GROUP BY dropped ORDER BY dropped"
        ).fetchall()
    )
    examples = connection.execute("SELECT count(*) FROM examples").fetchone()[0]
    copied = written.copied.total() if written is not None else 0
    if copied:
        chosen.counts |= {f"notes_copied_{kind}": number for kind, number in sorted(written.copied.items())}
    return {
        "format": FORMAT,
        "layout": "notes",
        "settings": settings,
        "versions": {
            "medtop": medtop.__version__,
            "python": platform.python_version(),
            "duckdb": duckdb.__version__,
            "numpy": numpy.__version__,
            "pyarrow": pyarrow.__version__,
        },
        "source": {
            "name": f"mimic{layout.version}",
            "files": [str(path) for path in layout.files],
            "counts": {**admissions.counts, **chosen.counts},
            "warnings": warnings_of(admissions, notes, unusable),
        },
        "rows_in": notes.rows_in,
        "rows_out": len(chosen) - copied,
        "rows_merged": copied,
        "rows_dropped": {**malformed, **unusable, **chosen.dropped},
        "admissions_in": admissions.rows_in,
        "admissions_out": examples,
        "admissions_merged": admissions.repeated,
        "admissions_dropped": {**admissions.rejected, **dropped},
        "patients_in": len(division.places),
        "patients_out": int((division.places >= 0).sum()),
        "patients_dropped": {name: int(rows.sum()) for name, rows in division.left_out.items() if rows.any()},
        "dates": shown_dates(_dates(connection), options.exact_dates),
        "prediction_times": {
            "index": "discharge of the admission"
            if options.mode == "discharge"
            else f"{options.early_days} days after the admission"
        },
        "tasks": {"readmission": ["readmission"]},
        "splits": (splits := _splits(connection, chosen, written)),
        "split_by": {name: value for name, value in division.report.items() if name != "counts"},
        "labels": (labels := _labels(connection)),
        "label_statements": (about_labels := _label_statements(options, layout, chosen)),
        "statements": about_labels
        + _split_statements(division, splits, labels)
        + _text_statements(options, chosen, all("kind" in header for header in notes.headers)),
    }


def _dates(connection):
    query = "SELECT min(admit)::DATE::VARCHAR, max(discharge)::DATE::VARCHAR FROM admissions"
    dates = dict(zip(("first_admission", "last_discharge"), connection.execute(query).fetchone(), strict=True))
    query = "SELECT split, min(prediction_time)::VARCHAR, max(prediction_time)::VARCHAR FROM examples GROUP BY split"
    times = {SPLITS[place]: ends for place, *ends in connection.execute(query).fetchall()}
    return dates | {"prediction_times_of_splits": {split: times.get(split, [None, None]) for split in SPLITS}}


def _split_statements(division, splits, labels):
    empty = empty_splits(division.report, splits)
    return [*division.sentences, *([empty] if empty else []), *short_periods(division.report, labels)]


def _splits(connection, chosen, written):
    counts = {
        row[0]: row[1:]
        for row in connection.execute(
            "SELECT split, count(DISTINCT patient_id), count(*) FROM examples GROUP BY split"
        ).fetchall()
    }
    table = connection.sql("SELECT split FROM examples ORDER BY place").to_arrow_table()
    split_of = numbers(table["split"], numpy.int8)
    has_notes = numpy.unique(chosen.examples)
    entries = {}
    for number, split in enumerate(SPLITS):
        patients, examples = counts.get(number, (0, 0))
        with_notes = int((split_of[has_notes] == number).sum())
        entry = {"patients": patients, "examples": examples, "without_notes": examples - with_notes}
        if written is not None:
            texts = int(written.examples_out[number])
            entry |= {"texts": texts, "empty_after_cleaning": with_notes - texts}
            entry |= {"word_windows": int(written.windows_out[number])} if written.options.windows == "words" else {}
        entries[split] = entry
    return entries


def _labels(connection):
    """Counts of each split's label: of admissions, and, where patients have several, of patients."""
    admissions, patients = (_label_counts(connection, what) for what in ("*", "DISTINCT patient_id"))
    return {
        split: {"readmission": {"readmission": label_entry(admissions[split], patients[split])}} for split in SPLITS
    }


def _label_counts(connection, what):
    """dict split -> examples, known, positives, negatives, unknown {reason: number}."""
    entries = {}
    for number, split in enumerate(SPLITS):
        numbers = connection.execute(
            f"""SELECT count({what}), count({what}) FILTER (label IS NOT NULL), count({what}) FILTER (label = 1),
            count({what}) FILTER (label = 0) FROM examples WHERE split = ?""",
            [number],
        ).fetchone()
        unknown = connection.execute(
            f"SELECT unknown, count({what}) FROM examples WHERE split = ? AND label IS NULL GROUP BY 1 ORDER BY 1",
            [number],
        ).fetchall()
        entries[split] = dict(zip(("examples", "known", "positives", "negatives"), numbers, strict=True))
        entries[split]["unknown"] = dict(unknown)
    return entries


def _label_statements(options, layout, chosen):
    """Sentences on the labels that a reader of the results needs."""
    kinds = ", ".join(layout.not_readmissions)
    lines = []
    if options.legacy:
        lines.append(
            f"--legacy: ClinicalBERT's labels, notes and cleaning. A next admission that began before this discharge "
            f"counts as a readmission ({chosen.counts.get('labels_with_negative_gap', 0)}), death without readmission "
            "as none. Splits are by patient all the same."
        )
        if options.mode == "early":
            lines.append(
                "--legacy: stays that had ended by the prediction time, and their discharge summaries, are in "
                "the texts: results do not hold for patients who are still there."
            )
    else:
        lines.append(
            f"A readmission is an admission that begins after the discharge and less than "
            f"{options.readmission_days} days later; these types are passed over: {kinds}."
        )
    if not options.observation_end:
        lines.append(
            "No readmission on record counts as none: without --observation_end the last stay of each patient "
            "is taken as observed to the end."
        )
    if not layout.patients:
        lines.append("No table PATIENTS: deaths after the discharge are not known.")
    return lines


def _text_statements(options, chosen, told):
    """Sentences on the texts; `told`: whether a column tells addenda from summaries."""
    lines = []
    if late := chosen.counts.get("notes_after_day_of_discharge"):
        lines.append(
            f"{late:,} of the notes read were charted after the day of discharge; --max_summary_days=0 leaves "
            "such discharge summaries out."
        )
    if not told and chosen.dropped.get("earlier_discharge_summary") and not options.legacy:
        lines.append(
            "No column DESCRIPTION (note_type): addenda cannot be told from summaries; of several discharge summaries "
            "of an admission the last is read."
        )
    return lines


def summary_lines(manifest):
    """The manifest as lines for a reader."""
    lines = [
        f"source: {manifest['source']['name']}, {manifest['dates']['first_admission']} to "
        f"{manifest['dates']['last_discharge']}"
    ]
    for what, name in (("admissions", "admissions"), ("notes", "rows"), ("patients", "patients")):
        dropped = manifest[f"{name}_dropped"]
        merged = manifest.get(f"{name}_merged", 0)
        lines.append(
            f"{what}: {manifest[f'{name}_in']:,} in = {manifest[f'{name}_out']:,} out + {merged:,} merged "
            f"+ {sum(dropped.values()):,} dropped"
        )
        commonest = sorted(dropped.items(), key=lambda item: -item[1])[:MOST_REASONS]
        lines += [f"  {what} dropped: {reason} {number:,}" for reason, number in commonest]
    lines += [f"  counted: {name} {number:,}" for name, number in manifest["source"]["counts"].items()]
    for split, entry in manifest["splits"].items():
        lines.append(f"{split}: " + ", ".join(f"{number:,} {name}" for name, number in entry.items()))
    lines += [
        f"unknown in {split}: {reason} {count:,}"
        for split, tasks in manifest["labels"].items()
        for reason, count in tasks["readmission"]["readmission"]["unknown"].items()
    ]
    lines += label_lines(manifest["labels"]) + manifest["statements"]
    return lines + [f"warning: {warning}" for warning in manifest["source"]["warnings"]]


def next_command(prefix, options):
    """The command that follows a run; where all patients are in one split, it is about that one."""
    split = options.splits if options.splits in SPLITS else "train"
    if options.windows == "words":
        train = "--do_train " if split == "train" else ""
        return f"python run_scripts/run_readmission.py --data_dir={shlex.quote(str(prefix))} {train}--do_eval ..."
    return (
        "python preprocessing/create_notes_features.py "
        f"--input_file={shlex.quote(f'{prefix}.notes.{split}.parquet')} "
        f"--output_file={shlex.quote(f'{prefix}.{split}.tfrecord')} --vocab_file=vocab.txt"
    )
