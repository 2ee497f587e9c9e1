"""Dates of birth and death, and ids, by hand: the day of each text, and what is counted."""

import datetime

import duckdb
import pytest

from medtop.sources.dates import DateRules
from medtop.sources.day_columns import day_sql, judge_values
from medtop.sources.ids import settle_ids
from medtop.sources.rules import Rules
from medtop.sources.settling import Account
from medtop.sources.stays import Request

TODAY = datetime.date(2026, 11, 28)
RULES = DateRules(today=TODAY)
LAST = datetime.date.fromisoformat(RULES.latest) - datetime.timedelta(days=1)
DAYS = {  # text -> (birth, death): the day, or what the text is counted as
    "2001-02-03": ("2001-02-03", "2001-02-03"),
    "2001-02-03 23:59:59": ("2001-02-03", "2001-02-03"),
    "1969-12-31": ("1969-12-31", "1969-12-31"),
    LAST.isoformat(): (LAST.isoformat(), LAST.isoformat()),
    RULES.latest: ("impossible", "impossible"),
    "1849-12-31": ("impossible", "impossible"),
    "1850-01-01": ("1850-01-01", "impossible"),
    "1899-12-30": ("sentinel", "sentinel"),
    "1900-01-01": ("sentinel", "sentinel"),
    "1900-01-01 12:30:00": ("sentinel", "sentinel"),
    "1900-01-02": ("1900-01-02", "impossible"),
    "1904-12-31": ("1904-12-31", "impossible"),
    "1905-01-01": ("1905-01-01", "1905-01-01"),
    "1970-01-01": ("1970-01-01", "sentinel"),  # born on that day somebody was
    "9999-12-31": ("sentinel", "sentinel"),
    "2001-02-30": ("unusable", "unusable"),
    "soon": ("unusable", "unusable"),
    "NULL": (None, None),
    "": (None, None),
    None: (None, None),
}
KINDS = ("sentinel", "impossible", "unusable")


@pytest.mark.parametrize("place, name", [(0, "birth"), (1, "death")])
def test_each_text_is_its_day_or_is_counted_as_what_it_is(place, name):
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE people (raw VARCHAR)")
        connection.executemany("INSERT INTO people VALUES (?)", [[text] for text in DAYS])
        days = connection.execute(f"SELECT raw, {day_sql(name, 'raw', RULES)} FROM people ORDER BY rowid").fetchall()
        account = Account()
        request = Request(connection, "people.csv", rules=Rules(dates=RULES))
        judge_values(request, account, "people", name, "raw", day_sql(name, "raw", RULES))
    wanted = [both[place] for both in DAYS.values()]
    assert [(raw, day and day.isoformat()) for raw, day in days] == [
        (raw, None if day in KINDS else day) for raw, day in zip(DAYS, wanted, strict=True)
    ]
    counts = {f"{name}_{kind}": wanted.count(kind) for kind in KINDS}
    assert {key: account.counts.get(key, 0) for key in counts} == counts


def test_ids_come_to_their_normal_form_and_each_change_is_counted_once():
    ids = {" a": "a", "b\u200b": "b", " 18.00 ": "18", "17.0": "17", "nan": None, "-": None, " NULL ": None}
    ids |= {"": None, "\u200b": None, ".0": ".0", "x.0y": "x.0y", "007": "007", None: None}
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE stays (patient_id VARCHAR)")
        connection.executemany("INSERT INTO stays VALUES (?)", [[text] for text in ids])
        counts = settle_ids(connection, "stays")
        assert [row for (row,) in connection.execute("SELECT * FROM stays ORDER BY rowid").fetchall()] == [
            *ids.values()
        ]
    assert counts == {"patient_id_trimmed": 3, "patient_id_point_zero": 2, "patient_id_null_words": 3}
