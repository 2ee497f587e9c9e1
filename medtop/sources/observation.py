"""Until when a table observes its patients, where it does not say so itself.

The latest discharge will not do: one wrong date would move the end for everybody, and tables often thin out before they
end (claims that came late, stays that had not ended). The end is looked for among the months that hold a usual number
of admissions.
"""

import dataclasses
import datetime

FOR_COLUMN = "column"
"""`--observation_end=column`: only the table's own column counts."""

USUAL_SHARE = 0.5
MOST_MONTHS = 6
"""Months that a sentence lists."""


@dataclasses.dataclass(frozen=True)
class UsualEnd:
    """The end of usual admissions.

    Attributes:
        end: the last day that counts as observed.
        months: dict (year, month) -> stays admitted in it, all months with stays, in order.
        least: stays from which on a month is usual.
    """

    end: datetime.date
    months: dict
    least: float

    @property
    def later(self):
        """Months after `end` with stays admitted in them: dict as `months`."""
        return {month: number for month, number in self.months.items() if month > (self.end.year, self.end.month)}

    @property
    def sentence(self):
        """What the rule found, for the manifest."""
        # The last discharge is somebody's date, and an identifier: its month says enough.
        whole = self.end == last_day(self.end.year, self.end.month)
        end = str(self.end) if whole else f"the last discharge, in {self.end:%Y-%m},"
        text = f"{end} is the end of the last month with a usual number of admissions (from {self.least:g} on)"
        if self.later:
            text += f"; {sum(self.later.values()):,} admissions lie after it ({list_months(self.later)})"
        return text


def list_months(months):
    """`2010-07 (52), 2010-08 (40), ...` of a dict (year, month) -> stays.

    >>> list_months({(2105, 1): 1})
    '2105-01 (1)'
    """
    shown = [f"{year}-{month:02} ({number:,})" for (year, month), number in list(months.items())[:MOST_MONTHS]]
    return ", ".join([*shown, f"... {len(months)} months in all"] if len(months) > MOST_MONTHS else shown)


def usual_level(numbers):
    """The number of stays of a usual month: the largest u such that months with at least u stays hold half of all.

    A median of the months weighted by their stays, so that a long thin beginning or single stays far away do not count.

    >>> usual_level([1, 100, 110, 90, 20, 1])
    100
    """
    total, held = sum(numbers), 0
    for number in sorted(numbers, reverse=True):
        held += number
        if 2 * held >= total:
            return number
    return 0


def last_day(year, month):
    """The last day of a month."""
    return datetime.date(year + month // 12, month % 12 + 1, 1) - datetime.timedelta(days=1)


def find_usual_end(months, last_discharge):
    """The `UsualEnd` of stays admitted in these months: in the last month that holds at least half as many as a usual
    one; its last day, or the table's last discharge where that comes earlier.

    Args:
        months: dict (year, month) -> stays admitted.
        last_discharge: date.

    >>> find_usual_end({(2013, 11): 100, (2013, 12): 60, (2014, 1): 30, (2105, 1): 1}, datetime.date(2105, 1, 3)).end
    datetime.date(2013, 12, 31)
    """
    least = USUAL_SHARE * usual_level(list(months.values()))
    month = max(month for month, number in months.items() if number >= least)
    return UsualEnd(min(last_day(*month), last_discharge), dict(sorted(months.items())), least)


def usual_end(connection, admissions=None):
    """`find_usual_end` of the table `stays`; a stay is a patient and an admission.

    Args:
        connection: DuckDB connection.
        admissions: a table with one row per patient and admission of `stays`, where it has been made before.
    """
    each = admissions or "(SELECT hash(patient_id), admit FROM stays GROUP BY ALL)"
    rows = connection.execute(f"SELECT year(admit), month(admit), count(*) FROM {each} GROUP BY ALL").fetchall()
    last = connection.execute("SELECT CAST(max(discharge) AS DATE) FROM stays").fetchone()[0]
    return find_usual_end({(year, month): number for year, month, number in rows}, last)
