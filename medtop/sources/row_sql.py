"""SQL that turns the columns of a table with one row per diagnosis into the wide table `stays`, and judges each row.

The wide table holds the standard columns, those of patients that the table brings, `reason` (why a row cannot be used,
0: it can) and `flags` (which optional values were given and could not be used).
"""

import dataclasses
import datetime

from medtop.sources.dates import (
    LAST_OF_DAY,
    common_days,
    discharge_sql,
    has_offset_sql,
    is_impossible_day_sql,
    is_sentinel_day_sql,
    is_usable_stay_sql,
    is_whole_time_sql,
    stay_time_tests,
    timestamp_sql,
)
from medtop.sources.stays import ORDER_COLUMNS, PATIENTS_COLUMNS, STAYS_COLUMNS
from medtop.sources.words import is_blank_sql, is_given_sql

REASONS = {
    "patient_id_empty": "patient_id",
    "code_empty": "code",
    "code_system_unknown": "version",
    "stay_unknown": "stay_id",
    "still_patient": "discharge",
    "admit_empty": "admit",
    "admit_unparsable": "admit",
    "admit_sentinel": "admit",
    "admit_out_of_range": "admit",
    "admit_in_future": "admit",
    "discharge_empty": "discharge",
    "discharge_unparsable": "discharge",
    "discharge_sentinel": "discharge",
    "discharge_out_of_range": "discharge",
    "discharge_in_future": "discharge",
    "discharge_before_admit": "discharge",
    "patient_id_line_break": "patient_id",
    "code_line_break": "code",
    "after_death": "admit",
}
"""Reason -> standard column it speaks of. A row's reason is stored as its place here, from 1; 0 is a good row."""

PLACE = {reason: number for number, reason in enumerate(REASONS, 1)}

DAY_COLUMNS = ("birth", "death", "observation_end")
UNUSABLE = (*ORDER_COLUMNS, "present_on_admission", "birth", "sex", "death", "observation_end")
FLAGS = (
    *(f"{name}_unusable" for name in UNUSABLE),
    *(f"{name}_{kind}" for name in DAY_COLUMNS for kind in ("sentinel", "impossible")),
    "times_with_offset",
)
"""Bit n of `flags` says that this holds of the row: a value was given but could not be used (it becomes null)."""

BIT = {flag: 1 << number for number, flag in enumerate(FLAGS)}
ROW_PATIENT_COLUMNS = {name: kind for name, kind in PATIENTS_COLUMNS.items() if name != "patient_id"}


@dataclasses.dataclass
class RowLayout:
    """How the columns of one table become the standard ones.

    Attributes:
        names: names for the file's columns, by position (SQL needs them distinct); Parquet: the file's own.
        raw: dict standard name -> SQL text value over `names`; what is not named becomes null.
        headers: dict standard name -> header in the file, for reject lists and error lines.
        parsed: dict standard name -> SQL that replaces the usual parsing.
        delimiter: one character, or None for Parquet.
        notes: sentences for the manifest.
        texts: dict standard name -> SQL text value where `raw` is only a word for one (typed times of Parquet).
        separator: what stands between the codes of a cell, where the table says so itself (a list column).
    """

    names: list
    raw: dict
    headers: dict
    delimiter: str | None
    parsed: dict = dataclasses.field(default_factory=dict)
    notes: list = dataclasses.field(default_factory=list)
    texts: dict = dataclasses.field(default_factory=dict)
    separator: str | None = None


def text_layout(headers, places, delimiter, parsed=None):
    """The layout of a text file, whose columns are named c0, c1, ... by position, whatever the headers say.

    Args:
        headers: list of str, for error lines.
        places: dict standard name -> position in `headers`.
        delimiter: one character.
        parsed: dict standard name -> SQL with the place `{value}`, which replaces the usual parsing.
    """
    names = [f"c{place}" for place in range(len(headers))]
    return RowLayout(
        names=names,
        raw={name: names[place] for name, place in places.items()},
        delimiter=delimiter,
        headers={**dict(zip(names, headers, strict=True)), **{name: headers[place] for name, place in places.items()}},
        parsed={name: sql.format(value=names[places[name]]) for name, sql in (parsed or {}).items()},
    )


def parse_sql(name, value, dates, whole=None):
    """SQL: the text `value` as the standard column `name`; null where it cannot be used.

    `whole` is SQL that says whether `value` is a whole time (`is_whole_time_sql`), where that has been found out.
    """
    if name in ("admit", "discharge"):
        return timestamp_sql(value, dates, whole)
    if name in DAY_COLUMNS:
        return f"CAST({timestamp_sql(value, dates)} AS DATE)"
    if name in ORDER_COLUMNS:
        return f"TRY_CAST({value} AS INTEGER)"
    if name == "present_on_admission":  # CMS also writes U, W, 1 and E: not known to be one or the other
        return words_sql(value, {"Y": "Y", "N": "N"})
    if name == "sex":
        return words_sql(value, {"F": "F", "M": "M", "FEMALE": "F", "MALE": "M"})
    if name == "stay_id":
        return (
            f"CASE WHEN {value} > ' ~' AND NOT ends_with({value}, ' ') THEN {value} ELSE nullif(trim({value}), '') END"
        )
    return value


