"""SQL that turns the columns of a table with one row per diagnosis into the wide table `stays`, and judges each row.

The wide table holds the standard columns, those of patients that the table brings, `reason` (why a row cannot be used,
0: it can) and `flags` (which optional values were given and could not be used).
"""

import dataclasses

from medtop.sources.dates import (
    EARLIEST_STAY,
    END_OF_DAY,
    discharge_sql,
    has_offset_sql,
    is_impossible_day_sql,
    is_sentinel_day_sql,
    is_usable_stay_sql,
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


def parse_sql(name, value, dates):
    """SQL: the text `value` as the standard column `name`; null where it cannot be used."""
    if name in ("admit", "discharge"):
        return timestamp_sql(value, dates)
    if name in DAY_COLUMNS:
        return f"CAST({timestamp_sql(value, dates)} AS DATE)"
    if name in ORDER_COLUMNS:
        return f"TRY_CAST({value} AS INTEGER)"
    if name == "present_on_admission":  # CMS also writes U, W, 1 and E: not known to be one or the other
        return words_sql(value, {"Y": "Y", "N": "N"})
    if name == "sex":
        return words_sql(value, {"F": "F", "M": "M", "FEMALE": "F", "MALE": "M"})
    if name == "stay_id":
        return f"nullif(trim({value}), '')"
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
    late = [day for day in dates.missing_days if EARLIEST_STAY <= day < dates.latest]
    late = dataclasses.replace(dates, sentinels=tuple(late))
    quick = f"{value} >= DATE '{EARLIEST_STAY}' AND {value} < DATE '{dates.latest}'"
    if late.sentinels:
        quick += f" AND NOT {is_sentinel_day_sql(name, value, late)}"
    return (
        f"CASE WHEN {value} IS NULL THEN NULL WHEN {quick} THEN {value} WHEN {is_sentinel_day_sql(name, value, dates)} "
        f"OR {is_impossible_day_sql(name, value, dates)} THEN NULL ELSE {value} END"
    )


def _flag_sql(name, dates):
    """SQL: the bits of one optional column; 0 where its value is there, or was not given."""
    unusable = f"WHEN {is_given_sql('raw_' + name)} THEN {BIT[f'{name}_unusable']} ELSE 0 END"
    if name not in DAY_COLUMNS:
        return f"CASE WHEN {name} IS NOT NULL THEN 0 {unusable}"
    sentinel = is_sentinel_day_sql(name, f"read_{name}", dates)
    return (
        f"CASE WHEN {name} IS NOT NULL THEN 0 WHEN read_{name} IS NOT NULL THEN CASE WHEN {sentinel} "
        f"THEN {BIT[f'{name}_sentinel']} ELSE {BIT[f'{name}_impossible']} END {unusable}"
    )


def select_sql(layout, given, line_breaks, dates, dates_only=False, kept=(), tests=None):
    """SQL: SELECT from `{table}` of all columns of the wide `stays` table (`create_wide_table`), in its order.

    Args:
        layout: RowLayout.
        given: standard names that the table brings.
        line_breaks, dates: as for `reason_sql`.
        dates_only: no value of the file has a time or an offset.
        kept: columns of `{table}` that follow those of `stays`.
        tests: dict of further arguments of `reason_sql`, each the name of a boolean column of `{table}`.
    """
    columns = {}
    for name in wide_columns(given):
        if name in layout.parsed:
            columns[name] = layout.parsed[name]
        elif name in layout.raw:
            columns[name] = parse_sql(name, layout.raw[name], dates)
        elif name not in ("reason", "flags"):
            columns[name] = "NULL"
    days = [name for name in DAY_COLUMNS if name in columns and (name in layout.raw or name in layout.parsed)]
    read = ("discharge", *days)
    inner = ", ".join(f"{sql} AS {'read_' * (name in read)}{name}" for name, sql in columns.items())
    judged = (*UNUSABLE, "admit", "discharge")
    raws = ", ".join(f"{sql} AS raw_{name}" for name, sql in layout.raw.items() if name in judged)
    # a column that is parsed in a way of its own has values of other meanings, which are not to be counted
    flagged = [
        name
        for name in UNUSABLE
        if name in layout.raw and (name in (*ORDER_COLUMNS, *days) or name not in layout.parsed)
    ]
    bits = [_flag_sql(name, dates) for name in flagged]
    if not dates_only and layout.delimiter is not None:
        offsets = " OR ".join(has_offset_sql(f"raw_{name}", dates) for name in ("admit", "discharge"))
        bits.append(f"CASE WHEN {offsets} THEN {BIT['times_with_offset']} ELSE 0 END")
    typed = dataclasses.replace(dates, date_format=None, two_digit_years_from=None)
    own = typed if "discharge" in layout.parsed else dates  # a typed column says by itself whether it has times
    made = {"discharge": discharge_sql("read_discharge", "raw_discharge", own)}
    if dates_only:
        made["discharge"] = f"read_discharge + {END_OF_DAY}"
    made |= {name: plausible_day_sql(name, f"read_{name}", dates) for name in days}
    reason, own = reason_sql(dates, line_breaks, **tests or {}), "".join(f", {name}" for name in kept)
    passed = "".join(f", {name}" for name in (*kept, *(tests or {}).values()))
    return (
        f"SELECT {', '.join(columns)}, {reason} AS reason, {' + '.join(bits) or '0'} AS flags"
        f"{own} "
        f"FROM (SELECT *, {', '.join(f'{sql} AS {name}' for name, sql in made.items())} FROM ("
        f"SELECT {inner}, {raws}{passed} FROM {{table}}))"
    )


def wide_columns(given):
    """Columns of `stays` while it is filled: the standard ones, those of patients among `given`, reason and flags."""
    own = {name: kind for name, kind in ROW_PATIENT_COLUMNS.items() if name in given}
    return {**STAYS_COLUMNS, **own, "reason": "UTINYINT", "flags": "UINTEGER"}


def create_wide_table(connection, columns):
    """Makes an empty `stays` table: dict name -> type."""
    listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    connection.execute(f"CREATE OR REPLACE TABLE stays ({listed})")
