"""Dates of birth and death in tables of patients: judged as those in tables of diagnoses are."""

from medtop.sources.dates import is_sentinel_day_sql, timestamp_sql
from medtop.sources.row_sql import plausible_day_sql
from medtop.sources.unusable import check_columns
from medtop.sources.words import is_given_sql


def day_sql(name, raw, dates):
    """SQL: the text `raw` as the date column `name` (birth, death); null where it cannot be used or is a sentinel."""
    return plausible_day_sql(name, f"CAST({timestamp_sql(raw, dates)} AS DATE)", dates)


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
    dates, kinds = request.rules.dates, {}
    if name != "sex":
        read = f"CAST({timestamp_sql(raw, dates)} AS DATE)"
        sentinel = f"coalesce({is_sentinel_day_sql(name, read, dates)}, false)"
        kinds = {f"{name}_sentinel": sentinel, f"{name}_impossible": f"{read} IS NOT NULL AND NOT {sentinel}"}
        value_read = read
    else:
        value_read = value
    unused = f"{is_given_sql(raw)} AND {value} IS NULL"
    tests = {f"{name}_unusable": f"{unused} AND {value_read} IS NULL"}
    tests |= {kind: f"{unused} AND {test}" for kind, test in kinds.items()}
    sums = ", ".join(f"count(*) FILTER (WHERE {test})" for test in tests.values())
    given, *numbers = request.connection.execute(
        f"SELECT count(*) FILTER (WHERE {is_given_sql(raw)}), {sums} FROM {table}"
    ).fetchone()
    counts = dict(zip(tests, numbers, strict=True))
    account.add(counts)
    if unusable := counts[f"{name}_unusable"]:
        account.given[name] = account.given.get(name, 0) + given
        check_columns(request.data_file, {name: unusable}, {name: given}, request.rules.accept_unusable)
