"""Profiles of the columns of raw tables: how much is given, in which forms, between which dates. Never a value.

A form is what is left of a value when each digit becomes 9 and each letter A: `A99.9`, `9999-99-99`. Columns are looked
at by their distinct values, so that a million rows take a second or two.
"""

from medtop.sources.dates import is_sentinel_sql, timestamp_sql
from medtop.sources.reading import TableReader
from medtop.sources.words import is_blank_sql, is_null_word_sql, trimmed_sql

MOST_FORMS = 4
TIMES = ("admit", "discharge", "birth", "death", "observation_end")
ROLES = {
    "patient": "patient_id",
    "stay": "stay_id",
    "claim": "stay_id",
    "raw_admit": "admit",
    "raw_discharge": "discharge",
    "raw_death": "death",
    "raw_dod": "death",
    "raw_birth": "birth",
}
"""Columns as the sources of several tables call them -> standard names."""


def profile_table(connection, use, dates):
    """Profiles of the columns of one table: list of dicts (`profile_column`)."""
    reader = TableReader(connection)
    listed = ", ".join(f"v{number} VARCHAR" for number in range(len(use.columns)))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE medtop_raw ({listed})")
    number = reader.open(use.path, use.delimiter)
    values = ", ".join(f"{sql}" for _, sql, _ in use.columns)
    reader.insert(number, "medtop_raw", f"SELECT {values} FROM {{table}}", use.names)
    profiles = [
        {"file": str(use.path), "column": header}
        | profile_column(connection, f"v{place}", ROLES.get(role, role), dates)
        for place, (header, _, role) in enumerate(use.columns)
    ]
    connection.execute("DROP TABLE medtop_raw; DROP TABLE medtop_structural")
    return profiles


def profile_column(connection, column, role, dates):
    """One column of `medtop_raw`.

    Returns:
        dict: role, rows, given, null_words, trimmed (given with invisible characters around), distinct, forms (dict
        form -> share of the given); for dates also usable (share of the given), earliest, latest, sentinels.
    """
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE medtop_values AS SELECT {column} AS value, count(*) AS number FROM medtop_raw "
        f"WHERE {column} IS NOT NULL GROUP BY {column}"
    )
    rows = connection.execute("SELECT count(*) FROM medtop_raw").fetchone()[0]
    missing = f"({is_blank_sql('value')} OR {is_null_word_sql('value')})"
    given, words, trimmed, distinct = connection.execute(
        f"SELECT sum(number) FILTER (NOT {missing}), sum(number) FILTER ({is_null_word_sql('value')}), "
        f"sum(number) FILTER (NOT {missing} AND {trimmed_sql('value')} <> value), count(*) FILTER (NOT {missing}) "
        "FROM medtop_values"
    ).fetchone()
    given = int(given or 0)
    form = r"regexp_replace(regexp_replace(value, '[0-9]', '9', 'g'), '\p{L}', 'A', 'g')"
    forms = connection.execute(
        f"SELECT left({form}, 40) AS form, sum(number) AS rows FROM medtop_values WHERE NOT {missing} GROUP BY form "
        f"ORDER BY rows DESC, form LIMIT {MOST_FORMS}"
    ).fetchall()
    profile = {
        "role": role,
        "rows": rows,
        "given": given,
        "null_words": int(words or 0),
        "trimmed": int(trimmed or 0),
        "distinct": int(distinct or 0),
        "forms": {form: int(number) / given for form, number in forms},
    }
    return profile | (_dates_of(connection, role, missing, given, dates) if role in TIMES else {})


def _dates_of(connection, role, missing, given, dates):
    stamp, sentinel = timestamp_sql("value", dates), is_sentinel_sql("stamp", dates, birth=role == "birth")
    usable, sentinels, earliest, latest = connection.execute(
        f"SELECT sum(number) FILTER (stamp IS NOT NULL), sum(number) FILTER ({sentinel}), "
        f"min(stamp) FILTER (NOT {sentinel})::DATE::VARCHAR, max(stamp) FILTER (NOT {sentinel})::DATE::VARCHAR "
        f"FROM (SELECT number, {stamp} AS stamp FROM medtop_values WHERE NOT {missing})"
    ).fetchone()
    return {
        "usable": int(usable or 0) / given if given else None,
        "sentinels": int(sentinels or 0),
        "earliest": earliest,
        "latest": latest,
    }
