"""Dates of birth and death in tables of patients: judged as those in tables of diagnoses are."""

from medtop.sources.dates import is_sentinel_day_sql, timestamp_sql
from medtop.sources.row_sql import plausible_day_sql
from medtop.sources.unusable import check_columns
from medtop.sources.words import is_given_sql


def read_day_sql(raw, dates):
    """SQL: the day that the text `raw` says, whatever day it is; null where it says none."""
    return f"CAST({timestamp_sql(raw, dates)} AS DATE)"


def day_sql(name, raw, dates):
    """SQL: the text `raw` as the date column `name` (birth, death); null where it cannot be used or is a sentinel."""
    return plausible_day_sql(name, read_day_sql(raw, dates), dates)


def judge_values(request, account, table, name, raw, value):
    """Counts the values of a column that were given and are not used, under the names of a table of diagnoses; stops
    where more than half of them cannot be used.

    Args:
        request: Request.
        account: Account.
        table: SQL table.
        name: standard column: "birth", "death" or "sex".
        raw: SQL of its text.
        value: SQL of what is made of it.
    """
    dates, read, kinds = request.rules.dates, value, {}
    if name != "sex":
        read = read_day_sql(raw, dates)
        sentinel = f"coalesce({is_sentinel_day_sql(name, 'read', dates)}, false)"
        kinds = {f"{name}_sentinel": sentinel, f"{name}_impossible": f"read IS NOT NULL AND NOT {sentinel}"}
    tests = {f"{name}_unusable": "read IS NULL"} | kinds
    sums = ", ".join(f"count(*) FILTER (WHERE is_given AND value IS NULL AND {test})" for test in tests.values())
    given, *numbers = request.connection.execute(
        f"""SELECT count(*) FILTER (WHERE is_given), {sums}
        FROM (SELECT {is_given_sql(raw)} AS is_given, {read} AS read, {value} AS value FROM {table})"""
    ).fetchone()
    counts = dict(zip(tests, numbers, strict=True))
    account.add(counts)
    if unusable := counts[f"{name}_unusable"]:
        account.given[name] = account.given.get(name, 0) + given
        check_columns(request.data_file, {name: unusable}, {name: given}, request.rules.accept_unusable)
