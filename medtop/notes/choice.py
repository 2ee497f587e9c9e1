"""Which notes of an admission are read, and in which order: SQL over the tables `notes` and `examples`."""

import dataclasses

import numpy as np

from medtop.files.sql import first_row, numbers
from medtop.notes.rows import REASONS

SUMMARY = "Discharge summary"

FATES = (
    "admission_is_no_example",
    "marked_as_error",
    "charted_after_period",
    "not_a_discharge_summary",
    "charted_after_next_admission",
    "charted_long_after_discharge",
    "charted_long_before_admission",
    "earlier_discharge_summary",
    "addendum_without_summary",
    "discharge_summary",
    "after_prediction_time",
)
"""Why a usable note is not read."""

# Without an hour, what was charted on the day of discharge counts as written at the discharge.
_AFTER_NEXT = (
    "coalesce(known_at >= e.next_admit, false) AND NOT (day = CAST(e.discharge AS DATE) "
    "AND known_at = CAST(day AS TIMESTAMP) + INTERVAL 86399 SECOND)"
)


@dataclasses.dataclass
class ChosenNotes:
    """The notes to read, N of them, by example, time and place in the file.

    Attributes:
        examples: int32 [N], place of the example each belongs to.
        times: int64 [N], when each is known, seconds since 1970-01-01.
        files: uint8 [N], number of the file it stands in.
        starts: int64 [N], where its text begins in the unpacked file.
        sizes: int32 [N], bytes of its text there.
        quoted: bool [N], whether quotes within it are doubled.
        lines: int64 [N], line of the file on which its record begins.
        dropped: dict reason -> notes that are not read, from `FATES`.
        counts: dict name -> number: what a reader of the results should know.
    """

    examples: np.ndarray
    times: np.ndarray
    files: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    quoted: np.ndarray
    lines: np.ndarray
    dropped: dict
    counts: dict

    def __len__(self):
        return len(self.examples)


def choose_notes(connection, options):
    """Chooses the notes of each example.

    "discharge": the discharge summary that was charted last (ties: stored last, then the file's order), then all its
    admission's addenda in the order of time; an addendum without a summary is not read. What was charted once the
    patient's next admission had begun may speak of it, and is left out, as is what was charted `max_summary_days` after
    the discharge. "early": what was charted by the prediction time, also before the admission, without discharge
    summaries. In both, notes marked as errors, and those of more than `max_days_before` days before the admission, are
    left out; with `--split_by=time` also those of training and validation charted after their period. `legacy`,
    ClinicalBERT's rules: the last discharge summary by day and file order, an addendum like any other, or all notes of
    days less than `early_days` after the day of admission, whatever they are, errors included.

    Args:
        connection: DuckDB connection with `notes` and `examples` (place, patient_id, admission_id, admit, discharge,
            prediction_time, next_admit, period_ends).
        options: `NotesOptions`.

    Returns:
        `ChosenNotes`.
    """
    usable = "n.reason = 0"
    if options.legacy:  # it takes the last summary first and sees afterwards that it is empty
        usable = f"n.reason IN (0, {list(REASONS).index('text_empty') + 1})"
    order = "day, file, line" if options.legacy else "known_at, stored NULLS FIRST, file, line"
    if options.mode == "discharge" and not options.legacy:
        order = f"is_addendum, {order}"
    connection.execute(
        f"""CREATE OR REPLACE TABLE fates AS
        SELECT n.*, e.place, e.admit, e.discharge, e.next_admit, {_fate_sql(options)} AS fate
        FROM (SELECT * FROM notes n WHERE {usable}) n LEFT JOIN examples e USING (patient_id, admission_id)"""
    )
    if options.mode == "discharge":
        _one_summary(connection, options.legacy)
    dropped = dict(
        connection.execute(
            "SELECT fate, count(*) FROM fates WHERE fate IS NOT NULL AND reason = 0 GROUP BY fate ORDER BY fate"
        ).fetchall()
    )
    table = connection.sql(
        f"""SELECT place, epoch(known_at)::BIGINT AS time, file, text_start, text_bytes,
            text_quoted::UTINYINT AS quoted, line
            FROM fates WHERE fate IS NULL AND reason = 0 ORDER BY place, {order}"""
    ).to_arrow_table()
    chosen = ChosenNotes(
        examples=numbers(table["place"], np.int32),
        times=numbers(table["time"], np.int64),
        files=numbers(table["file"], np.uint8),
        starts=numbers(table["text_start"], np.int64),
        sizes=numbers(table["text_bytes"], np.int32),
        quoted=numbers(table["quoted"], np.uint8).astype(bool),
        lines=numbers(table["line"], np.int64),
        dropped=dropped,
        counts=_counts(connection),
    )
    connection.execute("DROP TABLE fates")
    return chosen


def _one_summary(connection, legacy):
    """Settles in `fates` which discharge summary of each example is read: the last one, with its addenda."""
    last, summaries = "known_at DESC, stored DESC NULLS LAST, file DESC, line DESC", " AND NOT is_addendum"
    if legacy:
        last, summaries = "day DESC, file DESC, line DESC", ""
    connection.execute(
        f"""UPDATE fates SET fate = 'earlier_discharge_summary' FROM (
            SELECT file AS f, line AS l, row_number() OVER (PARTITION BY place ORDER BY {last}) AS copy
            FROM fates WHERE fate IS NULL{summaries}) copies
        WHERE copy > 1 AND f = file AND l = line"""
    )
    if not legacy:
        connection.execute(
            """UPDATE fates SET fate = 'addendum_without_summary' WHERE fate IS NULL AND is_addendum
            AND place NOT IN (SELECT place FROM fates WHERE fate IS NULL AND NOT is_addendum)"""
        )


def _fate_sql(options):
    """SQL: why a note is not read, null where it is."""
    tests = [("e.place IS NULL", "admission_is_no_example")]
    summary = f"category = '{SUMMARY}'" if options.legacy else f"lower(category) = '{SUMMARY.lower()}'"
    if not options.legacy:
        tests.append(("is_error", "marked_as_error"))
        tests.append(("known_at >= e.period_ends", "charted_after_period"))  # null where nothing is cut
    if options.mode == "discharge":
        tests.append((f"NOT coalesce({summary}, false)", "not_a_discharge_summary"))
        if not options.legacy:
            tests += [
                (_AFTER_NEXT, "charted_after_next_admission"),
                (f"day - CAST(e.discharge AS DATE) > {int(options.max_summary_days)}", "charted_long_after_discharge"),
            ]
    elif options.legacy:
        tests.append((f"day - CAST(e.admit AS DATE) >= {int(options.early_days)}", "after_prediction_time"))
    else:
        tests += [(summary, "discharge_summary"), ("known_at > e.prediction_time", "after_prediction_time")]
    if not options.legacy:
        tests.append((f"CAST(e.admit AS DATE) - day > {int(options.max_days_before)}", "charted_long_before_admission"))
    return "CASE " + " ".join(f"WHEN {test} THEN '{fate}'" for test, fate in tests) + " END"


def _counts(connection):
    row = first_row(
        connection,
        """SELECT count(*) FILTER (day < CAST(admit AS DATE)), count(*) FILTER (day > CAST(discharge AS DATE)),
            count(*) FILTER (is_addendum)
        FROM fates WHERE fate IS NULL AND reason = 0""",
    )
    names = ("notes_before_admission", "notes_after_day_of_discharge", "addenda_read")
    return {name: count for name, count in zip(names, row, strict=True) if count}