POA_PARSED = {
    "order_1": "coalesce(TRY_CAST({value} AS INTEGER), CASE {value} WHEN 'Y' THEN 0 WHEN 'N' THEN 1 END)",
    "present_on_admission": "CASE {value} WHEN 'Y' THEN 'Y' WHEN 'N' THEN 'N' END",
}
"""A column of the lineage that orders codes by presence on admission: numbers, whose meaning is not known, sort as they
are; Y sorts before N, and both are kept; other letters become null and sort last."""


def words_sql(value, words):
    """SQL: the text `value` looked up in `words` (upper case), else null; trimmed only where not found as it is."""
    branches = " ".join(f"WHEN '{word}' THEN '{meaning}'" for word, meaning in words.items())
    return f"CASE {value} {branches} ELSE CASE upper(trim({value})) {branches} END END"


def reason_sql(dates, line_breaks, unknown_stay=None, unknown_version=None, still_patient=None):
    """SQL: a row's reason as a number (place in `REASONS`, from 1; 0 is good), from parsed and raw columns.

    The first branch settles a good row with a few comparisons; nulls fall through it.

    Args:
        dates: `DateRules`.
        line_breaks: whether values may hold line breaks.
        unknown_stay: SQL condition: the row's stay is not known.
        unknown_version: SQL condition: the version of its code is not known.
        still_patient: SQL condition: the stay had not ended when the data were drawn.
    """
    good = f"patient_id >= '!' AND code >= '!' AND {is_usable_stay_sql(dates)}"
    broken = {name: f"(contains({name}, chr(10)) OR contains({name}, chr(13)))" for name in ("patient_id", "code")}
    if line_breaks:
        good += "".join(f" AND NOT {test}" for test in broken.values())
    good += "".join(f" AND NOT ({test})" for test in (unknown_stay, unknown_version, still_patient) if test)
    tests = [(is_blank_sql("patient_id"), "patient_id_empty"), (is_blank_sql("code"), "code_empty")]
    unknown = ((unknown_version, "code_system_unknown"), (unknown_stay, "stay_unknown"))
    unknown += ((still_patient, "still_patient"),)
    tests += [(test, reason) for test, reason in unknown if test]
    for name in ("admit", "discharge"):
        tests += stay_time_tests(name, dates)
    tests.append(("discharge < admit", "discharge_before_admit"))
    if line_breaks:
        tests += [(test, f"{name}_line_break") for name, test in broken.items()]
    branches = " ".join(f"WHEN {test} THEN {PLACE[reason]}" for test, reason in tests)
    return f"CASE WHEN {good} THEN 0 {branches} ELSE 0 END"


def plausible_day_sql(name, value, dates):
    """SQL: the date `value` of the column `name`, null where it stands for a missing one or cannot be."""
    first, after = common_days(dates, birth=name == "birth")
    last = datetime.date.fromisoformat(after) - datetime.timedelta(days=1)
    quick = f"{value} BETWEEN DATE '{first}' AND DATE '{last.isoformat()}'"
    bad = f"{is_sentinel_day_sql(name, value, dates)} OR {is_impossible_day_sql(name, value, dates)}"
    return f"CASE WHEN {quick} THEN {value} WHEN {bad} THEN NULL ELSE {value} END"


def _flag_sql(name):
    """SQL: the bits of one optional column; 0 where its value is there, or was not given."""
    unusable = f"WHEN {is_given_sql('raw_' + name)} THEN {BIT[f'{name}_unusable']} ELSE 0 END"
    return f"CASE WHEN {name} IS NOT NULL THEN 0 {unusable}"


def _flags_sql(flagged, layout, dates, dates_only, whole):
    """SQL: the bits of a row. A first comparison settles rows of which each value is there or was not given."""
    bits = [_flag_sql(name) for name in flagged]
    usual = [f"({name} IS NOT NULL OR raw_{name} IS NULL)" for name in flagged]
    if not dates_only and layout.delimiter is not None:
        offsets = [has_offset_sql(f"raw_{name}", dates) for name in ("admit", "discharge")]
        bits.append(f"CASE WHEN {' OR '.join(offsets)} THEN {BIT['times_with_offset']} ELSE 0 END")
        usual += [f"({whole.get(name, 'false')} OR strlen(raw_{name}) <= 16)" for name in ("admit", "discharge")]
    return f"CASE WHEN {' AND '.join(usual)} THEN 0 ELSE {' + '.join(bits)} END" if bits else "0"


