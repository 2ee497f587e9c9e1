"""Dates and times as every table writes them: forms, time zones, bare dates, sentinels, the future. SQL for DuckDB.

What stands here holds for all sources, for the notes' tables and for prediction times. What the SQL takes from DuckDB
alone: `TRY_CAST`, `try_strptime`, `timezone` (its ICU extension, which is built in), `strlen` (bytes).
"""

import dataclasses
import datetime
import re

from medtop.files.errors import DataError
from medtop.files.options import compared, option
from medtop.files.sql import quote
from medtop.sources.words import INVISIBLE, is_given_sql, trimmed_sql

EARLIEST, LATEST = "1800-01-01", "2262-01-01"
"""Dates outside are none, also where dates were shifted per patient (MIMIC: 2100 to 2214); the upper end is what a
64-bit count of nanoseconds can hold."""

EARLIEST_STAY, EARLIEST_BIRTH = "1905-01-01", "1850-01-01"
"""Bounds where dates were not shifted."""

SENTINELS = ("0001-01-01", "1753-01-01", "1800-01-01", "1840-12-31", "1858-11-17", "1899-12-30", "1899-12-31")
SENTINELS += ("1900-01-01", "1901-01-01", "1904-01-01", "1970-01-01", "2099-12-31", "2100-01-01", "2199-12-31")
SENTINELS += ("2299-12-31", "2999-01-01", "2999-12-31", "3000-01-01", "9999-01-01", "9999-12-31")
"""Days that programs write for a missing date: the zeros of SQL Server, MUMPS, VMS, Excel, Macintosh and Unix, and ends
of time."""

NOT_BIRTHS = ("1901-01-01", "1904-01-01", "1970-01-01")
"""People were born on these days, and some registers know the year of birth only."""

LAST_OF_DAY = "TIME '23:59:59.999999'"
END_OF_DAY = "INTERVAL 86399999999 MICROSECONDS"
"""From a day's first to its last microsecond. A bare date of discharge becomes the end of its day, because it is known
by then and not before."""

ISO_PATTERN = r"\d{4}[-/]\d{2}[-/]\d{2}([ T]\d{2}:\d{2}(:\d{2}([.]\d{1,9})?)?)?Z?"
_OFFSET = r" ?(Z|[+-]\d{2}(:?\d{2})?)$"
_WITH_OFFSET = r"\d{4}[-/]\d{2}[-/]\d{2}[ T]\d{2}:\d{2}(:\d{2}([.]\d{1,9})?)? ?(Z|[+-]\d{2}(:?\d{2})?)"
_TIME_DIRECTIVES = re.compile(r"%[HIcXTpMSfR]")


def _days(texts):
    return () if list(texts) == ["none"] else tuple(texts)


@dataclasses.dataclass(frozen=True)
class DateRules:
    """How the dates of one input are read."""

    date_format: str | None = option(
        None, "strptime format of all dates in the input, such as %d/%m/%Y; ISO dates need none."
    )
    time_zone: str | None = option(
        None,
        "Such as Europe/Berlin: times with an offset, and zoned columns, are converted to its local time. Default: "
        "local time as written.",
    )
    two_digit_years_from: int | None = option(
        None, "First of the hundred years that %y of --date_format stands for: 1930 takes 60 for 1960, 29 for 2029."
    )
    sentinels: tuple = option(
        SENTINELS, "Days that stand for a missing date; none: no day does.", parse=_days, default_in_help=False
    )
    shifted_dates: bool = option(
        False, "Dates were shifted per patient, as MIMIC's: future ones are taken, observation ends per patient."
    )
    today: datetime.date = dataclasses.field(default_factory=datetime.date.today, metadata={"compared": False})

    def __post_init__(self):
        form = self.date_format
        if form is not None and "%" not in form:
            raise DataError(f"--date_format: expected a strptime format such as %d/%m/%Y, received {form!r}")
        has_short_year = form is not None and "%y" in form.replace("%%", "")
        if has_short_year and self.two_digit_years_from is None:
            raise DataError(
                f"--date_format={form}: expected --two_digit_years_from with %y, such as 1930 for 1930 to 2029, "
                "received none"
            )
        if self.two_digit_years_from is not None and not has_short_year:
            raise DataError("--two_digit_years_from: expected --date_format with %y, received none")
        if form is not None and "%z" in form.lower().replace("%%", "") and self.time_zone is None:
            raise DataError(f"--date_format={form}: expected --time_zone with an offset in the format, received none")
        if self.time_zone is not None:
            import zoneinfo  # looks for its data when it is loaded

            try:
                zoneinfo.ZoneInfo(self.time_zone)
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
                raise DataError(
                    f"--time_zone: expected a name such as Europe/Berlin, received {self.time_zone!r}"
                ) from None
        for day in self.sentinels:
            try:
                datetime.date.fromisoformat(day)
            except ValueError:
                raise DataError(f"--sentinels: expected days such as 1900-01-01, received {day!r}") from None

    @property
    def latest(self):
        """The first day that lies in the future, ISO; a day later than tomorrow, for the sake of time zones."""
        return LATEST if self.shifted_dates else (self.today + datetime.timedelta(days=2)).isoformat()

    @property
    def earliest_stay(self):
        """ISO; what lies before is no admission."""
        return EARLIEST if self.shifted_dates else EARLIEST_STAY

    @property
    def missing_days(self):
        """The sentinels that apply: where dates are shifted, any day between the bounds can be a date."""
        return tuple(day for day in self.sentinels if not (self.shifted_dates and EARLIEST <= day < LATEST))

    @property
    def settings(self):
        """dict of plain values: what determines the outputs."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in compared(self).items()}

    @property
    def statement(self):
        """A sentence for the manifest."""
        zone = (
            f"values with an offset, and zoned columns, were converted to {self.time_zone}"
            if self.time_zone
            else "local calendar time as written; offsets are dropped"
        )
        future = (
            "shifted per patient" if self.shifted_dates else f"those from {self.latest} on are refused as future ones"
        )
        return f"Times: {zone}. Dates: {future}."


def has_time(date_format):
    """Whether values of this strptime format carry a time of day."""
    return bool(_TIME_DIRECTIVES.search(date_format.replace("%%", "")))


def is_whole_time_sql(value):
    """SQL: whether the text `value` has the form `YYYY-MM-DD HH:MM:SS`, with a blank or T and no offset."""
    return f"CASE WHEN {value} LIKE '____-__-__ __:__:__' THEN true ELSE {value} LIKE '____-__-__T__:__:__' END"


def timestamp_sql(value, rules, whole=None):
    """SQL: the text `value` as TIMESTAMP, null where it is none of the accepted forms.

    Accepted: `YYYY-MM-DD`, with ` HH:MM[:SS[.fraction]]` after a space or T, and an offset (`Z`, `+02:00`) at the end;
    `YYYY/MM/DD`; `YYYYMMDD`; or what `date_format` says, alone. An offset is dropped (local time as written), or with
    `time_zone` the instant is converted. DuckDB's own cast would take 'epoch' and 'infinity' for times. `whole` is SQL
    that says `is_whole_time_sql` where it has been found out before.
    """
    if rules.date_format:
        return _formatted_sql(value, rules)
    # A cast of ten bytes can only be a date; the patterns are needed for longer ones alone. This order costs 0.04
    # CPU-seconds per million dates, a regular expression on each 0.25.
    stripped = trimmed_sql(value)
    local = f"TRY_CAST(regexp_replace({stripped}, {quote(_OFFSET)}, '') AS TIMESTAMP)"
    if rules.time_zone:
        local = f"timezone({quote(rules.time_zone)}, TRY_CAST({stripped} AS TIMESTAMPTZ))"
    return (
        f"CASE WHEN {value} IS NULL THEN NULL WHEN strlen({value}) = 10 THEN TRY_CAST({value} AS TIMESTAMP) "
        f"WHEN {whole or is_whole_time_sql(value)} THEN TRY_CAST({value} AS TIMESTAMP) "
        f"WHEN regexp_full_match({value}, '\\d{{8}}') THEN try_strptime({value}, '%Y%m%d') "
        f"WHEN regexp_full_match({value}, {quote(f'{INVISIBLE}*{_WITH_OFFSET}{INVISIBLE}*')}) THEN {local} "
        f"WHEN regexp_full_match({value}, {quote(f'{INVISIBLE}*{ISO_PATTERN}{INVISIBLE}*')}) "
        f"THEN TRY_CAST({stripped} AS TIMESTAMP) "
        f"WHEN regexp_full_match({stripped}, '\\d{{8}}') THEN try_strptime({stripped}, '%Y%m%d') END"
    )


def _formatted_sql(value, rules):
    parsed = f"try_strptime({trimmed_sql(value)}, {quote(rules.date_format)})"
    if "%z" in rules.date_format.lower().replace("%%", ""):
        parsed = f"timezone({quote(rules.time_zone)}, {parsed})"
    if rules.two_digit_years_from is None:
        return parsed
    first = int(rules.two_digit_years_from)
    return (
        f"CASE WHEN year({parsed}) < {first} THEN {parsed} + INTERVAL 100 YEARS "
        f"WHEN year({parsed}) >= {first + 100} THEN {parsed} - INTERVAL 100 YEARS ELSE {parsed} END"
    )


def zoned_sql(value, zone):
    """SQL: the TIMESTAMPTZ `value` as local time of `zone`."""
    return f"timezone({quote(zone)}, {value})"


def is_bare_sql(raw, rules):
    """SQL: whether the text `raw` is a date without a time of day."""
    if rules.date_format:
        return "false" if has_time(rules.date_format) else "true"
    return (  # whole times are told by their length, because trimming costs a regular expression each
        f"CASE WHEN strlen({raw}) <= 10 THEN true WHEN strlen({raw}) = 19 AND NOT ends_with({raw}, ' ') THEN false "
        f"ELSE strlen({trimmed_sql(raw)}) <= 10 END"
    )


def discharge_sql(discharge, raw, rules, whole=None):
    """SQL: the discharge, at the end of its day where `raw` is a bare date; `whole` as for `timestamp_sql`."""
    timed = f"WHEN {whole} THEN {discharge} " if whole else ""
    return f"CASE {timed}WHEN {is_bare_sql(raw, rules)} THEN {discharge} + {END_OF_DAY} ELSE {discharge} END"


def as_written_sql(discharge):
    """SQL: the discharge as an instant; one at the end of its day is a bare date, which begins with the day."""
    day = f"date_trunc('day', {discharge})"
    return f"CASE WHEN {discharge} = {day} + {END_OF_DAY} THEN {day} ELSE {discharge} END"


def has_offset_sql(raw, rules):
    """SQL: whether the text `raw` is a time with an offset; cheap where it is none."""
    if rules.date_format:
        return "false"
    return (
        f"(strlen({raw}) > 16 AND (strlen({raw}) <> 19 OR {raw}[17] <> ':') AND "
        f"regexp_full_match({raw}, {quote(f'{INVISIBLE}*{_WITH_OFFSET}{INVISIBLE}*')}))"
    )


def is_sentinel_sql(value, rules, birth=False):
    """SQL: whether the timestamp or date `value` lies on one of the days that stand for a missing one."""
    return _on_days(value, _missing_days(rules, birth))


def is_sentinel_within_sql(value, rules):
    """`is_sentinel_sql` for a value that is known to be at or after `earliest_stay` and before `latest`."""
    return _on_days(value, [day for day in rules.missing_days if rules.earliest_stay <= day < rules.latest])


def common_days(rules, birth=False):
    """The stretch of days without a sentinel that most records' dates lie in: (first, the day after), ISO.

    Of the stretches among the days that a stay (or birth) can have it is the one with the most days since 1970: dates
    in it need no comparison with each sentinel.

    >>> common_days(DateRules(today=datetime.date(2026, 11, 28)))
    ('1970-01-02', '2026-11-30')
    >>> common_days(DateRules(today=datetime.date(2026, 11, 28)), birth=True)
    ('1900-01-02', '2026-11-30')
    """
    day, next_day = datetime.date.fromisoformat, datetime.timedelta(days=1)
    earliest = EARLIEST_BIRTH if birth and not rules.shifted_dates else rules.earliest_stay
    inside = sorted(text for text in _missing_days(rules, birth) if earliest <= text < rules.latest)
    begins = [earliest, *((day(text) + next_day).isoformat() for text in inside)]
    stretches = zip(begins, [*inside, rules.latest], strict=True)
    return max(stretches, key=lambda stretch: day(stretch[1]) - day(max(stretch[0], "1970-01-01")))


def _missing_days(rules, birth):
    return [day for day in rules.missing_days if not (birth and day in NOT_BIRTHS)]


def _on_days(value, days):
    # `value` may be long SQL, so it stands here once; no IN, which DuckDB turns into a join over all rows.
    listed = ", ".join(f"DATE '{day}'" for day in days)
    return f"list_contains([{listed}], CAST({value} AS DATE))" if days else "false"


def stay_time_tests(name, rules):
    """Why an admission or discharge (column `name`, its text `raw_<name>`) cannot be used: [(SQL, reason)]."""
    tests = [
        (f"NOT {is_given_sql('raw_' + name)}", f"{name}_empty"),
        (f"{name} IS NULL", f"{name}_unparsable"),
        (is_sentinel_sql(name, rules), f"{name}_sentinel"),
        (f"({name} < TIMESTAMP '{rules.earliest_stay}' OR {name} >= TIMESTAMP '{LATEST}')", f"{name}_out_of_range"),
    ]
    return tests if rules.shifted_dates else [*tests, (f"{name} >= TIMESTAMP '{rules.latest}'", f"{name}_in_future")]


def is_usable_stay_sql(rules):
    """SQL: whether `admit` and `discharge` can be used; nulls give null. The quick test for good rows."""
    first, after = common_days(rules)
    return (
        f"admit >= TIMESTAMP '{rules.earliest_stay}' AND discharge >= admit AND discharge < TIMESTAMP '{rules.latest}' "
        f"AND (admit >= TIMESTAMP '{first}' AND discharge < TIMESTAMP '{after}' OR "
        f"NOT {is_sentinel_within_sql('admit', rules)} AND NOT {is_sentinel_within_sql('discharge', rules)})"
    )


def is_sentinel_day_sql(name, value, rules):
    """SQL: whether the date `value` of the column `name` (birth, death, observation_end) stands for a missing one."""
    return is_sentinel_sql(value, rules, birth=name == "birth")


def is_impossible_day_sql(name, value, rules):
    """SQL: whether the date `value` of the column `name` lies in the future, or too far back."""
    first = EARLIEST if rules.shifted_dates else EARLIEST_BIRTH if name == "birth" else EARLIEST_STAY
    last = datetime.date.fromisoformat(rules.latest) - datetime.timedelta(days=1)
    return f"({value} NOT BETWEEN DATE '{first}' AND DATE '{last.isoformat()}')"


def settle_midnights(connection, table, column="discharge"):
    """Takes a column of times that are all midnight for a column of dates: each moves to the end of its day, in place.

    Exports write `2014-03-26 00:00:00`, and pandas stores timestamps, where only dates are known. Values that are at
    the end of their day already (bare dates) do not speak against it.

    Returns:
        int, how many rows moved.
    """
    midnight = f"{column} = date_trunc('day', {column})"
    timed = f"NOT {midnight} AND {column} <> date_trunc('day', {column}) + {END_OF_DAY}"
    first = f"(SELECT {column} FROM {table} LIMIT 1000)"
    if connection.execute(f"SELECT count(*) FROM {first} WHERE isfinite({column}) AND {timed}").fetchone()[0]:
        return 0
    others, moved = connection.execute(
        f"SELECT count(*) FILTER ({timed}), count(*) FILTER ({midnight}) FROM {table} WHERE isfinite({column})"
    ).fetchone()
    if others or not moved:
        return 0
    connection.execute(f"UPDATE {table} SET {column} = {column} + {END_OF_DAY} WHERE {midnight}")
    return moved