def select_sql(layout, given, line_breaks, dates, dates_only=False, kept=(), tests=None):
    """SQL: SELECT from `{table}` of all columns of the wide `stays` table (`create_wide_table`), in its order.

    Args:
        layout: RowLayout.
        given: standard names that the table brings.
        line_breaks, dates: as for `reason_sql`.
        dates_only: no value of the file has a time or an offset, and `discharge` is a DATE.
        kept: columns of `{table}` that follow those of `stays`.
        tests: dict of further arguments of `reason_sql`, each the name of a boolean column of `{table}`.
    """
    whole = {}
    if layout.delimiter is not None and not dates_only and dates.date_format is None:
        whole = {name: f"whole_{name}" for name in ("admit", "discharge") if name not in layout.parsed}
    columns = {}
    for name in wide_columns(given):
        if name in layout.parsed:
            columns[name] = layout.parsed[name]
        elif name in layout.raw:
            columns[name] = parse_sql(name, layout.raw[name], dates, whole.get(name))
        elif name not in ("reason", "flags"):
            columns[name] = "NULL"
    days = [name for name in DAY_COLUMNS if name in columns and (name in layout.raw or name in layout.parsed)]
    inner = ", ".join(f"{sql} AS {'read_' * (name == 'discharge')}{name}" for name, sql in columns.items())
    judged = (*UNUSABLE, "admit", "discharge")
    raws = ", ".join(f"{sql} AS raw_{name}" for name, sql in layout.raw.items() if name in judged)
    # a column that is parsed in a way of its own has values of other meanings, which are not to be counted
    flagged = [
        name
        for name in UNUSABLE
        if name in layout.raw and (name in (*ORDER_COLUMNS, *days) or name not in layout.parsed)
    ]
    flags = _flags_sql(flagged, layout, dates, dates_only, whole)
    typed = dataclasses.replace(dates, date_format=None, two_digit_years_from=None)
    own = typed if "discharge" in layout.parsed else dates  # a typed column says by itself whether it has times
    made = {"discharge": discharge_sql("read_discharge", "raw_discharge", own, whole.get("discharge"))}
    if dates_only:
        made["discharge"] = f"read_discharge + {LAST_OF_DAY}"  # a quarter of the time of adding an interval
    reason, own = reason_sql(dates, line_breaks, **tests or {}), "".join(f", {name}" for name in kept)
    passed = "".join(f", {name}" for name in (*kept, *(tests or {}).values(), *whole.values()))
    seen = "".join(f", {is_whole_time_sql(layout.raw[name])} AS {flag}" for name, flag in whole.items())
    source = f"(SELECT *{seen} FROM {{table}})" if seen else "{table}"  # asked once: the parse and the flags need it
    return (
        f"SELECT {', '.join(columns)}, {reason} AS reason, {flags} AS flags{own} "
        f"FROM (SELECT *, {', '.join(f'{sql} AS {name}' for name, sql in made.items())} FROM ("
        f"SELECT {inner}, {raws}{passed} FROM {source}))"
    )


def settle_days(connection, given, dates):
    """Sentinels and impossible days of birth, death and observation_end in the wide table: null, and flagged.

    The earliest and the latest day of a column tell whether there can be any: nearly always there are none.

    Args:
        connection: DuckDB connection.
        given: set of standard names that the source fills.
        dates: `DateRules`.
    """
    names = [name for name in DAY_COLUMNS if name in given]
    if not names:
        return
    bands = {name: common_days(dates, birth=name == "birth") for name in names}
    usual = [
        f"min({name}) >= DATE '{first}' AND max({name}) < DATE '{after}'" for name, (first, after) in bands.items()
    ]
    usual = connection.execute(f"SELECT {', '.join(usual)} FROM stays").fetchone()
    for name, is_usual in zip(names, usual, strict=True):
        if is_usual or is_usual is None:
            continue
        sentinel, impossible = is_sentinel_day_sql(name, name, dates), is_impossible_day_sql(name, name, dates)
        connection.execute(
            f"UPDATE stays SET {name} = NULL, flags = flags | CASE WHEN {sentinel} THEN {BIT[f'{name}_sentinel']} "
            f"ELSE {BIT[f'{name}_impossible']} END WHERE {sentinel} OR {impossible}"
        )


def wide_columns(given):
    """Columns of `stays` while it is filled: the standard ones, those of patients among `given`, reason and flags."""
    own = {name: kind for name, kind in ROW_PATIENT_COLUMNS.items() if name in given}
    return {**STAYS_COLUMNS, **own, "reason": "UTINYINT", "flags": "UINTEGER"}


def create_wide_table(connection, columns):
    """Makes an empty `stays` table: dict name -> type."""
    listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    connection.execute(f"CREATE OR REPLACE TABLE stays ({listed})")
